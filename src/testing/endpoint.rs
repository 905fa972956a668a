//! An endpoint in memory: what it answers, what it does wrong, what it has received.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::config::Address;

/// What an endpoint does to one request, or to all.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// Connections are refused.
    Refuse,
    /// A connection attempt never ends.
    Blackhole,
    /// The answer comes late.
    Delay(Duration),
    /// The answer never comes.
    Hang,
    /// The answer has this status.
    Status(StatusCode),
    /// The answer is trailers-only with this gRPC code.
    GrpcStatus(i32),
    /// The connection is closed without an answer.
    Reset,
    /// The head comes, the body never ends.
    StallBody,
    /// Bytes that are no HTTP.
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
    headers: HeaderMap,
    always: Option<Fault>,
    next: VecDeque<Option<Fault>>,
    received: Vec<Received>,
    connections: usize,
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
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state().always = fault;
    }

    /// Does these to the next requests, one each; `None` is an ordinary answer.
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

    pub(super) fn connected(&self) {
        self.state().connections += 1;
    }

    /// The fault that meets a connection attempt, if any.
    pub(super) fn connect_fault(&self) -> Option<Fault> {
        let fault = self.state().always.clone();
        fault.filter(|fault| matches!(fault, Fault::Refuse | Fault::Blackhole | Fault::Garbage))
    }

    /// Notes a request and says what to do to it.
    pub(super) fn receive(&self, received: Received) -> (Option<Fault>, Bytes, HeaderMap) {
        let mut state = self.state();
        state.received.push(received);
        let fault = state.next.pop_front().unwrap_or_else(|| state.always.clone());
        (fault, state.body.clone(), state.headers.clone())
    }
}
