//! The streams of a connection, polled by the connection's own task.
//!
//! hyper hands two futures to its executor for each request: one waits for room to send its body,
//! one for its response. In tasks of their own each takes two rounds through the scheduler, only
//! to hand on what the connection's task has just read or may write. A body that is made while it
//! is sent is the application's code, and keeps a task of its own.

use std::{
    any::Any,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    task::{Context, Poll},
};

use futures_util::stream::{FuturesUnordered, Stream};
use hyper::rt::Executor;

use crate::{
    core::{BoxFuture, polled_foreign},
    transport::shared::Shared,
};

/// hyper's executor of one connection.
#[derive(Clone)]
pub(super) struct Spawner(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// Locked by the connection's task only, for as long as it takes.
    kept: Mutex<Kept>,
}

/// What hyper has handed out and is not to run by itself.
#[derive(Default)]
struct Kept {
    /// The first has been handed out.
    begun: bool,
    /// That is the reader and writer, until it is taken.
    frames: Option<BoxFuture<()>>,
    /// From then on, until the connection's task ends.
    streams: Option<Box<dyn Streams>>,
}

/// The streams, whose type hyper keeps to itself.
trait Streams: Any + Send {
    /// Polls those that have been woken; ready when none is left.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

// === impl Spawner ===

impl Spawner {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner { shared, kept: Mutex::default() }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reader and writer, to be polled by the connection's task.
    pub(super) fn frames(&self) -> Option<BoxFuture<()>> {
        self.kept().frames.take()
    }

    /// Polls the streams that have been woken.
    pub(super) fn poll_streams(&self, cx: &mut Context<'_>) {
        if let Some(streams) = &mut self.kept().streams {
            // Ready or not: the next one that is woken says so.
            let _ = streams.poll(cx);
        }
    }

    /// The connection's task ends: what still awaits its response goes on without it.
    pub(super) fn release(&self) {
        let streams = self.kept().streams.take();
        if let Some(mut streams) = streams
            && streams.poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
        {
            self.0.shared.handle.spawn(std::future::poll_fn(move |cx| streams.poll(cx)));
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        let mut kept = match self.0.kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(kept)) => kept.into_inner(),
            // A stream that is being polled hands out another future.
            Err(TryLockError::WouldBlock) => {
                self.0.shared.handle.spawn(future);
                return;
            }
        };
        if !kept.begun {
            kept.begun = true;
            kept.frames = Some(Box::pin(future));
            kept.streams = Some(Box::new(FuturesUnordered::<F>::new()));
            return;
        }
        // It has polled a body just now, or it waits for a response.
        let foreign = polled_foreign();
        let streams = kept.streams.as_mut().map(|streams| &mut **streams as &mut dyn Any);
        match streams.and_then(<dyn Any>::downcast_mut::<FuturesUnordered<F>>) {
            Some(streams) if !foreign => streams.push(future),
            _ => {
                drop(kept);
                self.0.shared.handle.spawn(future);
            }
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Streams for FuturesUnordered<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_empty() {
            if Pin::new(&mut *self).poll_next(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}
