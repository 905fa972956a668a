//! Latencies that nobody has measured, and peak EWMA reckons with all the same: of an endpoint that has
//! not answered yet, and of answers that ask for less (Linkerd's penalties).

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{config, core::nanos};

/// Those of a cluster. Unit: nanoseconds; 0: there is none.
#[derive(Debug, Default)]
pub(super) struct Bias {
    /// Of an endpoint without a measurement.
    first: AtomicU64,
    /// What a failure, or an answer of 429, counts as at least.
    failure: AtomicU64,
    /// The most that an endpoint's own word counts as.
    asked: AtomicU64,
}

impl Bias {
    /// What a policy says of them.
    pub(super) fn set(&self, balancer: Option<&config::Balancer>) {
        let of = |time: Option<Duration>| time.map_or(0, nanos);
        let (first, failure, asked) = match balancer {
            Some(config::Balancer::PeakEwma { default_rtt, penalty, max_retry_after, .. }) => {
                (of(*default_rtt), of(*penalty), of(*max_retry_after))
            }
            Some(config::Balancer::OverrideHost(over)) => return self.set(Some(&over.fallback)),
            _ => (0, 0, 0),
        };
        self.first.store(first, Relaxed);
        self.failure.store(failure, Relaxed);
        self.asked.store(asked, Relaxed);
    }

    pub(super) fn first(&self) -> u64 {
        self.first.load(Relaxed)
    }

    /// What a failure counts as that took so long.
    pub(super) fn of_failure(&self, rtt: u64) -> u64 {
        rtt.max(self.failure.load(Relaxed))
    }

    /// What an answer counts as that asks for so long a pause, if it asks for one.
    pub(super) fn of_word(&self, asked: Option<Duration>) -> u64 {
        let asked = asked.map_or(0, nanos).min(self.asked.load(Relaxed));
        self.of_failure(asked)
    }

    /// Whether answers are looked at for it.
    pub(super) fn is_on(&self) -> bool {
        self.failure.load(Relaxed) > 0 || self.asked.load(Relaxed) > 0
    }
}
