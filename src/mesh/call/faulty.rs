//! Faults of an attempt, where its route asks for some: met when it begins, inside of retries.
//!
//! An attempt that is answered by one has met no endpoint, so that none is blamed; the retry policy
//! takes the answer for that of an endpoint, for that is what is to be tested.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;

use super::{
    guarded::Passes,
    path::{Next, PathProj, State, StateProj, Step, missing},
};
use crate::{
    core::{Body, BoxFuture, Error, Instant},
    mesh::guard::{Asked, Entry, Then},
};

/// An attempt before its faults. Boxed: most routes have none.
pub(super) struct Meeting {
    /// The one that is asked next.
    next: usize,
    waiting: Option<BoxFuture<Then>>,
    pub(super) started: Instant,
}

/// What they have said.
enum Met {
    On,
    Over(Result<Response<Body>, Error>),
}

impl PathProj<'_> {
    /// Sends the attempt past the faults of its route.
    #[cold]
    pub(super) fn meet_faults(&mut self, now: Instant) -> Step {
        if let Some(passes) = &mut *self.passes {
            // What an earlier attempt has met is over.
            passes.end_attempt();
        }
        let meeting = Meeting { next: 0, waiting: None, started: now };
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
            Some(Met::On) => {
                let now = Instant::now();
                let at = self.caller.inner.epoch.nanos(now);
                self.state.set(State::Begin);
                self.launch(now, at)
            }
            Some(Met::Over(Ok(response))) => match self.responded(&response) {
                Next::Again => Step::Again,
                Next::Return | Next::Peek(_) => Step::Return(Ok(response)),
            },
            Some(Met::Over(Err(error))) => Step::Return(Err(error)),
        })
    }

    fn poll_faults(&mut self, cx: &mut Context<'_>) -> Poll<Option<Met>> {
        let StateProj::Faulty(meeting) = self.state.as_mut().project() else {
            return Poll::Pending;
        };
        let (Some(pinned), Some(request)) = (&*self.pinned, &mut *self.request) else {
            return Poll::Ready(None);
        };
        let Some(route) = pinned.route() else { return Poll::Ready(None) };
        loop {
            let entry = match &mut meeting.waiting {
                Some(waiting) => {
                    let then = ready!(Pin::new(waiting).poll(cx));
                    meeting.waiting = None;
                    then(request)
                }
                None => {
                    let fault = route.faults.as_ref().and_then(|faults| faults.get(meeting.next));
                    let Some(fault) = fault else { return Poll::Ready(Some(Met::On)) };
                    meeting.next += 1;
                    let now = self.caller.inner.epoch.nanos(Instant::now());
                    let (caller, started) = (&*self.caller, meeting.started);
                    let cluster = Some(&pinned.cluster);
                    let bound = pinned.bounds.head;
                    let asked = Asked { caller, route, cluster, request, started, bound, now };
                    Arc::clone(fault).enter(asked)
                }
            };
            match entry {
                Entry::Pass => {}
                Entry::Hold(pass) => {
                    let passes = self.passes.get_or_insert_with(|| Box::new(Passes::default()));
                    passes.hold_for_attempt(pass);
                }
                Entry::Wait(waiting) => meeting.waiting = Some(waiting),
                Entry::Refuse(error) => return Poll::Ready(Some(Met::Over(Err(error)))),
                Entry::Answer(response) => return Poll::Ready(Some(Met::Over(Ok(*response)))),
            }
        }
    }
}
