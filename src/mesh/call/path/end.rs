//! The end of a call: its last words, or that its caller has left.

use std::{pin::Pin, sync::Arc, time::Duration};

use http::Response;

use super::{Path, PathProj, State, StateProj};
use crate::{
    core::{Body, Error, Held, Instant, Reporter, grpc},
    mesh::call::{Caller, guarded},
    observe::{CallEnd, End, RouteMeter, Verb},
    resilience::budget::Grant,
};

impl PathProj<'_> {
    /// The last words of the call: its place under the limit, its event, its error's context.
    pub(super) fn end(&mut self, result: &mut Result<Response<Body>, Error>) {
        let (attempts, told) = (self.trail.number, self.trail.counted().max(1));
        let rare = self.pinned.as_mut().and_then(|pinned| {
            pinned.report(told);
            pinned.rare.take()
        });
        let is_told_who = rare.as_ref().is_some_and(|rare| rare.is_told_who());
        let visit = if is_told_who { self.visit() } else { None };
        let Caller { inner, cell, verb, number: call, .. } = &*self.caller;
        let mut limit = std::mem::take(self.limit);
        self.trail.grant = Grant::default();
        let head = if result.is_ok() { *self.ended } else { None };
        let now = head.unwrap_or_else(|| inner.epoch.nanos(Instant::now()));
        let nanos = now.saturating_sub(*self.began);
        let meter = self.caller.meter(self.pinned.as_ref());
        let (status, error, end);
        if let Some(passes) = self.passes.take() {
            let told = guarded::told(*verb, result);
            limit = passes.ended(result, told, attempts, now, limit);
        }
        match result {
            Ok(response) => {
                (status, error) = (Some(response.status().as_u16()), None);
                end = head_end(*verb, response, *self.started, meter);
                if !matches!(limit, Held::Nothing) {
                    response.body_mut().hold(limit);
                }
                if let Some(rare) = rare {
                    let answered = visit.as_ref().map(|(endpoint, _)| endpoint.spec().address());
                    rare.tell(response, answered);
                }
            }
            Err(failed) => {
                drop(limit);
                if let Some(why) = failed.refusal() {
                    meter.call_refused((&cell.name, *call), why);
                    if attempts <= 1 && why.is_of_cluster() {
                        self.take_back(now);
                    }
                }
                (status, error) = (None, Some(failed.kind()));
                end = Some(End::of_error(failed));
                failed
                    .set_context(self.trail.context(&cell.name, Some(Duration::from_nanos(nanos))));
            }
        }
        let ended = CallEnd { call: *call, verb: *verb, status, error, end, attempts, nanos };
        cell.meter.call_ended(meter, ended);
        self.trace_end(result);
        // Nothing is sent again: the body that is on its way need not be kept for it.
        *self.armed = None;
    }
}

#[pin_project::pinned_drop]
impl PinnedDrop for Path {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.started.is_none() {
            return;
        }
        if matches!(*this.state, State::Done) {
            return;
        }
        // The caller has left: neither a status nor an error.
        this.trace_left();
        if let StateProj::Attempt(attempt) = this.state.as_mut().project() {
            attempt.left(this.caller);
        }
        if let StateProj::Hedged(group) = this.state.as_mut().project() {
            group.left(this.caller);
        }
        this.state.set(State::Done);
        let Caller { inner, cell, verb, number: call, .. } = &*this.caller;
        let attempts = this.trail.number;
        let nanos = inner.epoch.nanos(Instant::now()).saturating_sub(*this.began);
        let ended = CallEnd {
            call: *call,
            verb: *verb,
            status: None,
            error: None,
            end: Some(End::Left),
            attempts,
            nanos,
        };
        cell.meter.call_ended(this.caller.meter(this.pinned.as_ref()), ended);
    }
}

/// What a response comes to; of a gRPC call whose status is still to come, its body reports it.
#[inline]
fn head_end(
    verb: Verb,
    response: &mut Response<Body>,
    started: Option<Instant>,
    meter: &Arc<RouteMeter>,
) -> Option<End> {
    let to = || Arc::clone(meter) as Arc<dyn Reporter>;
    let status = response.status().as_u16();
    let code = if verb.is_grpc() { grpc::status_of(response.headers()) } else { None };
    End::of_head(verb, status, code)
        .or_else(|| response.body_mut().report(started?, to).map(End::of_body))
}
