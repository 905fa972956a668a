//! How long a request may take.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::Response;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tower_mesh::{Call, Error, ErrorKind, Mesh, Phase};

use crate::{
    client, mesh, plain, redirect, seen,
    support::{BoxError, Server, patience, reply, server::body},
};

const TOLD: &str = "x-envoy-expected-rq-timeout-ms";
const SHORT: Duration = Duration::from_millis(80);
/// Soon over, and long enough for the head on a busy machine.
const HEAD: Duration = Duration::from_secs(1);

/// Answers with the head and one part of its body, and never ends.
async fn endless() -> Server {
    Server::start(|_| async {
        let first = futures_util::stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from("x")))]);
        Response::new(body(StreamBody::new(first.chain(futures_util::stream::pending()))))
    })
    .await
}

fn told(text: &str) -> u64 {
    text.rsplit(": ").next().unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn the_timeout_of_a_request_is_a_deadline_that_the_endpoint_is_told() {
    let server = Server::start(|request| async move { seen(&request, &[TOLD]) }).await;
    let http = client(&mesh(&server));
    let request = http.get("http://users.prod/").timeout(Duration::from_secs(3));
    let left = told(&request.send().await.unwrap().text().await.unwrap());
    assert!((2_000..=3_000).contains(&left), "{left}");
    let silent = Server::start(|_| std::future::pending()).await;
    let http = client(&mesh(&silent));
    let error = patience(http.get("http://users.prod/").timeout(SHORT).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Headers));
}

#[tokio::test]
async fn it_bounds_the_body_too() {
    let server = endless().await;
    let http = client(&mesh(&server));
    let response = http.get("http://users.prod/").timeout(HEAD).send().await.unwrap();
    let error = patience(response.bytes()).await.unwrap_err();
    assert!(error.is_decode());
    let error = Error::from(error);
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Body));
}

#[tokio::test]
async fn the_clients_timeout_holds_where_a_request_has_none() {
    let server = Server::start(|request| async move { seen(&request, &[TOLD]) }).await;
    let http = mesh(&server).reqwest(plain()).timeout(Duration::from_secs(3)).build().unwrap();
    let text = http.get("http://users.prod/").send().await.unwrap().text().await.unwrap();
    assert!((2_000..=3_000).contains(&told(&text)), "{text}");
    let own = http.get("http://users.prod/").timeout(Duration::from_secs(60)).send();
    let text = own.await.unwrap().text().await.unwrap();
    assert!((50_000..=60_000).contains(&told(&text)), "{text}");
    let call = http.get("http://users.prod/").call(Call::new().timeout(Duration::from_secs(1)));
    let text = call.send().await.unwrap().text().await.unwrap();
    assert!(told(&text) <= 1_000, "{text}");
}

#[tokio::test]
async fn the_policys_timeout_holds_if_it_is_the_shorter_one() {
    let server = Server::start(|_| std::future::pending()).await;
    let mesh = Mesh::builder()
        .service("users.prod", |service| service.timeout(SHORT))
        .endpoints("users.prod", [server.address()])
        .build()
        .unwrap();
    let request = client(&mesh).get("http://users.prod/").timeout(Duration::from_secs(60));
    assert!(patience(request.send()).await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn all_hops_of_a_redirect_share_one_deadline() {
    let server = Server::start(|request| async move {
        tokio::time::sleep(Duration::from_millis(60)).await;
        match request.uri().path() {
            "/4" => reply(""),
            path => redirect(302, &format!("/{}", path[1..].parse::<u8>().unwrap() + 1)),
        }
    })
    .await;
    let http = client(&mesh(&server));
    let get = |timeout| http.get("http://users.prod/0").timeout(timeout).send();
    assert!(patience(get(Duration::from_millis(150))).await.unwrap_err().is_timeout());
    assert_eq!(patience(get(Duration::from_secs(8))).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_read_timeout_bounds_the_wait_for_the_head_and_for_each_part() {
    let build = |server: &Server| mesh(server).reqwest(plain()).read_timeout(HEAD).build();
    let silent = Server::start(|_| std::future::pending()).await;
    let http = build(&silent).unwrap();
    let error = patience(http.get("http://users.prod/").send()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Headers));
    assert!(error.to_string().contains("the read timeout"), "{error}");
    let endless = endless().await;
    let http = build(&endless).unwrap();
    let mut response = http.get("http://users.prod/").send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "x");
    let error = Error::from(patience(response.chunk()).await.unwrap_err());
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Body));
    assert!(patience(response.chunk()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_body_whose_parts_come_in_time_outlives_the_read_timeout() {
    // A busy machine is late with a part, too.
    const LONG: Duration = Duration::from_secs(4);
    let server = Server::start(|_| async {
        let parts = futures_util::stream::unfold(0, |count| async move {
            tokio::time::sleep(LONG / 9).await;
            (count < 10).then(|| (Ok::<_, BoxError>(Frame::data(Bytes::from("x"))), count + 1))
        });
        Response::new(body(StreamBody::new(parts)))
    })
    .await;
    let http = mesh(&server).reqwest(plain()).read_timeout(LONG).build().unwrap();
    let text = http.get("http://users.prod/").send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "x".repeat(10));
}

#[tokio::test]
async fn no_time_whatever_makes_a_request_panic() {
    let server = Server::named("users").await;
    let http = client(&mesh(&server));
    let max = http.get("http://users.prod/").timeout(Duration::MAX).send().await;
    assert_eq!(max.unwrap().status(), 200);
    let none = http.get("http://users.prod/").timeout(Duration::ZERO).send().await;
    assert!(none.unwrap_err().is_timeout());
}
