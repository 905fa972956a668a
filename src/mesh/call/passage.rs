//! Past a list of guards, one after the other: a call's, or an attempt's faults.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;

use crate::{
    core::{Body, BoxFuture, Error, Held, Instant, Phase, Refusal, cut},
    mesh::guard::{Asked, Ended, Entry, Pass, Placed, Then},
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

/// What guards keep of a call under way.
#[derive(Default)]
pub(super) struct Passes {
    pub(super) of_call: Vec<Box<dyn Pass>>,
    /// What faults keep of the attempt under way.
    pub(super) of_attempt: Vec<Box<dyn Pass>>,
}

// === impl Passage ===

impl Passage {
    /// Asks those that are left until one waits, all of them at the same time; what they keep is given to
    /// `hold`. Nothing: one waits.
    pub(super) fn ask(
        &mut self,
        guards: &[Placed],
        asked: &mut Asked<'_>,
        mut hold: impl FnMut(Box<dyn Pass>),
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
        mut hold: impl FnMut(Box<dyn Pass>),
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
        hold: &mut impl FnMut(Box<dyn Pass>),
    ) -> Option<Passed> {
        match entry {
            Entry::Pass => {}
            Entry::Hold(pass) => hold(pass),
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
    /// The call is over; what is given back is held by its response's body.
    #[cold]
    pub(super) fn ended(
        self,
        result: &mut Result<Response<Body>, Error>,
        end: Option<End>,
        attempts: u32,
        now: u64,
        limit: Held,
    ) -> Held {
        let mut held = vec![limit];
        let is_injected =
            |response: &Response<Body>| response.extensions().get() == Some(&Refusal::Fault);
        let is_made_here = result.as_ref().is_ok_and(|it| attempts == 0 || is_injected(it));
        // The last one that let it in is the first that it leaves.
        for pass in self.of_call.into_iter().chain(self.of_attempt).rev() {
            held.push(pass.ended(Ended { result, end, is_made_here, now }));
        }
        held.retain(|held| !matches!(held, Held::Nothing));
        if held.is_empty() { Held::Nothing } else { Held::Owned(Box::new(held)) }
    }
}
