//! The cells of clusters, and what one is made of.

use std::sync::Arc;

use crate::{
    config,
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
            let entry = Entry::new(self.empty(keys, name));
            self.peers.note(name, &entry.cell);
            entry
        })
    }

    /// A cluster without endpoints.
    pub(super) fn empty(&self, keys: &mut Keys, name: &str) -> Cluster {
        let meter = ClusterMeter::new(&name.into(), &self.hub);
        let settings = self.code.cluster(name);
        let protector = self.protector(keys, name, &settings);
        let discovered = Arc::<Discovered>::default();
        let limits = Arc::default();
        let context = self.node_context(&meter, &settings, protector, &discovered, limits);
        let mut core = Core::new(context, settings, self.epoch);
        self.keep(&core.balancer);
        core.checking = self.check(&core.balancer, &core.config.health_checks);
        Cluster::new(meter, core, discovered)
    }

    /// How a cluster of these settings, the code's among them, is secured.
    pub(in crate::mesh) fn protector(
        &self,
        keys: &mut Keys,
        name: &str,
        config: &config::Cluster,
    ) -> Protector {
        let asks = |security: &config::ClusterSecurity| security.system_roots == Some(true);
        if config.security.as_ref().is_some_and(|security| {
            asks(security) || security.matches.iter().any(|rule| asks(&rule.security))
        }) {
            keys.need_system(self);
        }
        Protector::new(name, config, self.code.security(name), keys)
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
