//! What a mesh keeps: bounded by what its sources say, however often they say it.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::Mesh;
use crate::{
    Body,
    config::{self, Address},
    discover::{Discover, Publisher},
};

/// A source that hands its publisher out.
struct Own(tokio::sync::oneshot::Sender<Publisher>);

impl Discover for Own {
    fn name(&self) -> String {
        "own".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            drop(self.0.send(publish));
            std::future::pending::<()>().await;
        })
    }
}

async fn mesh() -> (Mesh, Publisher) {
    let (give, take) = tokio::sync::oneshot::channel();
    let mesh = Mesh::builder().source(Own(give)).build().unwrap();
    (mesh, take.await.unwrap())
}

fn address() -> Address {
    SocketAddr::from(([127, 0, 0, 1], 1)).into()
}

/// Cells of services, clusters, cells that only clients hold.
fn kept(mesh: &Mesh) -> (usize, usize, usize) {
    let state = mesh.inner.state();
    (mesh.inner.cells(), state.clusters.len(), state.absent.len())
}

#[tokio::test]
async fn services_and_clusters_that_are_gone_are_forgotten() {
    let (mesh, publish) = mesh().await;
    publish.synced();
    for n in 0..1000 {
        let name = format!("s{n}");
        publish.endpoints(&name, [address()]).unwrap();
        let mut service = config::Service::default();
        service.cluster = Some(format!("named-{n}"));
        publish.service(&format!("r{n}"), service).unwrap();
        publish.remove_cluster(&name);
        publish.remove_service(&format!("r{n}"));
        publish.remove_endpoints(&format!("never-{n}"), &[address()]);
    }
    let (services, clusters, absent) = kept(&mesh);
    assert!(services == 0 && clusters == 0 && absent <= 256, "{services} {clusters} {absent}");
    assert!(mesh.inner.state().named.is_empty());
    mesh.ready().await.unwrap();
}

#[tokio::test]
async fn names_asked_for_before_the_sync_are_forgotten_with_their_clients() {
    let (mesh, publish) = mesh().await;
    for n in 0..1000 {
        drop(mesh.client(&format!("unknown-{n}")).unwrap());
    }
    publish.synced();
    let (services, clusters, absent) = kept(&mesh);
    assert!(services == 0 && clusters == 0 && absent <= 256, "{services} {clusters} {absent}");
}

#[tokio::test]
async fn a_client_is_filled_again_when_its_service_comes_back() {
    let (mesh, publish) = mesh().await;
    publish.endpoints("users", [address()]).unwrap();
    publish.synced();
    let client = mesh.client("users").unwrap();
    let before = mesh.inner.find("users").unwrap();
    publish.remove_cluster("users");
    assert!(mesh.client("users").is_err());
    publish.endpoints("users", [address()]).unwrap();
    assert!(Arc::ptr_eq(&before, &mesh.inner.find("users").unwrap()));
    drop(client);
}

#[tokio::test]
async fn budgets_that_no_route_uses_are_forgotten() {
    let (mesh, publish) = mesh().await;
    publish.endpoints("users", [address()]).unwrap();
    publish.synced();
    for n in 0..1000 {
        let mut service = config::Service::default();
        let budget = config::Budget::new(f64::from(n) / 1000.0);
        service.policy.retry = Some(config::Retry::standard().budget(budget));
        publish.service("users", service).unwrap();
    }
    let cell = mesh.inner.find("users").unwrap();
    assert!(cell.budget_count() <= 2, "{}", cell.budget_count());
}

#[cfg(feature = "dns")]
fn dns() -> Mesh {
    Mesh::builder().unknown_names(super::UnknownNames::Dns).build().unwrap()
}

#[cfg(feature = "dns")]
#[tokio::test]
async fn concurrent_first_lookups_of_a_name_start_one_task() {
    let mesh = dns();
    let calls = (0..10).map(|_| mesh.client("localhost:1").unwrap());
    assert_eq!(calls.count(), 10);
    let names: Vec<_> = (0..4)
        .map(|_| {
            let inner = Arc::clone(&mesh.inner);
            std::thread::spawn(move || inner.unfound("localhost:2").map(drop))
        })
        .collect();
    for name in names {
        name.join().unwrap().unwrap();
    }
    assert_eq!(mesh.inner.state().dns, 2);
    assert_eq!(mesh.inner.tasks(), 2);
}

