//! The server behind an endpoint in memory: HTTP/1.1 and HTTP/2 on one stream.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{io::DuplexStream, sync::Notify};

use super::{Endpoint, Fault, Received};

type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// Serves one connection until either side ends it.
pub(super) async fn serve(endpoint: Endpoint, stream: DuplexStream) {
    let reset = Arc::new(Notify::new());
    let resets = Arc::clone(&reset);
    let service = service_fn(move |request| answer(endpoint.clone(), Arc::clone(&resets), request));
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut reset = std::pin::pin!(reset.notified());
    // A reset drops the connection, and with it the stream.
    std::future::poll_fn(|cx| {
        if reset.as_mut().poll(cx).is_ready() {
            return std::task::Poll::Ready(());
        }
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

async fn answer(
    endpoint: Endpoint,
    reset: Arc<Notify>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (fault, body, headers) = endpoint.receive(Received {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body,
    });
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.headers_mut() = headers;
    match fault {
        None | Some(Fault::Refuse | Fault::Blackhole | Fault::Garbage) => {}
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Reset) => {
            reset.notify_one();
            std::future::pending::<()>().await;
        }
        Some(Fault::Status(status)) => *response.status_mut() = status,
        Some(Fault::GrpcStatus(code)) => {
            *response.status_mut() = StatusCode::OK;
            *response.body_mut() = Full::default().boxed_unsync();
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
            response.headers_mut().insert("grpc-status", code.into());
        }
        Some(Fault::StallBody) => {
            let frames = std::future::pending::<Result<Frame<Bytes>, Infallible>>();
            *response.body_mut() = StreamBody::new(Once(Box::pin(frames))).boxed_unsync();
        }
    }
    Ok(response)
}

/// A stream of the one item that a future gives.
struct Once<F>(std::pin::Pin<Box<F>>);

impl<F: Future> futures_core::Stream for Once<F> {
    type Item = F::Output;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<F::Output>> {
        self.0.as_mut().poll(cx).map(Some)
    }
}
