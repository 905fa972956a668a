//! Priorities, and localities within one. Another client made one list of them all: of six calls four went to
//! the second priority, and weights counted for nothing.

use std::{collections::BTreeMap, time::Duration};

use envoy_types::pb::envoy::config::{
    core::v3::{HealthStatus, Locality},
    endpoint::v3::{ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints},
};
use tower_mesh::{
    Client,
    testing::xds::{EDS, Resource},
};

use super::{
    CLUSTER, cluster, endpoint, is_accepted, named, number, said, start,
    support::{get, patience},
    text,
};

/// Zones, their priorities, their weights, and an endpoint of each.
fn zones(list: [(&str, u32, u32, LbEndpoint); 2]) -> Resource {
    let locality = |(zone, priority, weight, endpoint): (&str, u32, u32, LbEndpoint)| {
        let locality = Locality { zone: zone.to_owned(), ..Locality::default() };
        LocalityLbEndpoints {
            locality: Some(locality),
            priority,
            load_balancing_weight: number(weight),
            lb_endpoints: vec![endpoint],
            ..LocalityLbEndpoints::default()
        }
    };
    let assignment = ClusterLoadAssignment {
        cluster_name: CLUSTER.to_owned(),
        endpoints: list.into_iter().map(locality).collect(),
        ..ClusterLoadAssignment::default()
    };
    said(EDS, CLUSTER, &assignment)
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
