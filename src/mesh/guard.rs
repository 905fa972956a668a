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
mod kept;
mod made;
mod rate_limit;
mod upgrade;

pub(crate) mod protect;

use std::{fmt, ops::Deref, sync::Arc};

use http::{Request, Response};

pub(super) use self::{
    kept::{Kept, Place},
    made::OfRoute,
};
use super::{
    call::Caller, cluster::Cluster, describe::Setting, inner::Inner, overlay::Whose,
    service::Route, settings::By,
};
use crate::{
    core::{Body, BoxFuture, Error, Held, Instant, Outgoing},
    observe::End,
    resilience::protect::Ticket,
};

/// One of them. It is asked once for each call, before anything of the request is changed.
pub(crate) trait Guard: fmt::Debug + Send + Sync {
    /// Whether the call goes on.
    fn enter(self: Arc<Self>, asked: Asked<'_>) -> Entry;

    /// What it would say to a call that is tried out; nothing is counted.
    fn explain(&self, dry: &Dry<'_>) -> Foretold;

    /// Its settings, which these words are.
    fn settings(&self, by: By<'_>) -> Vec<Setting>;

    /// Whom it asks, if it asks somebody.
    #[cfg(feature = "rls")]
    fn asks(&self) -> Option<&super::service::ServiceCell> {
        None
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

    /// Its route answers it by itself: nobody is called.
    pub(crate) fn is_answered(&self) -> bool {
        self.route.clusters.get(0).is_none()
    }

    /// In nanoseconds since the mesh's epoch.
    fn now(&self) -> u64 {
        self.inner.epoch.nanos(Instant::now())
    }
}

/// What a guard would say to a call.
#[derive(Debug, Default)]
pub(crate) struct Foretold {
    /// In words; none: it has nothing to say.
    pub(crate) told: Option<String>,
    /// Why it would, or might, refuse the call.
    pub(crate) refuses: Option<String>,
}

impl Foretold {
    /// It says this, which may be a refusal.
    fn said(told: String, is_refusal: bool) -> Self {
        Self { refuses: is_refusal.then(|| told.clone()), told: Some(told) }
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

impl Asked<'_> {
    /// The same, for one more guard.
    pub(crate) fn again(&mut self) -> Asked<'_> {
        Asked { request: &mut *self.request, ..*self }
    }
}

/// What a guard says.
pub(crate) enum Entry {
    /// The call goes on.
    Pass,
    /// It goes on, and this is kept to its end.
    Hold(Holding),
    /// It waits, no longer than its deadline allows; what it waited for says the rest.
    Wait(BoxFuture<Then>),
    /// It is not sent.
    Refuse(Error),
    /// It is answered here.
    Answer(Box<Response<Body>>),
}

/// What follows a wait.
pub(crate) type Then = Box<dyn FnOnce(&mut Request<Outgoing>) -> Entry + Send>;

/// What is kept of a guard while its call is under way.
pub(crate) enum Holding {
    /// What most of them keep, without a box of its own.
    Ticket(Ticket),
    Pass(Box<dyn Pass>),
}

impl Holding {
    pub(crate) fn of(pass: impl Pass + 'static) -> Self {
        Self::Pass(Box::new(pass))
    }

    /// The call has come to this.
    pub(crate) fn ended(self, ended: Ended<'_>) -> Held {
        match self {
            Self::Ticket(ticket) => protect::ended(ticket, ended),
            Self::Pass(pass) => pass.ended(ended),
        }
    }
}

/// What is kept of a guard while its call is under way. It is dropped, without a word of the end,
/// where the caller leaves before that.
pub(crate) trait Pass: Send + Sync {
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

/// A guard in the list of a route, and who says it.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    guard: Arc<dyn Guard>,
    whose: Whose,
    authorizes: bool,
    /// What it is called in the mesh file.
    name: &'static str,
    /// Where it is said, if that is a filter of a list.
    place: Option<Place>,
}

impl Placed {
    /// What it is called in the mesh file.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it is of rules of authorisation.
    pub(crate) fn authorizes(&self) -> bool {
        self.authorizes
    }

    /// Its refusal, with the place where it is said: several of a kind may be on the way of a call. Rules of
    /// authorisation name themselves.
    #[cold]
    pub(crate) fn signed(&self, error: Error) -> Error {
        match &self.place {
            Some(place) if !self.authorizes && error.refusal().is_some() => {
                error.noted(&format!("said of {place}"))
            }
            _ => error,
        }
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

/// What is told of the guards of a route.
pub(super) fn settings(inner: &Inner, route: &Route) -> Vec<Setting> {
    let lists = route.guards.iter().chain(&route.faults);
    lists.flat_map(|list| settings_of(inner, list)).collect()
}

/// The same of a list.
pub(super) fn settings_of(inner: &Inner, list: &[Placed]) -> Vec<Setting> {
    list.iter().flat_map(|placed| placed.settings(By::of(inner, placed.whose))).collect()
}

#[cfg(all(test, feature = "testing"))]
mod tests;
