//! `AuthorizeLayer` and `FaultLayer` under a plain `ServiceBuilder`: on mocks, around hyper's own kind of
//! service, around tonic and reqwest.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::support::{GreeterClient, HelloRequest, Server, hello, patience};
use http::{Request, Response};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_mesh::{
    Body, BoxError, Error, Phase, Refusal, Retry,
    config::{
        AdaptiveConcurrency, AdmissionControl, Authorization, AuthorizationRule as Rule,
        ConcurrencyController, Fault, HeaderMatch, IdentityMatch, LabelMatch, PathMatch,
        Permission, Principal, StringMatch, Throttle,
    },
    resilience::{
        AdaptiveConcurrencyLayer, AdmissionControlLayer, AuthorizeLayer, DeadlineLayer, FaultLayer,
        RetryLayer, ThrottleLayer,
        authorize::Authorize,
        fault::{Fault as Faulty, FaultBody},
    },
};

const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.into())
}

fn rules(list: impl IntoIterator<Item = Rule>) -> Authorization {
    let mut rules = Authorization::default();
    rules.rules = list.into_iter().collect();
    rules
}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("http://users.prod{path}")).body(Body::empty()).unwrap()
}

/// A service that counts its calls and answers with a body of this size.
fn answering(
    calls: &Arc<AtomicU32>,
    size: usize,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send> + Clone
{
    let calls = Arc::clone(calls);
    service_fn(move |_| {
        calls.fetch_add(1, Ordering::SeqCst);
        async move { Ok(Response::new(Body::from(vec![b'x'; size]))) }
    })
}

fn mesh_error(error: &BoxError) -> &Error {
    error.downcast_ref().unwrap()
}

#[tokio::test]
async fn rules_deny_before_the_service_below_is_called() {
    let calls = Arc::default();
    let cart = Principal::Identity(IdentityMatch::Exact(CART.into()));
    let team = Principal::Label(LabelMatch::new("team", exact("shop")));
    let path = |path: &str| Permission::Path(PathMatch::Prefix(path.into()));
    let mut said = rules([
        Rule::allow("cart").principal(Principal::All(vec![cart, team])).permission(path("/cart")),
        Rule::allow("hosts").permission(Permission::All(vec![
            Permission::Host(exact("USERS.prod")),
            Permission::Service(exact("users")),
            path("/open"),
        ])),
    ]);
    said.status = Some(404);
    let layer = AuthorizeLayer::new("users", &said).unwrap().label("team", "shop");
    let mut service = layer.layer(answering(&calls, 0));
    let error = service.ready().await.unwrap().call(get("/cart")).await.unwrap_err();
    let error = mesh_error(&error);
    assert_eq!((error.phase(), error.refusal()), (Phase::Authorize, Some(Refusal::Denied)));
    assert_eq!(error.http_status(), 404);
    assert!(error.to_string().contains("users: denied by policy: no rule allows it"), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert!(service.ready().await.unwrap().call(get("/open")).await.is_ok());
    // Who it is may be told later, and change.
    layer.set_identity([CART]);
    assert!(service.ready().await.unwrap().call(get("/cart")).await.is_ok());
    layer.set_identity([]);
    assert!(service.ready().await.unwrap().call(get("/cart")).await.is_err());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    // One that is made from it with an identity of its own changes nobody else's.
    let mut other = layer.clone().identity(CART).layer(answering(&calls, 0));
    assert!(other.ready().await.unwrap().call(get("/cart")).await.is_ok());
    assert!(service.ready().await.unwrap().call(get("/cart")).await.is_err());
    let refused = AuthorizeLayer::new("users", &Authorization::default()).unwrap_err();
    assert!(refused.to_string().contains("authorize.rules = []"), "{refused}");
}

#[tokio::test]
async fn rules_of_a_layer_are_asked_about_the_query() {
    let calls = Arc::default();
    let debug = Permission::PathAndQuery(StringMatch::Contains("?debug=".into()));
    let said = rules([Rule::deny("debug").permission(debug)]);
    let mut service = AuthorizeLayer::new("users", &said).unwrap().layer(answering(&calls, 0));
    let error = service.ready().await.unwrap().call(get("/a?debug=1")).await.unwrap_err();
    assert!(mesh_error(&error).is_denied());
    assert!(service.ready().await.unwrap().call(get("/a?id=1")).await.is_ok());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_layer_under_a_deadline_and_inside_of_retries() {
    let calls = Arc::default();
    // A delay ends with the deadline around it.
    let late = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_secs(1)))
        .layer(FaultLayer::new(&Fault::delay(Duration::from_secs(60))).unwrap())
        .service(answering(&calls, 0));
    let started = Instant::now();
    let error = late.oneshot(get("/")).await.unwrap_err();
    assert!(mesh_error(&error).is_timeout());
    assert_eq!((started.elapsed(), calls.load(Ordering::SeqCst)), (Duration::from_secs(1), 0));
    // Each attempt meets a fault inside of retries.
    let fault = Fault::abort(503).percent(50.0);
    let retried = ServiceBuilder::new()
        .layer(RetryLayer::new(&Retry::standard().attempts(20)).unwrap())
        .layer(FaultLayer::new(&fault).unwrap().seed(3))
        .service(answering(&calls, 0));
    for _ in 0..5 {
        let answer = retried.clone().oneshot(get("/")).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.extensions().get::<Refusal>()), (200, None));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 5);
    // A slow body, of which no more than one at a time.
    let mut fault = Fault::response_rate(1_000_000);
    fault.max_active = Some(1);
    let mut slow = FaultLayer::new(&fault).unwrap().layer(answering(&calls, 3_000_000));
    let started = Instant::now();
    let first = slow.ready().await.unwrap().call(get("/")).await.unwrap();
    let second = slow.ready().await.unwrap().call(get("/")).await.unwrap();
    let read =
        |answer: Response<_>| async { http_body_util::BodyExt::collect(answer.into_body()).await };
    assert_eq!(read(second).await.unwrap().to_bytes().len(), 3_000_000);
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(read(first).await.unwrap().to_bytes().len(), 3_000_000);
    let took = started.elapsed().as_secs_f64();
    assert!((2.9..3.1).contains(&took), "{took}");
    // What a layer cannot know is refused.
    let mut fault = Fault::abort(503);
    (fault.cluster, fault.per_attempt) = (Some("a".into()), Some(true));
    fault.callers = vec!["n".into()];
    let refused = FaultLayer::new(&fault).unwrap_err().to_string();
    for field in ["fault.cluster", "fault.per_attempt", "fault.callers"] {
        assert!(refused.contains(field), "{refused}");
    }
}

