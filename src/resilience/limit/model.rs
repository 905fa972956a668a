//! The gate under loom: every interleaving of a few callers.

use loom::{sync::Arc, thread};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};
}

#[path = "gate.rs"]
#[allow(clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod gate;

use self::gate::Gate;

#[test]
fn the_last_place_is_given_once() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        assert!(gate.enter(2));
        let rival = Arc::clone(&gate);
        let rival = thread::spawn(move || rival.enter(2));
        let mine = gate.enter(2);
        assert!(mine ^ rival.join().unwrap());
        assert_eq!(gate.taken(), 2);
    });
}

#[test]
fn a_place_that_is_left_can_be_taken_again() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        assert!(gate.enter(1));
        let rival = Arc::clone(&gate);
        let rival = thread::spawn(move || rival.enter(1));
        gate.leave();
        let theirs = rival.join().unwrap();
        assert!(theirs ^ gate.enter(1));
        assert_eq!(gate.taken(), 1);
    });
}
