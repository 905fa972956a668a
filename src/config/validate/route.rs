//! Checks of routes.

use http::HeaderName;

use super::{Checker, NOT_YET, filter::Level, named::named, not_yet};
use crate::config::{ClusterChoice, Filter, NamedFilter, Route, Upgrade, WeightedCluster};

impl Checker {
    /// A route of a service that has these filters with names.
    pub(super) fn route(&mut self, route: &Route, of_service: &[&NamedFilter]) {
        let Route {
            // Checked by the service, whose names must be unique.
            name: _,
            hosts,
            matches,
            clusters,
            choice,
            choice_header,
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
        self.calls_filters(filters, matches, Level::Route);
        let mut known = of_service.to_vec();
        self.overrides(overrides, &known, matches, Level::Route);
        self.names(filters, &mut known);
        let is_somewhere = !clusters.is_empty() || cluster_header.is_some();
        if !is_somewhere && !filters.iter().any(Filter::answers) {
            self.refuse("clusters", "[]", "a route needs at least one cluster");
        }
        for (index, target) in clusters.iter().enumerate() {
            self.within(&format!("clusters[{index}]"), |checker| {
                checker.target(target, route, &known);
            });
        }
        if !clusters.is_empty() && clusters.iter().all(|target| target.weight == 0) {
            self.refuse("clusters.weight", 0, "the weights must not all be 0");
        }
        if *choice == ClusterChoice::FirstAvailable
            && let Some(place) = clusters.iter().position(|target| target.weight != 1)
        {
            let reason =
                "means nothing beside `choice: first_available`: the order says who is first";
            let weight = clusters.get(place).map_or(0, |target| target.weight);
            self.refuse(&format!("clusters[{place}].weight"), weight, reason);
        }
        if let Some(name) = choice_header {
            if HeaderName::try_from(name).is_err() {
                self.refuse("choice_header", name, "is not a header name");
            }
            if *choice != ClusterChoice::Weighted || cluster_header.is_some() {
                let reason = "means nothing beside another `choice`, or `cluster_header`";
                self.refuse("choice_header", name, reason);
            }
        }
        if let Some(name) = cluster_header {
            self.cluster_header(name, route);
        }
        if let Some(status) = missing_cluster_status {
            if cluster_header.is_none() {
                let reason = "means nothing here: it is of a cluster that `cluster_header` names";
                self.refuse("missing_cluster_status", status, reason);
            } else if !(400..=599).contains(status) {
                self.refuse("missing_cluster_status", status, "must be in 400..=599");
            }
        }
        self.each("upgrades", upgrades, Self::upgrade);
        for (index, upgrade) in upgrades.iter().enumerate() {
            let mut before = upgrades.iter().take(index);
            if before.any(|other| other.protocol.eq_ignore_ascii_case(&upgrade.protocol)) {
                let field = format!("upgrades[{index}].protocol");
                self.refuse(&field, &upgrade.protocol, "is there twice");
            }
        }
        not_yet!(self, cluster_plugin);
    }

    fn cluster_header(&mut self, name: &str, route: &Route) {
        if HeaderName::try_from(name).is_err() {
            self.refuse("cluster_header", name, "is not a header name");
        }
        if !route.clusters.is_empty() {
            self.refuse(
                "cluster_header",
                name,
                "a route has either `clusters` or `cluster_header`",
            );
        }
        if route.choice != ClusterChoice::Weighted {
            self.refuse("cluster_header", name, "names one cluster: there is no `choice`");
        }
        // An answer of the route goes nowhere.
        if route.filters.iter().any(Filter::answers) {
            self.refuse("cluster_header", name, "means nothing where a filter answers");
        }
    }

    fn upgrade(&mut self, Upgrade { protocol, disabled: _ }: &Upgrade) {
        if protocol.eq_ignore_ascii_case("connect") {
            let reason = format!("{NOT_YET}: a tunnel is no request to a service, and is refused");
            return self.refuse("protocol", protocol, reason);
        }
        //= RFC 9110 §7.8: protocol-name ["/" protocol-version], both tokens
        let is_token = |part: &str| HeaderName::try_from(part).is_ok();
        let mut parts = protocol.splitn(2, '/');
        if !parts.all(is_token) {
            self.refuse("protocol", protocol, "is not the name of a protocol");
        }
    }

    fn target(&mut self, target: &WeightedCluster, route: &Route, known: &[&NamedFilter]) {
        let WeightedCluster { name, weight, invalid, filters, overrides, subset: _, timeout } =
            target;
        if name.is_empty() {
            self.refuse("name", "", "must not be empty");
        }
        if *weight > 1_000_000 {
            self.refuse("weight", weight, "must be at most 1000000");
        }
        self.calls_filters(filters, &route.matches, Level::Cluster);
        if let Some(named) = named(filters).next() {
            let reason = "means nothing here: nothing overrides the filters of one cluster";
            let place = filters.iter().position(|it| matches!(it, Filter::Named(_)));
            self.refuse(&format!("filters[{}].named", place.unwrap_or(0)), &named.name, reason);
        }
        self.overrides(overrides, known, &route.matches, Level::Cluster);
        if invalid.as_deref() == Some("") {
            self.refuse("invalid", "\"\"", "must say why");
        }
        not_yet!(self, timeout);
    }
}
