//! How long to wait before the next stream.

use std::time::Duration;

use crate::core::Random;

const BASE: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(120);
const FACTOR: f64 = 1.6;
const JITTER: f64 = 0.2;

/// The wait before jitter after so many failures.
pub(super) fn plain(failures: u32) -> Duration {
    let exponent = i32::try_from(failures.min(64)).unwrap_or(64);
    MAX.min(BASE.mul_f64(FACTOR.powi(exponent)))
}

/// gRPC's connection backoff.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

// === impl Backoff ===

impl Backoff {
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    pub(crate) fn wait(&mut self, random: &Random) -> Duration {
        let wait = plain(self.failures);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * random.ratio())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_its_bound_within_its_jitter() {
        let random = Random::seeded(1);
        let mut backoff = Backoff::default();
        let mut plain = 1.0_f64;
        for _ in 0..200 {
            let wait = backoff.wait(&random).as_secs_f64();
            assert!((plain * 0.8..=plain * 1.2).contains(&wait), "{wait} of {plain}");
            plain = (plain * 1.6).min(120.0);
        }
        backoff.failures = u32::MAX;
        assert!(backoff.wait(&random) <= Duration::from_secs(144));
        backoff.reset();
        assert!(backoff.wait(&random) <= Duration::from_millis(1200));
    }
}
