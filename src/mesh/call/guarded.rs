//! A call on its way past the guards of its route.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::Response;

use super::{
    chosen::{self, To},
    passage::{Passage, Passed},
    path::{PathProj, State, StateProj, Step, missing},
    rare::Rare,
    termed,
};
use crate::{
    core::{Body, Error, ErrorKind, Instant, Phase, grpc},
    mesh::{guard::Asked, service::Service},
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
    /// What was read of the call to find it: its session.
    pub(super) known: Option<Box<Rare>>,
}

/// A call that waits for one of its guards. Boxed: few wait.
pub(super) struct Passing {
    chosen: Chosen,
    passage: Passage,
}

impl PathProj<'_> {
    /// Sends the call past the guards of its route, and admits it unless one of them waits; what it gives is
    /// a step to take instead of its attempt.
    #[cold]
    pub(super) fn guard(&mut self, mut chosen: Chosen, started: Instant, at: u64) -> Option<Step> {
        if let Some(request) = &*self.request
            && let Err(error) = chosen::name(self.caller, &mut chosen, request)
        {
            chosen.service.note_answered(self.caller.inner.epoch.nanos(started));
            return Some(Step::Return(Err(error)));
        }
        let (Some(route), Some(request)) =
            (chosen.service.table.get(chosen.place), &mut *self.request)
        else {
            return Some(missing());
        };
        let caller = &*self.caller;
        let bound = termed::early_bounds(&route.policy, request, caller.grpc, started).head;
        *self.own_bound = bound;
        let cluster = chosen.to.target(route).map(|target| &**target);
        let mut asked = Asked { caller, route, cluster, request, started, bound, now: at };
        let passes = &mut *self.passes;
        let hold = |holding| passes.get_or_insert_default().hold(holding);
        let mut passage = Passage::default();
        match passage.ask(chosen.to.guards(route), &mut asked, hold) {
            Some(Passed::On) => self.admit(chosen, started, at),
            Some(Passed::Over(result)) => {
                chosen.service.note_answered(caller.inner.epoch.nanos(started));
                Some(Step::Return(result))
            }
            None => {
                self.state.set(State::Guards(Box::new(Passing { chosen, passage })));
                Some(Step::Again)
            }
        }
    }

    /// Asks the guards that are left after one that waits.
    #[cold]
    pub(super) fn pass(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let started = self.started.unwrap_or_else(Instant::now);
        let StateProj::Guards(passing) = self.state.as_mut().project() else {
            return Poll::Pending;
        };
        let Some(request) = &mut *self.request else { return Poll::Ready(missing()) };
        let Passing { chosen, passage } = &mut **passing;
        let Some(route) = chosen.service.table.get(chosen.place) else {
            return Poll::Ready(missing());
        };
        let (caller, bound) = (&*self.caller, *self.own_bound);
        let cluster = chosen.to.target(route).map(|target| &**target);
        // It is read when the wait is over.
        let asked = Asked { caller, route, cluster, request, started, bound, now: 0 };
        let passes = &mut *self.passes;
        let hold = |holding| passes.get_or_insert_default().hold(holding);
        match passage.poll(cx, chosen.to.guards(route), asked, hold) {
            Poll::Pending => self.wait(cx),
            Poll::Ready(Passed::Over(result)) => {
                chosen.service.note_answered(self.caller.inner.epoch.nanos(started));
                Poll::Ready(Step::Return(result))
            }
            Poll::Ready(Passed::On) => {
                let now = Instant::now();
                let at = self.caller.inner.epoch.nanos(now);
                let known = chosen.known.take();
                let chosen = Chosen { known, ..chosen.clone() };
                self.state.set(State::Begin);
                Poll::Ready(match self.admit(chosen, started, at) {
                    Some(step) => step,
                    None => self.start(now, at),
                })
            }
        }
    }

    /// The deadline of a call has passed while it waited for a guard.
    #[cold]
    pub(super) fn expired_before(&self) -> Step {
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
        Err(error) => Some(End::of_error(error)),
    }
}
