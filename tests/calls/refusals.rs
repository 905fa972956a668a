//! A refusal says what refused the call and whose limit that is: in its text, its flag, an event, a count.
//! It costs the retry budget nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test fails by panicking, and counts are whole"
)]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::task::JoinSet;
use tower_mesh::{
    Call, Client, Error, Event, Mesh, Refusal,
    config::{
        Authorization, AuthorizationRule, Budget, Cluster, Criticality, DescriptorPart,
        DropOverload, Filter, GlobalRateLimit, Health, Match, PathMatch, RateDescriptor, RateLimit,
        Retry, Route, Service, TokenBucket, WeightedCluster,
    },
};

use crate::support::{
    Leaves, Pipes, Recorder, Reply, SERVICE, cluster, get,
    leaf::answer,
    protected::{MILLI, SECOND, adaptive, admission, call, held, mesh, say, service, throttle},
    published,
    server::body,
    status,
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

/// The places of the service, of limits that everything is over, and of limits that do not answer.
const USERS: usize = 0;
const OVER: usize = 1;
const DOWN: usize = 2;

/// They count the calls of the service, which refuses, fails, or never answers, by the path.
fn servers(sent: &Arc<AtomicUsize>) -> Pipes {
    let sent = Arc::clone(sent);
    Pipes::http(move |address, request| {
        let sent = Arc::clone(&sent);
        async move {
            let (head, upload) = request.into_parts();
            drop(upload.collect().await);
            if address == Leaves::address(OVER) {
                return over_limit();
            }
            if address == Leaves::address(DOWN) {
                return status(StatusCode::SERVICE_UNAVAILABLE);
            }
            sent.fetch_add(1, SeqCst);
            match head.uri.path() {
                "/throttled" => status(StatusCode::SERVICE_UNAVAILABLE),
                "/admitted" => status(StatusCode::INTERNAL_SERVER_ERROR),
                _ => std::future::pending().await,
            }
        }
    })
}

/// The message `overall_code: OVER_LIMIT` of `envoy.service.ratelimit.v3`, and that it has succeeded.
fn over_limit() -> Reply {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 2, 8, OVER_LIMIT]))),
        Ok(Frame::trailers(trailers)),
    ];
    let mut reply = Response::new(body(StreamBody::new(stream::iter(frames))));
    let grpc = HeaderValue::from_static("application/grpc");
    reply.headers_mut().insert("content-type", grpc);
    reply
}

const OVER_LIMIT: u8 = 2;

/// Asks this cluster about every call, which fails without an answer.
fn asking(limits: &str) -> Filter {
    let mut limit = GlobalRateLimit::new(limits, "shop");
    limit.fail_closed = Some(true);
    limit.describe = vec![RateDescriptor::new([DescriptorPart::DestinationCluster])];
    Filter::GlobalRateLimit(Box::new(limit))
}

/// What refuses calls to this path, sooner or later.
fn refusing() -> Vec<(Refusal, &'static str, Service, Cluster)> {
    let plain = || cluster([Leaves::address(USERS)]);
    let by_filter = |why, path, filter| (why, path, service([filter]), plain());
    let by_service = |why, calls, criticality| {
        let mut limited = service([]);
        limited.policy.max_requests = Some(calls);
        limited.policy.criticality = criticality;
        (why, "/", limited, plain())
    };
    let by_cluster = |why, edit: fn(&mut Cluster)| {
        let mut limited = plain();
        edit(&mut limited);
        (why, "/", service([]), limited)
    };
    let mut nobody = Authorization::default();
    nobody.rules = vec![AuthorizationRule::deny("nobody")];
    let admission = admission(|it| it.min_per_second = Some(0.0));
    let mut refusing = vec![
        by_filter(Refusal::Denied, "/", Filter::Authorize(nobody)),
        by_filter(Refusal::RateLimited, "/", one_token()),
        by_filter(Refusal::AdaptiveConcurrency, "/", one_in_flight()),
        by_filter(Refusal::Throttled, "/throttled", throttle(|_| {})),
        by_filter(Refusal::AdmissionControl, "/admitted", admission),
        by_service(Refusal::Concurrency, 1, None),
        by_service(Refusal::Shed, 10, Some(Criticality::Sheddable)),
        by_cluster(Refusal::MaxRequests, |it| {
            it.breakers.get_or_insert_default().max_requests = Some(1);
        }),
        by_cluster(Refusal::MaxPending, |it| {
            let breakers = it.breakers.get_or_insert_default();
            (breakers.max_connections, breakers.max_pending) = (Some(1), Some(1));
        }),
        by_cluster(Refusal::Queue, |it| {
            it.endpoints[0].health = Health::Draining;
            it.queue.get_or_insert_default().capacity = Some(1);
        }),
        by_cluster(Refusal::Dropped, |it| it.drops = vec![DropOverload::new("all", 100.0)]),
    ];
    if cfg!(feature = "rls") {
        refusing.push(by_filter(Refusal::GlobalRateLimited, "/", asking("over")));
        refusing.push(by_filter(Refusal::RateLimitUnavailable, "/", asking("down")));
    }
    refusing
}

#[tokio::test(start_paused = true)]
async fn no_refused_call_takes_from_the_retry_budget_or_pays_into_it() {
    // What the service answers is not retried, so that nothing is taken out; a call pays one in.
    let budget = Budget::new(1.0).min_per_second(0).ttl(60 * SECOND);
    let retry = Retry::standard().on_status([502]).budget(budget);
    for (why, path, mut service, users) in refusing() {
        service.policy.retry = Some(retry.clone());
        let sent = Arc::new(AtomicUsize::new(0));
        let builder = Mesh::builder().connect_layer(servers(&sent)).seed(7);
        let (mesh, _publisher) = published(builder, |publisher| {
            let at = |place| cluster([Leaves::address(place)]);
            for (name, cluster) in [(SERVICE, users), ("over", at(OVER)), ("down", at(DOWN))] {
                publisher.cluster(name, cluster).unwrap();
            }
            say(publisher, service);
        })
        .await;
        let client = mesh.client(SERVICE).unwrap();
        let mut events = Recorder::of(&mesh);
        let seen = || {
            let of = [("mesh.service", SERVICE)];
            let balance = mesh.metrics().total("mesh.client.retry_budget.balance", &of);
            (balance, sent.load(SeqCst))
        };
        // One that is let in is answered at once, or stays in flight.
        let (mut calls, mut let_in) = (JoinSet::new(), 0_u32);
        let (before, error) = loop {
            assert!(let_in < 2_000, "{why}: nothing is refused");
            let before = seen();
            calls.spawn(client.send(get(path)));
            tokio::time::sleep(10 * MILLI).await;
            events.events();
            if let Some(Err(error)) = calls.try_join_next().map(Result::unwrap) {
                break (before, error);
            }
            let_in += 1;
        };
        assert_eq!(error.refusal(), Some(why), "{error}");
        assert_eq!(before.0, f64::from(let_in), "{why}: what each that was let in has paid");
        assert_eq!(seen(), before, "the balance, and what was sent: {error}");
        assert_eq!(events.retries(), [""; 0], "{error}");
        assert_eq!(events.refusals(), [""; 0], "{error}");
    }
}
