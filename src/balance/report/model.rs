//! The weight of an endpoint under loom: every interleaving of its reports and who computes with it.

use loom::{sync::Arc, thread};

use super::weights;

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "weight.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod weight;

use self::{
    weight::{Unusable, Weight},
    weights::Rules,
};

const NOW: u64 = 1_000_000_000;

/// Reports count at once, for a second.
fn eager() -> Rules {
    Rules { blackout: 0, expiration: NOW, penalty: 1.0, metrics: Vec::new() }
}

#[test]
fn a_first_report_is_seen_whole_or_not_at_all() {
    loom::model(|| {
        let weight = Arc::new(Weight::default());
        let rival = Arc::clone(&weight);
        let rival = thread::spawn(move || rival.get(5 * NOW, &eager()));
        weight.report(5 * NOW, 7.0);
        let met = rival.join().unwrap();
        assert!(met == Err(Unusable::NotYet) || met == Ok(7.0), "{met:?}");
        // And it was not taken for one that has expired.
        assert_eq!(weight.get(5 * NOW, &eager()), Ok(7.0));
    });
}

#[test]
fn a_report_beside_the_end_of_the_last_one_is_taken_or_lost_and_the_next_one_counts() {
    loom::model(|| {
        let weight = Arc::new(Weight::default());
        weight.report(NOW, 3.0);
        let rival = Arc::clone(&weight);
        let rival = thread::spawn(move || rival.get(5 * NOW, &eager()));
        weight.report(5 * NOW, 7.0);
        let met = rival.join().unwrap();
        assert!(met == Err(Unusable::Stale) || met == Ok(7.0), "{met:?}");
        weight.report(5 * NOW, 8.0);
        assert_eq!(weight.get(5 * NOW, &eager()), Ok(8.0));
    });
}
