//! The signals of a connection under loom: every interleaving of a task and those who wake it.

use std::task::{Wake, Waker};

use loom::{
    sync::{Arc, atomic::AtomicUsize},
    thread,
};

mod atomic {
    use std::task::Waker;

    pub(super) use loom::sync::atomic::{AtomicU8, Ordering};

    /// What the library promises: a wake-up finds the waker that was registered last.
    pub(super) struct AtomicWaker(loom::sync::Mutex<Option<Waker>>);

    impl AtomicWaker {
        pub(super) fn new() -> Self {
            Self(loom::sync::Mutex::new(None))
        }

        pub(super) fn register(&self, waker: &Waker) {
            *self.0.lock().unwrap() = Some(waker.clone());
        }

        pub(super) fn wake(&self) {
            let waker = self.0.lock().unwrap().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

#[path = "signals.rs"]
#[allow(clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod signals;

use self::{
    atomic::Ordering::SeqCst,
    signals::{FRAMES, REQUESTS, STREAMS, Signals},
};

/// Counts the wake-ups of a task.
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// The task: what it has seen, and how often it has been woken.
struct Task {
    wakes: std::sync::Arc<Wakes>,
    waker: Waker,
    seen: u8,
}

impl Task {
    fn new() -> Self {
        let wakes = std::sync::Arc::new(Wakes(AtomicUsize::new(0)));
        let waker = Waker::from(std::sync::Arc::clone(&wakes));
        Self { wakes, waker, seen: 0 }
    }

    /// One poll, until nothing is left to do.
    fn poll(&mut self, signals: &Signals) {
        signals.register(&self.waker);
        loop {
            self.seen |= signals.take();
            if signals.rest() {
                return;
            }
        }
    }

    /// Sleeps, unless it has been woken.
    fn wakes(&self) -> bool {
        self.wakes.0.swap(0, SeqCst) > 0
    }
}

fn raise(signals: &Arc<Signals>, part: u8) -> thread::JoinHandle<()> {
    let signals = Arc::clone(signals);
    thread::spawn(move || signals.raise(part))
}

#[test]
fn no_signal_is_slept_through() {
    loom::model(|| {
        let signals = Arc::new(Signals::new(STREAMS));
        let mut task = Task::new();
        let one = raise(&signals, FRAMES);
        let other = raise(&signals, REQUESTS);
        task.poll(&signals);
        one.join().unwrap();
        other.join().unwrap();
        if task.wakes() {
            task.poll(&signals);
        }
        assert_eq!(task.seen, FRAMES | REQUESTS | STREAMS);
    });
}

#[test]
fn a_signal_that_meets_a_resting_task_wakes_it() {
    loom::model(|| {
        let signals = Arc::new(Signals::new(FRAMES));
        let mut task = Task::new();
        task.poll(&signals);
        let one = raise(&signals, FRAMES);
        let other = raise(&signals, FRAMES);
        task.seen = 0;
        if task.wakes() {
            task.poll(&signals);
        }
        one.join().unwrap();
        other.join().unwrap();
        while task.wakes() {
            task.poll(&signals);
        }
        assert_eq!(task.seen, FRAMES);
    });
}

#[test]
fn a_task_that_comes_back_by_itself_finds_what_was_raised_meanwhile() {
    loom::model(|| {
        let signals = Arc::new(Signals::new(0));
        let mut task = Task::new();
        signals.register(&task.waker);
        task.seen |= signals.take();
        let rival = raise(&signals, REQUESTS);
        signals.leave(FRAMES | STREAMS);
        task.poll(&signals);
        rival.join().unwrap();
        if task.wakes() {
            task.poll(&signals);
        }
        assert_eq!(task.seen, FRAMES | REQUESTS | STREAMS);
    });
}
