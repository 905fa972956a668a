//! Kept HTTP/1.1 connections: those that the server has closed, which the reactor has not reported
//! yet, and those that outlive a failed further one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Service;
use tower_mesh::{
    BoxError, Mesh,
    config::Balancer,
    transport::{ConnectTarget, Connector},
};

use crate::support::{
    RawServer, Server, cluster, failures, fetch, get, one_cluster, patience, post, raw, reply,
    storm,
};

/// Answers one request on each of `kept` connections, and when told, closes them all.
struct Closing {
    address: SocketAddr,
    close: mpsc::Sender<()>,
    closed: mpsc::Receiver<()>,
}

impl Closing {
    fn start(kept: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (close, told) = mpsc::channel();
        let (tell, closed) = mpsc::channel();
        thread::spawn(move || {
            let mut streams: Vec<_> = (0..kept).map(|_| listener.accept().unwrap().0).collect();
            streams.iter_mut().for_each(read_head);
            streams.iter_mut().for_each(answer);
            told.recv().unwrap();
            drop(streams);
            tell.send(()).unwrap();
            while let Ok((mut stream, _)) = listener.accept() {
                read_head(&mut stream);
                answer(&mut stream);
            }
        });
        Self { address, close, closed }
    }

    /// Closes them, and keeps this thread, and with it the reactor, from everything else.
    fn close(&self) {
        self.close.send(()).unwrap();
        self.closed.recv().unwrap();
    }
}

fn read_head(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    let mut byte = [0_u8; 1];
    while !seen.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap() == 0 {
            return;
        }
        seen.push(byte[0]);
    }
}

fn answer(stream: &mut TcpStream) {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
}

async fn a_post_is_answered(kept: usize) {
    let server = Closing::start(kept);
    let mesh = Mesh::builder().endpoints("users", [server.address]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers =
        storm(kept, kept, |_| async { client.send(get("/")).await?.into_body().bytes().await });
    assert!(patience(answers).await.iter().all(Result::is_ok));
    server.close();
    assert_eq!(patience(client.send(post("/", ""))).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_post_does_not_meet_a_closed_connection() {
    a_post_is_answered(1).await;
}

/// A connection whose close is seen only when it is looked at, as on a busy runtime.
struct Unreported {
    closed: Option<Arc<AtomicBool>>,
    answer: &'static [u8],
    reader: Option<Waker>,
}

impl hyper::rt::Read for Unreported {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let closed = self.closed.as_ref().is_some_and(|closed| closed.load(Ordering::SeqCst));
        let answer = std::mem::take(&mut self.answer);
        if answer.is_empty() && !closed {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buf.put_slice(answer);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Unreported {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_post_does_not_give_up_before_many_closed_connections() {
    const KEPT: usize = 100;
    let (closed, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (close, count) = (Arc::clone(&closed), Arc::clone(&made));
    let connect = tower::layer::layer_fn(move |_| {
        let (closed, made) = (Arc::clone(&closed), Arc::clone(&made));
        tower::service_fn(move |_: ConnectTarget| {
            let old = made.fetch_add(1, Ordering::SeqCst) < KEPT;
            let closed = old.then(|| Arc::clone(&closed));
            async { Ok::<_, BoxError>(Unreported { closed, answer: b"", reader: None }) }
        })
    });
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let mesh =
        Mesh::builder().endpoints("users", [address]).connect_layer(connect).build().unwrap();
    let client = mesh.client("users").unwrap();
    // Bodies that are held until all calls are answered hold their connections too.
    let mut answers = Vec::new();
    for _ in 0..KEPT {
        answers.push(patience(client.send(get("/"))).await.unwrap());
    }
    drop(answers);
    tokio::task::yield_now().await;
    assert_eq!(count.load(Ordering::SeqCst), KEPT);
    close.store(true, Ordering::SeqCst);
    assert_eq!(patience(client.send(post("/", ""))).await.unwrap().status(), 200);
    assert_eq!(count.load(Ordering::SeqCst), KEPT + 1);
}

#[tokio::test]
async fn an_http1_endpoint_with_a_connection_is_not_shunned_for_a_failed_further_one() {
    let slow = || {
        Server::start(|_| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            reply("hello")
        })
    };
    let (narrow, wide) = (slow().await, slow().await);
    let dials = Arc::new(AtomicUsize::new(0));
    let (at, count) = (narrow.address(), Arc::clone(&dials));
    // One connection to the first endpoint, and then no more.
    let once = tower::layer::layer_fn(move |connect: Connector| {
        let (at, dials) = (at.clone(), Arc::clone(&count));
        tower::service_fn(move |target: ConnectTarget| {
            let mut connect = connect.clone();
            let again = target.address == at && dials.fetch_add(1, Ordering::SeqCst) > 0;
            async move { if again { Err("no more".into()) } else { connect.call(target).await } }
        })
    });
    let mut cluster = cluster([narrow.address(), wide.address()]);
    cluster.balancer = Some(Balancer::RoundRobin);
    cluster.transport.connect_backoff_base = Some(Duration::from_secs(5));
    let mesh = one_cluster(cluster).connect_layer(once).build().unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(failures(&storm(1, 4, |_| fetch(&client, get("/"))).await), [""; 0]);
    assert_eq!(failures(&storm(8, 8, |_| fetch(&client, get("/"))).await), [""; 0]);
    assert!(dials.load(Ordering::SeqCst) > 1, "no further connection was tried");
    let before = narrow.requests();
    assert_eq!(failures(&storm(1, 10, |_| fetch(&client, get("/"))).await), [""; 0]);
    assert_eq!(narrow.requests() - before, 5);
}

/// A body that is still being sent when its answer is here: its connection is ready a moment later.
struct Late(Pin<Box<dyn Future<Output = ()> + Send>>, Option<bytes::Bytes>);

impl http_body::Body for Late {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        if self.1.is_some() {
            std::task::ready!(self.0.as_mut().poll(cx));
        }
        Poll::Ready(self.1.take().map(|data| Ok(http_body::Frame::data(data))))
    }
}

/// One caller after another needs one connection, even if the last one is not quite over.
#[tokio::test]
async fn a_connection_that_is_about_to_be_ready_is_waited_for() {
    let server = RawServer::start(|mut stream, _| async move {
        while raw::read_head(&mut stream).await {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly";
            stream.write_all(answer).await.unwrap();
            // The rest of the request, to the end of its last chunk.
            let mut rest = Vec::new();
            while !rest.ends_with(b"0\r\n\r\n") {
                rest.push(stream.read_u8().await.unwrap());
            }
        }
    })
    .await;
    let mesh = one_cluster(cluster([server.address()])).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    for _ in 0..20 {
        let over = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&over);
        let wait = Box::pin(async move { told.notified().await });
        let body = Late(wait, Some(bytes::Bytes::from_static(b"late")));
        let request = http::Request::post("/").body(tower_mesh::Body::new(body)).unwrap();
        patience(fetch(&client, request)).await.unwrap();
        // The connection's task has still to hear of it when the next call begins.
        over.notify_one();
    }
    assert_eq!(server.connections(), 1);
}
