//! What a C-core server sees of a call, and what we see of its answer.

use std::time::Duration;

use http::{HeaderValue, Request as HttpRequest, Version};
use tonic::{Code, Request};
use tower_mesh::{Body, Call, Client, Mesh, config::Retry};

use crate::{
    grpcio::{Grpcio, count, say},
    nginx::at,
    support::{GreeterClient, HelloRequest, patience},
    tally::Tally,
};

fn hello(command: &str) -> HelloRequest {
    HelloRequest { name: command.to_owned() }
}

async fn server_and(retry: Retry) -> (Grpcio, Mesh, Client) {
    let server = Grpcio::start("one", &[]).await;
    let mesh = Mesh::builder()
        .endpoints("greeter", [at(server.port)])
        .service("greeter", |s| s.retry(retry))
        .build()
        .unwrap();
    let client = mesh.client("greeter").unwrap();
    (server, mesh, client)
}

#[tokio::test]
async fn unary_calls_and_streams() {
    let (_server, _mesh, client) = server_and(Retry::default()).await;
    assert_eq!(say(client.clone(), "who".into()).await.unwrap(), "one");
    assert_eq!(count(client.clone(), 0, 0).await.unwrap(), "");
    assert_eq!(count(client, 1000, 0).await.unwrap(), "one");
}

#[tokio::test]
async fn the_server_sees_the_time_that_is_left() {
    let (_server, _mesh, client) = server_and(Retry::default()).await;
    let left: f64 = say(client.clone(), "left".into()).await.unwrap().parse().unwrap();
    assert!(left > 1e9, "for ever, as C-core says it: {left}");
    for timeout in [1500_u64, 10_000, 3_600_000] {
        let mut request = Request::new(hello("left"));
        request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(timeout)));
        let reply = GreeterClient::new(client.clone()).say_hello(request).await.unwrap();
        let left: f64 = reply.into_inner().message.parse().unwrap();
        let set = Duration::from_millis(timeout).as_secs_f64();
        assert!(left <= set && left > set - 1.0, "{left} s of {set} s");
    }
}

#[tokio::test]
async fn a_deadline_ends_a_call_that_the_server_sleeps_over() {
    let (_server, _mesh, client) = server_and(Retry::default()).await;
    let mut request = Request::new(hello("sleep 5000"));
    request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(200)));
    let call = async { GreeterClient::new(client.clone()).say_hello(request).await };
    assert_eq!(patience(call).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(say(client, "who".into()).await.unwrap(), "one", "the connection lives");
}

#[tokio::test]
async fn every_code_and_any_message_arrives() {
    let (_server, _mesh, client) = server_and(Retry::default()).await;
    let text = "100 % \u{1F980} naïve\nsecond line / \"quoted\" ~\u{7f}";
    for code in 1..=16 {
        let request = hello(&format!("fail {code} {text}"));
        let status = GreeterClient::new(client.clone()).say_hello(request).await.unwrap_err();
        assert_eq!((status.code() as i32, status.message()), (code, text));
    }
}

#[tokio::test]
async fn metadata_goes_both_ways() {
    let (_server, _mesh, client) = server_and(Retry::default()).await;
    let mut request = Request::new(hello("metadata x-caller"));
    request.metadata_mut().insert("x-caller", "it is me".parse().unwrap());
    let reply = GreeterClient::new(client).say_hello(request).await.unwrap();
    assert_eq!(reply.get_ref().message, "it is me");
    assert_eq!(reply.metadata().get("x-initial").unwrap(), "it is me");
    // tonic merges the trailers of a unary call into its metadata.
    let trailer = reply.metadata().get_bin("x-trailing-bin").unwrap();
    assert_eq!(&*trailer.to_bytes().unwrap(), [0, 255]);
}

#[tokio::test]
async fn an_error_of_trailers_only_is_retried_and_the_server_sees_the_attempts() {
    let retry = Retry::idempotent().backoff(Duration::from_millis(5), Duration::from_millis(10));
    let (_server, mesh, client) = server_and(retry).await;
    // The server sends no response but trailers.
    let message = b"\0\0\0\0\x0b\x0a\x09fail 14 x";
    let mut request = HttpRequest::post("/helloworld.Greeter/SayHello").version(Version::HTTP_2);
    let headers = request.headers_mut().unwrap();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    let request = request.body(Body::from(message.to_vec())).unwrap();
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "14", "trailers only");

    let tally = Tally::of(&mesh);
    assert_eq!(say(client.clone(), "flaky 2 14".into()).await.unwrap(), "2");
    assert_eq!(say(client.clone(), "who".into()).await.unwrap(), "one");
    assert_eq!(tally.count("retry, grpc 14"), 2, "{}", tally.line());
    let error = say(client.clone(), "flaky 3 14".into()).await.unwrap_err();
    assert!(error.contains("attempt 3 fails"), "three attempts at most: {error}");
    let error = say(client, "flaky 1 13".into()).await.unwrap_err();
    assert!(error.contains("attempt 1 fails"), "INTERNAL is not retried: {error}");
}

#[tokio::test]
async fn an_undeclared_call_is_not_retried() {
    let (_server, _mesh, client) = server_and(Retry::default()).await;
    let error = say(client, "flaky 1 14".into()).await.unwrap_err();
    assert!(error.contains("attempt 1 fails"), "{error}");
}

#[tokio::test]
async fn the_servers_pushback_decides_when_and_whether() {
    let retry = Retry::idempotent().backoff(Duration::from_millis(5), Duration::from_millis(10));
    let (_server, _mesh, client) = server_and(retry).await;
    let start = tokio::time::Instant::now();
    assert_eq!(say(client.clone(), "flaky 1 14 400".into()).await.unwrap(), "1");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(400), "{waited:?}");
    let error = say(client, "flaky 1 14 -1".into()).await.unwrap_err();
    assert!(error.contains("attempt 1 fails"), "told not to: {error}");
}
