//! What is in flight: counted while it lives, its outcome fed to the load signal.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;

use super::{
    endpoint::{Endpoint, Live, Upstream},
    health::{Fault, Watch},
    pick::{Rank, is_failing, standing},
    verdict::Codes,
};
use crate::core::{BodyEnd, Instant, Ticket, Watcher};

/// The outcome of an attempt for its endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Success,
    /// An answer that is a failure: a status from 500 on, a gRPC status, a broken body.
    Failure,
    /// An answer of 502, 503 or 504, or their gRPC statuses.
    Gateway,
    /// No connection could be made.
    Connect,
    /// The connection was lost.
    Reset,
    /// Our own timeout passed.
    Timeout,
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
    /// It is the one call that finds out whether an ejected endpoint is well again.
    probe: bool,
    /// Uncounting has passed to a ticket, or is done.
    over: bool,
    /// What the cluster's own list makes of its status.
    verdict: Option<Outcome>,
    marks: Marks,
}

/// What the policy of its cluster asks for beyond a call's own: in one byte, which every call copies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Marks(u8);

/// What an endpoint that was picked is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stands {
    /// It takes calls.
    Well,
    /// The call finds out whether it does: it could not be connected to, or was ejected.
    Trial,
    /// It is in back-off, ejected or leaving: there was nothing better.
    Out,
}

impl Outcome {
    /// The outcome that a gRPC status is for its endpoint.
    ///
    /// Failures are what Envoy's outlier detection takes for statuses from 500 on: `UNKNOWN`, which is
    /// what a handler's exception comes to, `INTERNAL` and `DATA_LOSS` (500), `UNAVAILABLE` (503),
    /// `DEADLINE_EXCEEDED` (504), and what is no status; `RESOURCE_EXHAUSTED` (Envoy: 429) beside
    /// them: this endpoint is out of something that another may have. gRFC A50 counts all but `OK`.
    ///
    /// What the call itself brings about (`INVALID_ARGUMENT`, `NOT_FOUND`, `ABORTED`, …) says nothing
    /// against an endpoint. Nor does `UNIMPLEMENTED` (Envoy: 501), as Linkerd has it: its siblings
    /// have the method as little, and a caller of a wrong one would take them all out.
    pub(crate) fn of_grpc(code: i32) -> Self {
        match code {
            //= Envoy `grpcToHttpStatus`: 504 and 503
            4 | 14 => Self::Gateway,
            2 | 8 | 13 | 15 => Self::Failure,
            0..=16 => Self::Success,
            //= Envoy `grpcToHttpStatus`: what is no status is 500
            _ => Self::Failure,
        }
    }

    /// The outcome that a status of HTTP is for its endpoint.
    pub(crate) fn of_http(status: u16) -> Self {
        match status {
            502..=504 => Self::Gateway,
            500.. => Self::Failure,
            _ => Self::Success,
        }
    }

    fn is_failure(self) -> bool {
        self.fault().is_some()
    }

    /// Whose failure it is, if it is one.
    fn fault(self) -> Option<Fault> {
        match self {
            Self::Success | Self::Ignored => None,
            Self::Failure => Some(Fault::Server),
            Self::Gateway => Some(Fault::Gateway),
            Self::Connect | Self::Reset | Self::Timeout => Some(Fault::LocalOrigin),
        }
    }
}

impl Marks {
    const CROWDED: u8 = 1;
    const BIASED: u8 = 2;
    const WATCHED: u8 = 4;
    const PROBES: u8 = 8;

    pub(super) fn new(is_crowded: bool, is_biased: bool, is_watched: bool) -> Self {
        let crowded = u8::from(is_crowded) * Self::CROWDED;
        let biased = u8::from(is_biased) * Self::BIASED;
        Self(crowded + biased + u8::from(is_watched) * Self::WATCHED)
    }

    /// More is done with its outcome than what every call's is fed to.
    #[inline]
    fn is_any(self) -> bool {
        self.0 != 0
    }

    /// The crowd of its cluster counts it, too.
    #[inline]
    pub(super) fn is_crowded(self) -> bool {
        self.0 & Self::CROWDED != 0
    }

