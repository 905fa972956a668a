//! How long is waited before the next attempt.

use std::time::Duration;

use crate::{config::Retry, core::Random};

/// A wait that grows from attempt to attempt, a part of it at random.
///
/// ```text
/// whole = min(max, base · multiplier^(attempt - 1))
/// wait  = uniform in [whole · (1 - jitter), whole]
/// ```
//= Envoy `retry_back_off` (fully jittered), gRPC `retryPolicy.backoffMultiplier`, Linkerd
//= `ExponentialBackoff.jitter_ratio`
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    base: Duration,
    max: Duration,
    multiplier: f64,
    jitter: f64,
}

impl Backoff {
    pub(super) fn new(config: &Retry) -> Self {
        Self {
            base: config.base(),
            max: config.max(),
            multiplier: config.multiplier(),
            jitter: config.jitter(),
        }
    }

    /// The wait after so many attempts.
    pub(super) fn after(&self, attempt: u32, random: &Random) -> Duration {
        let earlier = attempt.saturating_sub(1);
        #[expect(clippy::float_cmp, reason = "2 is exact, and so are its powers")]
        let grown = if self.multiplier == 2.0 {
            self.base.saturating_mul(1 << earlier.min(20))
        } else {
            let times = self.multiplier.powi(i32::try_from(earlier).unwrap_or(i32::MAX));
            let grown = Duration::try_from_secs_f64(self.base.as_secs_f64() * times);
            grown.unwrap_or(Duration::MAX)
        };
        let (whole, part) = (grown.min(self.max), 1.0 - self.jitter * (1.0 - random.ratio()));
        // The whole of the longest time does not fit a float.
        if part >= 1.0 { whole } else { whole.mul_f64(part) }
    }
}
