//! The load signal of one endpoint: latency, success and calls in flight, side by side.
//!
//! Latency is a peak EWMA (Finagle): a slower sample replaces it, a faster one is blended in over
//! the decay time; without a decay time it is the latest sample. Calls that await their head carry
//! their age (Kratos): an endpoint that answers nothing looks as slow as they are old. From its head
//! to the end of its body a call is in flight and of no age: how long a stream lasts is what its
//! caller wants. Success is an EWMA over outcomes; under one half the endpoint is suspect, and is
//! probed by single calls at doubling intervals. It is a part of the endpoint's state
//! (`health/state.rs`), which stands first.

use super::{
    atomic::{AtomicU64, Ordering::Relaxed},
    state::{FIRST_PROBE, ONE, State},
};

/// What an error of the transport counts as at most, when it came at once. Unit: nanoseconds.
const SLOW: f32 = 1e9;
/// The loser of every comparison gets at most about one pick for so many of the winner's.
const STALE: u64 = 16;
/// The latency of an endpoint whose first answer is still awaited: worse than any measured one.
const UNMEASURED: f32 = 1e15;
/// One call of those in flight whose head is awaited.
const AWAITED: u64 = 1 << 32;

/// A lost update under a race loses one sample of an average, which is harmless: nothing here is
/// a counter but `calls` and `started`, and those are exact.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) state: State,
    /// How many are in flight, below [`AWAITED`], and how many of them await their head.
    calls: AtomicU64,
    /// The sum of the start times of those, wrapping.
    started: AtomicU64,
    /// Nanoseconds; 0 until the first sample.
    latency: AtomicU64,
    /// When the latency was written.
    stamp: AtomicU64,
    /// The last pick.
    picked: AtomicU64,
}

impl Load {
    /// Of an endpoint that is taken to have this latency since then; 0: nothing is known of it.
    pub(super) fn of(latency: u64, since: u64) -> Self {
        let (latency, stamp) = (AtomicU64::new(latency), AtomicU64::new(since));
        Self { latency, stamp, ..Self::default() }
    }

    #[inline]
    pub(super) fn begin(&self, now: u64) {
        self.calls.fetch_add(AWAITED + 1, Relaxed);
        self.started.fetch_add(now, Relaxed);
        self.picked.store(now, Relaxed);
    }

    /// The head of one that began at `started` has come: it stays in flight, and has no age from now on.
    #[inline]
    pub(super) fn answered(&self, started: u64) {
        self.calls.fetch_sub(AWAITED, Relaxed);
        self.started.fetch_sub(started, Relaxed);
    }

    /// One whose head has come is over.
    #[inline]
    pub(super) fn end_answered(&self) {
        self.calls.fetch_sub(1, Relaxed);
    }

    /// One that began at `started` is over, and was not `answered`.
    #[inline]
    pub(super) fn end(&self, started: u64) {
        self.calls.fetch_sub(AWAITED + 1, Relaxed);
        self.started.fetch_sub(started, Relaxed);
    }

    #[inline]
    pub(super) fn in_flight(&self) -> u32 {
        in_flight(self.calls.load(Relaxed))
    }

    /// Whether it was ever picked.
    pub(super) fn was_picked(&self) -> bool {
        self.picked.load(Relaxed) != 0
    }

    #[cfg(test)]
    pub(super) fn is_suspect(&self) -> bool {
        self.state.is_suspect()
    }

    /// Claims a pick for an endpoint that has lost every comparison for a while: an estimate that
    /// is never refreshed would keep it out for ever (go-zero's forced pick). Of few calls the
    /// `winner` keeps its share: it must have had many more picks in the meantime.
    pub(super) fn claim_stale(&self, now: u64, winner: &Self) -> bool {
        self.stale(now, winner).is_some_and(|picked| {
            self.picked.compare_exchange(picked, now, Relaxed, Relaxed).is_ok()
        })
    }

    /// Whether such a pick may be claimed.
    #[inline]
    pub(super) fn is_stale(&self, now: u64, winner: &Self) -> bool {
        self.stale(now, winner).is_some()
    }

    /// Its last pick, if that is too long ago.
    #[inline]
    fn stale(&self, now: u64, winner: &Self) -> Option<u64> {
        let picked = self.picked.load(Relaxed);
        winner.is_long_before(now, picked).then_some(picked)
    }

    /// Whether `then` is too long ago beside the last pick of this, the winner.
    ///
    /// Times are those of one clock, which never goes back (`core::Epoch`), but threads come here with theirs
    /// in any order: what is ahead of `now` is so by as much as one of them was held up, and is just now.
    /// Nobody looks fresh or stale for longer than that.
    #[inline]
    pub(super) fn is_long_before(&self, now: u64, then: u64) -> bool {
        let idle = now.saturating_sub(then);
        idle > FIRST_PROBE && idle / STALE > now.saturating_sub(self.picked.load(Relaxed))
    }

    /// Claims the one probe that a suspect endpoint gets per interval, and per so many picks that
    /// meet it, `most` at most.
    pub(super) fn claim_probe(&self, now: u64, most: u32) -> bool {
        self.state.claim_suspect(now, most)
    }

    /// Whether it is trusted again by this.
    #[inline]
    pub(super) fn succeeded(&self, now: u64, rtt: u64, decay: u64) -> bool {
        self.measured(now, rtt, decay);
        self.state.succeeded()
    }

    /// A head came after so long, and whether its call succeeds is not known yet: it lowers nothing. Says
    /// whether nothing was known of the endpoint before.
    #[inline]
    pub(super) fn heard(&self, now: u64, rtt: u64, decay: u64) -> bool {
        let unproven = self.latency.load(Relaxed) == 0;
        self.raise(now, rtt, decay);
        unproven
    }

