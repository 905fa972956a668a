//! Sessions: a caller stays with the endpoint that has answered it first; a call may name one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, Response, header::SET_COOKIE};
use tower_mesh::{
    Body, Client, ErrorKind, Mesh, MeshBuilder, Publisher, Retry,
    config::{Balancer, Endpoint, Health, RingHash, Session, SessionCookie},
};

use crate::support::{
    Leaves, SERVICE, cluster, get,
    leaf::{answer, ok},
    published,
};

fn by_cookie() -> Session {
    let mut cookie = SessionCookie::default();
    cookie.name = "at".into();
    let mut session = Session::default();
    session.cookie = Some(cookie);
    session
}

fn strict() -> Session {
    let mut session = by_cookie();
    session.strict = Some(true);
    session
}

/// Endpoints that say who they are.
fn named(leaves: &Leaves, builder: MeshBuilder) -> MeshBuilder {
    leaves.leaves(builder.seed(7), |number, _| async move { Ok(ok(number.to_string())) })
}

fn with(name: &str, value: &str) -> Request<Body> {
    Request::get("/").header(name, value).body(Body::empty()).unwrap()
}

async fn who(response: Response<Body>) -> usize {
    response.into_body().text().await.unwrap().parse().unwrap()
}

/// The pair of the cookie that is set, if one is.
fn pair(response: &Response<Body>) -> Option<String> {
    let set = response.headers().get(SET_COOKIE)?.to_str().unwrap();
    Some(set.split(';').next().unwrap().to_owned())
}

/// A first call: who has answered, and the cookie.
async fn first(client: &Client) -> (usize, String) {
    let response = client.send(get("/")).await.unwrap();
    let pair = pair(&response).unwrap();
    (who(response).await, pair)
}

/// A mesh whose endpoints change.
async fn changing(session: Session) -> (Leaves, Mesh, Publisher) {
    let leaves = Leaves::new(5);
    let builder = named(&leaves, Mesh::builder()).service(SERVICE, |s| s.session(session));
    let (mesh, publisher) = published(builder, |publisher| {
        publisher.cluster(SERVICE, cluster(leaves.addresses())).unwrap();
    })
    .await;
    (leaves, mesh, publisher)
}

