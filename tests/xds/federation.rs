//! Names of another authority are asked of its own control planes (gRFC A47), and one that is away takes
//! nothing of the other. Over real streams and servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use envoy_types::pb::envoy::config::{
    cluster::v3::{
        Cluster,
        cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
    },
    core::v3::{AggregatedConfigSource, ConfigSource, config_source::ConfigSourceSpecifier},
};
use prost::Message;
use tower_mesh::{
    Client, Mesh,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource},
};

use crate::support::{Server, failures, fetch, get, patience, storm};

/// Each type of resource of the far authority.
const TYPES: [&str; 4] = [LDS, RDS, CDS, EDS];

/// The name of a resource of the far authority.
fn far(type_url: &str, id: &str) -> String {
    let of_type = type_url.rsplit('/').next().unwrap();
    format!("xdstp://far.example/{of_type}/{id}")
}

/// All that `orders` needs at the far authority.
fn orders(address: SocketAddr) -> [Resource; 4] {
    let name = far(CDS, "orders");
    let ads = ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
    let cluster = Cluster {
        name: name.clone(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ConfigSource {
                config_source_specifier: Some(ads),
                ..ConfigSource::default()
            }),
            service_name: far(EDS, "orders"),
        }),
        ..Cluster::default()
    };
    [
        Resource::listener(far(LDS, "orders"), far(RDS, "orders")),
        Resource::routes(far(RDS, "orders"), [("orders", &*name)]),
        Resource::encoded(CDS, &*name, cluster.encode_to_vec()),
        Resource::endpoints(far(EDS, "orders"), [address]),
    ]
}

fn mesh(near: &AdsServer, far: &AdsServer, node: &str) -> Mesh {
    let bootstrap = Bootstrap::builder()
        .node_id(node)
        .server(Plane::insecure(near.uri()))
        .authority("far.example", [Plane::insecure(far.uri()).delta(true)])
        .build()
        .unwrap();
    let xds = Xds::new(bootstrap).service("orders", "xds://far.example/orders");
    Mesh::builder().source(xds).build().unwrap()
}

async fn body(client: &Client) -> Result<String, tower_mesh::Error> {
    let answer = patience(fetch(client, get("/"))).await?;
    Ok(String::from_utf8_lossy(answer.body().as_ref()).into_owned())
}

async fn until(client: &Client, wanted: &str) {
    patience(async {
        while body(client).await.unwrap() != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn names_of_another_authority_are_asked_of_its_own_servers() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let (near, there) = (AdsServer::start().await.unwrap(), AdsServer::start().await.unwrap());
    near.set(Resource::chain("users", [a.socket()]));
    there.set(orders(b.socket()));
    let mesh = mesh(&near, &there, "two");
    let (users, orders) = (mesh.client("users").unwrap(), mesh.client("orders").unwrap());
    assert_eq!(body(&users).await.unwrap(), "a");
    assert_eq!(body(&orders).await.unwrap(), "b");
    // Each is asked for its own, and hears of nothing else.
    for url in TYPES {
        let of_far = |names: &BTreeSet<String>| {
            names.iter().filter(|name| name.starts_with("xdstp://far.example/")).count()
        };
        let near = near.subscriptions(url);
        assert!(near.iter().all(|names| names.len() == 1 && of_far(names) == 0), "{near:?}");
        let there = there.subscriptions(url);
        assert!(there.iter().all(|names| names.len() == 1 && of_far(names) == 1), "{there:?}");
    }
    assert_eq!((near.streams(), there.streams()), (1, 1));
}

#[tokio::test]
async fn a_server_of_one_authority_that_is_away_leaves_the_other_working() {
    let (a, b, c) = (Server::named("a").await, Server::named("b").await, Server::named("c").await);
    let (near, there) = (AdsServer::start().await.unwrap(), AdsServer::start().await.unwrap());
    near.set(Resource::chain("users", [a.socket()]));
    there.set(orders(b.socket()));
    let mesh = mesh(&near, &there, "away");
    let (users, of_far) = (mesh.client("users").unwrap(), mesh.client("orders").unwrap());
    assert_eq!(body(&users).await.unwrap(), "a");
    assert_eq!(body(&of_far).await.unwrap(), "b");
    // The far one goes: no call of either fails, and the near one is heard as ever.
    there.stop();
    for client in [&users, &of_far] {
        let answers = storm(4, 50, |_| fetch(client, get("/"))).await;
        assert_eq!(failures(&answers), Vec::<String>::new());
    }
    near.set([Resource::endpoints("users-cluster", [c.socket()])]);
    until(&users, "c").await;
    near.set(Resource::chain("carts", [a.socket()]));
    assert_eq!(body(&mesh.client("carts").unwrap()).await.unwrap(), "a", "and new names are found");
    assert_eq!(body(&of_far).await.unwrap(), "b");
    // It comes back, and the near one goes.
    there.resume().await.unwrap();
    near.stop();
    there.set([Resource::endpoints(far(EDS, "orders"), [a.socket()])]);
    until(&of_far, "a").await;
    assert_eq!(body(&users).await.unwrap(), "c");
}

#[tokio::test]
async fn an_authority_that_nobody_has_named_is_refused_by_name() {
    let near = AdsServer::start().await.unwrap();
    let bootstrap =
        Bootstrap::builder().node_id("unknown").server(Plane::insecure(near.uri())).build();
    let xds = Xds::new(bootstrap.unwrap()).service("orders", "xds://nobody.example/orders");
    let mesh = Mesh::builder().source(xds).build().unwrap();
    let error = body(&mesh.client("orders").unwrap()).await.unwrap_err();
    let told = format!("{error} {}", mesh.describe());
    assert!(told.contains("nobody.example"), "{told}");
    assert!(near.requests().is_empty(), "{:?}", near.requests());
}
