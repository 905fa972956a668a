//! The layers of routing around any service: they decide as the mesh does, keep tower's contract, and
//! refuse what is not theirs by its name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit as TowerLimit, service_fn,
};
use tower_mesh::{
    Body, BoxError, Error, ErrorKind, Mesh, Refusal,
    config::{
        self, Breakers, CallPriority, DropOverload, Filter, HeaderEdit, HostRewrite, Match,
        PathMatch, PathRewrite, Redirect, Rewrite, Route, RouteOrder, Thresholds, WeightedCluster,
    },
    discover::Static,
    resilience::{BreakerLayer, DropLayer, RetryLayer},
    traffic::{Clusters, Destination, EditLayer, MirrorLayer, RouteLayer, SplitLayer},
};

use crate::support::{Server, cluster, patience};

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

fn error_of(error: &BoxError) -> &Error {
    error.downcast_ref().unwrap()
}

/// A service that says its name, and the path, host and `x-` headers of its request. It panics when it is
/// called without having been made ready.
#[derive(Debug)]
struct Echo {
    name: &'static str,
    calls: Arc<AtomicU32>,
    is_ready: bool,
}

impl Echo {
    fn new(name: &'static str) -> Self {
        Self { name, calls: Arc::default(), is_ready: false }
    }
}

impl Clone for Echo {
    fn clone(&self) -> Self {
        Self { name: self.name, calls: Arc::clone(&self.calls), is_ready: false }
    }
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without being ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        let host = request.uri().host().unwrap_or_default();
        let mut told = format!("{} {host}{}", self.name, request.uri().path());
        for (name, value) in request.headers() {
            told += &format!(" {name}={}", value.to_str().unwrap());
        }
        std::future::ready(Ok(Response::new(Body::from(told))))
    }
}

async fn said<S>(service: &S, request: Request<Body>) -> String
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Clone,
{
    let response = service.clone().oneshot(request).await.unwrap();
    response.into_body().text().await.unwrap()
}

/// Clusters that so many requests go to.
async fn drawn(layer: RouteLayer) -> Vec<String> {
    let service = layer.layer(clusters());
    let mut drawn = Vec::new();
    for _ in 0..40 {
        drawn.push(said(&service, get("http://shop/")).await);
    }
    drawn
}

#[tokio::test]
async fn a_label_leaves_a_seed_as_it_is() {
    let mut half = under("/", "one");
    half.clusters.push(WeightedCluster::new("two"));
    let mut service = config::Service::default();
    service.routes = vec![half];
    let layer = || RouteLayer::new("shop", &service).unwrap();
    let before = layer().label("app", "web").unwrap().seed(7).unwrap();
    let after = layer().seed(7).unwrap().label("app", "web").unwrap();
    assert_eq!(drawn(before).await, drawn(after).await);
}

fn set(name: &str, value: &str) -> HeaderEdit {
    let mut edit = HeaderEdit::default();
    edit.set = [(name.to_owned(), value.to_owned())].into();
    edit
}

fn under(prefix: &str, cluster: &str) -> Route {
    let mut rule = Match::default();
    rule.path = Some(PathMatch::Prefix(prefix.into()));
    let mut route = Route::default();
    route.name = Some(cluster.to_owned());
    (route.matches, route.clusters) = (vec![rule], vec![WeightedCluster::new(cluster)]);
    route
}

/// Routes with everything that the layer does.
fn shop() -> config::Service {
    let mut api = under("/api", "two");
    let mut rewrite = Rewrite::default();
    rewrite.path = Some(PathRewrite::Prefix("/".into()));
    rewrite.host = Some(HostRewrite::Literal("shop.internal".into()));
    api.filters = vec![
        Filter::Rewrite(rewrite),
        Filter::ResponseHeaders(set("x-by", "%ROUTE_NAME% %UPSTREAM_CLUSTER% %REQ(:path)%")),
    ];
    api.clusters[0].filters = vec![Filter::RequestHeaders(set("x-cluster", "two"))];
    let mut old = under("/old", "one");
    let mut redirect = Redirect::default();
    redirect.path = Some(PathRewrite::Prefix("/new".into()));
    (old.name, old.clusters) = (Some("old".into()), Vec::new());
    old.filters = vec![Filter::Redirect(redirect)];
    let mut broken = under("/broken", "one");
    broken.name = Some("broken".into());
    broken.clusters[0].invalid = Some("nobody is there".into());
    let mut service = config::Service::default();
    service.order = RouteOrder::Specificity;
    service.filters = vec![Filter::RequestHeaders(set("x-mesh", "yes"))];
    service.routes = vec![under("/cart", "one"), api, old, broken];
    service
}

