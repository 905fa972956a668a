//! The recording points of a call's spans: where its events are emitted, its spans are told.

use std::time::Duration;

use http::{Request, Response};

use super::{
    Caller,
    path::{PathProj, StateProj},
};
use crate::{
    core::{Body, Error, ErrorKind, Instant, Outgoing, grpc},
    mesh::{
        cluster::{Cluster, Node},
        service::Route,
    },
    observe::trace::{self, Answer, CallStart, Outcome, Recorder},
    transport::Lease,
};

/// What is recorded of one call; nothing of most.
pub(super) type Trace = Option<Box<dyn Recorder>>;

/// Tells the endpoints of a call of its trace, and begins what is recorded of it.
#[inline]
pub(super) fn begin(
    caller: &Caller,
    request: &mut Request<Outgoing>,
    to: (&Route, &Cluster),
    (started, now): (Instant, u64),
) -> Trace {
    if caller.inner.tracing.may_record() {
        let waited = now.saturating_sub(caller.inner.epoch.nanos(started));
        ask(caller, request, Some(to), Duration::from_nanos(waited))
    } else {
        caller.inner.tracing.carry(request);
        None
    }
}

#[inline(never)]
fn ask(
    caller: &Caller,
    request: &mut Request<Outgoing>,
    to: Option<(&Route, &Cluster)>,
    waited: Duration,
) -> Trace {
    let call = CallStart {
        service: &caller.cell.name,
        server: &caller.cell.server,
        route: to.and_then(|(route, _)| route.name.as_ref()),
        cluster: to.map(|(_, cluster)| &cluster.name),
        rules: to.and_then(|(route, _)| route.policy.tracing.as_deref()),
        grpc: caller.grpc,
        waited,
    };
    caller.inner.tracing.begin(&call, request, &caller.inner.random)
}

/// An attempt starts: its endpoint becomes a child of its span.
#[inline]
pub(super) fn attempt(
    trace: &mut Trace,
    caller: &Caller,
    request: &mut Request<Outgoing>,
    number: u32,
    node: Option<&Node>,
) {
    if let Some(trace) = trace {
        let context = trace.attempt(number, node.map(|node| (node.peer(), &node.name)));
        if let (Some(context), true) = (context, caller.inner.tracing.is_told()) {
            context.write_owned(request.headers_mut());
        }
    }
}

/// Its connection is known: of several addresses of its endpoint, so is the one that it leads to.
#[inline]
pub(super) fn connection(trace: &mut Trace, node: &Node, lease: &Lease) {
    if let Some(trace) = trace
        && node.is_at_several()
        && let Some(peer) = lease.at()
    {
        trace.peer(peer);
    }
}

impl PathProj<'_> {
    /// The attempt under way met its response head.
    #[inline]
    pub(super) fn trace_answer(&mut self, response: &Response<Body>) {
        if self.trace.is_some() {
            self.trace_endpoint();
        }
        if let Some(trace) = self.trace {
            let code = if self.caller.grpc { grpc::status_of(response.headers()) } else { None };
            let (status, version) = (response.status(), response.version());
            trace.answered(Answer { status, version, code });
        }
    }

    /// It met a failure instead.
    #[inline]
    pub(super) fn trace_failure(&mut self, error: ErrorKind, code: i32) {
        if self.trace.is_some() {
            self.trace_endpoint();
        }
        if let Some(trace) = self.trace {
            trace.failed(error, code);
        }
    }

    /// Behind attempt layers, the endpoint is picked after the attempt's span has begun; under pick
    /// first it may become another. A connection that is waited for leads to an address that is known
    /// only then.
    fn trace_endpoint(&mut self) {
        let Some(trace) = self.trace.as_mut() else { return };
        let (endpoint, leads_to) = match self.state.as_mut().project() {
            StateProj::Staged(attempt) => (attempt.endpoint(), None),
            StateProj::Attempt(attempt) => {
                let moved = attempt.endpoint().filter(|_| attempt.is_moved());
                (moved.cloned(), attempt.leads_to())
            }
            _ => return,
        };
        if let Some(node) = endpoint.as_ref().and_then(|endpoint| endpoint.extra()) {
            trace.endpoint(node.peer(), &node.name);
        }
        if let Some(peer) = leads_to {
            trace.peer(peer);
        }
    }

    /// The call is over, with its result.
    #[inline]
    pub(super) fn trace_end(&mut self, result: &mut Result<Response<Body>, Error>) {
        if self.pinned.is_none() {
            self.trace_unrouted();
        }
        if let Some(trace) = self.trace.take() {
            trace::finish(trace, self.trail.number, self.caller.grpc, result);
        }
    }

    /// The caller has left.
    #[inline]
    pub(super) fn trace_left(&mut self) {
        if self.pinned.is_none() {
            self.trace_unrouted();
        }
        if self.trace.is_some() {
            self.trace_endpoint();
        }
        if let Some(mut trace) = self.trace.take() {
            trace.end(self.trail.number, Outcome::Left);
        }
    }

    /// A call that ends before it has a route is recorded only now.
    fn trace_unrouted(&mut self) {
        if let (None, true, Some(request)) =
            (&self.trace, self.caller.inner.tracing.may_record(), self.request.as_mut())
        {
            let waited = self.started.map(|started| started.elapsed()).unwrap_or_default();
            *self.trace = ask(self.caller, request, None, waited);
        }
    }
}
