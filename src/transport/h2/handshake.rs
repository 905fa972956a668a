//! The HTTP/2 handshake: a connection is one only when the peer has sent its SETTINGS, and lets a stream begin.
//!
//! hyper's own handshake waits for nothing from the peer, so whatever accepts a TCP connection
//! would pass for a server, and the peer's limit of streams would be unknown for the first of
//! them. gRPC's channels wait for the same.

use std::{pin::Pin, sync::Arc, task::Poll};

use hyper::client::conn::http2;
use hyper_util::rt::TokioTimer;
use tokio::time::Sleep;

use super::{
    halves::{Halves, Step},
    last_words::{Hold, LastWords},
    streams::Spawner,
};
use crate::{
    core::Outgoing,
    transport::{
        connect::{ConnectError, Io},
        dial::Dialer,
    },
};

pub(in crate::transport) type Sender = http2::SendRequest<Outgoing>;
/// What `current_max_send_streams` gives until the peer's SETTINGS have come: no number that a
/// peer can send, nor what hyper makes of a peer that sends none.
const UNKNOWN: usize = usize::MAX - 1;

/// Performs the handshake on a new stream.
pub(in crate::transport) async fn handshake(
    io: Box<dyn Io>,
    dialer: &Dialer,
) -> Result<(Sender, Halves), ConnectError> {
    let settings = &dialer.settings;
    let spawner = Spawner::new(Arc::clone(&dialer.shared));
    let mut builder = http2::Builder::new(spawner.clone());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(settings.http2_ping_interval)
        .keep_alive_timeout(settings.http2_ping_timeout)
        .initial_stream_window_size(settings.http2_stream_window_bytes)
        .initial_connection_window_size(settings.http2_connection_window_bytes)
        .initial_max_send_streams(UNKNOWN);
    let failed =
        |cause: hyper::Error| ConnectError::caused("HTTP/2 handshake failed", cause.into());
    let hold = Hold::default();
    let io = LastWords::new(io, hold.clone());
    let (sender, requests) = builder.handshake(io).await.map_err(failed)?;
    let frames = spawner.frames();
    let frames = frames.ok_or_else(|| ConnectError::new("hyper did not begin to read"))?;
    let mut halves = Halves::new(requests, frames, spawner, hold);
    let mut barred: Option<Pin<Box<Sleep>>> = None;
    let known = std::future::poll_fn(|cx| match halves.poll(cx, || false) {
        Poll::Ready(Step::Closed(cause) | Step::Draining(cause)) => Poll::Ready(Err(cause)),
        Poll::Ready(Step::Distrusted(_)) => Poll::Ready(Err(None)),
        Poll::Pending => match halves.max_streams() {
            Some(UNKNOWN) => Poll::Pending,
            // It may let streams begin soon. Half of the time, so that the other half is not what ends it.
            Some(0) => {
                let most = settings.connect_timeout / 2;
                let barred = barred.get_or_insert_with(|| Box::pin(tokio::time::sleep(most)));
                barred.as_mut().poll(cx).map(|()| Ok(false))
            }
            _ => Poll::Ready(Ok(true)),
        },
    });
    match known.await {
        Ok(true) => Ok((sender, halves)),
        Ok(false) => Err(ConnectError::new(
            "the endpoint lets no stream begin (SETTINGS_MAX_CONCURRENT_STREAMS is 0)",
        )),
        Err(None) => Err(ConnectError::new("closed before the HTTP/2 handshake was over")),
        Err(Some(cause)) => Err(failed(cause)),
    }
}
