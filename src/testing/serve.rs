//! The server behind an endpoint in memory: HTTP/1.1 and HTTP/2 on one stream.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    task::Poll,
};

use futures_util::future::select;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender},
        oneshot,
    },
};

use super::{Endpoint, answer::answer, wire::Wire};

/// How a connection ends before either side wants it.
#[derive(Debug)]
pub(super) enum End {
    /// It is closed.
    Closed,
    /// It stays open, and nothing more comes from it.
    Silent,
    /// Bytes that are no HTTP come; then it is closed, or stays open.
    Garbage { open: bool },
    /// What is in flight is answered. Whoever waits learns that the end has been told.
    Graceful(oneshot::Sender<()>),
}

/// Serves one connection until either side ends it.
pub(super) async fn serve(
    endpoint: Endpoint,
    stream: DuplexStream,
    ends: UnboundedSender<End>,
    mut ended: UnboundedReceiver<End>,
) {
    let mut wire = Wire::new(stream);
    // The HTTP is dropped before the bare stream is used.
    let end = {
        let service = service_fn(move |request| answer(endpoint.clone(), ends.clone(), request));
        let builder = auto::Builder::new(TokioExecutor::new());
        let mut connection = pin!(builder.serve_connection(TokioIo::new(wire.clone()), service));
        poll_fn(|cx| {
            while let Poll::Ready(Some(end)) = ended.poll_recv(cx) {
                match end {
                    End::Graceful(told) => {
                        connection.as_mut().graceful_shutdown();
                        // A request that was given up waits no more.
                        told.send(()).ok();
                    }
                    end => return Poll::Ready(end),
                }
            }
            connection.as_mut().poll(cx).map(|_done| End::Closed)
        })
        .await
    };
    match end {
        End::Silent => silence(wire, ended).await,
        End::Garbage { open } => {
            // The other side may be gone.
            wire.write_all(b"\x00\x01garbage\r\n\r\n").await.ok();
            if open {
                // The other side must notice by itself.
                silence(wire, ended).await;
            }
        }
        End::Closed | End::Graceful(_) => {}
    }
}

/// Answers nothing until the other side leaves, or the connection is closed.
async fn silence(mut wire: Wire, mut ended: UnboundedReceiver<End>) {
    let mut nowhere = tokio::io::sink();
    let left = tokio::io::copy(&mut wire, &mut nowhere);
    let closed = async {
        while let Some(end) = ended.recv().await {
            if matches!(end, End::Closed) {
                return;
            }
        }
        pending::<()>().await;
    };
    select(pin!(left), pin!(closed)).await;
}
