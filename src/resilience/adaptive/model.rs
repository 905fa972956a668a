//! The window and its one winner under loom: every interleaving of a few callers.

use std::time::Duration;

use loom::{sync::Arc, thread};

use super::{control, rules};
use crate::{
    config::{AdaptiveConcurrency, AimdController, ConcurrencyController},
    core::Random,
};

mod atomic {
    pub(super) use loom::sync::{
        Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    };

    pub(super) fn taken<T>(mutex: &Mutex<T>) -> Option<loom::sync::MutexGuard<'_, T>> {
        mutex.try_lock().ok()
    }
}

#[path = "decision.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod decision;
#[path = "histogram.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod histogram;
#[path = "window.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod window;

use self::{
    decision::{Adaptive, End},
    window::{Taken, Window},
};

#[test]
fn an_answer_is_in_one_window_and_whole() {
    loom::model(|| {
        let window = Arc::new(Window::new());
        let rival = Arc::clone(&window);
        let rival = thread::spawn(move || rival.answered(700, 3));
        window.answered(300, 2);
        let first = window.take();
        rival.join().unwrap();
        let second = window.take();
        assert_eq!(first.answers + second.answers, 2);
        assert_eq!(first.micros + second.micros, 1_000);
        for Taken { answers, micros, .. } in [first, second] {
            assert_eq!(answers == 0, micros == 0);
        }
    });
}

#[test]
fn of_two_that_end_at_once_one_computes_and_no_failure_is_counted_twice() {
    let mut model = loom::model::Builder::new();
    // So many words are touched that all of them would take minutes.
    model.preemption_bound = Some(2);
    model.check(|| {
        let mut config = AdaptiveConcurrency::default();
        config.controller = Some(ConcurrencyController::Aimd(AimdController::default()));
        config.min_concurrency = Some(1);
        config.initial_concurrency = Some(100);
        config.min_samples = Some(1);
        config.update_interval = Some(Duration::from_nanos(10));
        let random = Random::seeded(1);
        let limit = Arc::new(Adaptive::new(&config, 0, &random));
        let rival = Arc::clone(&limit);
        let rival =
            thread::spawn(move || rival.ended(End::Dropped, (9, 10), 10, 100, &Random::seeded(2)));
        let mine = limit.ended(End::Dropped, (9, 10), 10, 100, &random);
        let theirs = rival.join().unwrap();
        // Both failures are of one moment: the limit falls once.
        assert!(mine ^ theirs);
        assert_eq!(limit.limit(), 90);
    });
}
