//! The settings of clusters: merged, then swapped in.

use std::sync::{Arc, Weak};

use super::stand_ins;
use crate::{
    config,
    mesh::{
        cluster::{Cluster, Core},
        inner::Inner,
        overlay,
        state::{Entry, State},
    },
};

impl Inner {
    /// Swaps a cluster's settings in; endpoints keep their state, and unless the way to them has
    /// changed, their connections.
    pub(in crate::mesh) fn settle(&self, state: &mut State, name: &str) {
        #[cfg(feature = "dns")]
        self.discover(state, name);
        let Some(entry) = state.clusters.get(name) else { return };
        let cell = Arc::clone(&entry.cell);
        let (name, meter) = (Arc::clone(&cell.name), &cell.meter);
        let laid = overlay::clusters(&name, self.code.cluster(&name), entry.said());
        let wanted = laid.merged;
        self.note_left_out(state, format!("settings of cluster {name}"), &laid.left_out);
        let current = cell.core.load_full();
        let failover = if current.config.failover == wanted.failover {
            current.failover.clone()
        } else {
            self.line_up(state, &name, &current.config, &wanted)
        };
        let said = state.clusters.get(&*name).and_then(Entry::secured_by).map(|(_, said)| said);
        let protector = self.protector(&mut state.keys, &name, &wanted, said);
        if current.same_connections(&wanted, &protector) {
            current.protector.follow(&protector);
            if current.config != wanted {
                let mut core = current.with_settings(wanted);
                core.failover = failover;
                if core.config.health_checks != current.config.health_checks {
                    core.checking = self.check(&core.balancer, &core.config.health_checks);
                }
                cell.set(core);
                self.keep(&current.balancer);
            }
            return;
        }
        // What is open still is counted still.
        let limits = Arc::clone(&current.balancer.context().breakers);
        let context = self.node_context(meter, &wanted, protector, &cell.discovered, limits);
        let core = Core::new(context, wanted, self.epoch);
        let mut core = core.counting_on(&current);
        core.failover = failover;
        core.balancer.replace(current.balancer.specs());
        self.keep(&core.balancer);
        core.checking = self.check(&core.balancer, &core.config.health_checks);
        cell.set(core);
        // The old endpoints finish what they have in flight and close.
        current.balancer.replace(Vec::new());
    }

    /// The clusters that take over from one by its new settings: their cells are made where nothing
    /// has named them yet.
    pub(super) fn line_up(
        &self,
        state: &mut State,
        name: &str,
        before: &config::Cluster,
        wanted: &config::Cluster,
    ) -> Option<Arc<[Weak<Cluster>]>> {
        let (before, after) = (stand_ins(before), stand_ins(wanted));
        let handles = after.iter().map(|other| {
            let entry = self.entry(state, other);
            entry.backs.insert(name.to_owned());
            Arc::downgrade(&entry.cell)
        });
        let handles: Vec<_> = handles.collect();
        for gone in before.iter().filter(|it| !after.contains(it)) {
            if let Some(entry) = state.clusters.get_mut(gone) {
                entry.backs.remove(name);
            }
            state.tidy(gone);
        }
        for other in before.iter().chain(&after) {
            self.directory.note(state, other);
        }
        (!handles.is_empty()).then(|| handles.into())
    }

    /// Settles every cluster, when keys or roots of another name have come.
    pub(in crate::mesh) fn settle_all(&self, state: &mut State) {
        let names: Vec<String> = state.clusters.keys().cloned().collect();
        for name in names {
            self.settle(state, &name);
            self.examine_cluster(state, &name);
        }
    }
}
