//! Weights by reported load (gRFC A58) within localities that share by theirs.
#![allow(clippy::float_cmp, reason = "counts are whole")]

use std::time::Duration;

use envoy_types::pb::envoy::{
    config::core::v3::HealthStatus,
    extensions::load_balancing_policies::{
        client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin,
        wrr_locality::v3::WrrLocality,
    },
};
use http::StatusCode;
use tower_mesh::{Client, testing::xds::Resource};

use super::{
    CLUSTER, endpoint, is_accepted, list, start,
    support::{Server, fetch, get, patience, reply, storm},
    time, under, zones,
};

/// Reports this utilisation at 100 calls a second with each answer.
async fn loaded(utilization: &'static str) -> Server {
    Server::start(move |_| async move {
        let mut answer = reply("ok");
        let report = format!("TEXT application_utilization:{utilization},rps_fractional:100");
        answer.headers_mut().insert("endpoint-load-metrics", report.parse().unwrap());
        answer
    })
    .await
}

fn by_load(blackout: Duration) -> Resource {
    under(WrrLocality {
        endpoint_picking_policy: Some(list(ClientSideWeightedRoundRobin {
            blackout_period: time(blackout),
            weight_update_period: time(Duration::from_millis(100)),
            ..ClientSideWeightedRoundRobin::default()
        })),
    })
}

/// How many of so many calls each server gets.
async fn shares(client: &Client, servers: &[Server], calls: usize) -> Vec<usize> {
    let before: Vec<_> = servers.iter().map(Server::requests).collect();
    for answer in patience(storm(4, calls, |_| fetch(client, get("/")))).await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    servers.iter().zip(before).map(|(it, before)| it.requests() - before).collect()
}

#[tokio::test]
async fn calls_follow_reported_loads_after_the_blackout_within_localities_that_share_by_weight() {
    let servers =
        [loaded("0.2").await, loaded("0.8").await, loaded("0.2").await, loaded("0.8").await];
    let of = |servers: &[Server]| {
        servers.iter().map(|it| endpoint(it, HealthStatus::Unknown)).collect::<Vec<_>>()
    };
    let endpoints = zones([("near", 3, of(&servers[..2])), ("far", 1, of(&servers[2..]))]);
    let resources = [by_load(Duration::from_secs(60)), endpoints];
    let (plane, mesh, client) = start("reported loads", resources).await;

    // All have reported, and weights are computed: none of them counts yet.
    shares(&client, &servers, 100).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let early = shares(&client, &servers, 400).await;
    assert!(early[0].abs_diff(early[1]) <= 10, "{early:?}");
    assert!(early[2].abs_diff(early[3]) <= 10, "{early:?}");
    assert!((250..=350).contains(&(early[0] + early[1])), "{early:?}");
    let usable = || {
        let (metrics, of) = (mesh.metrics(), [("mesh.cluster", CLUSTER)]);
        let total = |name: &str| metrics.total(&format!("mesh.client.weights{name}"), &of);
        (total("") - total(".not_yet_usable"), total(".stale"), total(".fallbacks"))
    };
    let (weights, stale, fallbacks) = usable();
    assert!(weights == 0.0 && stale == 0.0 && fallbacks > 0.0, "{}", mesh.prometheus());

    plane.set([by_load(Duration::ZERO)]);
    patience(async {
        loop {
            let now = shares(&client, &servers, 100).await;
            if now[0] > 2 * now[1] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let late = shares(&client, &servers, 1000).await;
    for pair in late.chunks(2) {
        assert!((7 * pair[1]..=9 * pair[1]).contains(&(2 * pair[0])), "{late:?}");
    }
    assert!((660..=840).contains(&(late[0] + late[1])), "{late:?}");
    // The whole cluster is weighed at once, its localities included.
    let (weights, stale, _) = usable();
    assert!(weights >= 4.0 && stale == 0.0, "{}", mesh.prometheus());
    is_accepted(&plane);
}
