//! The same traffic through Envoy and through the mesh, from the same rules in the words of each:
//! `traffic/envoy.yaml` and `traffic/mesh.yaml`. What they do differently is in docs/ENVOY.md.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tower_mesh::{Body, Client, Mesh};

use crate::{
    envoy::Envoy,
    program::{folder, free_port},
    support::{Reply, Server, reply},
};

/// What came of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Seen {
    status: u16,
    /// What the endpoint says that it got, or the body of an answer without one.
    body: String,
    /// Of the response: what the rules are about.
    headers: BTreeMap<String, String>,
}

/// Envoy, the mesh, and two endpoints behind both.
struct Twin {
    envoy: Client,
    mesh: Client,
    tries: Tries,
    _alive: (Envoy, Vec<Mesh>, Vec<Server>, TempDir),
}

/// Attempts that reached an endpoint, by the `x-id` of their call.
type Tries = Arc<Mutex<HashMap<String, usize>>>;

/// An endpoint that says what it got, and does what `x-do` asks for.
async fn endpoint(name: &'static str, tries: &Tries) -> Server {
    let tries = Arc::clone(tries);
    Server::start(move |request| {
        let headers = request.headers().clone();
        let id = text(&headers, "x-id");
        let tried = {
            let mut tries = tries.lock().unwrap();
            let tried = tries.entry(id).or_default();
            *tried += 1;
            *tried
        };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        async move {
            let path = uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
            let got = format!("{name} {method} {path} {}", shown(&headers));
            answer(&text(&headers, "x-do"), tried, got).await
        }
    })
    .await
}

async fn answer(what: &str, tried: usize, got: String) -> Reply {
    let (what, argument) = what.split_once('=').unwrap_or((what, "0"));
    let argument: u64 = argument.parse().unwrap();
    let mut status = StatusCode::OK;
    match what {
        "status" => status = StatusCode::from_u16(u16::try_from(argument).unwrap()).unwrap(),
        // So many attempts fail, then it works.
        "fail" if tried <= usize::try_from(argument).unwrap() => {
            status = StatusCode::SERVICE_UNAVAILABLE;
        }
        "teapot" if tried <= usize::try_from(argument).unwrap() => status = StatusCode::IM_A_TEAPOT,
        "sleep" => tokio::time::sleep(Duration::from_millis(argument)).await,
        // The first attempt alone is slow.
        "stumble" if tried == 1 => tokio::time::sleep(Duration::from_millis(argument)).await,
        _ => {}
    }
    let mut reply = reply(got);
    *reply.status_mut() = status;
    reply.headers_mut().insert("x-secret", "42".parse().unwrap());
    reply
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

/// The headers that rules speak of, all values of each, without what each side says of itself.
fn shown(headers: &HeaderMap) -> String {
    let own =
        ["x-id", "x-do", "x-request-id", "x-forwarded-proto", "x-forwarded-for", "x-mesh-attempt"];
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in headers {
        let name = name.as_str();
        let is_said = name == "host" || name.starts_with("x-");
        if is_said && !own.contains(&name) && !name.starts_with("x-envoy-") {
            // Several lines or one with commas: the same list (RFC 9110 §5.3).
            let values = all.entry(name).or_default();
            values.extend(value.to_str().unwrap().split(',').map(str::trim));
        }
    }
    format!("{all:?}")
}

impl Twin {
    async fn new() -> Self {
        let tries = Tries::default();
        let servers = vec![endpoint("a", &tries).await, endpoint("b", &tries).await];
        let ports = servers.iter().map(|server| server.socket().port().to_string());
        let ports: Vec<_> = ports.collect();
        let with = |text: &str| text.replace(": A}", &format!(": {}}}", ports[0]));
        let with = |text: &str| with(text).replace(": B}", &format!(": {}}}", ports[1]));
        let with = |text: &str| with(text).replace(":A\"", &format!(":{}\"", ports[0]));
        let with = |text: &str| with(text).replace(":B\"", &format!(":{}\"", ports[1]));
        let listen = free_port();
        let theirs = include_str!("traffic/envoy.yaml").replace("LISTEN", &listen.to_string());
        let dir = folder();
        let envoy = Envoy::run(&with(&theirs), &[listen]).await;
        let file = dir.path().join("mesh.yaml");
        fs::write(&file, with(include_str!("traffic/mesh.yaml"))).unwrap();
        let mesh = Mesh::builder().config_file(&file).build().unwrap();
        mesh.ready().await.unwrap();
        let refused: Vec<_> = mesh.describe().refused.clone();
        assert!(refused.is_empty(), "{refused:?}");
        // Through a mesh of one endpoint that tries once: Envoy itself.
        let address: std::net::SocketAddr = ([127, 0, 0, 1], listen).into();
        let to_envoy = Mesh::builder()
            .endpoints("shop", [address])
            .service("shop", |it| it.retry(tower_mesh::config::Retry::standard().attempts(1)))
            .build()
            .unwrap();
        let clients = [&to_envoy, &mesh].map(|mesh| mesh.client("shop").unwrap());
        let [envoy_client, client] = clients;
        let alive = (envoy, vec![to_envoy, mesh], servers, dir);
        Self { envoy: envoy_client, mesh: client, tries, _alive: alive }
    }

    /// What Envoy makes of it, and what the mesh makes of it.
    async fn ask(&self, ask: &Ask) -> [Seen; 2] {
        [see(&self.envoy, ask, "envoy").await, see(&self.mesh, ask, "mesh").await]
    }

    /// How many attempts reached an endpoint, of Envoy and of the mesh.
    fn tries(&self, ask: &Ask) -> [usize; 2] {
        let tries = self.tries.lock().unwrap();
        ["envoy", "mesh"].map(|side| tries.get(&ask.id(side)).copied().unwrap_or_default())
    }
}

/// A request.
struct Ask {
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

impl Ask {
    fn get(path: &'static str) -> Self {
        Self { method: Method::GET, path, headers: Vec::new() }
    }

    fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn id(&self, side: &str) -> String {
        format!("{side} {} {} {:?}", self.method, self.path, self.headers)
    }
}

async fn see(client: &Client, ask: &Ask, side: &str) -> Seen {
    let mut request = Request::builder().method(ask.method.clone()).uri(ask.path);
    request = request.header("host", "shop.example").header("x-id", ask.id(side));
    for (name, value) in &ask.headers {
        request = request.header(*name, *value);
    }
    match client.send(request.body(Body::empty()).unwrap()).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let told = head
                .headers
                .iter()
                .filter(|(name, _)| ["location", "x-secret", "x-told"].contains(&name.as_str()));
            let told =
                told.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
            let status = head.status.as_u16();
            let body = String::from_utf8(body.to_vec()).unwrap();
            Seen { status, body, headers: told.collect() }
        }
        // What the mesh says in an error, Envoy says in a response with a text of its own.
        Err(error) => Seen {
            status: error.http_status().as_u16(),
            body: String::new(),
            headers: BTreeMap::new(),
        },
    }
}

