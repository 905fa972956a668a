//! A share of requests that is changed while it is asked: what a runtime key says of a description.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{config::share::below, core::Random};

/// Whether something is on, for how many of the requests. It stays where what asks it stays, so that no
/// change of a key makes a limit begin anew.
#[derive(Debug)]
pub(crate) struct Switch(AtomicU64);

impl Switch {
    /// On for this share; for all, where nothing is said. Unit: percent.
    pub(crate) fn new(percent: Option<f64>) -> Self {
        Self(AtomicU64::new(place(percent)))
    }

    pub(crate) fn set(&self, percent: Option<f64>) {
        self.0.store(place(percent), Ordering::Relaxed);
    }

    pub(super) fn is_on(&self, random: &Random) -> bool {
        match self.0.load(Ordering::Relaxed) {
            ALL => true,
            0 => false,
            below => random.next() < below,
        }
    }
}

const ALL: u64 = u64::MAX;

fn place(percent: Option<f64>) -> u64 {
    percent.and_then(below).unwrap_or(ALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_on_for_its_share() {
        let random = Random::seeded(7);
        let switch = Switch::new(None);
        for (percent, least, most) in [
            (None, 1_000, 1_000),
            (Some(100.0), 1_000, 1_000),
            (Some(0.0), 0, 0),
            (Some(30.0), 250, 350),
        ] {
            switch.set(percent);
            let on = (0..1_000).filter(|_| switch.is_on(&random)).count();
            assert!((least..=most).contains(&on), "{percent:?}: {on}");
        }
    }
}
