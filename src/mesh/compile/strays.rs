//! What the code says of the cluster of a service's name, where calls of that service go elsewhere.

use std::collections::BTreeSet;

use super::{lines, mirror_of, routes_of};
use crate::{
    config::{Filter, Service},
    mesh::{
        overlay,
        state::{Said, State},
    },
};

/// Where calls of a service, or copies of them, go.
struct Ways {
    clusters: BTreeSet<String>,
    /// The headers that name further ones.
    headers: BTreeSet<String>,
}

impl State {
    /// Where calls of a service would go less secured than the code asks, in words: it says how the
    /// cluster of the service's name is secured, and nothing of these.
    pub(in crate::mesh) fn unsecured(&self, name: &str) -> Vec<String> {
        if !self.demanding.contains(name) {
            return Vec::new();
        }
        let Ways { clusters, headers } = self.ways(name);
        let is_open = |cluster: &&String| *cluster != name && !self.secured.contains(*cluster);
        let clusters = clusters.iter().filter(is_open).map(|cluster| format!("`{cluster}`"));
        let headers = headers.iter().map(|header| format!("any that the header `{header}` names"));
        clusters.chain(headers).collect()
    }

    /// The clusters that a service leads to, where that of its own name is not among them and is no
    /// cluster of a source either.
    pub(in crate::mesh) fn elsewhere(&self, name: &str) -> BTreeSet<String> {
        let Ways { clusters, headers } = self.ways(name);
        let is_met = clusters.contains(name) || self.is_cluster(name) || !headers.is_empty();
        if is_met { BTreeSet::new() } else { clusters }
    }

    fn ways(&self, name: &str) -> Ways {
        match self.services.get(name) {
            Some(said) if !said.is_empty() => Ways::of(name, said),
            _ => Ways { clusters: BTreeSet::from([name.to_owned()]), headers: BTreeSet::new() },
        }
    }
}

impl Ways {
    fn of(name: &str, said: &Said<Service>) -> Self {
        let service = overlay::services(name, said).service;
        let routes = routes_of(&service, name);
        let targets = routes.iter().flat_map(|route| &route.clusters);
        let targets = targets.filter(|target| target.invalid.is_none()).map(|it| &it.name);
        let mirrors = lines::all(&service, &routes).filter_map(mirrored_to);
        let clusters = targets.chain(mirrors).map(|name| name.to_ascii_lowercase()).collect();
        let headers = routes.iter().filter_map(|route| route.cluster_header.clone()).collect();
        Self { clusters, headers }
    }
}

fn mirrored_to(filter: &Filter) -> Option<&String> {
    mirror_of(filter)?.cluster.as_ref()
}
