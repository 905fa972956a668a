//! Who secures a cluster and names nobody means its name, also for what other sources say: of addresses that
//! DNS finds, of an authority that an address of several sources may borrow, and for as long as that source
//! speaks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use http::HeaderValue;
use tokio::sync::oneshot;
use tower_mesh::{
    Discover, Mesh, Publisher,
    config::{
        Balancer, Cluster, ClusterSecurity, Discovery, DnsDiscovery, Endpoint, EndpointTls,
        IdentityMatch, Security,
    },
    discover::Static,
    security::Trust,
};

use crate::support::{Ca, LATE, Tls, TlsServer, fetch, get, patience, zone::Zone};

/// A server of another name than the cluster's, which takes what comes in clear, too.
async fn impostor(ca: &Ca) -> TlsServer {
    Tls::new(ca.issue(&["elsewhere"])).or_plain().named("elsewhere").start().await
}

/// An endpoint that is to prove the name that it is called by.
fn called_elsewhere(server: &TlsServer) -> Endpoint {
    let mut endpoint = Endpoint::new(server.address());
    endpoint.security = Some(Security::Tls(Box::default()));
    endpoint.authority = Some("elsewhere".into());
    endpoint
}

fn of(endpoints: Vec<Endpoint>) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.endpoints = endpoints;
    cluster
}

/// The same, secured by who names nobody.
fn secured(endpoints: Vec<Endpoint>) -> Cluster {
    let mut cluster = of(endpoints);
    cluster.security = Some(ClusterSecurity::tls());
    cluster
}

/// A mesh of what two sources say of `users`, in this order or the other.
fn mesh_of(ca: &Ca, (one, two): (Cluster, Cluster), turned: bool) -> Mesh {
    let (one, two) = if turned { (two, one) } else { (one, two) };
    Mesh::builder()
        .source(Static::default().cluster("users", one))
        .source(Static::default().cluster("users", two))
        .trust(Trust::pem(ca.pem()))
        .service("users", |s| s.balancer(Balancer::RoundRobin))
        .build()
        .unwrap()
}

#[tokio::test]
async fn what_dns_finds_proves_the_name_of_the_cluster_whatever_another_source_calls_it_by() {
    let ca = Ca::new("ca");
    let zone = Zone::serve("users.test.").await;
    zone.set("users.test.", "A", 60, &["127.0.0.1"]).await;
    for is_asked_by_who_secures in [true, false] {
        for turned in [false, true] {
            let own = Tls::new(ca.issue(&["users"])).start().await;
            let impostor = impostor(&ca).await;
            let mut dns = DnsDiscovery::default();
            dns.name = format!("dns://{}/users.test.:{}", zone.address, impostor.socket().port());
            let mut one = secured(vec![own.address().into()]);
            let mut two = of(vec![called_elsewhere(&impostor)]);
            let asks = if is_asked_by_who_secures { &mut one } else { &mut two };
            asks.discovery = Some(Discovery::Dns(dns));
            let mesh = mesh_of(&ca, (one, two), turned);
            let told = mesh.ready().await.unwrap_err().to_string();
            assert!(told.contains("authority") && told.contains("another source"), "{told}");
            let client = mesh.client("users").unwrap();
            // It is found, and tried.
            patience(async {
                while impostor.connections() == 0 {
                    fetch(&client, get("/")).await.unwrap();
                }
            })
            .await;
            for _ in 0..8 {
                patience(fetch(&client, get("/"))).await.unwrap();
            }
            assert_eq!(impostor.requests(), 0);
        }
    }
}

#[tokio::test]
async fn what_dns_finds_is_called_as_the_source_that_secures_the_cluster_and_asks_for_it_says() {
    let ca = Ca::new("ca");
    let zone = Zone::serve("users.test.").await;
    zone.set("users.test.", "A", 60, &["127.0.0.1"]).await;
    let impostor = impostor(&ca).await;
    let mut dns = DnsDiscovery::default();
    dns.name = format!("dns://{}/users.test.:{}", zone.address, impostor.socket().port());
    let mut one = secured(vec![called_elsewhere(&impostor)]);
    one.discovery = Some(Discovery::Dns(dns));
    let mesh = mesh_of(&ca, (one, of(Vec::new())), true);
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    for _ in 0..4 {
        patience(fetch(&client, get("/"))).await.unwrap();
    }
    assert_eq!((impostor.requests(), impostor.connections()), (4, impostor.met().len()));
}

