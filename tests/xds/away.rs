//! Control planes that are away, and names that nobody calls: what is kept, and what is forgotten. Over real
//! streams and servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use tower_mesh::{
    ErrorKind, Mesh,
    control::xds::Xds,
    testing::xds::{AdsServer, LDS, Resource},
};

use crate::{
    callers::{body, bootstrap, mesh, until},
    support::{Server, failures, fetch, get, patience, storm},
};

#[tokio::test]
async fn calls_go_on_without_the_control_plane_and_it_is_heard_again() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [a.socket()]));
    let mesh = mesh(&plane, "without");
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    plane.stop();
    let client = mesh.client("users").unwrap();
    let answers = storm(8, 200, |_| fetch(&client, get("/"))).await;
    assert_eq!(failures(&answers), Vec::<String>::new());
    plane.set([Resource::endpoints("users-cluster", [b.socket()])]);
    plane.resume().await.unwrap();
    patience(async {
        while body(&mesh, "users").await.unwrap() != "b" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A plane that is shown the versions it has says nothing, and one behind a proxy that ends what is idle.
#[tokio::test]
async fn a_plane_that_has_nothing_new_to_say_is_not_away() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    plane.trust_versions(true);
    let mesh = mesh(&plane, "trusts");
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    plane.forget_requests();
    plane.cut(0, "");
    // All is named with its version, and not answered.
    plane.until(|plane| plane.requests().len() == 4).await;
    let requests = plane.requests();
    assert!(requests.iter().all(|it| !it.version.is_empty() && it.nonce.is_empty()));
    plane.set([Resource::endpoints("users-cluster", [])]);
    plane.set([Resource::endpoints("users-cluster", [server.socket()])]);
    assert_eq!(plane.streams(), 1);
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
}

#[tokio::test]
async fn a_name_that_nobody_calls_is_forgotten_and_looked_up_again() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    plane.set(Resource::chain("orders", [server.socket()]));
    let source = Xds::new(bootstrap(&[&plane], "idle", false));
    let source = source.unused_after(Duration::from_millis(1500));
    let mesh = Mesh::builder().source(source).build().unwrap();
    assert_eq!(body(&mesh, "orders").await.unwrap(), "a");
    let client = mesh.client("users").unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
    patience(async {
        while mesh.describe().to_string().contains("users-cluster") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
}

#[tokio::test]
async fn the_next_server_is_asked_when_the_first_is_not_there() {
    let server = Server::named("a").await;
    let (gone, plane) = (AdsServer::start().await.unwrap(), AdsServer::start().await.unwrap());
    gone.stop();
    plane.set(Resource::chain("users", [server.socket()]));
    let bootstrap = bootstrap(&[&gone, &plane], "fallback", false);
    let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
}

#[tokio::test]
async fn a_plane_that_is_away_takes_nothing_of_another() {
    let server = Server::named("a").await;
    let (gone, denies) = (AdsServer::start().await.unwrap(), AdsServer::start().await.unwrap());
    let (knows_not, plane) = (AdsServer::start().await.unwrap(), AdsServer::start().await.unwrap());
    gone.stop();
    denies.fail(LDS, "users", 7, "not for you");
    knows_not.fail(LDS, "users", 5, "never heard of it");
    plane.set(Resource::chain("users", [server.socket()]));
    let mut builder = Mesh::builder();
    for it in [&gone, &denies, &knows_not, &plane] {
        builder = builder.source(Xds::new(bootstrap(&[it], "several", true)));
    }
    let mesh = builder.build().unwrap();
    let client = mesh.client("users").unwrap();
    patience(mesh.ready()).await.unwrap();
    for _ in 0..5 {
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
        assert_eq!(body(&mesh, "users").await.unwrap(), "a");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Whoever else is asked for is not there, and all of them say why.
    let error = body(&mesh, "orders").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn nothing_is_forgotten_while_the_plane_is_away() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [a.socket()]));
    let source = Xds::new(bootstrap(&[&plane], "away", false));
    let source = source.unused_after(Duration::from_secs(3));
    let mesh = Mesh::builder().source(source).build().unwrap();
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    plane.stop();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    plane.set([Resource::endpoints("users-cluster", [b.socket()])]);
    plane.resume().await.unwrap();
    until(&mesh, "users", "b").await;
    patience(async {
        while mesh.describe().to_string().contains("users-cluster") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_still_awaited_is_not_forgotten() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    plane.silent_about(LDS, true);
    // Less than a second is a second.
    let source = Xds::new(bootstrap(&[&plane], "awaited", false)).unused_after(Duration::ZERO);
    let builder = Mesh::builder().source(source).resolve_timeout(Duration::from_secs(30));
    let mesh = builder.build().unwrap();
    let client = mesh.client("users").unwrap();
    let call = tokio::spawn(async move { fetch(&client, get("/")).await });
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let asked = |plane: &AdsServer| plane.requests().iter().filter(|it| it.type_url == LDS).count();
    assert_eq!(asked(&plane), 1, "{:?}", plane.requests());
    plane.silent_about(LDS, false);
    assert_eq!(patience(call).await.unwrap().unwrap().body(), "a");
}

#[tokio::test]
async fn what_is_new_of_some_keeps_nobody_from_forgetting_others() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    for name in ["users", "orders"] {
        plane.set(Resource::chain(name, [server.socket()]));
    }
    let source = Xds::new(bootstrap(&[&plane], "endless", false)).unused_after(Duration::ZERO);
    let mesh = Mesh::builder().source(source).build().unwrap();
    for name in ["users", "orders"] {
        assert_eq!(body(&mesh, name).await.unwrap(), "a");
    }
    let mut turn = 0;
    patience(async {
        while mesh.describe().to_string().contains("orders-cluster") {
            turn += 1;
            plane.set([Resource::split("users-routes", "*", [("users-cluster", 1 + turn % 2)])]);
            assert_eq!(body(&mesh, "users").await.unwrap(), "a");
        }
    })
    .await;
}

/// The runtime on which the stream of a process lives may end while the control plane is away: what the others
/// know stays.
#[tokio::test]
async fn a_stream_that_is_begun_anew_while_the_plane_is_away_takes_nothing() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [a.socket()]));
    let bootstrap = bootstrap(&[&plane], "anew", false);
    let own = bootstrap.clone();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let first = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mesh = runtime.block_on(async {
            let mesh = Mesh::builder().source(Xds::new(own)).build().unwrap();
            assert_eq!(body(&mesh, "users").await.unwrap(), "a");
            mesh
        });
        begun.send(()).unwrap();
        ends.recv().unwrap();
        runtime.shutdown_background();
        drop(mesh);
    });
    begins.await.unwrap();
    let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    assert_eq!(plane.streams(), 1, "they share it");
    plane.stop();
    end.send(()).unwrap();
    first.join().unwrap();
    // The new stream is not answered; each call is.
    patience(async {
        let is_told = |mesh: &Mesh| mesh.describe().to_string().contains("the last good one stays");
        while !is_told(&mesh) {
            assert_eq!(body(&mesh, "users").await.unwrap(), "a");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    for _ in 0..100 {
        assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    }
    plane.set([Resource::endpoints("users-cluster", [b.socket()])]);
    plane.resume().await.unwrap();
    until(&mesh, "users", "b").await;
}
