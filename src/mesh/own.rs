//! Who this process is, for rules that ask: followed as its identity changes.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use super::{inner::Inner, state::State};
use crate::authorize::{Caller, Who};

/// The identity that the mesh shows to endpoints, as far as it is known.
pub(crate) struct Own {
    known: ArcSwap<Known>,
    changed: Notify,
}

/// What is known of it.
#[derive(Debug, Default, PartialEq)]
#[cfg_attr(not(feature = "_tls"), expect(dead_code, reason = "without TLS nobody has a name"))]
pub(crate) enum Known {
    /// There may be one, and what it is has not come, or cannot be used.
    #[default]
    Nothing,
    /// There is none.
    Nobody,
    Is(Who),
}

// === impl Own ===

impl Own {
    /// What is known now. It is not to be kept.
    pub(crate) fn load(&self) -> Guard<Arc<Known>> {
        self.known.load()
    }

    /// Waits until something is known.
    pub(crate) async fn known(&self) {
        loop {
            let changed = self.changed.notified();
            if **self.known.load() != Known::Nothing {
                return;
            }
            changed.await;
        }
    }

    fn set(&self, known: Known) {
        if **self.known.load() != known {
            self.known.store(Arc::new(known));
            self.changed.notify_waiters();
        }
    }
}

impl Default for Own {
    fn default() -> Self {
        Self { known: ArcSwap::default(), changed: Notify::new() }
    }
}

// === impl Known ===

impl Known {
    pub(crate) fn caller(&self) -> Caller<'_> {
        match self {
            Self::Nothing => Caller::Unknown,
            Self::Nobody => Caller::Nobody,
            Self::Is(who) => Caller::Known(who),
        }
    }
}

impl Inner {
    /// Looks again who this process is: after every word about identities.
    pub(super) fn look_at_own(&self, state: &State) {
        // One that was refused, or that a source has still to tell of, is no reason to be nobody.
        let is_open = !self.is_synced() || state.refused.contains_key("identity default");
        self.own.set(match state.keys.own() {
            Known::Nobody if is_open => Known::Nothing,
            known => known,
        });
    }
}
