//! What pays for retries, in all its forms.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tower::{Layer, ServiceExt};
use tower_mesh::{
    Body, Mesh, Retry,
    config::{AvoidEndpoint, Breakers, Budget, Cluster, InFlightBudget, RetryOn, RetryPriority},
    resilience::RetryLayer,
};

use crate::{
    cluster, fast, of_cluster,
    support::{
        Leaves, Recorder, SERVICE, get,
        leaf::{answer, grpc, ok},
    },
};

//= gRFC A6 §"Throttling Retry Attempts and Hedged RPCs"
#[tokio::test(start_paused = true)]
async fn the_throttle_stops_retries_until_most_calls_succeed() {
    let leaves = Leaves::new(3);
    let broken = Arc::new(AtomicUsize::new(1));
    let is_broken = Arc::clone(&broken);
    let builder = leaves.mesh(move |_, _| {
        let status = if is_broken.load(SeqCst) == 1 { 503 } else { 200 };
        async move { Ok(answer(status)) }
    });
    // 10 tokens: after five failures no more than half of them are there.
    let retry = fast(Retry::standard().throttle(10.0, 0.5));
    let mesh = builder.service(SERVICE, |s| s.retry(retry)).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let mut events = Recorder::of(&mesh);
    let mut made = Vec::new();
    for _ in 0..5 {
        let before = leaves.total();
        let _answer = client.send(get("/")).await.unwrap();
        made.push(leaves.total() - before);
    }
    assert_eq!(made, [3, 2, 1, 1, 1]);
    assert!(events.refusals().contains(&"budget"), "{:?}", events.refusals());
    // Two tokens are left, and every success gives half a one back.
    broken.store(0, SeqCst);
    for _ in 0..7 {
        let _answer = client.send(get("/")).await.unwrap();
    }
    broken.store(1, SeqCst);
    let before = leaves.total();
    let _answer = client.send(get("/")).await.unwrap();
    assert_eq!(leaves.total() - before, 1, "5.5 tokens, less the failure's one");
    broken.store(0, SeqCst);
    for _ in 0..10 {
        let _answer = client.send(get("/")).await.unwrap();
    }
    broken.store(1, SeqCst);
    let before = leaves.total();
    let _answer = client.send(get("/")).await.unwrap();
    assert_eq!(leaves.total() - before, 3);
}

/// A gRPC answer whose head comes at once, and its message after a while.
fn later(after: Duration) -> Response<Body> {
    let frames = futures_util::stream::once(async move {
        tokio::time::sleep(after).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"message")))
    });
    let body = Body::new(StreamBody::new(Box::pin(frames)));
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_grpc_answer_whose_message_comes_later_gives_the_throttle_its_token_back() {
    for after in [0, 5].map(Duration::from_millis) {
        let leaves = Leaves::new(3);
        let broken = Arc::new(AtomicUsize::new(1));
        let is_broken = Arc::clone(&broken);
        let builder = leaves.mesh(move |_, _| {
            let answer = if is_broken.load(SeqCst) == 1 { grpc(14) } else { later(after) };
            async move { Ok(answer) }
        });
        let retry = fast(Retry::idempotent().throttle(10.0, 1.0));
        let mesh = builder.service(SERVICE, |s| s.retry(retry)).build().unwrap();
        let client = mesh.client(SERVICE).unwrap();
        let call = || {
            let request = Request::post("/a.B/Get").header("content-type", "application/grpc");
            client.send(request.body(Body::empty()).unwrap())
        };
        for _ in 0..5 {
            drop(call().await.unwrap());
        }
        broken.store(0, SeqCst);
        for _ in 0..10 {
            drop(call().await.unwrap());
        }
        broken.store(1, SeqCst);
        let before = leaves.total();
        drop(call().await.unwrap());
        assert_eq!(leaves.total() - before, 3, "{after:?}");
    }
}

