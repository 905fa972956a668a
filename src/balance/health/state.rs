//! The state of one endpoint: one word that a pick reads at once, and the times that belong to it.
//!
//! The word is what the success average lacks in its low bits and, above them, what else speaks
//! against the endpoint, each with its own bit: its source's word, its checks, an ejection and the
//! probe that may end it, its removal. An endpoint that is plainly good has none of these bits and
//! lacks one half at most: that is one load and one comparison.
//!
//! ```text
//!             eject                    claim_probe (one call)
//!   (in use) ───────> ejected ──────────────────────────────> probing
//!      ^                 ^  time is over                         │
//!      │                 └──────── probe_failed, for longer ─────┤
//!      └────────────────────────── probe_passed, or a check ─────┘
//! ```
//!
//! `draining` and `removed` come from outside and win over all of it.

use super::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::balance::health::phase::{Checked, Link, Phase, Said};

/// 1.0 of the success average.
pub(in crate::balance) const ONE: u32 = 1 << 16;
/// Below it, an endpoint is suspect.
pub(in crate::balance) const SUSPECT: u32 = ONE / 2;
/// The average's own bits: how much it is below [`ONE`].
const AVERAGE: u32 = (1 << 17) - 1;
/// It takes no calls for a while.
const EJECTED: u32 = 1 << 17;
/// How long is being written: nobody may claim the probe yet.
const HELD: u32 = 1 << 18;
/// One call is out to see whether it is well again.
const PROBING: u32 = 1 << 19;
/// That call has been granted, and has not begun.
const CLAIMED: u32 = 1 << 20;
/// By the word of its source.
const UNHEALTHY: u32 = 1 << 21;
/// The same: it takes no new calls.
const DRAINING: u32 = 1 << 22;
/// It has left its cluster.
const REMOVED: u32 = 1 << 23;
/// Its active checks say so.
const UNFIT: u32 = 1 << 24;
/// It works, and others are better, by the word of its source.
const DEGRADED: u32 = 1 << 26;
/// Checks are on, and the first one is not over.
const UNCHECKED: u32 = 1 << 25;
/// It is suspect, and has never succeeded.
const UNPROVEN: u32 = 1 << 27;

pub(in crate::balance) const FIRST_PROBE: u64 = 1_000_000_000;
#[cfg(test)]
pub(in crate::balance) const LAST_PROBE: u64 = LAST_UNITS as u64 * FIRST_PROBE;
const LAST_UNITS: u32 = 30;
const ONE_UNIT: u32 = 1 << 16;
const MET: u32 = ONE_UNIT - 1;
/// A suspect is probed so long after its probe was due at the latest, however few calls there are.
pub(in crate::balance) const PATIENCE: u64 = 270_000_000_000;
/// A probe that says nothing for so long does not keep another from being made.
pub(in crate::balance) const LEASE: u64 = 30_000_000_000;

/// A part of the cache line of the load signal.
#[derive(Debug)]
pub(in crate::balance) struct State {
    word: AtomicU32,
    /// The interval between the probes of a suspect, in units of the first one, and below [`MET`]
    /// how many picks have met it since the last one.
    patience: AtomicU32,
    /// When a suspect endpoint may be probed.
    probe_at: AtomicU64,
    /// When an ejected one may be; while one is, when the next may be.
    until: AtomicU64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            word: AtomicU32::new(0),
            patience: AtomicU32::new(ONE_UNIT),
            probe_at: AtomicU64::new(0),
            until: AtomicU64::new(0),
        }
    }
}

/// The success average of a word.
#[inline]
fn average(word: u32) -> u32 {
    ONE.saturating_sub(word & AVERAGE)
}

// === impl State ===

impl State {
    /// Whether nothing speaks against it.
    #[inline]
    pub(in crate::balance) fn is_good(&self) -> bool {
        // Any bit above the average makes it larger than that can be.
        self.word.load(Relaxed) <= ONE - SUSPECT
    }

    /// The average of its outcomes, to [`ONE`].
    #[inline]
    pub(in crate::balance) fn success(&self) -> u32 {
        average(self.word.load(Relaxed))
    }

    /// Whether the average lacks nothing.
    #[inline]
    pub(in crate::balance) fn is_flawless(&self) -> bool {
        self.word.load(Relaxed) & AVERAGE == 0
    }

    fn has(&self, bits: u32) -> bool {
        self.word.load(Acquire) & bits != 0
    }

    pub(in crate::balance) fn is_suspect(&self) -> bool {
        self.success() < SUSPECT
    }

    pub(in crate::balance) fn is_ejected(&self) -> bool {
        self.has(EJECTED)
    }

    /// Its source says that it takes no new calls, or it has left.
    pub(in crate::balance) fn is_leaving(&self) -> bool {
        self.has(DRAINING | REMOVED)
    }

    /// Unhealthy by the word of its source, or not found well by a check yet.
    pub(in crate::balance) fn is_doubted(&self) -> bool {
        self.has(UNHEALTHY | UNCHECKED)
    }

