//! One attempt of several: what it is sent with, and when its time is over.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use pin_project::pin_project;

use crate::{
    balance::Endpoint,
    core::{Body, Error, Instant, Outgoing, Phase},
    mesh::{
        call::{
            Caller, Pinned,
            attempt::{Attempt, Met, Way},
            staged::StagedAttempt,
            traced::Trace,
            trail::Visit,
        },
        cluster::Node,
    },
    resilience::budget::Grant,
    transport::SendFuture,
};

/// One attempt.
pub(super) struct Leg {
    pub(super) attempt: Try,
    /// 1 for the call's first.
    pub(super) number: u32,
    /// What has paid for it, until it is over.
    grant: Grant,
    /// It goes on beyond its time, beside its successor.
    outlived: bool,
}

/// As it is sent.
pub(super) enum Try {
    Own(Attempt),
    /// Through the user's attempt layers.
    Staged(Box<StagedAttempt>),
}

/// One with a request and a room of its own.
#[pin_project]
pub(super) struct Beside {
    leg: Option<Leg>,
    pub(super) request: Option<Request<Outgoing>>,
    #[pin]
    pub(super) sent: Option<SendFuture>,
}

/// One that is over.
pub(super) struct Ended {
    pub(super) leg: Leg,
    pub(super) result: Result<Response<Body>, Error>,
    /// The request, if it was given back.
    pub(super) given: Option<Request<Outgoing>>,
}

// === impl Leg ===

impl Leg {
    pub(super) fn new(attempt: Try, number: u32) -> Self {
        Self { attempt, number, grant: Grant::default(), outlived: false }
    }

    /// The same of one that this has paid for.
    pub(super) fn paid(attempt: Try, number: u32, grant: Grant) -> Self {
        Self { grant, ..Self::new(attempt, number) }
    }

    /// What has paid for it, to be given back.
    pub(super) fn take_grant(&mut self) -> Grant {
        std::mem::take(&mut self.grant)
    }

    /// It goes on beyond its time.
    pub(super) fn outlive(&mut self) {
        self.outlived = true;
    }

    /// It does not any more.
    pub(super) fn bind(&mut self) {
        self.outlived = false;
    }

    /// When its time is over.
    pub(super) fn ends(&self, timeout: Duration) -> Option<Instant> {
        if self.outlived { None } else { self.attempt.started().checked_add(timeout) }
    }

    /// Its endpoint, and when it began.
    pub(super) fn visit(&self) -> Option<Visit> {
        Some((self.attempt.endpoint()?, self.attempt.started()))
    }

    /// What is recorded now is of this one. Its endpoint may be known only by now.
    pub(super) fn trace(&self, trace: &mut Trace) {
        let Some(trace) = trace else { return };
        trace.turn(self.number);
        if self.attempt.may_have_moved()
            && let Some(endpoint) = self.attempt.endpoint()
            && let Some(node) = endpoint.extra()
        {
            trace.endpoint(node.peer(), &node.name);
        }
        if let Try::Own(attempt) = &self.attempt
            && let Some(peer) = attempt.leads_to()
        {
            trace.peer(peer);
        }
    }
}

// === impl Try ===

impl Try {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller,
        pinned: &Pinned,
        way: Way<'_>,
    ) -> Poll<Result<Response<Body>, Error>> {
        match self {
            Self::Own(attempt) => attempt.poll(cx, caller, pinned, way),
            Self::Staged(attempt) => attempt.poll(cx, way.request),
        }
    }

    pub(super) fn endpoint(&self) -> Option<Arc<Endpoint<Node>>> {
        match self {
            Self::Own(attempt) => attempt.endpoint().cloned(),
            Self::Staged(attempt) => attempt.endpoint(),
        }
    }

    /// Whether an endpoint may have worked on it so far; what layers do with it is not known.
    pub(super) fn may_be_worked_on(&self) -> bool {
        match self {
            Self::Own(attempt) => attempt.sending_since().is_some(),
            Self::Staged(_) => true,
        }
    }

    fn may_have_moved(&self) -> bool {
        match self {
            Self::Own(attempt) => attempt.is_moved(),
            Self::Staged(_) => true,
        }
    }

    fn started(&self) -> Instant {
        match self {
            Self::Own(attempt) => attempt.started(),
            Self::Staged(attempt) => attempt.started(),
        }
    }

    /// When its head or its failure came, in nanoseconds since the mesh's epoch.
    pub(super) fn ended(&self) -> Option<u64> {
        match self {
            Self::Own(attempt) => Some(attempt.ended()),
            Self::Staged(_) => None,
        }
    }

    /// Why it gave no response.
    pub(super) fn met(&self) -> Met {
        match self {
            Self::Own(attempt) => attempt.met(),
            Self::Staged(attempt) => attempt.met(),
        }
    }

    /// What it waits for.
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Own(attempt) => attempt.phase(),
            Self::Staged(_) => Phase::Headers,
        }
    }

    pub(super) fn expire(&mut self, caller: &Caller, way: Way<'_>, now: Instant) {
        match self {
            Self::Own(attempt) => attempt.expire(caller, way, now),
            Self::Staged(attempt) => attempt.expire(),
        }
    }

    /// It is cancelled. Behind the layers that is known when it is dropped.
    pub(super) fn left(&mut self, caller: &Caller) {
        if let Self::Own(attempt) = self {
            attempt.left(caller);
        }
    }
}

// === impl Beside ===

impl Beside {
    /// Room for one that is sent with this.
    pub(super) fn room(request: Option<Request<Outgoing>>) -> Pin<Box<Self>> {
        Box::pin(Self { leg: None, request, sent: None })
    }

    pub(super) fn way(self: Pin<&mut Self>) -> BesideWay<'_> {
        let this = self.project();
        BesideWay { request: this.request, sent: this.sent, leg: this.leg }
    }

    pub(super) fn leg(&self) -> Option<&Leg> {
        self.leg.as_ref()
    }

    pub(super) fn leg_mut(self: Pin<&mut Self>) -> Option<&mut Leg> {
        self.project().leg.as_mut()
    }

    /// Ends the room with what was in it.
    pub(super) fn take(self: Pin<&mut Self>) -> Option<Leg> {
        self.project().leg.take()
    }

    pub(super) fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        caller: &Caller,
        pinned: &Pinned,
    ) -> Poll<Ended> {
        let this = self.project();
        let Some(leg) = this.leg else { return Poll::Pending };
        let way = Way { request: this.request, sent: this.sent };
        let Poll::Ready(result) = leg.attempt.poll(cx, caller, pinned, way) else {
            return Poll::Pending;
        };
        let Some(leg) = this.leg.take() else { return Poll::Pending };
        Poll::Ready(Ended { leg, result, given: this.request.take() })
    }

    /// Ends it by our own timeout.
    pub(super) fn expire(self: Pin<&mut Self>, caller: &Caller, now: Instant) {
        let this = self.project();
        if let Some(leg) = this.leg {
            leg.attempt.expire(caller, Way { request: this.request, sent: this.sent }, now);
        }
    }
}

/// The parts of a room.
pub(super) struct BesideWay<'a> {
    pub(super) request: &'a mut Option<Request<Outgoing>>,
    pub(super) sent: Pin<&'a mut Option<SendFuture>>,
    pub(super) leg: &'a mut Option<Leg>,
}
