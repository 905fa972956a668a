//! The life of a source's task: one that ends early, or panics, must not be waited for.

use std::sync::Weak;

use super::inner::Inner;
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
