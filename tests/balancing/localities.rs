//! Priorities, zones, subsets and labels, over real servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, StatusCode};
use tower_mesh::{
    Body, Discover, ErrorKind, Event, Mesh, Publisher, Retry,
    config::{
        Address, AvoidEndpoint, Balancer, Balancing, Budget, Cluster, Endpoint, Filter, HashPolicy,
        Health, Locality, LocalityBalancing, LocalityScope, RandomSubset, Route, Service, Session,
        Shard, Sharded, SubsetSelector, Subsets, Subsetting, WeightedCluster, ZoneAware,
    },
    discover::Static,
};

use crate::support::{
    Recorder, Server, dead_address, failures, fetch, get, one_cluster, patience, published, reply,
    status, storm,
};

/// An endpoint of a priority.
fn of(server: &Server, priority: u32) -> Endpoint {
    let mut endpoint = Endpoint::from(server.address());
    endpoint.priority = priority;
    endpoint
}

fn in_zone(server: &Server, zone: &str) -> Endpoint {
    let mut endpoint = Endpoint::from(server.address());
    endpoint.locality = Some(Box::new(Locality::new("eu", zone)));
    endpoint
}

/// A cluster that tries a dead endpoint again soon.
fn cluster(endpoints: impl IntoIterator<Item = Endpoint>) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.endpoints = endpoints.into_iter().collect();
    cluster.transport.connect_backoff_max = Some(Duration::from_millis(200));
    cluster
}

/// So many calls, ten at a time: who answered how many. None may fail.
async fn calls(mesh: &Mesh, total: usize) -> BTreeMap<String, usize> {
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(10, total, |_| fetch(&client, get("/")))).await;
    assert_eq!(failures(&answers), Vec::<String>::new());
    let mut who = BTreeMap::new();
    for answer in answers {
        let name = String::from_utf8(answer.unwrap().into_body().to_vec()).unwrap();
        *who.entry(name).or_default() += 1;
    }
    who
}

/// What is told of priorities and of dead endpoints, taken as it comes: of a storm of calls there are
/// more events than are kept.
struct Told {
    /// Priorities with what they get.
    shifts: Arc<Mutex<Vec<(u32, u32)>>>,
    /// Connection attempts that failed.
    knocks: Arc<AtomicUsize>,
}

