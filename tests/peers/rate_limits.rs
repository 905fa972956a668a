//! A rate limit that two meshes share, kept by a server on gRPC C-core that is built from the
//! published protocol: what it enforces holds for both, and an outage is survived.

use std::time::Duration;

use http::Request;
use tower_mesh::{
    Body, Client, Mesh, Refusal,
    config::{self, DescriptorPart, DescriptorSource, Filter, GlobalRateLimit, RateDescriptor},
    discover::Static,
};

use crate::{
    limiter::Limiter,
    program::free_port,
    support::{Server, cluster, fetch, patience, storm},
};

/// Answers with whether a limit was over in shadow mode.
async fn users() -> Server {
    Server::start(|request| async move {
        let over = request.headers().contains_key("x-shadow-over");
        crate::support::reply(if over { "over" } else { "within" })
    })
    .await
}

async fn mesh(users: &Server, port: u16, fail_closed: bool) -> (Mesh, Client) {
    let mut limit = GlobalRateLimit::new("limits", "shop");
    limit.timeout = Some(Duration::from_secs(20));
    limit.limit_headers = Some(true);
    limit.fail_closed = Some(fail_closed);
    let mut tenant = DescriptorSource::new("x-tenant");
    tenant.key = "tenant".into();
    limit.describe = vec![RateDescriptor::new([DescriptorPart::Header(tenant)])];
    let mut service = config::Service::default();
    service.filters = vec![Filter::GlobalRateLimit(Box::new(limit))];
    let limits = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let source = Static::default()
        .cluster("users", cluster([users.address()]))
        .cluster("limits", cluster([limits.into()]))
        .service("users", service);
    let mesh = Mesh::builder().source(source).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    (mesh, client)
}

fn of(tenant: &str) -> Request<Body> {
    Request::get("/").header("x-tenant", tenant).body(Body::empty()).unwrap()
}

/// So many calls of one tenant, some at a time: how many were let in, and how many refused.
async fn calls(client: &Client, count: usize, tenant: &str) -> (usize, usize) {
    let answers = storm(8, count, |_| fetch(client, of(tenant))).await;
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    let refused = refused.inspect(|error| {
        assert_eq!(error.refusal(), Some(Refusal::GlobalRateLimited), "{error}");
        assert_eq!(error.response_flag(), "RL");
        let wait = error.retry_after().unwrap();
        assert!(wait > Duration::from_secs(3_500), "{wait:?}");
    });
    let refused = refused.count();
    (count - refused, refused)
}

fn counted(mesh: &Mesh, result: &str) -> f64 {
    mesh.metrics().total("mesh.client.rate_limits", &[("mesh.rate_limit.result", result)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_limit_holds_for_two_meshes_together() {
    let (users, limiter) = (users().await, Limiter::start(free_port()).await);
    let (one, first) = mesh(&users, limiter.port, false).await;
    let (other, second) = mesh(&users, limiter.port, false).await;
    let ((a, b), (c, d)) = tokio::join!(calls(&first, 40, "a"), calls(&second, 40, "a"));
    println!("let in {a} and {c}, refused {b} and {d}");
    assert_eq!((a + c, b + d), (20, 60));
    assert_eq!(users.requests(), 20);
    // Another tenant has its own limit.
    assert_eq!(calls(&first, 25, "b").await, (20, 5));
    assert!(counted(&one, "service_error") + counted(&other, "service_error") < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_mode_refuses_nobody_and_near_the_limit_is_told() {
    let (users, limiter) = (users().await, Limiter::start(free_port()).await);
    let (_mesh, client) = mesh(&users, limiter.port, true).await;
    let mut said = Vec::new();
    for _ in 0..8 {
        said.push(fetch(&client, of("shadow")).await.unwrap().into_body());
    }
    assert_eq!(said.iter().filter(|said| *said == "over").count(), 3, "{said:?}");
    for call in 1..=20_u32 {
        let response = fetch(&client, of("c")).await.unwrap();
        let headers = response.headers();
        assert_eq!(headers["x-ratelimit-limit"], "20, 20;w=3600");
        assert_eq!(headers["x-ratelimit-remaining"], (20 - call).to_string());
        assert_eq!(headers.contains_key("x-near-limit"), call >= 16, "call {call}");
    }
    let error = fetch(&client, of("c")).await.unwrap_err();
    let headers = error.headers().unwrap();
    assert_eq!(
        (&headers["x-envoy-ratelimited"], &headers["x-near-limit"]),
        (&"true".parse().unwrap(), &"c".parse().unwrap())
    );
    assert_eq!(headers["x-ratelimit-remaining"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_the_middle_is_open_or_closed_and_over_when_it_is_over() {
    let (users, limiter) = (users().await, Limiter::start(free_port()).await);
    let port = limiter.port;
    let (open_mesh, open) = mesh(&users, port, false).await;
    let (closed_mesh, closed) = mesh(&users, port, true).await;
    assert_eq!(calls(&open, 25, "d").await, (20, 5));
    assert_eq!(calls(&closed, 25, "e").await, (20, 5));
    limiter.stop().await;
    let before = users.requests();
    // Open: everybody is let in. Closed: nobody.
    assert_eq!(calls(&open, 30, "d").await, (30, 0));
    let answers = storm(8, 30, |_| fetch(&closed, of("e"))).await;
    for answer in answers {
        let error = answer.unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::RateLimitUnavailable), "{error}");
        assert_eq!((error.response_flag(), error.http_status().as_u16()), ("RLSE", 500));
    }
    assert_eq!(users.requests() - before, 30);
    assert!((counted(&open_mesh, "service_error") - 30.0).abs() < 0.5);
    let _limiter = Limiter::start(port).await;
    // Once it is reached again, its limits hold again.
    for (mesh, client, tenant) in [(&open_mesh, &open, "f"), (&closed_mesh, &closed, "g")] {
        let known = counted(mesh, "service_ok");
        patience(async {
            while counted(mesh, "service_ok") <= known {
                drop(fetch(client, of("other")).await);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        assert_eq!(calls(client, 25, tenant).await, (20, 5));
    }
}