fn clusters() -> Clusters<Echo> {
    Clusters::new([("one", Echo::new("one")), ("two", Echo::new("two"))])
}

#[tokio::test]
async fn routes_edits_and_answers_are_those_of_the_mesh() {
    let layered = RouteLayer::new("shop", &shop()).unwrap().layer(clusters());
    // The same configuration in a mesh, over real servers.
    let echo = |name: &'static str| {
        Server::start(move |request| async move {
            let (mut echo, mut head) = (Echo::new(name), get("/"));
            let host = request.headers()["host"].to_str().unwrap().to_owned();
            *head.uri_mut() = format!("http://{host}{}", request.uri().path()).parse().unwrap();
            let own = ["x-mesh", "x-cluster"];
            for (name, value) in own.iter().filter_map(|it| request.headers().get_key_value_of(it))
            {
                head.headers_mut().insert(name, value);
            }
            let said = echo.ready().await.unwrap().call(head).await.unwrap();
            crate::support::reply(said.into_body().bytes().await.unwrap())
        })
    };
    let (one, two) = (echo("one").await, echo("two").await);
    let source = Static::default()
        .cluster("one", cluster([one.address()]))
        .cluster("two", cluster([two.address()]))
        .service("shop", shop());
    let mesh = Mesh::builder().source(source).build().unwrap();
    mesh.ready().await.unwrap();
    for path in ["/cart/7", "/api/users", "/api", "/old/x", "/broken", "/nowhere"] {
        let request = || get(&format!("http://shop{path}"));
        let here = layered.clone().oneshot(request()).await;
        let there = patience(mesh.client("shop").unwrap().send(request())).await;
        let (here, there) = match (here, there) {
            (Ok(here), Ok(there)) => (here, there),
            (Err(here), Err(there)) => {
                let here = error_of(&here);
                assert_eq!((here.kind(), here.phase()), (there.kind(), there.phase()), "{path}");
                assert_eq!((path, here.kind()), ("/nowhere", ErrorKind::NoRoute));
                continue;
            }
            (here, there) => panic!("{path}: {here:?} {there:?}"),
        };
        assert_eq!(here.status(), there.status(), "{path}");
        for name in ["x-by", "location"] {
            assert_eq!(here.headers().get(name), there.headers().get(name), "{path} {name}");
        }
        let texts =
            (here.into_body().text().await.unwrap(), there.into_body().text().await.unwrap());
        assert_eq!(texts.0, texts.1, "{path}");
    }
    let answer = layered.clone().oneshot(get("http://shop/api/users")).await.unwrap();
    assert_eq!(answer.headers()["x-by"], "two two /users");
    let text = answer.into_body().text().await.unwrap();
    assert_eq!(text, "two shop.internal/users x-mesh=yes x-cluster=two");
    let answer = layered.clone().oneshot(get("http://shop/old/x")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()["location"], "http://shop/new/x");
}

trait KeyValue {
    fn get_key_value_of(&self, name: &str) -> Option<(http::HeaderName, http::HeaderValue)>;
}

impl KeyValue for http::HeaderMap {
    fn get_key_value_of(&self, name: &str) -> Option<(http::HeaderName, http::HeaderValue)> {
        Some((name.parse().unwrap(), self.get(name)?.clone()))
    }
}

#[tokio::test]
async fn what_is_not_a_layers_is_refused_by_its_name() {
    let with = |edit: &dyn Fn(&mut config::Service)| {
        let mut service = shop();
        edit(&mut service);
        let error = RouteLayer::new("shop", &service).unwrap_err();
        error.to_string()
    };
    let mirror = || Filter::Mirror(config::Mirror::default());
    for (told, expected) in [
        (with(&|it| it.routes.clear()), "routes"),
        (with(&|it| it.policy.timeout = Some(Duration::from_secs(1))), "policy"),
        (
            with(&|it| it.routes[0].policy.timeout = Some(Duration::from_secs(1))),
            "routes[0].policy",
        ),
        (with(&|it| it.routes[0].choice = config::ClusterChoice::Hashed), "routes[0].choice"),
        (with(&|it| it.filters.push(mirror())), "filters[1].mirror"),
        (
            with(&|it| it.routes[1].clusters[0].filters.push(mirror())),
            "clusters[0].filters[1].mirror",
        ),
        (
            with(&|it| it.routes[0].matches[0].method = Some("G T".into())),
            "routes[0].matches[0].method",
        ),
    ] {
        assert!(told.contains(expected), "{expected} in {told}");
    }
    let mut prefix = Rewrite::default();
    prefix.path = Some(PathRewrite::Prefix("/x".into()));
    for (filter, expected) in [
        (Filter::Rewrite(prefix), "needs the match of a route"),
        (Filter::Redirect(Redirect::default()), "is no edit"),
        (Filter::RequestHeaders(set("a b", "x")), "is not a header name"),
    ] {
        let told = EditLayer::new(&[filter]).unwrap_err().to_string();
        assert!(told.contains("filters[0]") && told.contains(expected), "{told}");
    }
    let mut keyed = config::Mirror::default();
    keyed.key = Some("k".into());
    assert!(
        MirrorLayer::new(&keyed, Echo::new("copy")).unwrap_err().to_string().contains("mirror.key")
    );
    let zero = [WeightedCluster::new("one").weight(0)];
    assert!(SplitLayer::new(&zero).unwrap_err().to_string().contains("must not all be 0"));
    let mut connections = Breakers::default();
    connections.max_connections = Some(1);
    assert!(BreakerLayer::new(&connections).unwrap_err().to_string().contains("max_connections"));
    let twice = [DropOverload::new("a", 1.0), DropOverload::new("a", 101.0)];
    let told = DropLayer::new(&twice).unwrap_err().to_string();
    assert!(told.contains("drops[1].category") && told.contains("drops[1].percent"), "{told}");
}

