//! The ledger and the throttle under loom: every interleaving of a few operations.

use loom::{sync::Arc, thread};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[path = "ledger.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod ledger;

#[path = "throttle.rs"]
#[allow(clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod throttle;

use self::{
    ledger::{Ledger, Reserve},
    throttle::Throttle,
};

const NONE: Reserve = Reserve { income: 0, full: 0 };

fn ledger() -> Arc<Ledger<2>> {
    Arc::new(Ledger::new(20))
}

#[test]
fn one_token_is_granted_once() {
    loom::model(|| {
        let ledger = ledger();
        ledger.deposit(0, 5);
        ledger.deposit(0, 5);
        let rival = Arc::clone(&ledger);
        let rival = thread::spawn(move || rival.withdraw(0, 10, NONE));
        let mine = ledger.withdraw(0, 10, NONE);
        assert!(mine ^ rival.join().unwrap());
        assert_eq!(ledger.balance(0, NONE), 0);
    });
}

#[test]
fn concurrent_deposits_are_all_counted() {
    loom::model(|| {
        let ledger = ledger();
        let rival = Arc::clone(&ledger);
        let rival = thread::spawn(move || rival.deposit(0, 4));
        ledger.deposit(0, 6);
        let early = ledger.withdraw(0, 10, NONE);
        rival.join().unwrap();
        assert!(early || ledger.withdraw(0, 10, NONE));
        assert_eq!(ledger.balance(0, NONE), 0);
    });
}

#[test]
fn a_new_slot_neither_creates_nor_loses_live_tokens() {
    loom::model(|| {
        let ledger = ledger();
        ledger.deposit(5, 7);
        let rival = Arc::clone(&ledger);
        let rival = thread::spawn(move || rival.deposit(10, 3));
        let early = ledger.withdraw(10, 10, NONE);
        rival.join().unwrap();
        assert!(early || ledger.withdraw(10, 10, NONE));
        assert_eq!(ledger.balance(10, NONE), 0);
    });
}

#[test]
fn expiry_never_grants_more_than_was_deposited() {
    loom::model(|| {
        let ledger = ledger();
        ledger.deposit(0, 10);
        let rival = Arc::clone(&ledger);
        let rival = thread::spawn(move || rival.withdraw(25, 10, NONE));
        let mine = ledger.withdraw(15, 10, NONE);
        let theirs = rival.join().unwrap();
        assert!(!(mine && theirs));
        assert_eq!(ledger.balance(45, NONE), 0);
    });
}

#[test]
fn failures_and_successes_at_once_are_all_counted() {
    loom::model(|| {
        let throttle = Arc::new(Throttle::new(10.0, 0.5));
        throttle.ended(true);
        let rival = Arc::clone(&throttle);
        let rival = thread::spawn(move || rival.ended(true));
        throttle.ended(false);
        rival.join().unwrap();
        assert_eq!(throttle.tokens(), 8_500);
        assert!(throttle.allows());
    });
}
