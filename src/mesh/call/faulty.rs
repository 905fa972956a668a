//! Faults of an attempt, where its route asks for some: met when it begins, inside of retries.
//!
//! An attempt that is answered by one has met no endpoint, so that none is blamed; the retry policy
//! takes the answer for that of an endpoint, for that is what is to be tested.

use std::task::{Context, Poll};

use super::{
    passage::{Passage, Passed},
    path::{Next, PathProj, State, StateProj, Step, missing},
};
use crate::{core::Instant, mesh::guard::Asked};

/// An attempt before its faults. Boxed: most routes have none.
pub(super) struct Meeting {
    passage: Passage,
    pub(super) started: Instant,
}

impl PathProj<'_> {
    /// Sends the attempt past the faults of its route.
    #[cold]
    pub(super) fn meet_faults(&mut self, now: Instant) -> Step {
        if let Some(passes) = &mut *self.passes {
            // What an earlier attempt has met is over.
            passes.leave_attempt();
        }
        let meeting = Meeting { passage: Passage::default(), started: now };
        self.state.set(State::Faulty(Box::new(meeting)));
        Step::Again
    }

    /// Asks those that are left.
    #[cold]
    pub(super) fn met_faults(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let met = match self.poll_faults(cx) {
            Poll::Pending => return self.wait(cx),
            Poll::Ready(met) => met,
        };
        Poll::Ready(match met {
            None => missing(),
            Some(Passed::On) => {
                let now = Instant::now();
                let at = self.caller.inner.epoch.nanos(now);
                self.state.set(State::Begin);
                self.launch(now, at)
            }
            Some(Passed::Over(Ok(response))) => match self.responded(&response) {
                Next::Again => Step::Again,
                Next::Late(error) => Step::Return(Err(error)),
                Next::Return | Next::Peek(_) => Step::Return(Ok(response)),
            },
            Some(Passed::Over(Err(error))) => Step::Return(Err(error)),
        })
    }

    fn poll_faults(&mut self, cx: &mut Context<'_>) -> Poll<Option<Passed>> {
        let StateProj::Faulty(meeting) = self.state.as_mut().project() else {
            return Poll::Pending;
        };
        let (Some(pinned), Some(request)) = (&*self.pinned, &mut *self.request) else {
            return Poll::Ready(None);
        };
        let Some(route) = pinned.route() else { return Poll::Ready(None) };
        let (caller, cluster) = (&*self.caller, Some(&pinned.cluster));
        let (started, bound) = (meeting.started, pinned.bounds.head);
        let now = caller.inner.epoch.nanos(started);
        let asked = Asked { caller, route, cluster, request, started, bound, now };
        let passes = &mut *self.passes;
        let hold = |holding| passes.get_or_insert_default().hold_attempt(holding);
        let faults = route.faults.as_deref().unwrap_or_default();
        meeting.passage.poll(cx, faults, asked, hold).map(Some)
    }
}