/// Many calls that are answered by a fault, then 20 at once that are not: how many of those are let in.
async fn let_in_after_faults<S, T>(mut service: S) -> usize
where
    S: Service<Request<Body>, Response = Response<T>, Error = BoxError>,
{
    for _ in 0..500 {
        let mut drill = get("/");
        drill.headers_mut().insert("x-drill", "1".parse().unwrap());
        let answer = service.ready().await.unwrap().call(drill).await.unwrap();
        assert_eq!(answer.extensions().get(), Some(&Refusal::Fault));
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    let mut open = Vec::new();
    for _ in 0..20 {
        let mut call = Box::pin(service.ready().await.unwrap().call(get("/")));
        let polled = futures_util::poll!(&mut call);
        open.push((polled.is_pending(), call));
    }
    open.iter().filter(|(is_open, _)| *is_open).count()
}

#[tokio::test(start_paused = true)]
async fn what_a_fault_layer_answers_tells_the_protections_around_it_nothing() {
    let mut fault = Fault::abort(503);
    fault.headers = vec![HeaderMatch::new("x-drill", StringMatch::Present)];
    let faulty = || {
        let stuck = service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, BoxError>>()
        });
        ServiceBuilder::new().layer(FaultLayer::new(&fault).unwrap()).service(stuck)
    };
    let throttle = ThrottleLayer::new(&Throttle::default()).unwrap();
    assert_eq!(let_in_after_faults(throttle.layer(faulty())).await, 20);
    let admission = AdmissionControlLayer::new(&AdmissionControl::default()).unwrap();
    assert_eq!(let_in_after_faults(admission.layer(faulty())).await, 20);
    let mut limit = AdaptiveConcurrency::default();
    limit.controller = Some(ConcurrencyController::Aimd(Default::default()));
    limit.min_concurrency = Some(1);
    let limit = AdaptiveConcurrencyLayer::new(&limit).unwrap();
    assert_eq!(let_in_after_faults(limit.layer(faulty())).await, 20);
}

