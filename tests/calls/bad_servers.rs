//! Servers that lie, stall, flood and vanish: a clear error within the deadline, never a hang.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tower_mesh::{Body, Error, ErrorKind, Mesh, Phase, Retry, config::Address};

use crate::support::{RawServer, Server, get, patience, raw::read_head};

/// Answers every request with these bytes and closes.
async fn says(bytes: &'static [u8]) -> RawServer {
    RawServer::start(move |mut stream, _| async move {
        if read_head(&mut stream).await {
            drop(stream.write_all(bytes).await);
            drop(stream.flush().await);
        }
    })
    .await
}

async fn ask(server: &RawServer) -> Result<http::Response<Body>, Error> {
    let mesh = Mesh::builder()
        .endpoints("users.prod", [server.address()])
        .service("users.prod", |s| {
            s.timeout(Duration::from_millis(500))
                .idle_timeout(Duration::from_millis(500))
                .retry(Retry::safe_only())
        })
        .build()
        .unwrap();
    patience(mesh.client("users.prod").unwrap().send(get("/"))).await
}

async fn failure(server: &RawServer) -> Error {
    clear(ask(server).await.unwrap_err(), &server.address())
}

/// It names the service, the endpoint, and what to do.
fn clear(error: Error, address: &Address) -> Error {
    let text = error.to_string();
    assert!(text.contains("users.prod") && text.contains(&address.to_string()), "{text}");
    assert!(text.contains("check"), "{text}");
    error
}

#[tokio::test]
async fn garbage() {
    let server = says(b"\x00\x01\x02 this is no HTTP \xff\xfe\r\n\r\n").await;
    assert_eq!(failure(&server).await.kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn nothing_at_all() {
    let server = says(b"").await;
    assert_eq!(failure(&server).await.kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn half_a_head() {
    let server = says(b"HTTP/1.1 200 OK\r\ncontent-le").await;
    assert_eq!(failure(&server).await.kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn contradicting_lengths() {
    let server =
        says(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello").await;
    assert_eq!(failure(&server).await.kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn a_reset_instead_of_an_answer() {
    let server = RawServer::start(|mut stream: TcpStream, _| async move {
        read_head(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_eq!(failure(&server).await.kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn silence() {
    let server = RawServer::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let error = failure(&server).await;
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Headers));
}

#[tokio::test]
async fn a_head_that_never_ends() {
    let server = RawServer::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n").await);
        let line = b"x-flood: 0123456789012345678901234567890123456789\r\n";
        while stream.write_all(line).await.is_ok() {}
    })
    .await;
    let error = failure(&server).await;
    assert_eq!(error.kind(), ErrorKind::Transport, "{}", error.chain());
}

#[tokio::test]
async fn a_head_that_drips() {
    let server = RawServer::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        for byte in b"HTTP/1.1 200 OK\r\nx-slow: yes\r\n\r\n" {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    })
    .await;
    assert!(failure(&server).await.is_timeout());
}

#[tokio::test]
async fn a_flood_of_http_2_headers() {
    let server = Server::start(|_| async {
        let mut answer = crate::support::reply("hello");
        for n in 0..2000 {
            let name = http::HeaderName::try_from(format!("x-flood-{n}")).unwrap();
            answer.headers_mut().insert(name, http::HeaderValue::from_static("0123456789"));
        }
        answer
    })
    .await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [server.address()])
        .service("users.prod", |s| s.timeout(Duration::from_secs(2)).retry(Retry::safe_only()))
        .build()
        .unwrap();
    let mut request = get("/");
    *request.version_mut() = http::Version::HTTP_2;
    let answer = patience(mesh.client("users.prod").unwrap().send(request)).await;
    // It is more than the 16 KiB of headers that hyper takes.
    let error = clear(answer.unwrap_err(), &server.address());
    let found = (error.kind(), error.phase());
    assert_eq!(found, (ErrorKind::Transport, Phase::Headers), "{}", error.chain());
}

#[tokio::test]
async fn a_body_cut_short() {
    let server = says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").await;
    let answer = ask(&server).await.unwrap();
    let error = patience(answer.into_body().bytes()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Transport, Phase::Body), "{error}");
}

#[tokio::test]
async fn a_body_of_broken_chunks() {
    let server =
        says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n").await;
    let answer = ask(&server).await.unwrap();
    let error = patience(answer.into_body().bytes()).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Body, "{error}");
}

#[tokio::test]
async fn a_body_that_stalls() {
    let server = RawServer::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun";
        stream.write_all(head).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let mut body = ask(&server).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
    let error = patience(body.frame()).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Body), "{error}");
}

#[tokio::test]
async fn a_bad_server_is_left_for_the_good_one() {
    let bad = says(b"garbage\r\n\r\n").await;
    let good = Server::named("good").await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [bad.address(), good.address()])
        .service("users.prod", |s| s.retry(Retry::standard()))
        .build()
        .unwrap();
    let client = mesh.client("users.prod").unwrap();
    for _ in 0..200 {
        let answer = patience(client.send(get("/"))).await.unwrap();
        assert_eq!(answer.into_body().text().await.unwrap(), "good");
    }
    assert!(bad.connections() <= 10, "{} tries of a server of garbage", bad.connections());
}

#[tokio::test]
async fn answers_before_the_request_was_read() {
    // The server answers and closes without reading the large body.
    let server = RawServer::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        drop(
            stream
                .write_all(
                    b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                )
                .await,
        );
        drop(stream.shutdown().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
    let mesh = Mesh::builder().endpoints("users.prod", [server.address()]).build().unwrap();
    let body = Body::from(vec![b'x'; 8 * 1024 * 1024]);
    let request = http::Request::post("/").body(body).unwrap();
    match patience(mesh.client("users.prod").unwrap().send(request)).await {
        Ok(answer) => assert_eq!(answer.status(), 413),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Transport, "{error}"),
    }
}
