//! Guards: filters of services and routes that decide about a call before its first attempt.
//!
//! Rules of authorisation, rate limits, adaptive limits, admission control and faults are compiled
//! to one list for each route: rules of authorisation before all others, so that a call which is
//! denied has taken nothing; among equals the mesh's filters first, then the service's, then the
//! route's, each list in its order. Their state (tokens, windows, counts) belongs to the place where they are said and to
//! what is said there: an update that changes neither keeps it.
//!
//! What a guard decides by lives in `resilience` and `security`; here is what ties it to the mesh.

mod authorize;
mod fault;
#[cfg(feature = "rls")]
mod global_rate_limit;
mod rate_limit;
mod upgrade;

pub(crate) mod protect;

use std::{
    collections::HashMap,
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Request, Response};

#[cfg(feature = "rls")]
use self::global_rate_limit::GlobalRateLimit;
use self::{
    authorize::Authorize, fault::Fault, protect::Protecting, rate_limit::RateLimit,
    upgrade::Upgrades,
};
use super::{
    call::Caller,
    cluster::Cluster,
    compile::lines::{Line, running_lines},
    describe::{Setting, SettingOrigin},
    inner::Inner,
    overlay::{Whose, is_authorization},
    service::{Policy, Route, ServiceCell},
    state::State,
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

    /// What it would say to this call, in words; none: it has nothing to say.
    fn explain(&self, _dry: &Dry<'_>) -> Option<String> {
        None
    }

    /// Whether it would refuse this call.
    fn fails(&self, _dry: &Dry<'_>) -> bool {
        false
    }

    /// Its name and its settings, for `describe()`.
    fn setting(&self) -> Option<(&'static str, String)> {
        None
    }

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

/// A call that is tried out and not made.
pub(crate) struct Dry<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) request: &'a Request<()>,
    pub(crate) route: &'a Route,
}

impl<'a> Dry<'a> {
    /// Where such a call goes, if the route has one cluster.
    fn cluster(&self) -> Option<&'a str> {
        let clusters = &self.route.clusters;
        clusters.get(0).filter(|_| clusters.is_single()).map(|target| &*target.name)
    }

    /// In nanoseconds since the mesh's epoch.
    fn now(&self) -> u64 {
        self.inner.epoch.nanos(Instant::now())
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
    /// When its time is over, if it ever is.
    pub(crate) bound: Option<Instant>,
    /// The first in nanoseconds since the mesh's epoch, or later if it has waited.
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
    /// No endpoint has given this answer: it was made here.
    pub(crate) is_made_here: bool,
    /// When, in nanoseconds since the mesh's epoch.
    pub(crate) now: u64,
}

/// The guards of a service that are in use, by where and what is said of them. Locked by updates only.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<HashMap<Place, Said>>);

/// What is said in one place, in few words.
type Said = Vec<(Filter, Arc<dyn Guard>)>;

/// Where a filter is said: at the service, or at one of its routes, by name or by number.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Place {
    Mesh,
    Service,
    Route(String),
    Numbered(usize),
    /// At a cluster of a route, by its number.
    Cluster(Box<Self>, usize),
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
        let known = kept.get(place).into_iter().flatten().find(|(said, _)| said == filter);
        if let Some((_, guard)) = known {
            return Some(Arc::clone(guard));
        }
        let guard = make()?;
        kept.entry(place.clone()).or_default().push((filter.clone(), Arc::clone(&guard)));
        Some(guard)
    }

    /// Forgets those that no call can meet any more.
    pub(super) fn tidy(&self) {
        self.lock().retain(|_, said| {
            said.retain(|(_, guard)| Arc::strong_count(guard) > 1);
            !said.is_empty()
        });
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guard in the list of a route, and who says it.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    guard: Arc<dyn Guard>,
    whose: Whose,
    authorizes: bool,
}

impl Placed {
    /// Whether it is of rules of authorisation.
    pub(crate) fn authorizes(&self) -> bool {
        self.authorizes
    }

    /// Whether both are the same guard.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.guard, &other.guard)
    }
}

impl Deref for Placed {
    type Target = Arc<dyn Guard>;

    fn deref(&self) -> &Self::Target {
        &self.guard
    }
}

/// What a route says that its guards are made of, beside filters.
#[derive(Clone, Copy)]
pub(super) struct OfRoute<'a> {
    pub(super) place: &'a Place,
    pub(super) whose: Whose,
    pub(super) max_requests: Option<u32>,
    pub(super) upgrades: &'a [config::Upgrade],
}

/// What is told of the guards of a route.
pub(super) fn settings(inner: &Inner, route: &Route) -> Vec<Setting> {
    let lists = route.guards.iter().chain(&route.faults);
    lists.flat_map(|list| settings_of(inner, list)).collect()
}

