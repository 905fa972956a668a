//! Checks of routes.

use super::{Checker, not_yet};
use crate::config::{Filter, Route, WeightedCluster};

impl Checker {
    pub(super) fn route(&mut self, route: &Route) {
        let Route {
            // Checked by the service, whose names must be unique.
            name: _,
            hosts,
            matches,
            clusters,
            choice,
            cluster_header,
            cluster_plugin,
            missing_cluster_status,
            subset: _,
            policy,
            filters,
            overrides,
            upgrades,
            labels: _,
        } = route;
        self.within("policy", |checker| checker.policy(policy));
        for (index, host) in hosts.iter().enumerate() {
            self.host(&format!("hosts[{index}]"), host);
        }
        self.each("matches", matches, Self::rule);
        self.calls_filters(filters, matches);
        if clusters.is_empty() && !filters.iter().any(Filter::answers) {
            self.refuse("clusters", "[]", "a route needs at least one cluster");
        }
        self.each("clusters", clusters, Self::target);
        if !clusters.is_empty() && clusters.iter().all(|target| target.weight == 0) {
            self.refuse("clusters.weight", 0, "the weights must not all be 0");
        }
        self.only_default("choice", choice);
        not_yet!(self, cluster_header, cluster_plugin, missing_cluster_status, overrides, upgrades,);
    }

    fn target(&mut self, target: &WeightedCluster) {
        let WeightedCluster { name, weight, invalid, filters, overrides, subset: _, timeout } =
            target;
        if name.is_empty() {
            self.refuse("name", "", "must not be empty");
        }
        if *weight > 1_000_000 {
            self.refuse("weight", weight, "must be at most 1000000");
        }
        self.target_filters(filters);
        if invalid.as_deref() == Some("") {
            self.refuse("invalid", "\"\"", "must say why");
        }
        not_yet!(self, overrides, timeout);
    }
}
