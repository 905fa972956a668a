//! One more attempt beside those under way: whether it may be sent, and how.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;

use super::{
    Around, Hedged,
    leg::{Beside, Leg, Try},
};
use crate::{
    balance::Endpoint,
    core::{Error, HedgeRefusal, Instant, Unrepeatable},
    mesh::{
        call::{
            attempt::{Attempt, Beginning, Way},
            failover, head,
            staged::StagedAttempt,
            termed::ATTEMPTS,
            traced,
            trail::Trail,
        },
        cluster::Node,
    },
};

impl Hedged {
    /// Sends one more beside those under way.
    pub(super) fn send(&mut self, around: &mut Around<'_>) -> Result<u64, HedgeRefusal> {
        let (caller, pinned) = (around.caller, around.pinned);
        let inner = &caller.inner;
        let (Some(armed), Some(policy)) = (around.armed.as_deref(), pinned.policy()) else {
            return Err(HedgeRefusal::BodyTooLarge);
        };
        armed.body.check().map_err(refusal)?;
        let tried = self.tried(around.trail);
        if inner.is_closed()
            || pinned.over().is_some_and(|over| over.strict)
            || !failover::has_other(caller, pinned, None, &tried)
        {
            return Err(HedgeRefusal::NoEndpoint);
        }
        let now = Instant::now();
        let at = inner.epoch.nanos(now);
        let grant = self.hedging.pay(at, || {
            let core = pinned.cluster.core.load();
            policy.budget.withdraw(at, core.slot(pinned.priority()))
        })?;
        let body = match armed.body.beside() {
            Ok(body) => body,
            Err(why) => {
                // It has grown, or failed, since it was looked at.
                self.hedging.refund(at);
                policy.budget.refund(at, grant);
                return Err(refusal(why));
            }
        };
        let mut request = armed.head.request(body);
        around.trail.number += 1;
        let number = around.trail.number;
        let bounds = pinned.bounds.of_attempt(policy.attempt_timeout, now);
        bounds.write(request.headers_mut(), caller.grpc, now);
        head::write_attempts(request.headers_mut(), caller.grpc, around.trail.earlier().max(1));
        if pinned.terms().is_some_and(|terms| terms.send_attempt_count) {
            let mut count = HeaderValue::from(around.trail.counted().max(1));
            count.set_sensitive(true);
            request.headers_mut().insert(ATTEMPTS, count);
        }
        let after = Duration::from_nanos(at.saturating_sub(self.began));
        if let Some(trace) = around.trace {
            trace.hedge(after);
        }
        let beside = if let Some(stage) = &inner.stages.attempt {
            traced::attempt(around.trace, caller, &mut request, number, None);
            let staged = StagedAttempt::new(stage, caller, pinned, request, &tried, number);
            let mut beside = Beside::room(None);
            *beside.as_mut().way().leg =
                Some(Leg::paid(Try::Staged(Box::new(staged)), number, grant));
            beside
        } else {
            let mut beside = Beside::room(Some(request));
            let mut room = beside.as_mut().way();
            let way = Way { request: room.request, sent: room.sent.as_mut() };
            let of = Beginning { caller, pinned, tried: &tried, number, now, at };
            match Attempt::start(of, way, around.trace) {
                Ok(attempt) => {
                    *room.leg = Some(Leg::paid(Try::Own(attempt), number, grant));
                    beside
                }
                Err(failed) => {
                    // It has cost nothing.
                    self.hedging.refund(at);
                    policy.budget.refund(at, grant);
                    around.trail.number -= 1;
                    if let Some(trace) = around.trace {
                        trace.turn(self.number);
                    }
                    return Err(not_begun(&failed.error));
                }
            }
        };
        self.others.push(beside);
        self.course.send(at);
        if let Some(armed) = &mut around.armed {
            // A retry is not hedged again.
            armed.hedges = false;
        }
        let call = (&caller.cell.name, caller.number);
        caller.meter(Some(pinned)).hedge(call, number, after);
        Ok(at)
    }

    /// One was due, and is not sent: nor is any other by itself.
    pub(super) fn refused(&mut self, reason: HedgeRefusal, around: &Around<'_>) {
        self.course.refused();
        self.bounded = true;
        self.legs_mut().for_each(Leg::bind);
        let caller = around.caller;
        let call = (&caller.cell.name, caller.number);
        caller.meter(Some(around.pinned)).hedge_refused(call, reason);
    }

    /// What the call has met, and where it is.
    fn tried(&self, trail: &Trail) -> Vec<Arc<Endpoint<Node>>> {
        let mut tried = trail.tried.clone();
        let kept = self.kept.iter().map(|kept| &kept.leg);
        tried.extend(self.legs().chain(kept).filter_map(|leg| leg.attempt.endpoint()));
        tried
    }
}

/// Why an attempt did not begin.
fn not_begun(error: &Error) -> HedgeRefusal {
    match error.refusal() {
        Some(_) => HedgeRefusal::Limit,
        None => HedgeRefusal::NoEndpoint,
    }
}

fn refusal(why: Unrepeatable) -> HedgeRefusal {
    match why {
        Unrepeatable::Failed => HedgeRefusal::BodyFailed,
        Unrepeatable::TooLarge => HedgeRefusal::BodyTooLarge,
    }
}
