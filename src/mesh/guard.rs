//! Guards: filters of services and routes that decide about a call before its first attempt.
//!
//! Rules of authorisation, rate limits, adaptive limits, admission control and faults are compiled
//! to one list for each route: the service's filters first, then the route's, each list in its
//! order. Their state (tokens, windows, counts) belongs to the place where they are said and to
//! what is said there: an update that changes neither keeps it.
//!
//! What a guard decides by lives in `resilience` and `security`; here is what ties it to the mesh.

#![cfg_attr(not(test), allow(dead_code, reason = "until the first guard is there"))]

pub(crate) mod protect;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Request, Response};

use self::protect::Protecting;
use super::{
    call::Caller,
    cluster::Cluster,
    describe::Setting,
    inner::Inner,
    service::{Policy, Route, ServiceCell},
};
use crate::{
    config::{self, Filter},
    core::{Body, BoxFuture, Error, Held, Instant, Outgoing},
    observe::End,
    resilience::limit::Limiter,
};

/// One of them. It is asked once for each call, before anything of the request is changed.
pub(crate) trait Guard: fmt::Debug + Send + Sync {
    /// Whether the call goes on.
    fn enter(self: Arc<Self>, asked: Asked<'_>) -> Entry;

    /// Why such a call might be refused now, in words; nothing is counted.
    fn foretell(&self, _request: &Request<()>, _policy: &Policy, _now: u64) -> Option<String> {
        None
    }

    /// Its settings with their origin, as far as it shows them.
    fn settings(&self, _source: Option<&str>) -> Vec<Setting> {
        Vec::new()
    }

    /// How full it is, if it is a limit of calls in flight.
    fn level(&self) -> Option<Level> {
        None
    }
}

/// A limit of calls in flight, now.
pub(crate) struct Level {
    pub(crate) name: &'static str,
    pub(crate) limit: u32,
    pub(crate) active: u32,
    /// Of all routes of its service.
    pub(crate) is_of_service: bool,
}

/// A call that asks to go on.
pub(crate) struct Asked<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) route: &'a Route,
    /// Where it would go; none, where the route answers by itself.
    pub(crate) cluster: Option<&'a Arc<Cluster>>,
    /// Its request, as the caller has made it, but for what earlier guards have added.
    pub(crate) request: &'a mut Request<Outgoing>,
    pub(crate) started: Instant,
    /// The same in nanoseconds since the mesh's epoch, or later if it has waited.
    pub(crate) now: u64,
}

/// What a guard says.
pub(crate) enum Entry {
    /// The call goes on.
    Pass,
    /// It goes on, and this is kept to its end.
    Hold(Box<dyn Pass>),
    /// It waits, no longer than its deadline allows; what it waited for says the rest.
    Wait(BoxFuture<Then>),
    /// It is not sent.
    Refuse(Error),
    /// It is answered here.
    Answer(Box<Response<Body>>),
}

/// What follows a wait.
pub(crate) type Then = Box<dyn FnOnce(&mut Request<Outgoing>) -> Entry + Send>;

/// What is kept of a guard while its call is under way. It is dropped, without a word of the end,
/// where the caller leaves before that.
pub(crate) trait Pass: Send {
    /// The call has come to this: its response head, or an error. What is given back is held until
    /// the response's body has ended.
    fn ended(self: Box<Self>, ended: Ended<'_>) -> Held;
}

/// What a call has come to.
pub(crate) struct Ended<'a> {
    pub(crate) result: &'a mut Result<Response<Body>, Error>,
    /// None, where a gRPC status is still to come in the trailers.
    pub(crate) end: Option<End>,
    /// When, in nanoseconds since the mesh's epoch, and for how long it was under way.
    pub(crate) now: u64,
    pub(crate) nanos: u64,
}

/// The guards of a service that are in use, by where and what is said of them. Locked by updates only.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<(Place, Filter, Arc<dyn Guard>)>>);

/// Where a filter is said: at the service, or at one of its routes, by name or by number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Service,
    Route(String),
    Numbered(usize),
}

// === impl Kept ===

impl Kept {
    /// The guard that is said so in this place.
    fn guard(
        &self,
        place: &Place,
        filter: &Filter,
        make: impl FnOnce() -> Option<Arc<dyn Guard>>,
    ) -> Option<Arc<dyn Guard>> {
        let mut kept = self.lock();
        let known = kept.iter().find(|(at, said, _)| at == place && said == filter);
        if let Some((_, _, guard)) = known {
            return Some(Arc::clone(guard));
        }
        let guard = make()?;
        kept.push((place.clone(), filter.clone(), Arc::clone(&guard)));
        Some(guard)
    }

    /// Forgets those that no call can meet any more.
    pub(super) fn tidy(&self) {
        self.lock().retain(|(_, _, guard)| Arc::strong_count(guard) > 1);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Place, Filter, Arc<dyn Guard>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limits of a service's routes that are in use: their counts go on, whatever the new limit is.
/// Locked by updates only.
#[derive(Debug, Default)]
pub(super) struct RouteLimits(Mutex<Vec<(Place, Arc<Limiter>)>>);

// === impl RouteLimits ===

impl RouteLimits {
    fn limiter(&self, place: &Place, calls: u32) -> Arc<Limiter> {
        let mut limits = self.lock();
        let known = limits.iter().find(|(at, _)| at == place).map(|(_, limiter)| limiter);
        let limiter = Limiter::resized(known, calls);
        if known.is_none() {
            limits.push((place.clone(), Arc::clone(&limiter)));
        }
        limiter
    }

    /// Forgets those that no call can meet any more.
    pub(super) fn tidy(&self) {
        self.lock().retain(|(_, limiter)| Arc::strong_count(limiter) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Place, Arc<Limiter>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    /// The guards of a route: those of its service, then its own; most routes have none.
    pub(super) fn guards(
        &self,
        cell: &ServiceCell,
        of_service: &[Filter],
        place: &Place,
        of_route: &config::Route,
    ) -> Option<Arc<[Arc<dyn Guard>]>> {
        let of_service = of_service.iter().map(|filter| (&Place::Service, filter));
        let of_this = of_route.filters.iter().map(|filter| (place, filter));
        let guards = of_service.chain(of_this).filter_map(|(place, filter)| {
            cell.guards.guard(place, filter, || self.make_guard(cell, place, filter))
        });
        let mut guards: Vec<_> = guards.collect();
        if let Some(calls) = of_route.policy.max_requests {
            guards.push(Protecting::fixed(cell.route_limits.limiter(place, calls), self.epoch));
        }
        (!guards.is_empty()).then(|| guards.into())
    }

    /// The guard that a validated filter asks for, if it asks for one.
    fn make_guard(
        &self,
        _cell: &ServiceCell,
        place: &Place,
        filter: &Filter,
    ) -> Option<Arc<dyn Guard>> {
        match filter {
            #[cfg(all(test, feature = "testing"))]
            Filter::Extension(extension) => tests::made(extension),
            filter => Protecting::of(place, filter, self.epoch, &self.random),
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
