//! From what the sources say to what calls read: compiled, then swapped in.

use std::sync::Arc;

use super::{
    cluster::{Cluster, Core, NodeContext},
    inner::Inner,
    service::{Route, Service, ServiceCell},
    state::{Entry, State},
};
use crate::{
    config::{self, Policy},
    resilience::limit::Limiter,
    route::{Matcher, Split, Table},
};

impl Inner {
    /// The entry of a cluster, made empty when nothing has named it yet.
    pub(super) fn entry<'a>(&self, state: &'a mut State, name: &str) -> &'a mut Entry {
        state.clusters.entry(name.to_owned()).or_insert_with(|| {
            let name: Arc<str> = name.into();
            let settings = self.code.cluster(&name, config::Cluster::default());
            let core = Core::new(self.node_context(&name, &settings), settings, self.epoch);
            Entry::new(Cluster::new(name, core))
        })
    }

    fn node_context(&self, name: &Arc<str>, config: &config::Cluster) -> NodeContext {
        NodeContext {
            cluster: Arc::clone(name),
            protocol: config.protocol,
            settings: Arc::new(config.transport.settings()),
            connector: Arc::clone(&self.stages.connector),
            shared: Arc::clone(&self.transport),
            leaf: self.stages.leaf.clone(),
            stage: self.stages.endpoint.clone(),
        }
    }

    /// Compiles the service and swaps it in; a reference to a cluster makes its cell.
    pub(super) fn compile(&self, state: &mut State, name: &str) {
        let cell = self.cell_in(name);
        let said = state.services.get(name).and_then(|by| by.iter().next());
        if said.is_none() && !state.is_cluster(name) && !self.code.names(name) {
            cell.current.store(None);
            return;
        }
        let source: Option<Arc<str>> =
            said.and_then(|(source, _)| Some(self.sources.get(source.index())?.as_str().into()));
        let said = said.map(|(_, service)| service.clone()).unwrap_or_default();
        let code = self.code.policy(name);
        let routes = routes_of(&said, name).into_iter().filter_map(|route| {
            let matchers: Result<Vec<_>, _> = route.matches.iter().map(Matcher::new).collect();
            // Validation has refused what cannot be compiled.
            let matchers = matchers.ok()?;
            let clusters = route.clusters.iter().map(|target| {
                let entry = self.entry(state, &target.name.to_ascii_lowercase());
                (target.weight, Arc::clone(&entry.cell))
            });
            let clusters = Split::new(clusters.collect::<Vec<_>>());
            let plane = route.policy.over(&said.policy);
            let policy = cell.policy(&code.over(&plane));
            let name = route.name.as_deref().map(Into::into);
            Some((matchers, Route { name, clusters, policy, plane, source: source.clone() }))
        });
        let table = Table::new(routes.collect());
        let limiter = limiter(&cell, &code.over(&said.policy));
        cell.current.store(Some(Arc::new(Service { table, limiter })));
        self.applied(format!("service {name}"));
    }

    /// Swaps a cluster's settings in; endpoints keep their state, and unless the way to them has
    /// changed, their connections.
    pub(super) fn settle(&self, state: &mut State, name: &str) {
        let entry = self.entry(state, name);
        let name = Arc::clone(&entry.cell.name);
        let said = entry.settings.values().next().cloned().unwrap_or_default();
        let wanted = self.code.cluster(&name, said);
        let current = entry.cell.core.load_full();
        if current.config == wanted {
            return;
        }
        if current.same_connections(&wanted) {
            entry.cell.core.store(Arc::new(current.with_settings(wanted)));
            return;
        }
        let core = Core::new(self.node_context(&name, &wanted), wanted, self.epoch);
        core.balancer.replace(current.balancer.specs());
        entry.cell.core.store(Arc::new(core));
        // The old endpoints finish what they have in flight and close.
        current.balancer.replace(Vec::new());
    }
}

/// The routes of a service; without any, one that takes everything to its cluster.
fn routes_of(service: &config::Service, name: &str) -> Vec<config::Route> {
    if !service.routes.is_empty() {
        return service.routes.clone();
    }
    let target = service.cluster.clone().unwrap_or_else(|| name.to_owned());
    let clusters = vec![config::WeightedCluster::new(target)];
    vec![config::Route { clusters, ..config::Route::default() }]
}

/// The limit of a service; its count of calls in flight survives an update that keeps it.
fn limiter(cell: &ServiceCell, merged: &Policy) -> Option<Arc<Limiter>> {
    let limit = merged.max_requests?;
    let before = cell.current.load();
    let kept = before.as_ref().and_then(|service| service.limiter.as_ref());
    let kept = kept.filter(|limiter| limiter.limit() == limit);
    Some(kept.map_or_else(|| Arc::new(Limiter::new(limit)), Arc::clone))
}
