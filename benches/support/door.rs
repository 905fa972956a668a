//! reqwest's client, plain and over the mesh: the same calls in the same words, over TCP on
//! loopback.
//!
//! A plain client takes no connector, so both speak TCP. The servers are threads of their own:
//! callgrind counts the thread of the measured function only.
#![allow(clippy::unwrap_used, reason = "bench support")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use tokio::runtime::Runtime;
use tower_mesh::Mesh;

use crate::support::{
    calls::{self, ANSWER, Caller, WARM_UP, drive},
    peer::{Answer, Peer},
    script::{Script, Told},
    subjects::ENDPOINTS,
};

/// Which client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// `reqwest::Client`, without what would change the request.
    Plain,
    /// The front door of a mesh as it is by default.
    Mesh,
}

/// What is measured: a client whose calls have reached every server.
pub(crate) struct Subject(Box<dyn Run>);

trait Run {
    fn run(&self, concurrency: u32, calls: u32);
    /// One call of this method within this time.
    fn send(&self, method: http::Method, timeout: Duration) -> Option<StatusCode>;
}

struct Requests<C> {
    runtime: Runtime,
    caller: C,
    /// Keeps the mesh.
    _mesh: Option<Mesh>,
}

/// The same words for both clients: nothing of what is measured is in only one of them.
macro_rules! caller {
    ($name:ident, $client:ty, $builder:ty) => {
        #[derive(Clone)]
        struct $name {
            client: $client,
            url: Arc<str>,
            version: Version,
            timeout: Option<Duration>,
        }

        impl $name {
            fn request(&self, method: http::Method) -> $builder {
                let request = self.client.request(method, &*self.url).version(self.version);
                let request = request.headers(headers()).body(vec![b'x'; 1024]);
                match self.timeout {
                    Some(timeout) => request.timeout(timeout),
                    None => request,
                }
            }
        }

        impl Caller for $name {
            async fn call(&self) {
                let response = self.request(http::Method::POST).send().await.unwrap();
                assert_eq!(response.status(), 200);
                assert_eq!(response.bytes().await.unwrap().len(), ANSWER);
            }
        }

        impl Run for Requests<$name> {
            fn run(&self, concurrency: u32, calls: u32) {
                drive(&self.runtime, concurrency, calls, &self.caller);
            }

            fn send(&self, method: http::Method, timeout: Duration) -> Option<StatusCode> {
                // A plain client starts its timer when it is asked to send.
                let call = async { self.caller.request(method).timeout(timeout).send().await };
                let response = self.runtime.block_on(calls::patiently(call));
                response.ok().map(|response| response.status())
            }
        }
    };
}

caller!(Plain, reqwest::Client, reqwest::RequestBuilder);
caller!(Meshed, tower_mesh::adapt::reqwest::Client, tower_mesh::adapt::reqwest::RequestBuilder);

/// Six headers.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bench/1"));
    headers.insert("x-tenant", HeaderValue::from_static("tenant-1"));
    headers.insert("x-region", HeaderValue::from_static("eu-central"));
    headers
}

// === impl Subject ===

impl Subject {
    pub(crate) fn new(door: Door, version: Version) -> Self {
        Self::bounded(door, version, None)
    }

    /// With a timeout of the request, far from what a call takes.
    pub(crate) fn bounded(door: Door, version: Version, timeout: Option<Duration>) -> Self {
        prove(door, version);
        let (subject, connections) = build(door, version, &Script::default(), timeout);
        subject.run(1, WARM_UP);
        let used = if door == Door::Plain { 1 } else { ENDPOINTS };
        assert_eq!(connections.load(Relaxed), used, "not every server is used");
        Self(subject)
    }

    pub(crate) fn run(&self, concurrency: u32, calls: u32) {
        self.0.run(concurrency, calls);
    }
}

/// Both end by the timeout of a request; the mesh alone survives a 503 where a retry is harmless.
fn prove(door: Door, version: Version) {
    let script = Script::default();
    let (subject, _) = build(door, version, &script, None);
    let long = Duration::from_secs(5);
    assert_eq!(subject.send(http::Method::PUT, long), Some(StatusCode::OK));
    script.fail_once();
    let survived = match door {
        Door::Plain => StatusCode::SERVICE_UNAVAILABLE,
        Door::Mesh => StatusCode::OK,
    };
    assert_eq!(subject.send(http::Method::PUT, long), Some(survived), "{door:?}: a 503");
    script.silence();
    assert_eq!(subject.send(http::Method::PUT, Duration::from_millis(100)), None, "{door:?}");
}

fn build(
    door: Door,
    version: Version,
    script: &Script,
    timeout: Option<Duration>,
) -> (Box<dyn Run>, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let servers: Vec<SocketAddr> =
        (0..ENDPOINTS).map(|_| serve(version, script, &connections)).collect();
    let runtime = calls::runtime();
    let url = Arc::from("http://users.prod/v1/users/7");
    let plain = reqwest::Client::builder().no_proxy().no_gzip().resolve("users.prod", servers[0]);
    let subject: Box<dyn Run> = match door {
        Door::Plain => {
            let plain = if version == Version::HTTP_2 {
                plain.http2_prior_knowledge()
            } else {
                plain.http1_only()
            };
            let url = Arc::from(format!("http://users.prod:{}/v1/users/7", servers[0].port()));
            let caller = Plain { client: plain.build().unwrap(), url, version, timeout };
            Box::new(Requests { runtime, caller, _mesh: None })
        }
        Door::Mesh => {
            let (mesh, client) = runtime.block_on(async {
                let mesh =
                    Mesh::builder().endpoints("users.prod", servers).seed(7).build().unwrap();
                mesh.ready().await.unwrap();
                let client =
                    mesh.reqwest(reqwest::Client::new()).no_proxy().no_gzip().build().unwrap();
                (mesh, client)
            });
            let caller = Meshed { client, url, version, timeout };
            Box::new(Requests { runtime, caller, _mesh: Some(mesh) })
        }
    };
    (subject, connections)
}

/// A server in threads of its own.
fn serve(version: Version, script: &Script, connections: &Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (script, connections) = (script.clone(), Arc::clone(connections));
    let answer = Arc::new(Answer::http());
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            connections.fetch_add(1, Relaxed);
            stream.set_nodelay(true).unwrap();
            let (answer, script) = (Arc::clone(&answer), script.clone());
            thread::spawn(move || {
                if version == Version::HTTP_2 {
                    http2(stream, Peer::new(answer, script));
                } else {
                    http1(stream, &script);
                }
            });
        }
    });
    address
}

fn http2(mut stream: TcpStream, mut peer: Peer) {
    let mut buffer = vec![0; 64 * 1024];
    let mut open = true;
    while open {
        peer.take(usize::MAX, |bytes| open = stream.write_all(bytes).is_ok());
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => peer.feed(&buffer[..read]),
        }
    }
}

/// Answers each request of 1 KiB as the canned peer of HTTP/2 does.
fn http1(mut stream: TcpStream, script: &Script) {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
        content-length: 22\r\ndate: Wed, 25 Nov 2026 12:00:00 GMT\r\n\r\n{\"id\":7,\"name\":\"sev\"}\n";
    const FAILURE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let mut buffer = vec![0; 64 * 1024];
    let mut seen: Vec<u8> = Vec::new();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => seen.extend_from_slice(&buffer[..read]),
        }
        while let Some(head) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            if seen.len() < head + 4 + 1024 {
                break;
            }
            seen.drain(..head + 4 + 1024);
            let answer = match script.next() {
                Told::Answer => OK,
                Told::Fail => FAILURE,
                Told::Silence => continue,
            };
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}
