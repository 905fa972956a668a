//! A hedged call: attempts beside each other, of which the first good answer wins. To the call they
//! are one attempt, with one result.

mod leg;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response};

use self::leg::{Beside, Ended, Leg, Try};
use super::{
    Caller, Pinned,
    attempt::{Attempt, Met, Way},
    failover, head,
    outcome::{attempt_text, unrepeatable},
    path::{Armed, PathProj, State},
    staged::StagedAttempt,
    termed::ATTEMPTS,
    traced::{self, Trace},
    trail::{Trail, Visit},
};
use crate::{
    balance::Endpoint,
    core::{
        Body, Error, ErrorKind, HedgeRefusal, Instant, Outgoing, Phase, RetryRefusal, earliest,
        grpc,
    },
    mesh::cluster::Node,
    observe::trace::Answer,
    resilience::{
        hedge::{Course, Fate, Hedging, Word},
        retry,
    },
    transport::SendFuture,
};

/// The attempts of a call that are under way.
pub(super) struct Hedged {
    hedging: Arc<Hedging>,
    course: Course,
    /// The one that is sent with the call's own request, in its room.
    first: Option<Leg>,
    /// The others, each in a box of its own: few calls have any.
    others: Vec<Pin<Box<Beside>>>,
    /// When the first was sent, in nanoseconds since the mesh's epoch, and its number.
    began: u64,
    number: u32,
    /// Another is to be sent now.
    due: bool,
    /// Nothing is sent any more beside one whose time is over.
    bounded: bool,
    /// The last failure, while its replacement is awaited.
    kept: Option<Box<Ended>>,
    over: Over,
}

/// What is known of the attempt that gave the result.
#[derive(Default)]
struct Over {
    visit: Option<Visit>,
    ended: Option<u64>,
    met: Option<Met>,
}

/// The call around them.
pub(super) struct Around<'a> {
    pub(super) caller: &'a Caller,
    pub(super) pinned: &'a Pinned,
    pub(super) armed: Option<&'a mut Armed>,
    pub(super) trail: &'a mut Trail,
    pub(super) trace: &'a mut Trace,
    pub(super) request: &'a mut Option<Request<Outgoing>>,
    pub(super) sent: Pin<&'a mut Option<SendFuture>>,
}

// === impl Hedged ===

impl Hedged {
    /// The first attempt is under way since `now`.
    fn new(
        hedging: &Arc<Hedging>,
        caller: &Caller,
        first: Try,
        number: u32,
        now: u64,
    ) -> Box<Self> {
        let course = hedging.begin(now, &caller.inner.random);
        Box::new(Self {
            hedging: Arc::clone(hedging),
            due: course.is_due(now),
            course,
            first: Some(Leg::new(first, number)),
            others: Vec::new(),
            began: now,
            number,
            bounded: !hedging.goes_on(),
            kept: None,
            over: Over::default(),
        })
    }

