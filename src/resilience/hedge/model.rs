//! The window under loom: every interleaving of a few operations.

use loom::{sync::Arc, thread};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[path = "recent.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod recent;

use self::recent::Recent;

fn recent() -> Arc<Recent<2, 2>> {
    Arc::new(Recent::new(0.5, 10))
}

#[test]
fn two_samples_at_once_are_both_counted() {
    loom::model(|| {
        let recent = recent();
        let rival = Arc::clone(&recent);
        let rival = thread::spawn(move || rival.record(5, 0));
        recent.record(5, 0);
        rival.join().unwrap();
        assert_eq!(recent.count(), 2);
    });
}

#[test]
fn a_sample_is_forgotten_once_whoever_begins_the_next_slot() {
    loom::model(|| {
        let recent = recent();
        recent.record(5, 0);
        let rival = Arc::clone(&recent);
        let rival = thread::spawn(move || rival.record(25, 0));
        recent.record(25, 0);
        rival.join().unwrap();
        // Whatever of the two was counted before its slot was emptied is gone with the first.
        let count = recent.count();
        assert!((0..=2).contains(&count), "{count}");
        recent.record(55, 0);
        assert_eq!(recent.count(), 1);
    });
}

#[test]
fn a_slot_that_is_emptied_while_it_is_written_leaves_no_more_than_was_written() {
    loom::model(|| {
        let recent = recent();
        let rival = Arc::clone(&recent);
        let rival = thread::spawn(move || rival.record(5, 0));
        recent.record(25, 0);
        rival.join().unwrap();
        assert!((1..=2).contains(&recent.count()), "{}", recent.count());
        recent.record(55, 0);
        assert_eq!(recent.count(), 1);
    });
}
