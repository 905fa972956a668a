//! What comes back: reqwest's own response, with its URL, its version, its body and its trailers.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Response, Version, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tower_mesh::{Error, Mesh};

use crate::{
    client, mesh,
    support::{BoxError, RawServer, Server, patience, raw::read_head, reply, server::body},
};

#[tokio::test]
async fn it_has_the_url_status_headers_and_length() {
    let server = Server::start(|_| async {
        let mut reply = reply("hello");
        reply.headers_mut().insert("x-a", "1".parse().unwrap());
        reply
    })
    .await;
    let response = client(&mesh(&server)).get("http://users.prod/a?b=c").send().await.unwrap();
    assert_eq!(response.url().as_str(), "http://users.prod/a?b=c");
    assert_eq!(response.status(), 200);
    assert_eq!(response.version(), Version::HTTP_11);
    assert_eq!(response.headers()["x-a"], "1");
    assert_eq!(response.content_length(), Some(5));
    // An address is the endpoint's affair: reqwest's own type for it cannot be made.
    assert_eq!(response.remote_addr(), None);
    assert_eq!(response.bytes().await.unwrap(), "hello");
}

#[tokio::test]
async fn extensions_of_a_layer_are_kept() {
    let server = Server::named("users").await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [server.address()])
        .call_layer(tower::util::MapResponseLayer::new(
            |mut response: Response<tower_mesh::Body>| {
                response.extensions_mut().insert("from a layer");
                response
            },
        ))
        .build()
        .unwrap();
    let response = client(&mesh).get("http://users.prod/").send().await.unwrap();
    assert_eq!(response.extensions().get::<&str>(), Some(&"from a layer"));
    assert_eq!(response.url().as_str(), "http://users.prod/");
}

#[tokio::test]
async fn json_and_text_are_read_from_it() {
    let server = Server::start(|_| async { reply(r#"{"id":7}"#) }).await;
    let http = client(&mesh(&server));
    let value: serde_json::Value =
        http.get("http://users.prod/").send().await.unwrap().json().await.unwrap();
    assert_eq!(value["id"], 7);
    let text = http.get("http://users.prod/").send().await.unwrap().text().await.unwrap();
    assert_eq!(text, r#"{"id":7}"#);
}

/// Answers with two parts and a trailer.
async fn streams() -> Server {
    Server::start(|_| async {
        let trailers = HeaderMap::from_iter([(header::ETAG, "\"1\"".parse().unwrap())]);
        let frames = [
            Frame::data(Bytes::from_static(b"one ")),
            Frame::data(Bytes::from_static(b"two")),
            Frame::trailers(trailers),
        ];
        let frames = frames.map(Ok::<_, BoxError>);
        Response::new(body(StreamBody::new(futures_util::stream::iter(frames))))
    })
    .await
}

#[tokio::test]
async fn a_body_is_read_part_by_part() {
    let server = streams().await;
    let http = client(&mesh(&server));
    let get = || http.get("http://users.prod/").version(Version::HTTP_2).send();
    let parts: Vec<Bytes> = get().await.unwrap().bytes_stream().map(Result::unwrap).collect().await;
    assert_eq!(parts.concat(), b"one two");
    let mut response = get().await.unwrap();
    let mut read = Vec::new();
    while let Some(part) = response.chunk().await.unwrap() {
        read.extend_from_slice(&part);
    }
    assert_eq!(read, b"one two");
}

#[tokio::test]
async fn trailers_come_through() {
    let server = streams().await;
    let http = client(&mesh(&server));
    let request = http.get("http://users.prod/").version(Version::HTTP_2);
    let response: Response<reqwest::Body> = request.send().await.unwrap().into();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()[header::ETAG], "\"1\"");
    assert_eq!(collected.to_bytes(), "one two");
}

#[tokio::test]
async fn a_request_streams_in_both_directions_at_once() {
    let server = Server::start(|request| async { Response::new(body(request.into_body())) }).await;
    let http = client(&mesh(&server));
    let (parts, receiver) =
        tokio::sync::mpsc::unbounded_channel::<Result<&'static str, BoxError>>();
    let mut receiver = receiver;
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let request = http.post("http://users.prod/").version(Version::HTTP_2);
    let sending = request.body(reqwest::Body::wrap_stream(stream)).send();
    parts.send(Ok("ping")).unwrap();
    let mut response = patience(sending).await.unwrap();
    assert_eq!(patience(response.chunk()).await.unwrap().unwrap(), "ping");
    parts.send(Ok("pong")).unwrap();
    assert_eq!(patience(response.chunk()).await.unwrap().unwrap(), "pong");
    drop(parts);
    // The end of an HTTP/2 stream may come as an empty part.
    while let Some(part) = patience(response.chunk()).await.unwrap() {
        assert!(part.is_empty());
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_of_the_mesh_beneath_reqwests() {
    let server = Server::start(|_| async {
        let first = Ok(Frame::data(Bytes::from_static(b"part")));
        let broken = async {
            // Not before the first part is on its way.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err::<Frame<Bytes>, BoxError>("broken".into())
        };
        let parts = futures_util::stream::iter([first]).chain(futures_util::stream::once(broken));
        Response::new(body(StreamBody::new(parts)))
    })
    .await;
    let http = client(&mesh(&server));
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let request = http.get("http://users.prod/").version(version);
        let error = request.send().await.unwrap().bytes().await.unwrap_err();
        let error = Error::from(error);
        assert_eq!(error.kind(), tower_mesh::ErrorKind::Transport, "{error:?}");
        assert_eq!(error.phase(), tower_mesh::Phase::Body);
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_the_callers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = RawServer::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut said = [0; 4];
        stream.read_exact(&mut said).await.unwrap();
        stream.write_all(&said.repeat(2)).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let mesh = Mesh::builder().endpoints("users.prod", [server.address()]).build().unwrap();
    let request = client(&mesh).get("http://users.prod/");
    let request = request.header("connection", "upgrade").header("upgrade", "x");
    let response = patience(request.send()).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut bytes = patience(response.upgrade()).await.unwrap();
    bytes.write_all(b"ping").await.unwrap();
    let mut said = [0; 8];
    patience(bytes.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, *b"pingping");
}
