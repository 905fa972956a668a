//! What a cluster that is in use was made of, and what the next differs in.

use std::{collections::HashSet, sync::Arc};

use crate::{
    control::xds::resource::{Changes, Cluster, Endpoints},
    discover::Patch,
};

#[derive(Clone, Debug)]
pub(super) struct Laid {
    pub(super) cluster: Arc<Cluster>,
    pub(super) endpoints: Arc<Endpoints>,
}

// === impl Laid ===

impl Laid {
    /// What becomes of single endpoints, where that is all that differs, and less than half of them.
    pub(super) fn patch(&self, now: &Self) -> Option<Patch> {
        let (cluster, before, after) = (&now.cluster, &*self.endpoints, &*now.endpoints);
        let is_same_cluster = Arc::ptr_eq(&self.cluster, cluster) || self.cluster == *cluster;
        if !is_same_cluster || !before.differs_in_list_alone(after) {
            return None;
        }
        // The settings of a cluster are judged by whether any endpoint shows who the mesh is.
        let is_shown = |it: &Self| it.cluster.is_shown_to(&it.endpoints);
        if cluster.config.security.is_some() && is_shown(self) != is_shown(now) {
            return None;
        }
        let most = after.endpoints.len() / 2;
        let Changes { put, gone } = before.endpoints.changes(&after.endpoints, most)?;
        let said: HashSet<_> = put.iter().map(|endpoint| &endpoint.address).collect();
        let gone = gone.into_iter().map(|endpoint| &endpoint.address);
        let gone = gone.filter(|address| !said.contains(address)).cloned().collect();
        let put = put.into_iter().map(|endpoint| cluster.secured(endpoint.clone())).collect();
        let whole = now.clone();
        let whole = Box::new(move || whole.cluster.with(&whole.endpoints));
        Some(Patch { put, gone, whole })
    }
}
