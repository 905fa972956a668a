//! A server for the examples: HTTP/1.1, HTTP/2 and gRPC on one port, as well or ill as it is told.
#![allow(dead_code, reason = "shared: each example uses a part")]

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture as Boxed, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{interval, sleep},
};
use tonic::{Status, codegen::Service};

use super::greeter::{BoxFuture, Greeter, GreeterServer, HelloReply, HelloRequest, Replies};

/// The response header that says which replica answered.
pub(crate) const REPLICA: &str = "x-replica";

type Error = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, Error>>;

/// One server process, as far as a client can tell. Dropping it kills it.
pub(crate) struct Replica {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// What a replica does with a connection before it answers on it: a TLS handshake.
pub(crate) trait Accept: Send + Sync + 'static {
    fn accept(&self, stream: TcpStream) -> Boxed<'static, io::Result<Box<dyn Stream>>>;
}

/// A connection that is ready for requests.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Plaintext.
struct Plain;

impl Accept for Plain {
    fn accept(&self, stream: TcpStream) -> Boxed<'static, io::Result<Box<dyn Stream>>> {
        Box::pin(async { Ok(Box::new(stream) as Box<dyn Stream>) })
    }
}

/// What a replica is told to be like, and what it has seen.
struct State {
    name: String,
    delay_ms: AtomicU64,
    failing: AtomicBool,
    dead: AtomicBool,
    requests: AtomicU64,
}

impl Replica {
    /// Listens on a free port of loopback and answers in about a millisecond.
    pub(crate) async fn start(name: &str) -> io::Result<Self> {
        Self::behind(Arc::new(Plain), name).await
    }

    /// The same, over connections that `door` lets in.
    pub(crate) async fn behind(door: Arc<dyn Accept>, name: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            name: name.to_owned(),
            delay_ms: AtomicU64::new(1),
            failing: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            requests: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, door, Arc::clone(&state)));
        Ok(Self { address, state, task })
    }

    pub(crate) fn name(&self) -> &str {
        &self.state.name
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests seen so far, failed ones included.
    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Relaxed)
    }

    /// Waits this many milliseconds before each answer.
    pub(crate) fn delay(&self, milliseconds: u64) {
        self.state.delay_ms.store(milliseconds, Relaxed);
    }

    /// Answers every request with 503 or gRPC's `UNAVAILABLE`, or no longer does.
    pub(crate) fn fail(&self, failing: bool) {
        self.state.failing.store(failing, Relaxed);
    }

    /// Breaks every connection and refuses new ones, as a killed process does.
    pub(crate) fn kill(&self) {
        self.state.dead.store(true, Relaxed);
        self.task.abort();
    }

    /// What is wrong with it, in a word.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        if self.state.dead.load(Relaxed) {
            Some("killed")
        } else if self.state.failing.load(Relaxed) {
            Some("failing")
        } else {
            (self.state.delay_ms.load(Relaxed) > 1).then_some("slow")
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, door: Arc<dyn Accept>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        // The set is emptied of ended connections, and ends the others when it is dropped.
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                drop(stream.set_nodelay(true));
                let (state, accepted) = (Arc::clone(&state), door.accept(stream));
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                connections.spawn(async move {
                    let Ok(stream) = accepted.await else { return };
                    let builder = Builder::new(TokioExecutor::new());
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    state.requests.fetch_add(1, Relaxed);
    sleep(Duration::from_millis(state.delay_ms.load(Relaxed))).await;
    let content = request.headers().get(CONTENT_TYPE);
    let is_grpc = content.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let mut answer = match (is_grpc, state.failing.load(Relaxed)) {
        (true, true) => {
            Status::unavailable("told to fail").into_http::<tonic::body::Body>().map(body)
        }
        (true, false) => {
            let mut server = GreeterServer::new(Hello(Arc::clone(&state)));
            server.call(request).await?.map(body)
        }
        (false, true) => {
            let mut answer = Response::new(text("told to fail"));
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            answer
        }
        (false, false) => plain(&state, request).await,
    };
    if let Ok(name) = HeaderValue::from_str(&state.name) {
        answer.headers_mut().insert(REPLICA, name);
    }
    Ok(answer)
}

/// `POST` counts what it gets, `/stream` answers line by line, the rest greets.
async fn plain(state: &State, request: Request<Incoming>) -> Answer {
    let name = &state.name;
    if request.method() == Method::POST {
        let mut bytes = 0;
        let mut sent = request.into_body();
        while let Some(Ok(frame)) = sent.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
        return Response::new(text(format!("{name} has received {bytes} bytes")));
    }
    if request.uri().path() == "/stream" {
        let ticks = stream::unfold(interval(Duration::from_millis(50)), |mut ticks| async {
            ticks.tick().await;
            Some(((), ticks))
        });
        let lines = ticks.enumerate().take(4).map(|(number, ())| {
            Ok::<_, Error>(Frame::data(Bytes::from(format!("line {}", number + 1))))
        });
        return Response::new(StreamBody::new(lines).boxed_unsync());
    }
    Response::new(text(format!("{name} greets {}", request.uri().path())))
}

fn text(text: impl Into<Bytes>) -> UnsyncBoxBody<Bytes, Error> {
    Full::new(text.into()).map_err(Into::into).boxed_unsync()
}

fn body<B>(body: B) -> UnsyncBoxBody<Bytes, Error>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// The gRPC service of a replica.
struct Hello(Arc<State>);

impl Greeter for Hello {
    fn say_hello(
        &self,
        request: tonic::Request<HelloRequest>,
    ) -> BoxFuture<Result<tonic::Response<HelloReply>, Status>> {
        let message = format!("hello {}, this is {}", request.get_ref().name, self.0.name);
        Box::pin(async { Ok(tonic::Response::new(HelloReply { message })) })
    }

    fn count(
        &self,
        request: tonic::Request<HelloRequest>,
    ) -> BoxFuture<Result<tonic::Response<Replies>, Status>> {
        let name = request.into_inner().name;
        let replies = stream::iter(1..=3)
            .map(move |number| Ok(HelloReply { message: format!("{number}, {name}") }));
        let replies: Replies = Box::pin(replies);
        Box::pin(async { Ok(tonic::Response::new(replies)) })
    }
}
