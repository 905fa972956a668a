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
/// What fits without the uppermost bit, which tells hot ones from cold ones as they are compared.
const MOST_LATENCY: u64 = LATENCY_MASK >> 1;
/// A quarter of what fits: those that a pick adds have room.
const MOST_IN_FLIGHT: u32 = (1 << 22) - 1;
/// Above any cold one's latency.
const HOT: u64 = 1 << 63;
/// Times are kept so much later: an empty slot is older than any.
const LATER: u64 = 1 << 62;

/// So many places are remembered: enough that few share one.
const HOMES: usize = 64;
/// 2^64 over the golden ratio: what is multiplied by it is spread over the upper bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

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
    /// Who has more in flight is hot.
    threshold: AtomicU32,
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
    /// Where the report of an endpoint was last, by a few bits of what names it: where to look
    /// first.
    homes: [u8; HOMES],
}

/// One report, for explanations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported {
    /// Whose it is.
    pub(crate) who: usize,
    /// Where its endpoint was.
    #[cfg(test)]
    #[allow(dead_code, reason = "for models, which are another copy of this file")]
    pub(super) place: u32,
    pub(crate) hot: bool,
    pub(crate) in_flight: u64,
    /// Its latency in microseconds; 0: unknown.
    pub(crate) micros: u64,
}

/// What a pick has chosen. Whether it is still there is for its balancer to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    slot: &'a Slot,
    pub(crate) who: usize,
    pub(crate) place: u32,
}

