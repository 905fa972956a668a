//! What is counted of an endpoint beside its metrics, for a control plane that has asked (LRS). A cluster
//! that nobody reports has none of it: its attempts read one word.

#[cfg(test)]
mod model;
mod sum;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};

use self::sum::Sum;
use crate::core::Attempts;

mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// So many names of metrics are kept apart; what comes with others is left out.
const NAMES: usize = 256;

/// Of one endpoint. All of it only grows; who reports remembers what was told.
#[derive(Default)]
pub(crate) struct Tally {
    issued: AtomicU64,
    /// The metrics that are wanted of what it says of itself; mostly none.
    wanted: ArcSwapOption<Vec<String>>,
    metrics: ArcSwap<Vec<Arc<Slot>>>,
    told: Mutex<Told>,
}

/// A metric that the endpoint has told.
struct Slot {
    name: Arc<str>,
    sum: Sum,
}

#[derive(Default)]
struct Told {
    attempts: Attempts,
    metrics: BTreeMap<Arc<str>, (u64, f64)>,
}

/// What is new.
#[derive(Default)]
pub(super) struct News {
    pub(super) attempts: Attempts,
    pub(super) metrics: BTreeMap<Arc<str>, (u64, f64)>,
}

// === impl Tally ===

impl Tally {
    /// An attempt is on its way.
    #[inline]
    pub(crate) fn issued(&self) {
        self.issued.fetch_add(1, Relaxed);
    }

    /// These metrics are wanted from now on.
    pub(super) fn want(&self, metrics: Option<&Arc<Vec<String>>>) {
        self.wanted.store(metrics.filter(|metrics| !metrics.is_empty()).cloned());
    }

    /// The metrics that are wanted, if any are.
    pub(crate) fn wanted(&self) -> Option<Arc<Vec<String>>> {
        self.wanted.load_full()
    }

    /// The endpoint has told a metric.
    pub(crate) fn metric(&self, name: &str, value: f64) {
        if !value.is_finite() {
            return;
        }
        if let Some(slot) = self.metrics.load().iter().find(|slot| &*slot.name == name) {
            return slot.sum.add(value);
        }
        // Seldom: the first time that it is told.
        let slot = Arc::new(Slot { name: name.into(), sum: Sum::default() });
        self.metrics.rcu(|known| {
            let mut all = Vec::clone(known);
            if all.len() < NAMES && !all.iter().any(|slot| &*slot.name == name) {
                all.push(Arc::clone(&slot));
            }
            all
        });
        if let Some(slot) = self.metrics.load().iter().find(|slot| &*slot.name == name) {
            slot.sum.add(value);
        }
    }

    /// Tells what is new since it was last asked; `ended` is how many have ended well and not, ever.
    pub(super) fn take(&self, (ok, failed): (u64, u64)) -> News {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let issued = self.issued.load(Relaxed);
        let now = Attempts { issued, ok, failed, in_progress: 0 };
        let before = std::mem::replace(&mut told.attempts, now);
        let mut news = News {
            attempts: Attempts {
                issued: issued.saturating_sub(before.issued),
                ok: ok.saturating_sub(before.ok),
                failed: failed.saturating_sub(before.failed),
                in_progress: 0,
            },
            metrics: BTreeMap::new(),
        };
        for slot in self.metrics.load().iter() {
            let (count, sum) = slot.sum.read();
            let before = told.metrics.insert(Arc::clone(&slot.name), (count, sum));
            let before = before.unwrap_or_default();
            if count > before.0 {
                news.metrics.insert(Arc::clone(&slot.name), (count - before.0, sum - before.1));
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_not_told_again() {
        let tally = Tally::default();
        assert_eq!(
            tally.take((7, 3)).attempts,
            Attempts { ok: 7, failed: 3, ..Attempts::default() }
        );
        tally.issued();
        tally.issued();
        tally.metric("cpu_utilization", 0.5);
        tally.metric("cpu_utilization", 0.25);
        tally.metric("named_metrics.q", f64::NAN);
        let news = tally.take((8, 3));
        assert_eq!(news.attempts, Attempts { issued: 2, ok: 1, ..Attempts::default() });
        assert_eq!(news.metrics, BTreeMap::from([("cpu_utilization".into(), (2, 0.75))]));
        let news = tally.take((8, 3));
        assert_eq!((news.attempts, news.metrics.len()), (Attempts::default(), 0));
    }

    #[test]
    fn names_are_bounded() {
        let tally = Tally::default();
        for number in 0..10 * NAMES {
            tally.metric(&format!("named_metrics.{number}"), 1.0);
        }
        assert_eq!(tally.take((0, 0)).metrics.len(), NAMES);
    }
}
