//! When a name is asked again.

use std::time::Duration;

use crate::config::DnsDiscovery;

/// The shortest time between two questions.
pub(crate) const SHORTEST: Duration = Duration::from_secs(1);
/// The longest one, unless the configuration says another.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);
/// The first wait after a failure, doubled each time.
pub(crate) const FAILURE: Duration = Duration::from_secs(1);
/// How long a good answer outlives its TTL.
pub(crate) const STALE: Duration = Duration::from_secs(3600);
/// The most that is added to a wait at random.
const JITTER: f64 = 0.1;

/// The settings that say when.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    longest: Duration,
    respect_ttl: bool,
    jitter: Option<Duration>,
    failure: Duration,
    failure_max: Duration,
    pub(super) stale: Duration,
}

impl Timing {
    pub(super) fn new(dns: &DnsDiscovery) -> Self {
        let failure = dns.failure_refresh.unwrap_or(FAILURE);
        Self {
            longest: dns.refresh.unwrap_or(LONGEST),
            respect_ttl: dns.respect_ttl.unwrap_or(true),
            jitter: dns.jitter,
            failure,
            failure_max: dns.failure_refresh_max.unwrap_or(LONGEST).max(failure),
            stale: dns.stale_limit.unwrap_or(STALE),
        }
    }

    /// How long what was said may be relied on; the jitter only ever adds.
    pub(super) fn after(&self, ttl: u32, ratio: f64) -> Duration {
        let wait = if self.respect_ttl {
            Duration::from_secs(u64::from(ttl)).min(self.longest).max(SHORTEST)
        } else {
            self.longest
        };
        self.jittered(wait, ratio)
    }

    /// The wait after so many failures in a row.
    pub(super) fn after_failures(&self, failures: u32, ratio: f64) -> Duration {
        let doubled = self.failure.saturating_mul(1 << failures.saturating_sub(1).min(20));
        self.jittered(doubled.min(self.failure_max), ratio)
    }

    fn jittered(&self, wait: Duration, ratio: f64) -> Duration {
        let most = self.jitter.unwrap_or_else(|| wait.mul_f64(JITTER));
        wait.saturating_add(most.mul_f64(ratio))
    }
}
