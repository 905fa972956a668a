//! The layers around `tonic::transport::Channel`, against a tonic server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::uri::PathAndQuery;
use tokio::{net::TcpListener, time::Instant};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    client::GrpcService,
    server::{NamedService, StreamingService, UnaryService},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::{Layer, Service, ServiceBuilder};
use tower_mesh::{
    Call, Error, config,
    resilience::{ConcurrencyLimitLayer, DeadlineLayer, GrpcStatusLayer, Retry, RetryLayer},
};

#[derive(Clone, PartialEq, prost::Message)]
struct Hello {
    #[prost(string, tag = "1")]
    name: String,
}

/// A service as tonic's generator would write it, with a unary and a server-streaming method.
#[derive(Clone, Default)]
struct Greeter {
    calls: Arc<AtomicU32>,
}

impl NamedService for Greeter {
    const NAME: &'static str = "test.Greeter";
}

impl UnaryService<Hello> for Greeter {
    type Response = Hello;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Hello>, Status>> + Send>>;

    fn call(&mut self, request: Request<Hello>) -> Self::Future {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(async move {
            let earlier = request.metadata().get("grpc-previous-rpc-attempts").cloned();
            let name = request.into_inner().name;
            match name.as_str() {
                "flaky" if number < 3 => return Err(Status::unavailable("starting")),
                "final" => {
                    let mut status = Status::unavailable("overloaded");
                    let value = "-1".parse().unwrap();
                    status.metadata_mut().insert("grpc-retry-pushback-ms", value);
                    return Err(status);
                }
                "unknown" => return Err(Status::not_found("nobody")),
                "slow" => std::future::pending().await,
                _ => {}
            }
            let earlier = earlier.map_or_else(|| "none".into(), |value| format!("{value:?}"));
            Ok(Response::new(Hello { name: format!("hello {name}, {earlier} before") }))
        })
    }
}

impl StreamingService<Hello> for Greeter {
    type Response = Hello;
    type ResponseStream = Pin<Box<dyn futures_util::Stream<Item = Result<Hello, Status>> + Send>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: Request<tonic::Streaming<Hello>>) -> Self::Future {
        use futures_util::{StreamExt, stream};
        let first = stream::iter([Ok(Hello { name: "first".into() })]);
        std::future::ready(Ok(Response::new(first.chain(stream::pending()).boxed())))
    }
}

impl Service<http::Request<Body>> for Greeter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let greeter = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Hello, Hello>::default());
            Ok(match request.uri().path() {
                "/test.Greeter/Hello" => grpc.unary(greeter, request).await,
                _ => grpc.streaming(greeter, request).await,
            })
        })
    }
}

async fn serve(greeter: &Greeter) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(greeter.clone());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

fn retrying(retry: &config::Retry, channel: Channel) -> Retry<Channel, Body> {
    RetryLayer::new(retry).unwrap().body(Body::new).layer(channel)
}

/// What a generated client does.
async fn hello<S>(service: S, request: Request<Hello>) -> Result<String, Status>
where
    S: GrpcService<Body, Error: Into<tower_mesh::BoxError>>,
    S::ResponseBody:
        http_body::Body<Data = bytes::Bytes, Error: Into<tower_mesh::BoxError>> + Send + 'static,
{
    let mut grpc = tonic::client::Grpc::new(service);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static("/test.Greeter/Hello");
    let codec = ProstCodec::<Hello, Hello>::default();
    Ok(grpc.unary(request, path, codec).await?.into_inner().name)
}

fn named(name: &str) -> Request<Hello> {
    Request::new(Hello { name: name.into() })
}

/// The typed error behind a status.
fn mesh_error(status: &Status) -> &Error {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref() {
            return error;
        }
        source = error.source();
    }
    panic!("{status:?}")
}

