//! Streams that stand while something changes below them: a response that is read slowly, an upload of
//! known length, a stream of gRPC. What each has carried is verified whole.

use std::{
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{Request, Response, Version, header::CONTENT_LENGTH};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{sync::watch, task::JoinHandle};
use tower_mesh::{Body, Call, Client};

use super::{
    BoxError,
    calls::{over, patience},
    greeter::{
        BoxFuture, Greeter, GreeterClient, GreeterServer, HelloReply, HelloRequest, Replies,
    },
    server::{Reply, body, reply},
    tls_server::{Tls, TlsServer},
};

/// What each stream carries. Windows and sockets hold less: whoever does not read stops the sender.
const LENGTH: usize = 24 << 20;
/// What a stream gets on by at a time.
const STEP: usize = 16 << 10;
/// How far a stream may get before it is let go.
const HELD: usize = 2 << 20;
/// How long a step takes before it is let go.
const PAUSE: Duration = Duration::from_millis(2);

/// The bytes of each stream, over and over; no length of a frame divides their number.
static PATTERN: LazyLock<Bytes> =
    LazyLock::new(|| (0..65_521_u32).map(|n| ((n % 251) ^ (n / 251)).to_le_bytes()[0]).collect());

/// What the servers of a test have seen of the streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

/// Streams that stand until they are let go.
pub(crate) struct Held {
    stage: Stage,
    go: watch::Sender<bool>,
    streams: Vec<((&'static str, Version), JoinHandle<Result<(), String>>)>,
}

/// A body of [`LENGTH`] bytes.
struct Whole<S> {
    steps: S,
    left: usize,
}

/// Compares what comes with what was sent.
#[derive(Default)]
struct Compared(usize);

/// Answers for [`GreeterServer`].
struct Counts(Stage);

/// A step from this byte on.
fn step(offset: usize) -> Bytes {
    let mut step = Vec::with_capacity(STEP);
    let mut at = offset % PATTERN.len();
    while step.len() < STEP {
        let part = (STEP - step.len()).min(PATTERN.len() - at);
        step.extend_from_slice(&PATTERN[at..at + part]);
        at = (at + part) % PATTERN.len();
    }
    step.into()
}

/// The steps of one stream.
fn steps() -> impl Iterator<Item = Bytes> + Send {
    (0..LENGTH).step_by(STEP).map(step)
}

/// A call that nothing repeats.
pub(crate) fn once<T>(mut request: Request<T>) -> Request<T> {
    request.extensions_mut().insert(call());
    request
}

fn call() -> Call {
    Call::new().no_retry().timeout(Duration::from_secs(60))
}

/// Waits as long as a stream that has got so far is held.
async fn pace(go: &mut watch::Receiver<bool>, got: usize) {
    if got < HELD {
        if !*go.borrow() {
            tokio::time::sleep(PAUSE).await;
        }
    } else {
        drop(go.wait_for(|go| *go).await);
    }
}

// === impl Stage ===

impl Stage {
    /// A server that holds such streams, by HTTP and by gRPC, and answers others at once.
    pub(crate) async fn serve(&self, tls: Tls) -> TlsServer {
        let (stage, greeter) = (self.clone(), GreeterServer::new(Counts(self.clone())));
        tls.serve(move |request| {
            let (stage, mut greeter) = (stage.clone(), greeter.clone());
            async move {
                match request.uri().path() {
                    "/download" => stage.download(),
                    "/upload" => stage.upload(request).await,
                    "/" => reply("hello"),
                    _ => match tonic::codegen::Service::call(&mut greeter, request).await {
                        Ok(reply) => reply.map(body),
                        Err(never) => match never {},
                    },
                }
            }
        })
        .await
    }

    fn begins(&self) {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
    }

    fn ends(&self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }

    /// All steps; the stream begins now, and ends when the last of them was asked for.
    fn steps(&self) -> impl Stream<Item = Bytes> + Send + use<> {
        self.begins();
        let stage = self.clone();
        let mut left = LENGTH / STEP;
        stream::iter(steps()).inspect(move |_| {
            left -= 1;
            if left == 0 {
                stage.ends();
            }
        })
    }

    fn download(&self) -> Reply {
        Response::new(body(Whole { steps: self.steps(), left: LENGTH }))
    }

    async fn upload(&self, request: Request<Incoming>) -> Reply {
        self.begins();
        let announced = request.headers().get(CONTENT_LENGTH).cloned();
        let mut compared = Compared::default();
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return reply("it was cut") };
            if let Err(error) = compared.take(&frame.into_data().unwrap()) {
                return reply(error);
            }
        }
        self.ends();
        reply(format!("{} of {announced:?}", compared.0))
    }
}

impl Greeter for Counts {
    fn say_hello(
        &self,
        _request: tonic::Request<HelloRequest>,
    ) -> BoxFuture<Result<tonic::Response<HelloReply>, tonic::Status>> {
        Box::pin(async { Ok(tonic::Response::new(HelloReply { message: "hello".into() })) })
    }

    fn count(
        &self,
        _request: tonic::Request<HelloRequest>,
    ) -> BoxFuture<Result<tonic::Response<Replies>, tonic::Status>> {
        let steps = self
            .0
            .steps()
            .enumerate()
            .map(|(number, _)| Ok(HelloReply { message: format!("{number:0STEP$}") }));
        let replies: Replies = Box::pin(steps);
        Box::pin(async { Ok(tonic::Response::new(replies)) })
    }
}

// === impl Held ===

impl Held {
    /// Begins one of each in each of these versions of HTTP, and where there is gRPC, one of that. They stand
    /// when it returns.
    pub(crate) async fn begin(client: &Client, versions: &[Version], stage: &Stage) -> Self {
        let go = watch::Sender::new(false);
        let mut streams = Vec::new();
        for version in versions.iter().copied() {
            let client = || client.clone();
            let of = |what| (what, version);
            let it = download(client(), version, go.subscribe());
            streams.push((of("download"), tokio::spawn(it)));
            streams.push((of("upload"), tokio::spawn(upload(client(), version, go.subscribe()))));
            if version == Version::HTTP_2 {
                streams.push((of("count"), tokio::spawn(count(client(), go.subscribe()))));
            }
        }
        let held = Self { stage: stage.clone(), go, streams };
        let begun = async {
            while held.stage.0.begun.load(Ordering::SeqCst) < held.streams.len() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        patience(begun).await;
        held
    }

    /// Lets them go on to their end: none had ended before, and all are whole.
    pub(crate) async fn end(self) {
        assert_eq!(self.stage.0.ended.load(Ordering::SeqCst), 0, "they stand until now");
        self.go.send_replace(true);
        for (what, stream) in self.streams {
            let came_to = patience(stream).await.unwrap();
            assert_eq!(came_to, Ok(()), "{what:?}");
        }
    }
}

/// Reads a response slowly.
async fn download(
    client: Client,
    version: Version,
    mut go: watch::Receiver<bool>,
) -> Result<(), String> {
    let request = Request::get("/download").body(Body::empty()).unwrap();
    let answer = client.send(once(over(version, request))).await.map_err(|error| error.chain())?;
    let (mut body, mut compared) = (answer.into_body(), Compared::default());
    let mut paid = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("after {}: {}", compared.0, error.chain()))?;
        compared.take(&frame.into_data().map_err(|_| "trailers")?)?;
        // A frame of HTTP/1.1 may be many steps.
        while paid < compared.0 {
            pace(&mut go, paid).await;
            paid += STEP;
        }
    }
    compared.whole()
}

