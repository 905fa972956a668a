//! What takes endpoints of a cluster out of use, and how they are probed.

use super::{Layers, Setting, text, time};
use crate::config;

/// Only where they are asked for.
pub(super) fn of(cluster: &Layers<'_, config::Cluster>) -> Vec<Setting> {
    let mut list = Vec::new();
    let outliers = cluster.within(|it| it.outlier_detection.as_ref());
    if outliers.is_said() {
        list.extend(of_outliers(&outliers));
    } else {
        list.push(cluster.setting("outlier_detection", "none", |_| None));
    }
    let checks = cluster.within(|it| (!it.health_checks.is_empty()).then_some(&it.health_checks));
    if let Some((by, checks)) = checks.said.first() {
        list.push(cluster.setting("health_checks.probe", "none", probes));
        // A list is one value.
        let first = checks.first().map(|check| (*by, check));
        list.extend(of_check(&Layers { said: first.into_iter().collect() }));
    } else {
        list.push(cluster.setting("health_checks", "none", |_| None));
    }
    list
}

fn of_outliers(it: &Layers<'_, config::OutlierDetection>) -> Vec<Setting> {
    let accrual = it.said.iter().any(|(_, it)| it.accrual.is_some());
    let (row, most) = if accrual { ("0", "50") } else { ("5", "10") };
    let mut list = vec![
        it.setting("outlier_detection.consecutive_5xx", row, |o| text(o.consecutive_5xx)),
        it.setting("outlier_detection.consecutive_gateway_failure", row, |o| {
            text(o.consecutive_gateway_failure)
        }),
        it.setting("outlier_detection.consecutive_local_origin_failure", row, |o| {
            text(o.consecutive_local_origin_failure)
        }),
        it.setting("outlier_detection.split_local_origin", "false", |o| text(o.split_local_origin)),
        it.setting("outlier_detection.interval", "10s", |o| o.interval.map(time)),
        it.setting("outlier_detection.base_ejection_time", "30s", |o| {
            o.base_ejection_time.map(time)
        }),
        it.setting("outlier_detection.max_ejection_time", "300s, or the base time", |o| {
            o.max_ejection_time.map(time)
        }),
        it.setting("outlier_detection.max_ejection_percent", most, |o| {
            text(o.max_ejection_percent)
        }),
        it.setting("outlier_detection.always_eject_one", "true", |o| text(o.always_eject_one)),
        it.setting("outlier_detection.min_health_percent", "0", |o| text(o.min_health_percent)),
        it.setting("outlier_detection.min_ready_endpoints", "0", |o| text(o.min_ready_endpoints)),
    ];
    let parts: [(_, fn(&config::OutlierDetection) -> bool); 3] = [
        ("outlier_detection.success_rate", |it| it.success_rate.is_some()),
        ("outlier_detection.failure_percentage", |it| it.failure_percentage.is_some()),
        ("outlier_detection.accrual", |it| it.accrual.is_some()),
    ];
    // What is said of them is told field by field.
    let absent = parts.iter().filter(|(_, is_said)| !it.said.iter().any(|(_, it)| is_said(it)));
    list.extend(absent.map(|(name, _)| it.setting(name, "none", |_| None)));
    list.push(
        it.setting("outlier_detection.uneject_on_check", "true", |o| text(o.uneject_on_check)),
    );
    list.push(it.setting("outlier_detection.respect_retry_after", "false", |o| {
        text(o.respect_retry_after)
    }));
    list
}

/// What all of its checks send.
fn probes(cluster: &config::Cluster) -> Option<String> {
    let probe = |check: &config::HealthCheck| match &check.probe {
        config::Probe::Tcp(_) => "tcp".to_owned(),
        config::Probe::Http(probe) => format!("http {}", probe.path),
        config::Probe::Grpc(probe) => format!("grpc {}", probe.service.as_deref().unwrap_or("")),
        config::Probe::Extension(it) => it.name.clone(),
    };
    let probes: Vec<_> = cluster.health_checks.iter().map(probe).collect();
    let probes: Vec<_> = probes.iter().map(|probe| probe.trim_end()).collect();
    (!probes.is_empty()).then(|| probes.join(", "))
}

/// The other settings, of the first of them.
fn of_check(check: &Layers<'_, config::HealthCheck>) -> Vec<Setting> {
    vec![
        check.setting("health_checks.interval", "10s", |c| c.interval.map(time)),
        check.setting("health_checks.timeout", "1s", |c| c.timeout.map(time)),
        check.setting("health_checks.healthy_threshold", "2", |c| text(c.healthy_threshold)),
        check.setting("health_checks.unhealthy_threshold", "3", |c| text(c.unhealthy_threshold)),
        check.setting("health_checks.no_traffic_interval", "60s", |c| {
            c.no_traffic_interval.map(time)
        }),
    ]
}
