//! The life of a source's task: one that ends early, or panics, must not be waited for; one that only this
//! crate runs, and that can begin again, does.

use std::sync::Weak;
#[cfg(feature = "dns")]
use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
    time::Duration,
};

use super::inner::Inner;
#[cfg(feature = "dns")]
use crate::core::Instant;
use crate::discover::{Discover, Publisher, SourceId};

/// Tells the mesh when the task is over; dropped with it.
struct Watched {
    inner: Weak<Inner>,
    source: SourceId,
    /// It returned, and was not dropped from outside.
    ended: bool,
}

/// Runs a source to its end.
pub(super) async fn run(
    inner: Weak<Inner>,
    source: SourceId,
    discover: Box<dyn Discover>,
    publish: Publisher,
) {
    let mut watched = Watched { inner, source, ended: false };
    discover.run(publish).await;
    watched.ended = true;
}

/// Runs a task, and begins it again when it panics: a second later, and after twice the wait each
/// time until it has lasted for the longest of them.
#[cfg(feature = "dns")]
pub(super) async fn again<F: Future<Output = ()>>(mut begin: impl FnMut() -> F) {
    let mut wait = SHORTEST;
    loop {
        let began = Instant::now();
        let mut task = Box::pin(begin());
        let has_panicked = poll_fn(|cx| {
            // One that has panicked is dropped, and polled no more.
            let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx)));
            polled.map_or(Poll::Ready(true), |polled| polled.map(|()| false))
        });
        if !has_panicked.await {
            return;
        }
        drop(task);
        if began.elapsed() >= LONGEST {
            wait = SHORTEST;
        }
        tokio::time::sleep(wait).await;
        wait = wait.saturating_mul(2).min(LONGEST);
    }
}

/// The first wait before a task begins again.
#[cfg(feature = "dns")]
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest.
#[cfg(feature = "dns")]
const LONGEST: Duration = Duration::from_secs(60);

/// Calls what it was given when the task panics; dropped with it.
#[cfg(feature = "_tls")]
struct OnPanic<F: FnOnce()>(Option<F>);

/// Runs a task that must not end by a panic without a word.
#[cfg(feature = "_tls")]
pub(super) async fn guarded(task: impl Future<Output = ()>, tell: impl FnOnce()) {
    let mut guard = OnPanic(Some(tell));
    task.await;
    guard.0 = None;
}

#[cfg(feature = "_tls")]
impl<F: FnOnce()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(tell) = self.0.take()
        {
            tell();
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let has_panicked = !self.ended && std::thread::panicking();
        if (self.ended || has_panicked)
            && let Some(inner) = self.inner.upgrade()
        {
            inner.source_over(self.source, has_panicked);
        }
    }
}
