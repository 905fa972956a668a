//! The runtime ends on which the stream of a process lives, and another mesh begins it again: what that
//! one calls by stays what it is. Over real streams, servers and files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, sync::mpsc, thread, time::Duration};

use tokio::{sync::oneshot, time::Instant};
use tower_mesh::{
    Mesh,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, CDS, Resource},
};

use crate::{
    callers::{body, bootstrap},
    support::{Server, patience},
};

/// A mesh on a runtime of its own, which has begun the stream.
struct First {
    ends: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl First {
    /// It has called `users`.
    async fn of(source: Xds) -> Self {
        let (begun, begins) = oneshot::channel();
        let (ends, end) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let mesh = runtime.block_on(async {
                let mesh = Mesh::builder().source(source).build().unwrap();
                body(&mesh, "users").await.unwrap();
                mesh
            });
            begun.send(()).unwrap();
            end.recv().unwrap();
            runtime.shutdown_background();
            drop(mesh);
        });
        begins.await.unwrap();
        Self { ends, thread }
    }

    /// Its runtime ends, and the stream with it.
    fn end(self) {
        self.ends.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// The cluster of `users`, of a type that only a proxy has.
fn refused() -> Resource {
    let name = "users-cluster";
    let mut bytes = vec![0x0a, u8::try_from(name.len()).unwrap()];
    bytes.extend(name.as_bytes());
    bytes.extend([0x10, 4]);
    Resource::encoded(CDS, name, bytes)
}

/// Calls `users` until something holds; each call is answered.
async fn calls(mesh: &Mesh, holds: impl Fn(&str) -> bool) {
    patience(async {
        while !holds(&body(mesh, "users").await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn tells(mesh: &Mesh, text: &str) -> bool {
    mesh.describe().to_string().contains(text)
}

#[tokio::test]
async fn a_newest_cluster_that_is_refused_takes_nothing_when_the_stream_is_begun_again() {
    for delta in [false, true] {
        let (a, b) = (Server::named("a").await, Server::named("b").await);
        let plane = AdsServer::start().await.unwrap();
        plane.set(Resource::chain("users", [a.socket()]));
        let bootstrap = bootstrap(&[&plane], "refused-again", delta);
        let first = First::of(Xds::new(bootstrap.clone())).await;
        let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
        assert_eq!(body(&mesh, "users").await.unwrap(), "a");
        assert_eq!(plane.streams(), 1, "they share it");
        plane.set([refused()]);
        calls(&mesh, |_| tells(&mesh, "the last good one stays")).await;
        first.end();
        calls(&mesh, |_| plane.nacks(CDS).iter().any(|nack| nack.stream == 2)).await;
        // What is told behind it is heard, and what is refused has been until then.
        plane.set([Resource::endpoints("users-cluster", [b.socket()])]);
        calls(&mesh, |answer| answer == "b").await;
        assert!(tells(&mesh, "CDS resource `users-cluster`") && tells(&mesh, "refused: "));
        assert!(tells(&mesh, "the last good one stays"), "{}", mesh.describe());
    }
}

#[tokio::test]
async fn where_the_bootstrap_says_so_what_is_refused_ends_what_was_held_before() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    let of = Plane::insecure(plane.uri()).fail_on_data_errors(true);
    let bootstrap = Bootstrap::builder().node_id("fails-again").server(of).build().unwrap();
    let first = First::of(Xds::new(bootstrap.clone())).await;
    let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    plane.stop();
    first.end();
    calls(&mesh, |_| tells(&mesh, "the server cannot be reached")).await;
    plane.set([refused()]);
    plane.resume().await.unwrap();
    let error = patience(async {
        loop {
            match body(&mesh, "users").await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return error.to_string(),
            }
        }
    })
    .await;
    assert!(error.contains("users-cluster"), "{error}");
}

/// The file is what an earlier process knew, and not what was heard since.
#[tokio::test]
async fn an_older_cache_takes_nothing_back_when_the_stream_is_begun_again() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("xds.cache");
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [a.socket()]));
    let source = || Xds::new(bootstrap(&[&plane], "cached-again", false)).cache(&path);
    let first = First::of(source()).await;
    let mesh = Mesh::builder().source(source()).build().unwrap();
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    let written = |before: &[u8]| {
        let all = fs::read(&path).unwrap_or_default();
        // The name of its locality: endpoints are in it.
        let zone = b"zone";
        (all != before && all.windows(zone.len()).any(|at| at == zone)).then_some(all)
    };
    calls(&mesh, |_| written(b"").is_some()).await;
    let old = written(b"").unwrap();
    plane.set([Resource::endpoints("users-cluster", [b.socket()])]);
    calls(&mesh, |answer| answer == "b" && written(&old).is_some()).await;
    plane.stop();
    fs::write(&path, &old).unwrap();
    first.end();
    // Longer than a server is waited for that may be away.
    let began = Instant::now();
    calls(&mesh, |answer| {
        assert_eq!(answer, "b");
        began.elapsed() > Duration::from_secs(4) && tells(&mesh, "the last good one stays")
    })
    .await;
    assert_eq!(mesh.cache_age(), None);
    plane.set([Resource::endpoints("users-cluster", [a.socket()])]);
    plane.resume().await.unwrap();
    calls(&mesh, |answer| answer == "a").await;
}
