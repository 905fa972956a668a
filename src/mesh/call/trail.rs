//! What a call has met so far, attempt by attempt.

use std::{sync::Arc, time::Duration};

use crate::{
    balance::Endpoint,
    core::{self, Instant},
    mesh::cluster::Node,
    resilience::budget::Grant,
};

/// An endpoint and when the attempt on it began.
pub(super) type Visit = (Arc<Endpoint<Node>>, Instant);

/// The attempts of one call. Empty, and without an allocation, until one has failed.
#[derive(Default)]
pub(super) struct Trail {
    /// Attempts so far, the one under way included.
    pub(super) number: u32,
    /// Those that never left this process.
    pub(super) never_sent: u32,
    /// The budget has paid for the attempt under way.
    pub(super) is_paid: bool,
    /// An endpoint may have worked on one of those that have failed.
    pub(super) worked_on: bool,
    /// Endpoints that the next attempt avoids.
    pub(super) tried: Vec<Arc<Endpoint<Node>>>,
    /// The place of the further attempt that is under way, where these are limited.
    pub(super) grant: Grant,
    log: Vec<core::Attempt>,
}

impl Trail {
    /// Attempts that count against the policy: those that may have reached an endpoint.
    pub(super) fn counted(&self) -> u32 {
        self.number.saturating_sub(self.never_sent)
    }

    /// Earlier attempts that an endpoint may have seen: what it is told of.
    pub(super) fn earlier(&self) -> u32 {
        self.counted().saturating_sub(1)
    }

    pub(super) fn has_tried(&self, endpoint: &Endpoint<Node>) -> bool {
        self.tried.iter().any(|tried| tried.is(endpoint))
    }

    /// Notes what an attempt has met; the next avoids its endpoint.
    pub(super) fn note(&mut self, (endpoint, started): Visit, met: &str) {
        let name = endpoint.extra().map(|node| Arc::clone(&node.name));
        if !self.has_tried(&endpoint) {
            self.tried.push(endpoint);
        }
        if let Some(endpoint) = name {
            let elapsed = started.elapsed();
            self.log.push(core::Attempt { endpoint, met: met.into(), elapsed });
        }
    }

    /// Forgets it all: the call has waited for endpoints and begins anew.
    pub(super) fn forget(&mut self) {
        self.log.clear();
    }

    /// What the call's error says of it.
    pub(super) fn context(
        &mut self,
        service: &Arc<str>,
        elapsed: Option<Duration>,
    ) -> core::Context {
        let attempts = std::mem::take(&mut self.log);
        core::Context {
            service: Some(Arc::clone(service)),
            endpoint: attempts.last().map(|attempt| Arc::clone(&attempt.endpoint)),
            attempts,
            elapsed,
            worked_on: self.worked_on,
        }
    }
}