#[cfg(feature = "dns")]
#[tokio::test(start_paused = true)]
async fn a_dns_name_that_nobody_calls_is_forgotten_and_found_again() {
    let mesh = dns();
    let client = mesh.client("localhost:1").unwrap();
    let call = || client.send(http::Request::new(Body::empty()));
    drop(call().await);
    for _ in 0..4 {
        // Called now and then, it stays.
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert_eq!(mesh.inner.state().dns, 1);
        drop(call().await);
    }
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert_eq!(mesh.inner.state().dns, 0);
    assert_eq!(mesh.inner.cells(), 0);
    let error = call().await.unwrap_err();
    assert_ne!(error.kind(), crate::ErrorKind::UnknownService, "{error}");
    assert_eq!(mesh.inner.state().dns, 1);
}

#[tokio::test]
async fn meters_that_come_and_go_leave_nothing() {
    let (mesh, publish) = mesh().await;
    publish.synced();
    let route = |name: String| {
        let mut route = config::Route::default();
        route.name = Some(name);
        route.clusters = vec![config::WeightedCluster::new("users")];
        route
    };
    let client = mesh.client("front");
    drop(client);
    for n in 0..10_000 {
        let mut service = config::Service::default();
        service.routes = vec![route(format!("r{n}")), route(format!("s{n}")), route("kept".into())];
        publish.service("front", service).unwrap();
        publish.endpoints("users", [address()]).unwrap();
        if n % 10 == 0 {
            // To an endpoint that refuses, or to none: both are counted.
            drop(
                mesh.http()
                    .send(http::Request::get("http://front/").body(Body::empty()).unwrap())
                    .await,
            );
            publish.remove_endpoints("users", &[address()]);
        }
    }
    let cell = mesh.inner.services.load().get("front").cloned().unwrap();
    assert_eq!(cell.meters().len(), 4);
    let cluster = Arc::clone(&mesh.inner.state().clusters["users"].cell);
    let (here, gone) = cluster.meter.sizes();
    assert!(here <= 1 && gone <= 3, "{here} {gone}");
    publish.remove_service("front");
    publish.remove_cluster("users");
    drop((cell, cluster));
    let metrics = mesh.metrics();
    let left = metrics.families.iter().flat_map(|family| &family.samples);
    let of_them = left.filter(|it| {
        it.attribute("mesh.cluster").is_some() || it.attribute("mesh.service").is_some()
    });
    assert_eq!(of_them.count(), 0, "{}", metrics.to_prometheus());
}

#[cfg(feature = "dns")]
#[tokio::test(start_paused = true)]
async fn the_age_of_a_clusters_dns_answer_is_told() {
    let (mesh, publish) = mesh().await;
    publish.endpoints("users", [address()]).unwrap();
    let of = [("mesh.source", "dns"), ("mesh.cluster", "users")];
    let age = || mesh.metrics().total("mesh.client.discovery.age", &of);
    assert!(age() < f64::EPSILON);
    let cluster = Arc::clone(&mesh.inner.state().clusters["users"].cell);
    cluster.discovered.set_good(mesh.inner.epoch.nanos(crate::core::Instant::now()));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!((20.0..21.0).contains(&age()), "{}", age());
}

#[tokio::test]
async fn clusters_that_take_over_from_each_other_leave_nothing_behind() {
    let (mesh, publish) = mesh().await;
    let names = ["a", "b"];
    for (name, other) in [("a", "b"), ("b", "a")] {
        let mut failover = config::Failover::default();
        failover.clusters = vec![other.into()];
        let cluster = config::Cluster { failover: Some(failover), ..config::Cluster::default() };
        publish.cluster(name, cluster).unwrap();
        publish.endpoints(name, [address()]).unwrap();
    }
    let cells = names.map(|name| Arc::downgrade(&mesh.inner.state().clusters[name].cell));
    names.iter().for_each(|name| publish.remove_cluster(name));
    let left: Vec<_> = mesh.inner.state().clusters.keys().cloned().collect();
    assert_eq!(left, Vec::<String>::new());
    assert!(cells.iter().all(|cell| cell.upgrade().is_none()));
}

/// A mesh of two sources, the first of which decides.
async fn two() -> (Mesh, Publisher, Publisher) {
    let (give, first) = tokio::sync::oneshot::channel();
    let (give_too, second) = tokio::sync::oneshot::channel();
    let mesh = Mesh::builder().source(Own(give)).source(Own(give_too)).build().unwrap();
    (mesh, first.await.unwrap(), second.await.unwrap())
}

fn of_weight(weight: u32) -> config::Endpoint {
    let mut endpoint = config::Endpoint::new(address());
    endpoint.weight = weight;
    endpoint
}

