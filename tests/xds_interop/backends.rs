//! Which backends answer: the cases `ping_pong`, `round_robin`, `backends_restart`,
//! `secondary_locality_gets_requests_on_primary_failure`, `secondary_locality_gets_no_requests_on_partial_primary_failure`,
//! `gentle_failover`, `remove_instance_group`, `outlier_detection`.

use std::net::SocketAddr;

use envoy_types::pb::{
    envoy::config::{cluster::v3::OutlierDetection, core::v3::HealthStatus},
    google::protobuf::{Duration as PbDuration, UInt32Value},
};
use tower_mesh::testing::xds::Resource;

use super::{
    bed::{Bed, UNARY, backend, changed, cluster_of, to, zone, zones},
    interop::messages::{LoadBalancerStatsResponse, RpcType},
    server::Server,
};

/// Whether each of so many peers has had its share of a block of calls, give or take a fifth.
fn is_even(told: &LoadBalancerStatsResponse, peers: &[&str]) -> bool {
    let calls: i32 = told.rpcs_by_peer.values().sum();
    let share = calls / i32::try_from(peers.len()).unwrap();
    let shares = share - share / 5..=share + share / 5;
    told.num_failures == 0
        && told.rpcs_by_peer.keys().eq(peers.iter())
        && told.rpcs_by_peer.values().all(|count| shares.contains(count))
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_pong_and_round_robin() {
    let (a, b, c, d) =
        tokio::join!(backend("a", 0), backend("b", 0), backend("c", 0), backend("d", 0));
    let bed = Bed::start("--qps=50 --num_channels=2", to("all", &[&a, &b, &c, &d])).await;
    bed.until_peers(&["a", "b", "c", "d"]).await;
    let told = bed.next(100).await;
    assert!(is_even(&told, &["a", "b", "c", "d"]), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_restart_and_fail_on_failed_rpc() {
    let names = ["a", "b", "c", "d"];
    let mut backends = Vec::new();
    for name in names {
        backends.push(backend(name, 0).await);
    }
    let ports: Vec<u16> = backends.iter().map(|it| it.address.port()).collect();
    let resources = to("all", &backends.iter().collect::<Vec<_>>());
    let mut bed = Bed::start("--qps=100 --fail_on_failed_rpc", resources).await;
    bed.until_peers(&names).await;
    let told = bed.next(100).await;
    assert!(is_even(&told, &names), "{told:?}");

    drop(backends);
    bed.until(async || bed.next(20).await.num_failures == 20).await;
    assert!(bed.client.failed().await.contains("UnaryCall failed"));

    let mut backends = Vec::new();
    for (name, port) in names.into_iter().zip(ports) {
        backends.push(backend(name, port).await);
    }
    bed.until_peers(&names).await;
    bed.until(async || is_even(&bed.next(100).await, &names)).await;
}

// === localities ===

/// Two in the first priority, two in the second.
fn by_priority(first: &[SocketAddr], second: &[SocketAddr]) -> Vec<Resource> {
    let of = |backends: &[SocketAddr]| -> Vec<_> {
        backends.iter().map(|&at| (at, HealthStatus::Unknown)).collect()
    };
    let mut all = to("all", &[]);
    all.pop();
    all.push(zones(
        "all",
        vec![zone("primary", 0, 1, &of(first)), zone("secondary", 1, 1, &of(second))],
    ));
    all
}

fn addresses(backends: &[Server]) -> Vec<SocketAddr> {
    backends.iter().map(|it| it.address).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn secondary_locality_gets_requests_on_primary_failure() {
    let first = [backend("first-1", 0).await, backend("first-2", 0).await];
    let second = [backend("second-1", 0).await, backend("second-2", 0).await];
    let (near, far) = (addresses(&first), addresses(&second));
    let bed = Bed::start("--qps=100", by_priority(&near, &far)).await;
    // In all blocks the secondary gets none: it is in no set of peers that these wait for.
    bed.until_peers(&["first-1", "first-2"]).await;
    drop(first);
    bed.until_peers(&["second-1", "second-2"]).await;
    let _first =
        [backend("first-1", near[0].port()).await, backend("first-2", near[1].port()).await];
    bed.until_peers(&["first-1", "first-2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secondary_locality_gets_no_requests_on_partial_primary_failure() {
    let [first, other] = [backend("first-1", 0).await, backend("first-2", 0).await];
    let second = [backend("second-1", 0).await, backend("second-2", 0).await];
    let near = [first.address, other.address];
    let bed = Bed::start("--qps=100", by_priority(&near, &addresses(&second))).await;
    bed.until_peers(&["first-1", "first-2"]).await;
    drop(first);
    // From the moment on that it stops, not only in the end.
    bed.until(async || {
        let told = bed.next(20).await;
        let mut peers = told.rpcs_by_peer.keys();
        assert!(peers.all(|name| name.starts_with("first")), "{told:?}");
        told.num_failures == 0 && told.rpcs_by_peer.keys().eq(["first-2"])
    })
    .await;
    let told = bed.next(100).await;
    assert_eq!((told.num_failures, told.rpcs_by_peer["first-2"]), (0, 100), "{told:?}");
}

/// Of a primary of which less than half is well the control plane lets the secondary take a part: a client of gRPC
/// leaves a priority only when nothing of it works (gRFC A56).
#[tokio::test(flavor = "multi_thread")]
async fn gentle_failover() {
    let mut first = Vec::new();
    for name in ["first-1", "first-2", "first-3"] {
        first.push(backend(name, 0).await);
    }
    let second = [backend("second-1", 0).await, backend("second-2", 0).await];
    let (near, far) = (addresses(&first), addresses(&second));
    let bed = Bed::start("--qps=100", by_priority(&near, &far)).await;
    bed.until_peers(&["first-1", "first-2", "first-3"]).await;

    let remaining = first.remove(0);
    drop(first);
    // Without a word of the plane who is left of the first takes all.
    bed.until_peers(&["first-1"]).await;
    let well = |at| (at, HealthStatus::Healthy);
    let ill = |at| (at, HealthStatus::Unhealthy);
    let primary = [well(near[0]), ill(near[1]), ill(near[2])];
    let secondary = [well(far[0]), well(far[1])];
    let shared = vec![zone("primary", 0, 1, &primary), zone("secondary", 0, 1, &secondary)];
    bed.plane.set([zones("all", shared)]);
    bed.until_peers(&["first-1", "second-1", "second-2"]).await;

    let _first = [
        remaining,
        backend("first-2", near[1].port()).await,
        backend("first-3", near[2].port()).await,
    ];
    bed.plane.set(by_priority(&near, &far));
    bed.until_peers(&["first-1", "first-2", "first-3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_instance_group() {
    let (a, b, c, d) =
        tokio::join!(backend("a", 0), backend("b", 0), backend("c", 0), backend("d", 0));
    let all = to("all", &[&a, &b, &c, &d]);
    let mut bed = Bed::start("--qps=100 --fail_on_failed_rpc", all).await;
    bed.until_peers(&["a", "b", "c", "d"]).await;
    bed.plane.set(cluster_of("all", &[&a, &b]));
    bed.until_peers(&["a", "b"]).await;
    // The other one alone, as psm-interop goes on.
    bed.plane.set(cluster_of("all", &[&c, &d]));
    bed.until_peers(&["c", "d"]).await;
    bed.no_call_has_failed().await;
    assert!(bed.all(UNARY).await.result.keys().eq(&[0]), "{:?}", bed.all(UNARY).await);
}

// === outliers ===

/// `successRateRequestVolume: 20`, `interval: 2s`. Ejections are of five seconds here, not of thirty, and failures in a
/// row, which gRPC leaves out (gRFC A50), eject nobody.
#[tokio::test(flavor = "multi_thread")]
async fn outlier_detection() {
    let names = ["a", "b", "c", "d", "e"];
    let mut backends = Vec::new();
    for name in names {
        backends.push(backend(name, 0).await);
    }
    let outliers = OutlierDetection {
        interval: Some(PbDuration { seconds: 2, nanos: 0 }),
        base_ejection_time: Some(PbDuration { seconds: 5, nanos: 0 }),
        success_rate_request_volume: Some(UInt32Value { value: 20 }),
        enforcing_consecutive_5xx: Some(UInt32Value { value: 0 }),
        ..OutlierDetection::default()
    };
    let mut resources = to("all", &backends.iter().collect::<Vec<_>>());
    resources[2] = changed("all", |it| it.outlier_detection = Some(outliers));
    let bed = Bed::start("--qps=200", resources).await;
    bed.until(async || is_even(&bed.next(100).await, &names)).await;

    bed.configure(&[(RpcType::UnaryCall, "hostname=a error-code-2")], 0).await;
    // Two seconds without a call that fails: nobody asks the chosen one.
    bed.until(async || is_even(&bed.next(400).await, &["b", "c", "d", "e"])).await;
    assert!(bed.ended(UNARY, 2).await > 0, "it has failed no call");

    bed.configure(&[(RpcType::UnaryCall, "")], 0).await;
    bed.until(async || is_even(&bed.next(500).await, &names)).await;
}
