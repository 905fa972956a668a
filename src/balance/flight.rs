//! What is in flight: counted while it lives, its outcome fed to the load signal.

use std::sync::Arc;

use http::HeaderMap;

use super::{
    endpoint::{Endpoint, Live, Upstream},
    load::Load,
};
use crate::core::{BodyEnd, Instant, Ticket, Watcher};

/// The outcome of an attempt for its endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Success,
    Failure,
    /// It says nothing about the endpoint.
    Ignored,
}

/// One attempt in flight to an endpoint. Dropped without an outcome, the caller has left: its
/// age is a censored sample, which may raise the latency and counts no failure.
pub(crate) struct InFlight<X: Send + Sync + 'static> {
    endpoint: Arc<Endpoint<X>>,
    started: u64,
    decay: u64,
    recorded: bool,
    /// The crowd of its cluster has counted it, too.
    crowded: bool,
    /// Uncounting has passed to a ticket, or is done.
    over: bool,
}

impl Outcome {
    /// The outcome that a gRPC status is for its endpoint.
    ///
    /// The codes that Envoy and gRPC count against a server: what is the caller's own fault
    /// (`INVALID_ARGUMENT`, `NOT_FOUND`, …) says nothing against it.
    pub(crate) fn of_grpc(code: i32) -> Self {
        match code {
            4 | 8 | 13 | 14 | 15 => Self::Failure,
            _ => Self::Success,
        }
    }
}

impl<X: Upstream> InFlight<X> {
    /// One that has been counted at `now`.
    #[inline]
    pub(super) fn begun(endpoint: Arc<Endpoint<X>>, now: u64, decay: u64, crowded: bool) -> Self {
        Self { endpoint, started: now, decay, recorded: false, crowded, over: false }
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint<X>> {
        &self.endpoint
    }

    /// Feeds the outcome to the load signal; the attempt stays in flight.
    pub(crate) fn record(&mut self, now: u64, outcome: Outcome) {
        self.recorded = true;
        if let Some(live) = self.endpoint.live() {
            record(&live.load, self.started, now, outcome, self.decay);
        }
        disbelieve(&self.endpoint, outcome);
    }

    /// Ends it with an outcome.
    #[inline]
    pub(crate) fn finish(mut self, now: u64, outcome: Outcome) {
        self.over = true;
        if let Some(live) = self.endpoint.live() {
            record(&live.load, self.started, now, outcome, self.decay);
            live.end(self.started, self.crowded);
        }
        disbelieve(&self.endpoint, outcome);
    }

    /// Ends it as its drop does, at a time that is told: a simulation's clock is not ours.
    pub(super) fn left(mut self, now: u64) {
        self.over = true;
        if let Some(live) = self.endpoint.live() {
            if !self.recorded {
                live.load.raise(now, now.saturating_sub(self.started), self.decay);
            }
            live.load.end(self.started);
        }
    }

    /// Hands it to the response body: it is in flight until the body's end.
    ///
    /// `now` is when its head came: how long a body lasts says nothing of its endpoint's speed.
    pub(crate) fn into_ticket(mut self, now: u64) -> (Arc<dyn Watcher>, Ticket) {
        self.over = true;
        let ticket = Ticket {
            started: self.started,
            head: now,
            decay: self.decay,
            recorded: self.recorded,
            crowded: self.crowded,
        };
        (Arc::<Endpoint<X>>::clone(&self.endpoint) as Arc<dyn Watcher>, ticket)
    }
}

impl<X: Send + Sync + 'static> Drop for InFlight<X> {
    #[inline]
    fn drop(&mut self) {
        if !self.over {
            leave(self);
        }
    }
}

/// The caller has left, or what it has recorded is over.
#[cold]
#[inline(never)]
fn leave<X: Send + Sync>(flight: &InFlight<X>) {
    let Some(live) = flight.endpoint.live() else { return };
    if !flight.recorded {
        let now = live.epoch.nanos(Instant::now());
        live.load.raise(now, now.saturating_sub(flight.started), flight.decay);
    }
    live.end(flight.started, flight.crowded);
}

impl<X> Live<X> {
    /// What began at `started` is in flight no more.
    #[inline]
    fn end(&self, started: u64, crowded: bool) {
        self.load.end(started);
        if crowded {
            self.crowd.leave();
        }
    }
}

#[inline]
fn record(load: &Load, started: u64, now: u64, outcome: Outcome, decay: u64) {
    let rtt = now.saturating_sub(started);
    match outcome {
        Outcome::Success => load.succeeded(now, rtt, decay),
        Outcome::Failure => load.failed(now, rtt, decay),
        Outcome::Ignored => {}
    }
}

impl<X: Upstream> Watcher for Endpoint<X> {
    fn name(&self) -> Option<Arc<str>> {
        self.extra().map(|extra| Arc::clone(extra.name()))
    }

    fn ended(&self, ticket: Ticket, end: BodyEnd, now: Option<Instant>) {
        let Some(live) = self.live() else { return };
        if let Some(now) = now {
            live.extra.streamed(end, live.epoch.nanos(now).saturating_sub(ticket.started));
        }
        if !ticket.recorded || !matches!(end, BodyEnd::Complete(_) | BodyEnd::Dropped) {
            let outcome = match end {
                BodyEnd::Complete(code) =>
                // Only a gRPC response is still open here: without a status it is broken.
                {
                    code.map_or(Outcome::Failure, Outcome::of_grpc)
                }
                BodyEnd::Failed => Outcome::Failure,
                // The head has come, and how long the rest may last is the caller's choice.
                BodyEnd::Expired | BodyEnd::Dropped => Outcome::Ignored,
            };
            record(&live.load, ticket.started, ticket.head, outcome, ticket.decay);
            disbelieve(self, outcome);
        }
        live.end(ticket.started, ticket.crowded);
    }

    #[inline]
    fn heard(&self, headers: &HeaderMap) {
        Self::heard(self, headers);
    }
}

/// Who fails says nothing of its load that anybody should follow.
#[inline]
fn disbelieve<X>(endpoint: &Endpoint<X>, outcome: Outcome) {
    if outcome == Outcome::Failure {
        endpoint.disbelieved();
    }
}
