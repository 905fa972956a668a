//! Envoy and the mesh before the same endpoints: what each makes of a request.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::BodyExt;
use hyper_util::{client::legacy, rt::TokioExecutor};
use tempfile::TempDir;
use tower_mesh::{Body, Client, Error, Mesh, Refusal};

use crate::{
    envoy::Envoy,
    program::{folder, free_port},
    support::Server,
    twin_endpoint::{Tries, answer, shown, streamed, text},
};

/// What came of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    /// Of a gRPC call.
    pub(crate) grpc: Option<i32>,
    /// Envoy's response flags, where the answer is no endpoint's; of the mesh one.
    pub(crate) flag: String,
    /// What the endpoint says that it got, or the body of an answer without one.
    pub(crate) body: String,
    /// Of the response: what the rules are about.
    pub(crate) headers: BTreeMap<String, String>,
}

/// Envoy, the mesh, and two endpoints behind both.
pub(crate) struct Twin {
    pub(crate) envoy: Client,
    pub(crate) mesh: Client,
    /// Where Envoy listens.
    listen: SocketAddr,
    tries: Tries,
    got: Got,
    _alive: (Envoy, Vec<Mesh>, Vec<Server>, TempDir),
}

/// What endpoints have got, by the `x-id` of its call: the copies of mirrors among it.
type Got = Arc<Mutex<HashMap<String, Vec<String>>>>;

/// A request.
#[derive(Clone)]
pub(crate) struct Ask {
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    grpc: bool,
    body: Option<Sent>,
    /// Tells apart what is asked again.
    time: usize,
    unlike: Unlike,
}

/// The body of a request: so many bytes, of a length that is told or not.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Whole(usize),
    Streamed(usize),
}

/// What is not compared of the answers.
#[derive(Clone, Copy, Default)]
struct Unlike {
    flag: bool,
    place: bool,
    wait: bool,
}

