//! The end of an attempt, or of its head: counted, told, and handed on to whoever watches its body.

use std::sync::Arc;

use http::Response;

use super::{Attempt, judged};
use crate::{
    balance::{Endpoint, InFlight, Outcome},
    core::{Awaited, ErrorKind, Held, Instant, Report, Reporter, Watch, grpc},
    mesh::{
        call::{Caller, Pinned},
        cluster::Node,
    },
    observe::{AttemptEnd, End},
    resilience::retry,
};

impl Attempt {
    /// Ends it without a response.
    pub(super) fn finish(&mut self, caller: &Caller, outcome: Outcome, error: ErrorKind) {
        if let Some(flight) = self.flight.take() {
            let now = caller.inner.epoch.nanos(Instant::now());
            flight.finish(now, outcome);
            self.failed(caller, now, error);
        }
        self.breaker = Held::Nothing;
    }

    pub(super) fn failed(&mut self, caller: &Caller, now: u64, error: ErrorKind) {
        self.tell_end(caller, now, None, Some(error), Some(End::Error(error)));
    }

    /// The one place where the end of an attempt is counted and told.
    #[inline]
    pub(super) fn tell_end(
        &mut self,
        caller: &Caller,
        now: u64,
        status: Option<u16>,
        error: Option<ErrorKind>,
        end: Option<End>,
    ) {
        self.ended = now;
        let (verb, number) = (caller.verb, self.number);
        let nanos = now.saturating_sub(self.at);
        if let Some(node) = self.endpoint.as_ref().and_then(|endpoint| endpoint.extra()) {
            let call = caller.number;
            let ended = AttemptEnd { call, verb, number, status, error, end, nanos };
            node.meter.attempt_ended(&caller.cell.name, ended);
        }
    }

    /// Records what the head already tells, and hands the rest to the end of the body.
    pub(super) fn watch<B>(
        &mut self,
        caller: &Caller,
        pinned: &Pinned,
        response: &Response<B>,
        held: Held,
    ) -> Watch {
        let now = caller.inner.epoch.nanos(Instant::now());
        let status = response.status();
        // A gRPC call's status may be here, and may come in trailers.
        let code = if caller.grpc && status.is_success() {
            grpc::status_of(response.headers())
        } else {
            None
        };
        let end = End::of_head(caller.verb, status.as_u16(), code);
        self.tell_end(caller, now, Some(status.as_u16()), None, end);
        let said = pinned.failures();
        let outcome = judged::outcome(said, caller.grpc, status, code);
        let watcher = self.flight.take().map(|mut flight| {
            let asked = || retry::wait_asked(response.headers());
            flight.answered(now, (status.as_u16(), outcome), asked);
            flight.endpoint().heard(response.headers());
            #[cfg(feature = "xds")]
            if let Some(node) = flight.endpoint().extra() {
                crate::balance::Upstream::overheard(node, response.headers());
            }
            if let Some(outcome) = outcome {
                flight.record(now, outcome);
            }
            let (watcher, mut ticket) = flight.into_ticket(now);
            ticket.codes = said.and_then(|said| said.codes().0);
            (watcher, ticket)
        });
        let (idle, idle_of_attempt) = pinned.idle();
        Watch {
            watcher,
            held,
            limits: [Held::Nothing, std::mem::replace(&mut self.breaker, Held::Nothing)],
            deadline: pinned.bounds.body,
            idle,
            idle_of_attempt,
            is_stream_bound: pinned.is_stream_bound,
            grpc: caller.grpc,
            report: Some(Report {
                to: Arc::clone(caller.meter(Some(pinned))) as Arc<dyn Reporter>,
                awaited: Awaited::Nothing,
            }),
            timer: None,
            awaiting: false,
            counted: false,
            over: false,
            is_cut: false,
        }
    }

    /// Goes on at another endpoint, which was the first to be connected to.
    #[cold]
    pub(super) fn move_to(
        &mut self,
        caller: &Caller,
        endpoint: Arc<Endpoint<Node>>,
        flight: InFlight<Node>,
        failed: Option<(Outcome, ErrorKind)>,
    ) {
        let now = caller.inner.epoch.nanos(Instant::now());
        if let Some(flight) = self.flight.replace(flight) {
            match failed {
                Some((outcome, error)) => {
                    flight.finish(now, outcome);
                    self.failed(caller, now, error);
                }
                None => {
                    drop(flight);
                    self.tell_end(caller, now, None, None, Some(End::Left));
                }
            }
        }
        self.endpoint = Some(endpoint);
        self.moved = true;
    }
}
