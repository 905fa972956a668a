//! Clusters of clusters, and clusters whose names differ in case only.

use std::time::Duration;

use envoy_types::pb::{
    envoy::{
        config::cluster::v3::{
            Cluster,
            cluster::{ClusterDiscoveryType, CustomClusterType, LbPolicy},
        },
        extensions::clusters::aggregate::v3::ClusterConfig,
    },
    google::protobuf::Any,
};
use prost::{Message, Name};
use tower_mesh::{
    Mesh,
    testing::xds::{AdsServer, CDS, Resource},
};

use super::{
    body, proxyless, said,
    support::{Server, fetch, get, patience, reply},
};

fn made_of(name: &str, parts: &[&str]) -> Resource {
    let config = ClusterConfig { clusters: parts.iter().map(|it| (*it).to_owned()).collect() };
    let cluster = Cluster {
        name: name.to_owned(),
        lb_policy: LbPolicy::ClusterProvided.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(CustomClusterType {
            name: "envoy.clusters.aggregate".to_owned(),
            typed_config: Some(Any {
                type_url: ClusterConfig::type_url(),
                value: config.encode_to_vec(),
            }),
        })),
        ..Cluster::default()
    };
    said(CDS, name, &cluster)
}

/// Calls until one is answered so; each is answered.
async fn until(mesh: &Mesh, wanted: &str) {
    patience(async {
        while body(mesh, "/").await.expect("every call is answered") != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn calls_go_over_to_the_next_part_of_an_aggregate_and_come_back() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let at = a.socket();
    let plane = AdsServer::start().await.unwrap();
    plane.set([
        Resource::listener("users", "r"),
        Resource::routes("r", [("users", "all")]),
        // One within another, which leads back to it.
        made_of("all", &["first", "others"]),
        made_of("others", &["all", "second"]),
        Resource::cluster("first"),
        Resource::cluster("second"),
        Resource::endpoints("first", [at]),
        Resource::endpoints("second", [b.socket()]),
    ]);
    let mesh = proxyless(&plane, "aggregate");
    for _ in 0..20 {
        assert_eq!(body(&mesh, "/").await.unwrap(), "a");
    }
    assert!(plane.nacks(CDS).is_empty(), "{:?}", plane.nacks(CDS));
    a.kill().await;
    until(&mesh, "b").await;
    let _a = Server::start_at(at, |_| async { reply("a") }).await;
    until(&mesh, "a").await;
    // Its endpoints are taken away, and come again.
    plane.set([Resource::endpoints("first", [])]);
    until(&mesh, "b").await;
    plane.set([Resource::endpoints("first", [at])]);
    until(&mesh, "a").await;
    // The inner one is made of another.
    let c = Server::named("c").await;
    plane.set([
        made_of("others", &["third"]),
        Resource::cluster("third"),
        Resource::endpoints("third", [c.socket()]),
        Resource::endpoints("first", []),
    ]);
    until(&mesh, "c").await;
    assert!(mesh.describe().refused.is_empty(), "{}", mesh.describe());
}

#[tokio::test]
async fn an_aggregate_whose_parts_are_all_away_says_so() {
    let plane = AdsServer::start().await.unwrap();
    plane.set([
        Resource::listener("users", "r"),
        Resource::routes("r", [("users", "all")]),
        made_of("all", &["others"]),
        made_of("others", &["all"]),
    ]);
    let mesh = proxyless(&plane, "ring");
    let error = body(&mesh, "/").await.unwrap_err();
    let text = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
    assert!(text.contains("made of one another"), "{text}");
}

#[tokio::test]
async fn calls_for_a_cluster_never_go_to_one_whose_name_differs_in_case() {
    let (small, large) = (Server::named("small").await, Server::named("large").await);
    let plane = AdsServer::start().await.unwrap();
    plane.set([
        Resource::listener("users", "r"),
        Resource::routes("r", [("users", "foo")]),
        Resource::listener("orders", "o"),
        Resource::routes("o", [("orders", "Foo")]),
        Resource::cluster("foo"),
        Resource::cluster("Foo"),
        Resource::endpoints("foo", [small.socket()]),
        Resource::endpoints("Foo", [large.socket()]),
    ]);
    let mesh = proxyless(&plane, "case");
    let http = mesh.http();
    let call = async |name: &str| patience(fetch(&http, get(&format!("http://{name}/")))).await;
    assert_eq!(call("users").await.unwrap().body(), "small");
    let error = call("orders").await.unwrap_err();
    let text = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
    assert!(text.contains("differs from that of `foo` in case only"), "{text}");
    assert_eq!(large.requests() + small.requests(), 1);
    // Nobody needs the first any more: the other has its name.
    plane.set([
        Resource::routes("r", [("users", "bar")]),
        Resource::cluster("bar"),
        Resource::endpoints("bar", [small.socket()]),
    ]);
    patience(async {
        while call("orders").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(call("orders").await.unwrap().body(), "large");
    assert_eq!(call("users").await.unwrap().body(), "small");
    assert!(mesh.describe().refused.is_empty(), "{}", mesh.describe());
}
