//! Which cluster of its route a call goes to: only where that is not the one that there is.

use std::sync::Arc;

use http::{HeaderValue, Request};

use super::{guarded::Chosen, stepped};
use crate::{
    core::{Error, ErrorKind, Outgoing, Phase, Random, Refusal},
    mesh::{
        choosing::{self, Choosing},
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
    /// The rules of the service of its name, which the call must meet first.
    pub(super) rules: Arc<[Placed]>,
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
}

/// Chooses among the clusters of a route that has several.
#[inline(never)]
pub(super) fn choose(
    inner: &Inner,
    route: &Route,
    request: &mut Request<Outgoing>,
    now: u64,
) -> To {
    To::Place(match &route.choosing {
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
        Some(Choosing::Header(_)) | None => route.clusters.place(inner.random.next()),
    })
}

/// The cluster that a request names, and the rules that a call of the service of that name obeys: a
/// header is no way around them.
#[cold]
pub(super) fn name(
    inner: &Inner,
    chosen: &mut Chosen,
    request: &Request<Outgoing>,
) -> Result<(), Error> {
    let Some(route) = chosen.service.table.get(chosen.place) else { return Ok(()) };
    let Some(Choosing::Header(by)) = &route.choosing else { return Ok(()) };
    chosen.to = match by.target(inner, request) {
        None => To::Nowhere,
        Some(target) => {
            let rules = rules(inner, &target, request, &inner.random)?;
            To::Named(Arc::new(Destination { target, rules }))
        }
    };
    Ok(())
}

/// The rules of authorisation that a call of the service of this cluster's name would meet.
pub(in crate::mesh) fn rules<B>(
    inner: &Inner,
    target: &Target,
    request: &Request<B>,
    random: &Random,
) -> Result<Arc<[Placed]>, Error> {
    let denied = |why: &str| {
        Error::new(ErrorKind::Denied, Phase::Authorize)
            .refused(Refusal::Denied)
            .detail(format!("its header names cluster `{}`, {why}", target.name))
            .check("the service of that name")
    };
    let services = inner.services.load();
    // No service has this name: no rules are for it.
    let Some(cell) = services.get(&target.name) else { return Ok(Arc::from([])) };
    let Some(service) = cell.current.load_full() else {
        return Err(denied("and the definition of the service of that name is refused"));
    };
    let of = |route: &Route| -> Vec<Placed> {
        let own = route.clusters.iter().filter_map(|(_, target)| target.guards.as_ref());
        let all = own.chain(&route.guards).flat_map(|guards| guards.iter());
        let mut rules: Vec<Placed> = Vec::new();
        for placed in all.filter(|placed| placed.authorizes()) {
            if !rules.iter().any(|known| known.is(placed)) {
                rules.push(placed.clone());
            }
        }
        rules
    };
    match service.table.find(request, random) {
        Some(found) => Ok(of(found.route).into()),
        None if service.table.iter().any(|route| !of(route).is_empty()) => {
            Err(denied("and no route of the service of that name, which has rules, takes it"))
        }
        None => Ok(Arc::from([])),
    }
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
