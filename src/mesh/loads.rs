//! What a cluster counts for a control plane that balances by it.

use std::{collections::HashMap, sync::Arc};

use http::HeaderMap;

use super::{cluster::Cluster, inner::Inner};
use crate::{
    balance::{
        Spec,
        report::{self, Report},
    },
    core::{At, Epoch, Instant, Load, Loads},
    observe::Tally,
};

/// A cluster whose load is reported.
pub(super) struct ClusterLoads {
    cluster: Arc<Cluster>,
    epoch: Epoch,
}

/// Where an endpoint is.
pub(super) fn at(spec: &Spec) -> At {
    let place = spec.locality().cloned().unwrap_or_default();
    let priority = spec.priority();
    At { region: place.region, zone: place.zone, sub_zone: place.sub_zone, priority }
}

/// Counts what an answer says of its endpoint's load, if the control plane wants any of it.
#[cold]
#[inline(never)]
pub(super) fn overheard(tally: &Tally, headers: &HeaderMap) {
    if let Some(wanted) = tally.wanted()
        && let Some(report) = report::read(headers)
    {
        for wanted in wanted.iter() {
            each(&report, wanted, &mut |name, value| tally.metric(name, value));
        }
    }
}

/// Tells a metric by its name in ORCA's message, or all of one of its maps.
//= gRFC A85: which metrics are propagated, and what they are called in LRS
fn each(report: &Report, wanted: &str, tell: &mut dyn FnMut(&str, f64)) {
    // Protobuf cannot tell 0 from nothing.
    let mut said = |value: f64| {
        if value > 0.0 {
            tell(wanted, value);
        }
    };
    match wanted {
        "cpu_utilization" => return said(report.cpu_utilization),
        "mem_utilization" => return said(report.mem_utilization),
        "application_utilization" => return said(report.application_utilization),
        "rps_fractional" => return said(report.rps_fractional),
        "eps" => return said(report.eps),
        _ => {}
    }
    let Some((map, key)) = wanted.split_once('.') else { return };
    let entries = match map {
        "named_metrics" => &report.named_metrics,
        "utilization" => &report.utilization,
        "request_cost" => &report.request_cost,
        _ => return,
    };
    if key != "*" {
        // Of several of one name the last counts, as in any protobuf map.
        let entry = entries.iter().rev().find(|entry| entry.name == key.as_bytes());
        if let Some(entry) = entry {
            tell(wanted, entry.value);
        }
        return;
    }
    let last: HashMap<&[u8], f64> =
        entries.iter().map(|entry| (&*entry.name, entry.value)).collect();
    for (key, value) in last {
        if let Ok(key) = str::from_utf8(key) {
            tell(&format!("{map}.{key}"), value);
        }
    }
}

// === impl Inner ===

impl Inner {
    /// What a cluster counts, if there is one of this name.
    pub(super) fn loads_of(&self, cluster: &str) -> Option<Arc<dyn Loads>> {
        let state = self.state();
        let cluster = Arc::clone(&state.clusters.get(&*cluster.to_ascii_lowercase())?.cell);
        // What was dropped before is told to nobody.
        cluster.meter.await_loads();
        Some(Arc::new(ClusterLoads { cluster, epoch: self.epoch }))
    }
}

// === impl ClusterLoads ===

impl Loads for ClusterLoads {
    fn id(&self) -> usize {
        Arc::as_ptr(&self.cluster).addr()
    }

    fn begin(&self, metrics: &[String]) {
        self.cluster.meter.begin_loads(&Arc::new(metrics.to_vec()));
    }

    fn end(&self) {
        self.cluster.meter.end_loads();
    }

    fn take(&self) -> Load {
        let mut endpoints = self.cluster.meter.take_loads();
        let mut active = HashMap::new();
        self.cluster.core.load().balancer.census(self.epoch.nanos(Instant::now()), |seen| {
            if let Some(count @ 1..) = seen.in_flight {
                active.insert(seen.address.to_string(), u64::from(count));
            }
        });
        for endpoint in &mut endpoints {
            // Of several states of one address the first has it: it is counted once.
            endpoint.attempts.in_progress = active.remove(&*endpoint.address).unwrap_or_default();
        }
        endpoints.retain(|endpoint| !endpoint.is_nothing());
        let (drops, dropped) = self.cluster.meter.take_drops();
        Load { endpoints, drops, dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::report::Entry;

    fn told(report: &Report, wanted: &[&str]) -> Vec<(String, f64)> {
        let mut told = Vec::new();
        for wanted in wanted {
            each(report, wanted, &mut |name, value| told.push((name.to_owned(), value)));
        }
        told.sort_by(|one, other| one.0.cmp(&other.0));
        told
    }

    #[test]
    fn metrics_are_told_by_their_names_in_the_message() {
        let report = Report {
            cpu_utilization: 0.5,
            named_metrics: vec![Entry::new("a", 1.0), Entry::new("b", 2.0), Entry::new("a", 3.0)],
            request_cost: vec![Entry::new("c", 0.0)],
            ..Report::default()
        };
        let all =
            ["cpu_utilization", "mem_utilization", "named_metrics.*", "request_cost.c", "x", "x.y"];
        let said = |all: &[(&str, f64)]| {
            all.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<Vec<_>>()
        };
        let expected = [
            ("cpu_utilization", 0.5),
            ("named_metrics.a", 3.0),
            ("named_metrics.b", 2.0),
            ("request_cost.c", 0.0),
        ];
        assert_eq!(told(&report, &all), said(&expected));
        assert_eq!(told(&report, &["named_metrics.a"]), said(&[("named_metrics.a", 3.0)]));
        assert_eq!(told(&report, &["named_metrics.c"]), said(&[]));
    }
}
