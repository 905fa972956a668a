//! The connect back-off under loom: every interleaving of a few attempts.

use std::time::Duration;

use loom::{sync::Arc, thread};

use crate::core::Random;

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[path = "backoff.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod backoff;

use self::backoff::Backoff;

const BASE: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(30);

fn new() -> Arc<Backoff> {
    Arc::new(Backoff::default())
}

fn fail(backoff: &Backoff, now: u64) -> Duration {
    backoff.failed(now, BASE, MAX, &Random::seeded(1))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

#[test]
fn attempts_that_fail_together_are_one_failure() {
    loom::model(|| {
        let backoff = new();
        let rival = Arc::clone(&backoff);
        let rival = thread::spawn(move || fail(&rival, 1));
        let mine = fail(&backoff, 1);
        let theirs = rival.join().unwrap();
        assert!(mine <= BASE.mul_f64(1.2) && theirs <= BASE.mul_f64(1.2));
        // The next one is the second.
        let second = fail(&backoff, 1 + nanos(BASE) * 2);
        assert!(second >= BASE.mul_f64(1.6) && second <= BASE.mul_f64(2.4), "{second:?}");
    });
}

#[test]
fn one_of_two_may_try_within_the_back_off() {
    loom::model(|| {
        let backoff = new();
        // The fourth failure is waited for 640 ms at least.
        let start = [0, 1, 2, 3].map(|failure| failure * 10 * nanos(BASE));
        for at in start {
            fail(&backoff, at);
        }
        let now = start[3] + nanos(BASE);
        let rival = Arc::clone(&backoff);
        let rival = thread::spawn(move || rival.may_try(now, BASE));
        let mine = backoff.may_try(now, BASE);
        assert!(mine ^ rival.join().unwrap());
    });
}

#[test]
fn after_a_success_beside_a_failure_the_endpoint_is_tried_within_one_base() {
    loom::model(|| {
        let backoff = new();
        let rival = Arc::clone(&backoff);
        let rival = thread::spawn(move || rival.succeeded());
        let wait = fail(&backoff, 1);
        rival.join().unwrap();
        assert!(wait <= BASE.mul_f64(1.2));
        assert!(backoff.may_try(1 + nanos(BASE), BASE));
    });
}
