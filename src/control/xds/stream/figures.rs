//! What is counted of a client, for metrics: read without asking its task.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    control::xds::{
        client::{Client, Decode},
        kind::Kind,
    },
    core::{Figures, Instant, OfResources, OfServer},
};

/// Shared by the task and who reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Figures>>);

/// The side of the task.
#[derive(Debug)]
pub(super) struct Counted {
    shared: Shared,
    is_stale: bool,
    /// They are not counted again before.
    not_before: Option<Instant>,
}

/// So often the resources are counted, if anything happens.
const APART: Duration = Duration::from_millis(100);

// === impl Shared ===

impl Shared {
    pub(super) fn read(&self) -> Figures {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl Counted ===

impl Counted {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, is_stale: true, not_before: None }
    }

    /// Something has happened.
    pub(super) fn changes(&mut self) {
        self.is_stale = true;
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.is_stale)
    }

    /// Counts, if there is something new and not just now it was.
    pub(super) fn count<D: Decode>(&mut self, now: Instant, client: &Client<D>) {
        if !self.is_stale || self.not_before.is_some_and(|at| now < at) {
            return;
        }
        self.is_stale = false;
        self.not_before = now.checked_add(APART);
        let servers = client.figures().map(|(uri, of)| OfServer {
            uri: Arc::clone(uri),
            is_connected: of.is_connected,
            failures: of.failures,
            updates: Kind::ALL
                .into_iter()
                .map(|kind| (kind.message(), of.valid[kind as usize], of.invalid[kind as usize]))
                .collect(),
        });
        let mut resources = BTreeMap::new();
        for one in client.dump() {
            let key = (one.authority.cloned(), one.kind, one.cache_state());
            *resources.entry(key).or_insert(0_u64) += 1;
        }
        let resources = resources.into_iter();
        let resources = resources.map(|((authority, kind, state), count)| OfResources {
            authority,
            kind: kind.message(),
            state,
            count,
        });
        let figures = Figures { servers: servers.collect(), resources: resources.collect() };
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}
