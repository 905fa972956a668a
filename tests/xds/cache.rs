//! A mesh that begins while its control plane is away runs on what an earlier one has left on disk.
//! Over real streams, servers and files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, path::PathBuf, time::Duration};

use tower_mesh::{
    Event, Mesh, MeshBuilder,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, LDS, RDS, Resource},
};

use crate::support::{Recorder, Server, failures, fetch, get, patience, storm};

/// A place for a cache that ends with the test.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("xds.cache")
    }

    /// What is written in the end.
    async fn until(&self, holds: impl Fn(&[u8]) -> bool) {
        patience(async {
            while !fs::read(self.path()).is_ok_and(|bytes| holds(&bytes)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    async fn until_it_says(&self, text: &str) {
        self.until(|bytes| bytes.windows(text.len()).any(|at| at == text.as_bytes())).await;
    }
}

fn source(plane: &AdsServer, node: &str, place: &Place) -> Xds {
    let server = Plane::insecure(plane.uri());
    let bootstrap = Bootstrap::builder().node_id(node).server(server).build().unwrap();
    Xds::new(bootstrap).cache(place.path())
}

fn of(source: Xds) -> MeshBuilder {
    Mesh::builder().source(source)
}

async fn body(mesh: &Mesh, name: &str) -> Result<String, tower_mesh::Error> {
    let response = patience(fetch(&mesh.http(), get(&format!("http://{name}/")))).await?;
    Ok(String::from_utf8_lossy(response.body().as_ref()).into_owned())
}

async fn until(mesh: &Mesh, holds: impl Fn(&Mesh) -> bool) {
    patience(async {
        while !holds(mesh) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Ends a mesh, and with it its stream.
async fn end(mesh: Mesh, plane: &AdsServer) {
    drop(mesh);
    patience(plane.until(|plane| plane.connections() == 0)).await;
}

/// A process that knew these names of this node, and has ended; the plane is gone.
async fn left(plane: &AdsServer, node: &str, place: &Place, names: &[&str]) {
    let mesh = of(source(plane, node, place)).build().unwrap();
    for name in names {
        body(&mesh, name).await.unwrap();
    }
    end(mesh, plane).await;
    place.until_it_says(names[names.len() - 1]).await;
    plane.stop();
}

#[tokio::test]
async fn a_cold_start_without_a_plane_runs_on_the_cache_and_says_so_until_the_plane_speaks() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let plane = AdsServer::start().await.unwrap();
    let place = Place::new();
    plane.set(Resource::chain("users", [a.socket()]));
    left(&plane, "cold", &place, &["users"]).await;

    let mesh = of(source(&plane, "cold", &place)).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    patience(mesh.ready()).await.unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
    // It says so: to whoever asks, in the description, as an event, as a metric.
    let age = mesh.cache_age().unwrap();
    assert!(age < Duration::from_secs(60), "{age:?}");
    let described = mesh.describe().to_string();
    assert!(described.contains("from the cache, "), "{described}");
    assert!(described.contains("4 resources, the oldest of which: "), "{described}");
    assert!(described.contains(&format!("server `{}`", plane.uri())), "{described}");
    assert_eq!(events.count(|it| matches!(it, Event::CacheUsed { .. })), 1);
    let metric = "mesh_client_discovery_cache_age_seconds{mesh_source=\"xds ";
    assert!(mesh.prometheus().contains(metric), "{}", mesh.prometheus());

    // Of what is not there nothing is said to be known.
    let error = body(&mesh, "orders").await.unwrap_err().to_string();
    assert!(error.contains("LDS resource `orders`"), "{error}");

    // The plane is there again, with something else: it counts, and no call is lost.
    plane.set([Resource::endpoints("users-cluster", [b.socket()])]);
    let calls = tokio::spawn(async move {
        let mut all = Vec::new();
        let mut last = String::new();
        while last != "b" {
            all.extend(storm(8, 40, |_| fetch(&client, get("/"))).await);
            let answer = all.last().unwrap().as_ref().unwrap();
            last = String::from_utf8_lossy(answer.body().as_ref()).into_owned();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        all
    });
    plane.resume().await.unwrap();
    assert_eq!(failures(&patience(calls).await.unwrap()), Vec::<String>::new());
    until(&mesh, |mesh| mesh.cache_age().is_none()).await;
    assert_eq!(events.count(|it| matches!(it, Event::CacheLeft { .. })), 1);
    assert!(!mesh.describe().to_string().contains("from the cache"));
    assert!(!mesh.prometheus().contains("discovery_cache_age_seconds{"));
    // What has been heard since is what the next one finds.
    end(mesh, &plane).await;
    plane.stop();
    patience(async {
        loop {
            let mesh = of(source(&plane, "cold", &place)).build().unwrap();
            if body(&mesh, "users").await.unwrap() == "b" {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_live_plane_is_believed_and_not_the_cache() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let plane = AdsServer::start().await.unwrap();
    let place = Place::new();
    plane.set(Resource::chain("users", [a.socket()]));
    left(&plane, "live", &place, &["users"]).await;
    plane.set([Resource::endpoints("users-cluster", [b.socket()])]);
    plane.resume().await.unwrap();
    let mesh = of(source(&plane, "live", &place)).build().unwrap();
    let mut events = Recorder::of(&mesh);
    assert_eq!(body(&mesh, "users").await.unwrap(), "b");
    assert_eq!(mesh.cache_age(), None);
    assert_eq!(events.count(|it| matches!(it, Event::CacheUsed { .. })), 0);
}

#[tokio::test]
async fn a_plane_that_accepts_and_says_nothing_is_waited_for_three_seconds() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    let place = Place::new();
    plane.set(Resource::chain("users", [server.socket()]));
    left(&plane, "mute", &place, &["users"]).await;
    plane.silent(true);
    plane.resume().await.unwrap();
    let mesh = of(source(&plane, "mute", &place)).build().unwrap();
    // Less than a call waits for its name.
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    assert!(mesh.cache_age().is_some());
    plane.silent(false);
    until(&mesh, |mesh| mesh.cache_age().is_none()).await;
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
}

#[tokio::test]
async fn what_is_not_ours_or_not_whole_is_refused_with_its_reason_and_the_rest_goes_on() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    let place = Place::new();
    plane.set(Resource::chain("users", [server.socket()]));
    left(&plane, "refused", &place, &["users"]).await;
    let good = fs::read(place.path()).unwrap();
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    let mut newer = good.clone();
    newer[16] += 1;
    for (node, bytes, why) in [
        ("refused", broken, "its checksum is wrong"),
        ("refused", newer, "its format is number 2"),
        ("refused", good[..20].to_vec(), "it was cut off"),
        ("refused", b"hello".to_vec(), "it is no cache of this kind"),
        ("another", good.clone(), "it is of node `refused`, and this is node `another`"),
    ] {
        fs::write(place.path(), &bytes).unwrap();
        let mesh = of(source(&plane, node, &place)).build().unwrap();
        let error = body(&mesh, "users").await.unwrap_err().to_string();
        assert!(error.contains("LDS resource `users`"), "{error}");
        assert_eq!(mesh.cache_age(), None);
        let described = mesh.describe().to_string();
        let part =
            format!("not used: cache {}: what is there is not used: ", place.path().display());
        assert!(described.contains(&format!("{part}{why}")), "{why}: {described}");
        // It may be better than nothing for another: it stays until something good is known.
        drop(mesh);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(fs::read(place.path()).unwrap(), bytes);
    }
    // It fails nothing, and gives way to what a live plane says.
    fs::write(place.path(), b"hello").unwrap();
    plane.resume().await.unwrap();
    let mesh = of(source(&plane, "refused", &place)).build().unwrap();
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    patience(mesh.ready()).await.unwrap();
    until(&mesh, |mesh| mesh.describe().cache_troubles.is_empty()).await;
    place.until_it_says("users-cluster").await;
}

#[tokio::test]
async fn what_is_too_old_is_not_used() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    let place = Place::new();
    plane.set(Resource::chain("users", [server.socket()]));
    left(&plane, "old", &place, &["users"]).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let young = source(&plane, "old", &place).cache_max_age(Duration::from_secs(1));
    let mesh = of(young).build().unwrap();
    let error = body(&mesh, "users").await.unwrap_err().to_string();
    assert!(error.contains("what the cache has of it is refused: it is "), "{error}");
    drop(mesh);
    let mesh = of(source(&plane, "old", &place).cache_max_age(Duration::from_secs(3600)));
    assert_eq!(body(&mesh.build().unwrap(), "users").await.unwrap(), "a");
}

#[tokio::test]
async fn it_is_written_for_nobody_else_and_what_cannot_be_written_fails_nothing() {
    use std::os::unix::fs::PermissionsExt as _;

    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    let place = Place::new();
    plane.set(Resource::chain("users", [server.socket()]));
    let mesh = of(source(&plane, "written", &place)).build().unwrap();
    body(&mesh, "users").await.unwrap();
    place.until_it_says("users-cluster").await;
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1);

    let gone = Place { folder: tempfile::tempdir().unwrap() };
    let nowhere = gone.path().join("deeper");
    let server = Plane::insecure(plane.uri());
    let bootstrap = Bootstrap::builder().node_id("nowhere").server(server).build().unwrap();
    let mesh = of(Xds::new(bootstrap).cache(&nowhere)).build().unwrap();
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    until(&mesh, |mesh| {
        let troubles = mesh.describe().cache_troubles;
        troubles.iter().any(|it| it.text.starts_with("it cannot be written: "))
    })
    .await;
    patience(mesh.ready()).await.unwrap();
}

#[tokio::test]
async fn a_mesh_that_did_not_ask_for_it_is_not_given_it() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    let place = Place::new();
    plane.set(Resource::chain("users", [server.socket()]));
    left(&plane, "asked", &place, &["users"]).await;
    let with = of(source(&plane, "asked", &place)).build().unwrap();
    let server = Plane::insecure(plane.uri());
    let bootstrap = Bootstrap::builder().node_id("asked").server(server).build().unwrap();
    let without = of(Xds::new(bootstrap.clone())).build().unwrap();
    assert_eq!(body(&with, "users").await.unwrap(), "a");
    let error = body(&without, "users").await.unwrap_err().to_string();
    assert!(error.contains("the server cannot be reached"), "{error}");
    assert_eq!((with.cache_age().is_some(), without.cache_age()), (true, None));
    // Nor one that names another place for the same.
    let other = Place::new();
    let mesh = of(Xds::new(bootstrap).cache(other.path())).build().unwrap();
    until(&mesh, |mesh| {
        let troubles = mesh.describe().cache_troubles;
        troubles.iter().any(|it| it.text.contains("keeps the cache of the same control planes"))
    })
    .await;
}

#[tokio::test]
async fn what_nobody_has_asked_for_yet_is_still_there_for_the_next() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    let place = Place::new();
    plane.set(Resource::chain("users", [server.socket()]));
    plane.set(Resource::chain("orders", [server.socket()]));
    left(&plane, "next", &place, &["users", "orders"]).await;
    // It asks for one alone, hears the plane, writes, and ends.
    plane.resume().await.unwrap();
    plane.set([Resource::endpoints("users-cluster", [server.socket()])]);
    let before = fs::read(place.path()).unwrap();
    let mesh = of(source(&plane, "next", &place)).build().unwrap();
    body(&mesh, "users").await.unwrap();
    end(mesh, &plane).await;
    place.until(|bytes| bytes != before).await;
    plane.stop();
    let mesh = of(source(&plane, "next", &place)).build().unwrap();
    assert_eq!(body(&mesh, "orders").await.unwrap(), "a");
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
}

#[tokio::test]
async fn what_was_heard_is_on_disk_when_the_end_of_the_mesh_was_waited_for() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    let place = Place::new();
    plane.set(Resource::chain("users", [server.socket()]));
    let mesh = of(source(&plane, "waited", &place)).build().unwrap();
    body(&mesh, "users").await.unwrap();
    // Before it would be written for the change.
    patience(mesh.shutdown(Duration::from_secs(10))).await;
    let bytes = fs::read(place.path()).unwrap();
    let text = b"users-cluster";
    assert!(bytes.windows(text.len()).any(|at| at == text));
}

#[tokio::test]
async fn what_a_live_plane_does_not_have_ends_with_the_cache() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    let place = Place::new();
    plane.set(Resource::chain("users", [server.socket()]));
    left(&plane, "ended", &place, &["users"]).await;
    let mesh = of(source(&plane, "ended", &place)).build().unwrap();
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    plane.fail(LDS, "users", 5, "no such listener");
    plane.fail(RDS, "users-routes", 5, "no such routes");
    plane.resume().await.unwrap();
    let error = patience(async {
        loop {
            match body(&mesh, "users").await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => return error.to_string(),
            }
        }
    })
    .await;
    assert!(error.contains("no such listener"), "{error}");
}
