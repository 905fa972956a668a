//! The end of one of the attempts: it is the call's, or the others go on.

use std::pin::Pin;

use http::Response;

use super::{
    Around, Hedged, Over,
    leg::{Beside, Ended, Leg},
};
use crate::{
    core::{Body, Error, ErrorKind, HedgeRefusal, Instant, grpc},
    mesh::call::{
        attempt::{Met, Way},
        outcome::attempt_text,
    },
    observe::trace::Answer,
    resilience::{
        hedge::{Fate, Word},
        retry,
    },
};

impl Hedged {
    /// The call's own attempt, with none beside it, has given the call's answer.
    pub(super) fn answered(&mut self, around: &mut Around<'_>) {
        let Some(leg) = &self.first else { return };
        let ended = leg.attempt.ended();
        let now = ended.unwrap_or_else(|| around.caller.inner.epoch.nanos(Instant::now()));
        self.hedging.answered(now, now.saturating_sub(self.began));
        leg.trace(around.trace);
        self.over = Over { visit: leg.visit(), ended, met: Some(leg.attempt.met()) };
        self.first = None;
        *around.request = None;
    }

    /// An attempt has ended: the result, if that is one. What its answer says of the call may be known
    /// already.
    pub(super) fn ended(
        &mut self,
        mut ended: Ended,
        known: Option<Fate>,
        around: &mut Around<'_>,
    ) -> Option<Result<Response<Body>, Error>> {
        let now = around.caller.inner.epoch.nanos(Instant::now());
        let is_refused = self.unsent(&mut ended, around, now);
        let fate = known.unwrap_or_else(|| self.fate(&ended, around));
        if ended.leg.number == self.number {
            let took = ended.leg.attempt.ended().unwrap_or(now).saturating_sub(self.began);
            match fate {
                Fate::Final if ended.result.is_ok() => self.hedging.answered(now, took),
                _ => self.hedging.unanswered(now, took),
            }
        }
        let Fate::Open(word) = fate else {
            self.leave_others(around, now);
            if ended.result.is_ok() && ended.leg.number != self.number {
                around.caller.meter(Some(around.pinned)).hedge_won();
            }
            return Some(self.result(ended, around));
        };
        let others = self.is_under_way();
        // Alone, what is known not to have been worked on is sent again for nothing by the call.
        let is_safe = matches!(ended.leg.attempt.met(), Met::NeverSent | Met::Refused);
        let is_the_calls = ended.result.is_err() && !others && is_safe;
        let is_planned = !is_the_calls && !is_refused && self.course.failed(now, word);
        if others {
            Self::give_up(ended, around);
        } else if is_planned {
            self.kept = Some(Box::new(ended));
        } else {
            return Some(self.result(ended, around));
        }
        self.due |= self.course.is_due(now);
        None
    }

    /// Whether a limit has refused it after it had begun, such as that of attempts that wait for a
    /// connection: it was not sent, and costs nothing.
    fn unsent(&mut self, ended: &mut Ended, around: &mut Around<'_>, at: u64) -> bool {
        if ended.result.as_ref().err().and_then(Error::refusal).is_none() {
            return false;
        }
        let budget = around.pinned.policy().map(|policy| &policy.budget);
        if ended.leg.number != self.number {
            self.hedging.refund(at);
            if let Some(budget) = budget {
                budget.refund(at, ended.leg.take_grant());
            }
            self.refused(HedgeRefusal::Limit, around);
        } else if self.is_under_way() && std::mem::take(&mut around.trail.is_paid) {
            // The call itself gives back what its result has cost, and this is not its result.
            let grant = std::mem::take(&mut around.trail.grant);
            if let Some(budget) = budget {
                budget.refund(at, grant);
            }
        }
        true
    }

    /// What an attempt's end says of the call.
    fn fate(&self, ended: &Ended, around: &Around<'_>) -> Fate {
        match &ended.result {
            Ok(response) => self.fate_of(response, around),
            Err(_) if around.pinned.policy().is_none() => Fate::Final,
            // Whatever it has met, the others may be answered.
            Err(_) if ended.leg.attempt.met() == Met::Fatal && !self.is_under_way() => Fate::Final,
            Err(_) => Fate::Open(Word::Nothing),
        }
    }

    /// What an answer says of the call.
    pub(super) fn fate_of(&self, response: &Response<Body>, around: &Around<'_>) -> Fate {
        let Some(policy) = around.pinned.policy() else { return Fate::Final };
        let (status, headers) = (response.status(), response.headers());
        let code = if around.caller.grpc { grpc::status_of(headers) } else { None };
        //= gRFC A6 §"Commit": a response head that is not the status itself commits the call
        let met = match code {
            Some(code) => retry::Met::GrpcStatus { code, headers },
            None => retry::Met::Response { status, headers },
        };
        self.hedging.fate(met, &policy.retry, &around.caller.inner.random)
    }