impl Told {
    fn of(mesh: &Mesh) -> Self {
        let told = Self { shifts: Arc::default(), knocks: Arc::default() };
        let (mut events, shifts) = (mesh.events(), Arc::clone(&told.shifts));
        let knocks = Arc::clone(&told.knocks);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    Event::PriorityShifted { priority, percent, .. } => {
                        shifts.lock().unwrap().push((priority, percent));
                    }
                    Event::ConnectFailed { .. } => {
                        knocks.fetch_add(1, Relaxed);
                    }
                    _ => {}
                }
            }
        });
        told
    }

    async fn until(&self, such: impl Fn((u32, u32)) -> bool) {
        let found = async {
            while !self.shifts.lock().unwrap().iter().any(|shift| such(*shift)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        patience(found).await;
    }
}

fn names(who: &BTreeMap<String, usize>) -> Vec<&str> {
    who.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn when_the_first_priority_dies_the_next_takes_over_and_no_call_fails() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let (c, d) = (Server::named("c").await, Server::named("d").await);
    let (at_a, at_b) = (a.socket(), b.socket());
    let endpoints = [of(&a, 0), of(&b, 0), of(&c, 1), of(&d, 1)];
    let mesh = one_cluster(cluster(endpoints)).build().unwrap();
    mesh.ready().await.unwrap();
    let told = Told::of(&mesh);
    assert_eq!(names(&calls(&mesh, 300).await), ["a", "b"]);

    // Both die while calls come.
    let client = mesh.client("users").unwrap();
    let under_way =
        tokio::spawn(async move { storm(10, 2_000, |_| fetch(&client, get("/"))).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    a.kill().await;
    b.kill().await;
    let answers = patience(under_way).await.unwrap();
    assert_eq!(failures(&answers), Vec::<String>::new());
    assert_eq!(names(&calls(&mesh, 300).await), ["c", "d"]);
    told.until(|shift| shift == (0, 0)).await;
    let described = mesh.describe().to_string();
    assert!(described.contains("priority 0: 0 % of calls, 0 of 2 healthy"), "{described}");
    assert!(described.contains("priority 1: 100 % of calls, 2 of 2 healthy"), "{described}");
    // Back-off is over every 200 ms: few calls find out that it lasts, and no share goes there.
    let (mut elsewhere, began) = (0, tokio::time::Instant::now());
    for _ in 0..10 {
        elsewhere += calls(&mesh, 50).await.values().sum::<usize>();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(elsewhere, 500);
    let knocks = told.knocks.load(Relaxed);
    // A machine that is slow has time for more.
    let most = 20 + began.elapsed().as_millis() / 50;
    assert!(knocks as u128 <= most, "{knocks} of {most} connection attempts to a dead priority");

    // They return.
    let _a = Server::start_at(at_a, |_| async { reply("a") }).await;
    let _b = Server::start_at(at_b, |_| async { reply("b") }).await;
    let back = async {
        while names(&calls(&mesh, 50).await) != ["a", "b"] {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Suspects are probed at intervals that double, up to 30 s.
    tokio::time::timeout(Duration::from_secs(40), back).await.expect("they do not return");
    told.until(|shift| shift == (1, 0)).await;
}

#[tokio::test]
async fn the_callers_own_zone_is_called_first_and_the_next_one_when_it_is_gone() {
    let (near, far) = (Server::named("near").await, Server::named("far").await);
    let mut balancing = Balancing::default();
    balancing.prefer = vec![LocalityScope::Region, LocalityScope::Zone];
    let mut cluster = cluster([in_zone(&near, "eu-1"), in_zone(&far, "eu-2")]);
    cluster.balancing = Some(balancing);
    let mesh = one_cluster(cluster).locality(Locality::new("eu", "eu-1")).build().unwrap();
    assert_eq!(names(&calls(&mesh, 200).await), ["near"]);
    near.kill().await;
    assert_eq!(names(&calls(&mesh, 200).await), ["far"]);
}

#[tokio::test]
async fn settings_in_code_and_the_environment_say_what_is_near() {
    let (near, far) = (Server::named("near").await, Server::named("far").await);
    let mut balancing = Balancing::default();
    balancing.prefer = vec![LocalityScope::Node];
    let (mut here, mut there) = (Endpoint::from(near.address()), Endpoint::from(far.address()));
    (here.node, there.node) = (Some("n1".to_owned()), Some("n2".to_owned()));
    let mesh = Mesh::builder()
        .endpoints("users", [here, there])
        .service("users", |service| service.balancing(balancing))
        .node("n1")
        // Nothing is said there.
        .place_from_env()
        .build()
        .unwrap();
    assert_eq!(names(&calls(&mesh, 200).await), ["near"]);
}

#[tokio::test]
async fn the_callers_of_the_own_service_decide_what_stays_in_the_zone() {
    let mut servers = Vec::new();
    for _ in 0..6 {
        servers.push((Server::named("near").await, Server::named("far").await));
    }
    let endpoints = servers
        .iter()
        .enumerate()
        // 2 of 8 are near.
        .flat_map(|(n, (near, far))| {
            let near = (n < 2).then(|| in_zone(near, "eu-1"));
            near.into_iter().chain([in_zone(far, "eu-2")])
        });
    let mut zone = ZoneAware::default();
    zone.own_cluster = Some("me".to_owned());
    let mut balancing = Balancing::default();
    balancing.locality = LocalityBalancing::ZoneAware(zone);
    let mut users = cluster(endpoints);
    users.balancing = Some(balancing);
    let caller = |n: u16, zone: &str| {
        let mut endpoint = Endpoint::from(std::net::SocketAddr::from(([10, 0, 0, 1], n)));
        endpoint.locality = Some(Box::new(Locality::new("eu", zone)));
        endpoint
    };
    let builder = Mesh::builder().locality(Locality::new("eu", "eu-1"));
    let (mesh, publisher) = published(builder, |publish| {
        publish.cluster("users", users).unwrap();
        // Half of the callers are here: half of the calls fit.
        publish.endpoints("me", [caller(1, "eu-1"), caller(2, "eu-2")]).unwrap();
    })
    .await;
    let who = calls(&mesh, 100).await;
    // It is counted again within a second of the first call.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let who = (who, calls(&mesh, 2_000).await).1;
    let near = who["near"] as f64 / 2_000.0;
    assert!((0.4..0.6).contains(&near), "{who:?}");
    // A quarter of the callers: everything fits.
    let callers = [caller(1, "eu-1"), caller(2, "eu-2"), caller(3, "eu-2"), caller(4, "eu-2")];
    publisher.endpoints("me", callers).unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    calls(&mesh, 10).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(names(&calls(&mesh, 500).await), ["near"]);
    drop(publisher);
}

/// A server whose answers are failures while it is ill.
async fn frail(name: &'static str) -> (Server, Arc<AtomicBool>) {
    let ill = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&ill);
    let server = Server::start(move |_| {
        let ill = state.load(Relaxed);
        async move { if ill { status(StatusCode::SERVICE_UNAVAILABLE) } else { reply(name) } }
    });
    (server.await, ill)
}

#[tokio::test]
async fn a_retry_leaves_the_locality_that_fails_and_is_made_there_when_no_other_works() {
    let ((a, a_ill), (b, b_ill)) = (frail("a").await, frail("b").await);
    let ((c, c_ill), (d, d_ill)) = (frail("c").await, frail("d").await);
    let endpoints =
        [in_zone(&a, "one"), in_zone(&b, "one"), in_zone(&c, "one"), in_zone(&d, "two")];
    let mesh = |avoid: &[AvoidEndpoint]| {
        let retry = Retry::standard()
            .attempts(2)
            .avoid(avoid)
            .backoff(Duration::from_millis(1), Duration::from_millis(1))
            .budget(Budget::new(10.0));
        // Each call is new to it: no endpoint is known to fail.
        let mut cluster = cluster(endpoints.clone());
        cluster.balancer = Some(Balancer::Random);
        cluster.panic_threshold = Some(0.0);
        let mesh = one_cluster(cluster).service("users", |s| s.retry(retry)).build();
        mesh.unwrap()
    };
    let ok = async |mesh: &Mesh| {
        let answer = patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap();
        answer.status().is_success()
    };
    for ill in [&a_ill, &b_ill, &c_ill] {
        ill.store(true, Relaxed);
    }
    let (mut leaves, mut stays) = (0, 0);
    for _ in 0..40 {
        // Nothing is known to either.
        leaves += usize::from(ok(&mesh(&[AvoidEndpoint::TriedLocalities])).await);
        stays += usize::from(ok(&mesh(&[])).await);
    }
    assert_eq!(leaves, 40, "one attempt in the bad zone, and one that works");
    assert!(stays < 35, "{stays} of 40 are not what two attempts come to by chance");

    // The other zone is the bad one, and has nobody else: the retry is made elsewhere as before.
    for (ill, is) in [(&a_ill, false), (&b_ill, false), (&c_ill, false), (&d_ill, true)] {
        ill.store(is, Relaxed);
    }
    let one = mesh(&[AvoidEndpoint::TriedLocalities]);
    for _ in 0..40 {
        assert!(ok(&one).await);
    }
    // It is gone: a retry in the zone of the first attempt is better than none.
    d.kill().await;
    a_ill.store(true, Relaxed);
    let mut recorded = Recorder::of(&one);
    for _ in 0..40 {
        assert!(ok(&one).await);
    }
    assert!(!recorded.retries().is_empty());
}

#[tokio::test]
async fn of_many_endpoints_few_are_connected_to() {
    let mut servers = Vec::new();
    for _ in 0..30 {
        servers.push(Server::named("one").await);
    }
    let mut random = RandomSubset::default();
    (random.size, random.above) = (Some(5), Some(10));
    let endpoints = servers.iter().map(|server| Endpoint::from(server.address()));
    let mesh = Mesh::builder()
        .endpoints("users", endpoints)
        .service("users", |service| service.subsetting(Subsetting::Random(random)))
        .build()
        .unwrap();
    calls(&mesh, 500).await;
    let used = servers.iter().filter(|server| server.connections() > 0).count();
    assert_eq!(used, 5);
}

#[tokio::test]
async fn a_route_chooses_endpoints_by_their_labels() {
    let (one, two) = (Server::named("v1").await, Server::named("v2").await);
    let labelled = |server: &Server, version: &str| {
        let mut endpoint = Endpoint::from(server.address());
        endpoint.labels.insert("version".to_owned(), version.to_owned());
        endpoint
    };
    let mut selector = SubsetSelector::default();
    selector.keys = vec!["version".to_owned()];
    let mut subsets = Subsets::default();
    subsets.selectors = vec![selector];
    let mut servers = cluster([labelled(&one, "1"), labelled(&two, "2")]);
    servers.subsets = Some(subsets);
    let service = |version: &str| {
        let mut route = Route::default();
        route.clusters = vec![WeightedCluster::new("servers")];
        route.subset.insert("version".to_owned(), version.to_owned());
        let mut service = Service::default();
        service.routes = vec![route];
        service
    };
    let (mesh, publisher) = published(Mesh::builder(), |publish| {
        publish.cluster("servers", servers).unwrap();
        publish.service("users", service("2")).unwrap();
    })
    .await;
    assert_eq!(names(&calls(&mesh, 100).await), ["v2"]);
    publisher.service("users", service("1")).unwrap();
    assert_eq!(names(&calls(&mesh, 100).await), ["v1"]);
    publisher.service("users", service("3")).unwrap();
    let error = fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap_err();
    assert!(error.chain().contains("labels that the route asks for"), "{}", error.chain());
}

/// A source that has nothing to say, and says so late.
struct Late;

impl Discover for Late {
    fn name(&self) -> String {
        "late".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            publish.synced();
        })
    }
}

/// A call that may find nothing, while another source has still to speak: on a thread of its own,
/// for one that spins cannot be ended by a timeout.
fn ends(cluster: Cluster, route: Option<Route>) -> ErrorKind {
    ends_of(get("/"), cluster, route)
}

/// The same of this call.
fn ends_of(call: Request<Body>, cluster: Cluster, route: Option<Route>) -> ErrorKind {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let kind = runtime.block_on(async {
            let mut service = Service::default();
            service.cluster = route.is_none().then(|| "servers".to_owned());
            service.routes.extend(route);
            let statics = Static::default().cluster("servers", cluster).service("users", service);
            let mesh = Mesh::builder().source(statics).source(Late).build().unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            fetch(&mesh.client("users").unwrap(), call).await.unwrap_err().kind()
        });
        sender.send(kind).unwrap();
    });
    receiver.recv_timeout(Duration::from_secs(10)).expect("the call spins")
}

#[test]
fn a_call_that_may_go_nowhere_does_not_spin_until_the_last_source_has_spoken() {
    let address: Address = "127.0.0.1:1".parse().unwrap();
    // Nobody is near, and nobody else is to be called.
    let mut strict = cluster([Endpoint::from(address.clone())]);
    let balancing = strict.balancing.get_or_insert_default();
    (balancing.prefer, balancing.prefer_strictly) = (vec![LocalityScope::Zone], Some(true));
    assert_eq!(ends(strict, None), ErrorKind::NoEndpoints);
    // All are ill, and the ill are not to be called.
    let mut ill = Endpoint::from(address.clone());
    ill.health = Health::Unhealthy;
    let mut panic = cluster([ill]);
    panic.balancing.get_or_insert_default().fail_on_panic = Some(true);
    assert_eq!(ends(panic, None), ErrorKind::NoEndpoints);
    // Nobody has the labels.
    let mut parts = cluster([Endpoint::from(address)]);
    parts.subsets = Some(Subsets::default());
    let mut route = Route::default();
    route.clusters = vec![WeightedCluster::new("servers")];
    route.subset.insert("version".to_owned(), "1".to_owned());
    assert_eq!(ends(parts, Some(route)), ErrorKind::NoEndpoints);
}

#[test]
fn a_call_whose_one_endpoint_is_gone_does_not_spin_until_the_last_source_has_spoken() {
    let address: Address = "127.0.0.1:1".parse().unwrap();
    // Its session names another, and no other is to be called.
    let mut session = Session::default();
    (session.header, session.strict) = (Some("x-at".into()), Some(true));
    let mut route = Route::default();
    route.clusters = vec![WeightedCluster::new("servers")];
    route.filters = vec![Filter::Session(Box::new(session))];
    let mut gone = get("/");
    let at = STANDARD.encode("127.0.0.1:2");
    gone.headers_mut().insert("x-at", at.parse().unwrap());
    let one = cluster([Endpoint::from(address.clone())]);
    assert_eq!(ends_of(gone, one, Some(route)), ErrorKind::NoEndpoints);
    // It has no key, and so no shard.
    let (mut sharded, mut shard) = (Sharded::default(), Shard::default());
    shard.name = "a".into();
    (sharded.shards, sharded.hash) = (vec![shard], vec![HashPolicy::header("x-key")]);
    let mut holder = Endpoint::from(address);
    holder.labels.insert("shard".into(), "a".into());
    let mut shards = cluster([holder]);
    shards.balancer = Some(Balancer::Sharded(sharded));
    assert_eq!(ends(shards, None), ErrorKind::NoEndpoints);
}

#[tokio::test]
async fn a_dead_endpoint_of_a_part_is_not_tried_for_the_sake_of_others() {
    let (dead, _socket) = dead_address();
    let other = Server::named("other").await;
    let mut labelled = Endpoint::from(dead);
    labelled.labels.insert("version".to_owned(), "1".to_owned());
    let mut selector = SubsetSelector::default();
    selector.keys = vec!["version".to_owned()];
    let mut subsets = Subsets::default();
    subsets.selectors = vec![selector];
    let mut servers = cluster([labelled, Endpoint::from(other.address())]);
    servers.subsets = Some(subsets);
    let mut route = Route::default();
    route.clusters = vec![WeightedCluster::new("servers")];
    route.subset.insert("version".to_owned(), "1".to_owned());
    let mut service = Service::default();
    service.routes = vec![route];
    let (mesh, _publisher) = published(Mesh::builder(), |publish| {
        publish.cluster("servers", servers).unwrap();
        publish.service("users", service).unwrap();
    })
    .await;
    let error = patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap_err();
    assert!(error.attempts().len() < 5, "{} attempts", error.attempts().len());
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn draining_endpoints_of_a_priority_hand_over_to_the_next() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let drains = |mut endpoint: Endpoint| {
        endpoint.health = Health::Draining;
        endpoint
    };
    let (mesh, publisher) = published(Mesh::builder(), |publish| {
        publish.endpoints("users", [of(&a, 0), of(&b, 1)]).unwrap();
    })
    .await;
    assert_eq!(names(&calls(&mesh, 100).await), ["a"]);
    publisher.endpoints("users", [drains(of(&a, 0)), of(&b, 1)]).unwrap();
    assert_eq!(names(&calls(&mesh, 100).await), ["b"]);
    publisher.endpoints("users", [of(&a, 0), of(&b, 1)]).unwrap();
    assert_eq!(names(&calls(&mesh, 100).await), ["a"]);
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_by_field_and_range() {
    let refused = |edit: fn(&mut Cluster)| {
        let mut cluster = Cluster::default();
        edit(&mut cluster);
        cluster.validate("users").unwrap_err().to_string()
    };
    for (edit, wanted) in [
        (
            (|it| it.panic_threshold = Some(f64::NAN)) as fn(&mut Cluster),
            "clusters.users.panic_threshold",
        ),
        (|it| it.panic_threshold = Some(101.0), "must be in 0..=100"),
        (
            |it| it.balancing.get_or_insert_default().overprovisioning_percent = Some(99),
            "must be at least 100",
        ),
        (
            |it| it.balancing.get_or_insert_default().prefer = vec![LocalityScope::Network],
            "clusters.users.balancing.prefer[0]",
        ),
        (
            |it| it.slow_start.get_or_insert_default().aggression = Some(0.0),
            "clusters.users.slow_start.aggression",
        ),
        (
            |it| {
                let mut random = RandomSubset::default();
                random.size = Some(0);
                it.subsetting = Some(Subsetting::Random(random));
            },
            "clusters.users.subsetting.random.size",
        ),
        (|it| it.subsets.get_or_insert_default().selectors.push(SubsetSelector::default()), "keys"),
    ] {
        let errors = refused(edit);
        assert!(errors.contains(wanted), "{errors}");
    }
}
