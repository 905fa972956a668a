//! CSDS over gRPC.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use envoy_types::pb::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse,
    client_status_discovery_service_server::{
        ClientStatusDiscoveryService, ClientStatusDiscoveryServiceServer,
    },
};
use futures_util::StreamExt;
use http_body::Body as HttpBody;
use tokio_stream::Stream;
use tonic::{Request, Response, Status as Refusal, Streaming};
use tower_service::Service;

use crate::{
    Body,
    control::xds::source::Xds,
    core::{BoxError, BoxFuture},
};

/// The service of [`Status::service`](super::Status::service), for a server of tonic 0.14.
#[derive(Clone)]
pub struct StatusService(ClientStatusDiscoveryServiceServer<Answers>);

/// What answers.
#[derive(Debug)]
struct Answers;

// === impl StatusService ===

impl StatusService {
    pub(super) fn new() -> Self {
        Self(ClientStatusDiscoveryServiceServer::new(Answers))
    }
}

impl fmt::Debug for StatusService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusService")
    }
}

impl tonic::server::NamedService for StatusService {
    const NAME: &'static str =
        <ClientStatusDiscoveryServiceServer<Answers> as tonic::server::NamedService>::NAME;
}

impl<B> Service<http::Request<B>> for StatusService
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { Ok(answer.await?.map(Body::new)) })
    }
}

// === impl Answers ===

impl Answers {
    async fn answer(request: ClientStatusRequest) -> Result<ClientStatusResponse, Refusal> {
        //= gRFC A40: clients do not match nodes, and refuse to
        if !request.node_matchers.is_empty() {
            return Err(Refusal::invalid_argument("node_matchers are not supported"));
        }
        let mut config = Vec::new();
        for status in Xds::all().await {
            config.push(without_contents(status.message(), request.exclude_resource_contents));
        }
        Ok(ClientStatusResponse { config })
    }
}

fn without_contents(mut config: ClientConfig, without: bool) -> ClientConfig {
    if without {
        for resource in &mut config.generic_xds_configs {
            resource.xds_config = None;
        }
    }
    config
}

#[tonic::async_trait]
impl ClientStatusDiscoveryService for Answers {
    type StreamClientStatusStream =
        Pin<Box<dyn Stream<Item = Result<ClientStatusResponse, Refusal>> + Send>>;

    async fn stream_client_status(
        &self,
        requests: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Refusal> {
        let answers = requests.into_inner().then(|request| async { Self::answer(request?).await });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Refusal> {
        Self::answer(request.into_inner()).await.map(Response::new)
    }
}
