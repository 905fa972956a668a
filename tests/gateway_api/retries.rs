//! Retries and timeouts of a rule: by status, by a lost connection, of the request and of the backend's.
//!
//! Gateway API counts retries, the model attempts: `attempts: 2` there is 3 here. Its rules take every
//! method, so they are `idempotent`.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, StatusCode};
use tower_mesh::{Body, Error, ErrorKind, Mesh};

use crate::support::{Server, fetch, patience, reply, status};

/// The requests of one rule so far.
type Counts = Arc<Mutex<HashMap<String, usize>>>;

struct World {
    mesh: Mesh,
    counts: Counts,
    _server: Server,
    _dir: tempfile::TempDir,
}

/// A service of these routes, whose one server fails as often as a request's `x-fail` says: by the
/// status of its `x-status`, by what lasts as long as its `x-delay` says, or by breaking the connection.
async fn world(routes: &str) -> World {
    let counts = Counts::default();
    let heard = Arc::clone(&counts);
    let server = Server::start(move |request| {
        let of = |name: &str| {
            request.headers().get(name).and_then(|it| it.to_str().ok()?.parse::<u64>().ok())
        };
        let (fails, code, delay) =
            (of("x-fail").unwrap_or(0), of("x-status"), of("x-delay").unwrap_or(0));
        let count = {
            let mut counts = heard.lock().unwrap();
            let count = counts.entry(request.uri().path().to_owned()).or_insert(0);
            *count += 1;
            *count as u64
        };
        let breaks = request.headers().contains_key("x-break");
        async move {
            if count > fails {
                return reply("well");
            }
            tokio::time::sleep(Duration::from_millis(delay)).await;
            if breaks {
                // Nobody answers on a connection whose task is gone.
                panic!("the connection is broken on purpose");
            }
            match code {
                Some(code) => status(StatusCode::from_u16(u16::try_from(code).unwrap()).unwrap()),
                None => reply("late"),
            }
        }
    })
    .await;
    let text = format!(
        "services:\n  echo:\n    routes:\n{routes}clusters:\n  echo: {{endpoints: [{{address: \
         \"{}\"}}]}}\n",
        server.address()
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, &text).unwrap();
    let mesh = Mesh::builder().config_file(&path).seed(5).build().unwrap();
    mesh.ready().await.unwrap_or_else(|error| panic!("{error}\n{text}"));
    World { mesh, counts, _server: server, _dir: dir }
}

fn route(path: &str, policy: &str) -> String {
    format!(
        "      - {{matches: [{{path: {{exact: {path}}}}}], clusters: [{{name: echo}}], policy: {policy}}}\n"
    )
}

impl World {
    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Result<StatusCode, Error> {
        self.counts.lock().unwrap().clear();
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        patience(fetch(&self.mesh.client("echo").unwrap(), request)).await.map(|it| it.status())
    }

    /// Requests that the server got of the last call.
    fn count(&self) -> usize {
        self.counts.lock().unwrap().values().sum()
    }
}

// HTTPRouteRetry.
#[tokio::test]
async fn by_status() {
    let retry = |attempts: u32, codes: &str| {
        format!(
            "{{retry: {{attempts: {attempts}, on_status: [{codes}], idempotent: true, backoff_base: \
             1ms}}}}"
        )
    };
    let world = world(
        &[
            route("/retry-1-500", &retry(2, "500")),
            route("/retry-2-500", &retry(3, "500")),
            route("/retry-3-all", &retry(4, "500, 502, 503, 504")),
        ]
        .concat(),
    )
    .await;
    for (path, code, fails, expected, requests) in [
        ("/retry-1-500", "500", "1", 200, 2),
        ("/retry-1-500", "500", "2", 500, 2),
        ("/retry-2-500", "500", "2", 200, 3),
        ("/retry-2-500", "500", "3", 500, 3),
        // Only what is listed.
        ("/retry-2-500", "503", "1", 503, 1),
        ("/retry-3-all", "500", "3", 200, 4),
        ("/retry-3-all", "502", "3", 200, 4),
        ("/retry-3-all", "503", "3", 200, 4),
        ("/retry-3-all", "504", "3", 200, 4),
        ("/retry-3-all", "504", "4", 504, 4),
        ("/retry-3-all", "501", "1", 501, 1),
    ] {
        let answer = world.ask(path, &[("x-status", code), ("x-fail", fails)]).await;
        let name = format!("{path} {code} {fails}");
        assert_eq!(answer.unwrap().as_u16(), expected, "{name}");
        assert_eq!(world.count(), requests, "{name}");
    }
}

