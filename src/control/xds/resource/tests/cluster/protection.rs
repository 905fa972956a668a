//! Outlier detection and circuit breakers.

use std::time::Duration;

use envoy_types::pb::envoy::config::{
    cluster::v3::{CircuitBreakers, OutlierDetection, circuit_breakers::Thresholds},
    core::v3::RoutingPriority,
};

use super::*;

#[test]
fn absent_wrappers_of_outlier_detection_have_their_defaults() {
    let pb = PbCluster { outlier_detection: Some(OutlierDetection::default()), ..eds("c") };
    let read = proxyless().cluster(&pb).unwrap();
    let outliers = read.config.outlier_detection.as_ref().unwrap();
    // On, though its number of hosts is not said: a known client dies of that.
    let rate = outliers.success_rate.as_ref().unwrap();
    assert_eq!((rate.minimum_hosts, rate.enforcing), (None, None));
    assert_eq!(outliers.failure_percentage, None);
    assert_eq!(outliers.always_eject_one, None);
    let envoy = sidecar().cluster(&pb).unwrap();
    assert_eq!(envoy.config.outlier_detection.as_ref().unwrap().always_eject_one, Some(false));
}

#[test]
fn validate_cluster_with_outlier_detection() {
    let with = |change: &dyn Fn(&mut OutlierDetection)| {
        let mut outliers = OutlierDetection::default();
        change(&mut outliers);
        proxyless().cluster(&PbCluster { outlier_detection: Some(outliers), ..eds("c") })
    };
    let off = with(&|it| it.enforcing_success_rate = wrapped(0)).unwrap();
    assert_eq!(off.config.outlier_detection.as_ref().unwrap().success_rate, None);
    let share = with(&|it| it.enforcing_failure_percentage = wrapped(100)).unwrap();
    assert!(share.config.outlier_detection.as_ref().unwrap().failure_percentage.is_some());
    refuses(with(&|it| it.interval = seconds(-1)), "outlier_detection.interval");
    refuses(with(&|it| it.base_ejection_time = seconds(315_576_000_001)), "base_ejection_time");
    for nanos in [-1, 1_000_000_000, i32::MAX] {
        let time = Some(protobuf::Duration { seconds: 1, nanos });
        refuses(with(&|it| it.interval = time), "interval = 1s ");
    }
    refuses(with(&|it| it.max_ejection_percent = wrapped(150)), "max_ejection_percent = 150");
    refuses(with(&|it| it.enforcing_success_rate = wrapped(101)), "enforcing_success_rate = 101");
    refuses(
        with(&|it| it.failure_percentage_threshold = wrapped(150)),
        "failure_percentage_threshold",
    );
    let short = with(&|it| it.max_ejection_time = seconds(1)).unwrap();
    let outliers = short.config.outlier_detection.as_ref().unwrap();
    assert_eq!(outliers.max_ejection_time, Some(Duration::from_secs(30)));
}

#[test]
fn a_count_is_of_a_plane_a_cluster_and_its_service() {
    let shared = |decoder: &Decoder, name: &str, service: &str| {
        let mut pb = eds(name);
        pb.eds_cluster_config.as_mut().unwrap().service_name = service.to_owned();
        decoder.cluster(&pb).unwrap().config.breakers.as_ref().unwrap().shared.clone().unwrap()
    };
    let here = proxyless();
    assert_eq!(shared(&here, "c", "s"), r#"xds.here."c"."s""#);
    let elsewhere = Context { realm: "elsewhere".into(), ..context(Dialect::Proxyless) };
    let elsewhere = Decoder::new(elsewhere);
    let others = [
        shared(&here, "c", ""),
        shared(&here, "c", "s"),
        shared(&here, "d", ""),
        shared(&here, "c.s", ""),
        shared(&here, r#"c"."s"#, ""),
        shared(&elsewhere, "c", ""),
    ];
    let names: std::collections::BTreeSet<_> = others.iter().collect();
    assert_eq!(names.len(), others.len(), "{others:?}");
}

#[test]
fn validate_cluster_with_circuit_breaking() {
    let thresholds = |priority: RoutingPriority, most: Option<UInt32Value>| Thresholds {
        priority: priority.into(),
        max_requests: most,
        ..Thresholds::default()
    };
    let with = |list: Vec<Thresholds>| {
        let breakers = CircuitBreakers { thresholds: list, ..CircuitBreakers::default() };
        PbCluster { circuit_breakers: Some(breakers), ..eds("c") }
    };
    let pb = with(vec![
        thresholds(RoutingPriority::Default, wrapped(512)),
        thresholds(RoutingPriority::High, None),
        thresholds(RoutingPriority::Default, wrapped(1)),
    ]);
    let read = proxyless().cluster(&pb).unwrap();
    let breakers = read.config.breakers.as_ref().unwrap();
    assert_eq!(breakers.max_requests, Some(512));
    assert_eq!(breakers.high.as_ref().unwrap().max_requests, Some(1024));
    assert_eq!(breakers.max_connections, None);
    // Nothing said: 1024 of gRPC, and all four of Envoy.
    let read = proxyless().cluster(&eds("c")).unwrap();
    assert_eq!(read.config.breakers.as_ref().unwrap().max_requests, Some(1024));
    let read = sidecar().cluster(&eds("c")).unwrap();
    let breakers = read.config.breakers.as_ref().unwrap();
    assert_eq!((breakers.max_pending, breakers.max_retries), (Some(1024), Some(3)));
    // No end is no limit.
    let pb = with(vec![thresholds(RoutingPriority::Default, wrapped(u32::MAX))]);
    assert_eq!(
        proxyless().cluster(&pb).unwrap().config.breakers.as_ref().unwrap().max_requests,
        None
    );
    let pb = with(vec![thresholds(RoutingPriority::Default, wrapped(0))]);
    // None at all is a limit, too: the plane shuts the cluster.
    let read = proxyless().cluster(&pb).unwrap();
    assert_eq!(read.config.breakers.as_ref().unwrap().max_requests, Some(0));
    let shut = Thresholds {
        max_connections: wrapped(0),
        max_pending_requests: wrapped(0),
        max_retries: wrapped(0),
        ..Thresholds::default()
    };
    let breakers = CircuitBreakers { thresholds: vec![shut], per_host_thresholds: vec![shut] };
    let pb = PbCluster { circuit_breakers: Some(breakers), ..eds("c") };
    let read = sidecar().cluster(&pb).unwrap();
    let read = read.config.breakers.as_ref().unwrap();
    assert_eq!((read.max_connections, read.max_pending), (Some(0), Some(0)));
    assert_eq!((read.max_retries, read.max_connections_per_endpoint), (Some(0), Some(0)));
}