#[tokio::test]
async fn a_split_follows_its_weights_and_keeps_what_a_route_has_said() {
    let weights =
        [("one", 70), ("two", 30)].map(|(name, weight)| WeightedCluster::new(name).weight(weight));
    let split = SplitLayer::new(&weights).unwrap().seed(7).layer(clusters());
    let mut ones = 0;
    for _ in 0..500 {
        if said(&split, get("/")).await.starts_with("one") {
            ones += 1;
        }
    }
    // Five points of 500.
    assert!((325..=375).contains(&ones), "{ones}");
    // Inside of a route, whose name stays.
    let seen = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&seen);
    let inner = service_fn(move |request: Request<Body>| {
        *noted.lock().unwrap() = request.extensions().get::<Destination>().cloned();
        async { Ok::<_, BoxError>(Response::new(Body::empty())) }
    });
    let mut service = config::Service::default();
    service.routes = vec![under("/", "one")];
    let stack = ServiceBuilder::new()
        .layer(RouteLayer::new("shop", &service).unwrap())
        .layer(SplitLayer::new(&[WeightedCluster::new("three")]).unwrap())
        .service(inner);
    stack.oneshot(get("/")).await.unwrap();
    let seen = seen.lock().unwrap().clone().unwrap();
    assert_eq!((seen.route(), seen.cluster()), (Some("one"), "three"));
}

#[tokio::test]
async fn a_cluster_without_a_client_fails_by_its_name() {
    let split = SplitLayer::new(&[WeightedCluster::new("three")]).unwrap().layer(clusters());
    let error = split.oneshot(get("/")).await.unwrap_err();
    assert!(error.to_string().contains("there is no client for cluster `three`"), "{error}");
    let error = clusters().oneshot(get("/")).await.unwrap_err();
    assert_eq!(error_of(&error).kind(), ErrorKind::Config);
}

