//! Clusters of clusters (gRFC A37): what the mesh is told of one is the line of those that calls go to,
//! best first.
//!
//! Those of a cluster within come in its place, so that the line has no clusters of clusters; of one
//! that is met again, on whatever way, the first place counts, which ends rings, too. The line that calls
//! go by is held, whatever becomes of the resource, until another has taken its place.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use super::{Graph, Id, Lack, Published, Why, known::Known, secured::needs_of, walk::DEEPEST};
use crate::{
    config::Failover,
    control::xds::{
        kind::Kind,
        resource::{Cluster, EndpointsFrom},
    },
};

/// The clusters of a line that calls go by, and all that is watched for it.
#[derive(Debug, Default)]
pub(super) struct Line {
    clusters: Vec<Arc<str>>,
    needs: BTreeSet<Id>,
}

// === impl Known ===

impl Known {
    /// The clusters that calls to one go to, best first; nothing while one of them is on its way.
    ///
    /// # Errors
    ///
    /// Why it leads nowhere.
    pub(super) fn line(
        &self,
        name: &Arc<str>,
        parts: &[Arc<str>],
    ) -> Option<Result<Vec<Arc<str>>, String>> {
        let mut met = HashSet::from([name]);
        let mut line = Vec::new();
        let mut ways: Vec<_> = parts.iter().rev().map(|part| (part, 1)).collect();
        while let Some((name, depth)) = ways.pop() {
            if !met.insert(name) {
                continue;
            }
            if depth == DEEPEST {
                return Some(Err(too_deep(name)));
            }
            match self.cluster(name)?.map(|it| &it.endpoints) {
                Ok(EndpointsFrom::Aggregate(parts)) => {
                    ways.extend(parts.iter().rev().map(|part| (part, depth + 1)));
                }
                // One that is not there is passed over, and comes to its place when it comes.
                Ok(_) | Err(_) => line.push(Arc::clone(name)),
            }
        }
        if line.is_empty() {
            let reason =
                "CDS resource {name}: all clusters that it is made of are made of one another";
            return Some(Err(reason.replace("{name}", name)));
        }
        Some(Ok(line))
    }
}

// === impl Graph ===

impl Graph {
    /// The cluster with the line of those that it is made of; nothing while one of them is on its way.
    pub(super) fn lined_up(&self, cluster: &Arc<Cluster>, parts: &[Arc<str>]) -> Option<Published> {
        let line = match self.known.line(&cluster.name, parts)? {
            Ok(line) => line,
            Err(reason) => {
                return Some(Published::Nothing(Lack { reason: reason.into(), why: Why::Refused }));
            }
        };
        // What the mesh does not have yet takes over from nothing, nor what is a line there still, nor what
        // is known by now and has its endpoints to come.
        let is_there = |name: &Arc<str>| match self.published.get(name) {
            None => false,
            Some(Published::Nothing(_)) => !matches!(self.known.cluster(name), Some(Ok(_))),
            Some(it) => !it.is_line(),
        };
        if !line.iter().all(is_there) {
            return None;
        }
        let mut failover = Failover::default();
        failover.clusters = line.iter().map(|name| name.to_string()).collect();
        let mut cluster = Cluster::clone(cluster);
        cluster.config.failover = Some(failover);
        Some(Published::Cluster { cluster: Arc::new(cluster), endpoints: None })
    }

    /// Whether calls to a cluster of clusters go by this one, too.
    pub(super) fn has_in_line(&self, name: &Arc<str>, part: &Arc<str>) -> bool {
        self.lines.get(name).is_some_and(|line| line.clusters.contains(part))
    }

    /// Those that are to be looked at again, when any cluster has changed.
    pub(super) fn lined_up_again(&self) -> BTreeSet<Arc<str>> {
        let stands_in = self.good.iter().filter(|(_, good)| good.is_made_of_others());
        self.known.aggregates().chain(stands_in.map(|(name, _)| name)).cloned().collect()
    }

    /// Calls go by this cluster from now on: what its line needs is held.
    pub(super) fn hold_line(&mut self, cluster: &Cluster) {
        let before = self.lines.remove(&cluster.name).unwrap_or_default();
        let mut line = Line::default();
        if matches!(cluster.endpoints, EndpointsFrom::Aggregate(_)) {
            let names = cluster.config.failover.iter().flat_map(|it| &it.clusters);
            line.clusters = names.map(|name| name.as_str().into()).collect();
            line.needs = self.known.needs_of(&line.clusters);
        }
        self.held.replace(before.needs.iter(), line.needs.iter());
        if !line.clusters.is_empty() {
            self.lines.insert(Arc::clone(&cluster.name), line);
        }
    }

    /// Calls do not go by it any more.
    pub(super) fn let_go_of_line(&mut self, name: &Arc<str>) {
        if let Some(line) = self.lines.remove(name) {
            self.held.replace(line.needs.iter(), std::iter::empty());
        }
    }

    /// What lines need may be something else now.
    pub(super) fn hold_lines(&mut self) {
        for line in self.lines.values_mut() {
            let needs = self.known.needs_of(&line.clusters);
            self.held.replace(line.needs.iter(), needs.iter());
            line.needs = needs;
        }
    }
}

impl Known {
    fn needs_of(&self, line: &[Arc<str>]) -> BTreeSet<Id> {
        let mut needs = BTreeSet::new();
        for name in line {
            needs.insert((Kind::Cluster, Arc::clone(name)));
            needs.extend(self.said(name).into_iter().flat_map(|cluster| needs_of(cluster)));
        }
        needs
    }
}

/// By the name of the cluster.
pub(super) type Lines = BTreeMap<Arc<str>, Line>;

pub(super) fn too_deep(name: &str) -> String {
    format!(
        "CDS resource {name}: it is a cluster of clusters of clusters, more than {DEEPEST} deep"
    )
}