#[tokio::test]
async fn an_authority_is_borrowed_of_who_secures_the_cluster_and_of_nobody_else() {
    let ca = Ca::new("ca");
    for turned in [false, true] {
        let impostor = impostor(&ca).await;
        let bare = || vec![impostor.address().into()];
        let named = || vec![called_elsewhere(&impostor)];
        // Another calls by another name what the one that secures it lists.
        let mesh = mesh_of(&ca, (secured(bare()), of(named())), turned);
        mesh.ready().await.unwrap_err();
        patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap_err();
        assert_eq!(impostor.requests(), 0);
        // It does so itself, and another lists the bare address.
        let mesh = mesh_of(&ca, (secured(named()), of(bare())), turned);
        mesh.ready().await.unwrap();
        patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap();
        assert_eq!((impostor.requests(), impostor.met().len()), (1, 1));
    }
}

/// A source that hands its publisher out.
struct Held(oneshot::Sender<Publisher>);

impl Discover for Held {
    fn name(&self) -> String {
        "held".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        drop(self.0.send(publish));
        Box::pin(std::future::pending())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_a_source_that_secures_a_cluster_goes_and_comes_back_with_it_under_load() {
    let ca = Ca::new("ca");
    for turned in [false, true] {
        let own = Tls::new(ca.issue(&["users"])).or_plain().named("own").start().await;
        let impostor = impostor(&ca).await;
        let (give_first, first) = oneshot::channel();
        let (give_second, second) = oneshot::channel();
        let mesh = Mesh::builder()
            .source(Held(give_first))
            .source(Held(give_second))
            .trust(Trust::pem(ca.pem()))
            .service("users", |s| s.balancer(Balancer::RoundRobin))
            .build()
            .unwrap();
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        let (one, two) = if turned { (second, first) } else { (first, second) };
        let mut endpoint = Endpoint::new(impostor.address());
        let mut tls = EndpointTls::default();
        tls.identities = vec![IdentityMatch::Exact("elsewhere".into())];
        endpoint.security = Some(Security::Tls(Box::new(tls)));
        let users = secured(vec![own.address().into()]);
        one.cluster("users", users.clone()).unwrap();
        two.endpoints("users", [endpoint]).unwrap();
        one.synced();
        two.synced();
        mesh.ready().await.unwrap_err();
        let client = mesh.client("users").unwrap();
        let (stop, late) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let failed = Arc::new(Mutex::new(Vec::new()));
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let (client, stop, late) = (client.clone(), Arc::clone(&stop), Arc::clone(&late));
                let failed = Arc::clone(&failed);
                tokio::spawn(async move {
                    while !stop.load(Ordering::SeqCst) {
                        let mut request = get("/");
                        if late.load(Ordering::SeqCst) {
                            request.headers_mut().insert(LATE, HeaderValue::from_static("yes"));
                        }
                        if let Err(error) = fetch(&client, request).await {
                            failed.lock().unwrap().push(error.chain());
                        }
                    }
                })
            })
            .collect();
        let answers = async |server: &TlsServer| {
            let before = server.requests();
            patience(async {
                while server.requests() < before + 50 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        };
        for _ in 0..5 {
            answers(&own).await;
            let before = impostor.requests();
            answers(&own).await;
            assert_eq!(impostor.requests(), before, "its word is another's");
            // Nobody secures the cluster any more: the other's own word counts, and it is none in clear.
            one.remove_cluster("users");
            mesh.ready().await.unwrap();
            answers(&impostor).await;
            one.cluster("users", users.clone()).unwrap();
        }
        late.store(true, Ordering::SeqCst);
        answers(&own).await;
        stop.store(true, Ordering::SeqCst);
        for caller in callers {
            patience(caller).await.unwrap();
        }
        assert_eq!(*failed.lock().unwrap(), [""; 0]);
        assert!(!own.late().is_empty());
        assert_eq!(impostor.late().len(), 0);
        for server in [&own, &impostor] {
            assert_eq!(server.connections(), server.met().len(), "nothing in clear");
        }
    }
}
