//! Clusters between the plane, the code and the routes: one of which the code says what the plane does not,
//! and one that leaves the routes and returns. Over real streams and servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, time::Duration};

use http::StatusCode;
use tower_mesh::{
    Client, Event, Mesh, MeshBuilder, SettingOrigin,
    config::OutlierDetection,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource},
};

use crate::support::{Recorder, Server, fetch, get, patience, status};

fn builder(plane: &AdsServer, node: &str, delta: bool) -> MeshBuilder {
    let server = Plane::insecure(plane.uri()).delta(delta);
    let bootstrap = Bootstrap::builder().node_id(node).server(server).build().unwrap();
    Mesh::builder().source(Xds::new(bootstrap))
}

/// The text of an answer that is a success.
async fn body(client: &Client) -> String {
    let answer = patience(fetch(client, get("/"))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    String::from_utf8_lossy(answer.body().as_ref()).into_owned()
}

async fn until(client: &Client, wanted: &str) {
    patience(async {
        while body(client).await != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn is_ejection(event: &Event) -> bool {
    matches!(event, Event::EndpointEjected { cluster, .. } if &**cluster == "users-cluster")
}

/// The value of a setting of the cluster, and who says it.
fn setting(mesh: &Mesh, name: &str) -> (String, SettingOrigin) {
    let told = mesh.describe();
    let clusters = told.services.iter().flat_map(|it| &it.routes).flat_map(|route| &route.clusters);
    let mut settings =
        clusters.filter(|it| it.name == "users-cluster").flat_map(|cluster| &cluster.settings);
    let found = settings.find(|it| it.name == name);
    let setting = found.unwrap_or_else(|| panic!("no {name} in {told}"));
    (setting.value.clone(), setting.origin)
}

#[tokio::test]
async fn an_endpoint_is_ejected_as_the_code_says_where_the_plane_says_nothing() {
    for delta in [false, true] {
        let failing = Server::start(|_| async { status(StatusCode::INTERNAL_SERVER_ERROR) }).await;
        let (well, more) = (Server::named("well").await, Server::named("more").await);
        let plane = AdsServer::start().await.unwrap();
        plane.set(Resource::chain("users", [failing.socket(), well.socket()]));

        // What the plane says by itself ejects nobody.
        let silent = builder(&plane, "silent", delta).build().unwrap();
        let mut events = Recorder::of(&silent);
        let client = silent.client("users").unwrap();
        for _ in 0..40 {
            drop(patience(fetch(&client, get("/"))).await.unwrap());
        }
        assert_eq!(events.count(is_ejection), 0);
        let none = ("none".to_owned(), SettingOrigin::Default);
        assert_eq!(setting(&silent, "outlier_detection"), none);
        drop((silent, client));

        let mut outliers = OutlierDetection::default();
        outliers.consecutive_5xx = Some(3);
        outliers.base_ejection_time = Some(Duration::from_secs(200));
        let mesh = builder(&plane, "ejects", delta)
            .service("users-cluster", |s| s.outlier_detection(outliers))
            .build()
            .unwrap();
        let mut events = Recorder::of(&mesh);
        let client = mesh.client("users").unwrap();
        patience(async {
            while events.count(is_ejection) == 0 {
                drop(fetch(&client, get("/")).await.unwrap());
            }
        })
        .await;
        let failed = failing.requests();
        for _ in 0..200 {
            assert_eq!(body(&client).await, "well");
        }
        let told = mesh.describe().to_string();
        assert!(told.contains("ejected by consecutive failures"), "{told}");
        let of = |value: &str, origin| (value.to_owned(), origin);
        let threshold = setting(&mesh, "outlier_detection.consecutive_5xx");
        assert_eq!(threshold, of("3", SettingOrigin::Code));
        let balancer = setting(&mesh, "balancer");
        assert_eq!(balancer, of("round_robin", SettingOrigin::ControlPlane));

        // What the plane sends after it changes nothing of that.
        let endpoints = [failing.socket(), well.socket(), more.socket()];
        plane.set([Resource::cluster("users-cluster")]);
        plane.set([Resource::endpoints("users-cluster", endpoints)]);
        until(&client, "more").await;
        for _ in 0..40 {
            body(&client).await;
        }
        assert_eq!(failing.requests(), failed, "it is out of use: {}", mesh.describe());
        assert_eq!(events.count(is_ejection), 1, "{:?}", events.events());
        let threshold = setting(&mesh, "outlier_detection.consecutive_5xx");
        assert_eq!(threshold, of("3", SettingOrigin::Code));
    }
}

/// Whether the one stream asks for the routes of `users`, and for these clusters with their endpoints, and
/// for nothing else.
fn asks_for(plane: &AdsServer, clusters: &[&str]) -> bool {
    let is_asked = |kind: &str, names: &[&str]| {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        plane.subscriptions(kind) == [names]
    };
    is_asked(LDS, &["users"])
        && is_asked(RDS, &["r"])
        && is_asked(CDS, clusters)
        && is_asked(EDS, clusters)
}

/// Lets time pass until that is so: what nobody needs is asked for a minute longer.
async fn until_it_asks_for(plane: &AdsServer, clusters: &[&str]) {
    for _ in 0..20 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
        let holds = plane.until(|plane| asks_for(plane, clusters));
        if tokio::time::timeout(Duration::from_secs(1), holds).await.is_ok() {
            return;
        }
    }
    panic!("it asks for {:?}", [LDS, RDS, CDS, EDS].map(|kind| plane.subscriptions(kind)));
}

/// As in canaries and rollbacks. Of another client the endpoints of such a cluster stayed what they had been,
/// for ever.
#[tokio::test]
async fn a_cluster_that_leaves_the_routes_and_returns_has_the_endpoints_of_now() {
    for (delta, is_given_up) in [(false, false), (false, true), (true, false), (true, true)] {
        let case = format!("delta: {delta}, given up: {is_given_up}");
        let (old, other) = (Server::named("old").await, Server::named("other").await);
        let new = Server::named("new").await;
        let plane = AdsServer::start().await.unwrap();
        let leads_to = |cluster: &str| Resource::routes("r", [("users", cluster)]);
        plane.set([
            Resource::listener("users", "r"),
            leads_to("blue"),
            Resource::cluster("blue"),
            Resource::endpoints("blue", [old.socket()]),
            Resource::cluster("green"),
            Resource::endpoints("green", [other.socket()]),
        ]);
        let mesh = builder(&plane, "returns", delta).build().unwrap();
        let client = mesh.client("users").unwrap();
        assert_eq!(body(&client).await, "old", "{case}");
        assert!(asks_for(&plane, &["blue"]), "{case}");

        plane.set([leads_to("green")]);
        until(&client, "other").await;
        let calls = old.requests();
        if is_given_up {
            until_it_asks_for(&plane, &["green"]).await;
        } else {
            assert!(asks_for(&plane, &["blue", "green"]), "{case}");
        }
        plane.set([Resource::endpoints("blue", [new.socket()])]);
        assert_eq!(body(&client).await, "other", "{case}");

        plane.set([leads_to("blue")]);
        until(&client, "new").await;
        for _ in 0..20 {
            assert_eq!(body(&client).await, "new", "{case}");
        }
        assert_eq!(old.requests(), calls, "{case}");

        // It is followed as it was before, and the other one is given up.
        plane.set([Resource::endpoints("blue", [old.socket()])]);
        until(&client, "old").await;
        until_it_asks_for(&plane, &["blue"]).await;
        assert_eq!(body(&client).await, "old", "{case}");
        for kind in [LDS, RDS, CDS, EDS] {
            assert!(plane.nacks(kind).is_empty(), "{case}: {:?}", plane.nacks(kind));
        }
    }
}
