//! Copies for mirrors that hang, and what becomes of them through updates.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{super::Mesh, Own, address, mesh};
use crate::{Body, config, discover::Publisher};

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
