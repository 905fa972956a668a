//! What a cluster has counted, for a control plane that balances by it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{ClusterMeter, Members};
use crate::core::{EndpointLoad, Refusal};

// === impl ClusterMeter ===

impl ClusterMeter {
    /// Somebody is about to count for a control plane: drops are told of from now on.
    pub(crate) fn await_loads(&self) {
        let mut drops = self.drops();
        drops.await_teller(self.over_limit());
    }

    /// Counts for a control plane from now on, of every endpoint that there is and will be.
    pub(crate) fn begin_loads(&self, metrics: &Arc<Vec<String>>) {
        self.drops().tell(true);
        let Members { here, loads, .. } = &mut *self.members();
        loads.begin(metrics, here.values());
    }

    /// No control plane asks any more.
    pub(crate) fn end_loads(&self) {
        self.drops().tell(false);
        let Members { here, loads, .. } = &mut *self.members();
        loads.end(here.values());
    }

    /// What is new since they were last taken, of those that are here and of those that are gone.
    pub(crate) fn take_loads(&self) -> Vec<EndpointLoad> {
        let Members { here, loads, .. } = &mut *self.members();
        loads.take(here.values())
    }

    /// Drops that are new since they were last taken: by category, and without one.
    pub(crate) fn take_drops(&self) -> (BTreeMap<Arc<str>, u64>, u64) {
        // Under the lock, so that of two who take none has an older count.
        let mut drops = self.drops();
        drops.take(self.over_limit())
    }

    /// How many attempts the cluster's limit has refused.
    fn over_limit(&self) -> u64 {
        self.refused[Refusal::MaxRequests.index()].load(Relaxed)
    }
}
