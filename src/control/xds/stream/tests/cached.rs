//! Meshes with a cache whose disk hangs: all that blocks waits for one thread, which is taken.

use std::{path::Path, sync::mpsc};

use super::*;
use crate::control::xds::cache;

/// With one thread for what blocks.
fn on_one_disk(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(1).build().unwrap().block_on(test);
}

/// The disk hangs until this is dropped.
fn hang() -> mpsc::Sender<()> {
    let (hangs, over) = mpsc::channel();
    drop(tokio::task::spawn_blocking(move || over.recv().is_ok()));
    hangs
}

fn cached(plane: &AdsServer, path: &Path) -> Mesh {
    let bootstrap = Arc::new(bootstrap([plain(plane)]));
    let cache = cache::Settings { path: path.to_owned(), max_age: None };
    let subscribed =
        REGISTRY.subscribe_cached(bootstrap, Handle::current(), |_| Plain, Some(cache));
    Mesh { subscriber: subscribed.unwrap(), heard: VecDeque::new() }
}

#[test]
fn a_mesh_that_joins_with_a_cache_whose_disk_hangs_stops_no_stream_of_the_others() {
    on_one_disk(async {
        let folder = tempfile::tempdir().unwrap();
        let plane = AdsServer::start().await.unwrap();
        plane.set([Resource::cluster("a")]);
        let mut one = Mesh::to([plain(&plane)]);
        one.watch(Kind::Cluster, "a");
        one.gets(Kind::Cluster, "a").await;
        let hangs = hang();
        let began = tokio::time::Instant::now();
        let mut two = cached(&plane, &folder.path().join("cache"));
        two.watch(Kind::Cluster, "a");
        two.gets(Kind::Cluster, "a").await;
        for round in 1..=3 {
            plane.set([Resource::split("r", "x", [("a", round)])]);
            one.watch(Kind::Routes, "r");
            assert_eq!(one.gets(Kind::Routes, "r").await, round.to_string());
        }
        // What cannot be read is waited for as long as that.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop(hangs);
    });
}

#[test]
fn nothing_is_asked_for_before_what_an_earlier_process_knew_is_there() {
    on_one_disk(async {
        let folder = tempfile::tempdir().unwrap();
        let plane = AdsServer::start().await.unwrap();
        plane.set([Resource::cluster("a")]);
        let hangs = hang();
        let mut mesh = cached(&plane, &folder.path().join("cache"));
        mesh.watch(Kind::Cluster, "a");
        a_while().await;
        assert_eq!(plane.streams_begun(), 0);
        drop(hangs);
        mesh.gets(Kind::Cluster, "a").await;
    });
}

#[test]
fn a_mesh_that_ends_does_not_leave_its_last_writing_behind() {
    on_one_disk(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let plane = AdsServer::start().await.unwrap();
        plane.set([Resource::cluster("a")]);
        let mut mesh = cached(&plane, &path);
        mesh.watch(Kind::Cluster, "a");
        mesh.gets(Kind::Cluster, "a").await;
        let hangs = hang();
        let mut farewell = mesh.subscriber.farewell();
        drop(mesh);
        let early = tokio::time::timeout(Duration::from_millis(150), &mut farewell).await;
        assert!(early.is_err(), "it is not written yet");
        drop(hangs);
        within(farewell).await;
        assert!(path.exists());
    });
}
