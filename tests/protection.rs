//! Limits that follow the latency, throttling, admission control, limits of routes, and whose calls
//! are refused first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

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
    Body, Call, Client, Error, Mesh, Publisher, Refusal, Retry,
    config::{
        AdaptiveConcurrency, AdmissionControl, Criticality, Fault, Filter, IntegerRange, Match,
        PathMatch, Route, Service, Throttle, WeightedCluster,
    },
};

use support::{
    BoxError, Leaves, Recorder, SERVICE, Server, get,
    leaf::{answer, ok},
    published, reply,
};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn adaptive(change: impl FnOnce(&mut AdaptiveConcurrency)) -> Filter {
    let mut limit = AdaptiveConcurrency::default();
    change(&mut limit);
    Filter::AdaptiveConcurrency(Box::new(limit))
}

fn throttle(change: impl FnOnce(&mut Throttle)) -> Filter {
    let mut throttle = Throttle::default();
    change(&mut throttle);
    Filter::Throttle(Box::new(throttle))
}

fn admission(change: impl FnOnce(&mut AdmissionControl)) -> Filter {
    let mut admission = AdmissionControl::default();
    change(&mut admission);
    Filter::AdmissionControl(Box::new(admission))
}

fn service(filters: impl IntoIterator<Item = Filter>) -> Service {
    let mut service = Service::default();
    service.filters = filters.into_iter().collect();
    service
}

fn say(publisher: &Publisher, service: Service) {
    publisher.service(SERVICE, service).unwrap();
}

