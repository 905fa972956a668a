//! The services of gRPC's interop tests of xDS (`grpc.testing`), by hand: no `protoc` needed.
#![allow(dead_code, reason = "shared: each program uses a part")]

mod flags;
pub(crate) mod messages;
pub(crate) mod program;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::{
    Request, Response, Status,
    body::Body,
    client::GrpcService,
    codegen::{Service, StdError},
};
use tonic_prost::ProstCodec;

pub(crate) use self::flags::Flags;

/// The methods of `TestService` that clients call.
pub(crate) const EMPTY_CALL: &str = "/grpc.testing.TestService/EmptyCall";
pub(crate) const UNARY_CALL: &str = "/grpc.testing.TestService/UnaryCall";
/// Those by which a client is asked and told.
pub(crate) const CLIENT_STATS: &str = "/grpc.testing.LoadBalancerStatsService/GetClientStats";
pub(crate) const ACCUMULATED_STATS: &str =
    "/grpc.testing.LoadBalancerStatsService/GetClientAccumulatedStats";
pub(crate) const CONFIGURE: &str = "/grpc.testing.XdsUpdateClientConfigureService/Configure";
/// Those by which a server is told.
pub(crate) const SET_SERVING: &str = "/grpc.testing.XdsUpdateHealthService/SetServing";
pub(crate) const SET_NOT_SERVING: &str = "/grpc.testing.XdsUpdateHealthService/SetNotServing";

/// A future on the heap.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a service makes of its methods.
pub(crate) trait Methods: Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;

    /// A call of the method at this path.
    fn call(self: Arc<Self>, request: http::Request<Body>) -> BoxFuture<http::Response<Body>>;
}

/// A service for a server of tonic.
#[derive(Debug)]
pub(crate) struct Served<M>(Arc<M>);

/// Answers a request for a method that takes one message and answers one.
pub(crate) async fn unary<Q, R, F, Fut>(
    request: http::Request<Body>,
    answer: F,
) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    R: Message + Default + 'static,
    F: Fn(Request<Q>) -> Fut,
    Fut: Future<Output = Result<Response<R>, Status>>,
{
    let mut grpc = tonic::server::Grpc::new(ProstCodec::<R, Q>::default());
    grpc.unary(tower::service_fn(answer), request).await
}

/// What is answered to a call of a method that is not there.
pub(crate) fn unimplemented() -> http::Response<Body> {
    Status::unimplemented("no such method").into_http()
}

/// Calls a method, with the metadata before and after the message told apart.
pub(crate) async fn called<T, Q, R>(
    inner: T,
    path: &'static str,
    request: Request<Q>,
) -> Result<Told<R>, Status>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
    Q: Message + 'static,
    R: Message + Default + 'static,
{
    let mut grpc = tonic::client::Grpc::new(inner);
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(error.into().to_string()))?;
    let codec = ProstCodec::<Q, R>::default();
    // On the wire a stream of one message is what a single one is.
    let response = grpc.server_streaming(request, PathAndQuery::from_static(path), codec).await?;
    let (initial, mut messages, _) = response.into_parts();
    let message = messages.message().await?;
    let message = message.ok_or_else(|| Status::internal("no message came"))?;
    let trailing = messages.trailers().await?.unwrap_or_default();
    Ok(Told { initial, message, trailing })
}

/// What a call has brought.
#[derive(Debug)]
pub(crate) struct Told<R> {
    pub(crate) initial: tonic::metadata::MetadataMap,
    pub(crate) message: R,
    pub(crate) trailing: tonic::metadata::MetadataMap,
}

// === impl Served ===

impl<M> Served<M> {
    /// The service of these methods.
    pub(crate) fn new(methods: M) -> Self {
        Self(Arc::new(methods))
    }
}

impl<M> Clone for Served<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Methods> tonic::server::NamedService for Served<M> {
    const NAME: &'static str = M::NAME;
}

impl<M: Methods> Service<http::Request<Body>> for Served<M> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = Arc::clone(&self.0).call(request);
        Box::pin(async move { Ok(answer.await) })
    }
}
