//! How each endpoint stands, and why it would not be picked.

use std::{
    cell::Cell,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    Asked,
    dry::Outcomes,
    types::{EndpointExplanation, EndpointStanding, PickReason},
};
use crate::{
    balance::{
        ask::Ask,
        endpoint::{Endpoint, Upstream},
        health::Phase,
        pick::{Mode, Rank, is_failing, standing},
        place::{Level, Plan},
        policy::Policy,
        view::{Group, View},
    },
    config::Health,
    core::Random,
};

/// Of more endpoints than this nothing is said of the cost of one that no tried pick has met.
const COMPARED: usize = 256;

/// What is explained.
pub(super) struct Seeing<'a, X> {
    pub(super) view: &'a View<X>,
    pub(super) plan: Option<&'a Plan<X>>,
    pub(super) asked: &'a Asked<'a>,
    pub(super) now: u64,
    pub(super) found: &'a Outcomes<X>,
    /// The call goes where it says itself.
    pub(super) is_named: bool,
}

/// Where an endpoint is.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a, X> {
    /// None: in no priority.
    pub(super) level: Option<&'a Level<X>>,
    /// The endpoints that a policy picks among.
    pub(super) group: &'a Group<X>,
    /// Its priority or locality gets nothing.
    pub(super) without: Option<PickReason>,
}

impl<X: Upstream> Seeing<'_, X> {
    pub(super) fn endpoint(
        &self,
        endpoint: &Arc<Endpoint<X>>,
        spot: &Spot<'_, X>,
    ) -> EndpointExplanation {
        let (spec, live) = (endpoint.spec(), endpoint.live());
        let mut standing = standing_of(endpoint, self.now);
        if standing == EndpointStanding::Good && self.plan.is_some() {
            if is_failing(&**endpoint) {
                standing = EndpointStanding::Untried;
            } else if let Some(level) = spot.level {
                let part = self.part(endpoint, level);
                if part < 1.0 {
                    standing = EndpointStanding::Part(part);
                }
            }
        }
        let latency = live.map_or(0.0, |live| live.load.latency_at(self.now, self.view.decay));
        EndpointExplanation {
            address: spec.address().to_string(),
            reason: self.reason(endpoint, &standing, spot),
            standing,
            share: self.found.share(endpoint),
            weight: spec.weight(),
            in_flight: live.map(|live| live.load.in_flight()),
            latency: (latency > 0.0).then(|| Duration::from_secs_f32(latency / 1e9)),
            note: self.note(endpoint),
        }
    }

    fn part(&self, endpoint: &Arc<Endpoint<X>>, level: &Level<X>) -> f64 {
        let random = Random::dry(0);
        let ask = Ask::any(self.now, &random, &[]);
        let mode = Mode {
            worst: Cell::new(Rank::Young),
            edges: Cell::new(&level.edges),
            slow_start: self.plan.and_then(|plan| self.view.slow_start(plan, self.now)),
            ..Mode::new(&ask)
        };
        mode.share(endpoint, self.now)
    }

    fn reason(
        &self,
        endpoint: &Arc<Endpoint<X>>,
        standing: &EndpointStanding,
        spot: &Spot<'_, X>,
    ) -> PickReason {
        if self.found.share(endpoint) > 0.0 {
            return PickReason::Picked;
        }
        let is_well = matches!(standing, EndpointStanding::Good | EndpointStanding::Part(_));
        if let Some(reason) = spot.without
            && (is_well || spot.level.is_none())
        {
            return reason;
        }
        if self.is_named {
            return PickReason::Named;
        }
        if !is_well {
            return PickReason::Standing;
        }
        let in_shard = || {
            let places = spot.group.replicas.as_ref().zip(self.asked.hash);
            places.is_some_and(|(replicas, hash)| {
                let held = replicas.at(hash).iter();
                held.filter_map(|place| spot.group.set.get(*place as usize))
                    .any(|it| Arc::ptr_eq(it, endpoint))
            })
        };
        match &self.view.policy {
            Policy::Hashed(_) if self.asked.hash.is_some() => PickReason::Hash,
            Policy::Sharded(_) if !in_shard() => PickReason::Shard,
            // Turns begin anywhere.
            Policy::RoundRobin if spot.group.turn.load(Relaxed) > 0 => PickReason::Turn,
            #[cfg(feature = "orca")]
            Policy::Weighted(_) if spot.group.turn.load(Relaxed) > 0 => PickReason::Turn,
            Policy::Choices(choices) if choices.is_by_turns(spot.group.set.uniform) => {
                PickReason::Turn
            }
            Policy::First(_) => PickReason::Order,
            Policy::Random | Policy::RoundRobin | Policy::Hashed(_) => PickReason::Rare,
            #[cfg(feature = "orca")]
            Policy::Weighted(_) => PickReason::Rare,
            _ if spot.group.set.len() > COMPARED => PickReason::Rare,
            _ => PickReason::Cost,
        }
    }

    /// What load reports say of it.
    #[cfg(feature = "orca")]
    fn note(&self, endpoint: &Endpoint<X>) -> Option<String> {
        let live = endpoint.live()?;
        match &self.view.policy {
            Policy::Weighted(weighted) if !weighted.is_plain() => {
                Some(format!("{} of 65535 turns", weighted.turns(endpoint)))
            }
            Policy::Prequal(_) => {
                let report = self.found.reports.iter().find(|report| report.who == live.who())?;
                #[expect(clippy::cast_precision_loss, reason = "for reading")]
                let millis = report.micros as f64 / 1e3;
                let heat = if report.hot { "hot" } else { "cold" };
                Some(format!("reported {heat}: {} in flight, {millis:.2} ms", report.in_flight))
            }
            _ => None,
        }
    }

    #[cfg(not(feature = "orca"))]
    #[expect(clippy::unused_self, reason = "it is used with the feature `orca`")]
    fn note(&self, _endpoint: &Endpoint<X>) -> Option<String> {
        None
    }
}

