//! What records: a tracer that is asked once per call, and what it hands out for one that it wants.

use std::{sync::Arc, time::Duration};

use http::{Request, Response};

use super::{
    CallStart, TraceContext,
    facts::{Answer, Outcome, Peer},
};
use crate::core::{
    Body, BodyEnd, Ending, Error, ErrorKind, Outgoing, RetryReason, RetryRefusal, grpc,
};

/// Decides about each call whether it is recorded. Only there when the application gave one.
pub(crate) trait Tracer: Send + Sync {
    /// The context that the application has put beside the request, or that is current.
    fn current(&self, extensions: &http::Extensions) -> Option<TraceContext>;

    /// Asks whether a call is recorded.
    fn start(
        &self,
        call: &CallStart<'_>,
        request: &Request<Outgoing>,
        parent: Parent<'_>,
    ) -> Started;
}

/// Whose child a call is.
#[derive(Clone, Copy)]
pub(crate) enum Parent<'a> {
    Nobody,
    Remote(&'a TraceContext),
    /// What [`Tracer::current`] has found.
    Current,
}

/// A tracer's answer.
pub(crate) enum Started {
    Recorded(Box<dyn Recorder>),
    /// It is not; what endpoints are told all the same, so that they do not begin a trace.
    Unsampled(Option<TraceContext>),
}

/// What is recorded of one call. Each method is one happening, called where its event is emitted.
pub(crate) trait Recorder: Send + Sync {
    /// An attempt starts; what its endpoint is told, if this recorder decides that.
    fn attempt(
        &mut self,
        number: u32,
        to: Option<(Option<&Peer>, &Arc<str>)>,
    ) -> Option<TraceContext>;

    /// The endpoint of the attempt under way is known only now.
    fn endpoint(&mut self, peer: Option<&Peer>, endpoint: &Arc<str>);

    /// Of several addresses of that endpoint, the connection of the attempt leads to this one.
    fn peer(&mut self, peer: &Peer);

    /// The next attempt is sent beside those under way, so long after the first.
    fn hedge(&mut self, after: Duration);

    /// What comes now is of the attempt of this number, of those under way.
    fn turn(&mut self, number: u32);

    /// The attempt of this number is given up: another was faster, or the caller has left.
    fn lost(&mut self, number: u32);

    /// Its response head is here.
    fn answered(&mut self, answer: Answer);

    /// gRPC's status came in its trailers.
    fn status(&mut self, code: i32);

    /// It met a failure instead of a response head, of which a gRPC caller sees this code.
    fn failed(&mut self, error: ErrorKind, code: i32);

    /// Another attempt follows.
    fn retry(&mut self, reason: RetryReason, backoff: Duration);

    /// Another attempt was wanted and refused.
    fn retry_refused(&mut self, reason: RetryRefusal);

    /// The call is over.
    fn end(&mut self, attempts: u32, outcome: Outcome);
}

/// Two that record the same call.
pub(crate) struct Pair(pub(crate) Box<dyn Recorder>, pub(crate) Box<dyn Recorder>);

impl Recorder for Pair {
    fn attempt(
        &mut self,
        number: u32,
        to: Option<(Option<&Peer>, &Arc<str>)>,
    ) -> Option<TraceContext> {
        let (one, other) = (self.0.attempt(number, to), self.1.attempt(number, to));
        one.or(other)
    }

    fn endpoint(&mut self, peer: Option<&Peer>, endpoint: &Arc<str>) {
        self.0.endpoint(peer, endpoint);
        self.1.endpoint(peer, endpoint);
    }

    fn peer(&mut self, peer: &Peer) {
        self.0.peer(peer);
        self.1.peer(peer);
    }

    fn hedge(&mut self, after: Duration) {
        self.0.hedge(after);
        self.1.hedge(after);
    }

    fn turn(&mut self, number: u32) {
        self.0.turn(number);
        self.1.turn(number);
    }

    fn lost(&mut self, number: u32) {
        self.0.lost(number);
        self.1.lost(number);
    }

    fn answered(&mut self, answer: Answer) {
        self.0.answered(answer);
        self.1.answered(answer);
    }

    fn status(&mut self, code: i32) {
        self.0.status(code);
        self.1.status(code);
    }

    fn failed(&mut self, error: ErrorKind, code: i32) {
        self.0.failed(error, code);
        self.1.failed(error, code);
    }

    fn retry(&mut self, reason: RetryReason, backoff: Duration) {
        self.0.retry(reason, backoff);
        self.1.retry(reason, backoff);
    }

    fn retry_refused(&mut self, reason: RetryRefusal) {
        self.0.retry_refused(reason);
        self.1.retry_refused(reason);
    }

    fn end(&mut self, attempts: u32, outcome: Outcome) {
        self.0.end(attempts, outcome);
        self.1.end(attempts, outcome);
    }
}

/// Ends what is recorded of a call with its result. What HTTP says ends at the response head; the
/// status of a gRPC call may come in its trailers, so its end is that of its body.
pub(crate) fn finish(
    mut recorder: Box<dyn Recorder>,
    attempts: u32,
    is_grpc: bool,
    result: &mut Result<Response<Body>, Error>,
) {
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            let failed = Outcome::Failed(error.kind(), error.grpc_code());
            return recorder.end(attempts, failed);
        }
    };
    let status = response.status();
    let code = if is_grpc { grpc::status_of(response.headers()) } else { None };
    if is_grpc && code.is_none() && status.is_success() {
        let streaming = Box::new(Streaming { recorder, attempts, status });
        response.body_mut().record(streaming);
    } else {
        recorder.end(attempts, Outcome::Answered(status, code));
    }
}

/// A gRPC call whose status is still to come.
struct Streaming {
    recorder: Box<dyn Recorder>,
    attempts: u32,
    status: http::StatusCode,
}

impl Ending for Streaming {
    fn ended(mut self: Box<Self>, end: BodyEnd, error: Option<ErrorKind>) {
        let broke = |kind: ErrorKind| Outcome::Failed(kind, kind.grpc_code());
        let outcome = match end {
            //= gRPC over HTTP/2 §"Responses": a response without a status is UNKNOWN
            BodyEnd::Complete(code) => Outcome::Answered(self.status, Some(code.unwrap_or(2))),
            BodyEnd::Failed => broke(error.unwrap_or(ErrorKind::Transport)),
            BodyEnd::Stalled | BodyEnd::Expired => broke(ErrorKind::Timeout),
            BodyEnd::Dropped => Outcome::Left,
        };
        self.recorder.end(self.attempts, outcome);
    }
}