/// Asks both, and compares.
async fn alike(twin: &Twin, asks: impl IntoIterator<Item = Ask>) {
    let mut unlike = Vec::new();
    for ask in asks {
        let [mut envoy, mesh] = twin.ask(&ask).await;
        if mesh.body.is_empty() && mesh.status >= 400 {
            // Its own words about a failure.
            envoy.body.clear();
        }
        let [theirs, ours] = twin.tries(&ask);
        if envoy != mesh || theirs != ours {
            let id = ask.id("of");
            unlike.push(format!("{id}\n  Envoy: {theirs} × {envoy:?}\n  mesh:  {ours} × {mesh:?}"));
        }
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
}

#[tokio::test]
async fn routes_take_the_same_requests_as_in_envoy() {
    let twin = Twin::new().await;
    let paths = [
        "/exact",
        "/exact/",
        "/exact?q=1",
        "/folded",
        "/FOLDED",
        "/folded/x",
        "/admin",
        "/admin/",
        "/admin/x",
        "/administrator",
        "/text",
        "/textual",
        "/tex",
        "/r/1",
        "/r/12",
        "/r/",
        "/r/1/x",
        "/users/7/orders/1",
        "/users/7/orders/1/2",
        "/users/7/orders/",
        "/users/7/orders",
        "/users//orders/1",
        "/users/7/8/orders/1",
        "/headers",
        "/nowhere",
        "/",
        "//exact",
        "/%65xact",
        "/admin%2Fx",
        "/exact;x",
        "/headers/x",
    ];
    alike(&twin, paths.map(Ask::get)).await;
}

#[tokio::test]
async fn headers_queries_and_methods_match_as_in_envoy() {
    let twin = Twin::new().await;
    let headers = [
        ("x-exact", "yes"),
        ("x-exact", "Yes"),
        ("x-exact", "yes, no"),
        ("x-exact", ""),
        ("x-prefix", "yet"),
        ("x-prefix", "y"),
        ("x-suffix", "tes"),
        ("x-suffix", "est"),
        ("x-contains", "hello"),
        ("x-contains", "hi"),
        ("x-regex", "yes"),
        ("x-regex", "yess"),
        ("x-range", "5"),
        ("x-range", "9"),
        ("x-range", "10"),
        ("x-range", "-5"),
        ("x-range", "5.0"),
        ("x-range", "seven"),
        ("x-present", "1"),
        ("x-present", ""),
        ("x-folded", "yEs"),
    ];
    alike(&twin, headers.map(|(name, value)| Ask::get("/headers").with(name, value))).await;
    // One of several lines of a header suffices (Envoy: since 1.39).
    let several = [["no", "yes"], ["yes", "no"], ["no", "none"]];
    let several =
        several.map(|[one, two]| Ask::get("/headers").with("x-exact", one).with("x-exact", two));
    alike(&twin, several).await;
    for (path, name) in [("/inverted", "x-not"), ("/absent", "x-absent"), ("/missing", "x-missing")]
    {
        let values = ["yes", "no", ""].map(|value| Ask::get(path).with(name, value));
        alike(&twin, values).await;
        alike(&twin, [Ask::get(path)]).await;
    }
    let queries = [
        "/query?q=1",
        "/query?q=2",
        "/query?q=",
        "/query?q",
        "/query?x=1&q=1",
        "/query?q=1&q=2",
        "/query?q=2&q=1",
        "/query?Q=1",
        "/query?there",
        "/query?there=",
        "/query?there=x",
        "/query?q=%31",
        "/query",
    ];
    alike(&twin, queries.map(Ask::get)).await;
    let methods = [Method::GET, Method::DELETE, Method::POST];
    alike(&twin, methods.map(|method| Ask::get("/method").method(method))).await;
}

#[tokio::test]
async fn requests_and_responses_are_changed_as_in_envoy() {
    let twin = Twin::new().await;
    let paths = [
        "/old",
        "/old/",
        "/old/x",
        "/old/x?q=1",
        "/moved",
        "/moved?q=1",
        "/secure",
        "/secure?q=1",
        "/closed",
        "/v1",
        "/v1/x",
        "/v1/x/y?q=1",
        "/swap/left/right",
        "/swap/left/right/on?q=1",
        "/swap/none",
        "/host",
        "/host-header",
    ];
    alike(&twin, paths.map(Ask::get)).await;
    alike(&twin, [Ask::get("/host-header").with("x-host", "by.header")]).await;
    let edit = || Ask::get("/edit");
    alike(
        &twin,
        [
            edit(),
            edit().with("x-remove", "1").with("x-set", "old").with("x-add", "one"),
            edit().with("x-fill", "mine").with("x-there", "old"),
            edit().with("x-set", "old").with("x-set", "older").with("x-edited", "by-the-caller"),
        ],
    )
    .await;
}

#[tokio::test]
async fn values_hosts_and_named_filters_are_those_of_envoy() {
    let twin = Twin::new().await;
    let values = || Ask::get("/values");
    alike(
        &twin,
        [
            values(),
            values().with("x-name", "kim"),
            values().with("x-absent", "there").with("x-name", "kim").with("x-none", "old"),
            values().method(Method::DELETE),
            Ask::get("/auto"),
            Ask::get("/drill"),
            Ask::get("/drill-other"),
        ],
    )
    .await;
}

#[tokio::test]
async fn clusters_are_named_and_hashed_as_in_envoy() {
    let twin = Twin::new().await;
    for path in ["/named", "/named-else"] {
        let named = ["a", "b", "nobody", ""].map(|cluster| Ask::get(path).with("x-to", cluster));
        alike(&twin, named).await;
        alike(&twin, [Ask::get(path)]).await;
    }
    let users = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "kim", "lee", "x", "y", "z", "q"];
    alike(&twin, users.map(|user| Ask::get("/hashed").with("x-user", user))).await;
}