fn endpoints(mesh: &Mesh) -> Vec<config::Endpoint> {
    let state = mesh.inner.state();
    state.clusters.get("users").map_or(Vec::new(), |entry| entry.cell.core.load().balancer.specs())
}

#[tokio::test]
async fn a_later_source_does_not_overwrite_an_endpoint_of_an_earlier_one() {
    for first_comes_first in [true, false] {
        let (mesh, first, second) = two().await;
        if first_comes_first {
            first.endpoints("users", [of_weight(1)]).unwrap();
        }
        second.endpoints("users", [of_weight(2)]).unwrap();
        if !first_comes_first {
            first.endpoints("users", [of_weight(1)]).unwrap();
        }
        assert_eq!(endpoints(&mesh), [of_weight(1)]);
        second.upsert_endpoints("users", [of_weight(3)]).unwrap();
        assert_eq!(endpoints(&mesh), [of_weight(1)]);
        first.upsert_endpoints("users", [of_weight(4)]).unwrap();
        assert_eq!(endpoints(&mesh), [of_weight(4)]);
        second.remove_endpoints("users", &[address()]);
        assert_eq!(endpoints(&mesh), [of_weight(4)]);
    }
}

#[tokio::test]
async fn an_endpoint_that_its_source_removes_is_what_the_next_says() {
    let removals: [fn(&Publisher); 3] = [
        |first| first.remove_endpoints("users", &[address()]),
        |first| first.endpoints("users", [] as [config::Endpoint; 0]).unwrap(),
        |first| first.remove_cluster("users"),
    ];
    for removal in removals {
        let (mesh, first, second) = two().await;
        second.endpoints("users", [of_weight(2)]).unwrap();
        first.endpoints("users", [of_weight(1)]).unwrap();
        removal(&first);
        assert_eq!(endpoints(&mesh), [of_weight(2)]);
        first.endpoints("users", [of_weight(5)]).unwrap();
        assert_eq!(endpoints(&mesh), [of_weight(5)]);
        removal(&first);
        second.remove_cluster("users");
        assert!(endpoints(&mesh).is_empty());
    }
}

#[tokio::test]
async fn a_later_source_does_not_make_an_endpoint_plain_that_is_secured_as_its_cluster() {
    let (mesh, first, second) = two().await;
    first.endpoints("users", [address()]).unwrap();
    let mut plain = config::Endpoint::new(address());
    plain.security = Some(config::Security::Plain);
    second.endpoints("users", [plain]).unwrap();
    assert_eq!(endpoints(&mesh), [address().into()]);
}

#[tokio::test]
async fn a_bare_address_is_secured_as_the_endpoint_that_lists_it_among_others() {
    let [one, two, three]: [Address; 3] =
        ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"].map(|it| it.parse().unwrap());
    let mut secured = config::Endpoint::new(one.clone());
    secured.security = Some(config::Security::Tls(Box::default()));
    secured.more_addresses = vec![two.clone()];
    // Of another source: one of its addresses, and an endpoint that listens there, too.
    let mut among = config::Endpoint::new(three.clone());
    among.more_addresses = vec![one.clone()];
    let bare = [config::Endpoint::new(two.clone()), among];
    let is_secured = |mesh: &Mesh, address: &Address| {
        let all = endpoints(mesh);
        let found = all.into_iter().find(|endpoint| endpoint.address == *address).unwrap();
        matches!(found.security, Some(config::Security::Tls(_)))
    };
    for secured_comes_first in [true, false] {
        for secured_decides in [true, false] {
            let (mesh, first, second) = two_sources(secured_decides).await;
            if secured_comes_first {
                first.endpoints("users", [secured.clone()]).unwrap();
            }
            second.endpoints("users", bare.clone()).unwrap();
            if !secured_comes_first {
                first.upsert_endpoints("users", [secured.clone()]).unwrap();
            }
            assert!(is_secured(&mesh, &two) && is_secured(&mesh, &three));
            // Nobody says so any more.
            first.remove_endpoints("users", std::slice::from_ref(&one));
            assert!(!is_secured(&mesh, &two) && !is_secured(&mesh, &three));
            first.endpoints("users", [secured.clone()]).unwrap();
            assert!(is_secured(&mesh, &two) && is_secured(&mesh, &three));
            first.remove_cluster("users");
            assert!(!is_secured(&mesh, &two) && !is_secured(&mesh, &three));
        }
    }
}

/// Two sources, the first of which decides or not.
async fn two_sources(first_decides: bool) -> (Mesh, Publisher, Publisher) {
    let (mesh, first, second) = two().await;
    if first_decides { (mesh, first, second) } else { (mesh, second, first) }
}

