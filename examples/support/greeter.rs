//! `helloworld.Greeter` as `tonic-prost-build` would generate it, by hand: no `protoc` needed.
#![allow(dead_code, reason = "shared: each program uses a part")]

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use http::uri::PathAndQuery;
use http_body::Body;
use tonic::{
    Request, Response, Status, Streaming,
    client::GrpcService,
    codegen::{InterceptedService, Service, StdError},
    service::Interceptor,
};
use tonic_prost::ProstCodec;

/// The path of the unary method.
pub(crate) const SAY_HELLO: &str = "/helloworld.Greeter/SayHello";
/// The path of the method that streams its replies.
pub(crate) const COUNT: &str = "/helloworld.Greeter/Count";

/// What the caller says.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HelloRequest {
    /// Whom to greet.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// What the server answers.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HelloReply {
    /// The greeting.
    #[prost(string, tag = "1")]
    pub(crate) message: String,
}

// === client ===

/// The generated client: over anything that speaks `http::Request`.
#[derive(Clone, Debug)]
pub(crate) struct GreeterClient<T> {
    inner: tonic::client::Grpc<T>,
}

impl<T> GreeterClient<T>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    /// A client over `inner`.
    pub(crate) fn new(inner: T) -> Self {
        Self { inner: tonic::client::Grpc::new(inner) }
    }

    /// A client whose every request passes `interceptor` first.
    pub(crate) fn with_interceptor<F>(
        inner: T,
        interceptor: F,
    ) -> GreeterClient<InterceptedService<T, F>>
    where
        F: Interceptor,
        T::ResponseBody: Default,
        T: Service<
                http::Request<tonic::body::Body>,
                Response = http::Response<<T as GrpcService<tonic::body::Body>>::ResponseBody>,
            >,
        <T as Service<http::Request<tonic::body::Body>>>::Error: Into<StdError> + Send + Sync,
    {
        GreeterClient::new(InterceptedService::new(inner, interceptor))
    }

    /// One greeting.
    pub(crate) async fn say_hello(
        &mut self,
        request: impl tonic::IntoRequest<HelloRequest>,
    ) -> Result<Response<HelloReply>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(SAY_HELLO);
        self.inner.unary(request.into_request(), path, ProstCodec::default()).await
    }

    /// A stream of greetings.
    pub(crate) async fn count(
        &mut self,
        request: impl tonic::IntoRequest<HelloRequest>,
    ) -> Result<Response<Streaming<HelloReply>>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(COUNT);
        self.inner.server_streaming(request.into_request(), path, ProstCodec::default()).await
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.inner
            .ready()
            .await
            .map_err(|error| Status::unknown(format!("Service was not ready: {}", error.into())))
    }
}

// === server ===

/// A future on the heap, as `async_trait` makes it.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// The replies of `Count`.
pub(crate) type Replies = Pin<Box<dyn Stream<Item = Result<HelloReply, Status>> + Send>>;

/// What a server of the service implements.
pub(crate) trait Greeter: Send + Sync + 'static {
    /// One greeting.
    fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> BoxFuture<Result<Response<HelloReply>, Status>>;

    /// A stream of greetings.
    fn count(
        &self,
        _request: Request<HelloRequest>,
    ) -> BoxFuture<Result<Response<Replies>, Status>> {
        Box::pin(async { Err(Status::unimplemented("this greeter does not count")) })
    }
}

/// The generated server: a service of `http::Request`.
#[derive(Debug)]
pub(crate) struct GreeterServer<G> {
    inner: Arc<G>,
}

impl<G> GreeterServer<G> {
    /// A server that answers with `greeter`.
    pub(crate) fn new(greeter: G) -> Self {
        Self { inner: Arc::new(greeter) }
    }
}

impl<G> Clone for GreeterServer<G> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<G: Greeter> tonic::server::NamedService for GreeterServer<G> {
    const NAME: &'static str = "helloworld.Greeter";
}

impl<G, B> Service<http::Request<B>> for GreeterServer<G>
where
    G: Greeter,
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let greeter = Arc::clone(&self.inner);
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
            Ok(match request.uri().path() {
                SAY_HELLO => grpc.unary(SayHello(greeter), request).await,
                COUNT => grpc.server_streaming(Count(greeter), request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

struct SayHello<G>(Arc<G>);

impl<G: Greeter> tonic::server::UnaryService<HelloRequest> for SayHello<G> {
    type Response = HelloReply;
    type Future = BoxFuture<Result<Response<HelloReply>, Status>>;

    fn call(&mut self, request: Request<HelloRequest>) -> Self::Future {
        self.0.say_hello(request)
    }
}

struct Count<G>(Arc<G>);

impl<G: Greeter> tonic::server::ServerStreamingService<HelloRequest> for Count<G> {
    type Response = HelloReply;
    type ResponseStream = Replies;
    type Future = BoxFuture<Result<Response<Replies>, Status>>;

    fn call(&mut self, request: Request<HelloRequest>) -> Self::Future {
        self.0.count(request)
    }
}
