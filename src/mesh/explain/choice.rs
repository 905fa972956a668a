//! Which of its route's clusters a call would go to.

use super::{
    cluster::{Call, explain},
    types::ClusterExplanation,
};
use crate::{
    core::Random,
    mesh::{
        call::{chosen, sticky},
        choosing::{self, Choosing},
        guard::Dry,
    },
    route::{
        Rule,
        hash::{Beside, HashKey},
    },
};

/// What becomes of a call where its route sends it.
#[derive(Default)]
pub(super) struct Sent {
    /// How the cluster is chosen, where that is not by weight alone.
    pub(super) choice: Option<String>,
    pub(super) clusters: Vec<ClusterExplanation>,
    /// What the rules say of the service whose cluster a header names.
    pub(super) rules: Vec<String>,
    /// Why the call fails.
    pub(super) fails: Option<String>,
}

pub(super) fn sent(call: &Call<'_>, rule: Option<&Rule>) -> Sent {
    let route = call.route;
    if let Some(Choosing::Header(by)) = &route.choosing {
        return named(call, rule, by);
    }
    let (mut only, mut note) = (None, "");
    match &route.choosing {
        Some(Choosing::FirstAvailable) => {
            only = Some(choosing::first_available(route, call.now));
        }
        Some(Choosing::Hashed) => {
            let channel = call.inner.known_channel();
            let random = Random::dry(0);
            let begun = random.mark();
            let hashed = choosing::hashed(route, call.request, channel.unwrap_or_default(), || {
                random.next()
            });
            // The number of the mesh is drawn at the first call that is hashed by it.
            let beside = Beside { key: None, channel: 0 };
            let awaited = channel.is_none()
                && route.policy.hash.as_ref().is_some_and(|hashing| {
                    hashing.keys(call.request, beside).iter().any(HashKey::is_channel)
                });
            let hash = hashed.hash.filter(|_| random.mark() == begun && !awaited);
            only = hash.map(|hash| route.clusters.place_of_hash(hash));
            note = if only.is_none() { ", which has none yet: by weight" } else { "" };
        }
        Some(Choosing::Number(name)) => {
            only = choosing::number(name, call.request)
                .map(|number| route.clusters.place_of_hash(number));
            note = if only.is_none() { ", which has none: by weight" } else { "" };
        }
        Some(Choosing::Header(_)) | None => {}
    }
    let takes_turns = matches!(route.choosing, Some(Choosing::FirstAvailable));
    let of_session =
        if takes_turns { None } else { sticky::cluster_of_session(route, call.request) };
    only = of_session.or(only);
    let total: u64 = route.clusters.iter().map(|(weight, _)| weight).sum();
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = |place: usize, weight: u64| match only {
        Some(only) if only == place => 1.0,
        Some(_) => 0.0,
        None => weight as f64 / total as f64,
    };
    let targets = route.clusters.iter().enumerate();
    let clusters = targets
        .map(|(place, (weight, target))| explain(call, rule, target, share(place, weight)))
        .collect();
    let choice = match of_session {
        Some(_) => Some("of the session".to_owned()),
        None => route.choosing.as_ref().map(|choosing| choosing.told() + note),
    };
    Sent { choice, clusters, ..Sent::default() }
}

/// To the cluster that its header names.
fn named(call: &Call<'_>, rule: Option<&Rule>, by: &choosing::ByHeader) -> Sent {
    let choice = call.route.choosing.as_ref().map(Choosing::told);
    let Some((target, known)) = by.target(call.inner, call.request) else {
        let fails = Some(by.error(call.request).to_string());
        return Sent { choice, fails, ..Sent::default() };
    };
    let clusters = vec![explain(call, rule, &target, 1.0)];
    match chosen::rules(call.inner, call.service, &known, call.request, &Random::dry(0)) {
        Err(error) => Sent { choice, clusters, fails: Some(error.to_string()), ..Sent::default() },
        Ok(rules) => {
            let dry = Dry { inner: call.inner, request: call.request, route: call.route };
            let (mut told, mut reasons) = (Vec::new(), Vec::new());
            for rule in &rules {
                let foretold = rule.explain(&dry);
                let of = format!(", of a service that leads to {}", known.cluster.name);
                told.extend(foretold.told.map(|told| told + &of));
                reasons.extend(foretold.refuses);
            }
            let fails = (!reasons.is_empty()).then(|| reasons.join("; "));
            Sent { choice, clusters, rules: told, fails }
        }
    }
}
