//! The life of one stream: connect, ask, read.

use std::{pin::pin, sync::Arc, task::Poll};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DiscoveryRequest,
    aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
};
use http::{HeaderName, header::AUTHORIZATION};
use tokio::{runtime::Handle, sync::Semaphore};
use tonic::{Code, Status, metadata::MetadataMap};

use super::{
    dial::{self, Connection, Dialer},
    given::given,
    google::AccessTokens,
    outbox::{Outbox, Outgoing, outbox},
    token::Tokens,
};
use crate::{
    control::xds::{
        ads::{Request, answer::Message},
        bootstrap::{CallCreds, Server},
    },
    core::BoxFuture,
};

/// A server, and what it takes to reach it.
pub(super) struct Way {
    pub(super) server: Server,
    dialer: Dialer,
    tokens: Tokens,
    access_tokens: AccessTokens,
}

/// What becomes of a stream.
#[derive(Debug)]
pub(super) enum Event {
    /// The connection stands: what is sent reaches a server.
    Opened,
    Received(Message),
    /// It is over. Nothing follows.
    Closed(Closed),
}

/// Why a stream is over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Closed {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// The writing side of a stream.
pub(super) enum Requests {
    Sotw(Outbox<DiscoveryRequest>),
    Delta(Outbox<DeltaDiscoveryRequest>),
}

/// The reading side of the same.
pub(super) enum Body {
    Sotw(Outgoing<DiscoveryRequest>),
    Delta(Outgoing<DeltaDiscoveryRequest>),
}

/// Both sides, of a stream of this protocol.
pub(super) fn requests(delta: bool) -> (Requests, Body) {
    if delta {
        let (outbox, outgoing) = outbox();
        (Requests::Delta(outbox), Body::Delta(outgoing))
    } else {
        let (outbox, outgoing) = outbox();
        (Requests::Sotw(outbox), Body::Sotw(outgoing))
    }
}

// === impl Way ===

impl Way {
    /// Follows the files that it needs on this runtime.
    pub(super) fn new(server: Server, runtime: &Handle) -> Self {
        let (tokens, access_tokens) = Default::default();
        Self { dialer: Dialer::new(&server, runtime), tokens, access_tokens, server }
    }

    /// A connection to it ([`Dialer::connect`]).
    ///
    /// # Errors
    ///
    /// What went wrong, in words.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        self.dialer.connect().await
    }

    /// What is shown to the server.
    pub(super) async fn metadata(&self) -> Result<MetadataMap, Status> {
        let mut headers = http::HeaderMap::new();
        for (name, value) in &self.server.headers {
            let name = HeaderName::try_from(name.as_bytes());
            let value = http::HeaderValue::from_str(value);
            // The bootstrap has been checked.
            let (Ok(name), Ok(value)) = (name, value) else { continue };
            headers.append(name, value);
        }
        let unavailable = |why: String| Status::unavailable(why);
        for creds in &self.server.call_creds {
            match creds {
                CallCreds::TokenFile(path) => {
                    let header = self.tokens.read(path).await.map_err(unavailable)?;
                    headers.append(AUTHORIZATION, header);
                }
                CallCreds::Given(credentials) => {
                    for (name, value) in &given(credentials).await.map_err(unavailable)? {
                        headers.append(name, value.clone());
                    }
                }
                CallCreds::Google(google) => {
                    let header = self.access_tokens.token(google).await.map_err(unavailable)?;
                    headers.append(AUTHORIZATION, header);
                }
            }
        }
        Ok(MetadataMap::from_headers(headers))
    }

    /// A stream has ended so. What was shown is not shown again if it was not believed.
    fn ended(&self, status: &Status) {
        if status.code() == Code::Unauthenticated {
            self.access_tokens.forget();
        }
    }
}

// === impl Requests ===

impl Requests {
    pub(super) fn send(&self, request: Request) {
        match (self, request) {
            (Self::Sotw(outbox), Request::Sotw(request)) => outbox.send(request),
            (Self::Delta(outbox), Request::Delta(request)) => outbox.send(request),
            // The stream was opened for the protocol of its requests.
            (Self::Sotw(_), Request::Delta(_)) | (Self::Delta(_), Request::Sotw(_)) => {}
        }
    }
}

