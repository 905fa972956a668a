//! A service of rate limits that hangs, is down, talks nonsense, moves or is taken back, and settings that cannot
//! be run. Over real connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test fails by panicking, and counts are whole"
)]

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tower_mesh::{
    ErrorKind, Event, Mesh, Phase, Refusal,
    config::{self, DescriptorPart, GlobalRateLimit},
    discover::Static,
};

use crate::{
    rls::{Limits, OK, OVER_LIMIT, asking, builder, client, counted, framed, of, says},
    support::{Server, cluster, dead_address, fetch, patience, published, reply, within},
};

#[tokio::test]
async fn a_service_that_hangs_delays_a_call_by_its_timeout_at_most() {
    let users = Server::named("users").await;
    let limits = Limits::start(|_| None).await;
    let edit = |it: &mut GlobalRateLimit| it.timeout = Some(Duration::from_millis(50));
    let (mesh, open) = client(&users, &limits, asking(edit));
    let began = Instant::now();
    assert_eq!(patience(fetch(&open, of("a"))).await.unwrap().status(), 200);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(50) && took < Duration::from_secs(1), "{took:?}");
    assert_eq!((limits.count(), counted(&mesh, "service_error")), (1, 1.0));
    let (_mesh, closed) = client(
        &users,
        &limits,
        asking(|it| {
            edit(it);
            (it.fail_closed, it.error_status) = (Some(true), Some(503));
        }),
    );
    let began = Instant::now();
    let error = patience(fetch(&closed, of("a"))).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(
        (error.refusal(), error.response_flag()),
        (Some(Refusal::RateLimitUnavailable), "RLSE")
    );
    assert_eq!(error.http_status(), 503);
    assert!(error.to_string().contains("has not answered within 50ms"), "{error}");
    assert_eq!(users.requests(), 1);
}

#[tokio::test]
async fn the_deadline_of_the_call_ends_the_question_too() {
    let users = Server::named("users").await;
    let limits = Limits::start(|_| None).await;
    let (_mesh, client) = client(&users, &limits, asking(|_| {}));
    let began = Instant::now();
    let request = within(Duration::from_millis(60), of("a"));
    let error = patience(fetch(&client, request)).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Admission), "{error}");
    assert_eq!(users.requests(), 0);
}

#[tokio::test]
async fn a_service_that_is_down_or_talks_nonsense_lets_calls_on_unless_that_is_closed() {
    let users = Server::named("users").await;
    let (dead, _socket) = dead_address();
    let nonsense = Server::start(|_| async { framed(&[0xff; 7], 0) }).await;
    let unknown = Server::start(|_| async { framed(&[], 0) }).await;
    let failing = Server::start(|_| async { framed(&[8, 1], 13) }).await;
    let plain = Server::start(|_| async { reply("hello") }).await;
    for (address, expected) in [
        (dead, "cannot be asked"),
        (nonsense.address(), "cannot be read"),
        (unknown.address(), "does not know"),
        (failing.address(), "gRPC status INTERNAL"),
        (plain.address(), "without a gRPC status"),
    ] {
        let open = builder(&users, address.clone(), asking(|_| {})).build().unwrap();
        let before = users.requests();
        patience(fetch(&open.client("users").unwrap(), of("a"))).await.unwrap();
        assert_eq!((users.requests(), counted(&open, "service_error")), (before + 1, 1.0));
        let closed = asking(|it| it.fail_closed = Some(true));
        let closed = builder(&users, address, closed).build().unwrap();
        let error = patience(fetch(&closed.client("users").unwrap(), of("a"))).await.unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::RateLimitUnavailable));
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(users.requests(), before + 1);
    }
}

#[tokio::test]
async fn a_cluster_that_moves_is_followed_and_one_that_nobody_defines_is_told() {
    let users = Server::named("users").await;
    let (first, second) =
        (Limits::start(|_| Some(says(OK))).await, Limits::start(|_| Some(says(OVER_LIMIT))).await);
    let (mesh, publisher) = published(Mesh::builder(), |publisher| {
        publisher.cluster("users", cluster([users.address()])).unwrap();
        publisher.cluster("limits", cluster([first.server.address()])).unwrap();
        publisher.service("users", asking(|_| {})).unwrap();
    })
    .await;
    let client = mesh.client("users").unwrap();
    fetch(&client, of("a")).await.unwrap();
    publisher.cluster("limits", cluster([second.server.address()])).unwrap();
    fetch(&client, of("a")).await.unwrap_err();
    assert_eq!((first.count(), second.count()), (1, 1));
    let mut events = mesh.events();
    publisher.service("users", asking(|it| it.cluster = "nowhere".into())).unwrap();
    let told = patience(async {
        loop {
            if let Event::ConfigRefused { reason, .. } = events.recv().await.unwrap() {
                return reason.to_string();
            }
        }
    });
    assert!(told.await.contains("`nowhere`, which no source defines"));
    // It cannot be asked, so calls go on.
    fetch(&client, of("a")).await.unwrap();
}

#[tokio::test]
async fn one_that_is_taken_back_and_comes_again_is_asked_where_it_is_then() {
    let release = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&release);
    let users = Server::start(move |request| {
        let held = Arc::clone(&held);
        async move {
            if request.uri().path() == "/held" {
                held.notified().await;
            }
            reply("users")
        }
    })
    .await;
    let (first, second) =
        (Limits::start(|_| Some(says(OK))).await, Limits::start(|_| Some(says(OVER_LIMIT))).await);
    let (mesh, publisher) = published(Mesh::builder(), |publisher| {
        publisher.cluster("users", cluster([users.address()])).unwrap();
        publisher.cluster("limits", cluster([first.server.address()])).unwrap();
        publisher.service("users", asking(|_| {})).unwrap();
    })
    .await;
    let client = mesh.client("users").unwrap();
    // One call goes on under the first settings.
    let mut under_way = of("a");
    *under_way.uri_mut() = "/held".parse().unwrap();
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { fetch(&client, under_way).await }
    });
    patience(async {
        while first.count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut plain = config::Service::default();
    plain.cluster = Some("users".into());
    publisher.service("users", plain).unwrap();
    publisher.remove_cluster("limits");
    publisher.cluster("limits", cluster([second.server.address()])).unwrap();
    publisher.service("users", asking(|_| {})).unwrap();
    fetch(&client, of("a")).await.unwrap_err();
    assert_eq!((first.count(), second.count()), (1, 1));
    release.notify_one();
    under_way.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_by_its_name() {
    for (edit, expected) in [
        ((|it| it.cluster.clear()) as fn(&mut GlobalRateLimit), "cluster"),
        (|it| it.domain.clear(), "domain"),
        (|it| it.stage = Some(11), "stage"),
        (|it| it.timeout = Some(Duration::ZERO), "timeout"),
        (|it| it.status = Some(302), "status"),
        (|it| it.error_status = Some(99), "error_status"),
        (|it| it.describe.clear(), "nothing describes stage 0"),
        (|it| it.describe[0].parts.clear(), "describe[0].parts"),
        (|it| it.describe[0].parts.push(DescriptorPart::RemoteAddress), "parts[1]"),
    ] {
        let source = Static::default().service("users", asking(edit));
        let error = Mesh::builder().source(source).build().unwrap().ready().await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