#[tokio::test]
async fn all_of_them_together_call_readied_services_under_a_limit_of_one() {
    let limited = |name| TowerLimit::new(Echo::new(name), 1);
    let stack = ServiceBuilder::new()
        .layer(RouteLayer::new("shop", &shop()).unwrap())
        .layer(DropLayer::new(&[]).unwrap())
        .layer(EditLayer::new(&[Filter::RequestHeaders(set("x-more", "1"))]).unwrap())
        .layer(MirrorLayer::new(&config::Mirror::default(), Echo::new("copy")).unwrap())
        .layer(BreakerLayer::new(&Breakers::default()).unwrap())
        .service(Clusters::new([("one", limited("one")), ("two", limited("two"))]));
    let calls = (0..20).map(|_| stack.clone().oneshot(get("http://shop/cart")));
    for response in futures_util::future::join_all(calls).await {
        assert_eq!(response.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn edits_are_made_there_and_back_and_a_rewrite_to_no_uri_is_an_error() {
    let mut rewrite = Rewrite::default();
    rewrite.host = Some(HostRewrite::Header("x-host".into()));
    let layer = EditLayer::new(&[
        Filter::Rewrite(rewrite),
        Filter::ResponseHeaders(set("x-asked", "%REQ(x-host)% %RESPONSE_CODE%")),
    ]);
    let echo = Echo::new("echo");
    let service = layer.unwrap().layer(echo.clone());
    let mut request = get("http://shop/");
    request.headers_mut().insert("x-host", "other.example".parse().unwrap());
    let answer = service.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.headers()["x-asked"], "other.example 200");
    let text = answer.into_body().text().await.unwrap();
    assert!(text.starts_with("echo other.example/"), "{text}");
    let mut request = get("http://shop/");
    request.headers_mut().insert("x-host", "a b".parse().unwrap());
    let error = service.clone().oneshot(request).await.unwrap_err();
    assert_eq!(error_of(&error).kind(), ErrorKind::InvalidRequest);
    assert_eq!(echo.calls.load(Ordering::Relaxed), 1, "what has no URI is not sent");
}

#[tokio::test(start_paused = true)]
async fn copies_are_a_share_have_limits_and_delay_nobody() {
    let copied = Arc::new(AtomicU32::new(0));
    let heard = Arc::clone(&copied);
    // It never answers: its copies end by their own time.
    let hung = service_fn(move |request: Request<Body>| {
        let heard = Arc::clone(&heard);
        async move {
            assert_eq!(request.into_body().text().await.unwrap(), "said");
            heard.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<Response<Body>, BoxError>>().await
        }
    });
    let mut half = config::Mirror::default();
    half.percent = Some(50.0);
    let layer = MirrorLayer::new(&half, hung).unwrap().seed(3);
    let whole = service_fn(async |request: Request<Body>| {
        let text = request.into_body().text().await?;
        Ok::<_, BoxError>(Response::new(Body::from(text)))
    });
    let service = layer.layer(whole);
    let started = tokio::time::Instant::now();
    let send = async |calls: u32| {
        for _ in 0..calls {
            let request = Request::post("http://shop/").body(Body::from("said")).unwrap();
            let answer = service.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.into_body().text().await.unwrap(), "said");
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        copied.load(Ordering::Relaxed)
    };
    let copies = send(100).await;
    assert!((35..=65).contains(&copies), "{copies}");
    assert_eq!(send(1_000).await, 100, "no more are under way");
    assert_eq!(started.elapsed(), Duration::ZERO, "nobody waits for a copy");
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(send(100).await > 100, "those of before are over");
    // What asks for an upgrade is not copied.
    let before = copied.load(Ordering::Relaxed);
    for _ in 0..50 {
        let request = Request::get("http://shop/").header("upgrade", "x").body(Body::from("said"));
        service.clone().oneshot(request.unwrap()).await.unwrap();
    }
    tokio::task::yield_now().await;
    assert_eq!(copied.load(Ordering::Relaxed), before);
}

#[tokio::test]
async fn breakers_count_each_priority_until_its_bodies_have_ended() {
    let mut limits = Breakers::default();
    limits.max_requests = Some(2);
    let mut high = Thresholds::default();
    high.max_requests = Some(1);
    limits.high = Some(Box::new(high));
    let layer = BreakerLayer::new(&limits).unwrap();
    let usual = layer.clone().layer(Echo::new("echo"));
    let urgent = layer.priority(CallPriority::High).layer(Echo::new("echo"));
    let held = [
        usual.clone().oneshot(get("/")).await.unwrap(),
        usual.clone().oneshot(get("/")).await.unwrap(),
        urgent.clone().oneshot(get("/")).await.unwrap(),
    ];
    for (service, field) in
        [(&usual, "`breakers.max_requests`"), (&urgent, "`breakers.high.max_requests`")]
    {
        let error = service.clone().oneshot(get("/")).await.unwrap_err();
        let error = error_of(&error);
        assert_eq!((error.refusal(), error.response_flag()), (Some(Refusal::MaxRequests), "UO"));
        assert!(error.to_string().contains(field), "{error}");
    }
    drop(held);
    assert!(usual.oneshot(get("/")).await.is_ok() && urgent.oneshot(get("/")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn drops_are_a_share_and_are_not_tried_again() {
    let layer = DropLayer::new(&[DropOverload::new("lb", 25.0), DropOverload::new("app", 50.0)]);
    let layer = layer.unwrap().seed(5);
    let echo = Echo::new("echo");
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(&config::Retry::standard()).unwrap())
        .layer(layer.clone())
        .service(echo.clone());
    let mut through = 0;
    for _ in 0..1_000 {
        match service.clone().oneshot(get("/")).await {
            Ok(_) => through += 1,
            Err(error) => assert_eq!(error_of(&error).refusal(), Some(Refusal::Dropped)),
        }
    }
    // 37.5 %, and each call is asked once.
    assert!((325..=425).contains(&through), "{through}");
    let dropped: u64 = layer.dropped().iter().map(|(_, count)| count).sum();
    assert_eq!(dropped + u64::from(echo.calls.load(Ordering::Relaxed)), 1_000);
}
