//! HTTP/2 servers that say GOAWAY: what they accepted is answered once, what they refused is
//! sent again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Version};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower_mesh::{Body, Mesh, config::Retry};

use crate::support::{RawServer, frames::next_request, patience, storm};

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const HEADERS: u8 = 1;

/// `:status 200` with a body.
fn answer(stream: u32) -> Vec<u8> {
    let id = stream.to_be_bytes();
    let mut frames = vec![0, 0, 1, HEADERS, 4];
    frames.extend(id);
    frames.push(0x88);
    frames.extend([0, 0, 5, 0, 1]);
    frames.extend(id);
    frames.extend(b"hello");
    frames
}

fn goaway(last: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
    frame.extend(last.to_be_bytes());
    frame.extend([0; 4]);
    frame
}

async fn greet(stream: &mut TcpStream) {
    let mut preface = [0; 24];
    drop(stream.read_exact(&mut preface).await);
    drop(stream.write_all(&SETTINGS).await);
}

fn post() -> Request<Body> {
    Request::post("/").version(Version::HTTP_2).body(Body::from("hello")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_goaway_accepts_is_answered_and_not_sent_twice() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    // A runtime of its own: the server must not wait for the client's threads.
    let elsewhere =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = RawServer::start(move |mut stream, _| {
        let requests = Arc::clone(&count);
        async move {
            stream.set_nodelay(true).unwrap();
            greet(&mut stream).await;
            for served in 1..=10 {
                let request = next_request(&mut stream).await;
                if request == 0 {
                    return;
                }
                requests.fetch_add(1, Ordering::SeqCst);
                if served == 10 {
                    stream.write_all(&goaway(request)).await.unwrap();
                }
                stream.write_all(&answer(request)).await.unwrap();
            }
            drop(tokio::time::timeout(Duration::from_secs(5), next_request(&mut stream)).await);
        }
    });
    let server = elsewhere.spawn(server).await.unwrap();
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let calls = async move {
        storm(1, 4000, |_| async { client.send(post()).await?.into_body().bytes().await }).await
    };
    let answers = tokio::spawn(calls).await.unwrap();
    let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed[0]);
    assert_eq!(requests.load(Ordering::SeqCst), 4000);
    elsewhere.shutdown_background();
}

/// A server in a thread, whose GOAWAY lies unread in the client's socket, with the reset behind it,
/// when the client writes. Returns where it listens, and what makes it go; that waits until it has.
fn going() -> (std::net::SocketAddr, impl FnOnce()) {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        sync::mpsc,
    };
    fn answer_one(stream: &mut TcpStream) -> u32 {
        stream.read_exact(&mut [0; 24]).unwrap();
        stream.write_all(&SETTINGS).unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).unwrap();
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            stream.read_exact(&mut vec![0; length]).unwrap();
            if head[3] == HEADERS {
                let id = u32::from_be_bytes(head[5..].try_into().unwrap());
                stream.write_all(&answer(id)).unwrap();
                return id;
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go, told) = mpsc::channel();
    let (tell, gone) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // What is still to be sent when it is reset would be lost.
        stream.set_nodelay(true).unwrap();
        let last = answer_one(&mut stream);
        told.recv().unwrap();
        stream.write_all(&goaway(last)).unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        tell.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        answer_one(&mut stream);
        // Until the client has closed.
        drop(stream.read_to_end(&mut Vec::new()));
    });
    (address, move || {
        go.send(()).unwrap();
        gone.recv().unwrap();
    })
}

#[tokio::test]
async fn goaway_that_lies_behind_a_reset_is_heard() {
    let (address, go) = going();
    let mesh = Mesh::builder()
        .endpoints("users", [address])
        .service("users", |s| s.retry(Retry::safe_only()))
        .build()
        .unwrap();
    let client = mesh.client("users").unwrap();
    patience(client.send(post())).await.unwrap().into_body().bytes().await.unwrap();
    // Keeps this thread, and with it the reactor, from hearing of it.
    go();
    assert_eq!(patience(client.send(post())).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_post_that_goaway_refuses_is_sent_again() {
    let server = RawServer::start(|mut stream, number| async move {
        greet(&mut stream).await;
        let first = next_request(&mut stream).await;
        if number < 2 {
            stream.write_all(&goaway(0)).await.unwrap();
        } else {
            stream.write_all(&answer(first)).await.unwrap();
        }
        drop(tokio::time::timeout(Duration::from_secs(5), next_request(&mut stream)).await);
    })
    .await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .service("users", |s| s.retry(Retry::safe_only()))
        .build()
        .unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(patience(client.send(post())).await.unwrap().status(), 200);
    assert_eq!(server.connections(), 3);
}