#[tokio::test]
async fn retries_and_timeouts_are_those_of_envoy() {
    let twin = Twin::new().await;
    let doing = |path, what| Ask::get(path).with("x-do", what);
    alike(
        &twin,
        [
            doing("/retried", "fail=1"),
            doing("/retried", "fail=2"),
            doing("/retried", "fail=3"),
            doing("/retried", "status=404"),
            doing("/exact", "fail=1"),
            doing("/by-status", "teapot=1"),
            doing("/by-status", "teapot=2"),
            doing("/by-status", "fail=1"),
            doing("/slow", "sleep=1000"),
            doing("/slow", "sleep=10"),
            doing("/each-slow", "stumble=1000"),
            doing("/each-slow", "sleep=1000"),
        ],
    )
    .await;
}

#[tokio::test]
async fn shares_are_those_of_envoy() {
    let twin = Twin::new().await;
    for (path, share) in [("/split", 20), ("/share", 30)] {
        let mut got = [0, 0];
        for _ in 0..500 {
            for (place, seen) in twin.ask(&Ask::get(path)).await.iter().enumerate() {
                got[place] += usize::from(seen.body.starts_with("b "));
            }
        }
        for got in got {
            assert!(got.abs_diff(share * 5) <= 25, "{path}: {got} of 500, {share} %");
        }
    }
}

/// A request, what is asked about the answer, and what Envoy and the mesh say.
type Otherwise = (Ask, fn(&Seen) -> String, [&'static str; 2]);

#[tokio::test]
async fn what_is_done_otherwise_than_in_envoy_is_what_the_document_says() {
    let twin = Twin::new().await;
    let path = |seen: &Seen| seen.body.split(' ').nth(2).unwrap_or_default().to_owned();
    let status = |seen: &Seen| seen.status.to_string();
    let rows: [Otherwise; 3] = [
        // A prefix that is replaced by `/` leaves one slash.
        (Ask::get("/api/x"), path, ["//x", "/x"]),
        // What may have been worked on is not repeated unless it is idempotent.
        (Ask::get("/retried").method(Method::POST).with("x-do", "fail=1"), status, ["200", "503"]),
        (
            Ask::get("/each-slow").method(Method::POST).with("x-do", "stumble=1000"),
            status,
            ["200", "504"],
        ),
    ];
    for (ask, about, expected) in rows {
        let seen = twin.ask(&ask).await;
        assert_eq!([about(&seen[0]), about(&seen[1])], expected, "{}", ask.id("of"));
    }
}
