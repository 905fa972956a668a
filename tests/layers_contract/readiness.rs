//! Under tower's own concurrency limit: what is called has been readied, and what was reserved is given back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{Request, Response};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit as TowerLimit};
#[cfg(feature = "rls")]
use tower_mesh::resilience::{Descriptor, GlobalRateLimitLayer};
#[cfg(feature = "orca")]
use tower_mesh::server::{LoadReportLayer, ServerLoad};
use tower_mesh::{
    Body, BoxError, Error, Refusal, config,
    resilience::{
        AdaptiveConcurrencyLayer, AdmissionControlLayer, AuthorizeLayer, BreakerLayer,
        ConcurrencyLimitLayer, DeadlineLayer, DropLayer, FailFastLayer, FaultLayer,
        GrpcStatusLayer, HedgeLayer, RateLimitLayer, ThrottleLayer,
    },
    traffic::{EditLayer, MirrorLayer, RouteLayer, SplitLayer},
};
use tower_test::mock;

use crate::{
    Mock, Server, Strict, get, readied, retries, status,
    tokio_test_shim::{assert_pending, assert_ready, spawn},
};

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

async fn traffic_under_towers_limit() {
    let one = config::WeightedCluster::new("one");
    let split = SplitLayer::new(std::slice::from_ref(&one)).unwrap();
    under_towers_limit("split", split).await;
    let mut route = config::Route::default();
    route.clusters = vec![one];
    let mut service = config::Service::default();
    service.routes = vec![route];
    under_towers_limit("route", RouteLayer::new("users", &service).unwrap()).await;
    let mut edit = config::HeaderEdit::default();
    edit.set.insert("x-more".to_owned(), "1".to_owned());
    let edit = EditLayer::new(&[config::Filter::RequestHeaders(edit)]).unwrap();
    under_towers_limit("edit", edit).await;
    let copies =
        tower::service_fn(async |_: Request<Body>| Ok::<_, BoxError>(Response::new(Body::empty())));
    let mirror = MirrorLayer::new(&config::Mirror::default(), copies).unwrap();
    under_towers_limit("mirror", mirror).await;
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
    under_towers_limit("grpc status", GrpcStatusLayer::new()).await;
    let breakers = config::Breakers::default();
    under_towers_limit("breaker", BreakerLayer::new(&breakers).unwrap()).await;
    under_towers_limit("drop", DropLayer::new(&[]).unwrap()).await;
    traffic_under_towers_limit().await;
    #[cfg(feature = "orca")]
    {
        let load = ServerLoad::default();
        under_towers_limit("load report", LoadReportLayer::new(load.clone())).await;
        let reports = LoadReportLayer::new(load.clone()).out_of_band().probes();
        under_towers_limit("load report beside the traffic", reports).await;
        assert_eq!(load.in_flight(), 0);
    }
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
