//! A bounded queue with fail-fast: attempts wait for an available endpoint, so many of them, and so
//! long; once nothing has been available for that long, all further ones fail at once (Linkerd).
//!
//! The time is the cluster's, not the attempt's: who comes late waits for what is left of it, and none
//! of what comes after that waits at all. The first attempt that finds an endpoint again ends it for
//! all.
//!
//! As a layer, [`FailFastLayer`] does so around any service that can be cloned, by its `poll_ready`: a
//! call waits until it is ready, and is then sent. A refused one is an [`Error`](crate::Error) whose
//! [`refusal`](crate::Error::refusal) is [`Refusal::Queue`](crate::Refusal::Queue); it was not sent.
//!
//! **Order.** Outside of retries it holds calls; inside of them, attempts. A deadline stands outside of
//! it.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
//! use tower_mesh::resilience::FailFastLayer;
//!
//! # async fn answer(_: http::Request<()>) -> Result<http::Response<()>, tower_mesh::BoxError> {
//! #     Ok(http::Response::new(()))
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let mut service = ServiceBuilder::new()
//!     .layer(FailFastLayer::new(Duration::from_secs(3)).capacity(100))
//!     // It is ready for one call at a time: others wait for it.
//!     .layer(ConcurrencyLimitLayer::new(1))
//!     .service_fn(answer);
//! let calls = [service.call(http::Request::new(())), service.call(http::Request::new(()))];
//! for call in calls {
//!     assert!(call.await.is_ok());
//! }
//! # });
//! ```

mod future;
mod layer;
#[cfg(test)]
mod model;
mod state;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32 as Count, AtomicU64 as Time, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Notify;

pub use self::{
    future::ResponseFuture,
    layer::{FailFast, FailFastLayer},
};

use self::state::State;
use super::limit::Counter;
use crate::{config, core::nanos};

/// What the state is made of outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// How often one that waits looks for itself: back-offs, ejections and checks end without a word to
/// anybody. Of many that wait, each looks more seldom.
const LOOK: Duration = Duration::from_millis(20);
const LOOKERS: u32 = 32;
const MOST_SELDOM: Duration = Duration::from_secs(1);

/// The queue of one cluster.
#[derive(Debug)]
pub(crate) struct Queue {
    capacity: Count,
    /// Nanoseconds.
    timeout: Time,
    waiting: Counter,
    state: State,
    found: Arc<Notify>,
}

/// Why an attempt does not wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// So many wait already.
    Full(u32),
    /// Nothing has been available for so long.
    FailFast(Duration),
}

/// One that waits; it leaves the queue when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter(Arc<Queue>);

// === impl Queue ===

impl Queue {
    pub(crate) fn new(settings: &config::Queue) -> Arc<Self> {
        let queue = Self {
            capacity: Count::new(0),
            timeout: Time::new(0),
            waiting: Counter::new(),
            state: State::new(),
            found: Arc::default(),
        };
        queue.set(settings);
        Arc::new(queue)
    }

    /// In the place of `kept`, whose waiters and state stay.
    pub(crate) fn resized(kept: Option<&Arc<Self>>, settings: &config::Queue) -> Arc<Self> {
        let Some(kept) = kept else { return Self::new(settings) };
        kept.set(settings);
        Arc::clone(kept)
    }

    fn set(&self, settings: &config::Queue) {
        self.capacity.store(settings.capacity(), Relaxed);
        self.timeout.store(nanos(settings.failfast_timeout()), Relaxed);
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity.load(Relaxed)
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.taken()
    }

    /// Something is available: all who wait look again.
    pub(crate) fn found(&self) {
        if self.state.found() {
            self.found.notify_waiters();
        }
    }

    /// Whether nothing has been available for too long.
    pub(crate) fn is_failing_fast(&self, now: u64) -> bool {
        self.state.since().is_some_and(|since| self.left(since, now) == 0)
    }

    fn left(&self, since: u64, now: u64) -> u64 {
        since.saturating_add(self.timeout.load(Relaxed)).saturating_sub(now)
    }

