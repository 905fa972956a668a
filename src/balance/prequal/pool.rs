//! The pool of reports: a few of the latest, each of another endpoint.
//!
//! A pick reads all of them and writes the one that it takes, which has a cache line of its own.
//! What comes in takes a lock that nobody waits for: of two reports that come in at once, one is
//! lost, which is as if its server had not sent it.

use std::sync::TryLockError;

use super::{
    hot::Recent,
    settings::Settings,
    sync::{
        AtomicU32, AtomicU64, AtomicUsize, Mutex,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use crate::balance::pick::scale;

/// A report's calls in flight lie in the upper bits of its load, its latency in microseconds in
/// the lower ones.
const LATENCY: u32 = 40;
const LATENCY_MASK: u64 = (1 << LATENCY) - 1;
/// Half of what fits: those that a pick adds have room.
const MOST_IN_FLIGHT: u32 = (1 << 23) - 1;
/// Times are kept so much later: an empty slot is older than any.
const LATER: u64 = 1 << 62;

/// One report.
#[repr(align(64))]
#[derive(Debug, Default)]
struct Slot {
    /// When it came, and `LATER`; 0 in an empty slot.
    at: AtomicU64,
    load: AtomicU64,
    /// Whose it is.
    who: AtomicUsize,
    /// Where its endpoint was then.
    place: AtomicU32,
    uses: AtomicU32,
}

/// The reports that picks choose from.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Box<[Slot]>,
    /// The hot threshold in the upper half, the least of the latest reports in the lower one.
    threshold: AtomicU64,
    /// Tried, never waited for: of two reports that come at once one is left out.
    filler: Mutex<Filler>,
}

/// What only those that bring reports touch.
#[derive(Debug)]
struct Filler {
    recent: Recent,
    /// The fraction of a removal that is due.
    removal: f32,
    /// Which is removed next: the oldest, or the worst.
    oldest_next: bool,
}

/// What a pick has chosen. Whether it is still there is for its balancer to say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Choice {
    slot: usize,
    pub(crate) who: usize,
    pub(crate) place: u32,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            slots: (0..size).map(|_| Slot::default()).collect(),
            threshold: AtomicU64::new(0),
            filler: Mutex::new(Filler { recent: Recent::new(), removal: 0.0, oldest_next: true }),
        }
    }

    /// Chooses by the hot/cold rule among the reports that are young enough and not in `skip`;
    /// nothing if the pool has fewer than two.
    //= NSDI '24 §4.2: all hot, the least in flight; else the cold one of the least latency
    #[inline]
    pub(crate) fn choose(
        &self,
        now: u64,
        settings: &Settings,
        endpoints: usize,
        (skip, word): (u64, u64),
    ) -> Option<Choice> {
        let oldest = (now | LATER).saturating_sub(settings.max_age);
        let threshold = self.threshold.load(Relaxed);
        // As loads are compared: those of more in flight are over it, whatever their latency.
        let few = Settings::is_few(endpoints);
        let hot = if few { threshold & u64::from(u32::MAX) } else { threshold >> 32 };
        let hot = (hot + 1) << LATENCY;
        let (mut young, mut cold, mut warm) = (0, (u64::MAX, None), (u64::MAX, None));
        // Of equals it is the first that is chosen: from another place each time.
        let (before, from) = self.slots.split_at_checked(scale(word, self.slots.len()))?;
        let turned = from.iter().enumerate().map(|(index, slot)| (index + before.len(), slot));
        for (index, slot) in turned.chain(before.iter().enumerate()) {
            if slot.at.load(Acquire) < oldest {
                continue;
            }
            young += 1;
            if skip >> index & 1 == 1 {
                continue;
            }
            let load = slot.load.load(Relaxed);
            if load >= hot {
                if load < warm.0 {
                    warm = (load, Some((index, slot)));
                }
            } else {
                // The latency comes first, and what is in flight decides between equals.
                let load = load.rotate_left(64 - LATENCY);
                if load < cold.0 {
                    cold = (load, Some((index, slot)));
                }
            }
        }
        if young < 2 {
            return None;
        }
        let (slot, chosen) = cold.1.or(warm.1)?;
        Some(Choice { slot, who: chosen.who.load(Relaxed), place: chosen.place.load(Relaxed) })
    }

    /// The choice is called: its report counts one more in flight, and may be used up.
    #[inline]
    pub(crate) fn take(&self, choice: Choice, settings: &Settings, endpoints: usize, word: u64) {
        let Some(slot) = self.slots.get(choice.slot) else { return };
        slot.load.fetch_add(1 << LATENCY, Relaxed);
        let uses = slot.uses.fetch_add(1, Relaxed) + 1;
        if settings.is_used_up(uses, endpoints, chance(word)) {
            slot.at.store(0, Relaxed);
        }
    }

    /// What skips the choice.
    #[inline]
    #[expect(clippy::unused_self, reason = "of this pool")]
    pub(crate) fn skipping(&self, choice: Choice) -> u64 {
        1 << choice.slot
    }

    /// An endpoint has failed: what it said of its load is not believed.
    #[cold]
    pub(crate) fn forget(&self, who: usize) {
        for slot in self.slots.iter().filter(|slot| slot.who.load(Relaxed) == who) {
            slot.at.store(0, Relaxed);
        }
    }

    /// Takes what an endpoint says of itself: so many calls in flight, and so much latency in
    /// microseconds (0: unknown). It replaces what it said before.
    pub(crate) fn offer(
        &self,
        now: u64,
        (who, place): (usize, u32),
        (in_flight, latency): (u32, u64),
        settings: &Settings,
    ) {
        let mut filler = match self.filler.try_lock() {
            Ok(filler) => filler,
            Err(TryLockError::Poisoned(filler)) => filler.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let in_flight = in_flight.min(MOST_IN_FLIGHT);
        filler.recent.note(in_flight);
        let (hot, least) = filler.recent.quantile(settings.hot_quantile);
        self.threshold.store(u64::from(hot) << 32 | u64::from(least), Relaxed);
        filler.removal += settings.removed;
        while filler.removal >= 1.0 {
            filler.removal -= 1.0;
            let oldest = filler.oldest_next;
            filler.oldest_next = !oldest;
            let oldest_young = (now | LATER).saturating_sub(settings.max_age);
            self.remove(oldest, oldest_young, u64::from(hot));
        }
        let Some(slot) = self.slot_for(who) else { return };
        // Empty while it changes: a pick that reads it in between finds nothing, or compares one
        // report's load with another's name, which `who` and `place` of its choice tell.
        slot.at.store(0, Relaxed);
        slot.who.store(who, Relaxed);
        slot.place.store(place, Relaxed);
        slot.uses.store(0, Relaxed);
        slot.load.store(u64::from(in_flight) << LATENCY | latency.min(LATENCY_MASK), Relaxed);
        slot.at.store(now | LATER, Release);
    }

    /// The slot of this endpoint, else the oldest.
    fn slot_for(&self, who: usize) -> Option<&Slot> {
        let mut oldest: Option<(u64, &Slot)> = None;
        for slot in &self.slots {
            if slot.who.load(Relaxed) == who {
                return Some(slot);
            }
            let at = slot.at.load(Relaxed);
            if oldest.is_none_or(|(least, _)| at < least) {
                oldest = Some((at, slot));
            }
        }
        oldest.map(|(_, slot)| slot)
    }

    /// Removes the oldest report; or the worst: the hot one of the most in flight, else the one of
    /// the most latency.
    fn remove(&self, oldest: bool, young: u64, hot: u64) {
        let filled = self.slots.iter().filter_map(|slot| {
            let at = slot.at.load(Relaxed);
            (at >= young).then(|| (at, slot.load.load(Relaxed), slot))
        });
        let worst = if oldest {
            filled.min_by_key(|(at, _, _)| *at)
        } else {
            let hot = (hot + 1) << LATENCY;
            filled.max_by_key(|(_, load, _)| {
                if *load >= hot { (true, *load) } else { (false, load.rotate_left(64 - LATENCY)) }
            })
        };
        if let Some((_, _, slot)) = worst {
            slot.at.store(0, Relaxed);
        }
    }

    /// The reports that are young enough: whose they are, and what they say.
    #[cfg(test)]
    pub(super) fn reports(&self, now: u64, settings: &Settings) -> Vec<(usize, u32, u32, u64)> {
        let oldest = (now | LATER).saturating_sub(settings.max_age);
        let young = self.slots.iter().filter(|slot| slot.at.load(Relaxed) >= oldest);
        let said = |slot: &Slot| {
            let load = slot.load.load(Relaxed);
            let in_flight = u32::try_from(load >> LATENCY).unwrap();
            (slot.who.load(Relaxed), slot.place.load(Relaxed), in_flight, load & LATENCY_MASK)
        };
        young.map(said).collect()
    }

    /// How many reports are young enough.
    #[cfg(test)]
    pub(crate) fn len(&self, now: u64, settings: &Settings) -> usize {
        self.reports(now, settings).len()
    }
}

/// A random word as a number in `0..1`.
#[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
#[inline]
fn chance(word: u64) -> f32 {
    (word >> 40) as f32 / (1_u32 << 24) as f32
}

/// Size and alignment of a report.
#[cfg(test)]
pub(super) const SLOT_LINE: (usize, usize) = (size_of::<Slot>(), align_of::<Slot>());
