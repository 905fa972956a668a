//! HTTP/1.1 servers that mean harm: answers cut at each byte, smuggled answers, floods, nonsense.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tower_mesh::{Body, Error, ErrorKind, Mesh, Phase, Retry};

use crate::support::{
    RawServer, Server, VERSIONS, fetch, get, over, patience, post, raw::read_head, reply, status,
};

/// A server that answers each connection's first request with these bytes, and closes.
async fn says(bytes: impl AsRef<[u8]> + Clone + Send + Sync + 'static) -> RawServer {
    RawServer::start(move |mut stream, _| {
        let bytes = bytes.clone();
        async move {
            if read_head(&mut stream).await {
                drop(stream.write_all(bytes.as_ref()).await);
            }
        }
    })
    .await
}

fn mesh(server: &RawServer) -> Mesh {
    let settings = |s: tower_mesh::ServiceSettings| {
        s.timeout(Duration::from_secs(2))
            .idle_timeout(Duration::from_secs(2))
            .retry(Retry::safe_only())
    };
    Mesh::builder()
        .endpoints("users", [server.address()])
        .service("users", settings)
        .build()
        .unwrap()
}

/// What one call to a server of these bytes comes to.
async fn ask(
    bytes: impl AsRef<[u8]> + Clone + Send + Sync + 'static,
) -> Result<Response<Bytes>, Error> {
    let server = says(bytes).await;
    let answer = patience(fetch(&mesh(&server).client("users").unwrap(), get("/"))).await;
    answer.inspect_err(|error| {
        // Whatever it met, it says who has answered so, and what to look at.
        let told = error.to_string();
        let address = server.address().to_string();
        assert!(told.contains("users") && told.contains(&address), "{told}");
        assert!(told.contains("check"), "{told}");
    })
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_is_never_taken_for_whole() {
    for whole in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        for cut in 0..whole.len() {
            // The last chunk's own end may be missing: all that matters was said.
            let answer = ask(&whole[..cut]).await;
            let said = String::from_utf8_lossy(&whole[..cut]);
            assert!(answer.is_err(), "{said:?} was taken for {answer:?}");
        }
        assert_eq!(ask(whole).await.unwrap().body(), "hello");
    }
}

#[tokio::test]
async fn a_second_answer_that_nobody_asked_for_is_not_given_to_the_next_call() {
    let server = RawServer::start(|mut stream, _| async move {
        let smuggled = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\
            HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
        while read_head(&mut stream).await && stream.write_all(smuggled).await.is_ok() {}
    })
    .await;
    let client = mesh(&server).client("users").unwrap();
    for _ in 0..20 {
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "ok");
    }
}

#[tokio::test]
async fn odd_answers_are_taken_only_where_they_are_unambiguous() {
    let good: BTreeMap<_, &[u8]> = BTreeMap::from([
        ("100 first", &b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..]),
        ("early hints", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nok"),
    ]);
    for (what, bytes) in good {
        assert_eq!(
            ask(bytes).await.unwrap_or_else(|e| panic!("{what}: {e}")).body(),
            "ok",
            "{what}"
        );
    }
    let bad: BTreeMap<_, &[u8]> = BTreeMap::from([
        ("nothing but 100", &b"HTTP/1.1 100 Continue\r\n\r\n"[..]),
        ("HTTP/0.9", b"ok"),
        ("status 000", b"HTTP/1.1 000 X\r\n\r\n"),
        ("negative length", b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok"),
        ("huge length", b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok"),
        (
            "huge chunk",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nok",
        ),
        ("nul in a header", b"HTTP/1.1 200 OK\r\na: b\0c\r\ncontent-length: 2\r\n\r\nok"),
    ]);
    for (what, bytes) in bad {
        let answer = ask(bytes).await;
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    let unreadable = b"HTTP/1.1 503 X\r\nretry-after: \xff\xff\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(ask(&unreadable[..]).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn floods_of_headers_are_refused() {
    for (count, length) in [(10_000, 10), (1, 8 << 20)] {
        let header = |n| format!("h{n}: {}\r\n", "x".repeat(length));
        let headers: String = (0..count).map(header).collect();
        let answer = ask(format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\nok")).await;
        let error = answer.unwrap_err();
        let found = (error.kind(), error.phase());
        let told = format!("{count} headers of {length} bytes: {}", error.chain());
        assert_eq!(found, (ErrorKind::Transport, Phase::Headers), "{told}");
    }
}

#[tokio::test]
async fn an_endless_flood_of_informational_answers_ends_with_the_deadline() {
    let server = RawServer::start(|mut stream, _| async move {
        let hints = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(2000);
        if read_head(&mut stream).await {
            while stream.write_all(&hints).await.is_ok() {}
        }
    })
    .await;
    let start = tokio::time::Instant::now();
    let client = mesh(&server).client("users").unwrap();
    patience(fetch(&client, get("/"))).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn answers_without_a_body_free_their_connection_and_their_place() {
    let server = Server::start(|request: Request<hyper::body::Incoming>| async move {
        match (request.method().as_str(), request.uri().path()) {
            ("HEAD", _) => {
                let mut reply = reply("");
                reply.headers_mut().insert("content-length", 5.into());
                reply
            }
            (_, "/204") => status(StatusCode::NO_CONTENT),
            (_, "/304") => status(StatusCode::NOT_MODIFIED),
            _ => reply(""),
        }
    })
    .await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .service("users", |s| s.max_requests(1))
        .build()
        .unwrap();
    let client = mesh.client("users").unwrap();
    let mut unread = Vec::new();
    for version in VERSIONS {
        for (method, path) in [("HEAD", "/"), ("GET", "/204"), ("GET", "/304"), ("GET", "/")] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let answer = patience(client.send(over(version, request))).await;
            unread.push(
                answer.unwrap_or_else(|error| panic!("{version:?} {method} {path}: {error}")),
            );
        }
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn what_is_in_flight_is_counted_down_whatever_callers_do() {
    let server = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        reply(vec![0; 100_000])
    })
    .await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    patience(crate::support::storm(30, 500, |n| {
        let client = client.clone();
        let request = over(VERSIONS[n % 2], if n % 3 == 0 { post("/", "x") } else { get("/") });
        async move {
            match n % 5 {
                0 => {
                    drop(
                        tokio::time::timeout(Duration::from_millis(1), client.send(request)).await,
                    );
                }
                1 => drop(client.send(request).await),
                2 => drop(client.send(request)),
                3 => {
                    use http_body_util::BodyExt;
                    let mut body = client.send(request).await.unwrap().into_body();
                    drop(body.frame().await);
                }
                _ => drop(fetch(&client, request).await.unwrap()),
            }
        }
    }))
    .await;
    let counted = || mesh.describe().to_string();
    let settled = async {
        while !counted().contains(" 0 in flight") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    drop(tokio::time::timeout(Duration::from_secs(3), settled).await);
    assert!(counted().contains(" 0 in flight"), "{}", counted());
}
