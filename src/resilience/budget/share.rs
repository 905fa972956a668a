//! The budget as a share of what is in flight: Envoy's form.
//!
//= Envoy ResourceManagerImpl::RetryBudgetImpl: max(min_retry_concurrency, budget_percent of the active
//= and pending requests); it takes the place of max_retries

use std::{fmt, sync::Arc, time::Duration};

use super::ledger::{Ledger, Reserve};
use crate::{
    config::{Breakers, CallPriority, InFlightBudget},
    resilience::limit::{Count, Name, What},
};

const PERCENT: u32 = 20;
const LEAST: u32 = 3;

/// Only what came in by itself counts.
const NOTHING: Reserve = Reserve { income: 0, full: 0 };

/// What limits the further attempts in flight.
#[derive(Debug)]
pub(crate) struct Share {
    places: Arc<Count>,
    rule: Rule,
    /// What has begun within the interval, where more counts than what is in flight.
    recent: Option<Ledger>,
}

/// The shares of a cluster, by the priority of the calls.
#[derive(Debug)]
pub(crate) struct Shares {
    usual: Option<Arc<Share>>,
    high: Option<Arc<Share>>,
}

/// How many places there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rule {
    /// So many, whatever is in flight.
    Most(u32),
    /// So many percent of what is in flight, and so many at least.
    Part { percent: u32, least: u32, interval: Duration },
}

/// A share, and how much is in flight that it is a share of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot<'a> {
    pub(crate) share: &'a Share,
    pub(crate) active: u32,
}

/// The place of a further attempt, from its being granted to its head or its failure; given back when
/// it is dropped.
#[must_use = "the place is given back when it is dropped"]
#[derive(Default)]
pub(crate) struct Grant {
    place: Option<Arc<Count>>,
    /// A token was paid for it, too.
    pub(super) token: bool,
}

// === impl Shares ===

impl Shares {
    /// What these breakers say of further attempts, if they say anything. What was taken of `kept` stays
    /// taken.
    pub(crate) fn of(breakers: Option<&Breakers>, kept: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let breakers = breakers?;
        let name = |priority| Name::of(breakers.shared.as_deref(), What::Retries, priority);
        let usual = Share::named(
            kept.and_then(|kept| kept.usual.as_ref()),
            name(CallPriority::Default),
            breakers.retry_budget.as_deref(),
            breakers.max_retries,
        );
        let high = breakers.high.as_deref().and_then(|high| {
            let kept = kept.and_then(|kept| kept.high.as_ref());
            let name = name(CallPriority::High);
            Share::named(kept, name, high.retry_budget.as_deref(), high.max_retries)
        });
        (usual.is_some() || high.is_some()).then(|| Arc::new(Self { usual, high }))
    }

    /// The share of calls of this priority.
    pub(crate) fn share(&self, priority: CallPriority) -> Option<&Share> {
        match priority {
            CallPriority::Default => self.usual.as_deref(),
            CallPriority::High => self.high.as_deref(),
        }
    }
}

// === impl Share ===

impl Share {
    /// By these settings, if they say anything: a budget takes the place of a number. The places that
    /// were taken by `kept` stay taken.
    pub(crate) fn resized(
        kept: Option<&Arc<Self>>,
        budget: Option<&InFlightBudget>,
        max_retries: Option<u32>,
    ) -> Option<Arc<Self>> {
        Self::named(kept, None, budget, max_retries)
    }

    /// The same with the places of this name, which others may have, too.
    fn named(
        kept: Option<&Arc<Self>>,
        name: Option<Name>,
        budget: Option<&InFlightBudget>,
        max_retries: Option<u32>,
    ) -> Option<Arc<Self>> {
        let rule = match (budget, max_retries) {
            (Some(budget), _) => Rule::Part {
                percent: budget.percent.unwrap_or(PERCENT),
                least: budget.min_concurrency.unwrap_or(LEAST),
                interval: budget.interval.unwrap_or_default(),
            },
            (None, Some(most)) => Rule::Most(most),
            (None, None) => return None,
        };
        let kept = kept.filter(|kept| kept.places.is_named(name.as_ref()));
        if let Some(kept) = kept.filter(|kept| kept.rule == rule) {
            return Some(Arc::clone(kept));
        }
        let places = || name.map_or_else(Count::own, Count::named);
        let places = kept.map_or_else(places, |kept| Arc::clone(&kept.places));
        let recent = match rule {
            Rule::Part { interval, .. } if !interval.is_zero() => {
                Some(Ledger::new(u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX)))
            }
            _ => None,
        };
        Some(Arc::new(Self { places, rule, recent }))
    }

    /// An attempt has begun, be it a first or a further one.
    pub(crate) fn begun(&self, now: u64) {
        if let Some(recent) = &self.recent {
            recent.deposit(now, 1);
        }
    }

    /// Whether it has to be told how much is in flight.
    pub(crate) fn counts(&self) -> bool {
        matches!(self.rule, Rule::Part { .. })
    }

    /// How many may be in flight where `active` attempts are.
    //= Istio `TrafficPolicy.retry_budget.budget_interval`: calls count that were active in it. Those that
    //= are in flight or those that have begun since, whichever are more: never more than Istio's
    fn limit(&self, now: u64, active: u32) -> u32 {
        match self.rule {
            Rule::Most(most) => most,
            Rule::Part { percent, least, .. } => {
                let recent = self.recent.as_ref().map_or(0, |recent| recent.balance(now, NOTHING));
                let active = u64::from(active).max(recent);
                let part = active.saturating_mul(u64::from(percent)) / 100;
                least.max(u32::try_from(part).unwrap_or(u32::MAX))
            }
        }
    }

    fn take(&self, now: u64, active: u32) -> Option<Grant> {
        let taken = self.places.enter(self.limit(now, active));
        taken.then(|| Grant { place: Some(Arc::clone(&self.places)), token: false })
    }

    /// Further attempts in flight.
    #[cfg(test)]
    pub(super) fn taken(&self) -> u32 {
        self.places.taken()
    }
}

// === impl Slot ===

impl Slot<'_> {
    /// A place, if there is one.
    pub(super) fn take(&self, now: u64) -> Option<Grant> {
        self.share.take(now, self.active)
    }
}

// === impl Grant ===

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(places) = self.place.take() {
            places.leave();
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_place = self.place.is_some();
        f.debug_struct("Grant").field("place", &has_place).field("token", &self.token).finish()
    }
}
