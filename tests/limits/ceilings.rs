//! Limits of calls in flight, of services and of routes, and whose calls are refused first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use http::{HeaderMap, Request};
use tower_mesh::{
    Body, Call, Refusal,
    config::{Criticality, DirectResponse, Filter, Match, PathMatch, Route, WeightedCluster},
};

use crate::support::{
    SERVICE, get,
    leaf::answer,
    protected::{MILLI, adaptive, call, critical, held, mesh, say, send, service, storm, throttle},
};

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
            "the route has its maximum of 2 calls in flight (`max_requests` of the route); its route is \
             reports"
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
    // What is answered here takes no place, so none is missing.
    let mut answers = routes(Some(1));
    answers.routes[0].clusters.clear();
    let mut answer = DirectResponse::default();
    answer.status = 204;
    answers.routes[0].filters = vec![Filter::DirectResponse(answer)];
    say(&publisher, answers);
    assert_eq!(client.send(get("/reports")).await.unwrap().status(), 204);
    assert!(mesh.explain(&get("http://users.prod/reports")).unwrap().fails.is_none());
    say(&publisher, routes(Some(3)));
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

/// Of a call that may be sent again by its code, the first frame of the answer is looked at: here it is the
/// last one, too.
#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn the_place_of_a_grpc_call_is_free_at_its_end_though_its_answer_is_kept() {
    use http_body_util::BodyExt;
    use tower_mesh::{
        Mesh, Retry,
        config::{Protocol, Service},
        discover::Static,
        testing::{Fault, Network},
    };

    let network = Network::new();
    let trailers = || Some(Fault::GrpcTrailers { code: 5, messages: 0 });
    let endpoint = network.endpoint("10.0.0.1:80").grpc("hi").script([trailers(), trailers()]);
    let mut limited = Service::default();
    limited.policy.max_requests = Some(1);
    limited.policy.retry = Some(Retry::idempotent());
    let mut cluster = tower_mesh::config::Cluster::default();
    cluster.protocol = Some(Protocol::Http2);
    cluster.endpoints = vec![tower_mesh::config::Endpoint::new(endpoint.address())];
    let source = Static::default().cluster(SERVICE, cluster).service(SERVICE, limited);
    let mesh = Mesh::builder().source(source).connect_layer(network.clone()).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let ask = || {
        let request = Request::post("/pkg.Greeter/Hi").header("content-type", "application/grpc");
        request.body(Body::empty()).unwrap()
    };
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut response = client.send(ask()).await.unwrap();
        let mut frames = 0;
        while let Some(frame) = response.body_mut().frame().await {
            assert_eq!(frame.unwrap().trailers_ref().unwrap()["grpc-status"], "5");
            frames += 1;
        }
        assert_eq!(frames, 1);
        kept.push(response);
    }
}