/// A request, what is asked about the answer, and what Envoy and the mesh say.
pub(crate) type Otherwise = (Ask, fn(&Seen) -> String, [&'static str; 2]);

/// Headers of responses that are compared.
const TOLD: [&str; 13] = [
    "location",
    "set-cookie",
    "x-envoy-attempt-count",
    "x-sum",
    "x-secret",
    "x-told",
    "x-limited",
    "x-near-limit",
    "x-envoy-ratelimited",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "grpc-message",
];

/// An endpoint that says what it got, and does what `x-do` asks for.
async fn endpoint(name: &'static str, tries: &Tries, got: &Got) -> Server {
    let (tries, heard) = (Arc::clone(tries), Arc::clone(got));
    Server::start(move |request| {
        let (head, body) = request.into_parts();
        let http::request::Parts { method, uri, mut headers, .. } = head;
        if let Some(host) = uri.authority() {
            headers.entry("host").or_insert(host.as_str().parse().unwrap());
        }
        let id = text(&headers, "x-id");
        let tried = {
            let mut tries = tries.lock().unwrap();
            let tried = tries.entry(id.clone()).or_default();
            *tried += 1;
            *tried
        };
        let path = uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
        let got = format!("{name} {method} {path} {}", shown(&headers));
        heard.lock().unwrap().entry(id).or_default().push(got.clone());
        async move { answer(name, &headers, body, tried, got).await }
    })
    .await
}

impl Twin {
    /// Both, from a configuration each, in which capital letters stand for ports: `LISTEN`, `A`, `B`, and those
    /// of `more`, which are another port for each.
    pub(crate) async fn new(theirs: &str, ours: &str, more: &[(&str, [u16; 2])]) -> Self {
        let (tries, got) = (Tries::default(), Got::default());
        let servers = vec![endpoint("a", &tries, &got).await, endpoint("b", &tries, &got).await];
        let endpoints = ["A", "B"].into_iter().zip(&servers);
        let ports: Vec<_> = endpoints
            .map(|(name, server)| (name, [server.socket().port(); 2]))
            .chain(more.iter().copied())
            .collect();
        let with = |text: &str, side: usize| {
            ports.iter().fold(text.to_owned(), |text, (name, ports)| {
                let port = ports[side];
                let text = text.replace(&format!(": {name}}}"), &format!(": {port}}}"));
                text.replace(&format!(":{name}\""), &format!(":{port}\""))
            })
        };
        let listen = free_port();
        let theirs = theirs.replace("LISTEN", &listen.to_string());
        let dir = folder();
        let envoy = Envoy::run(&with(&theirs, 0), &[listen]).await;
        let file = dir.path().join("mesh.yaml");
        fs::write(&file, with(ours, 1)).unwrap();
        let mesh =
            Mesh::builder().config_file(&file).label("cluster", "till").seed(1).build().unwrap();
        mesh.ready().await.unwrap();
        let refused: Vec<_> = mesh.describe().refused.clone();
        assert!(refused.is_empty(), "{refused:?}");
        // Through a mesh of one endpoint that tries once: Envoy itself.
        let address: SocketAddr = ([127, 0, 0, 1], listen).into();
        let to_envoy = Mesh::builder()
            .endpoints("shop", [address])
            .service("shop", |it| it.retry(tower_mesh::config::Retry::standard().attempts(1)))
            .build()
            .unwrap();
        let clients = [&to_envoy, &mesh].map(|mesh| mesh.client("shop").unwrap());
        let [envoy_client, client] = clients;
        let alive = (envoy, vec![to_envoy, mesh], servers, dir);
        Self { envoy: envoy_client, mesh: client, listen: address, tries, got, _alive: alive }
    }

    /// What Envoy makes of it, and what the mesh makes of it.
    pub(crate) async fn ask(&self, ask: &Ask) -> [Seen; 2] {
        self.timed(ask).await.map(|(seen, _)| seen)
    }

    /// The same, and how long it took to the end of the body.
    pub(crate) async fn timed(&self, ask: &Ask) -> [(Seen, Duration); 2] {
        [see(&self.envoy, ask, "envoy").await, see(&self.mesh, ask, "mesh").await]
    }

    /// The same of a gRPC call, of Envoy without a mesh before it, which would keep to what the call says of its
    /// time, too.
    pub(crate) async fn apart(&self, ask: &Ask) -> [Seen; 2] {
        let client = legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let mut request = ask.request("envoy");
        request.headers_mut().remove("host");
        let uri = format!("http://{}{}", self.listen, ask.path);
        *request.uri_mut() = uri.parse::<Uri>().unwrap();
        let response = client.request(request).await.unwrap();
        let envoy = seen(ask, response.map(Body::new), None).await;
        [envoy, see(&self.mesh, ask, "mesh").await.0]
    }

    /// What Envoy and the mesh make of these, each of one after the other without waiting for it.
    pub(crate) async fn together(&self, asks: &[Ask]) -> [Vec<(Seen, Duration)>; 2] {
        let mut all = [Vec::new(), Vec::new()];
        let sides = [(&self.envoy, "envoy"), (&self.mesh, "mesh")];
        for ((client, side), all) in sides.into_iter().zip(&mut all) {
            let mut under_way = Vec::new();
            for ask in asks {
                let (client, ask) = (client.clone(), ask.clone());
                under_way.push(tokio::spawn(async move { see(&client, &ask, side).await }));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            for seen in under_way {
                all.push(seen.await.unwrap());
            }
        }
        all
    }

    /// What endpoints got of it, of Envoy and of the mesh, once so much has come of each: sorted.
    pub(crate) async fn got(&self, ask: &Ask, count: usize) -> [Vec<String>; 2] {
        let got = || {
            ["envoy", "mesh"].map(|side| {
                let got = self.got.lock().unwrap();
                let mut got = got.get(&ask.id(side)).cloned().unwrap_or_default();
                got.sort_unstable();
                got
            })
        };
        let waiting = async {
            while got().iter().any(|got| got.len() < count) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Who sends less is seen to.
        let _late = tokio::time::timeout(Duration::from_secs(2), waiting).await;
        got()
    }

    /// How many attempts reached an endpoint, of Envoy and of the mesh.
    pub(crate) fn tries(&self, ask: &Ask) -> [usize; 2] {
        let tries = self.tries.lock().unwrap();
        ["envoy", "mesh"].map(|side| tries.get(&ask.id(side)).copied().unwrap_or_default())
    }
}

impl Ask {
    pub(crate) fn get(path: &'static str) -> Self {
        Self {
            method: Method::GET,
            path,
            headers: Vec::new(),
            grpc: false,
            body: None,
            time: 0,
            unlike: Unlike::default(),
        }
    }

    /// A gRPC call.
    pub(crate) fn grpc(path: &'static str) -> Self {
        Self { method: Method::POST, grpc: true, ..Self::get(path) }
    }

    pub(crate) fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With a body of so many bytes, which says its length.
    pub(crate) fn body(mut self, bytes: usize) -> Self {
        self.body = Some(Sent::Whole(bytes));
        self
    }

    /// With a body of so many bytes, which says no length.
    pub(crate) fn stream(mut self, bytes: usize) -> Self {
        self.body = Some(Sent::Streamed(bytes));
        self
    }

    /// The same, another time.
    pub(crate) fn time(mut self, time: usize) -> Self {
        self.time = time;
        self
    }

    /// Whatever flag the answers have.
    pub(crate) fn without_flag(mut self) -> Self {
        self.unlike.flag = true;
        self
    }

    /// Whichever endpoint answers.
    pub(crate) fn without_place(mut self) -> Self {
        self.unlike.place = true;
        self
    }

    /// However long a limit lasts.
    pub(crate) fn without_wait(mut self) -> Self {
        self.unlike.wait = true;
        self
    }

    pub(crate) fn id(&self, side: &str) -> String {
        let Self { method, path, headers, grpc, body, time, .. } = self;
        let kind = if *grpc { "gRPC" } else { method.as_str() };
        let body = body.map_or_else(String::new, |body| format!(" {body:?}"));
        format!("{side} {kind} {path} {headers:?}{body} {time}")
    }

    fn request(&self, side: &str) -> Request<Body> {
        let mut request = Request::builder().method(self.method.clone()).uri(self.path);
        if self.headers.iter().all(|(name, _)| *name != "host") {
            request = request.header("host", "shop.example");
        }
        request = request.header("x-id", self.id(side));
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        if self.grpc {
            request = request.version(Version::HTTP_2).header("te", "trailers");
            request = request.header("content-type", "application/grpc");
        }
        let body = match self.body {
            None => Body::empty(),
            Some(Sent::Whole(bytes)) => Body::from("x".repeat(bytes)),
            Some(Sent::Streamed(bytes)) => Body::new(streamed(bytes)),
        };
        request.body(body).unwrap()
    }
}

async fn see(client: &Client, ask: &Ask, side: &str) -> (Seen, Duration) {
    let request = ask.request(side);
    let began = Instant::now();
    let result = client.send(request).await;
    let (response, own_flag) = match result {
        Ok(response) => {
            let injected = response.extensions().get() == Some(&Refusal::Fault);
            let failed = response.extensions().get::<Error>().map(Error::response_flag);
            (response, failed.or(injected.then_some("FI")))
        }
        // What the mesh says in an error, Envoy says in a response with a text of its own.
        Err(error) => (error.http_response(), Some(error.response_flag())),
    };
    let seen = seen(ask, response, own_flag).await;
    (seen, began.elapsed())
}

/// What there is to see of a response, to the end of its body.
async fn seen(ask: &Ask, response: Response<Body>, own_flag: Option<&str>) -> Seen {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let code = [&head.headers, &trailers].into_iter().find_map(|it| it.get("grpc-status"));
    let code = code.map(|code| code.to_str().unwrap().parse().unwrap());
    let flag = own_flag.map_or_else(|| text(&head.headers, "x-flags"), str::to_owned);
    let is_told = |name: &HeaderName| {
        // Of an answer without its body, the length is what is left of it.
        TOLD.contains(&name.as_str())
            || (ask.method == Method::HEAD && name.as_str() == "content-length")
    };
    let mut told = BTreeMap::<String, String>::new();
    let all = |headers: &HeaderMap, place: &str, told: &mut BTreeMap<String, String>| {
        for (name, value) in headers.iter().filter(|(name, _)| is_told(name)) {
            let values = told.entry(format!("{place}{name}")).or_default();
            let comma = if values.is_empty() { "" } else { ", " };
            *values += &format!("{comma}{}", HeaderValue::to_str(value).unwrap());
        }
    };
    all(&head.headers, "", &mut told);
    all(&trailers, "trailer ", &mut told);
    Seen {
        status: head.status.as_u16(),
        grpc: code,
        flag: flag.replace('-', ""),
        headers: told,
        body: String::from_utf8(body.to_bytes().to_vec()).unwrap(),
    }
}

/// Asks both, and compares.
pub(crate) async fn alike(twin: &Twin, asks: impl IntoIterator<Item = Ask>) {
    let mut unlike = Vec::new();
    for ask in asks {
        let [envoy, mesh] = twin.ask(&ask).await;
        if let Some(words) = compare(twin, &ask, envoy, mesh) {
            unlike.push(words);
        }
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
}

/// In what they differ.
pub(crate) fn compare(twin: &Twin, ask: &Ask, mut envoy: Seen, mut mesh: Seen) -> Option<String> {
    if !mesh.flag.is_empty() {
        // What is answered on the way is told in words of their own.
        for seen in [&mut envoy, &mut mesh] {
            seen.body.clear();
            for name in ["grpc-message", "trailer grpc-message", "x-envoy-attempt-count"] {
                seen.headers.remove(name);
            }
        }
    }
    if envoy.flag.split(',').any(|flag| flag == mesh.flag) {
        // Envoy tells of more than one reason.
        envoy.flag.clone_from(&mesh.flag);
    }
    for seen in [&mut envoy, &mut mesh] {
        let Unlike { flag, place, wait } = ask.unlike;
        if flag {
            seen.flag.clear();
        }
        if place {
            seen.body = seen.body.split_off(seen.body.len().min(2));
        }
        if wait {
            seen.headers.remove("x-ratelimit-reset");
        }
    }
    let [theirs, ours] = twin.tries(ask);
    let id = ask.id("of");
    (envoy != mesh || theirs != ours)
        .then(|| format!("{id}\n  Envoy: {theirs} × {envoy:?}\n  mesh:  {ours} × {mesh:?}"))
}

/// Asks both, and looks whether each does what is said of it.
pub(crate) async fn otherwise(twin: &Twin, rows: impl IntoIterator<Item = Otherwise>) {
    let mut unlike = Vec::new();
    for (ask, about, expected) in rows {
        let seen = twin.ask(&ask).await;
        let said = [about(&seen[0]), about(&seen[1])];
        if said != expected {
            unlike.push(format!("{}: {said:?}, not {expected:?}", ask.id("of")));
        }
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
}
