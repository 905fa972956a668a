//! What is gone is forgotten: services, clusters, budgets, names, meters.

use std::sync::Arc;
#[cfg(feature = "dns")]
use std::time::Duration;

use super::{super::Mesh, address, mesh};
use crate::{Body, config};

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
    Mesh::builder().unknown_names(crate::UnknownNames::Dns).build().unwrap()
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
