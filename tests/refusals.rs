//! A refusal says what refused the call and whose limit that is: in its text, its flag, an event, a count.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use tower_mesh::{
    Call, Client, Error, Event, Mesh, Refusal,
    config::{Filter, Match, PathMatch, RateLimit, Route, Service, TokenBucket, WeightedCluster},
};

use support::{
    Recorder, SERVICE,
    leaf::answer,
    protected::{MILLI, SECOND, adaptive, admission, call, held, mesh, service, throttle},
};

/// A route of this name for the path of the same name.
fn route(name: &str, filters: impl IntoIterator<Item = Filter>) -> Route {
    let mut route = Route::default();
    let mut rule = Match::default();
    rule.path = Some(PathMatch::Exact(format!("/{name}")));
    route.name = Some(name.into());
    route.matches = vec![rule];
    route.clusters = vec![WeightedCluster::new(SERVICE)];
    route.filters = filters.into_iter().collect();
    route
}

fn one_token() -> Filter {
    Filter::RateLimit(Box::new(RateLimit::new(TokenBucket::new(1, 1, 3_600 * SECOND))))
}

fn one_in_flight() -> Filter {
    adaptive(|it| (it.initial_concurrency, it.min_concurrency) = (Some(1), Some(1)))
}

/// Calls, a hundred a second, until one is refused; the answers are held until then.
async fn refused(client: &Client, path: &str) -> Error {
    let mut answers = Vec::new();
    for _ in 0..2_000 {
        match client.send(call(path, Call::new().no_retry())).await {
            Ok(answer) => answers.push(answer),
            Err(error) => return error,
        }
        tokio::time::sleep(10 * MILLI).await;
    }
    panic!("{path}: nothing is refused");
}

/// Whatever a route refuses itself, and what its service and all services refuse.
fn services() -> Vec<(Service, &'static str, Refusal, &'static [&'static str])> {
    let mut routes = service([]);
    let mut limited = route("limited", []);
    limited.policy.max_requests = Some(1);
    let mut split = route("split", []);
    split.clusters[0].filters = vec![one_token()];
    let mut nameless = route("nameless", [one_token()]);
    nameless.name = None;
    let admission = admission(|it| it.min_per_second = Some(0.0));
    routes.routes = vec![
        nameless,
        route("throttled", [throttle(|_| {})]),
        route("admitted", [admission]),
        route("adaptive", [one_in_flight()]),
        route("rated", [one_token()]),
        limited,
        split,
    ];
    let mut whole = service([]);
    whole.policy.max_requests = Some(1);
    let of = |path, why, words: &'static [&'static str]| (routes.clone(), path, why, words);
    vec![
        of("/throttled", Refusal::Throttled, &["(`throttle`)", "said of route throttled"]),
        of("/admitted", Refusal::AdmissionControl, &["`admission_control`", "of route admitted"]),
        of(
            "/adaptive",
            Refusal::AdaptiveConcurrency,
            &["`adaptive_concurrency`", "route adaptive"],
        ),
        of("/rated", Refusal::RateLimited, &["`rate_limit`: the bucket", "said of route rated"]),
        of("/nameless", Refusal::RateLimited, &["said of route 1 (no name)"]),
        of("/split", Refusal::RateLimited, &["said of cluster 1 of route split"]),
        of("/limited", Refusal::Concurrency, &["`max_requests` of the route", "route is limited"]),
        (whole, "/", Refusal::Concurrency, &["`max_requests` of the service"]),
        (service([one_token()]), "/", Refusal::RateLimited, &["`rate_limit`", "of the service"]),
        (service([throttle(|_| {})]), "/throttled", Refusal::Throttled, &["said of the service"]),
    ]
}

#[tokio::test(start_paused = true)]
async fn each_refusal_names_its_limit_and_whose_it_is() {
    for (service, path, why, words) in services() {
        let (mesh, _publisher, _) = mesh(service, |_, request| async move {
            // The service refuses, fails, or does not end its answers.
            Ok(match request.uri().path() {
                "/throttled" => answer(503),
                "/admitted" => answer(500),
                _ => held(),
            })
        })
        .await;
        let mut events = Recorder::of(&mesh);
        let error = refused(&mesh.client(SERVICE).unwrap(), path).await;
        assert_eq!((error.refusal(), error.response_flag()), (Some(why), why.flag()), "{error}");
        assert!(error.is_overload() && error.attempts().is_empty(), "{error}");
        let text = error.to_string();
        for part in words {
            assert!(text.contains(part), "{part} in {text}");
        }
        let of_call = |event: &Event| match event {
            Event::CallRefused { service, refusal, .. } => **service == *SERVICE && *refusal == why,
            _ => false,
        };
        assert_eq!(events.count(of_call), 1, "{path}");
        assert!((counted(&mesh, why) - 1.0).abs() < 0.1, "{path}");
    }
}

/// Calls that were refused so, in the metrics.
fn counted(mesh: &Mesh, why: Refusal) -> f64 {
    let code = match why {
        Refusal::Throttled => "throttled",
        Refusal::AdmissionControl => "admission_control",
        Refusal::AdaptiveConcurrency => "adaptive_concurrency",
        Refusal::RateLimited => "rate_limited",
        _ => "concurrency",
    };
    mesh.metrics().total("mesh.client.calls.refused", &[("mesh.refusal", code)])
}