/// How an endpoint stands, as a pick ranks it.
pub(in crate::balance) fn standing_of<X: Upstream>(
    endpoint: &Endpoint<X>,
    now: u64,
) -> EndpointStanding {
    let rank = standing(endpoint, now);
    let left = |at: u64| Duration::from_nanos(at.saturating_sub(now));
    let Some(live) = endpoint.live() else {
        return match rank {
            Rank::Never => EndpointStanding::Draining,
            Rank::Suspect if endpoint.spec().health() == Health::Unhealthy => {
                EndpointStanding::Unhealthy
            }
            Rank::Suspect => EndpointStanding::Unchecked,
            Rank::Degraded => EndpointStanding::Degraded,
            _ => EndpointStanding::Good,
        };
    };
    let state = &live.load.state;
    match rank {
        Rank::Never => EndpointStanding::Draining,
        Rank::Ejected if state.is_ejected() => {
            if state.phase(live.extra.link(now)) == Phase::Probing {
                return EndpointStanding::Probing;
            }
            let by = live.watch.get().and_then(|watch| watch.ejected_by());
            let by = by.map_or("its failures", |by| by.as_str());
            EndpointStanding::Ejected { by, probe_in: left(state.until()) }
        }
        Rank::Ejected => EndpointStanding::ChecksFail,
        Rank::Unavailable => EndpointStanding::Unavailable {
            back_off: Duration::from_nanos(live.extra.back_off(now)),
        },
        Rank::Suspect if state.is_suspect() => {
            EndpointStanding::Suspect { probe_in: left(state.probe_at()) }
        }
        Rank::Suspect if endpoint.spec().health() == Health::Unhealthy => {
            EndpointStanding::Unhealthy
        }
        Rank::Suspect => EndpointStanding::Unchecked,
        Rank::Degraded => EndpointStanding::Degraded,
        _ => EndpointStanding::Good,
    }
}
