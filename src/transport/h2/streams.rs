//! The streams of a connection, polled by the connection's own task.
//!
//! hyper hands two futures to its executor for each request: one waits for room to send its body,
//! one for its response. In tasks of their own each takes two rounds through the scheduler, only
//! to hand on what the connection's task has just read or may write. A body that is made while it
//! is sent is the application's code, and keeps a task of its own.

use std::{
    any::Any,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use hyper::rt::Executor;

use super::handed::Handed;
use crate::{
    core::{BoxFuture, Polled, polled_body},
    transport::shared::Shared,
};

/// hyper's executor of one connection.
#[derive(Clone)]
pub(super) struct Spawner(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// Locked by the connection's task only, for as long as it takes.
    kept: Mutex<Kept>,
    /// Bodies whose bytes are there were handed out, and nobody has asked since.
    bodies: AtomicBool,
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
        Self(Arc::new(Inner { shared, kept: Mutex::default(), bodies: AtomicBool::new(false) }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reader and writer, to be polled by the connection's task.
    pub(super) fn frames(&self) -> Option<BoxFuture<()>> {
        self.kept().frames.take()
    }

    /// Whether bodies that can be sent at once have been handed out since it was asked.
    pub(super) fn has_bodies(&self) -> bool {
        let bodies = &self.0.bodies;
        bodies.load(Relaxed) && bodies.swap(false, Relaxed)
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
            kept.streams = Some(Box::new(Handed::<F>::new()));
            return;
        }
        // It has polled a body just now, or it waits for a response.
        let polled = polled_body();
        let streams = kept.streams.as_mut().map(|streams| &mut **streams as &mut dyn Any);
        match streams.and_then(<dyn Any>::downcast_mut::<Handed<F>>) {
            Some(streams) if polled != Polled::Foreign => {
                streams.push(future);
                if polled == Polled::Ready {
                    self.0.bodies.store(true, Relaxed);
                }
            }
            _ => {
                drop(kept);
                self.0.shared.handle.spawn(future);
            }
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Streams for Handed<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_woken(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::Pin, task::Waker};

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::{runtime::Handle, sync::oneshot, task::yield_now};

    use super::*;
    use crate::core::{Epoch, Outgoing, Random};

    /// One type for all, as hyper's is.
    type Future = Pin<Box<dyn std::future::Future<Output = ()> + Send>>;

    /// An executor that has been handed the reader and writer.
    fn spawner() -> Spawner {
        let random = Arc::new(Random::seeded(1));
        let shared = Arc::new(Shared::new(Handle::current(), random, Epoch::now()));
        let spawner = Spawner::new(shared);
        spawner.execute(future(()).1);
        assert!(spawner.frames().is_some());
        spawner
    }

    /// A future that tells when it has been polled to its end.
    fn future<T: Send + 'static>(told: T) -> (oneshot::Receiver<T>, Future) {
        let (tell, done) = oneshot::channel();
        (done, Box::pin(async move { drop(tell.send(told)) }))
    }

    fn poll(spawner: &Spawner) {
        spawner.poll_streams(&mut Context::from_waker(Waker::noop()));
    }

    /// What hyper does before it hands out the rest of a body.
    async fn poll_once(mut body: Outgoing) {
        assert!(body.frame().await.is_some());
    }

    fn made_while_it_is_sent() -> Outgoing {
        let frame = Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"a")));
        Outgoing::new(StreamBody::new(futures_util::stream::iter([frame])))
    }

    #[tokio::test]
    async fn what_waits_for_a_response_is_polled_by_the_connections_task() {
        let spawner = spawner();
        let (mut done, response) = future(());
        poll_once(Bytes::from_static(b"a").into()).await;
        spawner.execute(response);
        yield_now().await;
        assert!(done.try_recv().is_err(), "nobody has polled it");
        poll(&spawner);
        assert!(done.try_recv().is_ok());
    }

    #[tokio::test]
    async fn a_body_that_is_made_while_it_is_sent_gets_a_task_of_its_own() {
        let spawner = spawner();
        poll_once(made_while_it_is_sent()).await;
        let (mut sent, body) = future(());
        let (mut answered, response) = future(());
        spawner.execute(body);
        spawner.execute(response);
        yield_now().await;
        assert!(sent.try_recv().is_ok());
        assert!(answered.try_recv().is_err(), "what waits for its response does not");
        poll(&spawner);
        assert!(answered.try_recv().is_ok());
    }

    #[tokio::test]
    async fn what_is_left_when_the_connections_task_ends_goes_on_without_it() {
        let spawner = spawner();
        let (begin, begun) = oneshot::channel::<()>();
        let (tell, done) = oneshot::channel();
        let response: Future = Box::pin(async move {
            assert!(begun.await.is_ok());
            tell.send(()).ok();
        });
        spawner.execute(response);
        poll(&spawner);
        spawner.release();
        begin.send(()).unwrap();
        assert!(done.await.is_ok());
        // And what is handed out after that.
        let (done, late) = future(());
        spawner.execute(late);
        assert!(done.await.is_ok());
    }
}
