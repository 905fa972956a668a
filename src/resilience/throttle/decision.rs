//! The decision: what is refused, by what was sent and what was accepted.

use std::time::Duration;

use super::{
    forced::Forced,
    young::{self, Young},
};
use crate::{
    config::{self, Criticality},
    core::Random,
    resilience::{
        rolling::Rolling,
        shed::{self, LEVELS},
    },
};

/// The counters behind those of the levels.
const ACCEPTED: usize = LEVELS;
const WITHDRAWN: usize = LEVELS + 1;

/// Client-side throttling for one destination; calls share it without a lock.
///
/// The time is nanoseconds since an epoch of its owner's.
#[derive(Debug)]
pub(crate) struct Throttle {
    per_accept: f64,
    min_requests: u64,
    /// What the application wanted by level, and what was accepted.
    counts: Rolling,
    young: Young,
    forced: Forced,
}

/// A call that is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    began: u64,
}

// === impl Throttle ===

impl Throttle {
    pub(crate) fn new(config: &config::Throttle) -> Self {
        Self {
            per_accept: config.per_accept(),
            min_requests: u64::from(config.min_requests()),
            counts: Rolling::new(crate::core::nanos(config.window())),
            young: Young::default(),
            forced: Forced::new(crate::core::nanos(config.force_after())),
        }
    }

    /// Whether a call is sent. It is counted now, not when it ends, and also if it is refused.
    pub(crate) fn enter(
        &self,
        now: u64,
        criticality: Criticality,
        random: &Random,
    ) -> Result<Sent, f64> {
        self.counts.add(now, shed::level(criticality));
        let (p, offered) = self.looks(now, 1);
        let share = if p > 0.0 { shed::share(p, criticality, &offered) } else { 0.0 };
        if share > 0.0 && random.ratio() < share && !self.forced.is_due(now) {
            return Err(share);
        }
        self.forced.passed(now);
        self.young.began(now);
        Ok(Sent { began: now })
    }

    /// A call that was sent has come to something.
    pub(crate) fn ended(&self, sent: Sent, now: u64, is_accepted: bool) {
        self.young.ended(sent.began, now);
        if is_accepted {
            self.counts.add(now, ACCEPTED);
        }
    }

    /// Its caller left. One that left soon is as if it had never been; one that waited long is a call
    /// that was not accepted: else a service that hangs would hide behind its callers' patience.
    pub(crate) fn left(&self, sent: Sent, now: u64) {
        if now.saturating_sub(sent.began) < young::AGE {
            self.withdrawn(sent, now);
        } else {
            self.ended(sent, now, false);
        }
    }

    /// It came to nothing that says anything of the service.
    pub(crate) fn withdrawn(&self, sent: Sent, now: u64) {
        self.ended(sent, now, false);
        self.counts.add(now, WITHDRAWN);
    }

    /// The share of the calls of this criticality that is refused now.
    pub(crate) fn share(&self, now: u64, criticality: Criticality) -> f64 {
        let (p, mut offered) = self.looks(now, 0);
        offered[shed::level(criticality)] += 1;
        shed::share(p, criticality, &offered)
    }

    /// The share of all calls that is refused now.
    #[cfg(test)]
    pub(super) fn refusing(&self, now: u64) -> f64 {
        self.looks(now, 0).0
    }

    /// What all calls but so many that are asking now come to.
    fn looks(&self, now: u64, asking: u64) -> (f64, [u64; LEVELS]) {
        let sums = self.counts.sums(now);
        let offered: [u64; LEVELS] = [sums[0], sums[1], sums[2], sums[3]];
        let requests: u64 = offered.iter().sum();
        if requests < self.min_requests {
            return (0.0, offered);
        }
        let unknown = asking + self.young.open(now) + sums[WITHDRAWN];
        let requests = requests.saturating_sub(unknown);
        (probability(requests, sums[ACCEPTED], self.per_accept), offered)
    }
}

/// The share of calls that is refused: max(0, (requests − K·accepts) / (requests + 1)).
///
//= Google SRE, "Handling Overload", client request rejection probability
#[expect(clippy::cast_precision_loss, reason = "calls of one window")]
pub(super) fn probability(requests: u64, accepts: u64, per_accept: f64) -> f64 {
    let (requests, accepts) = (requests as f64, accepts as f64);
    ((requests - per_accept * accepts) / (requests + 1.0)).max(0.0)
}

// === impl Sent ===

impl Sent {
    pub(super) fn at(began: u64) -> Self {
        Self { began }
    }
}

// === impl config::Throttle ===

impl config::Throttle {
    pub(crate) fn is_on(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    pub(crate) fn window(&self) -> Duration {
        self.window.unwrap_or(Duration::from_secs(120))
    }

    pub(crate) fn per_accept(&self) -> f64 {
        self.per_accept.unwrap_or(2.0)
    }

    pub(crate) fn min_requests(&self) -> u32 {
        self.min_requests.unwrap_or(100)
    }

    pub(crate) fn force_after(&self) -> Duration {
        self.force_after.unwrap_or(Duration::from_secs(1))
    }
}
