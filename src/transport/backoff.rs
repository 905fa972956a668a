//! The back-off of an endpoint that cannot be connected to.

use std::time::Duration;

use super::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::core::Random;

/// Doubling from `base` to `max`, 20 % jitter (gRPC connection back-off).
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// Nanoseconds; 0 when the last attempt succeeded.
    until: AtomicU64,
    /// From when on an attempt within the back-off is allowed.
    next_try: AtomicU64,
    failures: AtomicU32,
}

impl Backoff {
    /// Whether the balancer should look elsewhere.
    pub(crate) fn lasts(&self, now: u64) -> bool {
        now < self.until.load(Relaxed)
    }

    /// Whether nothing has succeeded since the last failure, whether it lasts or not.
    pub(super) fn is_failing(&self) -> bool {
        self.until.load(Relaxed) != 0
    }

    /// When it ends, in nanoseconds; long ago if there is none.
    pub(super) fn until(&self) -> u64 {
        self.until.load(Relaxed)
    }

    /// Whether a caller that has nowhere else to go may try all the same: at once after a first
    /// failure, for a server that is being replaced may close one connection as its last; then
    /// one per `base`, so that a server that is back is found at once.
    pub(super) fn may_try(&self, now: u64, base: Duration) -> bool {
        if !self.lasts(now) {
            return true;
        }
        let from = self.next_try.load(Relaxed);
        let next = now.saturating_add(nanos(base));
        now >= from && self.next_try.compare_exchange(from, next, Relaxed, Relaxed).is_ok()
    }

    pub(crate) fn succeeded(&self) {
        if self.until.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            self.until.store(0, Relaxed);
        }
    }

    /// Notes a failure at `now`; returns how long the endpoint is avoided.
    ///
    /// Failures within a back-off are those of attempts that were under way together: they are
    /// the one failure that began it.
    pub(crate) fn failed(
        &self,
        now: u64,
        base: Duration,
        max: Duration,
        random: &Random,
    ) -> Duration {
        let until = self.until.load(Relaxed);
        if now < until {
            return Duration::from_nanos(until - now);
        }
        let failures = self.failures.load(Relaxed);
        let plain = base.saturating_mul(1 << failures.min(20)).min(max);
        let wait = plain.mul_f64(0.4_f64.mul_add(random.ratio(), 0.8)).min(max);
        let next = now.saturating_add(nanos(wait)).max(1);
        match self.until.compare_exchange(until, next, Relaxed, Relaxed) {
            Ok(_) => {
                self.failures.store(failures.saturating_add(1), Relaxed);
                let pause = if failures == 0 { 0 } else { nanos(base) };
                self.next_try.store(now.saturating_add(pause), Relaxed);
                wait
            }
            // Another attempt that was under way has begun it.
            Err(until) => Duration::from_nanos(until.saturating_sub(now)),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