#[tokio::test]
async fn around_tonic_and_reqwest() {
    let server = Server::grpc(hello(|_| async { Ok("hello".to_owned()) })).await;
    let channel = || {
        let address = format!("http://{}", server.socket());
        tonic::transport::Endpoint::from_shared(address).unwrap().connect_lazy()
    };
    let denies = rules([Rule::deny("no greetings")
        .permission(Permission::Path(PathMatch::Exact("/helloworld.Greeter/SayHello".into())))]);
    let denied = AuthorizeLayer::new("greeter", &denies).unwrap().layer(channel());
    let status = GreeterClient::new(denied).say_hello(HelloRequest::default()).await.unwrap_err();
    assert!(status.message().contains("rule `no greetings` denies it"), "{status:?}");
    let aborted = FaultLayer::new(&Fault::grpc(8)).unwrap().layer(channel());
    let status = GreeterClient::new(aborted).say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let none = Fault::response_rate(1_000_000).percent(0.0);
    let through = ServiceBuilder::new()
        .layer(AuthorizeLayer::new("greeter", &rules([Rule::allow("all")])).unwrap())
        .layer(FaultLayer::new(&none).unwrap())
        .service(channel());
    let answer = patience(GreeterClient::new(through).say_hello(HelloRequest::default())).await;
    assert_eq!(answer.unwrap().into_inner().message, "hello");

    #[cfg(feature = "reqwest-013")]
    {
        let server = Server::named("hello").await;
        let url = |path: &str| format!("http://{}{path}", server.address());
        let request =
            |path: &str| reqwest::Request::new(reqwest::Method::GET, url(path).parse().unwrap());
        let host = Permission::Host(exact(&server.address().to_string()));
        let admin = Permission::Path(PathMatch::Prefix("/admin".into()));
        let debug = Permission::PathAndQuery(StringMatch::Contains("?debug=".into()));
        let said = rules([
            Rule::deny("admin").permission(Permission::All(vec![host, admin])),
            Rule::deny("debug").permission(debug),
        ]);
        let mut service = ServiceBuilder::new()
            .layer(AuthorizeLayer::new("users", &said).unwrap())
            .layer(FaultLayer::new(&Fault::response_rate(1_000_000)).unwrap())
            .service(reqwest::Client::new());
        for path in ["/admin", "/?debug=1"] {
            let error = service.ready().await.unwrap().call(request(path)).await.unwrap_err();
            assert!(mesh_error(&error).is_denied());
        }
        let answer = service.ready().await.unwrap().call(request("/")).await.unwrap();
        assert_eq!(answer.url().path(), "/");
        assert_eq!(patience(answer.text()).await.unwrap(), "hello");
        let aborted = FaultLayer::new(&Fault::abort(418)).unwrap().layer(reqwest::Client::new());
        assert_eq!(aborted.oneshot(request("/")).await.unwrap().status(), 418);
        assert_eq!(server.requests(), 1);
    }
}

#[test]
fn they_go_wherever_what_they_are_made_of_goes() {
    fn is<T: Send + Sync + Clone + std::fmt::Debug + Unpin + 'static>() {}
    fn is_body<T: Send + Sync + Unpin + Default + std::fmt::Debug>() {}
    is::<AuthorizeLayer>();
    is::<FaultLayer>();
    is::<Authorize<tonic::transport::Channel>>();
    is::<Faulty<tonic::transport::Channel>>();
    is_body::<FaultBody<Body>>();
}
