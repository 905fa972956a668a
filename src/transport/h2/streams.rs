//! The streams of a connection that await their response, polled by the connection's own task.
//!
//! hyper hands a future to its executor for each of them. A task of its own would cost it an
//! allocation of twice the size and two rounds through the scheduler, only to hand a response on
//! that the connection's task has just read.

use std::{
    any::Any,
    mem::{Discriminant, discriminant},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    task::{Context, Poll},
};

use futures_util::stream::{FuturesUnordered, Stream};
use hyper::rt::Executor;

use crate::{core::BoxFuture, transport::shared::Shared};

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

/// Futures of one type of hyper's, an enum of everything that it hands out.
struct Awaiting<F> {
    streams: FuturesUnordered<F>,
    /// What came last, until it is known which of them await a response.
    last: Option<Discriminant<F>>,
    response: Option<Discriminant<F>>,
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
            kept.streams = Some(Box::new(Awaiting::<F>::new()));
            return;
        }
        let streams = kept.streams.as_mut().map(|streams| &mut **streams as &mut dyn Any);
        let refused = match streams.and_then(<dyn Any>::downcast_mut::<Awaiting<F>>) {
            Some(streams) => streams.push(future).err(),
            None => Some(future),
        };
        drop(kept);
        if let Some(future) = refused {
            self.0.shared.handle.spawn(future);
        }
    }
}

// === impl Awaiting ===

impl<F> Awaiting<F> {
    fn new() -> Self {
        Self { streams: FuturesUnordered::new(), last: None, response: None }
    }

    /// Keeps a future that awaits a response. One that sends a body is given back: it polls the
    /// application's code, which is no business of the connection's task.
    ///
    /// Each request has one that awaits its response and at most one that sends its body. So of
    /// two alike in a row, at least one awaits a response, and with it both.
    fn push(&mut self, future: F) -> Result<(), F> {
        let kind = discriminant(&future);
        if self.response.is_none() && self.last.replace(kind) == Some(kind) {
            self.response = Some(kind);
        }
        if self.response != Some(kind) {
            return Err(future);
        }
        self.streams.push(future);
        Ok(())
    }
}

impl<F: Future<Output = ()> + Send + 'static> Streams for Awaiting<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.streams.is_empty() {
            if Pin::new(&mut self.streams).poll_next(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}
