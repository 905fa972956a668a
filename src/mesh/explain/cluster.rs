//! The part of an explanation that is a cluster's.

use std::{ops::Deref, sync::Arc};

use http::{Request, uri::Scheme};

use super::{
    head,
    types::{ClusterExplanation, HashExplanation, HashKeyExplanation},
};
use crate::{
    balance::{Asked, Choice, Over, Wanted},
    config::{Discovery, Security},
    core::{self, Random},
    mesh::{
        call::{does_not_follow, in_clear, max_requests, no_endpoint, sticky},
        cluster::{Cluster, Core},
        guard::Dry,
        inner::Inner,
        service::{Route, Target},
        settings,
    },
    route::{
        Rule,
        hash::{Beside, HashKey, KeyFound},
    },
};

/// The call that is explained.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) inner: &'a Arc<Inner>,
    /// The service that is called.
    pub(super) service: &'a Arc<str>,
    pub(super) route: &'a Route,
    pub(super) request: &'a Request<()>,
    pub(super) now: u64,
}

/// What becomes of a call at a cluster that gets this share of them.
pub(super) fn explain(
    call: &Call<'_>,
    rule: Option<&Rule>,
    target: &Target,
    share: f64,
) -> ClusterExplanation {
    let mut explained = picked(call, target, share);
    let dry = Dry { inner: call.inner, request: call.request, route: call.route };
    for guard in target.guards.iter().flat_map(|guards| guards.iter()) {
        let foretold = guard.explain(&dry);
        explained.guards.extend(foretold.told);
        explained.fails = explained.fails.or(foretold.refuses);
    }
    if target.steps.as_ref().is_some_and(|steps| steps.answers()) {
        return explained;
    }
    match head::sent(call, rule, target) {
        Ok((head, mirrors)) => ClusterExplanation { head: Some(head), mirrors, ..explained },
        Err(error) => ClusterExplanation { fails: Some(error.to_string()), ..explained },
    }
}

fn picked(call: &Call<'_>, target: &Target, share: f64) -> ClusterExplanation {
    let own: &Arc<Cluster> = target.deref();
    let core = own.core.load();
    let session = call.route.session.as_ref();
    let session = session.filter(|it| it.is_for(call.request.uri().path()));
    let named = session.and_then(|session| session.named(call.request, sticky::now(session)));
    let said = session.and_then(|session| Some((&**session, named.as_ref()?)));
    let over = core.overriding.over(said, call.request);
    let hash = hashed(call, &core);
    let at = At { call, wanted: target.wanted.as_deref(), over, hash };
    let line: Vec<_> = own.line().collect();
    if line.len() == 1 {
        let explained = at.explain(own, share, false);
        let fails = invalid(target, own).or(explained.fails);
        return ClusterExplanation { fails, ..explained };
    }
    // As a pick has it: first what works, in order, then whatever there is.
    let explained = |it, well| {
        let explained = at.explain(it, share, well);
        // It is not asked.
        let in_clear = !Arc::ptr_eq(it, own) && !own.may_be_followed_by(it);
        if in_clear {
            let fails = Some(does_not_follow(own, it));
            return (ClusterExplanation { fails, ..explained }, false);
        }
        let takes = !matches!(explained.pick.choice, Choice::Nothing { .. });
        (explained, takes)
    };
    let all = |well| -> Vec<_> { line.iter().map(|it| explained(it, well)).collect() };
    let taker = |all: &[(ClusterExplanation, bool)]| {
        all.iter().find(|(_, takes)| *takes).map(|(it, _)| it.name.clone())
    };
    let mut explained = all(true);
    let mut taken_by = taker(&explained);
    if taken_by.is_none() {
        explained = all(false);
        taken_by = taker(&explained);
    }
    let failover = explained.split_off(1).into_iter().map(|(it, _)| it).collect();
    match explained.pop() {
        Some((first, _)) => ClusterExplanation { failover, taken_by, ..first },
        None => at.explain(own, share, false),
    }
}

/// A call at the clusters that may take it.
struct At<'a> {
    call: &'a Call<'a>,
    wanted: Option<&'a Wanted>,
    over: Option<Over>,
    hash: Option<HashExplanation>,
}

impl At<'_> {
    fn explain(&self, cluster: &Arc<Cluster>, share: f64, well: bool) -> ClusterExplanation {
        let call = self.call;
        let core = cluster.core.load();
        // By that cluster's own word where the call's has none.
        let hash = self.hash.clone().or_else(|| hashed(call, &core));
        let asked = Asked {
            hash: hash.as_ref().and_then(|hash| hash.hash),
            over: self.over.as_ref(),
            wanted: self.wanted,
            apart: call.route.policy.retry.leaves_localities(),
            avoid: call.route.policy.avoid.as_deref(),
            well,
        };
        let in_words = |error| {
            if well {
                return format!("nothing of cluster {} works", cluster.name);
            }
            let error = no_endpoint(cluster, error);
            if call.inner.is_dry && matches!(core.config.discovery, Some(Discovery::Dns(_))) {
                return format!("{error}; a dry run asks no DNS for them");
            }
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
            settings: settings::of_cluster(
                call.inner,
                &cluster.name,
                &core.protector,
                core.balancer.has(|spec| spec.security().is_some_and(Security::is_mutual)),
            ),
            head: None,
            mirrors: Vec::new(),
            guards: Vec::new(),
            labels: self.wanted.map(Wanted::pairs).unwrap_or_default(),
            fails: fails(call, cluster, &core),
            pick: core.balancer.explain(&asked, call.now, in_words),
            hash: hash.filter(|_| core.hashing.is_some()),
            failover: Vec::new(),
            taken_by: None,
        }
    }
}

/// What a call meets whose target is no cluster.
fn invalid(target: &Target, cluster: &Cluster) -> Option<String> {
    let answers = target.steps.as_ref().is_some_and(|steps| steps.answers());
    answers.then(|| match &cluster.refused {
        Some(reason) => {
            format!("it is invalid ({reason}): calls are answered 500, or `UNAVAILABLE` in gRPC")
        }
        None => "its filters answer: it is not called".to_owned(),
    })
}

/// Why the call fails whatever is picked.
fn fails(call: &Call<'_>, cluster: &Cluster, core: &Core) -> Option<String> {
    let priority = call.route.policy.priority;
    if let Some(limiter) = core.limiter(priority).filter(|limiter| limiter.is_full()) {
        let (limit, setting) = (limiter.limit(), max_requests(priority));
        return Some(format!(
            "the cluster has its maximum of {limit} requests in flight (`{setting}`)"
        ));
    }
    let gate = core.gate.as_ref();
    if gate.is_some_and(|gate| gate.drops.share() >= 1.0) {
        return Some("the cluster drops all of its calls (`drops`)".to_owned());
    }
    let queue = gate.and_then(|gate| gate.queue.as_ref());
    if queue.is_some_and(|queue| queue.is_failing_fast(call.now)) {
        return Some(
            "no endpoint has been available for `queue.failfast_timeout`: until one is, calls fail \
             at once"
                .to_owned(),
        );
    }
    let is_open = core.protector.is_open_itself()
        && call.inner.stages.leaf.is_none()
        && !core.balancer.has(|spec| spec.security().is_some());
    if !is_open {
        return None;
    }
    if call.request.uri().scheme() == Some(&Scheme::HTTPS) {
        return Some(in_clear(cluster).to_string());
    }
    if call.inner.is_heard() {
        return None;
    }
    call.inner.withheld(&cluster.name).map(|error| error.to_string())
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
