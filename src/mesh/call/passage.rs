//! Past a list of guards, one after the other: a call's, or an attempt's faults.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;

use crate::{
    core::{Body, BoxFuture, Error, Held, Instant, Phase, Refusal, cut},
    mesh::guard::{Asked, Ended, Entry, Holding, Placed, Then},
    observe::End,
};

/// How far it has come.
#[derive(Default)]
pub(super) struct Passage {
    /// The guard that is asked next.
    next: usize,
    waiting: Option<BoxFuture<Then>>,
    /// The end of the mesh, from when something is waited for.
    over: Option<BoxFuture<()>>,
}

/// What all of them have said.
pub(super) enum Passed {
    On,
    Over(Result<Response<Body>, Error>),
}

/// So many guards of a call may keep something without a list for it.
const FEW: usize = 4;

/// What guards keep of a call under way. Once its head is there, what they hold to the end of its body: the
/// one box is for both.
#[derive(Default)]
pub(super) struct Passes {
    /// The places under the limits of its route and its service, once its head is there.
    _limit: Held,
    few: [Kept; FEW],
    /// Of guards beyond the first few.
    more: Vec<Kept>,
    /// What faults keep of the attempt under way.
    of_attempt: Vec<Kept>,
}

/// What one of them keeps.
#[derive(Default)]
enum Kept {
    #[default]
    Nothing,
    /// While its call is under way.
    Call(Holding),
    /// To the end of its body, when it is dropped.
    Body { _held: Held },
}

// === impl Passage ===

impl Passage {
    /// Asks those that are left until one waits, all of them at the same time; what they keep is given to
    /// `hold`. Nothing: one waits.
    pub(super) fn ask(
        &mut self,
        guards: &[Placed],
        asked: &mut Asked<'_>,
        mut hold: impl FnMut(Holding),
    ) -> Option<Passed> {
        while let Some(guard) = guards.get(self.next) {
            self.next += 1;
            let entry = Arc::clone(guard).enter(asked.again());
            if let Some(passed) = self.met(entry, guards, &mut hold) {
                return Some(passed);
            }
            if self.waiting.is_some() {
                return None;
            }
        }
        Some(Passed::On)
    }

    /// Waits for the one that waits, and asks those that are left.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        guards: &[Placed],
        mut asked: Asked<'_>,
        mut hold: impl FnMut(Holding),
    ) -> Poll<Passed> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let Poll::Ready(then) = waiting.as_mut().poll(cx) else {
                    let end = &asked.caller.inner.hub.end;
                    ready!(self.over.get_or_insert_with(|| end.wait()).as_mut().poll(cx));
                    return Poll::Ready(Passed::Over(Err(cut(Phase::Admission))));
                };
                self.waiting = None;
                asked.now = asked.caller.inner.epoch.nanos(Instant::now());
                let entry = then(asked.request);
                if let Some(passed) = self.met(entry, guards, &mut hold) {
                    return Poll::Ready(passed);
                }
            } else if let Some(passed) = self.ask(guards, &mut asked, &mut hold) {
                return Poll::Ready(passed);
            }
        }
    }

    /// What the guard that was asked last has said, if that ends the passage.
    fn met(
        &mut self,
        entry: Entry,
        guards: &[Placed],
        hold: &mut impl FnMut(Holding),
    ) -> Option<Passed> {
        match entry {
            Entry::Pass => {}
            Entry::Hold(holding) => hold(holding),
            Entry::Wait(waiting) => self.waiting = Some(waiting),
            Entry::Refuse(error) => {
                let asked = self.next.checked_sub(1).and_then(|place| guards.get(place));
                let error = match asked {
                    Some(placed) => placed.signed(error),
                    None => error,
                };
                return Some(Passed::Over(Err(error)));
            }
            Entry::Answer(response) => return Some(Passed::Over(Ok(*response))),
        }
        None
    }
}

// === impl Passes ===

impl Passes {
    /// A guard of the call keeps this.
    pub(super) fn hold(&mut self, holding: Holding) {
        let kept = Kept::Call(holding);
        match self.few.iter_mut().find(|it| matches!(it, Kept::Nothing)) {
            Some(free) => *free = kept,
            None => self.more.push(kept),
        }
    }

    /// A fault of the attempt under way keeps this.
    pub(super) fn hold_attempt(&mut self, holding: Holding) {
        self.of_attempt.push(Kept::Call(holding));
    }

    /// The attempt is over, and others may follow.
    pub(super) fn leave_attempt(&mut self) {
        self.of_attempt.clear();
    }

    /// The call is over; what is given back is held by its response's body.
    #[cold]
    pub(super) fn ended(
        mut self: Box<Self>,
        result: &mut Result<Response<Body>, Error>,
        end: Option<End>,
        attempts: u32,
        now: u64,
        limit: Held,
    ) -> Held {
        let is_injected =
            |response: &Response<Body>| response.extensions().get() == Some(&Refusal::Fault);
        let is_made_here = result.as_ref().is_ok_and(|it| attempts == 0 || is_injected(it));
        let mut holds = false;
        let Self { few, more, of_attempt, .. } = &mut *self;
        // The last one that let it in is the first that it leaves.
        for kept in few.iter_mut().chain(more).chain(of_attempt).rev() {
            if let Kept::Call(holding) = std::mem::take(kept) {
                let held = holding.ended(Ended { result, end, is_made_here, now });
                if !matches!(held, Held::Nothing) {
                    *kept = Kept::Body { _held: held };
                    holds = true;
                }
            }
        }
        if !holds {
            return limit;
        }
        self._limit = limit;
        Held::Owned(self)
    }
}
