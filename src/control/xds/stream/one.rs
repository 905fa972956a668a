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
    outbox::{Outbox, Outgoing, Replace, outbox},
    pace::Pace,
    response::{Course, Stage},
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
    /// What the server has said; of what is refused here, why. Where neither is: `UNAVAILABLE`, or that the way
    /// to it does not let this client pass.
    pub(crate) code: Code,
    pub(crate) message: String,
    /// It was ended here, since an answer could not be read.
    pub(crate) is_cut: bool,
}

/// Tells when it is dropped that a stream is over, so that a task that panics tells it, too.
struct Ending<F: Fn(Event)> {
    tell: F,
    /// How far the response has come.
    course: Course,
    /// Why it is over, once that is known.
    closed: Option<Closed>,
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

// === impl Closed ===

impl Closed {
    /// Why it is over with this status, where its response has come so far.
    fn of(status: &Status, stage: Stage) -> Self {
        let (code, message) = (status.code(), words(status));
        match stage {
            Stage::Said => Self { code, message, is_cut: false },
            // The server would have gone on.
            Stage::Begun => {
                let message = format!("its message is refused, and what was good stays: {message}");
                Self { code, message, is_cut: true }
            }
            Stage::Awaited | Stage::Lost => Self { code: unsaid(code), message, is_cut: false },
        }
    }

    /// Its task has panicked, or was dropped, where its response has come so far. What panics once an answer is
    /// there does so again by the next one like it, as with answers that cannot be read.
    fn unexpected(stage: Stage) -> Self {
        let message = "its task has ended before its time".to_owned();
        Self { code: Code::Unavailable, message, is_cut: stage == Stage::Begun }
    }
}

/// What is said here before there is a stream, or of what it runs on.
impl From<Status> for Closed {
    fn from(status: Status) -> Self {
        Self::of(&status, Stage::Awaited)
    }
}

// === impl Ending ===

impl<F: Fn(Event)> Drop for Ending<F> {
    fn drop(&mut self) {
        let closed = self.closed.take();
        let closed = closed.unwrap_or_else(|| Closed::unexpected(self.course.stage()));
        (self.tell)(Event::Closed(closed));
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

    /// A stream has ended by this code. What was shown is not shown again if it was not believed.
    pub(super) fn ended(&self, code: Code) {
        if code == Code::Unauthenticated {
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
/// sent goes out meanwhile, and before the response has begun. That it is over is told in any case.
pub(super) fn run(
    way: Arc<Way>,
    body: Body,
    worked: Arc<Semaphore>,
    tell: impl Fn(Event) + Send,
) -> impl Future<Output = ()> {
    // Also by a task that never runs, since its runtime has ended.
    let ending = Ending { tell, course: Course::default(), closed: None };
    to_the_end(way, body, worked, ending)
}

async fn to_the_end(
    way: Arc<Way>,
    body: Body,
    worked: Arc<Semaphore>,
    mut ending: Ending<impl Fn(Event) + Send>,
) {
    let closed = match live(&way, body, &worked, &mut ending).await {
        Ok(()) => {
            let message = "the server has ended the stream".to_owned();
            Closed { code: Code::Ok, message, is_cut: false }
        }
        Err(closed) => closed,
    };
    way.ended(closed.code);
    ending.closed = Some(closed);
}

async fn live(
    way: &Way,
    body: Body,
    worked: &Semaphore,
    ending: &mut Ending<impl Fn(Event) + Send>,
) -> Result<(), Closed> {
    let unavailable = |why: String| Closed::from(Status::unavailable(why));
    let origin = dial::origin(&way.server).map_err(unavailable)?;
    let metadata = way.metadata().await?;
    let mut connection = way.connect().await.map_err(unavailable)?;
    let distrusted = connection.distrusted.take();
    ending.course = connection.course.clone();
    let Ending { tell, course, .. } = &*ending;
    tell(Event::Opened);
    let client = Grpc::with_origin(connection, origin).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let lived = async {
        let ended = match body {
            Body::Sotw(body) => streamed(client, body, metadata, worked, tell).await,
            Body::Delta(body) => streamed(client, body, metadata, worked, tell).await,
        };
        ended.map_err(|status| Closed::of(&status, course.stage()))
    };
    trusted(lived, distrusted).await
}

/// A stream, as long as its server is believed.
pub(super) async fn trusted<E: From<Status>>(
    streamed: impl Future<Output = Result<(), E>>,
    distrusted: Option<BoxFuture<String>>,
) -> Result<(), E> {
    let mut streamed = pin!(streamed);
    let Some(mut distrusted) = distrusted else { return streamed.await };
    std::future::poll_fn(|cx| {
        if let Poll::Ready(ended) = streamed.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        distrusted.as_mut().poll(cx).map(|why| {
            let why = format!("the server is not believed any more: {why}");
            Err(Status::unavailable(why).into())
        })
    })
    .await
}

type Client = Grpc<Connection>;

/// What is asked by, and where.
trait Protocol: prost::Message + Replace + 'static {
    type Answer: prost::Message + Default + 'static;
    const PATH: &'static str;

    fn message(answer: Self::Answer) -> Message;
}

impl Protocol for DiscoveryRequest {
    type Answer = DiscoveryResponse;
    const PATH: &'static str =
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

    fn message(answer: DiscoveryResponse) -> Message {
        Message::Sotw(answer)
    }
}

impl Protocol for DeltaDiscoveryRequest {
    type Answer = DeltaDiscoveryResponse;
    const PATH: &'static str =
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

    fn message(answer: DeltaDiscoveryResponse) -> Message {
        Message::Delta(answer)
    }
}

async fn streamed<P: Protocol>(
    mut client: Client,
    body: Outgoing<P>,
    metadata: MetadataMap,
    worked: &Semaphore,
    tell: &(impl Fn(Event) + Send),
) -> Result<(), Status> {
    let mut request = tonic::Request::new(body);
    *request.metadata_mut() = metadata;
    client.ready().await.map_err(|error| unready(&error))?;
    let codec = Looking::<P, P::Answer>::new();
    let answers = client.streaming(request, PathAndQuery::from_static(P::PATH), codec).await?;
    let (mut answers, mut pace) = (answers.into_inner(), Pace::default());
    while permitted(worked, &mut pace).await
        && let Some(answer) = answers.message().await?
    {
        hear(P::message(answer), tell)?;
    }
    Ok(())
}

pub(super) fn unready(error: &dyn std::fmt::Display) -> Status {
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

/// The code of an end that no server has said. tonic's own says little: of a connection that is lost it is UNKNOWN.
fn unsaid(code: Code) -> Code {
    match code {
        // Of HTTP: whoever stands in the way does not know this client, or does not let it pass.
        Code::Unauthenticated | Code::PermissionDenied => code,
        _ => Code::Unavailable,
    }
}

/// What a status says, with what is behind it.
fn words(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) if status.message().is_empty() => dial::chain(source),
        _ => status.message().to_owned(),
    }
}

/// The largest message that is read.
pub(super) const MAX_MESSAGE_BYTES: usize = 128 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Response, header::CONTENT_TYPE};
    use http_body_util::Empty;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    const CODES: std::ops::RangeInclusive<i32> = 1..=16;

