//! Envoy and the mesh before the same endpoints: what each makes of a request.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tower_mesh::{Body, Client, Error, Mesh, Refusal};

use crate::{
    envoy::Envoy,
    program::{folder, free_port},
    support::{Reply, Server, reply},
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
    tries: Tries,
    got: Got,
    _alive: (Envoy, Vec<Mesh>, Vec<Server>, TempDir),
}

/// Attempts that reached an endpoint, by the `x-id` of their call.
type Tries = Arc<Mutex<HashMap<String, usize>>>;

/// What endpoints have got, by the `x-id` of its call: the copies of mirrors among it.
type Got = Arc<Mutex<HashMap<String, Vec<String>>>>;

/// A request.
#[derive(Clone)]
pub(crate) struct Ask {
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    grpc: bool,
    /// Tells apart what is asked again.
    time: usize,
    unlike: Unlike,
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
const TOLD: [&str; 10] = [
    "location",
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
        let mut headers = request.headers().clone();
        if let Some(host) = request.uri().authority() {
            headers.entry("host").or_insert(host.as_str().parse().unwrap());
        }
        let id = text(&headers, "x-id");
        let tried = {
            let mut tries = tries.lock().unwrap();
            let tried = tries.entry(id.clone()).or_default();
            *tried += 1;
            *tried
        };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let path = uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
        let got = format!("{name} {method} {path} {}", shown(&headers));
        heard.lock().unwrap().entry(id).or_default().push(got.clone());
        async move { answer(name, &text(&headers, "x-do"), tried, got).await }
    })
    .await
}

async fn answer(name: &str, what: &str, tried: usize, mut got: String) -> Reply {
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
        // One endpoint alone fails.
        "ill" if name == "a" => status = StatusCode::INTERNAL_SERVER_ERROR,
        "sleep" => tokio::time::sleep(Duration::from_millis(argument)).await,
        // The first attempt alone is slow.
        "stumble" if tried == 1 => tokio::time::sleep(Duration::from_millis(argument)).await,
        // The first attempt alone: has this status, or this gRPC status, or a header, or breaks off.
        "once" if tried == 1 => {
            status = StatusCode::from_u16(u16::try_from(argument).unwrap()).unwrap();
        }
        "grpc" if tried == 1 => {
            let mut reply = reply(String::new());
            let headers = reply.headers_mut();
            headers.insert("content-type", "application/grpc".parse().unwrap());
            headers.insert("grpc-status", argument.into());
            return reply;
        }
        "limited" | "again" if tried == 1 => {
            let named = if what == "limited" { "x-envoy-ratelimited" } else { "x-again" };
            let mut reply = reply(got);
            *reply.status_mut() = StatusCode::from_u16(u16::try_from(argument).unwrap()).unwrap();
            reply.headers_mut().insert(named, "true".parse().unwrap());
            return reply;
        }
        "cut" if tried == 1 => panic!("the connection is broken on purpose"),
        "bytes" => got = "x".repeat(usize::try_from(argument).unwrap()),
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
        let is_theirs = name.starts_with("x-envoy-") && !name.starts_with("x-envoy-fault-");
        if is_said && !own.contains(&name) && !is_theirs {
            // Several lines or one with commas: the same list (RFC 9110 §5.3).
            let values = all.entry(name).or_default();
            values.extend(value.to_str().unwrap().split(',').map(str::trim));
        }
    }
    format!("{all:?}")
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
        let address: std::net::SocketAddr = ([127, 0, 0, 1], listen).into();
        let to_envoy = Mesh::builder()
            .endpoints("shop", [address])
            .service("shop", |it| it.retry(tower_mesh::config::Retry::standard().attempts(1)))
            .build()
            .unwrap();
        let clients = [&to_envoy, &mesh].map(|mesh| mesh.client("shop").unwrap());
        let [envoy_client, client] = clients;
        let alive = (envoy, vec![to_envoy, mesh], servers, dir);
        Self { envoy: envoy_client, mesh: client, tries, got, _alive: alive }
    }

    /// What Envoy makes of it, and what the mesh makes of it.
    pub(crate) async fn ask(&self, ask: &Ask) -> [Seen; 2] {
        self.timed(ask).await.map(|(seen, _)| seen)
    }

    /// The same, and how long it took to the end of the body.
    pub(crate) async fn timed(&self, ask: &Ask) -> [(Seen, Duration); 2] {
        [see(&self.envoy, ask, "envoy").await, see(&self.mesh, ask, "mesh").await]
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
        let Self { method, path, headers, grpc, time, .. } = self;
        let kind = if *grpc { "gRPC" } else { method.as_str() };
        format!("{side} {kind} {path} {headers:?} {time}")
    }
}

async fn see(client: &Client, ask: &Ask, side: &str) -> (Seen, Duration) {
    let mut request = Request::builder().method(ask.method.clone()).uri(ask.path);
    request = request.header("host", "shop.example").header("x-id", ask.id(side));
    for (name, value) in &ask.headers {
        request = request.header(*name, *value);
    }
    if ask.grpc {
        request = request.version(Version::HTTP_2).header("te", "trailers");
        request = request.header("content-type", "application/grpc");
    }
    let began = Instant::now();
    let result = client.send(request.body(Body::empty()).unwrap()).await;
    let (response, own_flag) = match result {
        Ok(response) => {
            let injected = response.extensions().get() == Some(&Refusal::Fault);
            let failed = response.extensions().get::<Error>().map(Error::response_flag);
            (response, failed.or(injected.then_some("FI")))
        }
        // What the mesh says in an error, Envoy says in a response with a text of its own.
        Err(error) => (error.http_response(), Some(error.response_flag())),
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let took = began.elapsed();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let code = [&head.headers, &trailers].into_iter().find_map(|it| it.get("grpc-status"));
    let told = head.headers.iter().filter(|(name, _)| TOLD.contains(&name.as_str()));
    let told = told.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let flag = own_flag.map_or_else(|| text(&head.headers, "x-flags"), str::to_owned);
    let seen = Seen {
        status: head.status.as_u16(),
        grpc: code.map(|code| code.to_str().unwrap().parse().unwrap()),
        flag: flag.replace('-', ""),
        headers: told.collect(),
        body: String::from_utf8(body.to_bytes().to_vec()).unwrap(),
    };
    (seen, took)
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
            seen.headers.remove("grpc-message");
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
