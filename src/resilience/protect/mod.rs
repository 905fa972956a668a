//! What adaptive limits, throttling and admission control have in common: a call asks to enter,
//! and they are told what it has come to. The mesh's guards and the public layers are two shells
//! around it.

mod future;
pub(crate) mod layer;

use std::{fmt, sync::Arc};

use super::outcome::Outcome;
use crate::{
    config::Criticality,
    core::{Epoch, Error, Held, Instant, Random},
};

pub use self::future::ResponseFuture;

/// A protection that calls ask.
pub(crate) trait Protect: fmt::Debug + Send + Sync {
    /// Whether the call is sent. What is given back is its place, if it has one.
    fn enter(&self, now: u64, criticality: Criticality, random: &Random) -> Result<Held, Error>;

    /// A call that was sent then and whose head came then has come to something now.
    fn ended(&self, span: (u64, u64), now: u64, outcome: Outcome);

    /// Its caller has left.
    fn left(&self, began: u64, now: u64);

    /// Whether a call of this criticality would be refused now, in words.
    fn foretell(&self, now: u64, criticality: Criticality) -> Option<String>;

    /// The limit of calls in flight and how many are, if it is one.
    fn level(&self) -> Option<(u32, u32)> {
        None
    }
}

/// A call that was let in. Dropped without a word, its caller has left.
#[derive(Debug)]
pub(crate) struct Ticket {
    by: Option<Arc<dyn Protect>>,
    epoch: Epoch,
    began: u64,
    place: Held,
}

// === impl Ticket ===

impl Ticket {
    pub(crate) fn enter(
        by: &Arc<dyn Protect>,
        epoch: Epoch,
        now: u64,
        criticality: Criticality,
        random: &Random,
    ) -> Result<Self, Error> {
        let place = by.enter(now, criticality, random)?;
        Ok(Self { by: Some(Arc::clone(by)), epoch, began: now, place })
    }

    /// The call has come to this by its head; its place is kept to the end of its body.
    pub(crate) fn ended(self, now: u64, outcome: Outcome) -> Held {
        self.trailed(now, now, outcome)
    }

    /// The same of one that has come to it later than its head.
    pub(crate) fn trailed(mut self, head: u64, now: u64, outcome: Outcome) -> Held {
        if let Some(by) = self.by.take() {
            by.ended((self.began, head), now, outcome);
        }
        std::mem::take(&mut self.place)
    }

    /// The same of a call whose outcome is known later than its head: the place, and the rest.
    pub(crate) fn split(mut self) -> (Held, Self) {
        (std::mem::take(&mut self.place), self)
    }

    pub(crate) fn now(&self) -> u64 {
        self.epoch.nanos(Instant::now())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(by) = self.by.take() {
            by.left(self.began, self.now());
        }
    }
}
