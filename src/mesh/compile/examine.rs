//! What cannot work as it is said, though each part of it can: reported, and withdrawn when it can.

use std::collections::BTreeSet;

use super::{asked_by, mirror_of, stand_ins};
use crate::{
    config,
    mesh::{
        UnknownNames,
        inner::Inner,
        overlay::{self, LeftOut, LostRules, Whose},
        state::{Standing, State},
    },
};

/// So many fields that were left out are told of one part.
const SHOWN: usize = 20;

impl Inner {
    /// Reports a service that points nowhere, once every source has spoken.
    pub(super) fn examine(&self, state: &mut State, name: &str) {
        let lost = state.services.get(name).and_then(|said| overlay::lost_rules(name, said));
        let unsecured = state.unsecured(name);
        if lost.is_none() && unsecured.is_empty() && !self.is_synced() {
            return;
        }
        let part = format!("service {name}");
        let targets = state.named.get(name).into_iter().flatten();
        let missing = targets.filter(|target| state.cluster(target) == Standing::Absent);
        let missing: Vec<&String> = missing.collect();
        let reason = if let Some(lost) = lost {
            let by = self.sources.get(lost.routed_by.index()).map_or("dns", String::as_str);
            let LostRules { source, path, .. } = lost;
            let place = state.place(source, &path);
            let place = place.or_else(|| self.sources.get(source.index()).cloned());
            let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
            format!(
                "no call would meet {path}{place}, for the routes are those of {by}; the service \
                 does not run without it: say it as a filter of the service, or all routes in one \
                 source"
            )
        } else if !missing.is_empty() {
            let noun = if missing.len() == 1 { "cluster" } else { "clusters" };
            let names: Vec<_> = missing.iter().map(|target| format!("`{target}`")).collect();
            let places = missing.iter().take(SHOWN);
            let places: Vec<_> = places.filter_map(|it| named_at(state, name, it)).collect();
            let reason = format!("names {noun} {}, which no source defines", names.join(", "));
            if places.is_empty() { reason } else { format!("{reason} ({})", places.join(", ")) }
        } else if !unsecured.is_empty() {
            format!(
                "the code says how cluster `{name}` is secured, and nothing of {}, where its calls \
                 would go as well; the service does not run without it: say it of each of them, by \
                 `.service(cluster, …)`, `plaintext()` where that is meant",
                unsecured.join(", ")
            )
        } else if self.code.names(name)
            && self.unknown_names == UnknownNames::Refuse
            && state.service(name) == Standing::Absent
            && !state.is_cluster(name)
            && state.asking.is_settled(name)
        {
            "is given settings in code, but no source defines it".to_owned()
        } else if let Some(reason) = self.stray(state, name) {
            reason
        } else if let Err(reason) = state.reachable(name) {
            format!(
                "only the cluster defines it, which no service names, and no client can call it: \
                 {reason}"
            )
        } else {
            state.flaws.remove(&part);
            return;
        };
        if state.flaws.get(&part) != Some(&reason) {
            self.report(&part, &reason);
            state.flaws.insert(part, reason);
        }
    }

    /// What the code says of the cluster of a service's name is said of nothing.
    fn stray(&self, state: &State, name: &str) -> Option<String> {
        if !self.code.shapes(name) {
            return None;
        }
        let clusters: Vec<_> = state.elsewhere(name).iter().map(|it| format!("`{it}`")).collect();
        (!clusters.is_empty()).then(|| {
            format!(
                "the code gives settings to cluster `{name}`, which no source defines; its routes \
                 lead to {}: give them to these, by `.service(cluster, …)`",
                clusters.join(", ")
            )
        })
    }

    /// The same for all of them, when the last source has spoken.
    pub(in crate::mesh) fn examine_all(&self, state: &mut State) {
        let mut names: BTreeSet<String> = state.named.keys().cloned().collect();
        names.extend(self.code.all().map(str::to_owned));
        let clusters: Vec<String> = state.clusters.keys().cloned().collect();
        for cluster in clusters {
            self.examine_cluster(state, &cluster);
        }
        for name in names {
            self.examine(state, &name);
        }
    }

    /// Reports a cluster that cannot be secured as it asks to be, or that names others which are not
    /// there, once every source has spoken.
    pub(in crate::mesh) fn examine_cluster(&self, state: &mut State, name: &str) {
        if !self.is_synced() {
            return;
        }
        self.examine_failover(state, name);
        self.examine_endpoints(state, name);
        let part = format!("security of cluster {name}");
        let entry = state.clusters.get(name).filter(|entry| !entry.settings.is_empty());
        match entry.and_then(|entry| entry.cell.core.load().protector.flaw()) {
            None => {
                state.flaws.remove(&part);
            }
            Some(reason) if state.flaws.get(&part) == Some(&reason) => {}
            Some(reason) => {
                self.report(&part, &reason);
                state.flaws.insert(part, reason);
            }
        }
    }

