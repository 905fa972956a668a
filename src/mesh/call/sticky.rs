//! What keeps a call with an endpoint: its hash, the endpoint that it names, its session.

use std::{sync::Arc, time::SystemTime};

use http::Request;

use super::{chosen::Made, rare::Rare};
use crate::{
    core::{Call, Outgoing},
    mesh::{cluster::Cluster, explain::head_of, inner::Inner, service::Route},
    route::{Session, hash::Beside},
};

/// Where a call is to go: its hash, and the rest.
pub(crate) type Stuck = (Option<u64>, Option<Box<Rare>>);

/// Of the request as the caller has sent it, whatever filters make of it and whenever it is asked: so all
/// attempts have the same hash.
//= Envoy Router::Filter::decodeHeaders: the host is chosen before finalizeRequestHeaders
#[cold]
pub(super) fn stick<B>(
    inner: &Inner,
    cluster: &Cluster,
    route: &Route,
    request: &Request<B>,
) -> Stuck {
    let core = cluster.core.load();
    let (mut hash, mut rare) = (None, Rare::default());
    // The settings may have changed since it was asked whether there are any.
    if let Some(hashing) = &core.hashing {
        let key = request.extensions().get::<Call>().and_then(|call| call.hash_key);
        let beside = Beside { key, channel: inner.channel() };
        // What its cluster was chosen by was made for it: it is not made again.
        let made = || request.extensions().get::<Made>().filter(|_| !hashing.has_own());
        match route.choosing.as_ref().and_then(|_| made()) {
            Some(made) => hash = Some(made.hash),
            None => {
                let of_route = route.policy.hash.as_deref();
                let hashed = hashing.hash(of_route, request, beside, &inner.random);
                hash = hashed.hash;
                rare.set_cookie = hashed.set_cookie.map(|cookie| *cookie);
            }
        }
    }
    let session = route.session.as_ref().filter(|it| it.is_for(request.uri().path()));
    if let Some(session) = session {
        rare.named = session.named(request, now(session));
        let has_several = !route.clusters.is_single();
        rare.of = has_several.then(|| Arc::clone(&cluster.name));
    }
    let said = session.and_then(|session| Some((&**session, rare.named.as_ref()?)));
    rare.over = core.overriding.over(said, request);
    rare.session = session.cloned();
    let Rare { set_cookie, over, session, .. } = &rare;
    let is_there = set_cookie.is_some() || over.is_some() || session.is_some();
    (hash, is_there.then(|| Box::new(rare)))
}

/// The place of the cluster that a request's session is with, among several of its route; it is not drawn
/// then (gRFC A60).
#[cold]
pub(in crate::mesh) fn cluster_of_session<B>(route: &Route, request: &Request<B>) -> Option<usize> {
    let session = route.session.as_ref().filter(|it| it.is_for(request.uri().path()))?;
    let named = session.named(request, now(session))?;
    let Some(cluster) = named.cluster else {
        // It was told by who had one cluster alone, or knows of none: it is where its endpoint is.
        let has = |cluster: Arc<Cluster>| cluster.core.load().balancer.lists(&named.address);
        return route.clusters.iter().position(|(_, target)| target.line().any(has));
    };
    route.clusters.iter().position(|(_, target)| *target.name == *cluster)
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
