//! The counter under loom: every interleaving of a few callers.

use loom::{sync::Arc, thread};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};
}

#[path = "counter.rs"]
#[allow(unreachable_pub, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod counter;

use self::counter::Counter;

#[test]
fn the_last_place_is_given_once() {
    loom::model(|| {
        let counter = Arc::new(Counter::new());
        assert!(counter.enter(2));
        let rival = Arc::clone(&counter);
        let rival = thread::spawn(move || rival.enter(2));
        let mine = counter.enter(2);
        assert!(mine ^ rival.join().unwrap());
        assert_eq!(counter.taken(), 2);
    });
}

#[test]
fn a_place_that_is_left_can_be_taken_again() {
    loom::model(|| {
        let counter = Arc::new(Counter::new());
        assert!(counter.enter(1));
        let rival = Arc::clone(&counter);
        let rival = thread::spawn(move || rival.enter(1));
        counter.leave();
        let theirs = rival.join().unwrap();
        assert!(theirs ^ counter.enter(1));
        assert_eq!(counter.taken(), 1);
    });
}

#[test]
fn who_is_let_in_over_the_limit_is_counted_and_leaves_it_as_it_was() {
    loom::model(|| {
        let counter = Arc::new(Counter::new());
        assert!(counter.enter(1));
        let rival = Arc::clone(&counter);
        let rival = thread::spawn(move || {
            rival.force();
            rival.leave();
        });
        counter.leave();
        let again = counter.enter(1);
        rival.join().unwrap();
        assert_eq!(counter.taken(), u32::from(again));
    });
}

#[test]
fn under_a_smaller_limit_nobody_gets_in_until_enough_have_left() {
    loom::model(|| {
        let counter = Arc::new(Counter::new());
        assert!(counter.enter(2) && counter.enter(2));
        let rival = Arc::clone(&counter);
        let rival = thread::spawn(move || rival.enter(1));
        counter.leave();
        assert!(!rival.join().unwrap() && !counter.enter(1));
        counter.leave();
        assert!(counter.enter(1));
    });
}