    /// Reports the endpoints that are left out since they would loosen what another says of the cluster.
    pub(in crate::mesh) fn examine_endpoints(&self, state: &mut State, name: &str) {
        if !self.is_synced() {
            return;
        }
        let part = format!("security of endpoints of cluster {name}");
        let entry = state.clusters.get(name);
        let mut left_out: Vec<_> = entry.iter().flat_map(|entry| entry.loosening()).collect();
        if left_out.is_empty() {
            state.flaws.remove(&part);
            return;
        }
        left_out.sort_unstable_by_key(|(source, address, ..)| (*source, address.to_string()));
        let told = left_out.iter().take(SHOWN).map(|(source, address, loosening, by)| {
            let whose = match by {
                Whose::Code => "the application's code".to_owned(),
                Whose::Source(by) => format!("another source ({})", self.source_name(*by)),
            };
            format!(
                "{address} of {}: {} = {}: {}, which secures the cluster",
                self.source_name(*source),
                loosening.field(),
                loosening.value(),
                loosening.reason(&whose)
            )
        });
        let reason = format!("left out: {}", told.collect::<Vec<_>>().join("; "));
        if state.flaws.get(&part) != Some(&reason) {
            self.report(&part, &reason);
            state.flaws.insert(part, reason);
        }
    }

    /// Reports the clusters that are to take over from one and that no source defines.
    pub(super) fn examine_failover(&self, state: &mut State, name: &str) {
        if !self.is_synced() {
            return;
        }
        let part = format!("failover of cluster {name}");
        let entry = state.clusters.get(name).filter(|entry| !entry.settings.is_empty());
        let named = entry.map(|entry| stand_ins(&entry.cell.core.load().config));
        let missing =
            named.into_iter().flatten().filter(|it| state.cluster(it) == Standing::Absent);
        let missing: Vec<_> = missing.map(|name| format!("`{name}`")).collect();
        if missing.is_empty() {
            state.flaws.remove(&part);
            return;
        }
        let noun = if missing.len() == 1 { "cluster" } else { "clusters" };
        let reason = format!("names {noun} {}, which no source defines", missing.join(", "));
        if state.flaws.get(&part) != Some(&reason) {
            self.report(&part, &reason);
            state.flaws.insert(part, reason);
        }
    }

    /// Reports what of some settings was left out, since it contradicts what is nearer.
    pub(super) fn note_left_out(&self, state: &mut State, part: String, left_out: &[LeftOut]) {
        if left_out.is_empty() {
            state.flaws.remove(&part);
            return;
        }
        let told = left_out.iter().take(SHOWN).map(|LeftOut { whose, error }| {
            let whose = match whose {
                Whose::Code => "the code".to_owned(),
                Whose::Source(source) => {
                    let place = state.place(*source, &error.path);
                    let name = || self.sources.get(source.index()).cloned();
                    place.or_else(name).unwrap_or_else(|| "dns".to_owned())
                }
            };
            format!("{error}; of {whose}, it is left out")
        });
        let reason = told.collect::<Vec<_>>().join("; ");
        if state.flaws.get(&part) != Some(&reason) {
            self.report(&part, &reason);
            state.flaws.insert(part, reason);
        }
    }
}

/// Where a service names a cluster, as far as its source knows.
fn named_at(state: &State, service: &str, cluster: &str) -> Option<String> {
    let is_meant = |name: &str| name.eq_ignore_ascii_case(cluster);
    let in_filters = |filters: &[config::Filter]| {
        filters.iter().enumerate().find_map(|(place, filter)| {
            let mirror = mirror_of(filter).and_then(|it| it.cluster.as_ref());
            let named = mirror.or_else(|| asked_by(filter)).filter(|it| is_meant(it));
            named.map(|_| format!("filters[{place}].{}.cluster", filter.name()))
        })
    };
    let said = state.services.get(service).into_iter().flatten();
    let paths = said.filter_map(|(source, said)| {
        if said.cluster.as_deref().is_some_and(is_meant) {
            return Some((source, format!("services.{service}.cluster")));
        }
        if let Some(place) = in_filters(&said.filters) {
            return Some((source, format!("services.{service}.{place}")));
        }
        said.routes.iter().enumerate().find_map(|(route, it)| {
            let path = format!("services.{service}.routes[{route}]");
            let target = it.clusters.iter().position(|it| is_meant(&it.name));
            let path = match target {
                Some(target) => format!("{path}.clusters[{target}].name"),
                None => format!("{path}.{}", in_filters(&it.filters)?),
            };
            Some((source, path))
        })
    });
    let mut places = paths.filter_map(|(source, path)| state.place(*source, &path));
    places.next()
}
