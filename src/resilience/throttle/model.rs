//! The words of the throttle under loom: every interleaving of a few callers.

use loom::{sync::Arc, thread};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "forced.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod forced;
#[path = "young.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod young;

use self::{forced::Forced, young::Young};

const SECOND: u64 = 1_000_000_000;

#[test]
fn calls_that_begin_and_end_at_once_are_all_counted() {
    loom::model(|| {
        let young = Arc::new(Young::default());
        young.began(0);
        let rival = Arc::clone(&young);
        let rival = thread::spawn(move || rival.began(SECOND));
        young.ended(0, SECOND);
        rival.join().unwrap();
        assert_eq!(young.open(SECOND), 1);
    });
}

#[test]
fn one_of_many_is_forced() {
    loom::model(|| {
        let forced = Arc::new(Forced::new(10));
        let rival = Arc::clone(&forced);
        let rival = thread::spawn(move || rival.is_due(10));
        let mine = forced.is_due(10);
        assert!(mine ^ rival.join().unwrap());
        assert!(!forced.is_due(10));
    });
}
