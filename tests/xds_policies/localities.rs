//! Priorities, and localities within one. Another client made one list of them all: of six calls four went to
//! the second priority, and weights counted for nothing.

use std::{collections::BTreeMap, time::Duration};

use envoy_types::pb::envoy::config::{
    core::v3::{HealthStatus, Locality},
    endpoint::v3::{
        ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, cluster_load_assignment::Policy,
    },
};
use tower_mesh::{
    Client, Mesh,
    control::xds::{Bootstrap, Dialect, Server as Plane, Xds},
    testing::xds::{EDS, Resource},
};

use super::{
    CLUSTER, cluster, endpoint, is_accepted, named, number, said, start,
    support::{get, patience},
    text,
};

/// Zones, their priorities, their weights, and an endpoint of each.
fn zones(list: [(&str, u32, u32, LbEndpoint); 2]) -> Resource {
    let list =
        list.map(|(zone, priority, weight, endpoint)| (zone, priority, weight, vec![endpoint]));
    said(EDS, CLUSTER, &assignment(list))
}

fn assignment(list: [(&str, u32, u32, Vec<LbEndpoint>); 2]) -> ClusterLoadAssignment {
    let locality = |(zone, priority, weight, lb_endpoints): (&str, u32, u32, Vec<LbEndpoint>)| {
        let locality = Locality { zone: zone.to_owned(), ..Locality::default() };
        LocalityLbEndpoints {
            locality: Some(locality),
            priority,
            load_balancing_weight: number(weight),
            lb_endpoints,
            ..LocalityLbEndpoints::default()
        }
    };
    ClusterLoadAssignment {
        cluster_name: CLUSTER.to_owned(),
        endpoints: list.into_iter().map(locality).collect(),
        ..ClusterLoadAssignment::default()
    }
}

/// Who answers so many calls, and how many of them.
async fn answers(client: &Client, calls: u32) -> BTreeMap<String, u32> {
    let mut answers = BTreeMap::new();
    for _ in 0..calls {
        *answers.entry(text(client, get("/")).await).or_insert(0) += 1;
    }
    answers
}

fn all(name: &str, calls: u32) -> BTreeMap<String, u32> {
    BTreeMap::from([(name.to_owned(), calls)])
}

async fn until(client: &Client, name: &str) {
    patience(async {
        while text(client, get("/")).await != name {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_first_priority_that_is_healthy_takes_every_call() {
    let servers = named(["near", "far"]).await;
    let first_is = |health| {
        zones([
            ("near", 0, 1, endpoint(&servers[0], health)),
            ("far", 1, 100, endpoint(&servers[1], HealthStatus::Healthy)),
        ])
    };
    let resources = [cluster(|_| {}), first_is(HealthStatus::Healthy)];
    let (plane, _mesh, client) = start("priorities", resources).await;
    assert_eq!(answers(&client, 60).await, all("near", 60));
    plane.set([first_is(HealthStatus::Unhealthy)]);
    until(&client, "far").await;
    assert_eq!(answers(&client, 60).await, all("far", 60));
    plane.set([first_is(HealthStatus::Healthy)]);
    until(&client, "near").await;
    assert_eq!(answers(&client, 60).await, all("near", 60));
    is_accepted(&plane);
}

#[tokio::test]
async fn localities_of_a_priority_share_its_calls_by_their_weights() {
    let servers = named(["three", "one"]).await;
    let resources = [
        cluster(|_| {}),
        zones([
            ("a", 0, 3, endpoint(&servers[0], HealthStatus::Healthy)),
            ("b", 0, 1, endpoint(&servers[1], HealthStatus::Healthy)),
        ]),
    ];
    let (plane, _mesh, client) = start("shares", resources).await;
    let answers = answers(&client, 400).await;
    assert!((250..=350).contains(&answers["three"]), "{answers:?}");
    assert_eq!(answers["three"] + answers["one"], 400);
    is_accepted(&plane);
}

/// To Envoy, of a priority of which half works, 140 % of a half stay; to gRPC, all that one of it is there for.
#[tokio::test]
async fn a_reserve_that_an_assignment_says_moves_calls_to_the_next_priority_as_envoy_alone() {
    let servers = named(["near", "away", "far"]).await;
    let near = vec![
        endpoint(&servers[0], HealthStatus::Healthy),
        endpoint(&servers[1], HealthStatus::Unhealthy),
    ];
    let far = vec![endpoint(&servers[2], HealthStatus::Healthy)];
    let mut shared = assignment([("near", 0, 1, near), ("far", 1, 1, far)]);
    shared.policy = Some(Policy { overprovisioning_factor: number(140), ..Policy::default() });
    let resources = [cluster(|_| {}), said(EDS, CLUSTER, &shared)];
    let (plane, mesh, client) = start("reserves", resources).await;
    assert_eq!(answers(&client, 100).await, all("near", 100));
    let told = mesh.describe().to_string();
    assert!(told.contains("policy.overprovisioning_factor"), "{told}");

    let server = Plane::insecure(plane.uri());
    let bootstrap = Bootstrap::builder().node_id("reserves").server(server);
    let bootstrap = bootstrap.dialect(Dialect::Envoy).build().unwrap();
    let mesh = Mesh::builder().seed(7).source(Xds::new(bootstrap)).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers = answers(&client, 200).await;
    assert!((110..=170).contains(&answers["near"]), "{answers:?}");
    assert_eq!(answers["near"] + answers["far"], 200);
    is_accepted(&plane);
}