/// A mesh of one service whose endpoint answers by `answer`.
async fn mesh<F, Fut>(service: Service, answer: F) -> (Mesh, Publisher, Leaves)
where
    F: Fn(usize, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
{
    let leaves = Leaves::new(1);
    let builder = leaves.mesh(answer).service(SERVICE, |s| s.retry(Retry::standard()));
    let (mesh, publisher) = published(builder, |publisher| say(publisher, service)).await;
    (mesh, publisher, leaves)
}

fn call(path: &str, call: Call) -> Request<Body> {
    let mut request = get(path);
    request.extensions_mut().insert(call);
    request
}

fn critical(criticality: Criticality) -> Request<Body> {
    call("/", Call::new().criticality(criticality).no_retry())
}

async fn send(client: &Client, request: Request<Body>) -> Result<Response<Body>, Error> {
    client.send(request).await
}

/// A service that never ends what it answers: its calls keep their places.
fn held() -> Response<Body> {
    Response::new(Body::new(StreamBody::new(stream::pending::<Result<Frame<Bytes>, BoxError>>())))
}

/// Sends so many calls per second for so many seconds, and waits for all of them.
async fn storm(
    client: &Client,
    per_second: u32,
    seconds: u32,
    request: impl Fn(u32) -> Request<Body>,
) -> Vec<Result<u16, Error>> {
    let mut tasks = Vec::new();
    for number in 0..per_second * seconds {
        let (client, request) = (client.clone(), request(number));
        tasks.push(tokio::spawn(async move {
            let response = client.send(request).await?;
            let status = response.status().as_u16();
            drop(response.into_body().text().await);
            Ok(status)
        }));
        tokio::time::sleep(SECOND / per_second).await;
    }
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

fn count(answers: &[Result<u16, Error>], is: impl Fn(&Result<u16, Error>) -> bool) -> usize {
    answers.iter().filter(|answer| is(answer)).count()
}

fn refused(answers: &[Result<u16, Error>], why: Refusal) -> usize {
    count(answers, |it| it.as_ref().is_err_and(|error| error.refusal() == Some(why)))
}

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
async fn the_lowest_are_refused_first_under_a_limit() {
    let mut limited = service([]);
    limited.policy.max_requests = Some(10);
    let (mesh, _publisher, _) = mesh(limited, |_, _| async { Ok(held()) }).await;
    let client = mesh.client(SERVICE).unwrap();
    let mut open = Vec::new();
    let mut level = async |criticality| {
        let mut taken = 0;
        loop {
            match send(&client, critical(criticality)).await {
                Ok(response) => open.push(response),
                Err(error) => return (taken, error),
            }
            taken += 1;
        }
    };
    let (taken, error) = level(Criticality::Sheddable).await;
    assert_eq!((taken, error.refusal(), error.response_flag()), (8, Some(Refusal::Shed), "OM"));
    let text = error.to_string();
    assert!(text.contains("of the 10 calls in flight that the service may have, 8 are"), "{text}");
    let (taken, error) = level(Criticality::SheddablePlus).await;
    assert_eq!((taken, error.refusal()), (1, Some(Refusal::Shed)));
    let (taken, error) = level(Criticality::Critical).await;
    assert_eq!((taken, error.refusal()), (1, Some(Refusal::Concurrency)));
    // Once these are seen, the others leave room for them.
    let (taken, error) = level(Criticality::CriticalPlus).await;
    assert_eq!((taken, error.refusal()), (0, Some(Refusal::Concurrency)));
    open.clear();
    let mut open = Vec::new();
    for _ in 0..9 {
        open.push(send(&client, critical(Criticality::Critical)).await.unwrap());
    }
    let error = send(&client, critical(Criticality::Critical)).await.unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Shed));
    send(&client, critical(Criticality::CriticalPlus)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_highest_live_and_the_lowest_are_shed_when_a_service_is_overloaded() {
    // By the way that is protected: a limit that follows the latency, and a throttle.
    let few = throttle(|throttle| throttle.per_accept = Some(1.1));
    for filter in [adaptive(|limit| limit.min_concurrency = Some(2)), few] {
        let is_limit = matches!(filter, Filter::AdaptiveConcurrency(_));
        let inside = Arc::new(AtomicUsize::new(0));
        let (mesh, _publisher, _) = mesh(service([filter]), move |_, _| {
            let inside = Arc::clone(&inside);
            async move {
                // It bears ten at a time; over that it slows down, or refuses.
                let there = inside.fetch_add(1, SeqCst) + 1;
                let slow = u32::try_from(there.div_ceil(10)).unwrap();
                if is_limit || there <= 10 {
                    tokio::time::sleep(20 * MILLI * slow).await;
                }
                inside.fetch_sub(1, SeqCst);
                Ok(answer(if is_limit || there <= 10 { 200 } else { 503 }))
            }
        })
        .await;
        let client = mesh.client(SERVICE).unwrap();
        let levels = [
            Criticality::Sheddable,
            Criticality::Sheddable,
            Criticality::Critical,
            Criticality::CriticalPlus,
        ];
        // About 500 a second are borne, 1,000 are wanted, a quarter of them of the highest level.
        let request = |number: u32| critical(levels[number as usize % 4]);
        storm(&client, 1_000, 10, request).await;
        let answers = storm(&client, 1_000, 5, request).await;
        let served = |level: usize| {
            let such = answers.iter().skip(level).step_by(4);
            such.filter(|it| it.as_ref().is_ok_and(|status| *status == 200)).count()
        };
        let (sheddable, highest) = (served(0) + served(1), served(3));
        assert!(highest > 1_200, "{highest} of 1250, limit: {is_limit}");
        assert!(sheddable < 1_000, "{sheddable} of 2500, limit: {is_limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_says_how_much_it_matters_else_its_route_does_and_it_is_passed_on() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let own = Arc::clone(&seen);
    let mut limited = service([]);
    limited.policy.max_requests = Some(10);
    limited.policy.criticality = Some(Criticality::Sheddable);
    let (mesh, _publisher, _) = mesh(limited, move |_, request: Request<Body>| {
        own.lock().unwrap().push(request.headers().get("x-mesh-criticality").cloned());
        async { Ok(held()) }
    })
    .await;
    let client = mesh.client(SERVICE).unwrap();
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(client.send(get("/")).await.unwrap());
    }
    assert_eq!(client.send(get("/")).await.unwrap_err().refusal(), Some(Refusal::Shed));
    open.push(send(&client, critical(Criticality::CriticalPlus)).await.unwrap());
    // What this application was told by its own caller.
    let mut inbound = HeaderMap::new();
    inbound.insert("x-mesh-criticality", "critical_plus".parse().unwrap());
    open.push(client.send(call("/", Call::new().inherit(&inbound))).await.unwrap());
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], None, "what the route says is of the route");
    assert_eq!(seen[8].as_ref().unwrap(), "critical_plus");
    assert_eq!(seen[9].as_ref().unwrap(), "critical_plus");
}

fn route(name: &str, path: &str, max: Option<u32>) -> Route {
    let mut route = Route::default();
    let mut rule = Match::default();
    rule.path = Some(PathMatch::Exact(path.into()));
    route.name = Some(name.into());
    route.matches = vec![rule];
    route.clusters = vec![WeightedCluster::new(SERVICE)];
    route.policy.max_requests = max;
    route
}

#[tokio::test(start_paused = true)]
async fn a_route_has_a_limit_of_its_own_whose_count_outlives_updates() {
    let routes = |max| {
        let mut service = service([]);
        service.policy.max_requests = Some(5);
        service.routes = vec![route("reports", "/reports", max), route("rest", "/rest", None)];
        service
    };
    let (mesh, publisher, _) = mesh(routes(Some(2)), |_, _| async { Ok(held()) }).await;
    let client = mesh.client(SERVICE).unwrap();
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(client.send(get("/reports")).await.unwrap());
    }
    let error = client.send(get("/reports")).await.unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Concurrency));
    let text = error.to_string();
    assert!(
        text.contains(
            "the route has its maximum of 2 calls in flight (`max_requests` of the route)"
        ),
        "{text}"
    );
    // The others have what is left of the service's.
    for _ in 0..3 {
        open.push(client.send(get("/rest")).await.unwrap());
    }
    let error = client.send(get("/rest")).await.unwrap_err();
    assert!(error.to_string().contains("`max_requests` of the service"), "{error}");
    open.truncate(2);
    say(&publisher, routes(Some(3)));
    open.push(client.send(get("/reports")).await.unwrap());
    let error = client.send(get("/reports")).await.unwrap_err();
    assert!(error.to_string().contains("maximum of 3"), "the count goes on: {error}");
    let told = mesh.explain(&get("http://users.prod/reports")).unwrap().fails.unwrap();
    assert!(told.contains("the route has its maximum of 3 calls in flight"), "{told}");
    assert!(mesh.explain(&get("http://users.prod/rest")).unwrap().fails.is_none());
    let text = mesh.prometheus();
    let limit = text.lines().find(|line| {
        line.starts_with("mesh_client_concurrency_limit{")
            && line.contains("mesh_route=\"reports\"")
    });
    assert!(limit.unwrap().ends_with(" 3"), "{text}");
    // Without one, only the service's is left.
    say(&publisher, routes(None));
    for _ in 0..2 {
        open.push(client.send(get("/reports")).await.unwrap());
    }
    let error = client.send(get("/reports")).await.unwrap_err();
    assert!(error.to_string().contains("`max_requests` of the service"), "{error}");
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
        "adaptive_concurrency.max_concurrency = 77 (control plane: held by the test)",
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
