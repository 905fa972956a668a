//! What the endpoints of a cluster count for a control plane, those that have left included.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use super::{cluster::Cells, tally::News};
use crate::core::{At, Attempts, EndpointLoad};

/// So many endpoints that have left are told of one by one; the others by their places alone.
const LEFT: usize = 4096;

/// Kept under the lock of the cluster's members.
#[derive(Default)]
pub(super) struct Loads {
    /// The metrics that are wanted; `None` while nobody asks.
    wanted: Option<Arc<Vec<String>>>,
    left: BTreeMap<(At, Arc<str>), News>,
}

// === impl Loads ===

impl Loads {
    pub(super) fn begin<'a>(
        &mut self,
        metrics: &Arc<Vec<String>>,
        here: impl Iterator<Item = &'a Arc<Cells>>,
    ) {
        let is_new = self.wanted.replace(Arc::clone(metrics)).is_none();
        for cells in here {
            let tally = cells.tally.get_or_init(Box::default);
            tally.want(Some(metrics));
            if is_new {
                // What it has counted before is told to nobody.
                drop(tally.take(cells.ended()));
            }
        }
    }

    pub(super) fn end<'a>(&mut self, here: impl Iterator<Item = &'a Arc<Cells>>) {
        (self.wanted, self.left) = (None, BTreeMap::new());
        for tally in here.filter_map(|cells| cells.tally.get()) {
            tally.want(None);
        }
    }

    /// An endpoint is picked for the first time.
    pub(super) fn joined(&self, cells: &Cells) {
        if let Some(metrics) = &self.wanted {
            cells.tally.get_or_init(Box::default).want(Some(metrics));
        }
    }

    /// An endpoint is gone.
    pub(super) fn left(&mut self, cells: &Cells) {
        let Some(load) = cells.take().filter(|_| self.wanted.is_some()) else { return };
        if load.is_nothing() {
            return;
        }
        let mut key = (load.at, load.address);
        if self.left.len() >= LEFT && !self.left.contains_key(&key) {
            key.1 = "".into();
        }
        let known = self.left.entry(key).or_default();
        known.attempts += load.attempts;
        for (name, (count, sum)) in load.metrics {
            let known = known.metrics.entry(name).or_default();
            *known = (known.0 + count, known.1 + sum);
        }
    }

    pub(super) fn take<'a>(
        &mut self,
        here: impl Iterator<Item = &'a Arc<Cells>>,
    ) -> Vec<EndpointLoad> {
        let left = std::mem::take(&mut self.left).into_iter();
        let left = left.map(|((at, address), News { attempts, metrics })| EndpointLoad {
            at,
            address,
            attempts,
            metrics,
        });
        here.filter_map(|cells| cells.take()).chain(left).collect()
    }
}

// === impl Cells ===

impl Cells {
    fn take(&self) -> Option<EndpointLoad> {
        let News { attempts, metrics } = self.tally.get()?.take(self.ended());
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(EndpointLoad { at, address: Arc::clone(&self.name), attempts, metrics })
    }

    /// How many have ended well, and not.
    fn ended(&self) -> (u64, u64) {
        let Attempts { ok, failed, .. } =
            self.durations.read().fold(Attempts::default(), |mut all, (key, counts)| {
                match key.result() {
                    "ok" => all.ok += counts.count(),
                    "failed" => all.failed += counts.count(),
                    // Who has left says nothing of the endpoint.
                    _ => {}
                }
                all
            });
        (ok, failed)
    }
}
