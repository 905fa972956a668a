//! Retries in full: conditions by name, headers that ask or say when, what is avoided, and all forms of
//! the budget.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::{HeaderMap, Request, Response};
use tower::{Layer, ServiceExt};
use tower_mesh::{
    Body, Mesh, MeshBuilder, Retry,
    config::{
        AvoidEndpoint, Breakers, Budget, Cluster, Endpoint, Failures, HeaderMatch, InFlightBudget,
        IntegerRange, ResetFormat, ResetHeader, RetryOn, RetryPriority, StringMatch,
    },
    discover::Static,
    resilience::RetryLayer,
};

use support::{
    Leaves, Recorder, SERVICE, get,
    leaf::{answer, grpc, ok},
    post,
};

/// Back-offs of a millisecond.
fn fast(retry: Retry) -> Retry {
    retry.backoff(Duration::from_millis(1), Duration::from_millis(1))
}

fn with(status: u16, headers: &[(&'static str, &str)]) -> Response<Body> {
    let mut response = answer(status);
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

/// A mesh of three endpoints that all answer so, under this policy.
fn all(leaves: &Leaves, retry: Retry, answer: fn() -> Response<Body>) -> Mesh {
    let builder = leaves.mesh(move |_, _| async move { Ok(answer()) });
    builder.service(SERVICE, |s| s.retry(retry)).build().unwrap()
}

/// Attempts that a request gets which is answered so.
async fn attempts(retry: Retry, request: Request<Body>, answer: fn() -> Response<Body>) -> usize {
    let leaves = Leaves::new(3);
    let mesh = all(&leaves, retry, answer);
    let _answer = mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    leaves.total()
}

#[tokio::test(start_paused = true)]
async fn a_condition_by_name_takes_the_place_of_the_usual_ones() {
    let named = || fast(Retry::standard().on([RetryOn::RetriableClientError]));
    assert_eq!(attempts(named(), get("/"), || answer(409)).await, 3);
    assert_eq!(attempts(named(), get("/"), || answer(503)).await, 1);
    let gateway = || fast(Retry::standard().on([RetryOn::GatewayError]));
    assert_eq!(attempts(gateway(), get("/"), || answer(502)).await, 3);
    assert_eq!(attempts(gateway(), get("/"), || answer(500)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_condition_by_name_repeats_nothing_that_might_do_harm() {
    let named = || fast(Retry::standard().on([RetryOn::ServerError, RetryOn::Unavailable]));
    assert_eq!(attempts(named(), post("/", "once"), || answer(503)).await, 1);
    let mut declared = named();
    declared.idempotent = Some(true);
    assert_eq!(attempts(declared.clone(), post("/", "twice"), || answer(503)).await, 3);
    let mut rpc = post("/greeter/hello", "");
    rpc.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    assert_eq!(attempts(declared, rpc, || grpc(14)).await, 3);
}

#[tokio::test(start_paused = true)]
async fn headers_of_a_response_ask_for_a_retry_or_forbid_it() {
    let mut retry = fast(Retry::standard());
    retry.on_headers = vec![HeaderMatch::new("x-again", StringMatch::Exact("yes".into()))];
    let asked = || with(200, &[("x-again", "yes")]);
    assert_eq!(attempts(retry.clone(), get("/"), asked).await, 3);
    assert_eq!(attempts(retry, get("/"), || with(200, &[("x-again", "no")])).await, 1);
    let named = || fast(Retry::standard().on([RetryOn::ServerError]));
    let overloaded = || with(503, &[("x-envoy-overloaded", "true")]);
    assert_eq!(attempts(named(), get("/"), overloaded).await, 1);
    let limited = || with(429, &[("x-envoy-ratelimited", "true")]);
    let by_limit = fast(Retry::standard().on([RetryOn::EnvoyRatelimited]));
    assert_eq!(attempts(by_limit, get("/"), limited).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_the_header_that_allows_it_is_not_repeated() {
    let mut retry = fast(Retry::standard());
    retry.request_headers = vec![HeaderMatch::new("x-retry", StringMatch::Present)];
    assert_eq!(attempts(retry.clone(), get("/"), || answer(503)).await, 1);
    let mut allowed = get("/");
    allowed.headers_mut().insert("x-retry", "1".parse().unwrap());
    assert_eq!(attempts(retry, allowed, || answer(503)).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_header_of_the_response_says_when_to_come_back() {
    let mut retry = Retry::standard().attempts(2);
    let mut reset = ResetHeader::default();
    (reset.name, reset.format) = ("x-ratelimit-reset".into(), ResetFormat::Seconds);
    retry.reset_headers = vec![reset];
    retry.retry_after_max = Some(Duration::from_secs(60));
    let start = tokio::time::Instant::now();
    let asked = || with(503, &[("x-ratelimit-reset", "40"), ("retry-after", "1")]);
    assert_eq!(attempts(retry.clone(), get("/"), asked).await, 2);
    let waited = start.elapsed().as_secs_f64();
    assert!((40.0..=60.1).contains(&waited), "{waited}");
    assert_eq!(attempts(retry, get("/"), || with(503, &[("x-ratelimit-reset", "61")])).await, 1);
}

/// A cluster of these endpoints, numbered as they are.
fn cluster(count: usize, edit: impl Fn(usize, &mut Endpoint)) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.endpoints = (0..count)
        .map(|number| {
            let mut endpoint = Endpoint::from(Leaves::address(number));
            edit(number, &mut endpoint);
            endpoint
        })
        .collect();
    cluster
}

fn of_cluster<F, Fut>(leaves: &Leaves, cluster: Cluster, answer: F) -> MeshBuilder
where
    F: Fn(usize, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, support::BoxError>> + Send + 'static,
{
    leaves.leaves(Mesh::builder().source(Static::default().cluster(SERVICE, cluster)), answer)
}

/// Who is met in order by the first calls of many meshes, all of which every endpoint fails: what has
/// failed often is no better than what is avoided.
async fn met(cluster: Cluster, retry: Retry) -> BTreeSet<Vec<usize>> {
    let retry = fast(retry);
    let mut orders = BTreeSet::new();
    for seed in 0..60 {
        let leaves = Leaves::new(cluster.endpoints.len());
        let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
        let sink = Arc::clone(&seen);
        let builder = of_cluster(&leaves, cluster.clone(), move |number, _| {
            sink.lock().unwrap().push(number);
            async move { Ok(answer(503)) }
        });
        let builder = builder.seed(seed).service(SERVICE, |s| s.retry(retry.clone()));
        let mesh = builder.build().unwrap();
        let _answer = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
        orders.insert(std::mem::take(&mut *seen.lock().unwrap()));
    }
    orders
}

fn labelled(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

#[tokio::test(start_paused = true)]
async fn retries_avoid_canaries_and_labels_as_far_as_there_are_others() {
    // The last one is a canary.
    let of = || {
        cluster(3, |number, endpoint| {
            if number == 2 {
                endpoint.labels = labelled("canary", "true");
            }
        })
    };
    for avoid in [AvoidEndpoint::Canaries, AvoidEndpoint::Labels(labelled("canary", "true"))] {
        let orders = met(of(), Retry::standard().attempts(2).avoid([avoid.clone()])).await;
        let firsts: BTreeSet<_> = orders.iter().map(|order| order[0]).collect();
        assert_eq!(firsts, BTreeSet::from([0, 1, 2]), "a first attempt avoids nothing");
        assert!(orders.iter().all(|order| order[1] != 2), "{orders:?}");
        // When nobody else is left, it is the one.
        let orders = met(of(), Retry::standard().attempts(3).avoid([avoid])).await;
        assert!(orders.iter().any(|order| order[2] == 2), "{orders:?}");
    }
    let orders = met(of(), Retry::standard().attempts(2)).await;
    assert!(orders.iter().any(|order| order[1] == 2), "else they are met: {orders:?}");
}

#[tokio::test(start_paused = true)]
async fn retries_leave_the_priorities_that_were_met() {
    // Three of the best priority, two of the next.
    let of = || cluster(5, |number, endpoint| endpoint.priority = u32::from(number >= 3));
    let every = |attempts: u32| {
        let mut retry = Retry::standard().attempts(3);
        let mut priority = RetryPriority::default();
        priority.update_frequency = Some(attempts);
        retry.priority = Some(priority);
        retry
    };
    let level = |order: &Vec<usize>| order.iter().map(|it| it / 3).collect::<Vec<_>>();
    let levels = |orders: BTreeSet<Vec<usize>>| orders.iter().map(level).collect::<BTreeSet<_>>();
    // Looked at after each attempt: then the next one, and when both were met any will do.
    let each = levels(met(of(), every(1)).await);
    assert!(each.iter().all(|it| it[..2] == [0, 1]), "{each:?}");
    // After two: the first two as ever, and then the other one.
    let both = levels(met(of(), every(2)).await);
    assert!(both.contains(&vec![0, 0, 1]) && !both.contains(&vec![0, 0, 0]), "{both:?}");
    // Without, what was not tried of the best priority comes first.
    let usual = levels(met(of(), Retry::standard().attempts(3)).await);
    assert!(usual.contains(&vec![0, 0, 0]), "{usual:?}");
}

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
async fn attempts_are_counted_for_the_endpoint_and_for_the_caller() {
    let leaves = Leaves::new(3);
    let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let sink = Arc::clone(&seen);
    let builder = leaves.mesh(move |_, request: Request<Body>| {
        let mut seen = sink.lock().unwrap();
        seen.push(request.headers().clone());
        let status = if seen.len() < 3 { 503 } else { 200 };
        async move { Ok(answer(status)) }
    });
    let retry = fast(Retry::standard());
    let builder = builder
        .service(SERVICE, |s| s.retry(retry).send_attempt_count(true).report_attempt_count(true));
    let mesh = builder.build().unwrap();
    let answer = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    assert_eq!(answer.headers()["x-envoy-attempt-count"], "3");
    let told: Vec<_> =
        seen.lock().unwrap().iter().map(|it| it["x-envoy-attempt-count"].clone()).collect();
    assert_eq!(told, ["1", "2", "3"]);
    assert!(!seen.lock().unwrap()[0].contains_key("x-mesh-attempt"));
}

/// A request that changes its retries by headers.
fn asking(headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = post("/", "once more");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

/// Attempts of a request that every endpoint fails by 500, and the headers that the first one saw.
async fn asked(allowed: bool, headers: &[(&'static str, &str)]) -> (usize, HeaderMap) {
    let leaves = Leaves::new(3);
    let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let sink = Arc::clone(&seen);
    let builder = leaves.mesh(move |_, request: Request<Body>| {
        sink.lock().unwrap().push(request.headers().clone());
        async move { Ok(answer(500)) }
    });
    let retry = fast(Retry::standard());
    let builder = builder.service(SERVICE, |s| s.retry(retry).caller_overrides(allowed));
    let mesh = builder.build().unwrap();
    let _answer = mesh.client(SERVICE).unwrap().send(asking(headers)).await.unwrap();
    let first = seen.lock().unwrap()[0].clone();
    (leaves.total(), first)
}

#[tokio::test(start_paused = true)]
async fn headers_of_a_request_change_its_retries_where_the_policy_allows_it() {
    let envoy = [("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "4")];
    let (attempts, seen) = asked(true, &envoy).await;
    assert_eq!(attempts, 5);
    assert!(!seen.contains_key("x-envoy-retry-on") && !seen.contains_key("x-envoy-max-retries"));
    let (attempts, seen) = asked(false, &envoy).await;
    assert_eq!(attempts, 1, "a POST, and nobody is asked");
    assert_eq!(seen["x-envoy-retry-on"], "5xx", "it is passed on as it is");
    let linkerd = [("l5d-retry-http", "500-503"), ("l5d-retry-limit", "1")];
    assert_eq!(asked(true, &linkerd).await.0, 2);
    // How often says nothing of whether it may be.
    assert_eq!(asked(true, &[("x-envoy-max-retries", "4")]).await.0, 1);
    assert_eq!(asked(true, &[("x-envoy-retry-on", "nonsense")]).await.0, 1);
}

/// Calls of the endpoint that answers so, of two that share 400 calls.
async fn share_of(failing: fn() -> Response<Body>, failures: Option<Failures>) -> usize {
    let leaves = Leaves::new(2);
    let answering = leaves.leaves(Mesh::builder(), move |number, _| async move {
        Ok(if number == 0 { failing() } else { ok("well") })
    });
    let (mesh, _publish) = support::published(answering.seed(3), |publish| {
        publish.endpoints(SERVICE, leaves.addresses()).unwrap();
        let mut service = tower_mesh::config::Service::default();
        service.policy.retry = Some(Retry::standard().attempts(1));
        service.policy.failures = failures;
        publish.service(SERVICE, service).unwrap();
    })
    .await;
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..400 {
        let _answer = client.send(get("/")).await.unwrap();
    }
    leaves.hits(0)
}

#[tokio::test(start_paused = true)]
async fn a_policy_says_which_answers_are_failures_of_their_endpoint() {
    let statuses = |start, end| {
        let (mut failures, mut range) = (Failures::default(), IntegerRange::default());
        (range.start, range.end) = (start, end);
        failures.statuses = Some(vec![range]);
        Some(failures)
    };
    // An endpoint that fails is left to what works.
    assert!(share_of(|| answer(503), None).await < 60);
    assert!(share_of(|| answer(429), None).await > 100);
    assert!(share_of(|| answer(429), statuses(429, 430)).await < 60);
    assert!(share_of(|| answer(503), statuses(429, 430)).await > 100);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_leaves_a_throttle_alone_leaves_its_tokens_too() {
    let leaves = Leaves::new(3);
    let (mesh, publish) = support::published(
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
        async { Ok::<_, support::BoxError>(answer(503)) }
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
        (r#"{"response_timeout": "0s"}"#, "policy.response_timeout", "over 0"),
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
