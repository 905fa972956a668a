//! The part of an explanation that is a cluster's.

use std::{ops::Deref, sync::Arc};

use http::{Request, uri::Scheme};

use super::types::{ClusterExplanation, HashExplanation, HashKeyExplanation};
use crate::{
    balance::Asked,
    core::{self, Random},
    mesh::{
        call::{in_clear, no_endpoint, sticky},
        cluster::{Cluster, Core},
        inner::Inner,
        service::{Route, Target},
        settings,
    },
    route::hash::{Beside, HashKey, KeyFound},
};

/// The call that is explained.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) route: &'a Route,
    pub(super) request: &'a Request<()>,
    pub(super) now: u64,
}

/// What becomes of a call at a cluster that gets this share of them.
pub(super) fn explain(call: &Call<'_>, target: &Target, share: f64) -> ClusterExplanation {
    let cluster: &Arc<Cluster> = target.deref();
    let core = cluster.core.load();
    let hash = hashed(call, &core);
    let session = call.route.session.as_ref();
    let session = session.filter(|it| it.is_for(call.request.uri().path()));
    let named = session.and_then(|session| session.named(call.request, sticky::now(session)));
    let said = session.and_then(|session| Some((&**session, named.as_ref()?)));
    let over = core.overriding.over(said, call.request);
    let asked = Asked {
        hash: hash.as_ref().and_then(|hash| hash.hash),
        over: over.as_ref(),
        wanted: target.wanted.as_deref(),
    };
    let in_words = |error| {
        let error = no_endpoint(call.inner, cluster, error);
        if call.inner.is_settled(cluster) {
            return error.to_string();
        }
        let most = call.inner.resolve_timeout;
        format!("{error}; endpoints are on their way, and it waits for them, at most {most:?}")
    };
    ClusterExplanation {
        name: cluster.name.to_string(),
        share,
        balancer: settings::name_of(&core.config.balancer.clone().unwrap_or_default()),
        labels: target.wanted.as_ref().map(|wanted| wanted.pairs()).unwrap_or_default(),
        fails: fails(call, cluster, &core),
        pick: core.balancer.explain(&asked, call.now, in_words),
        hash,
    }
}

/// Why the call fails whatever is picked.
fn fails(call: &Call<'_>, cluster: &Cluster, core: &Core) -> Option<String> {
    if let Some(limiter) = core.breaker.as_ref().filter(|limiter| limiter.is_full()) {
        let limit = limiter.limit();
        return Some(format!("the cluster has its maximum of {limit} requests in flight"));
    }
    let is_open = call.request.uri().scheme() == Some(&Scheme::HTTPS)
        && core.protector.is_open_itself()
        && call.inner.stages.leaf.is_none()
        && core.balancer.specs().iter().all(|endpoint| endpoint.security.is_none());
    is_open.then(|| in_clear(cluster).to_string())
}

/// What the call is hashed to: as a call does it, with randomness of its own.
fn hashed(call: &Call<'_>, core: &Core) -> Option<HashExplanation> {
    let hashing = core.hashing.as_ref()?;
    let key = call.request.extensions().get::<core::Call>().and_then(|call| call.hash_key);
    let random = Random::dry(0);
    // The number of the mesh is drawn at the first call that is hashed by it.
    let known = call.inner.known_channel();
    let beside = Beside { key, channel: known.unwrap_or_default() };
    let of_route = call.route.policy.hash.as_deref();
    let begun = random.mark();
    let hashed = hashing.hash(of_route, call.request, beside, &random);
    let keys = hashing.keys(of_route, call.request, beside);
    let awaited = known.is_none() && keys.iter().any(HashKey::is_channel);
    let is_certain = random.mark() == begun && !awaited;
    Some(HashExplanation {
        hash: hashed.hash.filter(|_| is_certain),
        keys: keys.into_iter().map(told).collect(),
    })
}

fn told(key: HashKey) -> HashKeyExplanation {
    let (is_used, value, note) = match key.found {
        KeyFound::Value(value) => (true, value, None),
        KeyFound::Made => (true, None, Some("absent: one is made, at random")),
        KeyFound::Absent => (false, None, Some("absent")),
        KeyFound::NotAsked => (false, None, Some("not asked for: what comes before it decides")),
    };
    HashKeyExplanation { on: key.on, is_used, value, note }
}