/// Retries of so many calls at once, all of whose first attempts fail at the same time.
async fn at_once(calls: usize, breakers: Breakers, retry: Retry) -> usize {
    let leaves = Leaves::new(3);
    let mut cluster = cluster(3, |_, _| {});
    cluster.breakers = Some(breakers);
    let builder = of_cluster(&leaves, cluster, |_, request: Request<Body>| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(if request.headers().contains_key("x-mesh-attempt") { ok("") } else { answer(503) })
    });
    let mesh = builder.service(SERVICE, |s| s.retry(fast(retry))).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let answers = join_all((0..calls).map(|_| client.send(get("/")))).await;
    assert_eq!(answers.len(), calls);
    leaves.total() - calls
}

//= Envoy circuit breaking: max_retries, retry_budget (20 %, at least 3)
#[tokio::test(start_paused = true)]
async fn retries_in_flight_are_limited_by_number_and_by_share() {
    let number = |most| {
        let mut breakers = Breakers::default();
        breakers.max_retries = Some(most);
        breakers
    };
    let share = |percent, least| {
        let mut budget = InFlightBudget::default();
        (budget.percent, budget.min_concurrency) = (percent, least);
        let mut breakers = number(0);
        breakers.retry_budget = Some(Box::new(budget));
        breakers
    };
    let usual = Retry::standard;
    assert_eq!(at_once(50, number(0), usual()).await, 0);
    assert_eq!(at_once(50, number(7), usual()).await, 7);
    assert_eq!(at_once(5, share(None, None), usual()).await, 3, "the minimum");
    let part = at_once(100, share(Some(20), Some(0)), usual()).await;
    assert!((10..=20).contains(&part), "20 % of what is in flight: {part}");
    // The form of the cluster takes the place of the default one, and a named one counts as well.
    let mut none = Budget::new(0.0);
    none.min_per_second = 0;
    assert_eq!(at_once(50, number(7), usual().budget(none)).await, 0);
    let mut few = Budget::new(0.0);
    (few.min_per_second, few.ttl) = (1, Duration::from_secs(4));
    assert_eq!(at_once(50, number(7), usual().budget(few)).await, 4);
}

#[tokio::test(start_paused = true)]
async fn places_of_retries_are_given_back() {
    let leaves = Leaves::new(3);
    let mut cluster = cluster(3, |_, _| {});
    let mut breakers = Breakers::default();
    breakers.max_retries = Some(1);
    cluster.breakers = Some(breakers);
    let builder = of_cluster(&leaves, cluster, |_, _| async { Ok(answer(503)) });
    let retry = fast(Retry::standard());
    let mesh = builder.service(SERVICE, |s| s.retry(retry)).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    // One after the other, and with answers that nobody has read.
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(client.send(get("/")).await.unwrap());
    }
    assert_eq!(leaves.total(), 60);
    // Callers who leave give theirs back, too.
    for _ in 0..20 {
        let call = client.send(get("/"));
        assert!(tokio::time::timeout(Duration::from_micros(500), call).await.is_err());
    }
    let before = leaves.total();
    let _answer = client.send(get("/")).await.unwrap();
    assert_eq!(leaves.total() - before, 3);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_leaves_a_throttle_alone_leaves_its_tokens_too() {
    let leaves = Leaves::new(3);
    let (mesh, publish) = crate::support::published(
        leaves.leaves(Mesh::builder(), |_, _| async { Ok(answer(503)) }),
        |publish| {
            publish.cluster(SERVICE, cluster(3, |_, _| {})).unwrap();
            publish.service(SERVICE, throttled(10.0, 3)).unwrap();
        },
    )
    .await;
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..5 {
        let _answer = client.send(get("/")).await.unwrap();
    }
    let before = leaves.total();
    // Other attempts, the same throttle.
    publish.service(SERVICE, throttled(10.0, 4)).unwrap();
    let _answer = client.send(get("/")).await.unwrap();
    assert_eq!(leaves.total() - before, 1, "its tokens are gone");
    // Another throttle is a full one.
    let before = leaves.total();
    publish.service(SERVICE, throttled(100.0, 4)).unwrap();
    let _answer = client.send(get("/")).await.unwrap();
    assert_eq!(leaves.total() - before, 4);
}

