//! Where a call goes: its first steps, up to the cluster that takes it, and waiting for what a source
//! has still to say of that.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use http::{Method, Request, Version, header::UPGRADE};

use super::{
    Caller, Pinned,
    chosen::{self, To},
    guarded::Chosen,
    head::{self, Head},
    mirrored,
    own::{self, Marks},
    path::{Armed, PathProj, State, Step, missing},
    refusals, stepped, sticky, termed, traced,
};
use crate::{
    config::{Protocol, bound},
    core::{Call, Error, ErrorKind, Instant, Outgoing, Phase, ReplayBody, cut},
    mesh::{cluster::Cluster, guard::protect::criticality},
    resilience::{deadline, limit::Limits, retry::Arms},
    route::{Around, Found, Roll},
};

impl PathProj<'_> {
    /// Starts the next attempt; the first one is routed and admitted before.
    #[inline]
    pub(super) fn begin(&mut self) -> Step {
        let now = Instant::now();
        let at = self.caller.inner.epoch.nanos(now);
        let started = match *self.started {
            Some(_) if self.caller.inner.is_closed() => {
                let is_routed = self.pinned.is_some();
                let phase = if is_routed { Phase::Backoff } else { Phase::Resolve };
                return Step::Return(Err(cut(phase)));
            }
            Some(started) => started,
            None => {
                let may_go_on;
                (self.caller.number, may_go_on) = self.caller.cell.meter.call_started();
                (*self.started, *self.began) = (Some(now), at);
                if !may_go_on {
                    return Step::Return(Err(Error::new(ErrorKind::Shutdown, Phase::Resolve)));
                }
                now
            }
        };
        if self.pinned.is_none()
            && let Some(step) = self.route(started, at)
        {
            return step;
        }
        self.start(now, at)
    }

    /// Resolves, routes and admits the call; what it gives is a step to take instead.
    #[inline]
    fn route(&mut self, started: Instant, at: u64) -> Option<Step> {
        let Caller { inner, cell, .. } = &*self.caller;
        let (mut service, mut found) = (cell.current.load_full(), None);
        if service.is_none() {
            // The client was made before its service, or the name stands for another.
            found = inner.find_named(&cell.name);
            service = found.as_ref().and_then(|found| found.current.load_full());
        }
        let Some(service) = service else { return Some(self.unresolved(started)) };
        let cell = found.as_ref().unwrap_or(cell);
        let Some(request) = self.request.as_mut() else { return Some(missing()) };
        if *request.method() == Method::CONNECT {
            return Some(Step::Return(Err(no_tunnel())));
        }
        if request.uri().authority().is_none()
            && let Some(authority) = &cell.authority
        {
            // A `host` header still wins, where the request takes its form on the wire.
            head::set_authority(request, authority);
        }
        let failed = |error: Error| Some(Step::Return(Err(error)));
        let Some(Found { place, route, rule }) = service.table.find(request, &inner.random) else {
            service.note_answered(at);
            return failed(Error::new(ErrorKind::NoRoute, Phase::Route));
        };
        if inner.stages.call.is_some() {
            request.extensions_mut().remove::<Roll>();
        }
        let (to, known) = if route.clusters.is_single() {
            (To::Place(0), None)
        } else {
            chosen::choose(inner, route, request, at)
        };
        let is_guarded = route.guards.is_some();
        let rule = rule.map(|rule| rule.number);
        let chosen = Chosen { service, place, rule, to, known };
        if is_guarded {
            return self.guard(chosen, started, at);
        }
        self.admit(chosen, started, at)
    }

    /// Admits a routed call to its cluster; what it gives is a step to take instead.
    #[inline]
    pub(super) fn admit(&mut self, chosen: Chosen, started: Instant, at: u64) -> Option<Step> {
        let inner = &self.caller.inner;
        let Chosen { service, place, rule, to, known } = chosen;
        let (Some(route), Some(request)) = (service.table.get(place), self.request.as_mut()) else {
            return Some(missing());
        };
        let failed = |error: Error| Some(Step::Return(Err(error)));
        let rule = rule.and_then(|rule| service.table.rule(rule));
        let Some(cluster) = to.target(route) else {
            service.note_answered(at);
            return Some(Step::Return(chosen::nowhere(
                route,
                request,
                rule,
                self.caller.grpc,
                &Around::of(route, None, started),
            )));
        };
        if let Some(steps) = &cluster.steps
            && let Some(answer) = stepped::answer(
                steps,
                request,
                rule,
                self.caller.grpc,
                &Around::of(route, Some(cluster), started),
            )
        {
            service.note_answered(at);
            return Some(Step::Return(answer));
        }
        if let Some(limits) = &route.limits {
            match Limits::hold(limits, criticality(request, &route.policy), at) {
                Ok(held) => *self.limit = held,
                Err(error) => {
                    service.note_answered(at);
                    return failed(refusals::of_route(error, route));
                }
            }
        }
        *self.trace = traced::begin(self.caller, request, (route, cluster), (started, at));
        let own = own::policy(&route.policy, request);
        let policy = own.as_deref().unwrap_or(&route.policy);
        let call = request.extensions().get::<Call>();
        let mut bounds = own::bounds(policy, request.headers(), call, self.caller.grpc, started);
        let is_of_cluster = cluster.is_bounded() && cluster.bind(&mut bounds, started);
        let (hash, mut rare) = if cluster.reads() || route.session.is_some() {
            sticky::stick(inner, cluster, route, request, known)
        } else {
            (None, known)
        };
        // The head is kept when, and only when, another attempt may be made from it.
        let mut arms = if policy.retry.allows(request.headers()) {
            policy.retry.arms(request.method(), self.caller.grpc, call)
        } else {
            Arms::Nothing
        };
        if arms == Arms::Nothing
            && policy.retry.attempts() > 1
            && (inner.stages.leaf.is_some() || speaks_http2(request, cluster))
        {
            // A user's own client gives nothing back, and an HTTP/2 server refuses streams that
            // it has been sent (REFUSED_STREAM, GOAWAY); HTTP/1.1 has no such word.
            arms = Arms::Safe;
        }
        let hedges = match &policy.hedging {
            None => false,
            Some(_) => {
                // One connection alone can become something else; faults are met one attempt at a time.
                policy.may_hedge()
                    && route.faults.is_none()
                    && !request.headers().contains_key(UPGRADE)
                    && policy.retry.may_repeat(request.method(), self.caller.grpc, call)
            }
        };
        Marks::of(call).write(request.headers_mut(), self.caller.grpc);
        if let Some(steps) = &cluster.steps {
            let around = Around::of(route, Some(cluster), started);
            if hash.is_none() && cluster.may_read_later() {
                sticky::keep(inner, cluster, request, &mut rare);
            }
            stepped::note(request, &mut rare);
            if let Err(error) = stepped::change(steps, request, rule, &mut rare, &around) {
                return failed(error);
            }
            if !cluster.mirrors.is_empty() {
                let copied = (&***cluster, &*cluster.mirrors);
                mirrored::send(copied, self.caller, request, &bounds, &around);
            }
        }
        // Nothing is refused any more before its cluster is asked.
        policy.budget.deposit(at);
        if hedges && let Some(hedging) = &policy.hedging {
            hedging.deposit(at);
        }
        if arms > Arms::Nothing || hedges {
            let head = Head::of(request);
            let body = std::mem::take(request.body_mut());
            let (first, body) = ReplayBody::arm(body, policy.max_body_bytes);
            *request.body_mut() = first;
            let safe_only = arms < Arms::Everything;
            *self.armed = Some(Armed { head, body, safe_only, hedges });
        }
        let (is_throttled, is_stream_bound) = match &policy.terms {
            Some(terms) => termed::begin(terms, own.as_ref(), (bounds, started), &mut rare),
            None => (false, false),
        };
        let (cluster, wanted) = (Arc::clone(cluster), cluster.wanted.clone());
        *self.pinned = Some(Pinned {
            service,
            route: place,
            cluster,
            wanted,
            bounds,
            hash,
            is_throttled,
            is_stream_bound: is_stream_bound || is_of_cluster,
            rare,
        });
        None
    }

    /// Waits for the first configuration, or says that no source knows the name.
    fn unresolved(&mut self, started: Instant) -> Step {
        let Caller { inner, cell, .. } = &*self.caller;
        if inner.is_synced() {
            match inner.unfound(&cell.name) {
                Ok(Some(_)) => return Step::Again,
                // A source looks it up.
                Ok(None) => {}
                Err(error) => return Step::Return(Err(error)),
            }
        }
        if let Some(request) = &*self.request {
            let call = request.extensions().get::<Call>();
            // What the code says of the service is known before any source has spoken.
            let timeout = bound(inner.code.policy(&cell.name).timeout);
            let scope = deadline::Scope { timeout, whole_response: false };
            let own = deadline::of(request.headers(), call, scope, started);
            *self.own_bound = own.head;
        }
        *self.resolve_by = started.checked_add(inner.resolve_timeout);
        let changed = inner.changed(cell);
        self.state.set(State::Resolve(changed));
        Step::Again
    }

    /// What the cluster's settings say of where the call goes may have come with its endpoints.
    pub(super) fn restick(&mut self) {
        let (Some(pinned), Some(request)) = (&mut *self.pinned, &*self.request) else { return };
        let service = Arc::clone(&pinned.service);
        if pinned.hash.is_none()
            && pinned.cluster.reads()
            && let Some(route) = service.table.get(pinned.route)
        {
            let inner = &self.caller.inner;
            let mut known = pinned.rare.take();
            let sent = known.as_mut().and_then(|known| known.sent.take());
            (pinned.hash, pinned.rare) = match sent.as_deref() {
                Some(sent) => sticky::stick(inner, &pinned.cluster, route, sent, known),
                None => sticky::stick(inner, &pinned.cluster, route, request, known),
            };
            if sent.is_some() {
                pinned.rare.get_or_insert_default().sent = sent;
            }
        }
    }

    /// Waits for endpoints that a source has still to deliver, or for what it says of how they are
    /// secured.
    pub(super) fn await_sources(&mut self, of_endpoints: bool) -> Step {
        let started = self.started.unwrap_or_else(Instant::now);
        let Some(pinned) = &*self.pinned else { return Step::Again };
        let inner = &self.caller.inner;
        *self.resolve_by = started.checked_add(inner.resolve_timeout);
        let said = if of_endpoints {
            // That there are some says nothing to a call that has just found none of them fit for it: it is
            // for something else to change then.
            let seen = self.seen.replace(inner.changes());
            inner.endpoints(&pinned.cluster, pinned.wanted.as_ref(), seen)
        } else {
            inner.heard(&pinned.cluster)
        };
        self.state.set(State::Resolve(said));
        Step::Again
    }
}

/// Whether the request will be spoken in HTTP/2, as far as that is known before an endpoint is.
fn speaks_http2(request: &Request<Outgoing>, cluster: &Cluster) -> bool {
    if request.version() == Version::HTTP_2 {
        return true;
    }
    let core = cluster.core.load();
    // What one endpoint speaks the next one may.
    core.config.protocol == Some(Protocol::Http2)
        || core.balancer.context().http2_chosen.load(Relaxed)
}

/// A tunnel is no request to a service: who it is for is inside of it.
#[cold]
pub(crate) fn no_tunnel() -> Error {
    Error::new(ErrorKind::InvalidRequest, Phase::Request)
        .detail("CONNECT asks for a tunnel, and the mesh carries requests")
        .check("the request's method")
}