    /// Its answer is looked at for whether it asks for less.
    #[inline]
    fn is_biased(self) -> bool {
        self.0 & Self::BIASED != 0
    }
}

impl<X: Upstream> InFlight<X> {
    /// One that has been counted at `now`.
    #[inline]
    pub(super) fn begun(endpoint: Arc<Endpoint<X>>, now: u64, decay: u64, marks: Marks) -> Self {
        let (recorded, over, probe, verdict) = (false, false, false, None);
        Self { endpoint, started: now, decay, recorded, probe, verdict, marks, over }
    }

    /// The same, if this call may be the one that finds out whether the endpoint is well again.
    pub(super) fn perhaps_probing(mut self, now: u64) -> Self {
        self.probe = self.endpoint.live().is_some_and(|live| {
            let state = &live.load.state;
            // In need, one that is out is called without being asked for it.
            state.begin_probe() || (state.claim_probe(now) && state.begin_probe())
        });
        if self.probe {
            // However nobody watches outcomes any more: it is out until this one has told.
            self.marks.0 |= Marks::PROBES;
        }
        self
    }

    /// Whether who was picked is any good.
    #[cold]
    pub(crate) fn stands(&self, now: u64) -> Stands {
        match standing(&self.endpoint, now) {
            _ if self.probe => Stands::Trial,
            Rank::Unavailable | Rank::Ejected | Rank::Never => Stands::Out,
            _ if is_failing(&self.endpoint) => Stands::Trial,
            _ => Stands::Well,
        }
    }

    /// Looks at the head of an answer for what the cluster's own rules make of it: `after` is read
    /// from it only where that is of use.
    pub(crate) fn answered(
        &mut self,
        now: u64,
        (status, outcome): (u16, Option<Outcome>),
        after: impl Fn() -> Option<Duration>,
    ) {
        let Some(live) = self.endpoint.live() else { return };
        if self.marks.is_biased() && (status == 429 || outcome.is_some_and(Outcome::is_failure)) {
            live.load.raise(now, live.bias.of_word(after()), self.decay);
        }
        let Some(watch) = live.watch.get() else { return };
        let is_failure = watch.answered(now, status, after);
        self.verdict = is_failure.map(|is_failure| match Outcome::of_http(status) {
            Outcome::Success | Outcome::Failure if is_failure => Outcome::Failure,
            Outcome::Gateway if is_failure => Outcome::Gateway,
            _ => Outcome::Success,
        });
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint<X>> {
        &self.endpoint
    }

    /// Feeds the outcome to the load signal; the attempt stays in flight.
    pub(crate) fn record(&mut self, now: u64, outcome: Outcome) {
        self.recorded = true;
        if let Some(live) = self.endpoint.live() {
            record(live, self.started, now, outcome, self.decay);
            self.judge(live, now, outcome);
        }
        self.probe = false;
        disbelieve(&self.endpoint, outcome);
    }

    #[inline]
    fn judge(&self, live: &Live<X>, now: u64, outcome: Outcome) {
        if let Some(watch) = live.watch.get() {
            let outcome = self.verdict.unwrap_or(outcome);
            judge(live, watch, now, outcome, self.probe);
        }
    }

    /// Ends it with an outcome.
    #[inline(always)]
    pub(crate) fn finish(mut self, now: u64, outcome: Outcome) {
        self.over = true;
        if let Some(live) = self.endpoint.live() {
            record(live, self.started, now, outcome, self.decay);
            if self.marks.is_any() {
                self.judge(live, now, outcome);
                live.end(self.started, self.marks);
            } else {
                live.load.end(self.started);
            }
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
            live.end(self.started, self.marks);
        }
    }

    /// Hands it to the response body: it is in flight until the body's end.
    ///
    /// `now` is when its head came: how long a body lasts says nothing of its endpoint's speed. Even
    /// where the outcome is still to come, what the head took is known.
    pub(crate) fn into_ticket(mut self, now: u64) -> (Arc<dyn Watcher>, Ticket) {
        self.over = true;
        let Self { started, decay, recorded, probe, marks, .. } = self;
        let mut unproven = false;
        if let Some(live) = self.endpoint.live() {
            live.load.answered(started);
            if !recorded {
                unproven = live.load.heard(now, now.saturating_sub(started), decay);
            }
        }
        let (head, crowded, codes) = (now, marks.is_crowded(), None);
        let ticket = Ticket { started, head, decay, recorded, unproven, probe, crowded, codes };
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
        if flight.probe {
            live.load.state.probe_left(now);
        }
    }
    live.end(flight.started, flight.marks);
}

impl<X> Live<X> {
    /// What began at `started` is in flight no more, and has no ticket.
    #[inline]
    fn end(&self, started: u64, marks: Marks) {
        self.load.end(started);
        if marks.is_crowded() {
            self.crowd.leave();
        }
    }

