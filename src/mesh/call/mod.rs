//! A call as one state machine: resolve, route, admission, attempts, back-off, deadline.
//!
//! The positions of the default stack are fused here: nesting them as layers would move the
//! request through six futures. What they decide lives in `route`, `resilience` and `balance`,
//! and the public layers share it.

mod attempt;
pub(super) mod chosen;
mod entrance;
mod failover;
mod faulty;
mod first;
mod guarded;
mod head;
mod hedged;
mod mirrored;
mod outcome;
mod overrides;
pub(super) mod own;
mod passage;
mod path;
mod rare;
mod refusals;
mod routed;
mod staged;
mod stepped;
pub(crate) mod sticky;
mod termed;
mod traced;
mod trail;
mod words;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, uri::Scheme};
use pin_project::pin_project;

pub(crate) use self::path::Path;
pub(super) use self::routed::no_tunnel;
pub(crate) use self::staged::{AttemptRest, CallRest};
pub(super) use self::stepped::unusable;
pub(super) use self::termed::{asked, count};
#[cfg(feature = "reqwest-013")]
pub(super) use self::words::undelivered;
pub(crate) use self::{
    head::set_authority,
    overrides::{Bound, Overrides},
    refusals::{does_not_follow, in_clear, max_requests, no_endpoint},
};
use super::{
    cluster::{Cluster, Node},
    inner::Inner,
    service::{Policy, Route, Service, ServiceCell},
};
use crate::{
    balance::{Avoid, Endpoint, Over, Wanted},
    config::CallPriority,
    core::{Body, BoxFuture, Error, Outgoing, grpc},
    observe::{RouteMeter, Verb},
    resilience::deadline::Bounds,
};

/// Who calls what: the same from the call's start to its end.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) inner: Arc<Inner>,
    pub(crate) cell: Arc<ServiceCell>,
    pub(crate) grpc: bool,
    /// What it is counted by.
    pub(crate) verb: Verb,
    /// It asked for TLS when it began, whatever its request has become since.
    pub(crate) https: bool,
    /// Its number, in events; 0 if nobody listened when it began.
    pub(crate) number: u64,
}

/// What a call holds from its route to its end: an update of the configuration does not change
/// a call under way, but each attempt reads the cluster's newest endpoints (gRFC A44).
#[derive(Clone)]
pub(crate) struct Pinned {
    pub(crate) service: Arc<Service>,
    pub(crate) route: usize,
    pub(crate) cluster: Arc<Cluster>,
    /// The labels that its endpoint must carry, if any.
    pub(crate) wanted: Option<Arc<Wanted>>,
    pub(crate) bounds: Bounds,
    /// Where its balancer hashes: what to, for all attempts.
    pub(crate) hash: Option<u64>,
    /// How its attempts end is told to its budget.
    pub(crate) is_throttled: bool,
    /// Its body is bounded by the duration of its stream.
    pub(crate) is_stream_bound: bool,
    /// What only few calls have.
    pub(crate) rare: Option<Box<rare::Rare>>,
}

impl Caller {
    /// What counts this call: its route's meter, once that is known.
    pub(crate) fn meter<'a>(&'a self, pinned: Option<&'a Pinned>) -> &'a Arc<RouteMeter> {
        let route = pinned.and_then(Pinned::route);
        route.map_or(&self.cell.meter.plain, |route| &route.meter)
    }
}

impl Pinned {
    pub(crate) fn route(&self) -> Option<&Route> {
        self.service.table.get(self.route)
    }

    /// The endpoint that it names.
    pub(crate) fn over(&self) -> Option<&Over> {
        self.rare.as_ref()?.over.as_ref()
    }

    /// Whether another attempt leaves the localities of those.
    #[inline]
    pub(crate) fn leaves_localities(&self, tried: &[Arc<Endpoint<Node>>]) -> bool {
        !tried.is_empty() && self.policy().is_some_and(|policy| policy.retry.leaves_localities())
    }

    /// What else another attempt avoids.
    #[inline]
    pub(crate) fn avoid(&self, tried: &[Arc<Endpoint<Node>>]) -> Option<&Avoid> {
        if tried.is_empty() { None } else { self.policy()?.avoid.as_deref() }
    }

    pub(crate) fn policy(&self) -> Option<&Policy> {
        // One of its own, by its request's headers; most calls have nothing of the kind.
        if let Some(rare) = &self.rare
            && let Some(own) = rare.termed.as_ref().and_then(termed::Termed::policy)
        {
            return Some(own);
        }
        self.route().map(|route| &route.policy)
    }

    /// Which limits of its cluster count it.
    pub(crate) fn priority(&self) -> CallPriority {
        self.policy().map(|policy| policy.priority).unwrap_or_default()
    }
}

/// The response of a call through the mesh.
///
/// It is lazy: nothing happens before its first poll. Its errors are those of
/// [`Client::send`](super::Client::send).
///
/// # Cancel safety
///
/// Dropping it cancels the call: an attempt under way is not counted as a failure of its endpoint,
/// but its age may raise the endpoint's latency estimate. The endpoint may have worked on it. A
/// connection that is being made for it goes on, for the next call.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct CallFuture {
    #[pin]
    state: State,
    grpc: bool,
}

#[pin_project(project = StateProj)]
enum State {
    Path(#[pin] Path),
    /// Through the user's call layers: their one box.
    Staged(BoxFuture<Result<Response<Body>, Error>>),
    Failed(Option<Error>),
}

// === impl CallFuture ===

impl CallFuture {
    #[inline(always)]
    pub(crate) fn new(
        inner: &Arc<Inner>,
        cell: &Arc<ServiceCell>,
        request: Request<Outgoing>,
    ) -> Self {
        let https = request.uri().scheme() == Some(&Scheme::HTTPS);
        Self::asking(inner, cell, request, https)
    }

    /// The same of one that may ask for TLS whatever its URI says.
    #[inline(always)]
    pub(crate) fn asking(
        inner: &Arc<Inner>,
        cell: &Arc<ServiceCell>,
        request: Request<Outgoing>,
        https: bool,
    ) -> Self {
        let is_grpc = grpc::is_grpc(request.headers());
        let verb = Verb::of(request.method(), is_grpc);
        let (inner, cell) = (Arc::clone(inner), Arc::clone(cell));
        let caller = Caller { inner, cell, grpc: is_grpc, verb, https, number: 0 };
        let state = if caller.inner.stages.call.is_some() {
            State::Staged(staged::call(caller, request))
        } else {
            State::Path(Path::new(caller, request))
        };
        Self { state, grpc: is_grpc }
    }

    pub(crate) fn failed(error: Error, request: &Request<Outgoing>) -> Self {
        Self { state: State::Failed(Some(error)), grpc: grpc::is_grpc(request.headers()) }
    }
}

impl Future for CallFuture {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.grpc {
            // A gRPC caller gets a status: tonic would turn a foreign error into `Unknown`.
            return match self.project().state.poll(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Ok(grpc::response(error))),
                result => result,
            };
        }
        self.project().state.poll(cx)
    }
}

impl State {
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response<Body>, Error>> {
        match self.project() {
            StateProj::Path(path) => path.poll(cx),
            StateProj::Staged(future) => future.as_mut().poll(cx),
            StateProj::Failed(error) => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
        }
    }
}

impl fmt::Debug for CallFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").finish_non_exhaustive()
    }
}