/// A mesh with a call layer that does nothing, and a leaf that takes as long as its route allows.
fn layered(service: config::Service) -> Mesh {
    let leaf = |request: http::Request<Body>| async move {
        let is_long = request.headers()["x-route"] == "long";
        tokio::time::sleep(Duration::from_millis(if is_long { 1000 } else { 1 })).await;
        Ok::<_, crate::BoxError>(http::Response::new(Body::empty()))
    };
    Mesh::builder()
        .endpoints("users", [address()])
        .source(Said(service))
        .call_layer(tower::layer::layer_fn(|next| next))
        .leaf(move |_: &crate::LeafEndpoint| tower::service_fn(leaf))
        .seed(7)
        .build()
        .unwrap()
}

/// A source of one service.
struct Said(config::Service);

impl Discover for Said {
    fn name(&self) -> String {
        "said".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            publish.service("users", self.0).unwrap();
            publish.synced();
            std::future::pending::<()>().await;
        })
    }
}

/// A route with a timeout that marks its requests.
fn marked(name: &str, timeout: Duration) -> config::Route {
    let mut route = config::Route::default();
    route.clusters = vec![config::WeightedCluster::new("users")];
    route.policy.timeout = Some(timeout);
    let mut edit = config::HeaderEdit::default();
    edit.set.insert("x-route".into(), name.into());
    route.filters = vec![config::Filter::RequestHeaders(edit)];
    route
}

