//! The counter under loom: every interleaving of a few callers.

use loom::{sync::Arc, thread};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};
}

#[path = "counter.rs"]
#[allow(dead_code, unreachable_pub, clippy::duplicate_mod, reason = "the same over loom's atomics")]
mod counter;

use self::counter::Counter;

fn counter(most: u32) -> Arc<Counter> {
    let counter = Arc::new(Counter::new());
    counter.set(Some(most));
    counter
}

#[test]
fn the_last_place_is_given_once() {
    loom::model(|| {
        let counter = counter(1);
        let rival = Arc::clone(&counter);
        let rival = thread::spawn(move || rival.enter());
        let mine = counter.enter();
        assert!(mine ^ rival.join().unwrap());
        assert_eq!(counter.taken(), 1);
    });
}

#[test]
fn who_is_let_in_over_the_limit_is_counted_and_leaves_it_as_it_was() {
    loom::model(|| {
        let counter = counter(1);
        assert!(counter.enter());
        let rival = Arc::clone(&counter);
        let rival = thread::spawn(move || {
            rival.force();
            rival.leave();
        });
        counter.leave();
        let again = counter.enter();
        rival.join().unwrap();
        assert_eq!(counter.taken(), u32::from(again));
    });
}

#[test]
fn a_smaller_limit_lets_nobody_in_until_enough_have_left() {
    loom::model(|| {
        let counter = counter(2);
        assert!(counter.enter() && counter.enter());
        let rival = Arc::clone(&counter);
        let rival = thread::spawn(move || rival.set(Some(1)));
        counter.leave();
        rival.join().unwrap();
        assert!(!counter.enter());
        counter.leave();
        assert!(counter.enter());
    });
}
