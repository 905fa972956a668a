//! The state under loom: every interleaving of a few callers.

use loom::{sync::Arc, thread};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "state.rs"]
#[allow(dead_code, unreachable_pub, clippy::duplicate_mod, reason = "the same over loom's atomics")]
mod state;

use self::state::State;

#[test]
fn two_who_find_nothing_agree_on_when_it_began() {
    loom::model(|| {
        let state = Arc::new(State::new());
        let rival = Arc::clone(&state);
        let rival = thread::spawn(move || rival.missed(7));
        let mine = state.missed(5);
        assert_eq!(mine, rival.join().unwrap());
        assert_eq!(state.since(), Some(mine));
    });
}

#[test]
fn one_of_those_who_find_something_tells_the_others() {
    loom::model(|| {
        let state = Arc::new(State::new());
        state.missed(5);
        let rival = Arc::clone(&state);
        let rival = thread::spawn(move || rival.found());
        let mine = state.found();
        assert!(mine ^ rival.join().unwrap());
        assert_eq!(state.since(), None);
    });
}