/// Sends a request slowly, whose length is known.
async fn upload(client: Client, version: Version, go: watch::Receiver<bool>) -> Result<(), String> {
    let steps = stream::iter(steps().enumerate()).then(move |(number, step)| {
        let mut go = go.clone();
        async move {
            pace(&mut go, number * STEP).await;
            step
        }
    });
    let body = Body::new(Whole { steps: Box::pin(steps), left: LENGTH });
    let request = once(over(version, Request::post("/upload").body(body).unwrap()));
    let answer = client.send(request).await.map_err(|error| error.chain())?;
    let said = answer.into_body().text().await.map_err(|error| error.chain())?;
    let whole = format!("{LENGTH} of Some(\"{LENGTH}\")");
    if said == whole { Ok(()) } else { Err(said) }
}

/// Reads a stream of gRPC slowly.
async fn count(client: Client, mut go: watch::Receiver<bool>) -> Result<(), String> {
    let mut request = tonic::Request::new(HelloRequest::default());
    request.extensions_mut().insert(call());
    let answer = GreeterClient::new(client).count(request).await;
    let mut replies = answer.map_err(|status| format!("{status:?}"))?.into_inner();
    let mut number = 0;
    while let Some(reply) = replies.message().await.map_err(|status| format!("{status:?}"))? {
        if reply.message.len() != STEP || reply.message.parse() != Ok(number) {
            return Err(format!("another message in place of {number}"));
        }
        pace(&mut go, number * STEP).await;
        number += 1;
    }
    if number * STEP == LENGTH { Ok(()) } else { Err(format!("{number} messages")) }
}

// === impl Whole ===

impl<S: Stream<Item = Bytes> + Unpin> http_body::Body for Whole<S> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.steps.poll_next_unpin(cx).map(|step| {
            let step = step?;
            self.left -= step.len();
            Some(Ok(Frame::data(step)))
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

// === impl Compared ===

impl Compared {
    fn take(&mut self, mut data: &[u8]) -> Result<(), String> {
        while !data.is_empty() {
            let at = self.0 % PATTERN.len();
            let part = data.len().min(PATTERN.len() - at);
            if data[..part] != PATTERN[at..at + part] {
                return Err(format!("other bytes within {part} from {}", self.0));
            }
            self.0 += part;
            data = &data[part..];
        }
        Ok(())
    }

    fn whole(&self) -> Result<(), String> {
        if self.0 == LENGTH { Ok(()) } else { Err(format!("{} bytes", self.0)) }
    }
}
