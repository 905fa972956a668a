//! A call on its way past the guards of its route.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};

use super::{
    Caller,
    chosen::{self, To},
    path::{PathProj, State, StateProj, Step},
    termed,
};
use crate::{
    core::{Body, BoxFuture, Error, ErrorKind, Held, Instant, Outgoing, Phase, Refusal, grpc},
    mesh::{
        guard::{Asked, Ended, Entry, Pass, Placed, Then},
        service::{Route, Service},
    },
    observe::{End, Verb},
};

/// Where a call is to go, before anything is done to it.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) service: Arc<Service>,
    /// The route, and the rule that took the call.
    pub(super) place: usize,
    pub(super) rule: Option<usize>,
    /// The cluster.
    pub(super) to: To,
}

impl Chosen {
    /// The guard of this number: rules of another service, then those of its target or route.
    fn guard<'a>(&'a self, route: &'a Route, number: usize) -> Option<&'a Placed> {
        let rules = match &self.to {
            To::Named(named) => &*named.rules,
            To::Place(_) | To::Nowhere => &[],
        };
        if let Some(rule) = rules.get(number) {
            return Some(rule);
        }
        let of_target = self.to.target(route).and_then(|target| target.guards.as_ref());
        let guards = of_target.or(route.guards.as_ref())?;
        guards.get(number.checked_sub(rules.len())?)
    }
}

/// A call before its guards. Boxed: most routes have none.
pub(super) struct Passing {
    chosen: Chosen,
    /// The guard that is asked next.
    next: usize,
    waiting: Option<BoxFuture<Then>>,
    passes: Passes,
}

/// What guards keep of a call under way.
#[derive(Default)]
pub(super) struct Passes {
    of_call: Vec<Box<dyn Pass>>,
    /// What faults keep of the attempt under way.
    of_attempt: Vec<Box<dyn Pass>>,
}

/// What all guards have said.
enum Passed {
    On,
    Over(Result<Response<Body>, Error>),
}

// === impl Passes ===

impl Passes {
    pub(super) fn hold_for_attempt(&mut self, pass: Box<dyn Pass>) {
        self.of_attempt.push(pass);
    }

    /// Another attempt is made.
    pub(super) fn end_attempt(&mut self) {
        self.of_attempt.clear();
    }

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

// === impl Passing ===

impl Passing {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller,
        request: &mut Request<Outgoing>,
        (started, bound): (Instant, Option<Instant>),
    ) -> Poll<Passed> {
        loop {
            let entry = match &mut self.waiting {
                Some(waiting) => {
                    let then = ready!(waiting.as_mut().poll(cx));
                    self.waiting = None;
                    then(request)
                }
                None => {
                    let Chosen { service, place, to, .. } = &self.chosen;
                    let route = service.table.get(*place);
                    let guard =
                        route.and_then(|route| Some((route, self.chosen.guard(route, self.next)?)));
                    let Some((route, guard)) = guard else { return Poll::Ready(Passed::On) };
                    self.next += 1;
                    let now = caller.inner.epoch.nanos(Instant::now());
                    let cluster = to.target(route).map(|target| &**target);
                    let asked = Asked { caller, route, cluster, request, started, bound, now };
                    Arc::clone(guard).enter(asked)
                }
            };
            match entry {
                Entry::Pass => {}
                Entry::Hold(pass) => self.passes.of_call.push(pass),
                Entry::Wait(waiting) => self.waiting = Some(waiting),
                Entry::Refuse(error) => return Poll::Ready(Passed::Over(Err(error))),
                Entry::Answer(response) => return Poll::Ready(Passed::Over(Ok(*response))),
            }
        }
    }
}

impl PathProj<'_> {
    /// Sends the call past the guards of its route.
    #[cold]
    pub(super) fn guard(&mut self, mut chosen: Chosen, started: Instant) -> Step {
        if let Some(request) = &*self.request
            && let Err(error) =
                chosen::name(&self.caller.inner, &self.caller.cell.name, &mut chosen, request)
        {
            return Step::Return(Err(error));
        }
        if let (Some(route), Some(request)) =
            (chosen.service.table.get(chosen.place), &*self.request)
        {
            let bounds = termed::early_bounds(&route.policy, request, self.caller.grpc, started);
            *self.own_bound = bounds.head;
        }
        let passes = Passes::default();
        self.state.set(State::Guards(Box::new(Passing { chosen, next: 0, waiting: None, passes })));
        Step::Again
    }

    /// Asks the guards that are left.
    #[cold]
    pub(super) fn pass(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let started = self.started.unwrap_or_else(Instant::now);
        let StateProj::Guards(passing) = self.state.as_mut().project() else {
            return Poll::Pending;
        };
        let Some(request) = &mut *self.request else { return Poll::Ready(super::path::missing()) };
        let times = (started, *self.own_bound);
        let passed = match passing.poll(cx, self.caller, request, times) {
            Poll::Pending => return self.wait(cx),
            Poll::Ready(passed) => passed,
        };
        let passes = std::mem::take(&mut passing.passes);
        self.keep(passes);
        let StateProj::Guards(passing) = self.state.as_mut().project() else {
            return Poll::Pending;
        };
        match passed {
            Passed::Over(result) => Poll::Ready(Step::Return(result)),
            Passed::On => {
                let now = Instant::now();
                let at = self.caller.inner.epoch.nanos(now);
                let chosen = passing.chosen.clone();
                self.state.set(State::Begin);
                Poll::Ready(match self.admit(chosen, started, at) {
                    Some(step) => step,
                    None => self.start(now, at),
                })
            }
        }
    }

    /// Keeps what guards have given to the end of the call.
    fn keep(&mut self, passes: Passes) {
        if !passes.of_call.is_empty() {
            *self.passes = Some(Box::new(passes));
        }
    }

    /// The deadline of a call has passed while it waited for a guard.
    #[cold]
    pub(super) fn expired_before(&mut self) -> Step {
        if let StateProj::Guards(passing) = self.state.as_mut().project() {
            // Those that have let it in are told of its end.
            let passes = std::mem::take(&mut passing.passes);
            self.keep(passes);
        }
        let started = self.started.unwrap_or_else(Instant::now);
        let allowed = self.own_bound.map(|at| at.saturating_duration_since(started));
        let allowed = super::words::length(allowed.unwrap_or_default());
        Step::Return(Err(Error::new(ErrorKind::Timeout, Phase::Admission)
            .detail(format!("the deadline of the call passed: {allowed}"))))
    }
}

/// What a call has come to by its head; nothing, where a gRPC status is still to come.
#[cold]
pub(super) fn told(verb: Verb, result: &Result<Response<Body>, Error>) -> Option<End> {
    match result {
        Ok(response) => {
            let code = if verb.is_grpc() { grpc::status_of(response.headers()) } else { None };
            End::of_head(verb, response.status().as_u16(), code)
        }
        Err(error) => Some(End::Error(error.kind())),
    }
}