/// The same of a list.
pub(super) fn settings_of(inner: &Inner, list: &[Placed]) -> Vec<Setting> {
    let told = list.iter().flat_map(|placed| {
        let (origin, source) = match placed.whose {
            Whose::Code => (SettingOrigin::Code, None),
            Whose::Source(source) => {
                let name = inner.sources.get(source.index()).map(String::as_str);
                (SettingOrigin::ControlPlane, name)
            }
        };
        let setting = placed.setting().map(|(name, value)| {
            let source = source.map(str::to_owned);
            Setting { name: name.into(), value, origin, source }
        });
        setting.into_iter().chain(placed.settings(source))
    });
    told.collect()
}

/// Whether a filter is met by each attempt instead of by the call.
fn is_of_attempts(filter: &Filter) -> bool {
    matches!(filter, Filter::Fault(fault) if fault.per_attempt == Some(true))
}

/// The limits of a service's routes that are in use: their counts go on, whatever the new limit is.
/// Locked by updates only.
#[derive(Debug, Default)]
pub(super) struct RouteLimits(Mutex<HashMap<Place, Arc<Limiter>>>);

// === impl RouteLimits ===

impl RouteLimits {
    fn limiter(&self, place: &Place, calls: u32) -> Arc<Limiter> {
        let mut limits = self.lock();
        let known = limits.get(place);
        let limiter = Limiter::resized(known, calls);
        if known.is_none() {
            limits.insert(place.clone(), Arc::clone(&limiter));
        }
        limiter
    }

    /// Forgets those that no call can meet any more.
    pub(super) fn tidy(&self) {
        self.lock().retain(|_, limiter| Arc::strong_count(limiter) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Arc<Limiter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    /// The guards of a route, or of one of its clusters: rules of authorisation, what the route says of
    /// upgrades, then the others, each of the mesh, then of its service, then its own; most routes have
    /// none.
    pub(super) fn guards(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        lines: &[Line<'_>],
        route: OfRoute<'_>,
    ) -> Option<Arc<[Placed]>> {
        let mut guards = self.made(state, cell, lines, false);
        let OfRoute { place, whose, max_requests, upgrades } = route;
        if let Some(guard) = Upgrades::of(upgrades) {
            let rules = guards.iter().take_while(|placed| placed.authorizes).count();
            guards.insert(rules, Placed { guard, whose, authorizes: false });
        }
        if let Some(calls) = max_requests {
            let guard = Protecting::fixed(cell.route_limits.limiter(place, calls), self.epoch);
            guards.push(Placed { guard, whose, authorizes: false });
        }
        (!guards.is_empty()).then(|| guards.into())
    }

    /// The same of each attempt: the faults that are for those.
    pub(super) fn faults(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        lines: &[Line<'_>],
    ) -> Option<Arc<[Placed]>> {
        let faults = self.made(state, cell, lines, true);
        (!faults.is_empty()).then(|| faults.into())
    }

    fn made(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        lines: &[Line<'_>],
        of_attempts: bool,
    ) -> Vec<Placed> {
        let of_mesh = self.code.filters.iter();
        let of_mesh = of_mesh.map(|filter| Line::new(filter, &Place::Mesh, Whose::Code));
        let all = of_mesh.chain(running_lines(lines));
        let all = all.filter(|line| is_of_attempts(line.filter) == of_attempts);
        // Others take tokens, ask, wait and edit headers: who is denied has done none of it.
        let (rules, others): (Vec<_>, Vec<_>) = all.partition(|line| is_authorization(line.filter));
        let guards = rules.into_iter().chain(others).filter_map(|line| {
            let Line { place, whose, filter, .. } = line;
            let make = || self.make_guard(state, cell, place, filter);
            let guard = cell.guards.guard(place, filter, make)?;
            Some(Placed { guard, whose, authorizes: is_authorization(filter) })
        });
        guards.collect()
    }

    /// The guard that a validated filter asks for, if it asks for one.
    #[cfg_attr(
        not(feature = "rls"),
        allow(unused_variables, reason = "no guard without it asks for a cluster")
    )]
    fn make_guard(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        place: &Place,
        filter: &Filter,
    ) -> Option<Arc<dyn Guard>> {
        let labels = &self.code.labels;
        match filter {
            Filter::Fault(said) => Some(Arc::new(Fault::new(said)?)),
            Filter::Authorize(said) => Some(Arc::new(Authorize::new(&cell.name, said))),
            Filter::RateLimit(limit) => Some(Arc::new(RateLimit::new(limit, labels))),
            #[cfg(feature = "rls")]
            Filter::GlobalRateLimit(limit) => {
                let cell = self.cell_beside(state, "rate limits", &limit.cluster)?;
                Some(Arc::new(GlobalRateLimit::new(limit, labels, cell)))
            }
            #[cfg(all(test, feature = "testing"))]
            Filter::Extension(extension) => tests::made(extension),
            filter => Protecting::of(place, filter, self.epoch, &self.random),
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
