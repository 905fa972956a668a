//! Which cluster of its route a call goes to: only where that is not the one that there is.

use std::sync::Arc;

use http::{HeaderValue, Request};

use super::{Caller, guarded::Chosen, rare::Rare, stepped, sticky};
use crate::{
    core::{Error, ErrorKind, Outgoing, Phase, Random, Refusal},
    mesh::{
        choosing::{self, Choosing},
        directory::Known,
        guard::Placed,
        inner::Inner,
        service::{Route, Target},
    },
    route::{Around, Rule},
};

/// Where a call goes.
#[derive(Clone)]
pub(super) enum To {
    /// To the target at this place of the route's split.
    Place(usize),
    /// To one that its request names.
    Named(Arc<Destination>),
    /// To one that its request has not named, or that is not there.
    Nowhere,
}

/// A target that a request names.
pub(super) struct Destination {
    target: Target,
    /// The rules of the services that lead there, and then the guards of the route.
    guards: Arc<[Placed]>,
}

/// What a cluster was chosen by, where that was made for the call: its balancer goes by it, too, and
/// its response sets the cookie.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) hash: u64,
    pub(super) cookie: HeaderValue,
}

// === impl To ===

impl To {
    pub(super) fn target<'a>(&'a self, route: &'a Route) -> Option<&'a Target> {
        match self {
            Self::Place(place) => route.clusters.get(*place),
            Self::Named(named) => Some(&named.target),
            Self::Nowhere => None,
        }
    }

    /// What a call passes on its way there.
    pub(super) fn guards<'a>(&'a self, route: &'a Route) -> &'a [Placed] {
        let of_target = || self.target(route)?.guards.as_deref();
        match self {
            Self::Named(named) => &named.guards,
            Self::Place(_) | Self::Nowhere => {
                of_target().or(route.guards.as_deref()).unwrap_or_default()
            }
        }
    }
}

/// Chooses among the clusters of a route that has several; with what was read of the call for that.
#[inline(never)]
pub(super) fn choose(
    inner: &Inner,
    route: &Route,
    request: &mut Request<Outgoing>,
    now: u64,
) -> (To, Option<Box<Rare>>) {
    // Not of those that take turns, nor of one that a header names.
    let is_of_session =
        !matches!(route.choosing, Some(Choosing::FirstAvailable | Choosing::Header(_)));
    let known = match &route.session {
        Some(_) if is_of_session => sticky::read(route, request),
        _ => None,
    };
    if let Some(named) = known.as_ref().and_then(|known| known.named.as_ref())
        && let Some(place) = sticky::cluster_of(route, named)
    {
        return (To::Place(place), known);
    }
    let place = match &route.choosing {
        Some(Choosing::FirstAvailable) => choosing::first_available(route, now),
        Some(Choosing::Hashed) => {
            let hashed = choosing::hashed(route, request, inner.channel(), || inner.random.next());
            if let (Some(hash), Some(cookie)) = (hashed.hash, hashed.set_cookie) {
                request.extensions_mut().insert(Made { hash, cookie: *cookie });
            }
            match hashed.hash {
                Some(hash) => route.clusters.place_of_hash(hash),
                None => route.clusters.place(inner.random.next()),
            }
        }
        Some(Choosing::Number(name)) => match choosing::number(name, request) {
            Some(number) => route.clusters.place_of_hash(number),
            None => route.clusters.place(inner.random.next()),
        },
        Some(Choosing::Header(_)) | None => route.clusters.place(inner.random.next()),
    };
    (To::Place(place), known)
}

/// The cluster that a request of this service names, and the rules of other services that lead there: a
/// header is no way around them.
#[cold]
pub(super) fn name(
    caller: &Caller,
    chosen: &mut Chosen,
    request: &Request<Outgoing>,
) -> Result<(), Error> {
    let Some(route) = chosen.service.table.get(chosen.place) else { return Ok(()) };
    let Some(Choosing::Header(by)) = &route.choosing else { return Ok(()) };
    let inner = &caller.inner;
    chosen.to = match by.target(inner, request) {
        None => To::Nowhere,
        Some((target, known)) => {
            let rules = rules(inner, &caller.cell.name, &known, request, &inner.random)?;
            let own = route.guards.iter().flat_map(|guards| guards.iter());
            let guards = rules.into_iter().chain(own.cloned()).collect();
            To::Named(Arc::new(Destination { target, guards }))
        }
    };
    Ok(())
}

/// The rules of authorisation that a call of this service meets when a header takes it to a cluster:
/// those that calls of the other services meet which lead there.
pub(in crate::mesh) fn rules<B>(
    inner: &Inner,
    service: &Arc<str>,
    known: &Known,
    request: &Request<B>,
    random: &Random,
) -> Result<Vec<Placed>, Error> {
    let services = inner.services.load();
    let mut rules: Vec<Placed> = Vec::new();
    for name in known.services.iter().filter(|name| *name != service) {
        let denied = |why: &str| {
            let cluster = &known.cluster.name;
            Error::new(ErrorKind::Denied, Phase::Authorize)
                .refused(Refusal::Denied)
                .detail(format!("its header names cluster `{cluster}` of service `{name}`, {why}"))
                .check("the service that leads to this cluster")
        };
        // No service has this name: no rules are for it.
        let Some(cell) = services.get(name) else { continue };
        let Some(other) = cell.current.load_full() else {
            return Err(denied("the definition of which is refused"));
        };
        match other.table.find(request, random) {
            Some(found) => {
                let new = rules_of(found.route);
                let is_new = |placed: &&Placed| !rules.iter().any(|known| known.is(placed));
                let new: Vec<_> = new.filter(is_new).cloned().collect();
                rules.extend(new);
            }
            None if other.table.iter().any(|route| rules_of(route).next().is_some()) => {
                return Err(denied("which has rules, and none of whose routes takes it"));
            }
            None => {}
        }
    }
    Ok(rules)
}

/// The rules of a route, whichever of its clusters a call goes to.
fn rules_of(route: &Route) -> impl Iterator<Item = &Placed> {
    let own = route.clusters.iter().filter_map(|(_, target)| target.guards.as_ref());
    let all = own.chain(&route.guards).flat_map(|guards| guards.iter());
    all.filter(|placed| placed.authorizes())
}

/// A call that has no cluster to go to: it is answered here, or fails.
#[cold]
pub(super) fn nowhere(
    route: &Route,
    request: &Request<Outgoing>,
    rule: Option<&Rule>,
    is_grpc: bool,
    around: &Around<'_>,
) -> Result<http::Response<crate::core::Body>, Error> {
    if let (Some(Choosing::Header(by)), None) = (&route.choosing, &route.steps) {
        return Err(by.error(request));
    }
    stepped::without_cluster(route.steps.as_ref(), request, rule, is_grpc, around)
}