impl Filler {
    fn new() -> Self {
        Self { recent: Recent::new(), removal: 0.0, oldest_next: true, homes: [0; HOMES] }
    }
}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            slots: (0..size).map(|_| Slot::default()).collect(),
            threshold: AtomicU32::new(0),
            filler: Mutex::new(Filler::new()),
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
    ) -> Option<Choice<'_>> {
        let oldest = (now | LATER).saturating_sub(settings.max_age);
        let slot = self.best((oldest, self.hot(endpoints)), word, skip)?;
        Some(Choice { slot, who: slot.who.load(Relaxed), place: slot.place.load(Relaxed) })
    }

    /// The scan: the least by one number, in which any cold one is less than any hot one.
    ///
    /// A call of its own: it needs all registers.
    #[inline(never)]
    fn best(&self, (oldest, hot): (u64, u64), mut word: u64, skip: u64) -> Option<&Slot> {
        let (mut old, mut ties) = (0, 1_usize);
        let (mut least, mut chosen) = (u64::MAX, None);
        for slot in &self.slots {
            if slot.at.load(Acquire) < oldest {
                old += 1;
                continue;
            }
            let load = slot.load.load(Relaxed);
            // Cold: the latency comes first, and what is in flight decides between equals.
            let key = if load < hot { load.rotate_left(64 - LATENCY) } else { load | HOT };
            if key > least || (skip != 0 && skip & self.mark(slot) != 0) {
                continue;
            }
            if key < least {
                ties = 1;
            } else {
                // Each of equals is as likely as the others, wherever in the pool it is.
                ties += 1;
                word = shuffled(word);
                if scale(word, ties) != 0 {
                    continue;
                }
            }
            (least, chosen) = (key, Some(slot));
        }
        if self.slots.len() < old + 2 { None } else { chosen }
    }

    /// The load from which on a report is hot. As loads are compared: those of more in flight are over
    /// it, whatever their latency.
    #[inline]
    fn hot(&self, endpoints: usize) -> u64 {
        // Of a few all are hot that have anything in flight: the least loaded is chosen.
        let few = Settings::is_few(endpoints);
        let threshold = if few { 0 } else { self.threshold.load(Relaxed) };
        (u64::from(threshold) + 1) << LATENCY
    }

    /// The choice is called: its report counts one more in flight, and may be used up.
    #[inline]
    #[expect(clippy::unused_self, reason = "of this pool")]
    pub(crate) fn take(
        &self,
        Choice { slot, .. }: Choice<'_>,
        settings: &Settings,
        endpoints: usize,
        word: u64,
    ) {
        slot.load.fetch_add(1 << LATENCY, Relaxed);
        let uses = slot.uses.fetch_add(1, Relaxed) + 1;
        if settings.is_used_up(uses, endpoints, chance(word)) {
            slot.at.store(0, Relaxed);
        }
    }

    /// What skips the choice.
    #[cold]
    pub(crate) fn skipping(&self, choice: Choice<'_>) -> u64 {
        self.mark(choice.slot)
    }

    #[cold]
    #[inline(never)]
    fn mark(&self, slot: &Slot) -> u64 {
        let place = self.slots.iter().position(|it| std::ptr::eq(it, slot));
        place.map_or(0, |place| 1 << place)
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
        let hot_place = settings.hot_place(filler.recent.len());
        let hot = filler.recent.of_place(hot_place);
        self.threshold.store(hot, Relaxed);
        if settings.removed > 0.0 {
            self.make_room(&mut filler, now, settings, u64::from(hot));
        }
        let Some(slot) = self.slot_for(who, &mut filler.homes) else { return };
        // Empty while it changes: a pick that reads it in between finds nothing, or compares one
        // report's load with another's name, which `who` and `place` of its choice tell.
        slot.at.store(0, Relaxed);
        slot.who.store(who, Relaxed);
        slot.place.store(place, Relaxed);
        slot.uses.store(0, Relaxed);
        slot.load.store(u64::from(in_flight) << LATENCY | latency.min(MOST_LATENCY), Relaxed);
        slot.at.store(now | LATER, Release);
    }

    /// The slot of this endpoint, else the oldest.
    #[inline]
    fn slot_for(&self, who: usize, homes: &mut [u8; HOMES]) -> Option<&Slot> {
        let home = homes.get_mut(home(who))?;
        if let Some(slot) = self.slots.get(usize::from(*home))
            && slot.who.load(Relaxed) == who
        {
            return Some(slot);
        }
        let (index, slot) = self.slot_of_another(who)?;
        *home = index;
        Some(slot)
    }

    #[cold]
    #[inline(never)]
    fn slot_of_another(&self, who: usize) -> Option<(u8, &Slot)> {
        let (mut oldest, mut place) = (u64::MAX, None);
        for (index, slot) in (0_u8..).zip(&self.slots) {
            if slot.who.load(Relaxed) == who {
                return Some((index, slot));
            }
            let at = slot.at.load(Relaxed);
            if at < oldest {
                (oldest, place) = (at, Some((index, slot)));
            }
        }
        place
    }

    /// Removes what is due for removal.
    #[cold]
    #[inline(never)]
    fn make_room(&self, filler: &mut Filler, now: u64, settings: &Settings, hot: u64) {
        filler.removal += settings.removed;
        while filler.removal >= 1.0 {
            filler.removal -= 1.0;
            let oldest = filler.oldest_next;
            filler.oldest_next = !oldest;
            let oldest_young = (now | LATER).saturating_sub(settings.max_age);
            self.remove(oldest, oldest_young, hot);
        }
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

    /// The reports that are young enough: whose, whether it is hot, calls in flight and latency.
    pub(crate) fn reports(&self, now: u64, settings: &Settings, endpoints: usize) -> Vec<Reported> {
        let oldest = (now | LATER).saturating_sub(settings.max_age);
        let hot = self.hot(endpoints);
        let young = self.slots.iter().filter(|slot| slot.at.load(Acquire) >= oldest);
        let told = |slot: &Slot| {
            let load = slot.load.load(Relaxed);
            Reported {
                who: slot.who.load(Relaxed),
                #[cfg(test)]
                place: slot.place.load(Relaxed),
                hot: load >= hot,
                in_flight: load >> LATENCY,
                micros: load & LATENCY_MASK,
            }
        };
        young.map(told).collect()
    }

    /// How many reports are young enough.
    #[cfg(test)]
    pub(crate) fn len(&self, now: u64, settings: &Settings) -> usize {
        self.reports(now, settings, 0).len()
    }
}

/// Where the place of this one is remembered.
#[inline]
fn home(who: usize) -> usize {
    scale((who as u64).wrapping_mul(SPREAD), HOMES)
}

/// The next of a row of words whose upper halves are random enough to choose between equals.
#[cold]
#[inline(never)]
fn shuffled(word: u64) -> u64 {
    word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(SPREAD)
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
