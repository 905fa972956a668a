//! The HTTP/2 handshake: a connection is one only when the peer has sent its SETTINGS.
//!
//! hyper's own handshake waits for nothing from the peer, so whatever accepts a TCP connection
//! would pass for a server, and the peer's limit of streams would be unknown for the first of
//! them. gRPC's channels wait for the same.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use hyper::{client::conn::http2, rt::Executor};
use hyper_util::rt::TokioTimer;
use tokio::sync::Notify;

use crate::{
    core::Outgoing,
    transport::{
        connect::{ConnectError, Io},
        dial::Dialer,
        shared::Shared,
    },
};

pub(super) type Sender = http2::SendRequest<Outgoing>;
pub(super) type Connection = http2::Connection<Box<dyn Io>, Outgoing, Spawner>;

/// What `current_max_send_streams` gives until the peer's SETTINGS have come: no number that a
/// peer can send, nor what hyper makes of a peer that sends none.
const UNKNOWN: usize = usize::MAX - 1;

/// Performs the handshake on a new stream.
pub(super) async fn handshake(
    io: Box<dyn Io>,
    dialer: &Dialer,
) -> Result<(Sender, Connection), ConnectError> {
    let settings = &dialer.settings;
    let progress = Arc::new(Progress::default());
    let spawner = Spawner { shared: Arc::clone(&dialer.shared), progress: Arc::clone(&progress) };
    let mut builder = http2::Builder::new(spawner);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(settings.http2_ping_interval)
        .keep_alive_timeout(settings.http2_ping_timeout)
        .initial_stream_window_size(settings.http2_stream_window_bytes)
        .initial_connection_window_size(settings.http2_connection_window_bytes)
        .initial_max_send_streams(UNKNOWN);
    let failed =
        |cause: hyper::Error| ConnectError::caused("HTTP/2 handshake failed", cause.into());
    let (sender, mut connection) = builder.handshake(io).await.map_err(failed)?;
    loop {
        let mut moved = std::pin::pin!(progress.moved.notified());
        let step = std::future::poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Err(ended.err()));
            }
            if connection.current_max_send_streams() != UNKNOWN {
                return Poll::Ready(Ok(true));
            }
            moved.as_mut().poll(cx).map(|()| Ok(false))
        });
        match step.await {
            Ok(true) => break,
            Ok(false) => {}
            Err(None) => {
                return Err(ConnectError::new("closed before the HTTP/2 handshake was over"));
            }
            Err(Some(cause)) => return Err(failed(cause)),
        }
    }
    progress.known.store(true, Relaxed);
    Ok((sender, connection))
}

/// Runs the tasks of a connection: hyper's reader and writer, then one per request.
///
/// The first is counted and ended by the shutdown; with it go all streams of the connection.
#[derive(Clone)]
pub(super) struct Spawner {
    shared: Arc<Shared>,
    progress: Arc<Progress>,
}

/// How far the handshake has come.
#[derive(Default)]
struct Progress {
    started: AtomicBool,
    /// The SETTINGS have come: nobody waits for movement any more.
    known: AtomicBool,
    moved: Notify,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        if self.progress.started.load(Relaxed) {
            self.shared.handle.spawn(future);
        } else {
            self.progress.started.store(true, Relaxed);
            self.shared.spawn(Moving { future, progress: Arc::clone(&self.progress) });
        }
    }
}

/// The reader and writer of a connection, which tells when it may have read something.
#[pin_project::pin_project]
struct Moving<F> {
    #[pin]
    future: F,
    progress: Arc<Progress>,
}

impl<F: Future<Output = ()>> Future for Moving<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let end = this.future.poll(cx);
        if !this.progress.known.load(Relaxed) {
            this.progress.moved.notify_one();
        }
        end
    }
}
