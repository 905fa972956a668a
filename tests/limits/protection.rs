//! Limits that follow the latency, throttling and admission control.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{future::join_all, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::Semaphore;
use tower_mesh::{
    Body, Call, Error, Mesh, Refusal,
    config::{Fault, Filter, IntegerRange, Route, WeightedCluster},
};

use crate::support::{
    BoxError, Recorder, SERVICE, Server, get,
    leaf::{answer, ok},
    protected::{
        MILLI, SECOND, adaptive, admission, call, count, held, mesh, refused, say, service, storm,
        throttle,
    },
    published, reply,
};

#[tokio::test(start_paused = true)]
async fn a_service_that_lost_capacity_goes_on_answering_what_it_can() {
    let goodput = |filters: Vec<Filter>| async move {
        let workers = Arc::new(Semaphore::new(32));
        let own = Arc::clone(&workers);
        let (mesh, _publisher, _) = mesh(service(filters), move |_, _| {
            let workers = Arc::clone(&own);
            async move {
                // Its queue is fair, and it does the work whether or not anybody waits.
                let work = tokio::spawn(async move {
                    let _worker = workers.acquire().await.unwrap();
                    tokio::time::sleep(20 * MILLI).await;
                });
                work.await.unwrap();
                Ok(ok("done"))
            }
        })
        .await;
        let client = mesh.client(SERVICE).unwrap();
        let request = |_| call("/", Call::new().timeout(SECOND / 2).no_retry());
        storm(&client, 800, 3, request).await;
        // Four of 32 workers are left: 200 calls per second.
        let lost = workers.acquire_many(28).await.unwrap();
        lost.forget();
        storm(&client, 800, 10, request).await;
        let answers = storm(&client, 800, 5, request).await;
        let refused = refused(&answers, Refusal::AdaptiveConcurrency);
        (count(&answers, Result::is_ok), refused)
    };
    let limit = adaptive(|limit| limit.min_concurrency = Some(2));
    let (answered, refused) = goodput(vec![limit]).await;
    assert!(answered > 850, "{answered} of the 1000 that it can");
    assert!(refused > 2_000, "{refused}");
    let (answered, refused) = goodput(vec![]).await;
    assert!(answered < 100, "{answered}: without a limit what it does is too late");
    assert_eq!(refused, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_why_is_not_retried_and_takes_nothing_from_the_budget() {
    let limit = adaptive(|limit| {
        (limit.initial_concurrency, limit.min_concurrency) = (Some(1), Some(1));
        limit.status = Some(429);
    });
    let (mesh, _publisher, leaves) = mesh(service([limit]), |_, _| async { Ok(held()) }).await;
    let mut events = Recorder::of(&mesh);
    let client = mesh.client(SERVICE).unwrap();
    let balance = |mesh: &Mesh| {
        let text = mesh.prometheus();
        let line = text.lines().find(|line| line.starts_with("mesh_client_retry_budget_balance{"));
        line.unwrap().to_owned()
    };
    let first = client.send(get("/")).await.unwrap();
    let before = balance(&mesh);
    for _ in 0..100 {
        let error = client.send(get("/")).await.unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::AdaptiveConcurrency));
        assert_eq!(error.response_flag(), "UO");
        assert_eq!(error.http_status(), 429);
        assert!(error.is_overload() && error.attempts().is_empty());
        let text = error.to_string();
        assert!(text.contains("1 calls in flight are what the service bears now"), "{text}");
        assert!(text.contains("`adaptive_concurrency`"), "{text}");
    }
    // A hundred calls would have deposited twenty retries.
    assert_eq!(balance(&mesh), before);
    assert_eq!(leaves.total(), 1);
    assert_eq!(events.count(|event| matches!(event, tower_mesh::Event::Retry { .. })), 0);
    drop(first);
    client.send(get("/")).await.unwrap();
    let text = mesh.prometheus();
    let told = |name: &str, value: &str| {
        text.lines().any(|line| line.starts_with(name) && line.ends_with(value))
    };
    assert!(told("mesh_client_calls_refused_total{", " 100"), "{text}");
    assert!(text.contains("mesh_refusal=\"adaptive_concurrency\""), "{text}");
    assert!(told("mesh_client_concurrency_limit{", " 1"), "{text}");
    assert!(told("mesh_client_concurrency_active{", " 0"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_is_sent_less_and_all_again_when_it_is_back() {
    let status = Arc::new(AtomicU16::new(503));
    let own = Arc::clone(&status);
    let short = throttle(|throttle| throttle.window = Some(10 * SECOND));
    let (mesh, _publisher, leaves) = mesh(service([short]), move |_, _| {
        let status = own.load(SeqCst);
        async move { Ok(answer(status)) }
    })
    .await;
    let client = mesh.client(SERVICE).unwrap();
    let request = |_| call("/", Call::new().no_retry());
    storm(&client, 100, 15, request).await;
    leaves.reset();
    let answers = storm(&client, 100, 10, request).await;
    // One a second is sent however bad it looks.
    assert!((10..100).contains(&leaves.total()), "{}", leaves.total());
    let throttled = refused(&answers, Refusal::Throttled);
    assert!(throttled > 900, "{throttled}");
    let error = answers.into_iter().find_map(Result::err).unwrap();
    assert_eq!(error.response_flag(), "CT");
    assert!(error.to_string().contains("of these calls are not sent (`throttle`)"), "{error}");
    status.store(200, SeqCst);
    storm(&client, 100, 60, request).await;
    let answers = storm(&client, 100, 5, request).await;
    assert_eq!(count(&answers, Result::is_ok), 500);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_throttled_before_its_calls_have_ended() {
    let (mesh, _publisher, leaves) =
        mesh(service([throttle(|_| {})]), |_, _| std::future::pending()).await;
    let client = mesh.client(SERVICE).unwrap();
    // Half a minute's patience, and not one has ended within ten seconds.
    let calls = async {
        for _ in 0..1_000 {
            let client = client.clone();
            let request = call("/", Call::new().timeout(30 * SECOND).no_retry());
            tokio::spawn(async move { client.send(request).await });
            tokio::time::sleep(10 * MILLI).await;
        }
    };
    calls.await;
    assert!(leaves.total() < 500, "{} of 1000 were sent", leaves.total());
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_on_this_side_throttle_nobody() {
    // The limit refuses nearly all of them, which says nothing of the service.
    let limit = adaptive(|limit| {
        (limit.initial_concurrency, limit.min_concurrency) = (Some(1), Some(1));
    });
    let filters = [throttle(|_| {}), admission(|_| {}), limit];
    let (mesh, _publisher, _) = mesh(service(filters), |_, _| async { Ok(held()) }).await;
    let client = mesh.client(SERVICE).unwrap();
    let _first = client.send(get("/")).await.unwrap();
    for _ in 0..1_000 {
        let error = client.send(get("/")).await.unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::AdaptiveConcurrency));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_here_throttles_nobody() {
    let few = || {
        throttle(|throttle| {
            let mut range = IntegerRange::default();
            (range.start, range.end) = (500, 504);
            throttle.rejected_statuses = Some(vec![range]);
            throttle.min_requests = Some(10);
        })
    };
    let drill = |per_attempt| {
        let mut drill = Fault::abort(503);
        drill.per_attempt = Some(per_attempt);
        service([few(), admission(|_| {}), Filter::Fault(Box::new(drill))])
    };
    let mut invalid = service([few(), admission(|_| {})]);
    let mut nowhere = WeightedCluster::new(SERVICE);
    nowhere.invalid = Some("there is no such port".into());
    let mut to = Route::default();
    to.clusters = vec![nowhere];
    invalid.routes = vec![to];
    for (said, status) in [(drill(false), 503), (drill(true), 503), (invalid, 500)] {
        let mut well = said.clone();
        let (mesh, publisher, leaves) = mesh(said, |_, _| async { Ok(ok("")) }).await;
        let client = mesh.client(SERVICE).unwrap();
        let request = |_| call("/", Call::new().no_retry());
        let answers = storm(&client, 100, 1, request).await;
        assert_eq!(count(&answers, |it| matches!(it, Ok(it) if *it == status)), 100);
        assert_eq!(leaves.total(), 0);
        // What the protections know lives on.
        well.filters.truncate(2);
        well.routes.clear();
        say(&publisher, well);
        let told = mesh.explain(&get("http://users.prod/")).unwrap();
        assert_eq!(told.fails, None, "{told}");
        let answers = storm(&client, 100, 5, request).await;
        assert_eq!((count(&answers, Result::is_ok), leaves.total()), (500, 500));
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_calls_fail_is_sent_at_least_a_fifth() {
    let (mesh, _publisher, leaves) =
        mesh(service([admission(|_| {})]), |_, _| async { Ok(answer(500)) }).await;
    let client = mesh.client(SERVICE).unwrap();
    let request = |_| call("/", Call::new().no_retry());
    storm(&client, 100, 20, request).await;
    leaves.reset();
    let answers = storm(&client, 100, 20, request).await;
    assert!((300..500).contains(&leaves.total()), "{} of 2000", leaves.total());
    let refused = refused(&answers, Refusal::AdmissionControl);
    assert_eq!(refused + leaves.total(), 2_000);
    let error = answers.into_iter().find_map(Result::err).unwrap();
    assert_eq!(error.response_flag(), "AC");
    assert!(error.to_string().contains("(`admission_control`)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_grpc_status_in_trailers_counts_when_it_comes() {
    let (mesh, _publisher, leaves) = mesh(service([admission(|_| {})]), |_, _| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "13".parse().unwrap());
        let frames = [
            Ok::<_, BoxError>(Frame::data(Bytes::from("a message"))),
            Ok(Frame::trailers(trailers)),
        ];
        let body = Body::new(StreamBody::new(stream::iter(frames)));
        let response = Response::builder().header("content-type", "application/grpc");
        Ok(response.body(body).unwrap())
    })
    .await;
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..500 {
        let mut request = Request::post("/a.B/C").body(Body::empty()).unwrap();
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let response = client.send(request).await.unwrap();
        drop(http_body_util::BodyExt::collect(response.into_body()).await);
    }
    assert!(leaves.total() < 250, "{}", leaves.total());
}

#[tokio::test(start_paused = true)]
async fn what_a_protection_knows_outlives_updates_that_do_not_change_it() {
    let (mesh, publisher, _) =
        mesh(service([throttle(|_| {})]), |_, _| async { Ok(answer(503)) }).await;
    let client = mesh.client(SERVICE).unwrap();
    let request = |_| call("/", Call::new().no_retry());
    storm(&client, 100, 10, request).await;
    let throttled = async || {
        let answers = storm(&client, 100, 1, request).await;
        refused(&answers, Refusal::Throttled)
    };
    assert!(throttled().await > 80);
    let mut other = service([throttle(|_| {})]);
    other.policy.timeout = Some(7 * SECOND);
    say(&publisher, other);
    assert!(throttled().await > 80, "it has forgotten");
    say(&publisher, service([throttle(|throttle| throttle.per_accept = Some(3.0))]));
    assert!(throttled().await <= 1, "another setting begins anew");
    say(&publisher, service([throttle(|throttle| throttle.enabled = Some(false))]));
    storm(&client, 100, 5, request).await;
    assert_eq!(throttled().await, 0);
}

#[tokio::test(start_paused = true)]
async fn settings_are_described_and_a_refusal_is_foretold() {
    let filters = [adaptive(|limit| limit.max_concurrency = Some(77)), throttle(|_| {})];
    let (mesh, _publisher, _) = mesh(service(filters), |_, _| async { Ok(answer(503)) }).await;
    let description = mesh.describe().to_string();
    for line in [
        "adaptive_concurrency.controller = gradient2 (default)",
        "adaptive_concurrency.max_concurrency = 77 (held by the test)",
        "gradient2.long_window = 600 (default)",
        "throttle.window = 120s (default)",
        "throttle.per_accept = 2 (default)",
        "criticality = critical (default)",
    ] {
        assert!(description.contains(line), "{line} in {description}");
    }
    let client = mesh.client(SERVICE).unwrap();
    assert!(mesh.explain(&get("http://users.prod/")).unwrap().fails.is_none());
    storm(&client, 100, 5, |_| call("/", Call::new().no_retry())).await;
    let told = mesh.explain(&get("http://users.prod/")).unwrap().fails.unwrap();
    assert!(told.contains("of these calls are not sent (`throttle`)"), "{told}");
}

#[tokio::test]
async fn a_limit_bounds_what_is_in_flight_over_real_servers() {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = (Arc::clone(&inside), Arc::clone(&most));
    let server = Server::start(move |_| {
        let (inside, most) = (Arc::clone(&seen.0), Arc::clone(&seen.1));
        async move {
            most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(50 * MILLI).await;
            inside.fetch_sub(1, SeqCst);
            reply("done")
        }
    })
    .await;
    let limit = adaptive(|limit| {
        (limit.initial_concurrency, limit.min_concurrency) = (Some(4), Some(1));
    });
    let (mesh, _publisher) =
        published(Mesh::builder().endpoints(SERVICE, [server.address()]), |publisher| {
            say(publisher, service([limit]));
        })
        .await;
    let client = mesh.client(SERVICE).unwrap();
    let answers = join_all((0..16).map(|_| client.send(get("/")))).await;
    let answered = answers.iter().filter(|it| it.is_ok()).count();
    let is_limited = |it: &Result<_, Error>| {
        it.as_ref().is_err_and(|error| error.refusal() == Some(Refusal::AdaptiveConcurrency))
    };
    assert_eq!(answered, 4);
    assert_eq!(answers.iter().filter(|it| is_limited(it)).count(), 12);
    assert_eq!((most.load(SeqCst), server.requests()), (4, 4));
}

#[test]
fn bad_settings_are_refused_with_their_place() {
    let bad = [
        (adaptive(|it| it.min_concurrency = Some(0)), "min_concurrency = 0"),
        (
            adaptive(|it| (it.min_concurrency, it.max_concurrency) = (Some(9), Some(8))),
            "min_concurrency = 9",
        ),
        (
            adaptive(|it| (it.initial_concurrency, it.max_concurrency) = (Some(50), Some(40))),
            "initial_concurrency = 50",
        ),
        (adaptive(|it| it.max_limit_factor = Some(f64::NAN)), "max_limit_factor = NaN"),
        (adaptive(|it| it.update_interval = Some(Duration::ZERO)), "update_interval = 0ns"),
        (adaptive(|it| it.update_interval = Some(MILLI / 2)), "update_interval = 500µs"),
        (adaptive(|it| it.min_samples = Some(0)), "min_samples = 0"),
        (adaptive(|it| it.status = Some(200)), "status = 200"),
        (throttle(|it| it.window = Some(MILLI)), "window = 1ms"),
        (throttle(|it| it.window = Some(Duration::MAX)), "window"),
        (throttle(|it| it.per_accept = Some(0.5)), "per_accept = 0.5"),
        (throttle(|it| it.rejected_grpc = Some(vec![0])), "rejected_grpc = 0"),
        (throttle(|it| it.force_after = Some(Duration::ZERO)), "force_after = 0ns"),
        (admission(|it| it.threshold_percent = Some(0.0)), "threshold_percent = 0"),
        (admission(|it| it.threshold_percent = Some(101.0)), "threshold_percent = 101"),
        (admission(|it| it.aggression = Some(-1.0)), "aggression = -1"),
        (admission(|it| it.max_rejection_percent = Some(100.1)), "max_rejection_percent = 100.1"),
        (admission(|it| it.success_grpc = Some(vec![17])), "success_grpc = 17"),
        (admission(|it| it.min_per_second = Some(f64::INFINITY)), "min_per_second = inf"),
    ];
    for (filter, wanted) in bad {
        let error = service([filter]).validate("users").unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
        assert!(error.starts_with("services.users.filters[0]."), "{error}");
    }
    let twice = service([throttle(|_| {}), throttle(|_| {})]).validate("users").unwrap_err();
    assert!(twice.to_string().contains("filters[1]"), "{twice}");
}

#[tokio::test(start_paused = true)]
async fn a_long_stream_counts_when_it_ends_and_takes_nothing_away_from_what_came_meanwhile() {
    let until = tokio::time::Instant::now() + 600 * SECOND;
    let (mesh, _publisher, _) =
        mesh(service([admission(|_| {})]), move |_, request: Request<Body>| async move {
            let grpc = Response::builder().header("content-type", "application/grpc");
            if request.uri().path() != "/a.B/Stream" {
                return Ok(grpc.header("grpc-status", 13).body(Body::empty()).unwrap());
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let frames = stream::once(async move {
                tokio::time::sleep_until(until).await;
                Ok::<_, BoxError>(Frame::trailers(trailers))
            });
            Ok(grpc.body(Body::new(StreamBody::new(frames))).unwrap())
        })
        .await;
    let client = mesh.client(SERVICE).unwrap();
    let grpc = |path: &str| {
        let mut request = Request::post(path).body(Body::empty()).unwrap();
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        request
    };
    // One for each tenth of the window.
    let mut streams = Vec::new();
    for _ in 0..10 {
        let response = client.send(grpc("/a.B/Stream")).await.unwrap();
        streams.push(tokio::spawn(http_body_util::BodyExt::collect(response.into_body())));
        tokio::time::sleep(3 * SECOND).await;
    }
    // Failures, up to the moment at which the streams end.
    tokio::time::sleep(540 * SECOND).await;
    for _ in 0..600 {
        drop(client.send(grpc("/a.B/Fail")).await);
        tokio::time::sleep(SECOND / 20).await;
    }
    let told = || mesh.explain(&get("http://users.prod/")).unwrap().fails.unwrap_or_default();
    assert!(told().contains("80 % of these calls are not sent"), "{}", told());
    for stream in streams {
        stream.await.unwrap().unwrap();
    }
    assert!(told().contains("% of these calls are not sent"), "it has forgotten");
}