#[tokio::test]
async fn unavailable_is_tried_again_where_the_service_is_idempotent() {
    let greeter = Greeter::default();
    let channel = channel(serve(&greeter).await);
    let service = retrying(&config::Retry::idempotent(), channel);
    let reply = hello(service, named("flaky")).await.unwrap();
    assert_eq!(reply, "hello flaky, \"2\" before");
    assert_eq!(greeter.calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_call_can_declare_itself_idempotent_through_tonic() {
    let greeter = Greeter::default();
    let channel = channel(serve(&greeter).await);
    let service = retrying(&config::Retry::standard(), channel);
    let status = hello(service.clone(), named("flaky")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(greeter.calls.load(Ordering::SeqCst), 1);
    let mut declared = named("flaky");
    declared.extensions_mut().insert(Call::new().idempotent(true));
    let reply = hello(service, declared).await.unwrap();
    assert_eq!(reply, "hello flaky, \"1\" before");
}

#[tokio::test]
async fn pushback_and_other_codes_are_final() {
    let greeter = Greeter::default();
    let channel = channel(serve(&greeter).await);
    let service = retrying(&config::Retry::idempotent(), channel);
    for (name, code) in [("final", Code::Unavailable), ("unknown", Code::NotFound)] {
        let status = hello(service.clone(), named(name)).await.unwrap_err();
        assert_eq!(status.code(), code);
    }
    assert_eq!(greeter.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_was_never_sent_is_tried_again_and_ends_unavailable() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(&config::Retry::safe_only()).unwrap().body(Body::new))
        .map_request(move |request: http::Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            request
        })
        .service(channel(address));
    let status = hello(service, named("you")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn tonics_set_timeout_is_an_explicit_deadline() {
    let greeter = Greeter::default();
    let service = DeadlineLayer::explicit().layer(channel(serve(&greeter).await));
    let mut slow = named("slow");
    slow.set_timeout(Duration::from_millis(150));
    let started = Instant::now();
    let status = hello(service, slow).await.unwrap_err();
    assert!((149..2_000).contains(&started.elapsed().as_millis()));
    assert!(mesh_error(&status).is_timeout(), "{status:?}");
}

#[tokio::test]
async fn the_layers_compose_around_a_channel() {
    let greeter = Greeter::default();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_secs(5)))
        .layer(ConcurrencyLimitLayer::new(1))
        .layer(RetryLayer::new(&config::Retry::idempotent()).unwrap().body(Body::new))
        .layer(DeadlineLayer::new(Duration::from_secs(1)))
        .service(channel(serve(&greeter).await));
    for _ in 0..2 {
        assert!(hello(service.clone(), named("flaky")).await.unwrap().starts_with("hello"));
    }
    let status = {
        let slow = tokio::spawn(hello(service.clone(), named("slow")));
        while greeter.calls.load(Ordering::SeqCst) < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let status = hello(service, named("you")).await.unwrap_err();
        slow.abort();
        status
    };
    assert!(mesh_error(&status).is_overload(), "{status:?}");
    // tonic knows no foreign errors; the words are there all the same.
    assert_eq!(status.code(), Code::Unknown);
    assert!(status.message().contains("1 concurrent calls are allowed"), "{status:?}");
}

#[tokio::test]
async fn under_the_status_layer_a_failure_of_ours_is_never_unknown() {
    let greeter = Greeter::default();
    let channel = channel(serve(&greeter).await);
    let stack = |limit: u32, time: u64| {
        ServiceBuilder::new()
            .layer(GrpcStatusLayer::new())
            .layer(DeadlineLayer::new(Duration::from_millis(time)))
            .layer(ConcurrencyLimitLayer::new(limit))
            .layer(RetryLayer::new(&config::Retry::standard()).unwrap().body(Body::new))
            .service(channel.clone())
    };
    let full = hello(stack(0, 5_000), named("you")).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full:?}");
    assert!(full.message().contains("0 concurrent calls are allowed"), "{full:?}");
    let late = hello(stack(9, 150), named("slow")).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late:?}");
    // What the server says, and what succeeds, passes.
    let said = hello(stack(9, 5_000), named("unknown")).await.unwrap_err();
    assert_eq!(said.code(), Code::NotFound);
    assert!(hello(stack(9, 5_000), named("you")).await.unwrap().starts_with("hello"));
}

#[tokio::test]
async fn the_status_layer_leaves_other_calls_their_errors() {
    let mut service = ServiceBuilder::new()
        .layer(GrpcStatusLayer::new())
        .layer(ConcurrencyLimitLayer::new(0))
        .service(Greeter::default());
    let call = http::Request::new(Body::empty());
    let error =
        std::future::poll_fn(|cx| Service::<http::Request<Body>>::poll_ready(&mut service, cx))
            .await
            .map(|()| Service::call(&mut service, call))
            .unwrap()
            .await
            .unwrap_err();
    assert!(error.downcast_ref::<Error>().unwrap().is_overload());
}

#[tokio::test]
async fn a_stream_ends_with_deadline_exceeded_in_its_trailers() {
    let greeter = Greeter::default();
    let service = DeadlineLayer::explicit().layer(channel(serve(&greeter).await));
    let mut grpc = tonic::client::Grpc::new(service);
    grpc.ready().await.unwrap();
    let mut request = named("you");
    request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(200)));
    let path = PathAndQuery::from_static("/test.Greeter/Stream");
    let codec = ProstCodec::<Hello, Hello>::default();
    let mut stream = grpc.server_streaming(request, path, codec).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().name, "first");
    assert_eq!(stream.message().await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_configured_timeout_lets_a_stream_live() {
    let greeter = Greeter::default();
    let layer = DeadlineLayer::new(Duration::from_millis(200));
    let mut grpc = tonic::client::Grpc::new(layer.layer(channel(serve(&greeter).await)));
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Greeter/Stream");
    let codec = ProstCodec::<Hello, Hello>::default();
    let mut stream = grpc.server_streaming(named("you"), path, codec).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().name, "first");
    let next = tokio::time::timeout(Duration::from_millis(500), stream.message()).await;
    assert!(next.is_err(), "{next:?}");
}