    /// Another has won: those still under way are cancelled, which nobody is blamed for.
    fn leave_others(&mut self, around: &mut Around<'_>, now: u64) {
        if self.first.is_some() {
            self.hedging.unanswered(now, now.saturating_sub(self.began));
            around.sent.set(None);
            *around.request = None;
        }
        for leg in self.legs_mut() {
            leg.attempt.left(around.caller);
            leg.trace(around.trace);
            if let Some(trace) = around.trace {
                trace.lost(leg.number);
            }
        }
        self.first = None;
        self.others.clear();
    }

    /// What an attempt has met is what the call meets.
    pub(super) fn result(
        &mut self,
        ended: Ended,
        around: &mut Around<'_>,
    ) -> Result<Response<Body>, Error> {
        let Ended { leg, result, given } = ended;
        leg.trace(around.trace);
        if leg.number != self.number {
            // What the call has paid for its own attempt is spent, whatever became of this one.
            around.trail.is_paid = false;
        }
        self.over =
            Over { visit: leg.visit(), ended: leg.attempt.ended(), met: Some(leg.attempt.met()) };
        *around.request = given.filter(|_| result.is_err());
        result
    }

    /// An attempt is over, and others go on.
    pub(super) fn give_up(ended: Ended, around: &mut Around<'_>) {
        let Ended { leg, result, .. } = ended;
        leg.trace(around.trace);
        if around.pinned.is_throttled
            && let Some(policy) = around.pinned.policy()
        {
            //= gRFC A6 §"Throttling Retry Attempts and Hedged RPCs": each failure counts
            let failed = match &result {
                Ok(answer) => {
                    policy.retry.is_failure(retry::Met::of(answer.status(), answer.headers()))
                }
                Err(_) if leg.attempt.met() == Met::Reset => {
                    policy.retry.is_failure(retry::Met::Reset)
                }
                Err(_) => None,
            };
            if let Some(failed) = failed {
                policy.budget.ended(failed);
            }
        }
        let is_unworked = match &result {
            Ok(_) => false,
            Err(error) => {
                matches!(leg.attempt.met(), Met::NeverSent | Met::Refused)
                    || error.refusal().is_some()
            }
        };
        around.trail.worked_on |= !is_unworked;
        let met = match &result {
            Ok(response) => {
                let (status, version) = (response.status(), response.version());
                let code =
                    if around.caller.grpc { grpc::status_of(response.headers()) } else { None };
                if let Some(trace) = around.trace {
                    trace.answered(Answer { status, version, code });
                }
                match code {
                    Some(code) => format!("grpc {code}"),
                    None => format!("status {}", status.as_u16()),
                }
            }
            Err(error) => {
                if let Some(trace) = around.trace {
                    trace.failed(error.kind(), error.grpc_code());
                }
                if leg.attempt.met() == Met::NeverSent || error.refusal().is_some() {
                    around.trail.never_sent += 1;
                }
                attempt_text(error)
            }
        };
        if let Some(visit) = leg.visit() {
            around.trail.note(visit, &met);
        }
    }

    /// Ends one by our own timeout, and gives it up.
    pub(super) fn expire_one(&mut self, number: u32, around: &mut Around<'_>, now: Instant) {
        let Some(leg) = self.cut(number, around, now) else { return };
        leg.trace(around.trace);
        if let Some(trace) = around.trace {
            trace.failed(ErrorKind::Timeout, ErrorKind::Timeout.grpc_code());
        }
        around.trail.worked_on |= leg.attempt.may_be_worked_on();
        if let Some(visit) = leg.visit() {
            around.trail.note(visit, "attempt timeout");
        }
    }

    /// Ends one by our own timeout.
    pub(super) fn cut(
        &mut self,
        number: u32,
        around: &mut Around<'_>,
        now: Instant,
    ) -> Option<Leg> {
        let caller = around.caller;
        if self.first.as_ref().is_some_and(|leg| leg.number == number) {
            let at = caller.inner.epoch.nanos(now);
            self.hedging.unanswered(at, at.saturating_sub(self.began));
            let mut leg = self.first.take()?;
            let way = Way { request: around.request, sent: around.sent.as_mut() };
            leg.attempt.expire(caller, way, now);
            if !self.others.is_empty() {
                *around.request = None;
            }
            return Some(leg);
        }
        let of = |beside: &Pin<Box<Beside>>| beside.leg().is_some_and(|leg| leg.number == number);
        let place = self.others.iter().position(of)?;
        let mut beside = self.others.swap_remove(place);
        beside.as_mut().expire(caller, now);
        beside.as_mut().take()
    }
}
