//! Kept HTTP/1.1 connections that the server has closed, which the reactor has not reported yet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use tower_mesh::Mesh;

use support::{get, patience, post, storm};

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
