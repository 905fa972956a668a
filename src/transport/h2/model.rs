//! The signals and the slots of a connection under loom: every interleaving of a task and those
//! who wake it, of streams that end and callers who wait for one.

use std::task::{Wake, Waker};

use loom::{
    sync::{Arc, atomic::AtomicUsize},
    thread,
};

mod atomic {
    use std::task::Waker;

    use loom::sync::{
        Condvar, Mutex,
        atomic::{AtomicU32 as Plain, fence},
    };

    pub(super) use loom::sync::atomic::{AtomicU8, Ordering};

    /// loom takes sequentially consistent accesses for acquire and release, but knows fences: one
    /// before and one after each access is what the language asks of the machine.
    #[derive(Debug, Default)]
    pub(super) struct AtomicU32(Plain);

    impl AtomicU32 {
        pub(super) fn new(value: u32) -> Self {
            Self(Plain::new(value))
        }

        fn fenced<T>(order: Ordering, access: impl FnOnce() -> T) -> T {
            if order == Ordering::SeqCst {
                fence(Ordering::SeqCst);
            }
            let result = access();
            if order == Ordering::SeqCst {
                fence(Ordering::SeqCst);
            }
            result
        }

        pub(super) fn load(&self, order: Ordering) -> u32 {
            let weak = if order == Ordering::SeqCst { Ordering::Acquire } else { order };
            Self::fenced(order, || self.0.load(weak))
        }

        pub(super) fn swap(&self, value: u32, order: Ordering) -> u32 {
            Self::fenced(order, || self.0.swap(value, order))
        }

        pub(super) fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
            Self::fenced(order, || self.0.fetch_add(value, order))
        }

        pub(super) fn fetch_sub(&self, value: u32, order: Ordering) -> u32 {
            Self::fenced(order, || self.0.fetch_sub(value, order))
        }

        pub(super) fn fetch_update(
            &self,
            set: Ordering,
            fetch: Ordering,
            change: impl FnMut(u32) -> Option<u32>,
        ) -> Result<u32, u32> {
            Self::fenced(set, || self.0.fetch_update(set, fetch, change))
        }
    }

    /// What tokio promises: a registered waiter is woken by either, and `notify_one` without any
    /// leaves a permit for the next.
    #[derive(Default)]
    pub(super) struct Notify {
        state: Mutex<State>,
        woken: Condvar,
    }

    #[derive(Default)]
    struct State {
        permit: bool,
        next: usize,
        /// In the order of their registration.
        waiting: Vec<usize>,
        /// Those that `notify_one` has woken, until they have seen it.
        given: Vec<usize>,
    }

    impl Notify {
        pub(super) fn notify_one(&self) {
            let mut state = self.state.lock().unwrap();
            if state.waiting.is_empty() {
                state.permit = true;
            } else {
                let first = state.waiting.remove(0);
                state.given.push(first);
                self.woken.notify_all();
            }
        }

        pub(super) fn notify_waiters(&self) {
            self.state.lock().unwrap().waiting.clear();
            self.woken.notify_all();
        }

        /// `notified` and `enable`.
        pub(super) fn register(&self) -> usize {
            let mut state = self.state.lock().unwrap();
            let number = state.next;
            state.next += 1;
            if !std::mem::take(&mut state.permit) {
                state.waiting.push(number);
            }
            number
        }

        /// The future's await.
        pub(super) fn wait(&self, number: usize) {
            let mut state = self.state.lock().unwrap();
            while state.waiting.contains(&number) {
                state = self.woken.wait(state).unwrap();
            }
            state.given.retain(|given| *given != number);
        }

        /// The future's drop: what `notify_one` gave and it has not seen goes to the next.
        pub(super) fn leave(&self, number: usize) {
            let mut state = self.state.lock().unwrap();
            state.waiting.retain(|waiting| *waiting != number);
            let before = state.given.len();
            state.given.retain(|given| *given != number);
            if state.given.len() < before {
                drop(state);
                self.notify_one();
            }
        }
    }

    /// What the library promises: a wake-up finds the waker that was registered last.
    pub(super) struct AtomicWaker(Mutex<Option<Waker>>);

    impl AtomicWaker {
        pub(super) fn new() -> Self {
            Self(Mutex::new(None))
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
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod signals;

#[path = "slots.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod slots;

use self::{
    atomic::Ordering::SeqCst,
    signals::{FRAMES, REQUESTS, STREAMS, Signals},
    slots::{Count, Slots},
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

/// A connection with its slots, in which `max` streams are allowed.
struct Connection {
    count: Count,
    slots: Slots,
}

impl Connection {
    fn new(max: u32) -> Arc<Self> {
        Arc::new(Self { count: Count::new(max), slots: Slots::default() })
    }

    fn release(&self) {
        self.count.release(&self.slots);
    }

    /// A caller who waits, as `connections::acquire` does it.
    fn acquire(&self) {
        let _waiting = self.slots.wait();
        loop {
            let freed = self.slots.freed.register();
            if self.count.load().is_some() && self.count.reserve() {
                self.slots.freed.leave(freed);
                return;
            }
            self.slots.freed.wait(freed);
        }
    }
}

#[test]
fn the_last_stream_is_given_once() {
    loom::model(|| {
        let connection = Connection::new(1);
        let rival = Arc::clone(&connection);
        let rival = thread::spawn(move || rival.count.reserve());
        let mine = connection.count.reserve();
        assert!(mine ^ rival.join().unwrap());
        connection.release();
        assert!(connection.count.reserve());
    });
}

#[test]
fn whoever_waits_for_a_stream_gets_the_one_that_ends() {
    loom::model(|| {
        let connection = Connection::new(1);
        assert!(connection.count.reserve());
        let waiter = Arc::clone(&connection);
        let waiter = thread::spawn(move || waiter.acquire());
        connection.release();
        waiter.join().unwrap();
        assert!(!connection.count.reserve());
    });
}

#[test]
fn two_who_wait_both_get_one() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let connection = Connection::new(1);
        assert!(connection.count.reserve());
        let waiters = [(); 2].map(|()| {
            let waiter = Arc::clone(&connection);
            thread::spawn(move || {
                waiter.acquire();
                waiter.release();
            })
        });
        connection.release();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(connection.count.is_zero());
    });
}

#[test]
fn a_limit_that_rises_wakes_who_waits_for_it() {
    loom::model(|| {
        let connection = Connection::new(0);
        let waiter = Arc::clone(&connection);
        let waiter = thread::spawn(move || waiter.acquire());
        connection.count.publish(1, &connection.slots);
        waiter.join().unwrap();
    });
}

#[test]
fn a_connection_that_has_refused_a_stream_takes_more_when_others_have_ended() {
    loom::model(|| {
        let connection = Connection::new(4);
        assert!(connection.count.reserve() && connection.count.reserve());
        connection.count.refused();
        connection.release();
        assert!(!connection.count.reserve(), "one is all that it has taken");
        let waiter = Arc::clone(&connection);
        let waiter = thread::spawn(move || waiter.acquire());
        connection.release();
        waiter.join().unwrap();
        assert!(!connection.count.reserve());
        // It has room again, and is asked now and then.
        for _ in 0..7 {
            connection.release();
            assert!(connection.count.reserve());
        }
        assert!(connection.count.reserve());
        connection.count.refused();
        connection.count.publish(5, &connection.slots);
        assert!(connection.count.reserve(), "it says that it has more room");
    });
}
