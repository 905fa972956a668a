use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use super::*;
use crate::{
    config,
    discover::{self, Discover, Publisher, Static},
    mesh::{Client, Mesh, Whose},
};

/// A source that looks names up: what is asked is read, and answered, by the test.
struct Own {
    give: oneshot::Sender<Looker>,
    by_port: bool,
}

struct Looker {
    publish: Publisher,
    asked: discover::Asked,
}

impl Discover for Own {
    fn name(&self) -> String {
        "own".into()
    }

    fn asks_by_port(&self) -> bool {
        self.by_port
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let asked = publish.asked();
            publish.synced();
            drop(self.give.send(Looker { publish, asked }));
            std::future::pending::<()>().await;
        })
    }
}

impl Looker {
    /// The names that it was asked for since.
    fn names(&mut self) -> Vec<String> {
        let mut next = || tokio::task::unconstrained(self.asked.next()).now_or_never().flatten();
        std::iter::from_fn(&mut next).collect()
    }

    fn define(&self, name: &str) {
        let mut service = config::Service::default();
        service.cluster = Some(format!("of {name}"));
        self.publish.cluster(&format!("of {name}"), config::Cluster::default()).unwrap();
        self.publish.service(name, service).unwrap();
    }
}

async fn built(builder: crate::MeshBuilder, lookers: usize, by_port: bool) -> (Mesh, Vec<Looker>) {
    let (mut builder, mut given) = (builder, Vec::new());
    for _ in 0..lookers {
        let (give, take) = oneshot::channel();
        builder = builder.source(Own { give, by_port });
        given.push(take);
    }
    let mesh = builder.build().unwrap();
    let mut lookers = Vec::new();
    for take in given {
        lookers.push(take.await.unwrap());
    }
    while !mesh.inner.is_synced() {
        tokio::task::yield_now().await;
    }
    (mesh, lookers)
}

async fn mesh() -> (Mesh, Looker) {
    let (mesh, mut lookers) = built(Mesh::builder(), 1, false).await;
    (mesh, lookers.remove(0))
}

/// Where a call of this name goes, what is to come of it, or why it goes nowhere.
fn call(mesh: &Mesh, name: &str) -> Result<Option<String>, Error> {
    if let Some(cell) = mesh.inner.find_named(name) {
        return Ok(Some(cell.name.to_string()));
    }
    Ok(mesh.inner.unfound(name)?.map(|cell| cell.name.to_string()))
}

fn called(mesh: &Mesh, name: &str) -> Option<String> {
    call(mesh, name).unwrap()
}

fn refused(mesh: &Mesh, name: &str) -> (ErrorKind, String) {
    let error = call(mesh, name).unwrap_err();
    (error.kind(), error.to_string())
}

async fn is_ready(mesh: &Mesh) -> Result<(), Error> {
    tokio::time::timeout(Duration::from_secs(20), mesh.ready()).await.expect("it is ready")
}

#[tokio::test]
async fn another_port_of_a_looked_up_name_is_another_name() {
    let (mesh, mut own) = mesh().await;
    assert_eq!(called(&mesh, "users"), None);
    own.define("users");
    assert_eq!(called(&mesh, "users").as_deref(), Some("users"));
    // Nothing that is called for the first time depends on what was called before.
    assert_eq!(called(&mesh, "users:9080"), None);
    assert_eq!(own.names(), ["users", "users:9080"]);
    own.define("users:9080");
    assert_eq!(called(&mesh, "users:9080").as_deref(), Some("users:9080"));
    // Nor is what is wrong with the one a word of the other.
    own.publish.withdraw_service("users", "its routes are broken");
    own.publish.unknown("users:7070", "no such listener");
    assert_eq!(called(&mesh, "users:7070"), None);
    own.publish.unknown("users:7070", "no such listener");
    let (kind, said) = refused(&mesh, "users:7070");
    assert_eq!(kind, ErrorKind::UnknownService, "{said}");
    assert!(said.contains("no such listener"), "{said}");
    // What others define is the service of any port.
    let listed = Static::default().endpoints("orders", [SocketAddr::from(([127, 0, 0, 1], 1))]);
    let (mesh, _own) = built(Mesh::builder().source(listed), 1, false).await;
    assert_eq!(called(&mesh, "orders:9080").as_deref(), Some("orders"));
}