    /// Goes on with all of them; gives what the call's attempt comes to.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut around: Around<'_>,
    ) -> Poll<Result<Response<Body>, Error>> {
        loop {
            while self.due {
                self.due = false;
                match self.send(&mut around) {
                    Ok(now) => {
                        if let Some(kept) = self.kept.take() {
                            Self::give_up(*kept, &mut around);
                        }
                        self.due = self.course.is_due(now);
                    }
                    Err(reason) => {
                        self.refused(reason, &around);
                        if let Some(kept) = self.kept.take() {
                            return Poll::Ready(self.result(*kept, &mut around));
                        }
                    }
                }
            }
            let Some(ended) = self.poll_legs(cx, &mut around) else { return Poll::Pending };
            if let Some(result) = self.ended(ended, &mut around) {
                return Poll::Ready(result);
            }
        }
    }

    /// The next moment at which something is to be done.
    pub(super) fn bound(&self, caller: &Caller, pinned: &Pinned) -> Option<Instant> {
        let timeout = pinned.policy().and_then(|policy| policy.attempt_timeout);
        let ends = self.legs().filter_map(|leg| leg.ends(timeout?));
        let next = self.course.next().map(|next| caller.inner.epoch.at(next));
        ends.fold(next, |least, end| earliest(least, Some(end)))
    }

    /// Such a moment has come; false: nothing is left to wait for, and all of them are over.
    pub(super) fn fired(&mut self, around: &mut Around<'_>, now: Instant) -> bool {
        let at = around.caller.inner.epoch.nanos(now);
        self.due |= self.course.is_due(at);
        let Some(timeout) = around.pinned.policy().and_then(|policy| policy.attempt_timeout) else {
            return true;
        };
        while let Some(number) = self.late(timeout, now) {
            let is_alone = self.legs().nth(1).is_none();
            if !self.bounded {
                if !self.course.outlived(at) {
                    return false;
                }
                match self.send(around) {
                    Ok(_) => {
                        let late = self.legs_mut().filter(|leg| leg.number == number);
                        late.for_each(Leg::outlive);
                    }
                    Err(reason) => self.refused(reason, around),
                }
                continue;
            }
            let is_planned = self.course.failed(at, Word::Nothing);
            if is_alone {
                // Its successor is sent before it ends, or it is the call's result.
                if !is_planned {
                    return false;
                }
                if let Err(reason) = self.send(around) {
                    self.refused(reason, around);
                    return false;
                }
            }
            self.due |= self.course.is_due(at);
            self.expire_one(number, around, now);
        }
        true
    }

    /// All that are under way end by our own timeout.
    pub(super) fn expire(&mut self, around: &mut Around<'_>, now: Instant) {
        if let Some(kept) = self.kept.take() {
            Self::give_up(*kept, around);
        }
        let mut numbers: Vec<_> = self.legs().map(|leg| leg.number).collect();
        numbers.sort_unstable();
        let last = numbers.pop();
        for number in numbers {
            self.expire_one(number, around, now);
        }
        // The call itself notes the last.
        if let Some(number) = last
            && let Some(leg) = self.cut(number, around, now)
        {
            leg.trace(around.trace);
            self.over.visit = leg.visit();
        }
    }

    /// The caller leaves.
    pub(super) fn left(&mut self, caller: &Caller) {
        if self.first.is_some() {
            let now = caller.inner.epoch.nanos(Instant::now());
            self.hedging.unanswered(now, now.saturating_sub(self.began));
        }
        self.legs_mut().for_each(|leg| leg.attempt.left(caller));
    }

    /// The endpoint of the result, or of the newest attempt under way.
    pub(super) fn visit(&self) -> Option<Visit> {
        let newest = || self.legs().max_by_key(|leg| leg.number).and_then(Leg::visit);
        self.over.visit.clone().or_else(newest)
    }

    /// When the head of the result came, in nanoseconds since the mesh's epoch.
    pub(super) fn ended_at(&self) -> Option<u64> {
        self.over.ended
    }

    /// Why there is no response.
    pub(super) fn met(&self) -> Met {
        self.over.met.unwrap_or(Met::Fatal)
    }

    /// What it waits for.
    pub(super) fn phase(&self) -> Phase {
        self.legs().max_by_key(|leg| leg.number).map_or(Phase::Headers, |leg| leg.attempt.phase())
    }

    fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.first.iter().chain(self.others.iter().filter_map(|beside| beside.leg()))
    }

    fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        let others = self.others.iter_mut().filter_map(|beside| beside.as_mut().leg_mut());
        self.first.iter_mut().chain(others)
    }

    fn is_under_way(&self) -> bool {
        self.legs().next().is_some()
    }

    /// An attempt whose time is over.
    fn late(&self, timeout: std::time::Duration, now: Instant) -> Option<u32> {
        let mut legs = self.legs();
        legs.find(|leg| leg.ends(timeout).is_some_and(|end| end <= now)).map(|leg| leg.number)
    }

    /// The first of them that ends.
    fn poll_legs(&mut self, cx: &mut Context<'_>, around: &mut Around<'_>) -> Option<Ended> {
        let (caller, pinned) = (around.caller, around.pinned);
        if let Some(leg) = &mut self.first {
            let way = Way { request: around.request, sent: around.sent.as_mut() };
            if let Poll::Ready(result) = leg.attempt.poll(cx, caller, pinned, way) {
                let leg = self.first.take()?;
                return Some(Ended { leg, result, given: around.request.take() });
            }
        }
        for place in 0..self.others.len() {
            let beside = self.others.get_mut(place)?;
            if let Poll::Ready(ended) = beside.as_mut().poll(cx, caller, pinned) {
                self.others.swap_remove(place);
                return Some(ended);
            }
        }
        None
    }

    /// An attempt has ended: the result, if that is one.
    fn ended(
        &mut self,
        mut ended: Ended,
        around: &mut Around<'_>,
    ) -> Option<Result<Response<Body>, Error>> {
        let now = around.caller.inner.epoch.nanos(Instant::now());
        let is_refused = self.unsent(&mut ended, around, now);
        let fate = self.fate(&ended, around);
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
        let Some(policy) = around.pinned.policy() else { return Fate::Final };
        let response = match &ended.result {
            Ok(response) => response,
            // Whatever it has met, the others may be answered.
            Err(_) if ended.leg.attempt.met() == Met::Fatal && !self.is_under_way() => {
                return Fate::Final;
            }
            Err(_) => return Fate::Open(Word::Nothing),
        };
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
    fn result(&mut self, ended: Ended, around: &mut Around<'_>) -> Result<Response<Body>, Error> {
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
    fn give_up(ended: Ended, around: &mut Around<'_>) {
        let Ended { leg, result, .. } = ended;
        leg.trace(around.trace);
        if around.pinned.is_throttled()
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
                    trace.failed(error.kind());
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
    fn expire_one(&mut self, number: u32, around: &mut Around<'_>, now: Instant) {
        let Some(leg) = self.cut(number, around, now) else { return };
        leg.trace(around.trace);
        if let Some(trace) = around.trace {
            trace.failed(ErrorKind::Timeout);
        }
        if let Some(visit) = leg.visit() {
            around.trail.note(visit, "attempt timeout");
        }
    }

    /// Ends one by our own timeout.
    fn cut(&mut self, number: u32, around: &mut Around<'_>, now: Instant) -> Option<Leg> {
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

    /// Sends one more beside those under way.
    fn send(&mut self, around: &mut Around<'_>) -> Result<u64, HedgeRefusal> {
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
        let body = armed.body.beside().map_err(refusal)?;
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
        let after = std::time::Duration::from_nanos(at.saturating_sub(self.began));
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
            match Attempt::start(caller, pinned, way, &tried, number, (now, at), around.trace) {
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
    fn refused(&mut self, reason: HedgeRefusal, around: &Around<'_>) {
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

impl PathProj<'_> {
    /// Others may be sent beside the attempt that has just begun, unless the call has had some.
    #[cold]
    pub(super) fn hedge(&mut self, at: u64) {
        let policy = self.pinned.as_ref().and_then(Pinned::policy);
        let hedging = policy.and_then(|policy| policy.hedging.as_ref());
        let (Some(hedging), Some(armed)) = (hedging, &*self.armed) else { return };
        if !armed.hedges {
            return;
        }
        let attempt = match std::mem::replace(self.state.as_mut().get_mut(), State::Done) {
            State::Attempt(attempt) => Try::Own(attempt),
            State::Staged(attempt) => Try::Staged(attempt),
            _ => return,
        };
        let group = Hedged::new(hedging, self.caller, attempt, self.trail.number, at);
        self.state.set(State::Hedged(group));
    }
}

/// Why an attempt did not begin.
fn not_begun(error: &Error) -> HedgeRefusal {
    match error.refusal() {
        Some(_) => HedgeRefusal::Limit,
        None => HedgeRefusal::NoEndpoint,
    }
}

fn refusal(why: crate::core::Unrepeatable) -> HedgeRefusal {
    match unrepeatable(why) {
        RetryRefusal::BodyFailed => HedgeRefusal::BodyFailed,
        _ => HedgeRefusal::BodyTooLarge,
    }
}