    /// Checks are on, and the first one is not over.
    pub(in crate::balance) fn is_unchecked(&self) -> bool {
        self.has(UNCHECKED)
    }

    /// Its checks have failed.
    pub(in crate::balance) fn is_unfit(&self) -> bool {
        self.has(UNFIT)
    }

    /// Where it stands, with what its connections say.
    pub(in crate::balance) fn phase(&self, link: Link) -> Phase {
        let word = self.word.load(Acquire);
        if word & REMOVED != 0 {
            Phase::Removed
        } else if word & DRAINING != 0 {
            Phase::Draining
        } else if word & PROBING != 0 {
            Phase::Probing
        } else if word & EJECTED != 0 {
            Phase::Ejected
        } else {
            match link {
                Link::Idle => Phase::Idle,
                Link::Connecting => Phase::Connecting,
                Link::Ready => Phase::Ready,
                Link::BackingOff => Phase::BackingOff,
            }
        }
    }

    /// When an ejected endpoint may be probed.
    pub(in crate::balance) fn until(&self) -> u64 {
        self.until.load(Relaxed)
    }

    /// Changes the word; nothing where `change` says nothing. Gives what it was.
    fn change(&self, mut change: impl FnMut(u32) -> Option<u32>) -> Option<u32> {
        let mut word = self.word.load(Acquire);
        loop {
            let next = change(word)?;
            match self.word.compare_exchange_weak(word, next, AcqRel, Acquire) {
                Ok(before) => return Some(before),
                Err(now) => word = now,
            }
        }
    }
}

/// What comes from outside.
impl State {
    /// What the source says of it by now: all of it at once, so that one that goes from one thing to
    /// another is never plainly good.
    pub(in crate::balance) fn set_said(&self, said: Said) {
        let bits =
            [(said.unhealthy, UNHEALTHY), (said.draining, DRAINING), (said.degraded, DEGRADED)];
        let bits = bits.into_iter().filter(|(said, _)| *said).fold(0, |all, (_, bit)| all | bit);
        self.change(|word| Some(word & !(UNHEALTHY | DRAINING | DEGRADED) | bits));
    }

    /// What active checks say of it by now; whether that is new.
    pub(in crate::balance) fn set_checked(&self, checked: Checked) -> bool {
        let bits = match checked {
            Checked::Not => UNCHECKED,
            Checked::Fit => 0,
            Checked::Unfit => UNFIT,
        };
        let before = self.change(|word| Some(word & !(UNFIT | UNCHECKED) | bits));
        before.is_some_and(|word| word & (UNFIT | UNCHECKED) != bits)
    }

    /// It has left its cluster; whether it was ejected until then.
    pub(in crate::balance) fn remove(&self) -> bool {
        let before =
            self.change(|word| Some(word & !(EJECTED | HELD | PROBING | CLAIMED) | REMOVED));
        before.is_some_and(|word| word & EJECTED != 0)
    }
}

/// The average of its outcomes, and the probes of a suspect.
impl State {
    /// One more success: a suspect that answers is trusted again within a few calls. Whether it is so
    /// by this one.
    #[inline]
    pub(in crate::balance) fn succeeded(&self) -> bool {
        !self.is_flawless() && self.trust()
    }

    #[cold]
    #[inline(never)]
    fn trust(&self) -> bool {
        let next = |average: u32| {
            let step = if average < SUSPECT { 2 } else { 8 };
            average + (ONE - average).div_ceil(step)
        };
        let before = self.average(0, next);
        if !self.is_suspect() {
            self.patience.store(ONE_UNIT, Relaxed);
        }
        before < SUSPECT && next(before) >= SUSPECT
    }

    /// One more failure; `unproven` if it never succeeded before, `answers` if a connection to it was
    /// made. Whether it is suspect by this one.
    pub(in crate::balance) fn failed(&self, now: u64, unproven: bool, answers: bool) -> bool {
        // One that has failed before it ever succeeded has no credit.
        let next = |average: u32| if unproven { ONE / 4 } else { average - average / 4 };
        // One that cannot be connected to may just be starting, beside this process perhaps.
        let is_unproven = unproven && answers;
        let keeps = if is_unproven { UNPROVEN } else { self.word.load(Relaxed) & UNPROVEN };
        let before = self.average(keeps, next);
        let is_new = next(before) < SUSPECT && before >= SUSPECT;
        if is_new {
            let units = self.patience.fetch_and(!MET, Relaxed) / ONE_UNIT;
            let due = now.saturating_add(u64::from(units) * FIRST_PROBE);
            self.probe_at.store(due, Relaxed);
        }
        is_new
    }

    /// Changes the average, and whether it is unproven, to this bit; gives what the average was.
    fn average(&self, unproven: u32, next: impl Fn(u32) -> u32) -> u32 {
        let word = self.change(|word| {
            let lacks = ONE - next(average(word)).min(ONE);
            Some(word & !(AVERAGE | UNPROVEN) | unproven | lacks)
        });
        word.map_or(ONE, average)
    }