fn throttled(max_tokens: f64, attempts: u32) -> tower_mesh::config::Service {
    let mut service = tower_mesh::config::Service::default();
    let retry = fast(Retry::standard().attempts(attempts).throttle(max_tokens, 0.1));
    service.policy.retry = Some(retry);
    service
}

/// Attempts of each of so many calls through a layer, one after the other; all fail.
async fn layered(layer: &RetryLayer, calls: usize) -> Vec<usize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let service = layer.layer(tower::service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, SeqCst);
        async { Ok::<_, crate::support::BoxError>(answer(503)) }
    }));
    let mut attempts = Vec::new();
    for _ in 0..calls {
        let before = count.load(SeqCst);
        let _answer = service.clone().oneshot(get("/")).await.unwrap();
        attempts.push(count.load(SeqCst) - before);
    }
    attempts
}

#[tokio::test(start_paused = true)]
async fn a_layer_has_every_form_of_the_budget() {
    let layer = |retry: Retry| RetryLayer::new(&fast(retry)).unwrap();
    let usual = Retry::standard;
    assert_eq!(layered(&layer(usual()), 2).await, [3, 3]);
    assert_eq!(layered(&layer(usual()).max_retries(0), 2).await, [1, 1]);
    assert_eq!(layered(&layer(usual()).max_retries(1), 2).await, [3, 3], "one after the other");
    let share = |percent, least| {
        let mut budget = InFlightBudget::default();
        (budget.percent, budget.min_concurrency) = (Some(percent), Some(least));
        budget
    };
    let none = layer(usual()).in_flight_budget(&share(99, 0)).unwrap();
    assert_eq!(layered(&none, 2).await, [1, 1], "99 % of the one call in flight are none");
    let all = layer(usual()).in_flight_budget(&share(100, 0)).unwrap();
    assert_eq!(layered(&all, 2).await, [3, 3]);
    assert!(layer(usual()).in_flight_budget(&share(101, 0)).is_err());
    assert_eq!(layered(&layer(usual().throttle(10.0, 0.1)), 5).await, [3, 2, 1, 1, 1]);
    // One that is named counts beside the others.
    let mut budget = Budget::new(0.0);
    budget.min_per_second = 0;
    assert_eq!(layered(&layer(usual().budget(budget).throttle(10.0, 0.1)), 1).await, [1]);
    let named = layer(usual().on([RetryOn::RetriableClientError]));
    assert_eq!(layered(&named, 1).await, [1], "503 is not named");
    // What needs a mesh is refused, not left out.
    let mut retry = usual().avoid([AvoidEndpoint::Canaries]);
    retry.attempt_idle_timeout = Some(Duration::from_secs(1));
    retry.priority = Some(RetryPriority::default());
    let text = RetryLayer::new(&retry).unwrap_err().to_string();
    for field in ["retry.attempt_idle_timeout", "retry.priority", "retry.avoid[0]"] {
        assert!(text.contains(field), "{text}");
    }
}