/// Lives a stream. Each message is read when `worked` has a permit for it; what is sent goes out
/// meanwhile, and before the response has begun.
pub(super) async fn run(
    way: Arc<Way>,
    body: Body,
    worked: Arc<Semaphore>,
    tell: impl Fn(Event) + Send,
) {
    let closed = match live(&way, body, &worked, &tell).await {
        Ok(()) => Closed { code: Code::Ok, message: "the server has ended the stream".to_owned() },
        Err(status) => {
            way.ended(&status);
            Closed { code: status.code(), message: words(&status) }
        }
    };
    tell(Event::Closed(closed));
}

async fn live(
    way: &Way,
    body: Body,
    worked: &Semaphore,
    tell: &(impl Fn(Event) + Send),
) -> Result<(), Status> {
    let unavailable = |why: String| Status::unavailable(why);
    let origin = dial::origin(&way.server).map_err(unavailable)?;
    let metadata = way.metadata().await?;
    let mut connection = way.connect().await.map_err(unavailable)?;
    let distrusted = connection.distrusted.take();
    tell(Event::Opened);
    let client = AggregatedDiscoveryServiceClient::<Connection>::with_origin(connection, origin)
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let streamed = async {
        match body {
            Body::Sotw(body) => sotw(client, body, metadata, worked, tell).await,
            Body::Delta(body) => delta(client, body, metadata, worked, tell).await,
        }
    };
    trusted(streamed, distrusted).await
}

/// A stream, as long as its server is believed.
pub(super) async fn trusted(
    streamed: impl Future<Output = Result<(), Status>>,
    distrusted: Option<BoxFuture<String>>,
) -> Result<(), Status> {
    let mut streamed = pin!(streamed);
    let Some(mut distrusted) = distrusted else { return streamed.await };
    std::future::poll_fn(|cx| {
        if let Poll::Ready(ended) = streamed.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        distrusted.as_mut().poll(cx).map(|why| {
            Err(Status::unavailable(format!("the server is not believed any more: {why}")))
        })
    })
    .await
}

type Client = AggregatedDiscoveryServiceClient<Connection>;

async fn sotw(
    mut client: Client,
    body: Outgoing<DiscoveryRequest>,
    metadata: MetadataMap,
    worked: &Semaphore,
    tell: &(impl Fn(Event) + Send),
) -> Result<(), Status> {
    let mut request = tonic::Request::new(body);
    *request.metadata_mut() = metadata;
    let mut answers = client.stream_aggregated_resources(request).await?.into_inner();
    while permitted(worked).await
        && let Some(answer) = answers.message().await?
    {
        tell(Event::Received(Message::Sotw(answer)));
    }
    Ok(())
}

async fn delta(
    mut client: Client,
    body: Outgoing<DeltaDiscoveryRequest>,
    metadata: MetadataMap,
    worked: &Semaphore,
    tell: &(impl Fn(Event) + Send),
) -> Result<(), Status> {
    let mut request = tonic::Request::new(body);
    *request.metadata_mut() = metadata;
    let mut answers = client.delta_aggregated_resources(request).await?.into_inner();
    while permitted(worked).await
        && let Some(answer) = answers.message().await?
    {
        tell(Event::Received(Message::Delta(answer)));
    }
    Ok(())
}

/// Waits until the message before has been worked on.
async fn permitted(worked: &Semaphore) -> bool {
    match worked.acquire().await {
        Ok(permit) => {
            permit.forget();
            true
        }
        Err(_) => false,
    }
}

/// What a status says, with what is behind it.
fn words(status: &Status) -> String {
    let message = match std::error::Error::source(status) {
        Some(source) if status.message().is_empty() => dial::chain(source),
        _ => status.message().to_owned(),
    };
    if status.code() == Code::OutOfRange && message.contains("too large") {
        return format!("its message is refused, and what was good stays: {message}");
    }
    message
}

/// The largest message that is read.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