// HTTPRouteRetryBackendTimeout, the retry with timeouts: a backend's bound of 200 ms is retried, the
// request's of 200 ms ends it.
#[tokio::test]
async fn with_timeouts() {
    let retry = "retry: {attempts: 3, on_status: [500], idempotent: true, backoff_base: 1ms}";
    let world = world(
        &[
            route("/backend", &format!("{{attempt_timeout: 200ms, timeout: 20s, {retry}}}")),
            route("/request", &format!("{{timeout: 200ms, {retry}}}")),
        ]
        .concat(),
    )
    .await;
    let late = |fails| [("x-delay", "300"), ("x-fail", fails)];
    assert_eq!(world.ask("/backend", &late("2")).await.unwrap(), 200);
    assert_eq!(world.count(), 3);
    let error = world.ask("/backend", &late("3")).await.unwrap_err();
    assert_eq!((error.kind(), error.http_status().as_u16()), (ErrorKind::Timeout, 504), "{error}");
    assert_eq!(world.count(), 3);
    let text = error.to_string();
    assert!(text.contains("`attempt_timeout` by source"), "{text}");
    assert!(text.contains("all 3 attempts are used"), "{text}");
    let error = world.ask("/request", &late("1")).await.unwrap_err();
    assert_eq!(error.http_status().as_u16(), 504, "{error}");
    assert!(error.to_string().contains("200ms, `timeout` by source"), "{error}");
    assert_eq!(world.count(), 1);
}

// HTTPRouteRetryConnectionError: no statuses are listed, and a lost connection is retried.
#[tokio::test]
async fn of_a_lost_connection() {
    let world = world(&route(
        "/reset",
        "{retry: {attempts: 3, on_status: [], idempotent: true, backoff_base: 1ms}}",
    ))
    .await;
    let lost = |fails| [("x-break", "1"), ("x-fail", fails)];
    assert_eq!(world.ask("/reset", &lost("2")).await.unwrap(), 200);
    assert_eq!(world.count(), 3);
    let error = world.ask("/reset", &lost("3")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport, "{error}");
    // The suite allows 500 and 503: a proxy's word for what is an error here.
    assert!([500, 502, 503].contains(&error.http_status().as_u16()), "{}", error.http_status());
    assert_eq!(world.count(), 3);
    // Nor is a status that nobody has listed.
    assert_eq!(world.ask("/reset", &[("x-status", "503"), ("x-fail", "1")]).await.unwrap(), 503);
}

// HTTPRouteTimeoutRequest and HTTPRouteTimeoutBackendRequest.
#[tokio::test]
async fn timeouts_without_retries() {
    let world = world(
        &[
            route("/request-timeout", "{timeout: 500ms, retry: {attempts: 1}}"),
            route("/disable-request-timeout", "{timeout: 0s, retry: {attempts: 1}}"),
            route("/backend-timeout", "{attempt_timeout: 500ms, retry: {attempts: 1}}"),
        ]
        .concat(),
    )
    .await;
    for path in ["/request-timeout", "/backend-timeout"] {
        assert_eq!(world.ask(path, &[]).await.unwrap(), 200, "{path}");
        let late = [("x-delay", "1000"), ("x-fail", "1")];
        let error = world.ask(path, &late).await.unwrap_err();
        assert_eq!(error.http_status().as_u16(), 504, "{path}: {error}");
        assert_eq!(world.count(), 1, "{path}");
    }
    let late = [("x-delay", "1000"), ("x-fail", "1")];
    assert_eq!(world.ask("/disable-request-timeout", &late).await.unwrap(), 200);
}