#[tokio::test(start_paused = true)]
async fn a_caller_stays_with_the_endpoint_that_answered_it_first() {
    let leaves = Leaves::new(5);
    let builder = named(&leaves, Mesh::builder()).endpoints(SERVICE, leaves.addresses());
    let mesh = builder.service(SERVICE, |s| s.session(by_cookie())).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let (own, pair) = first(&client).await;
        seen.insert(own);
        for _ in 0..10 {
            let response = client.send(with("cookie", &pair)).await.unwrap();
            assert!(!response.headers().contains_key(SET_COOKIE));
            assert_eq!(who(response).await, own);
        }
    }
    assert!(seen.len() > 2, "{seen:?}");
    // Nonsense is another first call.
    for value in ["at=", "at=x", "at=AAAA", "at=MTAuMC4wLjk6ODA="] {
        let response = client.send(with("cookie", value)).await.unwrap();
        assert!(response.headers().contains_key(SET_COOKIE), "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_drains_keeps_its_sessions_and_takes_no_new_ones() {
    let (_leaves, mesh, publisher) = changing(by_cookie()).await;
    let client = mesh.client(SERVICE).unwrap();
    let (own, pair_of_it) = first(&client).await;
    let draining = Endpoint::new(Leaves::address(own)).health(Health::Draining);
    publisher.upsert_endpoints(SERVICE, [draining]).unwrap();
    for _ in 0..20 {
        let response = client.send(with("cookie", &pair_of_it)).await.unwrap();
        assert!(!response.headers().contains_key(SET_COOKIE));
        assert_eq!(who(response).await, own);
        assert_ne!(first(&client).await.0, own);
    }
    // When it is gone, another takes over and is told.
    publisher.remove_endpoints(SERVICE, &[Leaves::address(own)]);
    let response = client.send(with("cookie", &pair_of_it)).await.unwrap();
    let next = pair(&response).unwrap();
    let heir = who(response).await;
    assert_ne!(heir, own);
    let response = client.send(with("cookie", &next)).await.unwrap();
    assert_eq!((pair(&response), who(response).await), (None, heir));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_names_nobody_and_another_begins() {
    let mut ending = by_cookie();
    ending.idle_timeout = Some(Duration::from_secs(60));
    ending.absolute_timeout = Some(Duration::from_secs(3_600));
    let (_leaves, mesh, _publisher) = changing(ending).await;
    let client = mesh.client(SERVICE).unwrap();
    let (own, pair_of_it) = first(&client).await;
    let value = pair_of_it.strip_prefix("at=").unwrap();
    let text = String::from_utf8(STANDARD.decode(value).unwrap()).unwrap();
    let parts: Vec<&str> = text.split(';').collect();
    let now: u64 = parts[1].parse().unwrap();
    assert_eq!((parts[0].to_owned(), parts[2]), (Leaves::address(own).to_string(), parts[1]));
    // As told, it brings its caller back; by its times, it may be over.
    for (begun, used, lasts) in [
        (now - 1_800, now - 30, true),
        (now - 1_800, now - 90, false),
        (now - 3_700, now - 1, false),
        (now + 500, now + 500, true),
    ] {
        let cookie = format!("at={}", STANDARD.encode(format!("{};{begun};{used}", parts[0])));
        let mut met = BTreeSet::new();
        for _ in 0..20 {
            let response = client.send(with("cookie", &cookie)).await.unwrap();
            let told = pair(&response);
            met.insert(who(response).await);
            // It is told that it was used, or of another.
            assert_eq!(told.is_some(), begun < now, "{begun} {used}");
        }
        assert_eq!(met == BTreeSet::from([own]), lasts, "{begun} {used}: {met:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_strict_session_fails_rather_than_move() {
    let (_leaves, mesh, publisher) = changing(strict()).await;
    let client = mesh.client(SERVICE).unwrap();
    let (own, pair) = first(&client).await;
    let unhealthy = Endpoint::new(Leaves::address(own)).health(Health::Unhealthy);
    publisher.upsert_endpoints(SERVICE, [unhealthy]).unwrap();
    let error = client.send(with("cookie", &pair)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoEndpoints);
    publisher.remove_endpoints(SERVICE, &[Leaves::address(own)]);
    let error = client.send(with("cookie", &pair)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoEndpoints);
    // Who has no session has nothing to lose.
    client.send(get("/")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_moves_when_its_endpoint_fails_and_the_caller_is_told() {
    let leaves = Leaves::new(5);
    let bad = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(usize::MAX));
    let sick = std::sync::Arc::clone(&bad);
    let mesh = leaves
        .mesh(move |number, _| {
            let fails = sick.load(std::sync::atomic::Ordering::SeqCst) == number;
            async move { Ok(if fails { answer(503) } else { ok(number.to_string()) }) }
        })
        .service(SERVICE, |s| {
            let millisecond = Duration::from_millis(1);
            s.session(by_cookie()).retry(Retry::standard().backoff(millisecond, millisecond))
        })
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let (own, old) = first(&client).await;
    bad.store(own, std::sync::atomic::Ordering::SeqCst);
    let response = client.send(with("cookie", &old)).await.unwrap();
    assert_eq!(response.status(), 200);
    let next = pair(&response).unwrap();
    let heir = who(response).await;
    assert_ne!(heir, own);
    for _ in 0..10 {
        let response = client.send(with("cookie", &next)).await.unwrap();
        assert_eq!((pair(&response), who(response).await), (None, heir));
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_carries_a_session_too_and_any_balancer_picks_the_first() {
    let mut session = Session::default();
    session.header = Some("x-at".into());
    let leaves = Leaves::new(5);
    let builder = named(&leaves, Mesh::builder()).endpoints(SERVICE, leaves.addresses());
    let balancer = Balancer::RingHash(RingHash::default());
    let mesh = builder.service(SERVICE, |s| s.session(session).balancer(balancer)).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..10 {
        let response = client.send(get("/")).await.unwrap();
        let at = response.headers()["x-at"].to_str().unwrap().to_owned();
        let own = who(response).await;
        for _ in 0..5 {
            let response = client.send(with("x-at", &at)).await.unwrap();
            assert_eq!(who(response).await, own);
        }
    }
}

#[tokio::test]
async fn a_call_may_name_its_endpoint_in_a_header() {
    let text = r#"
services:
  users.prod: {policy: {}}
clusters:
  users.prod:
    balancer:
      override_host:
        sources: [{header: x-to}]
        fallback: round_robin
        health: [unknown, healthy]
    endpoints:
      - {address: "10.0.0.1:80"}
      - {address: "10.0.0.2:80"}
      - {address: "10.0.0.3:80", health: draining}
"#;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    std::fs::write(&path, text).unwrap();
    let leaves = Leaves::new(3);
    let mesh = named(&leaves, Mesh::builder()).config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for number in [1, 0, 1, 1, 0] {
        let to = Leaves::address(number).to_string();
        let response = client.send(with("x-to", &to)).await.unwrap();
        assert!(response.headers().is_empty());
        assert_eq!(who(response).await, number);
    }
    // One that drains is not listed here; the others are nobody.
    leaves.reset();
    for to in ["10.0.0.3:80", "10.0.0.9:80", "x", ""] {
        client.send(with("x-to", to)).await.unwrap();
    }
    assert_eq!(leaves.all_hits(), [2, 2, 0]);
}
