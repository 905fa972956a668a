//! Checks of clusters.

use std::collections::HashSet;

use super::{Checker, NOT_YET, not_yet};
use crate::config::{
    Balancer, Cluster, ConfigErrors, Discovery, Endpoint, Failover, PickFirst, Security,
};

impl Checker {
    pub(super) fn balancer(&mut self, balancer: &Balancer) {
        let name = match balancer {
            Balancer::PeakEwma { decay, default_rtt, penalty, max_retry_after } => {
                self.within("peak_ewma", |checker| {
                    checker.time("decay", Some(*decay));
                    checker.time("default_rtt", *default_rtt);
                    checker.time("penalty", *penalty);
                    checker.time("max_retry_after", *max_retry_after);
                });
                return;
            }
            Balancer::LeastRequest | Balancer::RoundRobin | Balancer::Random => return,
            Balancer::PickFirst(PickFirst { shuffle: _ }) => return,
            Balancer::ClientWeighted(weighted) => {
                self.needs_orca("client_weighted");
                self.within("client_weighted", |checker| checker.weighted(weighted));
                return;
            }
            Balancer::Prequal(prequal) => {
                self.needs_orca("prequal");
                self.within("prequal", |checker| checker.prequal(prequal));
                return;
            }
            Balancer::RingHash(ring) => {
                self.within("ring_hash", |checker| checker.ring_hash(ring));
                return;
            }
            Balancer::Maglev(maglev) => {
                self.within("maglev", |checker| checker.maglev(maglev));
                return;
            }
            Balancer::Sharded(sharded) => {
                self.within("sharded", |checker| checker.sharded(sharded));
                return;
            }
            Balancer::OverrideHost(over) => {
                self.within("override_host", |checker| checker.override_host(over));
                return;
            }
            Balancer::Extension(_) => "extension",
        };
        self.refuse("", name, NOT_YET);
    }

    fn endpoints(&mut self, endpoints: &[Endpoint]) {
        let mut seen = HashSet::with_capacity(endpoints.len());
        for (index, endpoint) in endpoints.iter().enumerate() {
            if !seen.insert(&endpoint.address) {
                self.refuse(&format!("endpoints[{index}]"), &endpoint.address, "is listed twice");
            }
        }
        self.each("endpoints", endpoints, Self::endpoint);
    }

    fn failover(&mut self, failover: &Failover, name: &str) {
        let Failover { clusters, mode, regions } = failover;
        let mut seen = HashSet::from([name.to_ascii_lowercase()]);
        for (index, cluster) in clusters.iter().enumerate() {
            let reason = match cluster.to_ascii_lowercase() {
                empty if empty.is_empty() => "the name must not be empty",
                itself if itself == name.to_ascii_lowercase() => {
                    "a cluster does not take over from itself"
                }
                other if !seen.insert(other.clone()) => "is listed twice",
                _ => continue,
            };
            self.refuse(&format!("clusters[{index}]"), cluster, reason);
        }
        self.only_default("mode", mode);
        not_yet!(self, regions);
    }

    fn cluster(&mut self, cluster: &Cluster, name: &str) {
        let Cluster {
            endpoints,
            localities,
            balancer,
            least_request,
            balancing,
            transport,
            protocol,
            http,
            discovery,
            failover,
            max_stream_duration,
            breakers,
            queue,
            outlier_detection,
            health_checks,
            security,
            panic_threshold,
            slow_start,
            subsetting,
            subsets,
            drops,
            filters,
            load_report,
            endpoint_stale_after,
            keep_healthy_removed,
            labels: _,
            metadata: _,
            extensions,
        } = cluster;
        if let Some(balancer) = balancer {
            self.within("balancer", |checker| checker.balancer(balancer));
        }
        if let Some(least_request) = least_request {
            self.within("least_request", |checker| checker.least_request(least_request));
        }
        self.within("transport", |checker| checker.transport(transport));
        match discovery {
            None | Some(Discovery::Static) => {}
            Some(Discovery::Provider(_)) => self.refuse("discovery", "provider", NOT_YET),
            Some(Discovery::Extension(_)) => self.refuse("discovery", "extension", NOT_YET),
            Some(Discovery::Dns(dns)) => self.within("discovery.dns", |checker| checker.dns(dns)),
        }
        self.bound("max_stream_duration", *max_stream_duration);
        if let Some(breakers) = breakers {
            self.within("breakers", |checker| checker.breakers(breakers));
        }
        if let Some(security) = security {
            let is_shown =
                endpoints.iter().filter_map(|it| it.security.as_ref()).any(Security::is_mutual);
            self.within("security", |checker| checker.security(security, *protocol, is_shown));
        }
        if let Some(outliers) = outlier_detection {
            self.within("outlier_detection", |checker| checker.outliers(outliers));
        }
        self.health_checks(health_checks);
        self.filters(filters);
        self.localities(localities);
        if let Some(balancing) = balancing {
            self.within("balancing", |checker| checker.balancing(balancing));
        }
        self.percent("panic_threshold", *panic_threshold);
        if let Some(slow_start) = slow_start {
            self.within("slow_start", |checker| checker.slow_start(slow_start));
        }
        if let Some(subsetting) = subsetting {
            self.within("subsetting", |checker| checker.subsetting(subsetting));
        }
        if let Some(failover) = failover {
            self.within("failover", |checker| checker.failover(failover, name));
        }
        if let Some(subsets) = subsets {
            self.within("subsets", |checker| checker.subsets(subsets));
        }
        if let Some(queue) = queue {
            self.within("queue", |checker| checker.queue(queue));
        }
        self.drops(drops);
        not_yet!(self, http, load_report, endpoint_stale_after, keep_healthy_removed, extensions,);
        self.endpoints(endpoints);
    }
}

impl Cluster {
    /// Checks every field, its endpoints' too.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used, with its value and the allowed range.
    pub fn validate(&self, name: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(format!("clusters.{name}"));
        if name.is_empty() {
            checker.refuse("", "", "the name must not be empty");
        }
        checker.cluster(self, name);
        checker.done()
    }
}
