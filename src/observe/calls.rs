//! The calls of a mesh that are under way, service by service, and that no more are taken.
//!
//! Both are one word of a service: a call either is counted before the end begins, and waited for, or
//! knows as it begins that it came later.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use tokio::sync::Notify;

/// The calls of one service.
pub(crate) struct Calls {
    word: AtomicU64,
    drained: Arc<Notify>,
}

/// Those of all services of a mesh.
#[derive(Default)]
pub(super) struct AllCalls {
    closing: AtomicBool,
    known: Mutex<Known>,
    drained: Arc<Notify>,
}

#[derive(Default)]
struct Known {
    services: Vec<Weak<Calls>>,
    /// So many were there when those that are gone were last taken out.
    kept: usize,
}

/// What else of a call is open: a body that only an own leaf knows the end of, or layers of the
/// application around the call.
const OPEN: u64 = 1;
/// A call without a response head.
const CALL: u64 = 1 << 32;
/// Since the end began, there was a moment without any.
const DRAINED: u64 = 1 << 62;
/// The end has begun.
const CLOSING: u64 = 1 << 63;

// === impl Calls ===

impl Calls {
    fn new(is_closing: bool, drained: &Arc<Notify>) -> Self {
        let word = if is_closing { CLOSING | DRAINED } else { 0 };
        Self { word: AtomicU64::new(word), drained: Arc::clone(drained) }
    }

    /// Counts a call; false if the end had begun before.
    #[inline]
    pub(super) fn begin(&self) -> bool {
        self.word.fetch_add(CALL, Relaxed) & CLOSING == 0
    }

    /// It has its head, or is over.
    #[inline]
    pub(super) fn end(&self) {
        self.take(CALL);
    }

    /// Counts what else is open of a call; false if the end had begun before.
    pub(super) fn open(&self) -> bool {
        self.word.fetch_add(OPEN, Relaxed) & CLOSING == 0
    }

    /// It is open no more.
    pub(super) fn close(&self) {
        self.take(OPEN);
    }

    #[inline]
    fn take(&self, what: u64) {
        if self.word.fetch_sub(what, Release).wrapping_sub(what) == CLOSING {
            self.drained();
        }
    }

    #[cold]
    fn drained(&self) {
        // Whatever comes from now on came after the end had begun.
        self.word.fetch_or(DRAINED, AcqRel);
        self.drained.notify_waiters();
    }

    /// Calls without a response head.
    pub(super) fn active(&self) -> u64 {
        (self.word.load(Relaxed) & (DRAINED - 1)) / CALL
    }

    fn is_drained(&self) -> bool {
        let word = self.word.load(Acquire);
        word & DRAINED != 0 || word & (DRAINED - 1) == 0
    }
}

// === impl AllCalls ===

impl AllCalls {
    /// The calls of one more service.
    pub(super) fn of_service(&self) -> Arc<Calls> {
        let mut known = self.known();
        let calls = Arc::new(Calls::new(self.is_closing(), &self.drained));
        if known.services.len() >= 2 * known.kept.max(32) {
            known.services.retain(|calls| calls.strong_count() > 0);
            known.kept = known.services.len();
        }
        known.services.push(Arc::downgrade(&calls));
        calls
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        // Under the lock: a service that comes meanwhile comes before it, or knows.
        let known = self.known();
        self.closing.store(true, Relaxed);
        for calls in known.services.iter().filter_map(Weak::upgrade) {
            calls.word.fetch_or(CLOSING, AcqRel);
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Waits until those that were taken are over.
    pub(super) async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            if self.known().services.iter().filter_map(Weak::upgrade).all(|it| it.is_drained()) {
                return;
            }
            drained.await;
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_over(all: &AllCalls) -> bool {
        use futures_util::FutureExt;
        all.drained().now_or_never().is_some()
    }

    #[test]
    fn those_that_were_taken_are_waited_for_and_no_others() {
        let all = AllCalls::default();
        let (users, orders) = (all.of_service(), all.of_service());
        assert!(users.begin() && orders.begin() && orders.open());
        all.close();
        assert!(all.is_closing() && !is_over(&all));
        orders.end();
        // One that is refused, and not over yet.
        assert!(!users.begin());
        users.end();
        assert_eq!(users.active(), 1);
        users.end();
        assert!(!is_over(&all), "a body is open");
        orders.close();
        assert!(is_over(&all));
        assert!(!orders.begin() && !all.of_service().begin());
        assert!(is_over(&all), "who is refused is not waited for");
    }

    #[test]
    fn services_that_are_gone_are_forgotten() {
        let all = AllCalls::default();
        let kept: Vec<_> = (0..10_000).map(|_| all.of_service()).step_by(1_000).collect();
        assert!(all.known().services.len() < 200, "{}", all.known().services.len());
        assert_eq!(kept.iter().map(|calls| calls.active()).sum::<u64>(), 0);
    }
}
