//! A call's span and those of its attempts, by OpenTelemetry's conventions, whatever records them.
//!
//! Sources: OpenTelemetry semantic conventions 1.44, `docs/http/http-spans.md` (stable) and
//! `docs/rpc/rpc-spans.md`, `docs/rpc/grpc.md` (release candidate).

use std::{sync::Arc, time::Duration};

use http::{Method, Request, StatusCode, Uri, uri::Scheme};

use super::{
    CallStart, Peer, TraceContext,
    facts::{self, Answer, Outcome},
    recorder::Recorder,
    url,
};
use crate::core::{ErrorKind, Outgoing, RetryReason, RetryRefusal, grpc};

/// What a span is told.
pub(super) enum Value {
    Int(i64),
    Seconds(f64),
    Static(&'static str),
    Shared(Arc<str>),
}

/// One span, of whatever records it.
pub(super) trait Span: Send + Sync + 'static {
    fn set(&mut self, key: &'static str, value: Value);

    /// What a route says of its spans.
    fn tag(&mut self, key: &Arc<str>, value: Arc<str>);

    fn rename(&mut self, name: Arc<str>);

    fn set_error(&mut self);

    /// Another attempt follows.
    fn retry(&mut self, why: &Why);

    /// Another attempt was wanted; why it was refused.
    fn retry_refused(&mut self, reason: &'static str);

    fn end(&mut self);
}

/// The span of a call, which its attempts are children of.
pub(super) trait CallSpan: Span {
    type Attempt: Span;

    fn attempt(&mut self, name: &Name) -> Self::Attempt;

    /// What the endpoint of an attempt is told, if this decides it.
    fn context(&self, attempt: &Self::Attempt) -> Option<TraceContext>;
}

/// The name of a span.
#[derive(Clone)]
pub(super) enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

/// What is recorded of one call.
pub(super) struct Recording<C: CallSpan> {
    call: C,
    /// The attempt under way, or the one whose gRPC status is still to come.
    attempt: Option<C::Attempt>,
    /// Its number.
    number: u32,
    /// The others that are under way, of a hedged call.
    beside: Vec<(u32, C::Attempt)>,
    /// The next attempt is sent beside those, so long after the first.
    hedge: Option<Duration>,
    common: Common,
    /// The last endpoint that was called.
    peer: Option<Peer>,
    why: Option<Why>,
}

/// Why the next attempt is made, and the wait before it.
pub(super) struct Why {
    /// The same word as in metrics.
    pub(super) reason: &'static str,
    /// The status that was answered, if that is why: `503`, `UNAVAILABLE`.
    pub(super) status: Option<Arc<str>>,
    /// In seconds.
    pub(super) backoff: f64,
}

/// What the spans of a call and of its attempts say alike.
struct Common {
    name: Name,
    is_grpc: bool,
    method: &'static str,
    /// The URL, or gRPC's method.
    target: Arc<str>,
    server: Peer,
}

/// The kind of a span.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Client,
    Internal,
}

/// The kind of a call's span.
///
//= OTel HTTP spans §"HTTP client span": there is a client span for each attempt, and no logical
//= encompassing one. OTel RPC spans §"RPC client span": it covers the logical call.
pub(super) fn kind(call: &CallStart<'_>) -> Kind {
    if call.grpc { Kind::Client } else { Kind::Internal }
}

/// The name that is known before a span is wanted.
pub(super) fn first_name(call: &CallStart<'_>, method: &Method) -> &'static str {
    if call.grpc { "grpc" } else { facts::method_name(method).unwrap_or("HTTP") }
}

// === impl Recording ===

impl<C: CallSpan> Recording<C> {
    pub(super) fn new(mut span: C, call: &CallStart<'_>, request: &Request<Outgoing>) -> Self {
        let uri = request.uri();
        let method = facts::method_name(request.method());
        let server = Peer {
            address: Arc::clone(&call.server.address),
            port: uri.port_u16().or(call.server.port).or_else(|| default_port(call, uri)),
        };
        let target: Arc<str> = if call.grpc {
            uri.path().trim_start_matches('/').into()
        } else {
            url::redacted(uri, call.service)
        };
        //= OTel RPC spans §"Name": {rpc.method}. OTel HTTP spans §"Name": {method}
        let name = if call.grpc {
            Name::Shared(Arc::clone(&target))
        } else {
            Name::Static(method.unwrap_or("HTTP"))
        };
        let operation = call.rules.and_then(|rules| rules.operation.as_ref());
        match (operation, &name) {
            (Some(operation), _) => span.rename(Arc::clone(operation)),
            (None, Name::Shared(name)) => span.rename(Arc::clone(name)),
            (None, Name::Static(_)) => {}
        }
        span.set("mesh.service", Value::Shared(Arc::clone(call.service)));
        if let Some(route) = call.route {
            span.set("mesh.route", Value::Shared(Arc::clone(route)));
        }
        if let Some(cluster) = call.cluster {
            span.set("mesh.cluster", Value::Shared(Arc::clone(cluster)));
        }
        if let Some(rules) = call.rules {
            for (tag, value) in &rules.tags {
                span.tag(tag, Arc::clone(value));
            }
            for (tag, header) in &rules.header_tags {
                // What the application has marked as a secret stays one.
                let value = request.headers().get(header).filter(|it| !it.is_sensitive());
                if let Some(value) = value.and_then(|it| it.to_str().ok()) {
                    span.tag(tag, value.into());
                }
            }
        }
        if !call.grpc && method.is_none() {
            let original = request.method().as_str().into();
            span.set("http.request.method_original", Value::Shared(original));
        }
        let mut recording = Self {
            call: span,
            attempt: None,
            number: 0,
            beside: Vec::new(),
            hedge: None,
            common: Common {
                name,
                is_grpc: call.grpc,
                method: method.unwrap_or("_OTHER"),
                target,
                server,
            },
            peer: None,
            why: None,
        };
        recording.common.describe(&mut recording.call);
        recording
    }

    /// Puts the attempt under way beside the others.
    fn put_beside(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.beside.push((self.number, attempt));
        }
    }

    /// Ends the attempt under way.
    fn close(&mut self, end: impl FnOnce(&mut C::Attempt)) {
        if let Some(mut attempt) = self.attempt.take() {
            end(&mut attempt);
            attempt.end();
        }
    }
}

impl Common {
    fn describe(&self, span: &mut impl Span) {
        let target = Value::Shared(Arc::clone(&self.target));
        if self.is_grpc {
            span.set("rpc.system.name", Value::Static("grpc"));
            span.set("rpc.method", target);
        } else {
            span.set("http.request.method", Value::Static(self.method));
            span.set("url.full", target);
        }
        span.set("server.address", Value::Shared(Arc::clone(&self.server.address)));
        if let Some(port) = self.server.port {
            span.set("server.port", Value::Int(port.into()));
        }
    }
}

impl<C: CallSpan> Recorder for Recording<C> {
    fn attempt(
        &mut self,
        number: u32,
        to: Option<(Option<&Peer>, &Arc<str>)>,
    ) -> Option<TraceContext> {
        self.close(|_| {});
        let mut attempt = self.call.attempt(&self.common.name);
        self.common.describe(&mut attempt);
        attempt.set("mesh.attempt", Value::Int(number.into()));
        self.number = number;
        if let Some(after) = self.hedge.take() {
            attempt.set("mesh.hedge.after", Value::Seconds(after.as_secs_f64()));
        }
        if number > 1 && !self.common.is_grpc {
            attempt.set("http.request.resend_count", Value::Int(i64::from(number) - 1));
        }
        if let Some(why) = self.why.take() {
            attempt.set("mesh.retry.reason", Value::Static(why.reason));
            if let Some(status) = why.status {
                attempt.set("mesh.retry.status", Value::Shared(status));
            }
            attempt.set("mesh.retry.backoff", Value::Seconds(why.backoff));
        }
        let context = self.call.context(&attempt);
        self.attempt = Some(attempt);
        if let Some((peer, endpoint)) = to {
            self.endpoint(peer, endpoint);
        }
        context
    }

