//! The cells of clusters, and what one is made of.

use std::sync::Arc;

use crate::{
    config,
    discover::SourceId,
    mesh::{
        cluster::{Cluster, Core, NodeContext},
        discovered::Discovered,
        inner::Inner,
        keys::Keys,
        protect::Protector,
        state::{Entry, State},
    },
    observe::ClusterMeter,
    resilience::breaker::Breakers,
};

impl Inner {
    /// The entry of a cluster, made empty when nothing has named it yet.
    pub(in crate::mesh) fn entry<'a>(&self, state: &'a mut State, name: &str) -> &'a mut Entry {
        let State { clusters, keys, .. } = state;
        clusters.entry(name.to_owned()).or_insert_with(|| {
            let entry = Entry::new(self.empty(keys, name), self.code.security(name).cloned());
            self.peers.note(name, &entry.cell);
            entry
        })
    }

    /// A cluster without endpoints.
    pub(super) fn empty(&self, keys: &mut Keys, name: &str) -> Cluster {
        self.emptied(keys, ClusterMeter::new(&name.into(), &self.hub), Arc::default())
    }

    fn emptied(
        &self,
        keys: &mut Keys,
        meter: Arc<ClusterMeter>,
        discovered: Arc<Discovered>,
    ) -> Cluster {
        let settings = self.code.cluster(&meter.name);
        let protector = self.protector(keys, &meter.name, &settings, None);
        let limits = Arc::default();
        let context = self.node_context(&meter, &settings, protector, &discovered, limits);
        let mut core = Core::new(context, settings, self.epoch);
        self.keep(&core.balancer);
        core.checking = self.check(&core.balancer, &core.config.health_checks);
        Cluster::new(meter, core, discovered)
    }

    /// Puts an empty cell in the place of a cluster that nobody says anything of any more, and nobody
    /// leads to: what calls were routed to before keeps its endpoints until the last of them is over.
    //= gRFC A31: a cluster stays until the calls that were routed to it are committed
    pub(in crate::mesh) fn set_aside(&self, state: &mut State, source: SourceId, name: &str) {
        if !state.is_left(source, name) {
            return;
        }
        let State { clusters, keys, .. } = &mut *state;
        let Some(entry) = clusters.get_mut(name) else { return };
        let (meter, discovered) = (&entry.cell.meter, &entry.cell.discovered);
        let empty = self.emptied(keys, Arc::clone(meter), Arc::clone(discovered));
        let old = std::mem::replace(&mut entry.cell, Arc::new(empty));
        self.peers.note(name, &entry.cell);
        // What takes over from it does so for its calls still. Not what was set aside before: two that
        // take over from each other would keep each other.
        let is_in_place = |it: &Arc<Cluster>| {
            clusters.get(&*it.name).is_some_and(|entry| Arc::ptr_eq(&entry.cell, it))
        };
        let stand_ins = old.stand_ins().filter(is_in_place).collect();
        let config = old.core.load().config.clone();
        let failover = self.line_up(state, name, &config, &config::Cluster::default());
        debug_assert!(failover.is_none(), "it has none");
        old.set_aside(stand_ins);
    }

    /// How a cluster of these settings, the code's among them, is secured. `said` is what the first source
    /// says that says anything of it.
    pub(in crate::mesh) fn protector(
        &self,
        keys: &mut Keys,
        name: &str,
        config: &config::Cluster,
        said: Option<&config::ClusterSecurity>,
    ) -> Protector {
        let asks = |security: &config::ClusterSecurity| security.system_roots == Some(true);
        if config.security.as_ref().is_some_and(|security| {
            asks(security) || security.matches.iter().any(|rule| asks(&rule.security))
        }) {
            keys.need_system(self);
        }
        Protector::new(name, config, self.code.security(name), said, keys)
    }

    pub(super) fn node_context(
        &self,
        meter: &Arc<ClusterMeter>,
        config: &config::Cluster,
        protector: Protector,
        discovered: &Discovered,
        breakers: Arc<Breakers>,
    ) -> NodeContext {
        NodeContext {
            meter: Arc::clone(meter),
            protocol: config.protocol,
            protector: Arc::new(protector),
            settings: Arc::new(config.transport.settings()),
            connector: Arc::clone(&self.stages.connector),
            shared: Arc::clone(&self.transport),
            unreachable: Arc::clone(&discovered.unreachable),
            breakers,
            http2_chosen: Arc::default(),
            place: Arc::clone(&self.place),
            peers: Arc::clone(&self.peers),
            woken: Arc::default(),
            members: Arc::default(),
            #[cfg(feature = "orca")]
            owing: Arc::default(),
            leaf: self.stages.leaf.clone(),
            stage: self.stages.endpoint.clone(),
        }
    }
}
