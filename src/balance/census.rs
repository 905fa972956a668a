//! How the endpoints of a cluster stand.

use std::{collections::HashMap, sync::Arc};

use super::{
    EndpointStanding,
    balancer::Balancer,
    decide::is_of_labels,
    endpoint::{Endpoint, Spec, Upstream},
    explain::standing_of,
    health::Link,
    pick::{Rank, standing},
    place::{Callers, locality_of},
    subset::labels::Wanted,
};
use crate::{
    config::{self, Address, Health, Locality},
    core::Instant,
};

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// Nothing speaks against it.
    Healthy,
    /// It failed more often than not.
    Suspect,
    /// No connection could be made, and the back-off lasts.
    Unavailable,
    /// By the word of its source, or of its checks.
    Unhealthy,
    /// By the word of its source.
    Draining,
    /// Its failures have taken it out of use for a while.
    Ejected,
    /// One call is out to see whether it is well again.
    Probing,
}

impl Standing {
    /// Their names, in their order.
    pub(crate) const NAMES: [&'static str; 7] =
        ["healthy", "suspect", "unavailable", "unhealthy", "draining", "ejected", "probing"];

    fn of<X: Upstream>(endpoint: &Endpoint<X>, now: u64) -> Self {
        match standing_of(endpoint, now) {
            EndpointStanding::Good
            | EndpointStanding::Part(_)
            | EndpointStanding::Untried
            | EndpointStanding::Degraded => Self::Healthy,
            EndpointStanding::Suspect { .. } => Self::Suspect,
            EndpointStanding::Unavailable { .. } => Self::Unavailable,
            EndpointStanding::Unhealthy
            | EndpointStanding::Unchecked
            | EndpointStanding::ChecksFail => Self::Unhealthy,
            EndpointStanding::Draining => Self::Draining,
            EndpointStanding::Ejected { .. } => Self::Ejected,
            EndpointStanding::Probing => Self::Probing,
        }
    }
}

/// How an endpoint that was called stands, or what its connections are at, beside what its source says.
fn in_words<X: Upstream>(endpoint: &Endpoint<X>, link: Link, now: u64) -> String {
    match standing_of(endpoint, now) {
        EndpointStanding::Good | EndpointStanding::Unhealthy | EndpointStanding::Draining => {
            let words = match link {
                Link::Idle => "idle",
                Link::Connecting => "connecting",
                Link::Ready => "ready",
                Link::BackingOff => "connect back-off",
            };
            words.to_owned()
        }
        standing => standing.to_string(),
    }
}

/// An endpoint, as its balancer sees it now.
pub(crate) struct Seen<'a> {
    pub(crate) address: &'a Address,
    pub(crate) standing: Standing,
    /// Of one that has been picked.
    pub(crate) in_flight: Option<u32>,
    /// Nanoseconds; 0 while nothing is known.
    pub(crate) latency: Option<f32>,
}

