//! What computes a limit of what was seen in a window: arithmetic, without time or threads.

mod aimd;
mod gradient;
mod gradient2;
mod vegas;

use self::{aimd::Aimd, gradient::Gradient, gradient2::Gradient2, vegas::Vegas};
use super::rules::Rules;
use crate::{config::ConcurrencyController, core::Random};

/// A window of calls that have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Nanoseconds since the owner's epoch.
    pub(super) now: u64,
    /// Their latency, in microseconds; none if no call was answered.
    pub(super) latency: Option<f64>,
    pub(super) answers: u32,
    pub(super) drops: u32,
    /// The most of them that were in flight.
    pub(super) in_flight: u32,
}

/// What holds until the next window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) limit: f64,
    /// Ends that the next window needs; none: as many as usual.
    pub(super) needs: Option<u32>,
    /// Whether only calls count that begin from now on.
    pub(super) afresh: bool,
}

#[derive(Debug)]
pub(super) enum Control {
    Gradient(Gradient),
    Gradient2(Gradient2),
    Vegas(Vegas),
    Aimd(Aimd),
}

// === impl Control ===

impl Control {
    pub(super) fn new(controller: &ConcurrencyController, rules: &Rules, random: &Random) -> Self {
        match controller {
            ConcurrencyController::Gradient(it) => Self::Gradient(Gradient::new(it, rules, random)),
            ConcurrencyController::Gradient2(it) => Self::Gradient2(Gradient2::new(it, rules)),
            ConcurrencyController::Vegas(it) => Self::Vegas(Vegas::new(it, rules, random)),
            ConcurrencyController::Aimd(it) => Self::Aimd(Aimd::new(it, rules)),
        }
    }

    /// What holds before the first window.
    pub(super) fn first(&self) -> Verdict {
        match self {
            Self::Gradient(it) => it.first(),
            Self::Gradient2(it) => Verdict::of(it.limit()),
            Self::Vegas(it) => Verdict::of(it.limit()),
            Self::Aimd(it) => Verdict::of(it.limit()),
        }
    }

    pub(super) fn update(&mut self, seen: &Seen, rules: &Rules, random: &Random) -> Verdict {
        match self {
            Self::Gradient(it) => it.update(seen, rules, random),
            Self::Gradient2(it) => Verdict::of(it.update(seen, rules)),
            Self::Vegas(it) => Verdict::of(it.update(seen, rules, random)),
            Self::Aimd(it) => Verdict::of(it.update(seen, rules)),
        }
    }
}

// === impl Verdict ===

impl Verdict {
    fn of(limit: f64) -> Self {
        Self { limit, needs: None, afresh: false }
    }
}