    /// The same of one with a ticket.
    #[inline]
    fn end_answered(&self, is_crowded: bool) {
        self.load.end_answered();
        if is_crowded {
            self.crowd.leave();
        }
    }
}

#[inline]
fn record<X: Upstream>(live: &Live<X>, started: u64, now: u64, outcome: Outcome, decay: u64) {
    let (load, rtt) = (&live.load, now.saturating_sub(started));
    match outcome {
        Outcome::Success => {
            if load.succeeded(now, rtt, decay) {
                live.extra.trusted();
            }
        }
        Outcome::Ignored => {}
        _ => failed(live, (now, rtt), outcome, decay, false),
    }
}

#[cold]
#[inline(never)]
fn failed<X: Upstream>(
    live: &Live<X>,
    (now, rtt): (u64, u64),
    outcome: Outcome,
    decay: u64,
    unproven: bool,
) {
    let (load, rtt) = (&live.load, live.bias.of_failure(rtt));
    let is_suspect = match outcome {
        Outcome::Connect | Outcome::Reset => load.broke(now, rtt, decay, unproven),
        _ => load.failed(now, rtt, decay, unproven),
    };
    if is_suspect {
        live.extra.suspected();
    }
}

#[cold]
#[inline(never)]
fn judge<X: Upstream>(live: &Live<X>, watch: &Watch, now: u64, outcome: Outcome, probe: bool) {
    if outcome == Outcome::Ignored {
        if probe {
            live.load.state.probe_left(now);
        }
        return;
    }
    watch.outcome(live, now, outcome.fault(), probe);
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
            // The estimates are of the present: a stream's head may have come long ago.
            let at = || live.epoch.nanos(now.unwrap_or_else(Instant::now));
            let outcome = match end {
                BodyEnd::Complete(code) =>
                // Only a gRPC response is still open here: without a status it is broken.
                {
                    code.map_or(Outcome::Failure, |code| Codes(ticket.codes).outcome(code))
                }
                BodyEnd::Failed => Outcome::Reset,
                BodyEnd::Stalled => Outcome::Timeout,
                // The head has come, and how long the rest may last is the caller's choice.
                BodyEnd::Expired | BodyEnd::Dropped => Outcome::Ignored,
            };
            let Ticket { head, decay, unproven, .. } = ticket;
            let rtt = head.saturating_sub(ticket.started);
            match outcome {
                Outcome::Success => {
                    if live.load.confirmed(head, rtt, decay) {
                        live.extra.trusted();
                    }
                }
                Outcome::Ignored => {}
                _ => failed(live, (at(), rtt), outcome, decay, unproven),
            }
            if let Some(watch) = live.watch.get() {
                judge(live, watch, at(), outcome, ticket.probe);
            }
            disbelieve(self, outcome);
        }
        live.end_answered(ticket.crowded);
    }

    #[inline]
    fn heard(&self, headers: &HeaderMap) {
        Self::heard(self, headers);
        #[cfg(feature = "xds")]
        if let Some(live) = self.live() {
            live.extra.overheard(headers);
        }
    }
}

/// Who fails, in whatever way, says nothing of its load that anybody should follow.
#[inline]
fn disbelieve<X>(endpoint: &Endpoint<X>, outcome: Outcome) {
    if outcome.is_failure() {
        endpoint.disbelieved();
    }
}
