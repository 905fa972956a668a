//! What a server is told in the head of a request, and whose name it is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use http::{HeaderMap, Request, Version};
use hyper::body::Incoming;
use tower_mesh::{Call, Mesh, config::Endpoint};

use crate::support::{
    Leaves, SERVICE, Server, VERSIONS, dead_address, fetch, get, leaf::ok, over, reply,
};

/// Answers with the host that it was called by: of the URI, or else of the header.
async fn host() -> Server {
    Server::start(|request: Request<Incoming>| async move {
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        let authority = request.uri().authority().map(ToString::to_string);
        reply(match (authority, host) {
            (Some(authority), Some(host)) => format!("{authority} and {host}"),
            (authority, host) => authority.or(host).unwrap_or_default(),
        })
    })
    .await
}

#[tokio::test]
async fn an_endpoints_authority_does_not_leak_to_the_next_one() {
    let (dead, _socket) = dead_address();
    let server = host().await;
    let mut overridden = Endpoint::new(dead);
    overridden.authority = Some("dead.example".into());
    let mesh =
        Mesh::builder().endpoints("users", [overridden, server.address().into()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    for n in 0..20 {
        let call = over(VERSIONS[n % 2], get("/"));
        assert_eq!(fetch(&client, call).await.unwrap().body(), "users");
    }
}

#[tokio::test]
async fn an_http2_server_is_told_one_name_and_not_two() {
    let server = host().await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let mut call = over(Version::HTTP_2, get("/"));
    call.headers_mut().insert("host", "shop.example".parse().unwrap());
    let answer = fetch(&mesh.client("users").unwrap(), call).await.unwrap();
    assert_eq!(answer.body(), "shop.example");
}

#[tokio::test(start_paused = true)]
async fn a_retried_call_stays_marked_for_everything_downstream() {
    let mesh = Leaves::new(1)
        .mesh(|_, request| async move {
            let attempt = request.headers().get("x-mesh-attempt").map(|it| it.to_str().unwrap());
            Ok(ok(format!("{attempt:?}")))
        })
        .build()
        .unwrap();
    let mut inbound = HeaderMap::new();
    inbound.insert("x-mesh-attempt", "1".parse().unwrap());
    let mut call = get("/");
    call.extensions_mut().insert(Call::new().inherit(&inbound));
    let seen = fetch(&mesh.client(SERVICE).unwrap(), call).await.unwrap();
    assert_eq!(seen.body(), "Some(\"1\")", "the next server would multiply it");
}
