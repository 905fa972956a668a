//! What is sent again, and when: conditions by name, and headers that ask for it, forbid it or say when.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use tower_mesh::{
    Body, Mesh, Retry,
    config::{Failures, HeaderMatch, IntegerRange, ResetFormat, ResetHeader, RetryOn, StringMatch},
};

use crate::{
    attempts, fast,
    support::{
        Leaves, SERVICE, get,
        leaf::{answer, grpc, ok},
        post,
    },
    with,
};

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

/// Attempts of a GET with these headers, under a policy that lets them ask.
async fn of_get(
    retry: Retry,
    headers: &[(&'static str, &str)],
    answer: fn() -> Response<Body>,
) -> usize {
    let leaves = Leaves::new(3);
    let builder = leaves.mesh(move |_, _| async move { Ok(answer()) });
    let builder = builder.service(SERVICE, |s| s.retry(fast(retry)).caller_overrides(true));
    let mut request = get("/");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let mesh = builder.build().unwrap();
    let _answer = mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    leaves.total()
}

//= Envoy RetryStateImpl: what the headers list stands beside what the route lists
#[tokio::test(start_paused = true)]
async fn lists_of_a_request_stand_beside_those_of_its_policy() {
    let conflict: fn() -> Response<Body> = || answer(409);
    let statuses = || {
        let mut retry = Retry::standard().on([RetryOn::RetriableStatusCodes]);
        retry.on_status = Some(vec![503]);
        retry
    };
    let listed = [("x-envoy-retriable-status-codes", "409")];
    assert_eq!(of_get(statuses(), &[], conflict).await, 1);
    assert_eq!(of_get(statuses(), &listed, conflict).await, 3);
    assert_eq!(of_get(statuses(), &listed, || answer(503)).await, 3);
    let own = |retry: Retry| {
        let mut retry = retry;
        retry.on_status = Some(vec![503]);
        retry
    };
    assert_eq!(of_get(own(Retry::standard()), &listed, conflict).await, 3);
    // Nobody reads it.
    let gateway = || Retry::standard().on([RetryOn::GatewayError]);
    assert_eq!(of_get(gateway(), &listed, conflict).await, 1);
    assert_eq!(of_get(Retry::standard(), &listed, conflict).await, 1);
    let named = [("x-envoy-retry-on", "retriable-status-codes"), listed[0]];
    assert_eq!(of_get(gateway(), &named, conflict).await, 3);

    let more: fn() -> Response<Body> = || with(200, &[("x-more", "1")]);
    let again: fn() -> Response<Body> = || with(200, &[("x-again", "1")]);
    let by = || HeaderMatch::new("x-again", StringMatch::Present);
    let headers = || {
        let mut retry = Retry::standard().on([RetryOn::RetriableHeaders]);
        retry.on_headers = vec![by()];
        retry
    };
    let listed = [("x-envoy-retriable-header-names", "x-more")];
    assert_eq!(of_get(headers(), &[], more).await, 1);
    assert_eq!(of_get(headers(), &listed, more).await, 3);
    assert_eq!(of_get(headers(), &listed, again).await, 3);
    assert_eq!(of_get(gateway(), &listed, more).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_a_request_names_takes_no_header_of_its_policy_away() {
    let again: fn() -> Response<Body> = || with(200, &[("x-again", "1")]);
    let more: fn() -> Response<Body> = || with(200, &[("x-more", "1")]);
    let named = ("x-envoy-retry-on", "retriable-headers");
    for on in [None, Some(RetryOn::RetriableHeaders)] {
        let headers = || {
            let mut retry = Retry::standard().on(on.into_iter().collect::<Vec<_>>());
            retry.on_headers = vec![HeaderMatch::new("x-again", StringMatch::Present)];
            retry
        };
        assert_eq!(of_get(headers(), &[named], again).await, 3, "{on:?}");
        let both = [named, ("x-envoy-retriable-header-names", "x-more")];
        assert_eq!(of_get(headers(), &both, again).await, 3, "{on:?}");
        assert_eq!(of_get(headers(), &both, more).await, 3, "{on:?}");
    }
}

/// Calls of the endpoint that answers so, of two that share 400 calls.
async fn share_of(failing: fn() -> Response<Body>, failures: Option<Failures>) -> usize {
    let leaves = Leaves::new(2);
    let answering = leaves.leaves(Mesh::builder(), move |number, _| async move {
        Ok(if number == 0 { failing() } else { ok("well") })
    });
    let (mesh, _publish) = crate::support::published(answering.seed(3), |publish| {
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