    fn closed(code: i32, stage: Stage) -> Closed {
        Closed::of(&Status::new(Code::from(code), "too large: its version"), stage)
    }

    #[test]
    fn an_end_that_is_ours_is_told_from_those_of_servers() {
        for code in CODES {
            let said = closed(code, Stage::Said);
            assert_eq!((said.code, &*said.message), (Code::from(code), "too large: its version"));
            assert!(!said.is_cut, "{said:?}");
            let ours = closed(code, Stage::Begun);
            assert_eq!(ours.code, Code::from(code));
            assert!(ours.is_cut && ours.message.ends_with("stays: too large: its version"));
        }
    }

    /// Nothing is blamed for these codes ([`ads`](crate::control::xds::ads)).
    #[test]
    fn an_end_that_no_server_has_said_refuses_nothing() {
        for code in CODES {
            for stage in [Stage::Awaited, Stage::Lost] {
                let lost = closed(code, stage);
                assert!(!lost.is_cut, "{lost:?}");
                assert!(matches!(i32::from(lost.code), 7 | 14 | 16), "{code}: {lost:?}");
            }
        }
    }

    #[tokio::test]
    async fn that_a_stream_is_over_is_told_once_whether_its_task_ends_or_is_dropped() {
        let way = Arc::new(Way::new(Server::insecure("127.0.0.1:1"), &Handle::current()));
        for is_run in [false, true] {
            let (told, mut heard) = unbounded_channel();
            let (_requests, body) = requests(false);
            let worked = Arc::new(Semaphore::new(1));
            let task = run(Arc::clone(&way), body, worked, move |event| drop(told.send(event)));
            if is_run {
                task.await;
            } else {
                drop(task);
            }
            let Some(Event::Closed(closed)) = heard.recv().await else { panic!("not told") };
            assert_eq!((closed.code, closed.is_cut), (Code::Unavailable, false), "{closed:?}");
            assert_eq!(closed.message.contains("before its time"), !is_run, "{closed:?}");
            assert!(heard.recv().await.is_none(), "it is told twice");
        }
    }

    /// Another server is asked then, and this one not at once: the same answer would come again.
    #[test]
    fn a_task_that_ends_while_it_reads_has_cut_its_stream() {
        for (kind, is_cut) in [("application/grpc", true), ("text/html", false)] {
            let (told, mut heard) = unbounded_channel();
            let tell = move |event: Event| drop(told.send(event));
            let ending = Ending { tell, course: Course::default(), closed: None };
            let mut response = Response::new(Empty::<Bytes>::new());
            response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
            let _response = ending.course.follow(response);
            drop(ending);
            let Ok(Event::Closed(closed)) = heard.try_recv() else { panic!("not told") };
            assert_eq!((closed.code, closed.is_cut), (Code::Unavailable, is_cut), "{kind}");
        }
    }
}
