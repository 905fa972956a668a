//! What keeps a call with an endpoint: its hash, the endpoint that it names, its session.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderValue, Request};

use super::{chosen::Made, rare::Rare};
use crate::{
    core::{Call, Outgoing},
    mesh::{
        cluster::{Cluster, Core},
        explain::head_of,
        inner::Inner,
        service::Route,
    },
    route::{Named, Session, hash::Beside},
};

/// Where a call is to go: its hash, and the rest.
pub(crate) type Stuck = (Option<u64>, Option<Box<Rare>>);

/// Of the request as the caller has sent it, whatever filters make of it and whenever it is asked: so all
/// attempts have the same hash. `known` is what is known already: a session that was read is not read again.
//= Envoy Router::Filter::decodeHeaders: the host is chosen before finalizeRequestHeaders
#[cold]
pub(super) fn stick<B>(
    inner: &Inner,
    cluster: &Cluster,
    route: &Route,
    request: &Request<B>,
    known: Option<Box<Rare>>,
) -> Stuck {
    let core = cluster.core.load();
    let (hash, set_cookie) = hashed(inner, &core, route, request);
    let mut rare = known.or_else(|| read(route, request));
    if let Some(rare) = &mut rare
        && rare.session.is_some()
        && !route.clusters.is_single()
    {
        rare.of = Some(Arc::clone(&cluster.name));
    }
    let said =
        rare.as_ref().and_then(|rare| Some((&**rare.session.as_ref()?, rare.named.as_ref()?)));
    let over = core.overriding.over(said, request);
    if rare.is_some() || set_cookie.is_some() || over.is_some() {
        let rare = rare.get_or_insert_default();
        (rare.set_cookie, rare.over) = (set_cookie, over);
    }
    (hash, rare)
}

/// The same of the hash alone, at a cluster that takes over.
#[cold]
pub(super) fn hash<B>(
    inner: &Inner,
    cluster: &Cluster,
    route: &Route,
    request: &Request<B>,
) -> Option<u64> {
    hashed(inner, &cluster.core.load(), route, request).0
}

/// What a cluster hashes a request to, and the cookie that was made for that.
fn hashed<B>(
    inner: &Inner,
    core: &Core,
    route: &Route,
    request: &Request<B>,
) -> (Option<u64>, Option<HeaderValue>) {
    // The settings may have changed since it was asked whether there are any.
    let Some(hashing) = &core.hashing else { return (None, None) };
    let key = request.extensions().get::<Call>().and_then(|call| call.hash_key);
    let beside = Beside { key, channel: inner.channel() };
    // What its cluster was chosen by was made for it: it is not made again.
    let made = || request.extensions().get::<Made>().filter(|_| !hashing.has_own());
    if let Some(made) = route.choosing.as_ref().and_then(|_| made()) {
        return (Some(made.hash), None);
    }
    let hashed = hashing.hash(route.policy.hash.as_deref(), request, beside, &inner.random);
    (hashed.hash, hashed.set_cookie.map(|cookie| *cookie))
}

/// What a request says of its session, if it has one. It is read once in a call: whoever needs it first hands it
/// on.
#[cold]
pub(super) fn read<B>(route: &Route, request: &Request<B>) -> Option<Box<Rare>> {
    let session = route.session.as_ref().filter(|it| it.is_for(request.uri().path()))?;
    let named = session.named(request, now(session));
    Some(Box::new(Rare { session: Some(Arc::clone(session)), named, ..Rare::default() }))
}

/// The place of the cluster that a request's session is with, among several of its route; it is not drawn
/// then (gRFC A60).
pub(in crate::mesh) fn cluster_of_session<B>(route: &Route, request: &Request<B>) -> Option<usize> {
    let read = read(route, request)?;
    cluster_of(route, read.named.as_ref()?)
}

/// The same, of what the session says.
#[cold]
pub(super) fn cluster_of(route: &Route, named: &Named) -> Option<usize> {
    let Some(cluster) = &named.cluster else {
        // It was told by who had one cluster alone, or knows of none: it is where its endpoint is.
        let has = |cluster: Arc<Cluster>| cluster.core.load().balancer.lists(&named.address);
        return route.clusters.iter().position(|(_, target)| target.line().any(has));
    };
    route.clusters.iter().position(|(_, target)| *target.name == **cluster)
}

/// Keeps the head that the caller has sent, before filters change it, if the call may still be hashed by it.
#[cold]
pub(super) fn keep(
    inner: &Inner,
    cluster: &Arc<Cluster>,
    request: &Request<Outgoing>,
    rare: &mut Option<Box<Rare>>,
) {
    if !inner.is_settled(cluster) || cluster.stand_ins().any(|other| other.reads()) {
        rare.get_or_insert_default().sent = Some(Box::new(head_of(request)));
    }
}

/// Seconds since 1970, where sessions end: others that share them have another epoch.
pub(crate) fn now(session: &Session) -> u64 {
    if !session.ends() {
        return 0;
    }
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
