//! An endpoint in memory: what it answers, what it does wrong, what it has received.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::serve::End;
use crate::config::Address;

/// What an endpoint does to one request, or to all.
///
/// `Refuse`, `Blackhole` and `Garbage` are faults of connections: they meet attempts to connect, and
/// the connection of a request on which they fall. [`Endpoint::set_fault`] and [`Endpoint::script`]
/// say when that is.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// Connections are refused. A connection that is there is closed, with all that is in flight on it.
    Refuse,
    /// A connection attempt never ends. A connection that is there stays open and silent, for all that
    /// is in flight on it; nothing heals it.
    Blackhole,
    /// The answer comes late.
    Delay(Duration),
    /// The answer never comes.
    Hang,
    /// The answer has this status.
    Status(StatusCode),
    /// The answer is trailers-only with this gRPC code.
    GrpcStatus(i32),
    /// The head comes, then messages, each the endpoint's body, then trailers with this gRPC code.
    /// For HTTP/2.
    GrpcTrailers {
        /// The code; 0 is a success.
        code: i32,
        /// How many messages come before it.
        messages: usize,
    },
    /// The connection is closed without an answer, with all that is in flight on it.
    Reset,
    /// The stream is reset with `REFUSED_STREAM`: the request was not worked on. HTTP/1.1 has no word
    /// for that: there the connection is closed without an answer.
    RefusedStream,
    /// An ordinary answer, and the end of the connection behind it: GOAWAY, after which what is in
    /// flight is still answered; `connection: close` in HTTP/1.1.
    GoAway,
    /// The head comes, the body never ends.
    StallBody,
    /// The head promises the whole body, of which half comes: then the stream is reset, in HTTP/1.1 the
    /// connection closed.
    CutBody,
    /// Bytes that are no HTTP: from a new connection, which stays open, or instead of an answer, after
    /// which the connection is closed.
    Garbage,
}

/// One request as the endpoint received it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

/// An endpoint of a [`Network`](super::Network); clones are the same endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: Address,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    body: Bytes,
    /// The body is a gRPC message.
    grpc: bool,
    headers: HeaderMap,
    always: Option<Fault>,
    next: VecDeque<Option<Fault>>,
    received: Vec<Received>,
    connections: usize,
    /// What ends the connections that are there.
    open: Vec<UnboundedSender<End>>,
}

/// What an endpoint answers with.
pub(super) struct Ordinary {
    pub(super) body: Bytes,
    /// The body is a gRPC message.
    pub(super) grpc: bool,
    pub(super) headers: HeaderMap,
}

// === impl Fault ===

impl Fault {
    /// Whether it meets attempts to connect.
    fn is_of_connections(&self) -> bool {
        matches!(self, Self::Refuse | Self::Blackhole | Self::Garbage)
    }
}

// === impl Endpoint ===

impl Endpoint {
    pub(super) fn new(address: Address) -> Self {
        let body = Bytes::from(address.to_string());
        Self { address, state: Arc::new(Mutex::new(State { body, ..State::default() })) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    /// Answers with this body. Default: its address.
    #[must_use = "clones are the same endpoint: keep one"]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        self.state().body = body.into();
        self
    }

    /// Answers as a gRPC server whose calls succeed: with this message, and code 0 in trailers.
    /// For HTTP/2.
    #[must_use = "clones are the same endpoint: keep one"]
    pub fn grpc(self, message: impl Into<Bytes>) -> Self {
        self.state().grpc = true;
        self.body(message)
    }

    /// Adds a header to every answer.
    ///
    /// # Panics
    ///
    /// When name or value are no header.
    #[must_use = "clones are the same endpoint: keep one"]
    #[expect(clippy::expect_used, reason = "a test's own literals")]
    pub fn header(self, name: &str, value: &str) -> Self {
        let name = http::HeaderName::try_from(name).expect("a header name");
        let value = value.parse().expect("a header value");
        self.state().headers.insert(name, value);
        self
    }

    /// Does this to every request from now on.
    #[must_use = "clones are the same endpoint: keep one"]
    pub fn fault(self, fault: Fault) -> Self {
        self.set_fault(Some(fault));
        self
    }

    /// Changes what it does to every request from now on; `None` heals it.
    ///
    /// [`Fault::Refuse`] kills the endpoint: the connections that are there are closed at once.
    /// [`Fault::Blackhole`] silences them at once. Any other fault leaves them, and falls on the next
    /// request.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state();
        // One that is gone already needs no end.
        match fault {
            Some(Fault::Refuse) => {
                for connection in state.open.drain(..) {
                    connection.send(End::Closed).ok();
                }
            }
            Some(Fault::Blackhole) => {
                for connection in &state.open {
                    connection.send(End::Silent).ok();
                }
            }
            _ => {}
        }
        state.always = fault;
    }

    /// Does these to the next requests, one each, before what [`set_fault`](Self::set_fault) says;
    /// `None` is an ordinary answer.
    ///
    /// A fault of connections falls on what comes first: an attempt to connect, which it uses up, or a
    /// request on a connection that is there, which ends with it. Any other entry lets attempts to
    /// connect pass and waits for its request.
    #[must_use = "clones are the same endpoint: keep one"]
    pub fn script(self, faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        self.state().next.extend(faults);
        self
    }

    /// Requests received so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.state().received.len()
    }

    /// Connections made so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// The requests received so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.state().received.clone()
    }

    /// Meets an attempt to connect: with its fault, or with both ends of what ends the connection.
    pub(super) fn connect(&self) -> Result<(UnboundedSender<End>, UnboundedReceiver<End>), Fault> {
        let mut state = self.state();
        let scripted = state.next.front();
        let (fault, scripted) = (scripted.unwrap_or(&state.always).clone(), scripted.is_some());
        let fault = fault.filter(Fault::is_of_connections);
        if scripted && fault.is_some() {
            state.next.pop_front();
        }
        let (end, ended) = mpsc::unbounded_channel();
        match fault {
            Some(Fault::Garbage) => {
                // Its other end is here.
                end.send(End::Garbage { open: true }).ok();
            }
            Some(fault) => return Err(fault),
            None => {}
        }
        state.connections += 1;
        state.open.retain(|connection| !connection.is_closed());
        state.open.push(end.clone());
        Ok((end, ended))
    }

    /// Notes a request and says what to do to it.
    pub(super) fn receive(&self, received: Received) -> (Option<Fault>, Ordinary) {
        let mut state = self.state();
        state.received.push(received);
        let fault = state.next.pop_front().unwrap_or_else(|| state.always.clone());
        let (body, grpc, headers) = (state.body.clone(), state.grpc, state.headers.clone());
        (fault, Ordinary { body, grpc, headers })
    }
}