#[tokio::test]
async fn a_control_plane_that_is_away_withdraws_nothing_of_another() {
    let (mesh, mut own) = built(Mesh::builder(), 2, false).await;
    assert_eq!(called(&mesh, "users"), None);
    let (away, good) = (own.remove(0), own.remove(0));
    away.publish.unavailable("users", "the plane is away");
    good.define("users");
    assert_eq!(called(&mesh, "users").as_deref(), Some("users"));
    is_ready(&mesh).await.unwrap();
    // In the other order, too.
    away.publish.unavailable("users", "the plane lets nobody in");
    assert_eq!(called(&mesh, "users").as_deref(), Some("users"));
    // Alone it is a reason to refuse, which is told until it is over.
    good.publish.unknown("users", "gone");
    let (kind, said) = refused(&mesh, "users");
    assert_eq!(kind, ErrorKind::Config, "{said}");
    assert!(said.contains("lets nobody in"), "{said}");
    assert!(is_ready(&mesh).await.unwrap_err().to_string().contains("lets nobody in"));
    away.publish.unknown("users", "no such listener");
    assert_eq!(refused(&mesh, "users").0, ErrorKind::UnknownService);
    is_ready(&mesh).await.unwrap();
    // What it knows and cannot be used is another matter.
    good.define("users");
    away.publish.withdraw_service("users", "its routes are broken");
    assert_eq!(refused(&mesh, "users").0, ErrorKind::Config);
}

#[tokio::test]
async fn what_a_source_has_defined_stays_while_it_cannot_ask() {
    let (mesh, own) = mesh().await;
    assert_eq!(called(&mesh, "users"), None);
    own.define("users");
    own.publish.unavailable("users", "the plane is away");
    assert_eq!(called(&mesh, "users").as_deref(), Some("users"));
}

#[tokio::test]
async fn what_is_withdrawn_is_at_no_time_nobodys() {
    let listed = Static::default().endpoints("pay", [SocketAddr::from(([127, 0, 0, 1], 1))]);
    let (mesh, mut own) = built(Mesh::builder().source(listed), 1, false).await;
    let own = own.remove(0);
    own.define("users");
    own.publish.withdraw_cluster("pay", "first");
    let (inner, over) = (Arc::clone(&mesh.inner), Arc::new(AtomicBool::new(false)));
    let watch = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut seen = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let state = inner.state();
                seen.push((state.service("users"), state.cluster("pay")));
                seen.dedup();
            }
            seen
        }
    });
    for turn in 0..3000 {
        own.define("users");
        own.publish.withdraw_service("users", "its routes are broken");
        own.publish.withdraw_cluster("pay", format!("reason {turn}"));
    }
    over.store(true, Ordering::Relaxed);
    let seen = watch.join().unwrap();
    assert!(seen.iter().all(|(service, _)| *service != Standing::Absent), "{seen:?}");
    assert!(seen.iter().all(|(_, cluster)| *cluster == Standing::Refused), "{seen:?}");
    assert!(mesh.inner.state().reason("cluster pay").contains("2999"));
    // It is over when it is published well.
    own.publish.cluster("pay", config::Cluster::default()).unwrap();
    own.define("users");
    is_ready(&mesh).await.unwrap();
}

#[tokio::test]
async fn what_one_source_forgets_is_asked_of_that_one_and_nobody_waits_for_the_other() {
    let (mesh, mut own) = built(Mesh::builder(), 2, false).await;
    let (mut a, mut b) = (own.remove(0), own.remove(0));
    assert_eq!(called(&mesh, "users"), None);
    for own in [&a, &b] {
        own.publish.unknown("users", "no such listener");
    }
    assert_eq!(refused(&mesh, "users").0, ErrorKind::UnknownService);
    assert_eq!((a.names(), b.names()), (vec!["users".into()], vec!["users".into()]));
    a.publish.forget("users");
    // B follows it still, and has nothing new to say.
    assert_eq!(called(&mesh, "users"), None);
    assert_eq!((a.names(), b.names()), (vec!["users".into()], vec![]));
    // What one awaits the other one does not forget.
    b.publish.forget("users");
    assert!(mesh.inner.is_asked("users"));
    a.publish.unknown("users", "no such listener");
    assert!(!mesh.inner.is_asked("users"));
    is_ready(&mesh).await.unwrap();
    assert_eq!(called(&mesh, "users"), None);
    b.publish.unknown("users", "no such listener");
    assert_eq!((a.names(), b.names()), (vec![], vec!["users".into()]));
    assert_eq!(refused(&mesh, "users").0, ErrorKind::UnknownService);
    for own in [&a, &b] {
        own.publish.forget("users");
    }
    assert!(mesh.inner.state().asking.names.is_empty());
}