    /// When the probe of a suspect was due, if it is for a pick that meets it now: an interval has
    /// passed, and so many picks have met it as the square of the interval in units of the first
    /// one, but no more than `most`. Who makes few calls would spend a large part of them on probes
    /// by time alone. One that has answered and never succeeded is not taken to have had a bad
    /// moment: from its first probe on, `most` picks have to meet it.
    pub(in crate::balance) fn suspect_due(&self, now: u64, most: u32) -> Option<u64> {
        let patience = self.patience.load(Relaxed);
        let (units, met) = (patience / ONE_UNIT, (patience & MET) + 1);
        let due = self.probe_at.load(Relaxed);
        if now < due || !self.is_suspect() {
            return None;
        }
        let few = if self.has(UNPROVEN) { most } else { (units * units).min(most) };
        (met >= few || now - due >= PATIENCE).then_some(due)
    }

    /// When a suspect may be probed.
    pub(in crate::balance) fn probe_at(&self) -> u64 {
        self.probe_at.load(Relaxed)
    }

    /// Claims the one probe that a suspect endpoint gets per interval, and per so many picks.
    pub(in crate::balance) fn claim_suspect(&self, now: u64, most: u32) -> bool {
        let Some(due) = self.suspect_due(now, most) else {
            if self.patience.load(Relaxed) & MET < MET - 1 {
                self.patience.fetch_add(1, Relaxed);
            }
            return false;
        };
        let units = self.patience.load(Relaxed) / ONE_UNIT;
        let next = now.saturating_add(u64::from(units) * FIRST_PROBE);
        if self.probe_at.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return false;
        }
        self.patience.store((units * 2).min(LAST_UNITS) * ONE_UNIT, Relaxed);
        true
    }
}

/// The ejection, and the one call that may end it.
impl State {
    /// Takes it out until then; false if somebody else has done so, or it has left. Who has not done it
    /// is not asked how long.
    pub(in crate::balance) fn eject(&self, until: impl FnOnce() -> u64) -> bool {
        let begun = self.change(|word| {
            (word & (EJECTED | REMOVED) == 0)
                .then_some(word & !(PROBING | CLAIMED) | EJECTED | HELD)
        });
        if begun.is_some() {
            self.hold(until());
        }
        begun.is_some()
    }

    /// Writes the time of an ejection that this caller has begun or renews.
    fn hold(&self, until: u64) {
        self.until.store(until, Relaxed);
        self.word.fetch_and(!(HELD | PROBING | CLAIMED), Release);
    }

    /// When the one call was due that finds out whether it is well again, if it is.
    pub(in crate::balance) fn probe_due(&self, now: u64) -> Option<u64> {
        let word = self.word.load(Acquire);
        if word & EJECTED == 0 || word & (HELD | REMOVED | DRAINING | UNFIT) != 0 {
            return None;
        }
        let due = self.until.load(Relaxed);
        (now >= due).then_some(due)
    }

    /// Claims the one call that finds out whether it is well again.
    pub(in crate::balance) fn claim_probe(&self, now: u64) -> bool {
        let Some(due) = self.probe_due(now) else { return false };
        let next = now.saturating_add(LEASE).max(due.saturating_add(1));
        if self.until.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return false;
        }
        // A check may have brought it back meanwhile: then nothing is to be found out.
        self.change(|word| {
            (word & EJECTED != 0 && word & HELD == 0).then_some(word | PROBING | CLAIMED)
        })
        .is_some()
    }

    /// Whether the call that begins now is that one: asked by every call that an ejected endpoint
    /// gets, answered once per claim.
    pub(in crate::balance) fn begin_probe(&self) -> bool {
        self.change(|word| (word & CLAIMED != 0).then_some(word & !CLAIMED)).is_some()
    }

    /// It is well again; whether that ended an ejection.
    pub(in crate::balance) fn restore(&self) -> bool {
        self.change(|word| {
            (word & EJECTED != 0).then_some(word & !(EJECTED | HELD | PROBING | CLAIMED))
        })
        .is_some()
    }

    /// The probe has failed: it stays out until then. False if it is not ejected any more.
    pub(in crate::balance) fn probe_failed(&self, until: impl FnOnce() -> u64) -> bool {
        let begun =
            self.change(|word| (word & EJECTED != 0 && word & HELD == 0).then_some(word | HELD));
        if begun.is_some() {
            self.hold(until());
        }
        begun.is_some()
    }

    /// The probe has come to nothing: another call may be it, at once.
    pub(in crate::balance) fn probe_left(&self, now: u64) {
        if self
            .change(|word| (word & PROBING != 0).then_some(word & !(PROBING | CLAIMED)))
            .is_some()
        {
            self.until.store(now, Relaxed);
        }
    }
}
