//! Checks of where to pick: priorities, localities, subsets.

use std::collections::HashSet;

use super::{Checker, NOT_YET, not_yet};
use crate::config::{
    Balancing, LocalityBalancing, LocalityScope, LocalityWeight, Rings, SlowStart, SubsetFallback,
    SubsetSelector, Subsets, Subsetting, ZoneAware,
};

/// Rings that a cluster may have.
const RINGS: usize = 16;

impl Checker {
    pub(super) fn percent(&mut self, field: &str, percent: Option<f64>) {
        if let Some(percent) = percent.filter(|percent| !(0.0..=100.0).contains(percent)) {
            self.refuse(field, percent, "must be in 0..=100");
        }
    }

    pub(super) fn localities(&mut self, localities: &[LocalityWeight]) {
        let mut seen = HashSet::new();
        for (index, weight) in localities.iter().enumerate() {
            let LocalityWeight { locality, priority, weight: _, proximity } = weight;
            self.within(&format!("localities[{index}]"), |checker| {
                if !seen.insert((locality, priority)) {
                    let it = format!("{}/{}/{}", locality.region, locality.zone, locality.sub_zone);
                    checker.refuse("locality", it, "is listed twice at this priority");
                }
                not_yet!(checker, proximity);
            });
        }
    }

    pub(super) fn balancing(&mut self, balancing: &Balancing) {
        let Balancing {
            overprovisioning_percent,
            weighted_health: _,
            fail_on_panic: _,
            locality,
            prefer,
            prefer_strictly: _,
            priority_failover,
            priority_retention,
            update_merge_window,
            wait_for_first_check: _,
            close_on_change: _,
            close_on_failure: _,
        } = balancing;
        if let Some(percent) = overprovisioning_percent.filter(|percent| *percent < 100) {
            self.refuse("overprovisioning_percent", percent, "must be at least 100");
        }
        match locality {
            LocalityBalancing::None | LocalityBalancing::Weighted => {}
            LocalityBalancing::ZoneAware(zone) => {
                self.within("locality.zone_aware", |checker| checker.zone_aware(zone));
            }
            LocalityBalancing::Rings(rings) => {
                self.within("locality.rings", |checker| checker.rings(rings));
            }
        }
        for (index, scope) in prefer.iter().enumerate() {
            let name = match scope {
                LocalityScope::Network => "network",
                LocalityScope::Cluster => "cluster",
                LocalityScope::Region
                | LocalityScope::Zone
                | LocalityScope::SubZone
                | LocalityScope::Node => continue,
            };
            self.refuse(&format!("prefer[{index}]"), name, NOT_YET);
        }
        not_yet!(self, priority_failover, priority_retention, update_merge_window);
    }

    fn zone_aware(&mut self, zone: &ZoneAware) {
        let ZoneAware {
            routing_percent,
            min_cluster_size: _,
            fail_on_panic: _,
            force_local_min_size,
            by_weight: _,
            own_cluster,
        } = zone;
        self.percent("routing_percent", *routing_percent);
        self.at_least_one("force_local_min_size", *force_local_min_size);
        if own_cluster.as_deref() == Some("") {
            self.refuse("own_cluster", "", "must not be empty");
        }
    }

    fn rings(&mut self, rings: &Rings) {
        let Rings { rings, full_load } = rings;
        if rings.len() > RINGS {
            self.refuse("rings", rings.len(), "must be at most 16");
        }
        self.at_least_one("full_load", *full_load);
        let mut before = None;
        for (index, ring) in rings.iter().enumerate() {
            self.within(&format!("rings[{index}]"), |checker| {
                checker.time("round_trip", Some(ring.round_trip));
                if let Some(before) = before.filter(|before| *before >= ring.round_trip) {
                    let reason = format!("must be over that of the ring before ({before:?})");
                    checker.refuse("round_trip", format!("{:?}", ring.round_trip), reason);
                }
                let threshold = ring.threshold_percent;
                if let Some(percent) = threshold.filter(|it| !(*it > 0.0 && *it <= 100.0)) {
                    checker.refuse("threshold_percent", percent, "must be over 0 and at most 100");
                }
            });
            before = Some(ring.round_trip);
        }
    }

    pub(super) fn slow_start(&mut self, slow_start: &SlowStart) {
        let SlowStart { window, aggression, min_weight_percent, after_ejection: _ } = slow_start;
        self.time("window", *window);
        if let Some(aggression) = aggression.filter(|it| !(*it > 0.0 && it.is_finite())) {
            self.refuse("aggression", aggression, "must be over 0");
        }
        self.percent("min_weight_percent", *min_weight_percent);
    }

    pub(super) fn subsetting(&mut self, subsetting: &Subsetting) {
        match subsetting {
            Subsetting::Random(random) => {
                self.within("random", |checker| checker.at_least_one("size", random.size));
            }
            Subsetting::Deterministic(it) => self.within("deterministic", |checker| {
                checker.at_least_one("size", it.size);
                if it.processes == 0 {
                    checker.refuse("processes", 0, "must be at least 1");
                } else if it.process >= it.processes {
                    let reason = format!("must be below processes ({})", it.processes);
                    checker.refuse("process", it.process, reason);
                }
            }),
        }
    }

    pub(super) fn subsets(&mut self, subsets: &Subsets) {
        let Subsets {
            selectors,
            fallback,
            default: _,
            locality_weighted: _,
            scale_locality_weight,
            panic_any: _,
            list_as_any,
        } = subsets;
        if *fallback == SubsetFallback::Keys {
            let reason = format!("{NOT_YET} for a cluster: a selector says which keys remain");
            self.refuse("fallback", "keys", reason);
        }
        self.each("selectors", selectors, Self::selector);
        not_yet!(self, scale_locality_weight, list_as_any);
    }

    fn selector(&mut self, selector: &SubsetSelector) {
        let SubsetSelector { keys, fallback, fallback_keys, single: _ } = selector;
        if keys.is_empty() {
            self.refuse("keys", "[]", "must have at least one key");
        }
        let distinct: HashSet<_> = keys.iter().collect();
        if distinct.len() < keys.len() {
            self.refuse("keys", format!("{keys:?}"), "a key is listed twice");
        }
        let fewer: HashSet<_> = fallback_keys.iter().collect();
        if *fallback == Some(SubsetFallback::Keys)
            && (fewer.is_empty() || fewer.len() >= distinct.len() || !fewer.is_subset(&distinct))
        {
            let reason = "must be some of keys, and not all of them";
            self.refuse("fallback_keys", format!("{fallback_keys:?}"), reason);
        }
    }
}