    fn endpoint(&mut self, peer: Option<&Peer>, endpoint: &Arc<str>) {
        self.peer = peer.cloned();
        if let Some(attempt) = &mut self.attempt {
            attempt.set("mesh.endpoint", Value::Shared(Arc::clone(endpoint)));
            if let Some(peer) = peer {
                set_peer(attempt, peer);
            }
        }
    }

    fn peer(&mut self, peer: &Peer) {
        self.peer = Some(peer.clone());
        if let Some(attempt) = &mut self.attempt {
            set_peer(attempt, peer);
        }
    }

    fn hedge(&mut self, after: Duration) {
        self.put_beside();
        self.hedge = Some(after);
    }

    fn turn(&mut self, number: u32) {
        if number == self.number && self.attempt.is_some() {
            return;
        }
        if let Some(place) = self.beside.iter().position(|(known, _)| *known == number) {
            let (number, attempt) = self.beside.swap_remove(place);
            self.put_beside();
            (self.number, self.attempt) = (number, Some(attempt));
        }
    }

    fn lost(&mut self, number: u32) {
        let (is_grpc, current) = (self.common.is_grpc, self.number);
        self.turn(number);
        if self.number == number {
            self.close(|attempt| left(attempt, is_grpc));
        }
        self.turn(current);
    }

    fn answered(&mut self, answer: Answer) {
        let is_grpc = self.common.is_grpc;
        if is_grpc && answer.code.is_none() && answer.status.is_success() {
            return;
        }
        self.close(|attempt| {
            if let Some(version) = facts::version_name(answer.version).filter(|_| !is_grpc) {
                attempt.set("network.protocol.version", Value::Static(version));
            }
            answered(attempt, is_grpc, answer.status, answer.code);
        });
    }

