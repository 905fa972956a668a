//! The layers keep tower's contract: on mocks, and under tower's own concurrency limit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use tokio::time::Instant;
use tokio_test_shim::{assert_pending, assert_ready, spawn};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit as TowerLimit};
#[cfg(feature = "rls")]
use tower_mesh::resilience::{Descriptor, GlobalRateLimitLayer};
use tower_mesh::{
    Body, BoxError, Call, Error, Refusal,
    config::{self, Criticality},
    resilience::{
        AdaptiveConcurrency, AdaptiveConcurrencyLayer, AdmissionControl, AdmissionControlLayer,
        AuthorizeLayer, ConcurrencyLimit, ConcurrencyLimitLayer, Deadline, DeadlineLayer,
        FailFastLayer, FaultLayer, HedgeLayer, RateLimitLayer, Retry, RetryLayer, Throttle,
        ThrottleLayer,
    },
};
use tower_test::mock::{self, Handle};

type Mock = mock::Mock<Request<Body>, Response<Body>>;
type Server = Handle<Request<Body>, Response<Body>>;

/// The little of `tokio-test` that these tests need.
mod tokio_test_shim {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    pub(super) struct Task<F>(Pin<Box<F>>);

    pub(super) fn spawn<F: Future>(future: F) -> Task<F> {
        Task(Box::pin(future))
    }

    impl<F: Future> Task<F> {
        pub(super) fn poll(&mut self) -> Poll<F::Output> {
            self.0.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        }
    }

    macro_rules! assert_pending {
        ($poll:expr) => {
            assert!(matches!($poll, std::task::Poll::Pending))
        };
    }
    macro_rules! assert_ready {
        ($poll:expr) => {
            match $poll {
                std::task::Poll::Ready(value) => value,
                std::task::Poll::Pending => panic!("pending"),
            }
        };
    }
    pub(super) use {assert_pending, assert_ready};
}

fn get() -> Request<Body> {
    Request::get("http://users.prod/1").body(Body::empty()).unwrap()
}

fn post() -> Request<Body> {
    Request::post("http://users.prod/").body(Body::from("new")).unwrap()
}

fn status(status: u16) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

async fn readied<S>(service: &mut S) -> &mut S
where
    S: Service<Request<Body>, Error = BoxError>,
{
    service.ready().await.unwrap()
}

fn retries() -> RetryLayer {
    RetryLayer::new(&config::Retry::standard()).unwrap()
}

fn mesh_error(error: &BoxError) -> &Error {
    error.downcast_ref().unwrap()
}

/// A service that panics when it is called without having been made ready, as `Buffer` does, and
/// that answers 503 until `failures` are used up.
#[derive(Debug)]
struct Strict {
    failures: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
    ready: bool,
}

impl Strict {
    fn failing(failures: u32) -> Self {
        Self { failures: Arc::new(failures.into()), calls: Arc::default(), ready: false }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { failures: self.failures.clone(), calls: self.calls.clone(), ready: false }
    }
}

impl<R> Service<R> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        let left = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        ready(Ok(status(if left.is_ok() { 503 } else { 200 })))
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_calls_a_readied_service() {
    let strict = Strict::failing(2);
    let calls = Arc::clone(&strict.calls);
    let mut service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_secs(5)))
        .layer(ConcurrencyLimitLayer::new(1))
        .layer(retries())
        .layer(DeadlineLayer::new(Duration::from_secs(1)))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(strict);
    for _ in 0..3 {
        let response = readied(&mut service).await.call(get()).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 5);
}