    /// Nothing is available: how long an attempt may wait from now on. Nanoseconds.
    fn missed(&self, now: u64) -> Result<u64, Refused> {
        match self.left(self.state.missed(now), now) {
            0 => Err(Refused::FailFast(Duration::from_nanos(self.timeout.load(Relaxed)))),
            left => Ok(left),
        }
    }

    /// Joins those who wait, as nothing is available.
    pub(crate) fn join(self: &Arc<Self>, now: u64) -> Result<Waiter, Refused> {
        self.missed(now)?;
        let capacity = self.capacity();
        let has_joined = self.waiting.enter(capacity);
        has_joined.then(|| Waiter(Arc::clone(self))).ok_or(Refused::Full(capacity))
    }
}

// === impl Waiter ===

impl Waiter {
    /// Nothing is available: when to look again, if that is not too late. What is found from now on ends
    /// the wait, polled or not: who looks once more before it waits misses nothing.
    pub(crate) fn wait(
        &self,
        now: u64,
    ) -> Result<impl Future<Output = ()> + Send + use<>, Refused> {
        let left = Duration::from_nanos(self.0.missed(now)?);
        let many = self.0.waiting().div_ceil(LOOKERS).max(1);
        let look = LOOK.saturating_mul(many).min(MOST_SELDOM).min(left);
        let found = Arc::clone(&self.0.found).notified_owned();
        Ok(async move { drop(tokio::time::timeout(look, found).await) })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiting.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn queue(capacity: u32) -> Arc<Queue> {
        let settings = config::Queue {
            capacity: Some(capacity),
            failfast_timeout: Some(Duration::from_secs(3)),
        };
        Queue::new(&settings)
    }

    #[test]
    fn attempts_wait_and_after_the_timeout_all_fail_at_once() {
        let queue = queue(9);
        let first = queue.join(SECOND).unwrap();
        // Who comes later has less time.
        let second = queue.join(3 * SECOND).unwrap();
        assert!(first.wait(3 * SECOND).is_ok() && !queue.is_failing_fast(3 * SECOND));
        let failed = Refused::FailFast(Duration::from_secs(3));
        assert_eq!(first.wait(4 * SECOND).err(), Some(failed));
        assert_eq!(second.wait(4 * SECOND).err(), Some(failed));
        drop((first, second));
        assert_eq!(queue.join(9 * SECOND).err(), Some(failed));
        assert!(queue.is_failing_fast(9 * SECOND) && queue.waiting() == 0);
        queue.found();
        assert!(!queue.is_failing_fast(9 * SECOND));
        assert!(queue.join(9 * SECOND).is_ok());
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let queue = queue(1);
        let first = queue.join(0).unwrap();
        assert_eq!(queue.join(0).err(), Some(Refused::Full(1)));
        drop(first);
        assert!(queue.join(0).is_ok());
    }

    #[test]
    fn other_settings_keep_who_waits_and_how_long_it_has_lasted() {
        let queue = queue(1);
        let first = queue.join(0).unwrap();
        let settings = config::Queue { capacity: Some(2), failfast_timeout: None };
        let same = Queue::resized(Some(&queue), &settings);
        assert!(Arc::ptr_eq(&same, &queue) && same.waiting() == 1);
        assert!(same.join(2 * SECOND).is_ok() && first.wait(4 * SECOND).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_found_before_the_wait_is_polled_ends_it() {
        let queue = queue(9);
        let waits = queue.join(0).unwrap().wait(0).unwrap();
        queue.found();
        let began = tokio::time::Instant::now();
        waits.await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken_when_something_is_found() {
        let queue = queue(1_000);
        let waiters: Vec<_> = (0..500).map(|_| queue.join(0).unwrap()).collect();
        let waits = waiters[0].wait(0).unwrap();
        let began = tokio::time::Instant::now();
        let (_, ()) = tokio::join!(waits, async {
            tokio::task::yield_now().await;
            queue.found();
        });
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