    fn status(&mut self, code: i32) {
        self.close(|attempt| answered(attempt, true, StatusCode::OK, Some(code)));
    }

    fn failed(&mut self, error: ErrorKind, code: i32) {
        let is_grpc = self.common.is_grpc;
        self.close(|attempt| failed(attempt, is_grpc, (error, code)));
    }

    fn retry(&mut self, reason: RetryReason, backoff: Duration) {
        let why = Why::new(reason, backoff);
        self.call.retry(&why);
        self.why = Some(why);
    }

    fn retry_refused(&mut self, reason: RetryRefusal) {
        self.call.retry_refused(reason.code());
    }

    fn end(&mut self, attempts: u32, outcome: Outcome) {
        let is_grpc = self.common.is_grpc;
        for (_, mut attempt) in self.beside.drain(..) {
            left(&mut attempt, is_grpc);
            attempt.end();
        }
        self.call.set("mesh.attempts", Value::Int(attempts.into()));
        if let Some(peer) = self.peer.take().filter(|_| is_grpc) {
            //= OTel RPC spans: of several network calls, the last contacted address
            set_peer(&mut self.call, &peer);
        }
        match outcome {
            Outcome::Answered(status, code) => {
                self.close(|attempt| answered(attempt, is_grpc, status, code));
                answered(&mut self.call, is_grpc, status, code);
            }
            Outcome::Failed(kind, code) => {
                self.close(|attempt| failed(attempt, is_grpc, (kind, code)));
                failed(&mut self.call, is_grpc, (kind, code));
            }
            Outcome::Left => {
                self.close(|attempt| left(attempt, is_grpc));
                left(&mut self.call, is_grpc);
            }
        }
        self.call.end();
    }
}

impl Why {
    fn new(reason: RetryReason, backoff: Duration) -> Self {
        let status = match reason {
            RetryReason::Status(status) => Some(status.to_string().into()),
            RetryReason::Grpc(code) => {
                Some(grpc::name(code).map_or_else(|| code.to_string().into(), Into::into))
            }
            _ => None,
        };
        Self { reason: reason.code(), status, backoff: backoff.as_secs_f64() }
    }
}

fn set_peer(span: &mut impl Span, peer: &Peer) {
    span.set("network.peer.address", Value::Shared(Arc::clone(&peer.address)));
    if let Some(port) = peer.port {
        span.set("network.peer.port", Value::Int(port.into()));
    }
}

fn answered(span: &mut impl Span, is_grpc: bool, status: StatusCode, code: Option<i32>) {
    span.set("mesh.outcome", Value::Static("response"));
    if let (true, Some(code)) = (is_grpc, code) {
        grpc_status(span, code);
        return;
    }
    span.set("http.response.status_code", Value::Int(status.as_u16().into()));
    //= OTel HTTP spans §"Status": error for 4xx and 5xx of a client; error.type is the status
    if status.is_client_error() || status.is_server_error() {
        span.set("error.type", status_text(status));
        span.set_error();
    }
}

/// A status in its digits: of those that are usual there is one text.
fn status_text(status: StatusCode) -> Value {
    match USUAL.iter().find(|usual| **usual == status) {
        Some(usual) => Value::Static(usual.as_str()),
        None => Value::Shared(status.as_str().into()),
    }
}

static USUAL: [StatusCode; 13] = [
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::CONFLICT,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::NOT_IMPLEMENTED,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

fn grpc_status(span: &mut impl Span, code: i32) {
    let name = || match grpc::name(code) {
        Some(name) => Value::Static(name),
        None => Value::Shared(code.to_string().into()),
    };
    span.set("rpc.response.status_code", name());
    //= OTel gRPC spans §"Client": all status codes except OK SHOULD be considered errors
    if code != 0 {
        span.set("error.type", name());
        span.set_error();
    }
}

fn failed(span: &mut impl Span, is_grpc: bool, (kind, code): (ErrorKind, i32)) {
    span.set("mesh.outcome", Value::Static("error"));
    if is_grpc && let Some(name) = grpc::name(code) {
        span.set("rpc.response.status_code", Value::Static(name));
    }
    span.set("error.type", Value::Static(kind.code()));
    span.set_error();
}

fn left(span: &mut impl Span, is_grpc: bool) {
    span.set("mesh.outcome", Value::Static("cancelled"));
    if is_grpc {
        grpc_status(span, 1);
    }
    //= OTel HTTP spans §"Status": a cancellation by the caller SHOULD NOT be treated as an error:
    //= the span status SHOULD be left unset and error.type SHOULD NOT be set
}

/// The port of a URL that names none.
fn default_port(call: &CallStart<'_>, uri: &Uri) -> Option<u16> {
    if call.grpc {
        return None;
    }
    Some(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 })
}
