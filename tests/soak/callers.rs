//! Callers of each kind, who check what they are answered.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::{sync::watch, task::JoinSet};
use tower_mesh::{Body, Call, Client, Mesh};

use crate::support::{BoxError, GreeterClient, HelloRequest};

#[derive(Clone, Copy)]
enum Kind {
    Http1,
    Http2,
    Post,
    Grpc,
}

const KINDS: [(Kind, &str); 4] = [
    (Kind::Http1, "HTTP/1.1"),
    (Kind::Http2, "HTTP/2"),
    (Kind::Post, "POST"),
    (Kind::Grpc, "gRPC"),
];

/// What the calls came to.
#[derive(Default)]
pub(crate) struct Tally {
    calls: [AtomicU64; 4],
    slowest_micros: AtomicU64,
    failed: Mutex<Vec<String>>,
}

pub(crate) fn spawn(
    tasks: &mut JoinSet<()>,
    mesh: &Mesh,
    tally: &Arc<Tally>,
    stop: &watch::Sender<bool>,
    number: usize,
) {
    for (kind, _) in KINDS {
        let (users, greeter) = (mesh.client("users").unwrap(), mesh.client("greeter").unwrap());
        let (tally, stop) = (Arc::clone(tally), stop.subscribe());
        tasks.spawn(async move {
            for call in 0_u64.. {
                if *stop.borrow() {
                    break;
                }
                let text = format!("/{number}/{call}");
                let began = tokio::time::Instant::now();
                let answer = match kind {
                    Kind::Http1 => get(&users, &text, Version::HTTP_11).await,
                    Kind::Http2 => get(&users, &text, Version::HTTP_2).await,
                    Kind::Post => post(&users, &text).await,
                    Kind::Grpc => greet(&greeter, &text).await,
                };
                let took = u64::try_from(began.elapsed().as_micros()).unwrap();
                tally.slowest_micros.fetch_max(took, Relaxed);
                tally.note(kind, &text, answer);
                tokio::time::sleep(Duration::from_millis(fastrand::u64(1..10))).await;
            }
        });
    }
}

async fn get(client: &Client, path: &str, version: Version) -> Result<String, BoxError> {
    let request = Request::get(path).version(version).body(Body::empty())?;
    text(client.send(request).await?).await
}

/// Streams a body that is kept for a retry.
async fn post(client: &Client, text_: &str) -> Result<String, BoxError> {
    let (first, second) = text_.split_at(1);
    let frames = [first, second]
        .map(|part| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(part.as_bytes()))));
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    let call = Call::new().idempotent(true);
    text(client.send(Request::post("/").extension(call).body(body)?).await?).await
}

async fn text(response: http::Response<Body>) -> Result<String, BoxError> {
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()).into());
    }
    Ok(response.into_body().text().await?)
}

async fn greet(client: &Client, name: &str) -> Result<String, BoxError> {
    let mut greeter = GreeterClient::new(client.clone());
    Ok(greeter.say_hello(HelloRequest { name: name.to_owned() }).await?.into_inner().message)
}

// === impl Tally ===

impl Tally {
    fn note(&self, kind: Kind, asked: &str, answer: Result<String, BoxError>) {
        self.calls[kind as usize].fetch_add(1, Relaxed);
        let failure = match answer {
            Ok(answer) if answer == asked => return,
            Ok(answer) => format!("asked {asked}, answered {answer}"),
            Err(error) => {
                let source = error.source().map(ToString::to_string).unwrap_or_default();
                format!("{error}: {source}")
            }
        };
        self.failed.lock().unwrap().push(format!("{}: {failure}", KINDS[kind as usize].1));
    }

    pub(crate) fn assert_none_failed(&self) {
        let failed = self.failed.lock().unwrap();
        let first: Vec<_> = failed.iter().take(10).collect();
        assert!(failed.is_empty(), "{} calls failed: {first:#?}", failed.len());
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: Vec<u64> = self.calls.iter().map(|calls| calls.load(Relaxed)).collect();
        write!(f, "{} calls (", calls.iter().sum::<u64>())?;
        for ((_, name), calls) in KINDS.iter().zip(calls) {
            write!(f, "{name} {calls}, ")?;
        }
        let slowest = self.slowest_micros.load(Relaxed) / 1_000;
        write!(f, "slowest {slowest} ms), {} failed", self.failed.lock().unwrap().len())
    }
}
