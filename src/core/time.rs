//! One clock: tokio's, so that paused time moves everything.

use std::time::Duration;

pub(crate) use tokio::time::Instant;

/// The start of a mesh's life; shared atomics keep time as nanoseconds since it.
///
/// 64 bits of nanoseconds last 584 years, so no arithmetic here can wrap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch(Instant);

impl Epoch {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds from the epoch to `at`; 0 when `at` is earlier.
    pub(crate) fn nanos(self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.0))
    }

    /// The moment so many nanoseconds after the epoch.
    pub(crate) fn at(self, nanos: u64) -> Instant {
        self.0 + Duration::from_nanos(nanos)
    }
}

/// The earlier of two bounds, either of which may be missing.
pub(crate) fn earliest<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A duration in whole nanoseconds, saturating.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn before_the_epoch_is_its_start() {
        let early = Instant::now();
        let epoch = Epoch(early + Duration::from_secs(5));
        assert_eq!(epoch.nanos(early), 0);
        assert_eq!(epoch.nanos(epoch.0), 0);
    }

    #[test]
    fn the_largest_duration_saturates() {
        assert_eq!(nanos(Duration::MAX), u64::MAX);
        assert_eq!(nanos(Duration::from_nanos(u64::MAX)), u64::MAX);
        assert_eq!(nanos(Duration::from_nanos(u64::MAX) + Duration::from_nanos(1)), u64::MAX);
    }

    proptest! {
        #[test]
        fn time_since_the_epoch_is_exact(nanos in 0..u64::MAX / 4) {
            let epoch = Epoch::now();
            prop_assert_eq!(epoch.nanos(epoch.0 + Duration::from_nanos(nanos)), nanos);
        }
    }
}
