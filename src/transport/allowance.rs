//! How many requests a connection is still given, where its cluster limits that.

use std::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire};

use crate::config::TransportSettings;

/// The requests that a connection may still be given.
#[derive(Debug)]
pub(super) struct Allowance(AtomicU32);

/// What has been taken of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    /// A request, and there are more.
    One,
    /// The last one.
    Last,
    /// There was none left.
    Nothing,
}

impl Allowance {
    /// That of a new connection; nothing, where it is given any number.
    pub(super) fn of(settings: &TransportSettings) -> Option<Self> {
        settings.max_requests_per_connection.map(|most| Self(AtomicU32::new(most)))
    }

    pub(super) fn take(&self) -> Taken {
        match self.0.fetch_update(AcqRel, Acquire, |left| left.checked_sub(1)) {
            Ok(1) => Taken::Last,
            Ok(_) => Taken::One,
            Err(_) => Taken::Nothing,
        }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Acquire) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_request_is_told_and_nothing_is_given_after_it() {
        let mut settings = TransportSettings::default();
        assert!(Allowance::of(&settings).is_none());
        settings.max_requests_per_connection = Some(2);
        let allowance = Allowance::of(&settings).unwrap();
        let taken = [(); 4].map(|()| (allowance.take(), allowance.is_spent()));
        assert_eq!(
            taken,
            [
                (Taken::One, false),
                (Taken::Last, true),
                (Taken::Nothing, true),
                (Taken::Nothing, true)
            ]
        );
    }
}