    /// The call of that head, then, has succeeded. Where the estimate is newer, the head says nothing of
    /// the present any more.
    #[inline]
    pub(super) fn confirmed(&self, head: u64, rtt: u64, decay: u64) -> bool {
        if head >= self.stamp.load(Relaxed) {
            self.measured(head, rtt, decay);
        }
        self.state.succeeded()
    }

    #[inline]
    fn measured(&self, now: u64, rtt: u64, decay: u64) {
        // Of 0 it is said that there is none.
        let latency = if decay == 0 { rtt } else { self.blended(now, rtt, decay) };
        self.latency.store(latency.max(1), Relaxed);
        self.stamp.store(now, Relaxed);
    }

    /// The estimate after a sample.
    #[inline]
    fn blended(&self, now: u64, rtt: u64, decay: u64) -> u64 {
        let before = self.latency.load(Relaxed);
        if rtt >= before {
            return rtt;
        }
        let (before, rtt) = (float(before), float(rtt));
        whole(rtt + (before - rtt) * self.remaining(now, decay))
    }

    /// A failure never lowers the latency: failing fast is not being fast. Whether it is suspect by this.
    /// `unproven` if nothing was known of it before its head came.
    pub(super) fn failed(&self, now: u64, rtt: u64, decay: u64, unproven: bool) -> bool {
        self.failed_as(now, rtt, decay, (unproven, true))
    }

    /// The same; `answers` if a connection to it was made.
    fn failed_as(&self, now: u64, rtt: u64, decay: u64, (unproven, answers): (bool, bool)) -> bool {
        let unproven = unproven || self.latency.load(Relaxed) == 0;
        self.raise(now, rtt, decay);
        self.state.failed(now, unproven, answers)
    }

    /// An error of the transport counts as slow, however soon it came: as twice what is expected,
    /// up to a second. Whether it is suspect by this.
    pub(super) fn broke(&self, now: u64, rtt: u64, decay: u64, unproven: bool) -> bool {
        let slow = (2.0 * self.latency_at(now, decay)).min(SLOW);
        self.failed_as(now, rtt.max(whole(slow)), decay, (unproven, false))
    }

    /// An attempt that was abandoned: its age may raise the estimate, never lower it.
    pub(super) fn raise(&self, now: u64, age: u64, decay: u64) {
        if float(age) > self.latency_at(now, decay) {
            self.latency.store(age.max(1), Relaxed);
            self.stamp.store(now, Relaxed);
        }
    }

    /// The share of the last estimate that is left.
    #[inline]
    fn remaining(&self, now: u64, decay: u64) -> f32 {
        left(now.saturating_sub(self.stamp.load(Relaxed)), decay)
    }

    #[inline]
    pub(super) fn latency_at(&self, now: u64, decay: u64) -> f32 {
        float(self.latency.load(Relaxed)) * self.remaining(now, decay)
    }

    /// The cost of one more call: latency × (in flight + 1) / success⁴, where the calls in flight
    /// count for the ages of those that await their head when these are more than that, and `share`
    /// times: as often as the heaviest endpoint of the cluster may have as many.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    #[inline]
    pub(super) fn cost(&self, now: u64, decay: u64, share: f32) -> f32 {
        let all = self.calls.load(Relaxed);
        let in_flight = in_flight(all);
        let calls = float(u64::from(in_flight)) * share;
        if self.latency.load(Relaxed) == 0 {
            // One probe while nothing is known; more only when everything else is as unknown.
            return if in_flight == 0 { 0.0 } else { UNMEASURED * calls };
        }
        let latency = self.latency_at(now, decay);
        let mut waiting = latency * calls;
        if in_flight > 0 {
            // The ages of what awaits its head: n · now - Σ started.
            let ages = (all / AWAITED).wrapping_mul(now);
            let ages = ages.wrapping_sub(self.started.load(Relaxed));
            // In a race between the two counters a call may look as old as the mesh to one pick,
            // or the difference wraps: such an age is no age.
            if ages < 1 << 62 {
                let ages = float(ages) * share;
                if ages > waiting {
                    waiting = ages;
                }
            }
        }
        if self.state.is_flawless() {
            return waiting + latency;
        }
        let success = self.state.success();
        let ratio = float(u64::from(success.max(1))) / ONE as f32;
        let squared = ratio * ratio;
        (waiting + latency) / (squared * squared)
    }

    pub(super) fn success_ratio(&self) -> f64 {
        f64::from(self.state.success()) / f64::from(ONE)
    }
}

/// How many of these calls are in flight, whether their heads have come or not.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
fn in_flight(calls: u64) -> u32 {
    calls as u32
}

/// The share of an estimate that is left after so long: e^-x by 1/(1+x+x²/2), without `exp`.
#[inline]
fn left(time: u64, decay: u64) -> f32 {
    if decay == 0 {
        return 1.0;
    }
    let x = float(time) / float(decay);
    1.0 / (1.0 + x + x * x * 0.5)
}

/// What one call costs an endpoint that is taken to have this latency, and has had none for so long.
pub(super) fn assumed(latency: u64, time: u64, decay: u64) -> f32 {
    float(latency) * left(time, decay)
}

/// As a float, of what fits an `i64`: that is one instruction, where all of a `u64` takes ten.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn float(nanos: u64) -> f32 {
    nanos.min(i64::MAX.unsigned_abs()).cast_signed() as f32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn whole(nanos: f32) -> u64 {
    (nanos as i64).unsigned_abs()
}
