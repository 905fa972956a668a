//! What is to be told of a cluster: its counts by locality, and in each by endpoint.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use envoy_types::pb::envoy::config::{
    core::v3::{Address, Locality, Pipe, SocketAddress, address, socket_address},
    endpoint::v3::{
        ClusterStats, EndpointLoadMetricStats, UnnamedEndpointLoadMetricStats,
        UpstreamEndpointStats, UpstreamLocalityStats, cluster_stats::DroppedRequests,
    },
};

use crate::core::{At, Attempts, EndpointLoad, Load};

#[derive(Debug, Default)]
pub(super) struct Sums {
    localities: BTreeMap<At, OfLocality>,
    /// What is in progress, by mesh: what one has said later is true of it in the place of what it said before.
    levels: BTreeMap<u64, Levels>,
    drops: BTreeMap<Arc<str>, u64>,
    dropped: u64,
}

#[derive(Debug, Default)]
struct OfLocality {
    attempts: Attempts,
    metrics: Metrics,
    endpoints: BTreeMap<Arc<str>, (Attempts, Metrics)>,
}

/// Attempts in progress, by endpoint; there is no 0.
type Levels = Vec<(At, Arc<str>, u64)>;

/// How many answers had a metric, and the sum of its values.
type Metrics = BTreeMap<Arc<str>, (u64, f64)>;

/// So many endpoints of a locality are told of one by one.
const MOST_ENDPOINTS: usize = 4096;

// === impl Sums ===

impl Sums {
    /// Adds what this mesh has counted since it was last added.
    pub(super) fn add(&mut self, mesh: u64, load: Load) {
        let mut levels = Levels::new();
        for mut endpoint in load.endpoints {
            if let level @ 1.. = std::mem::take(&mut endpoint.attempts.in_progress) {
                levels.push((endpoint.at.clone(), Arc::clone(&endpoint.address), level));
            }
            if !endpoint.is_nothing() {
                self.localities.entry(endpoint.at.clone()).or_default().add(endpoint);
            }
        }
        if levels.is_empty() {
            self.levels.remove(&mesh);
        } else {
            self.levels.insert(mesh, levels);
        }
        for (category, count) in load.drops {
            let known = self.drops.entry(category).or_default();
            *known = known.saturating_add(count);
        }
        self.dropped = self.dropped.saturating_add(load.dropped);
    }

    pub(super) fn is_nothing(&self) -> bool {
        let Self { localities, levels, drops, dropped } = self;
        localities.is_empty() && levels.is_empty() && drops.is_empty() && *dropped == 0
    }

    /// Fills the message of a cluster.
    pub(super) fn into_stats(mut self, stats: ClusterStats, per_endpoint: bool) -> ClusterStats {
        for (at, address, in_progress) in self.levels.into_values().flatten() {
            let attempts = Attempts { in_progress, ..Attempts::default() };
            let locality = self.localities.entry(at.clone()).or_default();
            locality.add(EndpointLoad { at, address, attempts, metrics: BTreeMap::new() });
        }
        let dropped = self.drops.values().fold(self.dropped, |sum, one| sum.saturating_add(*one));
        let localities = self.localities.into_iter();
        let drops = self.drops.into_iter();
        ClusterStats {
            upstream_locality_stats: localities
                .map(|(at, of)| of.into_stats(at, per_endpoint))
                .collect(),
            total_dropped_requests: dropped,
            dropped_requests: drops
                .map(|(category, dropped_count)| DroppedRequests {
                    category: category.as_ref().to_owned(),
                    dropped_count,
                })
                .collect(),
            ..stats
        }
    }
}

fn add_all(to: &mut Metrics, more: &Metrics) {
    for (name, (count, sum)) in more {
        let known = to.entry(Arc::clone(name)).or_default();
        *known = (known.0.saturating_add(*count), known.1 + sum);
    }
}

// === impl OfLocality ===

impl OfLocality {
    fn add(&mut self, EndpointLoad { address, attempts, metrics, .. }: EndpointLoad) {
        self.attempts += attempts;
        add_all(&mut self.metrics, &metrics);
        // One without an address is the sum of those that cannot be kept apart.
        let is_kept =
            self.endpoints.len() < MOST_ENDPOINTS || self.endpoints.contains_key(&address);
        let address = if is_kept { address } else { Arc::from("") };
        let endpoint = self.endpoints.entry(address).or_default();
        endpoint.0 += attempts;
        add_all(&mut endpoint.1, &metrics);
    }

    fn into_stats(mut self, at: At, per_endpoint: bool) -> UpstreamLocalityStats {
        // These have fields of their own (gRFC A85).
        let mut unnamed = |name: &str| {
            let (count, sum) = self.metrics.remove(name)?;
            Some(UnnamedEndpointLoadMetricStats {
                num_requests_finished_with_metric: count,
                total_metric_value: sum,
            })
        };
        let cpu_utilization = unnamed("cpu_utilization");
        let mem_utilization = unnamed("mem_utilization");
        let application_utilization = unnamed("application_utilization");
        let At { region, zone, sub_zone, priority } = at;
        // One without an address is the sum of those that could not be kept apart.
        let endpoints = self.endpoints.into_iter().filter(|(name, _)| !name.is_empty());
        let endpoints = endpoints.filter(|_| per_endpoint);
        UpstreamLocalityStats {
            locality: Some(Locality { region, zone, sub_zone }),
            priority,
            total_successful_requests: self.attempts.ok,
            total_requests_in_progress: self.attempts.in_progress,
            total_error_requests: self.attempts.failed,
            total_issued_requests: self.attempts.issued,
            cpu_utilization,
            mem_utilization,
            application_utilization,
            load_metric_stats: named(self.metrics),
            upstream_endpoint_stats: endpoints
                .map(|(name, (attempts, metrics))| UpstreamEndpointStats {
                    address: Some(address(&name)),
                    total_successful_requests: attempts.ok,
                    total_requests_in_progress: attempts.in_progress,
                    total_error_requests: attempts.failed,
                    total_issued_requests: attempts.issued,
                    load_metric_stats: named(metrics),
                    ..UpstreamEndpointStats::default()
                })
                .collect(),
            ..UpstreamLocalityStats::default()
        }
    }
}

fn named(metrics: Metrics) -> Vec<EndpointLoadMetricStats> {
    let metrics = metrics.into_iter();
    metrics
        .map(|(name, (count, sum))| EndpointLoadMetricStats {
            metric_name: name.as_ref().to_owned(),
            num_requests_finished_with_metric: count,
            total_metric_value: sum,
        })
        .collect()
}

/// As the mesh writes it: `10.0.0.1:80`, `unix:/run/users.sock`, `users.prod:80`.
fn address(name: &str) -> Address {
    let of_socket = |address: String, port: u16| {
        address::Address::SocketAddress(SocketAddress {
            address,
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
            ..SocketAddress::default()
        })
    };
    let address = if let Some(path) = name.strip_prefix("unix:") {
        address::Address::Pipe(Pipe { path: path.to_owned(), mode: 0 })
    } else if let Ok(socket) = name.parse::<SocketAddr>() {
        of_socket(socket.ip().to_string(), socket.port())
    } else {
        let (host, port) = name.rsplit_once(':').unwrap_or((name, ""));
        of_socket(host.to_owned(), port.parse().unwrap_or_default())
    };
    Address { address: Some(address) }
}