#[tokio::test(start_paused = true)]
async fn a_retry_gives_its_place_back_before_it_asks_for_one() {
    // tower's limit keeps its permit in the response future: a retry that held the first
    // attempt's future while it waited to be ready would wait for itself for ever.
    let inner = TowerLimit::new(Strict::failing(2), 1);
    let mut service = retries().layer(inner);
    let response = readied(&mut service).await.call(get()).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn clones_under_a_limit_of_one_all_finish() {
    let service = retries().layer(TowerLimit::new(Strict::failing(3), 1));
    let calls = (0..20).map(|_| service.clone().oneshot(get()));
    for response in futures_util::future::join_all(calls).await {
        assert_eq!(response.unwrap().status(), 200);
    }
}

/// Twenty clones at once all finish, though the service of each has to be readied.
async fn all_finish<S, B>(what: &str, service: S)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    let calls = (0..20).map(|_| {
        let service = service.clone();
        // Its body is dropped at once, and with it what a layer keeps in it.
        async move { service.oneshot(get()).await.map(|answer| answer.status()) }
    });
    let calls = futures_util::future::join_all(calls);
    let answers = tokio::time::timeout(Duration::from_secs(60), calls).await;
    for answer in answers.unwrap_or_else(|_| panic!("{what}: they wait for each other")) {
        match answer.map_err(Into::into) {
            Ok(status) => assert_eq!(status, 200, "{what}"),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// A layer around tower's limit of one, and between two of them. What it calls panics when it has
/// not been readied.
async fn under_towers_limit<L, S, B>(what: &str, layer: L)
where
    L: Layer<TowerLimit<Strict>, Service = S>,
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    let strict = Strict::failing(0);
    let calls = Arc::clone(&strict.calls);
    all_finish(what, layer.layer(TowerLimit::new(strict.clone(), 1))).await;
    all_finish(what, TowerLimit::new(layer.layer(TowerLimit::new(strict, 1)), 1)).await;
    assert_eq!(calls.load(Ordering::Relaxed), 40, "{what}");
}

#[tokio::test(start_paused = true)]
async fn every_layer_works_around_and_under_towers_limit_of_one() {
    let second = Duration::from_secs(1);
    under_towers_limit("deadline", DeadlineLayer::new(60 * second)).await;
    under_towers_limit("retry", retries()).await;
    let hedge = config::Hedge::after(second);
    let hedge = HedgeLayer::new(&hedge, &config::Retry::standard()).unwrap();
    under_towers_limit("hedge", hedge).await;
    under_towers_limit("concurrency", ConcurrencyLimitLayer::new(100)).await;
    let adaptive = config::AdaptiveConcurrency::default();
    let adaptive = AdaptiveConcurrencyLayer::new(&adaptive).unwrap();
    under_towers_limit("adaptive concurrency", adaptive).await;
    let throttle = ThrottleLayer::new(&config::Throttle::default()).unwrap();
    under_towers_limit("throttle", throttle).await;
    let admission = AdmissionControlLayer::new(&config::AdmissionControl::default()).unwrap();
    under_towers_limit("admission control", admission).await;
    let bucket = config::TokenBucket::per_second(100);
    under_towers_limit("rate limit", RateLimitLayer::new(&bucket).unwrap()).await;
    let mut rules = config::Authorization::default();
    rules.rules = vec![config::AuthorizationRule::allow("all")];
    under_towers_limit("authorize", AuthorizeLayer::new("users", &rules).unwrap()).await;
    let fault = config::Fault::delay(Duration::from_millis(10));
    under_towers_limit("fault", FaultLayer::new(&fault).unwrap()).await;
    under_towers_limit("fail fast", FailFastLayer::new(second)).await;
    #[cfg(feature = "rls")]
    {
        let nobody = tower::service_fn(async |_: Request<Body>| {
            Err::<Response<Body>, BoxError>("there is no such service".into())
        });
        let describe = |_: &Request<Body>| vec![Descriptor::new().entry("k", "v")];
        let shared = GlobalRateLimitLayer::new(nobody, "shop", describe);
        under_towers_limit("global rate limit", shared).await;
    }
    // What is tried again is readied again.
    all_finish("retry", retries().layer(TowerLimit::new(Strict::failing(2), 1))).await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_until_the_service_is_ready_again() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let mut service = retries().layer(mock);
    server.allow(1);
    let mut call = spawn(readied(&mut service).await.call(get()));
    assert_pending!(call.poll());
    let (_, first) = server.next_request().await.unwrap();
    first.send_response(status(503));
    assert_pending!(call.poll());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_pending!(call.poll());
    // Only now may the second attempt go out.
    server.allow(1);
    assert_pending!(call.poll());
    let (request, second) = server.next_request().await.unwrap();
    assert_eq!(request.headers()["x-mesh-attempt"], "1");
    second.send_response(status(200));
    assert_eq!(assert_ready!(call.poll()).unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_post_is_not_repeated_but_for_safe_failures() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = retries().layer(mock);
    let call = tokio::spawn(service.clone().oneshot(post()));
    server.next_request().await.unwrap().1.send_response(status(503));
    assert_eq!(call.await.unwrap().unwrap().status(), 503);

    let call = tokio::spawn(service.clone().oneshot(post()));
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    server.next_request().await.unwrap().1.send_error(refused);
    let (again, send) = server.next_request().await.unwrap();
    assert_eq!(again.into_body().bytes().await.unwrap(), "new");
    send.send_response(status(201));
    assert_eq!(call.await.unwrap().unwrap().status(), 201);

    // What the call declares goes over its method, and `no_retry` leaves the safe ones.
    let mut declared = post();
    declared.extensions_mut().insert(Call::new().idempotent(true));
    let call = tokio::spawn(service.clone().oneshot(declared));
    server.next_request().await.unwrap().1.send_response(status(503));
    server.next_request().await.unwrap().1.send_response(status(200));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);

    let mut once = get();
    once.extensions_mut().insert(Call::new().no_retry());
    let call = tokio::spawn(service.clone().oneshot(once));
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    server.next_request().await.unwrap().1.send_error(refused);
    server.next_request().await.unwrap().1.send_response(status(503));
    assert_eq!(call.await.unwrap().unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn never_sent_can_be_told_for_a_foreign_error() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = retries().never_sent(|error| error.to_string() == "no route").layer(mock);
    let call = tokio::spawn(service.oneshot(post()));
    server.next_request().await.unwrap().1.send_error("no route");
    server.next_request().await.unwrap().1.send_response(status(200));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_retries_to_its_share_of_calls() {
    let strict = Strict::failing(u32::MAX);
    let calls = Arc::clone(&strict.calls);
    let budget = config::Budget::default().ratio(0.4).min_per_second(0);
    let layer = RetryLayer::new(&config::Retry::standard().budget(budget)).unwrap();
    for _ in 0..1_000 {
        let response = layer.layer(strict.clone()).oneshot(get()).await.unwrap();
        assert_eq!(response.status(), 503);
    }
    // Tokens expire while the calls back off, so a few are never used.
    let retries = calls.load(Ordering::Relaxed) - 1_000;
    assert!((380..=400).contains(&retries), "{retries}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_is_retried_and_its_attempt_dropped() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = ServiceBuilder::new()
        .layer(retries())
        .layer(DeadlineLayer::new(Duration::from_millis(100)))
        .service(mock);
    let call = tokio::spawn(service.oneshot(get()));
    let (_, hung) = server.next_request().await.unwrap();
    let (_, second) = server.next_request().await.unwrap();
    second.send_response(status(200));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    drop(hung);
}

#[tokio::test(start_paused = true)]
async fn no_retry_is_begun_that_its_deadline_would_end() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_secs(1)))
        .layer(retries())
        .service(mock);
    let call = tokio::spawn(service.oneshot(get()));
    let mut later = status(503);
    later.headers_mut().insert("retry-after", "2".parse().unwrap());
    server.next_request().await.unwrap().1.send_response(later);
    // The response comes back at once instead of a timeout after a second.
    let started = Instant::now();
    assert_eq!(call.await.unwrap().unwrap().status(), 503);
    assert!(started.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_tells_what_is_left() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_secs(10)))
        .layer(retries())
        .service(mock);
    let call = tokio::spawn(service.oneshot(get()));
    let told = |request: &Request<Body>| -> u64 {
        request.headers()["x-envoy-expected-rq-timeout-ms"].to_str().unwrap().parse().unwrap()
    };
    let (first, send) = server.next_request().await.unwrap();
    let mut later = status(503);
    later.headers_mut().insert("retry-after", "2".parse().unwrap());
    assert!((9_999..=10_000).contains(&told(&first)));
    send.send_response(later);
    let (second, send) = server.next_request().await.unwrap();
    assert!((6_900..=8_000).contains(&told(&second)), "{}", told(&second));
    send.send_response(status(200));
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_and_names_its_bound() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = DeadlineLayer::new(Duration::from_millis(250)).layer(mock);
    let started = Instant::now();
    let call = tokio::spawn(service.oneshot(get()));
    let (_, hung) = server.next_request().await.unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert!((250..260).contains(&started.elapsed().as_millis()));
    assert!(mesh_error(&error).is_timeout());
    assert!(error.to_string().contains("250.0ms were allowed"), "{error}");
    drop(hung);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_covers_the_call_and_not_the_wait_for_readiness() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    server.allow(0);
    let service = DeadlineLayer::new(Duration::from_millis(250)).layer(mock);
    let mut call = spawn(service.oneshot(get()));
    assert_pending!(call.poll());
    // Four times what the call may take: it has not begun.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_pending!(call.poll());
    server.allow(1);
    let started = Instant::now();
    assert_pending!(call.poll());
    let (_, hung) = server.next_request().await.unwrap();
    tokio::time::sleep(Duration::from_millis(240)).await;
    assert_pending!(call.poll());
    tokio::time::sleep(Duration::from_millis(11)).await;
    let error = assert_ready!(call.poll()).unwrap_err();
    assert!(mesh_error(&error).is_timeout(), "{error}");
    assert_eq!(started.elapsed().as_millis(), 251);
    drop(hung);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_is_not_sent() {
    let strict = Strict::failing(0);
    let calls = Arc::clone(&strict.calls);
    let mut service = DeadlineLayer::explicit().layer(strict);
    let mut late = get();
    late.extensions_mut().insert(Call::new().timeout(Duration::ZERO));
    let error = readied(&mut service).await.call(late).await.unwrap_err();
    assert!(mesh_error(&error).is_timeout());
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    // The readied service is still there for the next call.
    assert!(service.call(get()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_configured_timeout_lets_a_stream_live_and_an_explicit_one_does_not() {
    struct Stalled;
    impl http_body::Body for Stalled {
        type Data = bytes::Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
            Poll::Pending
        }
    }
    let timeout = Duration::from_millis(100);
    let inner =
        tower::service_fn(async |_: Request<Body>| Ok::<_, BoxError>(Response::new(Stalled)));
    let read = async |layer: DeadlineLayer, request: Request<Body>| {
        let response = layer.layer(inner).oneshot(request).await.unwrap();
        let body = Body::new(response.into_body());
        tokio::time::timeout(Duration::from_secs(60), body.bytes()).await
    };
    assert!(read(DeadlineLayer::new(timeout), get()).await.is_err(), "still streaming");
    let whole = read(DeadlineLayer::new(timeout).whole_response(true), get()).await;
    assert!(whole.unwrap().unwrap_err().is_timeout());
    let mut explicit = get();
    explicit.extensions_mut().insert(Call::new().timeout(timeout));
    let explicit = read(DeadlineLayer::explicit(), explicit).await;
    assert!(explicit.unwrap().unwrap_err().is_timeout());
}

#[tokio::test]
async fn over_the_limit_a_call_fails_and_readiness_does_not() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = ConcurrencyLimitLayer::new(1).layer(mock);
    let first = tokio::spawn(service.clone().oneshot(get()));
    let (_, send) = server.next_request().await.unwrap();
    let error = service.clone().oneshot(get()).await.unwrap_err();
    assert!(mesh_error(&error).is_overload());
    send.send_response(status(200));
    drop(first.await.unwrap().unwrap());

    // A call that is dropped in flight leaves its place too.
    let mut abandoned = service.clone();
    let call = readied(&mut abandoned).await.call(get());
    server.next_request().await.unwrap();
    drop(call);
    let next = tokio::spawn(service.clone().oneshot(get()));
    server.next_request().await.unwrap().1.send_response(status(204));
    assert_eq!(next.await.unwrap().unwrap().status(), 204);
}

#[tokio::test(start_paused = true)]
async fn a_protection_refuses_by_the_call_gives_places_back_and_hears_of_failures() {
    let mut settings = config::AdaptiveConcurrency::default();
    (settings.initial_concurrency, settings.min_concurrency) = (Some(1), Some(1));
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = AdaptiveConcurrencyLayer::new(&settings).unwrap().layer(mock);
    let first = tokio::spawn(service.clone().oneshot(get()));
    let (_, send) = server.next_request().await.unwrap();
    let error = service.clone().oneshot(get()).await.unwrap_err();
    assert_eq!(mesh_error(&error).refusal(), Some(Refusal::AdaptiveConcurrency));
    send.send_response(status(200));
    drop(first.await.unwrap().unwrap());
    // A call that is dropped in flight leaves its place, too.
    let mut abandoned = service.clone();
    let call = readied(&mut abandoned).await.call(get());
    server.next_request().await.unwrap();
    drop(call);
    let next = tokio::spawn(service.clone().oneshot(get()));
    server.next_request().await.unwrap().1.send_response(status(204));
    assert_eq!(next.await.unwrap().unwrap().status(), 204);

    // What another client calls a failure is one: nothing is accepted, nothing succeeds.
    let failing = tower::service_fn(async |_: Request<Body>| Err::<Response<Body>, _>("broken"));
    let throttled = ThrottleLayer::new(&config::Throttle::default()).unwrap().layer(failing);
    let admitted =
        AdmissionControlLayer::new(&config::AdmissionControl::default()).unwrap().layer(failing);
    let mut refused = [0; 2];
    for _ in 0..500 {
        let error = throttled.clone().oneshot(get()).await.unwrap_err();
        refused[0] += u32::from(error.downcast_ref::<Error>().is_some());
        let error = admitted.clone().oneshot(get()).await.unwrap_err();
        refused[1] += u32::from(error.downcast_ref::<Error>().is_some());
    }
    assert!(refused.iter().all(|refused| *refused > 300), "{refused:?}");

    let mut off = config::Throttle::default();
    off.enabled = Some(false);
    let service = ThrottleLayer::new(&off).unwrap().layer(failing);
    for _ in 0..500 {
        assert!(
            service.clone().oneshot(get()).await.unwrap_err().downcast_ref::<Error>().is_none()
        );
    }
    off.window = Some(Duration::ZERO);
    assert!(ThrottleLayer::new(&off).unwrap_err().to_string().contains("throttle.window"));
}

#[tokio::test]
async fn a_layers_limit_has_room_for_the_highest() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = ConcurrencyLimitLayer::new(2).criticality(Criticality::Sheddable).layer(mock);
    let first = tokio::spawn(service.clone().oneshot(get()));
    let (_, send) = server.next_request().await.unwrap();
    let error = service.clone().oneshot(get()).await.unwrap_err();
    assert_eq!(mesh_error(&error).refusal(), Some(Refusal::Shed));
    let mut request = get();
    request.extensions_mut().insert(Call::new().criticality(Criticality::CriticalPlus));
    let second = tokio::spawn(service.clone().oneshot(request));
    server.next_request().await.unwrap().1.send_response(status(204));
    assert_eq!(second.await.unwrap().unwrap().status(), 204);
    send.send_response(status(200));
    first.await.unwrap().unwrap();
}

#[test]
fn auto_traits() {
    fn service<T: Clone + Send + Sync + Unpin + std::fmt::Debug + 'static>() {}
    fn future<T: Send + 'static>() {}
    fn body<T: Send + Sync + Unpin + Default + 'static>() {}
    service::<Deadline<Strict>>();
    service::<Retry<Strict>>();
    service::<ConcurrencyLimit<Strict>>();
    service::<DeadlineLayer>();
    service::<RetryLayer>();
    service::<RetryLayer<tonic::body::Body>>();
    service::<ConcurrencyLimitLayer>();
    service::<AdaptiveConcurrency<Strict>>();
    service::<AdaptiveConcurrencyLayer>();
    service::<AdmissionControl<Strict>>();
    service::<AdmissionControlLayer>();
    service::<Throttle<Strict>>();
    service::<ThrottleLayer>();
    future::<<Throttle<Strict> as Service<Request<Body>>>::Future>();
    future::<<Deadline<Strict> as Service<Request<Body>>>::Future>();
    future::<<Retry<Strict> as Service<Request<Body>>>::Future>();
    future::<<ConcurrencyLimit<Strict> as Service<Request<Body>>>::Future>();
    body::<tower_mesh::resilience::deadline::TimedBody<Body>>();
    body::<tower_mesh::resilience::limit::HeldBody<Body>>();
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_a_service_that_is_not_ready_and_then_fail_fast() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    server.allow(0);
    let layer = FailFastLayer::new(Duration::from_secs(3)).capacity(2);
    let mut service = layer.layer(mock);
    let refusal = |error: &BoxError| error.downcast_ref::<Error>().and_then(Error::refusal);
    let began = Instant::now();
    let mut waiting = [spawn(service.call(get())), spawn(service.call(get()))];
    for call in &mut waiting {
        assert_pending!(call.poll());
    }
    // One too many.
    let error = service.call(get()).await.unwrap_err();
    assert_eq!(refusal(&error), Some(Refusal::Queue), "{error}");
    assert_eq!(began.elapsed(), Duration::ZERO);
    // It is ready for one: that is sent, and the other one waits on.
    server.allow(1);
    assert_pending!(waiting[0].poll());
    let (_, send) = server.next_request().await.unwrap();
    send.send_response(status(200));
    assert_ready!(waiting[0].poll()).unwrap();
    let [_, mut second] = waiting;
    assert_pending!(second.poll());
    // Since then it has not been ready.
    tokio::time::sleep(Duration::from_millis(2_999)).await;
    assert_pending!(second.poll());
    tokio::time::sleep(Duration::from_millis(2)).await;
    let error = assert_ready!(second.poll()).unwrap_err();
    assert_eq!(refusal(&error), Some(Refusal::Queue), "{error}");
    let began = Instant::now();
    assert!(refusal(&service.call(get()).await.unwrap_err()).is_some());
    assert_eq!(began.elapsed(), Duration::ZERO);
    // Until it is.
    server.allow(1);
    let mut again = spawn(service.call(get()));
    assert_pending!(again.poll());
    let (_, send) = server.next_request().await.unwrap();
    send.send_response(status(200));
    assert_ready!(again.poll()).unwrap();
}