#[cfg(feature = "file")]
#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    use tower_mesh::config::Service;

    let refused = |kind: &str, policy: &str| {
        let errors = if kind == "policy" {
            let service: Service =
                serde_json::from_str(&format!(r#"{{"policy": {policy}}}"#)).unwrap();
            service.validate("users").unwrap_err()
        } else {
            let cluster: Cluster = serde_json::from_str(policy).unwrap();
            cluster.validate("users").unwrap_err()
        };
        errors.to_string()
    };
    for (policy, place, reason) in [
        (r#"{"retry": {"attempts": 0}}"#, "policy.retry.attempts", "1..=100"),
        (r#"{"retry": {"budget": {"ratio": -0.1}}}"#, "policy.retry.budget.ratio", "0..=10"),
        (r#"{"retry": {"budget": {"ttl": "0s"}}}"#, "policy.retry.budget.ttl", "1s..=60s"),
        (r#"{"retry": {"budget": {"ttl": "9000h"}}}"#, "policy.retry.budget.ttl", "1s..=60s"),
        (
            r#"{"retry": {"throttle": {"max_tokens": 0, "token_ratio": 1}}}"#,
            "policy.retry.throttle.max_tokens",
            "over 0 and at most 1000",
        ),
        (
            r#"{"retry": {"throttle": {"max_tokens": 10, "token_ratio": -1}}}"#,
            "policy.retry.throttle.token_ratio",
            "0.001..=1000",
        ),
        (r#"{"retry": {"backoff_multiplier": 0.5}}"#, "policy.retry.backoff_multiplier", "1..=100"),
        (r#"{"retry": {"backoff_jitter": 1.5}}"#, "policy.retry.backoff_jitter", "0..=1"),
        (
            r#"{"retry": {"on": ["5xx"], "on_reset": true}}"#,
            "policy.retry.on_reset",
            "`on` takes its place",
        ),
        (
            r#"{"retry": {"on": ["5xx"], "on_status": [503]}}"#,
            "policy.retry.on_status",
            "does not name `retriable-status-codes`",
        ),
        (
            r#"{"retry": {"on": ["5xx"], "on_headers": [{"name": "x", "matcher": "present"}]}}"#,
            "policy.retry.on_headers",
            "does not name `retriable-headers`",
        ),
        (
            r#"{"retry": {"on_status_ranges": [{"start": 500, "end": 500}]}}"#,
            "policy.retry.on_status_ranges[0]",
            "must not be empty",
        ),
        (
            r#"{"retry": {"on_status_ranges": [{"start": 200, "end": 601}]}}"#,
            "policy.retry.on_status_ranges[0]",
            "within 400..600",
        ),
        (
            r#"{"retry": {"on_headers": [{"name": "a b", "matcher": "present"}]}}"#,
            "policy.retry.on_headers[0]",
            "header",
        ),
        (
            r#"{"retry": {"reset_headers": [{"name": "a b"}]}}"#,
            "policy.retry.reset_headers[0].name",
            "name of a header",
        ),
        (
            r#"{"retry": {"respect_retry_after": false, "reset_headers": [{"name": "x-reset"}]}}"#,
            "policy.retry.respect_retry_after",
            "turns off",
        ),
        (
            r#"{"retry": {"priority": {"update_frequency": 0}}}"#,
            "policy.retry.priority.update_frequency",
            "at least 1",
        ),
        (
            r#"{"retry": {"avoid": [{"labels": {}}]}}"#,
            "policy.retry.avoid[0].labels",
            "not be empty",
        ),
        (r#"{"retry": {"attempt_idle_timeout": "0s"}}"#, "attempt_idle_timeout", "over 0"),
        (r#"{"response_timeout": "400d"}"#, "policy.response_timeout", "365 days"),
        (r#"{"max_stream_duration": "9000000h"}"#, "policy.max_stream_duration", "365 days"),
        (r#"{"grpc_timeout": {"max": "9000000h"}}"#, "policy.grpc_timeout.max", "365 days"),
        (
            r#"{"grpc_timeout": {"max": "1s", "offset": "2s"}}"#,
            "policy.grpc_timeout.offset",
            "shorter than max",
        ),
    ] {
        let text = refused("policy", policy);
        assert!(text.contains(place) && text.contains(reason), "{policy}: {text}");
    }
    for (cluster, place, reason) in [
        (
            r#"{"breakers": {"retry_budget": {"percent": 101}}}"#,
            "breakers.retry_budget.percent",
            "at most 100",
        ),
        (
            r#"{"breakers": {"retry_budget": {"interval": "2h"}}}"#,
            "breakers.retry_budget.interval",
            "at most 1h",
        ),
    ] {
        let text = refused("cluster", cluster);
        assert!(text.contains(place) && text.contains(reason), "{cluster}: {text}");
    }
}