async fn all_are_in_time(mesh: Mesh) {
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    for _ in 0..50 {
        client.send(http::Request::get("/x").body(Body::empty()).unwrap()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_call_layer_a_share_has_the_timeout_of_the_route_that_takes_it() {
    let mut half = config::RuntimeFraction::default();
    half.percent = 50.0;
    let mut rule = config::Match::default();
    rule.fraction = Some(half);
    let mut service = config::Service::default();
    service.routes =
        vec![marked("short", Duration::from_millis(10)), marked("long", Duration::from_secs(10))];
    service.routes[0].matches = vec![rule];
    all_are_in_time(layered(service)).await;
}

#[tokio::test(start_paused = true)]
async fn behind_a_call_layer_a_host_has_the_timeout_of_its_route() {
    let mut service = config::Service::default();
    service.routes =
        vec![marked("long", Duration::from_secs(10)), marked("short", Duration::from_millis(10))];
    service.routes[0].hosts = vec!["users".into()];
    all_are_in_time(layered(service)).await;
}

/// A mesh whose copies reach an endpoint that never answers, and how many have.
async fn hanging() -> (Mesh, Publisher, Arc<AtomicUsize>) {
    let copies = Arc::new(AtomicUsize::new(0));
    let heard = Arc::clone(&copies);
    let leaf = move |request: http::Request<Body>| {
        let is_copy = request.headers().contains_key("x-copy");
        let heard = Arc::clone(&heard);
        async move {
            if is_copy {
                heard.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            Ok::<_, crate::BoxError>(http::Response::new(Body::empty()))
        }
    };
    let (give, take) = tokio::sync::oneshot::channel();
    let mesh = Mesh::builder()
        .source(Own(give))
        .leaf(move |_: &crate::LeafEndpoint| tower::service_fn(leaf.clone()))
        .build()
        .unwrap();
    let publish = take.await.unwrap();
    publish.endpoints("users", [address()]).unwrap();
    publish.endpoints("copies", [address()]).unwrap();
    publish.service("users", mirrored(Duration::from_secs(1))).unwrap();
    publish.synced();
    mesh.ready().await.unwrap();
    (mesh, publish, copies)
}

/// A service of two routes with one mirror.
fn mirrored(timeout: Duration) -> config::Service {
    let mut mirror = config::Mirror::default();
    mirror.cluster = Some("copies".into());
    mirror.request_headers.set.insert("x-copy".into(), "yes".into());
    let route = |path: Option<&str>| {
        let mut route = config::Route::default();
        route.clusters = vec![config::WeightedCluster::new("users")];
        route.filters = vec![config::Filter::Mirror(mirror.clone())];
        route.matches.extend(path.map(|path| {
            let mut rule = config::Match::default();
            rule.path = Some(config::PathMatch::Exact(path.into()));
            rule
        }));
        route
    };
    let mut service = config::Service::default();
    service.policy.timeout = Some(timeout);
    service.routes = vec![route(Some("/a")), route(None)];
    service
}

#[tokio::test(start_paused = true)]
async fn routes_and_updates_give_a_mirror_no_further_copies() {
    let (mesh, publish, copies) = hanging().await;
    let client = mesh.client("users").unwrap();
    for update in 2..5 {
        for path in ["/a", "/b"] {
            for _ in 0..80 {
                let request = http::Request::get(path).body(Body::empty()).unwrap();
                client.send(request).await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(copies.load(Ordering::SeqCst), 100);
        publish.service("users", mirrored(Duration::from_secs(update))).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn hung_copies_do_not_hold_the_shutdown() {
    let (mesh, _publish, copies) = hanging().await;
    let client = mesh.client("users").unwrap();
    client.send(http::Request::get("/a").body(Body::empty()).unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(copies.load(Ordering::SeqCst), 1);
    let began = tokio::time::Instant::now();
    mesh.shutdown(Duration::from_secs(60)).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_mirror_is_not_called_like_the_service_of_its_clusters_name() {
    let (mesh, _publish, _) = hanging().await;
    let service = mesh.inner.find("users").unwrap().current.load_full().unwrap();
    let mirrors = service.table.iter().flat_map(|route| route.clusters.iter());
    let names: Vec<_> =
        mirrors.flat_map(|(_, to)| to.mirrors.iter().map(|it| Arc::clone(&it.cell.name))).collect();
    assert!(names.iter().all(|name| &**name == "mirror of copies"), "{names:?}");
    assert_eq!(names.len(), 2);
}

#[tokio::test]
async fn a_target_that_is_invalid_is_explained_as_one() {
    let mut target = config::WeightedCluster::new("users");
    target.invalid = Some("no such backend".into());
    let mut route = config::Route::default();
    route.clusters = vec![target];
    let mut service = config::Service::default();
    service.routes = vec![route];
    let (mesh, publish) = mesh().await;
    publish.service("users", service).unwrap();
    publish.synced();
    let request = http::Request::get("http://users/").body(()).unwrap();
    let told = mesh.explain(&request).unwrap();
    let fails = told.clusters[0].fails.as_deref().unwrap_or_default();
    assert!(fails.contains("no such backend") && fails.contains("500"), "{fails}");
}

#[tokio::test]
async fn an_update_that_does_not_change_a_mirror_keeps_what_it_has_counted() {
    let (mesh, publish) = mesh().await;
    publish.service("users", mirrored(Duration::from_secs(1))).unwrap();
    publish.synced();
    let mirror = || {
        let cell = mesh.inner.find("users").unwrap();
        cell.mirrored().into_values().next().unwrap()
    };
    let before = mirror();
    publish.service("users", mirrored(Duration::from_secs(2))).unwrap();
    let after = mirror();
    assert!(Arc::ptr_eq(&before, &after), "its meter is the cell's");
}

#[tokio::test]
async fn pick_first_goes_by_the_order_of_each_source_the_first_one_first() {
    let ((give, take), (give_too, take_too)) =
        (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
    let sources = Mesh::builder().source(Own(give)).source(Own(give_too));
    let mesh = sources.build().unwrap();
    let (one, other) = (take.await.unwrap(), take_too.await.unwrap());
    let at = |port: u16| config::Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)).into());
    let cluster = |ports: &[u16]| {
        let mut first = config::PickFirst::default();
        first.shuffle = Some(false);
        let mut cluster = config::Cluster::default();
        cluster.balancer = Some(config::Balancer::PickFirst(first));
        cluster.endpoints = ports.iter().map(|port| at(*port)).collect();
        cluster
    };
    let first = || {
        let request = http::Request::get("http://users/").body(()).unwrap();
        match &mesh.explain(&request).unwrap().clusters[0].pick.choice {
            crate::balance::Choice::Endpoint { address, .. } => address.clone(),
            other => panic!("{other:?}"),
        }
    };
    // The one that comes second speaks first.
    other.cluster("users", cluster(&[4, 3, 1])).unwrap();
    one.cluster("users", cluster(&[2, 1])).unwrap();
    one.synced();
    other.synced();
    mesh.ready().await.unwrap();
    assert_eq!(first(), "127.0.0.1:2");
    one.cluster("users", cluster(&[1, 2])).unwrap();
    assert_eq!(first(), "127.0.0.1:1");
    // Of what both list, the place of the first source counts.
    one.cluster("users", cluster(&[])).unwrap();
    assert_eq!(first(), "127.0.0.1:4");
    other.cluster("users", cluster(&[3, 4, 1])).unwrap();
    assert_eq!(first(), "127.0.0.1:3");
}
