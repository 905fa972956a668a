//! The life of one stream: connect, ask, read.

use std::{pin::pin, sync::Arc, task::Poll};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use http::{HeaderName, header::AUTHORIZATION, uri::PathAndQuery};
use tokio::{runtime::Handle, sync::Semaphore};
use tonic::{Code, Status, client::Grpc, metadata::MetadataMap};

use super::{
    codec::Looking,
    dial::{self, Connection, Dialer},
    given::given,
    google::AccessTokens,
    outbox::{Outbox, Outgoing, outbox},
    pace::Pace,
    token::Tokens,
};
use crate::{
    control::xds::{
        ads::{Request, answer::Message},
        bootstrap::{CallCreds, Server},
    },
    core::{BoxFuture, Instant},
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
    /// It was ended here, since an answer could not be read.
    pub(crate) is_cut: bool,
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
    pub(super) fn ended(&self, status: &Status) {
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

    /// How many the server has not read.
    pub(super) fn waiting(&self) -> usize {
        match self {
            Self::Sotw(outbox) => outbox.waiting(),
            Self::Delta(outbox) => outbox.waiting(),
        }
    }
}

/// Lives a stream. Each message is read when `worked` has a permit for it, and its time has come; what is
/// sent goes out meanwhile, and before the response has begun.
pub(super) async fn run(
    way: Arc<Way>,
    body: Body,
    worked: Arc<Semaphore>,
    tell: impl Fn(Event) + Send,
) {
    let closed = match live(&way, body, &worked, &tell).await {
        Ok(()) => {
            let message = "the server has ended the stream".to_owned();
            Closed { code: Code::Ok, message, is_cut: false }
        }
        Err(status) => {
            way.ended(&status);
            Closed { code: status.code(), message: words(&status), is_cut: is_cut(&status) }
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
    let client = Grpc::with_origin(connection, origin).max_decoding_message_size(MAX_MESSAGE_BYTES);
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

type Client = Grpc<Connection>;

async fn sotw(
    mut client: Client,
    body: Outgoing<DiscoveryRequest>,
    metadata: MetadataMap,
    worked: &Semaphore,
    tell: &(impl Fn(Event) + Send),
) -> Result<(), Status> {
    let mut request = tonic::Request::new(body);
    *request.metadata_mut() = metadata;
    client.ready().await.map_err(|error| unready(&error))?;
    let codec = Looking::<DiscoveryRequest, DiscoveryResponse>::new();
    let answers = client.streaming(request, PathAndQuery::from_static(SOTW), codec).await?;
    let (mut answers, mut pace) = (answers.into_inner(), Pace::default());
    while permitted(worked, &mut pace).await
        && let Some(answer) = answers.message().await?
    {
        hear(Message::Sotw(answer), tell)?;
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
    client.ready().await.map_err(|error| unready(&error))?;
    let codec = Looking::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::new();
    let answers = client.streaming(request, PathAndQuery::from_static(DELTA), codec).await?;
    let (mut answers, mut pace) = (answers.into_inner(), Pace::default());
    while permitted(worked, &mut pace).await
        && let Some(answer) = answers.message().await?
    {
        hear(Message::Delta(answer), tell)?;
    }
    Ok(())
}

const SOTW: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

fn unready(error: &dyn std::fmt::Display) -> Status {
    Status::unavailable(format!("not ready for a stream: {error}"))
}

/// One that cannot be replied to ends the stream.
fn hear(message: Message, tell: &impl Fn(Event)) -> Result<(), Status> {
    message.check().map_err(Status::out_of_range)?;
    tell(Event::Received(message));
    Ok(())
}

/// Waits until the message before has been worked on, and it is time for another.
async fn permitted(worked: &Semaphore, pace: &mut Pace) -> bool {
    let Ok(permit) = worked.acquire().await else { return false };
    permit.forget();
    if let Some(at) = pace.next(Instant::now()) {
        tokio::time::sleep_until(at).await;
    }
    true
}

/// Whether it is of an answer that was refused here: by its length, or by what it lists. No server has a cause to say
/// the same of itself.
fn is_cut(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.message().contains("too large")
}

/// What a status says, with what is behind it.
fn words(status: &Status) -> String {
    let message = match std::error::Error::source(status) {
        Some(source) if status.message().is_empty() => dial::chain(source),
        _ => status.message().to_owned(),
    };
    if is_cut(status) {
        return format!("its message is refused, and what was good stays: {message}");
    }
    message
}

/// The largest message that is read.
pub(super) const MAX_MESSAGE_BYTES: usize = 128 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_ours_is_told_from_those_of_servers() {
        for ours in
            ["too large: it has more", "Error, decoded message length too large: found 9 bytes"]
        {
            assert!(is_cut(&Status::out_of_range(ours)), "{ours}");
            assert!(!is_cut(&Status::resource_exhausted(ours)), "{ours}");
        }
        assert!(!is_cut(&Status::out_of_range("no such page")));
    }
}