impl<X: Upstream> Balancer<X> {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.view.load().all.set.len()
    }

    /// Whether any endpoint of these labels may be called at all.
    pub(crate) fn is_callable(&self, wanted: Option<&Wanted>) -> bool {
        self.has_other(&[], None, wanted)
    }

    /// Whether any endpoint of these labels works, as far as is known.
    pub(crate) fn has_well(&self, wanted: Option<&Wanted>, now: u64) -> bool {
        let view = self.view.load();
        let is_well = |endpoint: &Arc<Endpoint<X>>| {
            matches!(standing(endpoint, now), Rank::Good | Rank::Degraded)
        };
        if view.placed.is_some() {
            return view.has_planned(wanted, now, is_well);
        }
        !is_of_labels(wanted) && view.all.set.iter().any(is_well)
    }

    /// Whether there is an endpoint that is none of these, and may be called by a call of this hash
    /// that asks for these labels.
    pub(crate) fn has_other(
        &self,
        than: &[&Endpoint<X>],
        hash: Option<u64>,
        wanted: Option<&Wanted>,
    ) -> bool {
        let view = self.view.load();
        let other = |known: &Arc<Endpoint<X>>| {
            known.spec().health() != Health::Draining && !than.iter().any(|met| met.is(known))
        };
        if view.placed.is_some() {
            let now = self.epoch.nanos(Instant::now());
            return view.has_planned(wanted, now, other);
        }
        if is_of_labels(wanted) {
            return false;
        }
        match (&view.all.replicas, hash) {
            (Some(replicas), Some(hash)) => {
                let at = |place: &u32| view.all.set.get(*place as usize);
                replicas.at(hash).iter().filter_map(at).any(other)
            }
            _ => view.all.set.iter().any(other),
        }
    }

    /// Whether it has an endpoint of such a specification.
    pub(crate) fn has(&self, such: impl Fn(&Spec) -> bool) -> bool {
        self.view.load().all.set.iter().any(|endpoint| such(endpoint.spec()))
    }

    /// Whether it has an endpoint of this address.
    pub(crate) fn lists(&self, address: &Address) -> bool {
        let view = self.view.load();
        view.pins.has(&view.all.set, address)
    }

    /// The index and the set agree.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.updater().check(&self.view.load());
    }

    /// The view, as a pick reads it.
    #[cfg(test)]
    pub(super) fn read(&self) -> arc_swap::Guard<Arc<super::view::View<X>>> {
        self.view.load()
    }

    /// What the sources have said, as they said it, in their order.
    pub(crate) fn specs(&self) -> Vec<config::Endpoint> {
        let view = self.view.load();
        let mut listed: Vec<_> = view.all.set.iter().collect();
        listed.sort_by_key(|endpoint| endpoint.listed());
        listed.into_iter().map(|endpoint| endpoint.spec().config()).collect()
    }

    /// Tells how each endpoint is doing.
    pub(crate) fn census(&self, now: u64, mut tell: impl FnMut(Seen<'_>)) {
        let view = self.view.load();
        let decay = view.decay;
        for endpoint in view.all.set.iter() {
            let (spec, live) = (endpoint.spec(), endpoint.live());
            let standing = Standing::of(endpoint, now);
            tell(Seen {
                address: spec.address(),
                standing,
                in_flight: live.map(|live| live.load.in_flight()),
                latency: live.map(|live| live.load.latency_at(now, decay)),
            });
        }
    }

    /// Where its endpoints are that are well, by locality.
    pub(crate) fn callers(&self, now: u64) -> Vec<Callers> {
        let mut callers = HashMap::<Locality, Callers>::new();
        for endpoint in self.view.load().all.set.iter() {
            if !matches!(standing(endpoint, now), Rank::Good | Rank::Degraded) {
                continue;
            }
            let locality = locality_of(endpoint);
            let known = callers
                .entry(locality.clone())
                .or_insert_with(|| Callers { locality, ..Callers::default() });
            known.number += 1;
            known.weight += u64::from(endpoint.spec().weight());
        }
        callers.into_values().collect()
    }

    /// One line per priority and locality, where there is a plan.
    pub(crate) fn places(&self, now: u64) -> Vec<String> {
        let view = self.view.load();
        match &view.placed {
            Some(placed) => placed.plan.told(&view.all, &view.placing, now),
            None => Vec::new(),
        }
    }

    /// One line per endpoint, at the end of which `also` says more.
    pub(crate) fn report(&self, now: u64, also: impl Fn(&Spec) -> String) -> Vec<String> {
        let view = self.view.load();
        let decay = view.decay;
        view.all
            .set
            .iter()
            .map(|endpoint| {
                let spec = endpoint.spec();
                let (address, weight, also) = (spec.address(), spec.weight(), also(spec));
                let Some(live) = endpoint.live() else {
                    return format!("{address} weight {weight}, not called yet{also}");
                };
                let latency = live.load.latency_at(now, decay) / 1e6;
                let state = in_words(endpoint, live.extra.link(now), now);
                let (in_flight, success) = (live.load.in_flight(), live.load.success_ratio());
                format!(
                    "{address} weight {weight}, {in_flight} in flight, {latency:.2} ms, success {:.0} %, \
                     {state}{also}",
                    success * 100.0,
                )
            })
            .collect()
    }
}
