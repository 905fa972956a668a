//! That a mesh is over: what is still under way ends then.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use pin_project::pin_project;
use tokio::sync::Notify;

use super::{BoxFuture, Error, ErrorKind, Phase};

/// Whether a mesh is over, and who waits for that.
#[derive(Default)]
pub(crate) struct MeshEnd {
    over: AtomicBool,
    /// Its connections are cut: the grace is over.
    cut: AtomicBool,
    told: Notify,
}

/// A future that ends with its mesh.
#[pin_project]
pub(crate) struct Until<F> {
    #[pin]
    future: F,
    end: Arc<MeshEnd>,
    /// Boxed: what is ready at once waits for nothing.
    over: Option<BoxFuture<()>>,
}

// === impl MeshEnd ===

impl MeshEnd {
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// It is over now.
    pub(crate) fn end(&self) {
        self.over.store(true, SeqCst);
        self.told.notify_waiters();
    }

    /// What is still on its connections ends now, too.
    pub(crate) fn cut(&self) {
        self.cut.store(true, SeqCst);
    }

    /// Whether its connections are cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(SeqCst)
    }

    /// Waits for it.
    pub(crate) fn wait(self: &Arc<Self>) -> BoxFuture<()> {
        let end = Arc::clone(self);
        Box::pin(async move {
            let told = end.told.notified();
            if !end.is_over() {
                told.await;
            }
        })
    }

    /// The same future, or the error of one that is cut.
    #[inline]
    pub(crate) fn until<F>(self: &Arc<Self>, future: F) -> Until<F> {
        Until { future, end: Arc::clone(self), over: None }
    }
}

impl<T, E: From<Error>, F: Future<Output = Result<T, E>>> Future for Until<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.future.poll(cx) {
            return Poll::Ready(result);
        }
        let over = this.over.get_or_insert_with(|| this.end.wait());
        if over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(cut(Phase::Headers).into()));
        }
        Poll::Pending
    }
}

/// The error of what is cut by the end of its mesh.
#[cold]
pub(crate) fn cut(phase: Phase) -> Error {
    Error::new(ErrorKind::Shutdown, phase)
        .detail("the call had begun before, and was not over at the end of its grace")
}
