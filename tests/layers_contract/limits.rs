//! Limits and protections on a mock; and what the layers are, as types.

use std::time::Duration;

use http::{Request, Response};
use tower::{Layer, Service, ServiceExt};
use tower_mesh::{
    Body, Call, Error, Refusal,
    config::{self, Criticality},
    resilience::{
        AdaptiveConcurrency, AdaptiveConcurrencyLayer, AdmissionControl, AdmissionControlLayer,
        ConcurrencyLimit, ConcurrencyLimitLayer, Deadline, DeadlineLayer, HedgeLayer, Retry,
        RetryLayer, Throttle, ThrottleLayer, hedge::Hedge,
    },
};
use tower_test::mock;

use crate::{Mock, Server, Strict, get, mesh_error, readied, status};

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
    service::<Hedge<Strict>>();
    service::<HedgeLayer>();
    service::<HedgeLayer<tonic::body::Body>>();
    future::<<Hedge<Strict> as Service<Request<Body>>>::Future>();
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
