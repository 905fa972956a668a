//! A hedged call: attempts beside each other, of which the first good answer wins. To the call they
//! are one attempt, with one result.

mod ending;
mod leg;
mod sending;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};

use self::leg::{Beside, Ended, Leg, Try};
use super::{
    Caller, Pinned,
    attempt::{Met, Way},
    path::{Armed, PathProj, State},
    traced::Trace,
    trail::{Trail, Visit},
};
use crate::{
    core::{Body, Error, Instant, Outgoing, Phase, earliest},
    resilience::hedge::{Course, Fate, Hedging, Word},
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
            let (ended, fate) = if self.others.is_empty() && self.first.is_some() {
                // Alone, as in most calls: what is final stays where it is, for it is large.
                let polled = self.poll_first(cx, &mut around);
                let fate = match &polled {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(response)) => Some(self.fate_of(response, &around)),
                    Poll::Ready(Err(_)) => None,
                };
                if fate == Some(Fate::Final) {
                    self.answered(&mut around);
                    return polled;
                }
                let (Poll::Ready(result), Some(leg)) = (polled, self.first.take()) else {
                    return Poll::Pending;
                };
                (Ended { leg, result, given: around.request.take() }, fate)
            } else {
                let Some(ended) = self.poll_legs(cx, &mut around) else { return Poll::Pending };
                (ended, None)
            };
            if let Some(result) = self.ended(ended, fate, &mut around) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        around: &mut Around<'_>,
    ) -> Poll<Result<Response<Body>, Error>> {
        let Some(leg) = &mut self.first else { return Poll::Pending };
        let way = Way { request: around.request, sent: around.sent.as_mut() };
        leg.attempt.poll(cx, around.caller, around.pinned, way)
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
    fn late(&self, timeout: Duration, now: Instant) -> Option<u32> {
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
