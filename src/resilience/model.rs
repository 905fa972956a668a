//! The counters of the window under loom: every interleaving of a few callers.

use loom::{sync::Arc, thread};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "rolling.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod rolling;

use self::rolling::Rolling;

#[test]
fn what_two_callers_count_is_all_there() {
    loom::model(|| {
        let counts = Arc::new(Rolling::<2>::new(20));
        let rival = Arc::clone(&counts);
        let rival = thread::spawn(move || rival.add(5, 0));
        counts.add(5, 1);
        rival.join().unwrap();
        assert_eq!(counts.sums(5)[..2], [1, 1]);
    });
}

#[test]
fn a_slot_that_is_used_again_forgets_once() {
    loom::model(|| {
        let counts = Arc::new(Rolling::<2>::new(20));
        counts.add(0, 0);
        let rival = Arc::clone(&counts);
        let rival = thread::spawn(move || rival.add(20, 0));
        counts.add(20, 0);
        rival.join().unwrap();
        assert_eq!(counts.sums(20)[0], 2);
    });
}

#[test]
fn a_late_caller_takes_nothing_away() {
    loom::model(|| {
        let counts = Arc::new(Rolling::<2>::new(20));
        let rival = Arc::clone(&counts);
        let rival = thread::spawn(move || rival.add(5, 0));
        counts.add(25, 0);
        rival.join().unwrap();
        let sum = counts.sums(25)[0];
        assert!((1..=2).contains(&sum), "{sum}");
    });
}
