//! What an endpoint in memory answers to one request.

use std::{future::pending, iter, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::{Endpoint, Fault, Received, endpoint::Ordinary, serve::End};
use crate::core::BoxError;

type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Reads a request and answers it, or ends its connection.
///
/// # Errors
///
/// The request is refused: its stream is to be reset with this reason.
pub(super) async fn answer(
    endpoint: Endpoint,
    ends: UnboundedSender<End>,
    request: Request<Incoming>,
) -> Result<Response<Body>, h2::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (fault, ordinary) = endpoint.receive(Received {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body,
    });
    match fault {
        None => Ok(ordinary.response()),
        Some(Fault::Refuse | Fault::Reset) => gone(&ends, End::Closed).await,
        Some(Fault::Blackhole) => gone(&ends, End::Silent).await,
        Some(Fault::Garbage) => gone(&ends, End::Garbage { open: false }).await,
        Some(Fault::Hang) => pending().await,
        Some(Fault::RefusedStream) => Err(h2::Reason::REFUSED_STREAM.into()),
        Some(Fault::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            Ok(ordinary.response())
        }
        Some(Fault::GoAway) => {
            let (tell, told) = oneshot::channel();
            // Where the connection has ended, there is nothing to wait for.
            ends.send(End::Graceful(tell)).ok();
            told.await.ok();
            Ok(ordinary.response())
        }
        Some(Fault::Status(status)) => {
            let mut response = ordinary.response();
            *response.status_mut() = status;
            Ok(response)
        }
        Some(Fault::GrpcStatus(code)) => {
            let mut response = ordinary.with(Full::default().map_err(Into::into).boxed_unsync());
            response.headers_mut().insert(CONTENT_TYPE, GRPC);
            response.headers_mut().insert(GRPC_STATUS, code.into());
            Ok(response)
        }
        Some(Fault::GrpcTrailers { code, messages }) => Ok(ordinary.rpc(code, messages)),
        Some(Fault::StallBody) => Ok(ordinary.with(frames(stream::pending()))),
        Some(Fault::CutBody) => Ok(ordinary.cut()),
    }
}

/// The request of a connection that ends.
async fn gone<T>(ends: &UnboundedSender<End>, end: End) -> T {
    // It may have ended already.
    ends.send(end).ok();
    pending().await
}

// === impl Ordinary ===

impl Ordinary {
    fn response(self) -> Response<Body> {
        if self.grpc {
            return self.rpc(0, 1);
        }
        let body = Full::new(self.body.clone()).map_err(Into::into).boxed_unsync();
        self.with(body)
    }

    /// This many messages, and the code in trailers.
    fn rpc(self, code: i32, messages: usize) -> Response<Body> {
        let mut trailers = HeaderMap::new();
        trailers.insert(GRPC_STATUS, code.into());
        let messages = iter::repeat_n(message(&self.body), messages).map(Frame::data);
        let all = messages.chain(iter::once(Frame::trailers(trailers)));
        let mut response = self.with(frames(stream::iter(all.map(Ok).collect::<Vec<_>>())));
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        response
    }

    /// Half of what is promised, and an error that ends the stream.
    fn cut(self) -> Response<Body> {
        let whole = if self.grpc { message(&self.body) } else { self.body.clone() };
        let half = Frame::data(whole.slice(..whole.len() / 2));
        let end = async {
            // What is still in a buffer would go with the stream.
            tokio::time::sleep(Duration::from_millis(1)).await;
            Err(BoxError::from("the body is cut"))
        };
        let grpc = self.grpc;
        let body = frames(stream::once(async { Ok(half) }).chain(stream::once(end)));
        let mut response = self.with(body);
        response.headers_mut().insert(CONTENT_LENGTH, whole.len().into());
        if grpc {
            response.headers_mut().insert(CONTENT_TYPE, GRPC);
        }
        response
    }

    fn with(self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::OK;
        *response.headers_mut() = self.headers;
        response
    }
}

fn frames<S>(frames: S) -> Body
where
    S: futures_util::Stream<Item = Result<Frame<Bytes>, BoxError>> + Send + 'static,
{
    StreamBody::new(frames).boxed_unsync()
}

//= gRPC over HTTP/2 §"Responses": Length-Prefixed-Message is a flag, four bytes of length, the message
fn message(message: &Bytes) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: &str = "grpc-status";