#[tokio::test]
async fn names_that_nobody_knows_make_room_and_those_that_lead_somewhere_stay() {
    let (mesh, mut own) = mesh().await;
    assert_eq!(called(&mesh, "users"), None);
    own.define("users");
    for n in 1..MAX_NAMES {
        let name = format!("made-up-{n}");
        assert_eq!(called(&mesh, &name), None);
        // The last of them is still awaited.
        if n + 1 < MAX_NAMES {
            own.publish.unknown(&name, "no such listener");
        }
    }
    assert_eq!(own.names().len(), MAX_NAMES);
    assert_eq!(own.asked.given_up(), Vec::<String>::new());
    assert_eq!(called(&mesh, "orders"), None);
    assert_eq!(own.names(), ["orders"]);
    let gone = own.asked.given_up();
    assert!(
        gone.len() > MAX_NAMES / 5 && gone[0] == "made-up-1",
        "{} {:?}",
        gone.len(),
        gone.first()
    );
    let state = mesh.inner.state();
    for name in ["users", "orders", &format!("made-up-{}", MAX_NAMES - 1)] {
        assert!(state.asking.names.contains_key(name), "{name}");
    }
    drop(state);
    assert_eq!(own.publish.idle("made-up-1"), None);
    // Where all of them are of use, or awaited, another one is refused.
    let mut state = mesh.inner.state();
    for asked in state.asking.names.values_mut() {
        asked.of.values_mut().for_each(|it| *it = None);
    }
    while state.asking.names.len() < MAX_NAMES {
        let name = format!("awaited-{}", state.asking.names.len());
        state.asking.ask(&name, Instant::now()).unwrap();
    }
    drop(state);
    assert!(refused(&mesh, "one-more").1.contains("10000 names are looked up already"));
}

#[tokio::test]
async fn https_is_the_usual_port_of_it_where_ports_tell_services_apart() {
    let (mesh, mut own) = built(Mesh::builder(), 1, true).await;
    let own = &mut own[0];
    let secured = mesh.client("https://users").unwrap();
    let plain = mesh.client("http://users").unwrap();
    assert_eq!(own.names(), ["users:443", "users"]);
    own.define("users:443");
    own.define("users");
    let of = |url: &str| {
        let request = http::Request::get(url).body(()).unwrap();
        mesh.explain(&request).unwrap().service
    };
    assert_eq!(of("https://users/"), "users:443");
    assert_eq!(of("http://users/"), "users");
    assert_eq!(of("https://users:443/"), "users:443");
    let of = |client: &Client| {
        let request = http::Request::get("/").body(()).unwrap();
        client.explain(&request).unwrap().service
    };
    assert_eq!((of(&secured), of(&plain)), ("users:443".into(), "users".into()));
    // What is listed is the service of any port, and others ask as it is called.
    let listed = Static::default().endpoints("orders", [SocketAddr::from(([127, 0, 0, 1], 1))]);
    let (mesh, _own) = built(Mesh::builder().source(listed), 1, true).await;
    assert_eq!(mesh.inner.find_secured("orders").unwrap().name.as_ref(), "orders");
    let (mesh, mut own) = self::mesh().await;
    drop(mesh.client("https://users").unwrap());
    assert_eq!(own.names(), ["users"]);
}

