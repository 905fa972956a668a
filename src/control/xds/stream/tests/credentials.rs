//! Credentials of the code, and those of Google's machines: asked for when a stream is begun, shown to its
//! server alone.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use http::HeaderValue;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    super::{Report, google::AccessTokens},
    *,
};
use crate::{
    control::xds::bootstrap::{CallCredentials, CallCreds, Google},
    core::{Load, Loads},
};

const PATH: &str = "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1\r\n";

/// Google's metadata server, as far as it answers so, in this order.
struct Machine {
    google: Google,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    async fn answering(answers: impl IntoIterator<Item = String>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = port.local_addr().unwrap().to_string().into();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answers) = (Arc::clone(&asked), answers.into_iter().collect::<Vec<_>>());
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = port.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    assert!(stream.read_buf(&mut request).await.unwrap() > 0, "it leaves early");
                }
                seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { google: Google { host, key_file: None }, asked }
    }

    /// Each of these tokens once, for as many seconds.
    async fn with(tokens: &[(&str, u64)]) -> Self {
        let answer = |(token, lasts): &(&str, u64)| {
            let body = format!(r#"{{"access_token": "{token}", "expires_in": {lasts}}}"#);
            said("200 OK\r\nMetadata-Flavor: Google", &body)
        };
        Self::answering(tokens.iter().map(answer)).await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn said(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What the application says of an error is code of its own, which is run where the error is told.
#[derive(Debug)]
struct Panics;

impl std::fmt::Display for Panics {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("as a bug would")
    }
}

impl std::error::Error for Panics {}

/// Credentials by which the task of this stream panics, from 0 on.
fn panicking(at: usize) -> CallCredentials {
    let turns = AtomicUsize::new(0);
    CallCredentials::new(move || {
        let turn = turns.fetch_add(1, Relaxed);
        let given = HeaderValue::from_static("Bearer secret");
        async move { if turn == at { Err(Panics) } else { Ok(given) } }
    })
}

async fn plane_at(dir: &tempfile::TempDir) -> AdsServer {
    let plane = AdsServer::start_unix(dir.path().join("XDS")).await.unwrap();
    plane.set([Resource::cluster("a")]);
    plane
}

/// A cluster that has counted nothing.
#[derive(Default)]
struct Idle(AtomicUsize);

impl Loads for Idle {
    fn id(&self) -> usize {
        0
    }

    fn begin(&self, _metrics: &[String]) {
        self.0.fetch_add(1, Relaxed);
    }

    fn end(&self) {}

    fn take(&self) -> Load {
        Load::default()
    }
}

/// What this stream of load reports shows.
async fn shown_for_loads(plane: &AdsServer, stream: u64) -> HeaderValue {
    let first = |plane: &AdsServer| plane.load_reports().into_iter().find(|it| it.stream == stream);
    within(plane.until(|plane| first(plane).is_some())).await;
    first(plane).unwrap().headers["authorization"].clone()
}

/// What the stream that is begun next shows.
async fn shown_next(plane: &AdsServer) -> HeaderValue {
    within(plane.until(|plane| !plane.requests().is_empty())).await;
    plane.requests()[0].headers["authorization"].clone()
}

#[tokio::test]
async fn an_access_token_is_shown_as_long_as_it_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let plane = plane_at(&dir).await;
    let machine = Machine::with(&[("one", 3600), ("two", 3600), ("three", 3600)]).await;
    let mut server = plain(&plane);
    server.call_creds.push(CallCreds::Google(machine.google.clone()));
    let mut mesh = Mesh::to([server]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
    assert_eq!(shown_next(&plane).await, "Bearer one");
    let asked = machine.asked();
    assert!(asked[0].starts_with(PATH), "{asked:?}");
    assert!(asked[0].contains("metadata-flavor: Google\r\n"), "{asked:?}");
    // It is kept.
    plane.forget_requests();
    plane.cut(0, "");
    assert_eq!(shown_next(&plane).await, "Bearer one");
    assert_eq!(machine.asked().len(), 1);
    // One that the server does not believe any more is not shown again.
    plane.forget_requests();
    plane.refuse(Some((16, "it is revoked")));
    plane.cut(0, "");
    let why = mesh.is_warned_of(Kind::Cluster, "a").await;
    assert!(why.contains("it is revoked") && !why.contains("Bearer"), "{why}");
    plane.refuse(None);
    assert_ne!(shown_next(&plane).await, "Bearer one");
}

/// Streams of load reports show what the others show.
#[tokio::test]
async fn an_access_token_that_is_refused_for_load_reports_is_not_shown_again() {
    let dir = tempfile::tempdir().unwrap();
    let plane = plane_at(&dir).await;
    let machine = Machine::with(&[("one", 3600), ("two", 3600)]).await;
    let mut server = plain(&plane);
    server.call_creds.push(CallCreds::Google(machine.google.clone()));
    let mut mesh = Mesh::to([server]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
    let (cluster, service) = ("a".into(), "".into());
    let report = Report { cluster, service, metrics: Vec::new(), loads: Arc::<Idle>::default() };
    mesh.subscriber.report(report);
    assert_eq!(shown_for_loads(&plane, 1).await, "Bearer one");
    assert_eq!(machine.asked().len(), 1);
    plane.cut_loads(16, "it is revoked");
    assert_eq!(shown_for_loads(&plane, 2).await, "Bearer two");
    // The other stream goes on.
    assert_eq!((plane.streams(), plane.streams_begun()), (1, 1));
}

/// Google's server has a new one by then.
#[tokio::test]
async fn an_access_token_that_is_about_to_expire_is_not_kept() {
    let machine = Machine::with(&[("one", 225), ("two", 3600), ("three", 1)]).await;
    let tokens = AccessTokens::default();
    let mut shown = Vec::new();
    for _ in 0..3 {
        shown.push(tokens.token(&machine.google).await.unwrap());
    }
    assert_eq!(shown, ["Bearer one", "Bearer two", "Bearer two"]);
    assert!(shown.iter().all(HeaderValue::is_sensitive));
}

#[tokio::test]
async fn a_machine_that_has_no_token_is_told_with_its_reason() {
    let token = r#"{"access_token": "secret", "expires_in": 3600}"#;
    for (answer, why) in [
        (said("404 Not Found\r\nMetadata-Flavor: Google", ""), "answers 404"),
        (said("200 OK", token), "is another server"),
        (said("200 OK\r\nMetadata-Flavor: Google", "secret"), "without a token"),
        ("secret\r\n\r\n".to_owned(), "gives no answer"),
    ] {
        let machine = Machine::answering([answer]).await;
        let error = AccessTokens::default().token(&machine.google).await.unwrap_err();
        assert!(error.contains(why) && error.contains(&*machine.google.host), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let nowhere = Google { host: "127.0.0.1:1".into(), key_file: None };
    let error = AccessTokens::default().token(&nowhere).await.unwrap_err();
    assert!(error.contains("Bootstrap::google_default"), "{error}");
    // Who is named by a file is never taken for who the machine is.
    let machine = Machine::with(&[("one", 3600)]).await;
    let named = Google { key_file: Some("/key.json".into()), ..machine.google.clone() };
    let error = AccessTokens::default().token(&named).await.unwrap_err();
    assert!(error.contains("/key.json"), "{error}");
    assert!(machine.asked().is_empty());
}

#[tokio::test]
async fn credentials_of_the_code_are_asked_for_each_stream_and_streams_are_shared_by_them() {
    let dir = tempfile::tempdir().unwrap();
    let plane = plane_at(&dir).await;
    let turns = AtomicUsize::new(0);
    let credentials = CallCredentials::new(move || {
        let turn = turns.fetch_add(1, Relaxed);
        async move {
            if turn == 2 {
                return Err("nobody is logged in");
            }
            Ok(HeaderValue::try_from(format!("Bearer secret-{turn}")).unwrap())
        }
    });
    let server = || plain(&plane).call_credentials(credentials.clone());
    let mut mesh = Mesh::to([server()]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
    assert_eq!(shown_next(&plane).await, "Bearer secret-0");
    plane.forget_requests();
    plane.cut(0, "");
    assert_eq!(shown_next(&plane).await, "Bearer secret-1");
    // Without them, nobody is asked anything.
    plane.forget_requests();
    plane.cut(0, "");
    let why = mesh.is_warned_of(Kind::Cluster, "a").await;
    assert!(why.contains("nobody is logged in") && !why.contains("secret"), "{why}");
    assert!(plane.requests().is_empty());
    assert_ne!(shown_next(&plane).await, "Bearer secret-1");

    let mut another = Mesh::to([server()]);
    another.watch(Kind::Cluster, "a");
    another.gets(Kind::Cluster, "a").await;
    assert_eq!(plane.streams(), 1);
    // Those of another origin may be another's.
    let others = CallCredentials::new(|| async { Err("nobody") });
    let other = bootstrap([plain(&plane).call_credentials(others)]);
    let refused = REGISTRY.subscribe(Arc::new(other), Handle::current(), |_| Plain);
    assert!(refused.unwrap_err().to_string().contains("another bootstrap"));
}

#[tokio::test]
async fn a_stream_whose_task_panics_is_over_and_the_next_one_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let plane = plane_at(&dir).await;
    let credentials = panicking(1);
    let server = || plain(&plane).call_credentials(credentials.clone());
    let mut mesh = Mesh::to([server()]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
    plane.cut(0, "");
    let why = mesh.is_warned_of(Kind::Cluster, "a").await;
    assert!(why.contains("code 14: its task has ended before its time"), "{why}");
    // Whoever comes then has what was good, and what is new by the next stream.
    plane.set([Resource::cluster("a"), Resource::cluster("b")]);
    let mut another = Mesh::to([server()]);
    another.watch(Kind::Cluster, "a");
    another.watch(Kind::Cluster, "b");
    another.gets(Kind::Cluster, "a").await;
    while !matches!(another.hears(Kind::Cluster, "b").await, Watched::Resource { .. }) {}
    // It is well again.
    mesh.gets(Kind::Cluster, "a").await;
    assert_eq!((plane.streams(), plane.streams_begun()), (1, 2));
}

#[tokio::test]
async fn a_stream_of_load_reports_whose_task_panics_is_over_and_the_next_one_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let plane = plane_at(&dir).await;
    let mut mesh = Mesh::to([plain(&plane).call_credentials(panicking(1))]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
    let (cluster, service) = ("a".into(), "".into());
    let report = Report { cluster, service, metrics: Vec::new(), loads: Arc::<Idle>::default() };
    mesh.subscriber.report(report);
    assert_eq!(shown_for_loads(&plane, 1).await, "Bearer secret");
    assert_eq!((plane.streams(), plane.streams_begun()), (1, 1));
}

#[tokio::test]
async fn a_cluster_counts_its_load_before_anybody_else_hears_that_it_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let plane = plane_at(&dir).await;
    let mut mesh = Mesh::to([plain(&plane)]);
    let loads = Arc::<Idle>::default();
    let (cluster, service) = ("a".into(), "".into());
    let report = Report { cluster, service, metrics: Vec::new(), loads: loads.clone() };
    mesh.subscriber.report(report);
    assert_eq!(loads.0.load(Relaxed), 1, "before the next call");
}