#[tokio::test]
async fn a_name_is_nobodys_only_when_all_were_asked_and_none_had_it_ever() {
    let (mesh, own) = mesh().await;
    let client = mesh.http();
    assert_eq!(client.whose("users"), Whose::Unsaid);
    assert_eq!(called(&mesh, "users"), None);
    assert_eq!(client.whose("users"), Whose::Unsaid);
    own.publish.unavailable("users", "the plane is away");
    assert_eq!(client.whose("users"), Whose::Mesh);
    own.publish.unknown("users", "no such listener");
    assert_eq!(client.whose("users"), Whose::Nobody);
    own.define("users");
    own.publish.unknown("users", "gone");
    assert_eq!(client.whose("users"), Whose::Mesh);
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_answered_without_a_cluster_count_as_used() {
    let (mesh, own) = mesh().await;
    for name in ["answered", "unrouted", "denied"] {
        assert_eq!(called(&mesh, name), None);
    }
    let answer = config::DirectResponse { status: 204, ..config::DirectResponse::default() };
    let mut route = config::Route::default();
    route.filters = vec![config::Filter::DirectResponse(answer)];
    let mut service = config::Service::default();
    service.routes = vec![route.clone()];
    own.publish.service("answered", service.clone()).unwrap();
    service.routes[0].hosts = vec!["elsewhere.test".into()];
    own.publish.service("unrouted", service.clone()).unwrap();
    service.routes[0].hosts.clear();
    let mut nobody = config::Authorization::default();
    nobody.rules = vec![config::AuthorizationRule::deny("all")];
    service.routes[0].filters.insert(0, config::Filter::Authorize(nobody));
    own.publish.service("denied", service).unwrap();
    for name in ["answered", "unrouted", "denied"] {
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(own.publish.idle(name).unwrap() >= Duration::from_secs(100), "{name}");
        let uri = format!("http://{name}/");
        let request = http::Request::get(uri).body(crate::Body::empty()).unwrap();
        let answered = mesh.http().send(request).await;
        let kind = answered.map(|response| response.status().as_u16()).map_err(|it| it.kind());
        let expected = match name {
            "answered" => Ok(204),
            "unrouted" => Err(ErrorKind::NoRoute),
            _ => Err(ErrorKind::Denied),
        };
        assert_eq!(kind, expected, "{name}");
        assert!(own.publish.idle(name).unwrap() < Duration::from_secs(3), "{name}");
    }
    // An update takes nothing of that away, and a refused name that is called is used, too.
    own.publish.service("answered", config::Service::default()).unwrap();
    assert!(own.publish.idle("answered").unwrap() < Duration::from_secs(300));
    own.publish.withdraw_service("denied", "its routes are broken");
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(refused(&mesh, "denied").0, ErrorKind::Config);
    assert!(own.publish.idle("denied").unwrap() < Duration::from_secs(3));
}

#[cfg(feature = "dns")]
mod by_dns {
    use super::*;
    use crate::mesh::UnknownNames;

    async fn mesh() -> (Mesh, Looker) {
        let builder = Mesh::builder().unknown_names(UnknownNames::Dns);
        let (mesh, mut own) = built(builder, 1, false).await;
        (mesh, own.remove(0))
    }

    fn by_dns(mesh: &Mesh) -> usize {
        mesh.inner.state().dns
    }

    #[tokio::test]
    async fn dns_is_asked_for_what_nobody_knows() {
        let (mesh, own) = mesh().await;
        assert_eq!(called(&mesh, "localhost:1"), None);
        assert_eq!(by_dns(&mesh), 0);
        own.publish.unknown("localhost:1", "no such listener");
        assert_eq!(called(&mesh, "localhost:1").as_deref(), Some("localhost:1"));
        assert_eq!(by_dns(&mesh), 1);
    }

    #[tokio::test]
    async fn dns_takes_no_name_over_that_was_looked_up_once() {
        let (mesh, own) = mesh().await;
        assert_eq!(called(&mesh, "localhost:80"), None);
        own.define("localhost:80");
        own.publish.unknown("localhost:80", "gone");
        let (kind, said) = refused(&mesh, "localhost:80");
        assert_eq!((kind, by_dns(&mesh)), (ErrorKind::UnknownService, 0), "{said}");
        assert!(said.contains("DNS is not asked"), "{said}");
        // Forgotten or not, and by the same name without its usual port.
        for name in ["localhost:80", "localhost", "https://localhost"] {
            let plain = name.trim_start_matches(HTTPS);
            own.publish.forget(plain);
            assert_eq!(called(&mesh, name), None);
            own.publish.unknown(plain, "gone");
            assert_eq!(refused(&mesh, name).0, ErrorKind::UnknownService);
        }
        assert_eq!(by_dns(&mesh), 0);
    }

    #[tokio::test]
    async fn dns_takes_no_name_over_while_a_source_is_lost_or_cannot_ask() {
        let (mesh, own) = mesh().await;
        assert_eq!(called(&mesh, "localhost:1"), None);
        own.publish.unavailable("localhost:1", "the plane is away");
        assert!(refused(&mesh, "localhost:1").1.contains("the plane is away"));
        own.publish.unknown("localhost:1", "no such listener");
        own.publish.refused("own", "it has panicked");
        assert!(refused(&mesh, "localhost:1").1.contains("it has panicked"));
        assert_eq!(by_dns(&mesh), 0);
        own.publish.accepted("own");
        assert_eq!(called(&mesh, "localhost:1").as_deref(), Some("localhost:1"));
    }

    #[tokio::test]
    async fn another_port_of_a_name_of_dns_is_another_name() {
        let (mesh, own) = mesh().await;
        assert_eq!(called(&mesh, "localhost"), None);
        own.publish.unknown("localhost", "no such listener");
        assert_eq!(called(&mesh, "localhost").as_deref(), Some("localhost"));
        assert_eq!(called(&mesh, "localhost:1"), None);
    }
}
