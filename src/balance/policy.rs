//! The picking policy of a cluster, compiled from its settings.

use std::sync::Arc;

use super::{
    ask::Ask,
    bias::Bias,
    endpoint::{Endpoint, Upstream},
    hash,
    pick::{Choices, Drawn, First, Picker, Plain, Signal},
    set::Set,
    shard,
    view::Group,
};
#[cfg(feature = "orca")]
use super::{
    pick::DECAY,
    prequal::{self, Prequal},
    probing::Probes,
    sink::Sink,
    weighted::Weighted,
};
use crate::{config, core::nanos};

/// How one of a group's endpoints is picked.
#[derive(Clone)]
pub(super) enum Policy {
    PeakEwma {
        /// Nanoseconds; never 0.
        decay: u64,
        /// The latency that an endpoint without measurements is taken to have. Nanoseconds; 0: one
        /// probe finds out.
        first: u64,
        /// Answers are looked at for whether they ask for less.
        biased: bool,
    },
    LeastRequest,
    /// Least request of more than two, of all, or by turns.
    Choices(Choices),
    /// The first that can be connected to, in the group's order.
    First(First),
    RoundRobin,
    Random,
    #[cfg(feature = "orca")]
    Weighted(Arc<Weighted>),
    #[cfg(feature = "orca")]
    Prequal(Arc<Prequal>),
    /// By the hash of the request, over the group's table.
    Hashed(hash::Kind),
    /// By the hash of the request, to a replica of its shard.
    Sharded(Arc<shard::Map>),
}

/// How a pick of the plain case draws: what of the policy, and of the weights of its endpoints, that
/// depends on. In one byte: a pick looks at nothing else before it draws.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// Whether good or not, whoever is looked at has to rank first.
    Ranked,
    /// Least request of two that are as likely as all others.
    LessBusy,
    /// The same, by weight.
    LeastRequest,
    PeakEwma,
    Turns,
    TurnsByWeight,
    Random,
    #[cfg(feature = "orca")]
    Weighted,
    #[cfg(feature = "orca")]
    Prequal,
    Hashed,
}

impl Policy {
    /// The form of its picks among endpoints whose weights are all alike, or not.
    pub(super) fn form(&self, is_uniform: bool) -> Form {
        match self {
            Self::LeastRequest if is_uniform => Form::LessBusy,
            Self::LeastRequest => Form::LeastRequest,
            Self::PeakEwma { .. } => Form::PeakEwma,
            Self::RoundRobin if is_uniform => Form::Turns,
            Self::RoundRobin => Form::TurnsByWeight,
            Self::Random => Form::Random,
            #[cfg(feature = "orca")]
            Self::Weighted(_) => Form::Weighted,
            #[cfg(feature = "orca")]
            Self::Prequal(_) => Form::Prequal,
            Self::Hashed(_) => Form::Hashed,
            // It is by all of them, or few, that they decide.
            Self::Sharded(_) | Self::Choices(_) | Self::First(_) => Form::Ranked,
        }
    }

    /// `seed` is drawn where an order is shuffled.
    pub(super) fn of(cluster: &config::Cluster, seed: impl FnOnce() -> u64) -> Self {
        Self::of_balancer(&cluster.balancer.clone().unwrap_or_default(), cluster, seed)
    }

    fn of_balancer(
        balancer: &config::Balancer,
        cluster: &config::Cluster,
        seed: impl FnOnce() -> u64,
    ) -> Self {
        match balancer {
            config::Balancer::PeakEwma { decay, .. } => {
                let bias = Bias::default();
                bias.set(Some(balancer));
                let (decay, first, biased) = (nanos(*decay).max(1), bias.first(), bias.is_on());
                Self::PeakEwma { decay, first, biased }
            }
            config::Balancer::RoundRobin => Self::RoundRobin,
            config::Balancer::Random => Self::Random,
            #[cfg(feature = "orca")]
            config::Balancer::ClientWeighted(config) => {
                Self::Weighted(Arc::new(Weighted::new(config)))
            }
            #[cfg(feature = "orca")]
            config::Balancer::Prequal(config) => Self::Prequal(Arc::new(Prequal::new(config))),
            #[cfg(not(feature = "orca"))]
            config::Balancer::ClientWeighted(_) | config::Balancer::Prequal(_) => {
                Self::LeastRequest
            }
            config::Balancer::RingHash(ring) => Self::Hashed(hash::Kind::of_ring(ring)),
            config::Balancer::Maglev(maglev) => Self::Hashed(hash::Kind::of_maglev(maglev)),
            config::Balancer::Sharded(sharded) => Self::Sharded(Arc::new(shard::Map::new(sharded))),
            // What names no endpoint, or one that cannot be used.
            config::Balancer::OverrideHost(over) => {
                Self::of_balancer(&over.fallback, cluster, seed)
            }
            config::Balancer::LeastRequest => {
                let choices = Choices::of(cluster.least_request.as_ref());
                choices.map_or(Self::LeastRequest, Self::Choices)
            }
            config::Balancer::PickFirst(first) => Self::First(First::of(first, seed)),
            // Validation refuses the others, which are not there yet.
            config::Balancer::Extension(_) => Self::LeastRequest,
        }
    }

    /// How fast latencies are forgotten. Nanoseconds; 0: no average is asked for.
    #[inline]
    pub(super) fn decay(&self) -> u64 {
        match self {
            Self::PeakEwma { decay, .. } => *decay,
            Self::LeastRequest
            | Self::Choices(_)
            | Self::First(_)
            | Self::RoundRobin
            | Self::Random
            | Self::Hashed(_)
            | Self::Sharded(_) => 0,
            #[cfg(feature = "orca")]
            Self::Weighted(_) => 0,
            #[cfg(feature = "orca")]
            Self::Prequal(_) => DECAY,
        }
    }

    /// Whether answers are looked at for whether they ask for less.
    pub(super) fn is_biased(&self) -> bool {
        matches!(self, Self::PeakEwma { biased: true, .. })
    }

    /// Whether it has periodic work.
    pub(super) fn is_kept(&self) -> bool {
        match self {
            #[cfg(feature = "orca")]
            Self::Weighted(_) => true,
            _ => false,
        }
    }

    /// Does what is due of it, and says when more will be.
    #[cfg_attr(not(feature = "orca"), expect(clippy::unused_self, reason = "no policy has any"))]
    pub(super) fn keep<X: Upstream>(
        &self,
        set: &Set<X>,
        context: &X::Context,
        now: u64,
    ) -> Option<u64> {
        match self {
            #[cfg(feature = "orca")]
            Self::Weighted(weighted) => weighted.keep(now, set, context),
            _ => {
                let _none = (set, context, now);
                None
            }
        }
    }

    /// Where the load reports of the endpoints go.
    #[cfg(feature = "orca")]
    pub(super) fn sink(&self) -> Option<Arc<Sink>> {
        match self {
            Self::Weighted(weighted) => Some(Arc::new(Sink::Weighted(Arc::clone(weighted)))),
            Self::Prequal(prequal) => Some(Arc::new(Sink::Prequal(Arc::clone(prequal)))),
            _ => None,
        }
    }

    /// How it probes, if it does.
    #[cfg(feature = "orca")]
    pub(super) fn probes(&self) -> Option<&Arc<Probes>> {
        match self {
            Self::Prequal(prequal) => prequal.probes.as_ref(),
            _ => None,
        }
    }

    /// What the endpoints have told, where it picks by that.
    #[cfg(feature = "orca")]
    pub(super) fn reports(&self, now: u64, endpoints: usize) -> Vec<prequal::Reported> {
        match self {
            Self::Prequal(prequal) => prequal.pool.reports(now, &prequal.settings, endpoints),
            _ => Vec::new(),
        }
    }

    /// Whether endpoints are looked for by their places in the cluster.
    pub(super) fn finds_by_place(&self) -> bool {
        match self {
            #[cfg(feature = "orca")]
            Self::Prequal(_) => true,
            _ => false,
        }
    }

    /// What table its groups need.
    pub(super) fn hashes(&self) -> Option<hash::Kind> {
        match *self {
            Self::Hashed(kind) => Some(kind),
            _ => None,
        }
    }

    /// Whose replicas its groups look for.
    pub(super) fn shards(&self) -> Option<&Arc<shard::Map>> {
        match self {
            Self::Sharded(map) => Some(map),
            _ => None,
        }
    }

    /// How the order of its groups is made.
    pub(super) fn first(&self) -> Option<First> {
        match *self {
            Self::First(first) => Some(first),
            _ => None,
        }
    }

    /// Whether the calls in flight to the whole cluster are counted.
    pub(super) fn is_bounded(&self) -> bool {
        matches!(self, Self::Hashed(kind) if kind.is_bounded())
    }

    /// Picks in the plain case: what is drawn is good, and the call has met nothing yet. Nothing is drawn
    /// of nothing, and where it is by rank that one is picked.
    ///
    /// Inlined by all means: as a call of its own it takes a third of what a pick takes.
    #[inline(always)]
    pub(super) fn plain<'a, X: Upstream>(
        &self,
        form: Form,
        group: &'a Group<X>,
        picker: Picker<'a, X>,
        hash: Option<u64>,
    ) -> Plain<'a, X> {
        match form {
            Form::LessBusy => picker.less_busy(),
            Form::LeastRequest => picker.p2c(Signal::LeastRequest),
            Form::PeakEwma => match *self {
                Self::PeakEwma { decay, first, .. } => {
                    picker.p2c(Signal::PeakEwma { decay, first })
                }
                _ => Err(None),
            },
            Form::Turns => picker.in_turn(&group.turn),
            Form::TurnsByWeight => picker.in_turn_by_weight(&group.turn),
            Form::Random => picker.random(),
            #[cfg(feature = "orca")]
            Form::Weighted => match self {
                Self::Weighted(weighted) => picker.weighted(&group.turn, weighted),
                _ => Err(None),
            },
            #[cfg(feature = "orca")]
            Form::Prequal => match self {
                Self::Prequal(prequal) => picker.prequal(prequal),
                _ => Err(None),
            },
            Form::Hashed => match group.hashed(hash) {
                Some(by) => picker.hashed(&by),
                None => picker.random(),
            },
            Form::Ranked => Err(None),
        }
    }

    /// The same where there is a plan, and a call more is little.
    #[inline(never)]
    pub(super) fn plain_elsewhere<'a, X: Upstream>(
        &self,
        group: &'a Group<X>,
        picker: Picker<'a, X>,
        hash: Option<u64>,
    ) -> Plain<'a, X> {
        match self.form(group.set.uniform) {
            // Whoever it is.
            Form::Ranked => Err(group.set.get(0).map(|any| (any, any))),
            form => self.plain(form, group, picker, hash),
        }
    }

    /// Picks where a plan asks more of a pick, so that whoever is drawn is ranked.
    pub(super) fn by_rank<'a, X: Upstream>(
        &self,
        group: &'a Group<X>,
        picker: Picker<'a, X>,
        ask: &Ask<'a, X>,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        #[cfg(feature = "orca")]
        if let Self::Prequal(prequal) = self {
            return picker.prequal_by_rank(prequal);
        }
        let drawn = self.plain_elsewhere(group, picker, ask.hash).err().flatten()?;
        self.ranked(group, picker, ask, drawn)
    }

    /// Picks when what was drawn is not plainly good.
    pub(super) fn ranked<'a, X: Upstream>(
        &self,
        group: &'a Group<X>,
        picker: Picker<'a, X>,
        ask: &Ask<'a, X>,
        drawn: Drawn<'a, X>,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        match self {
            Self::LeastRequest => picker.p2c_ranked(drawn, Signal::LeastRequest),
            Self::PeakEwma { decay, first, .. } => {
                picker.p2c_ranked(drawn, Signal::PeakEwma { decay: *decay, first: *first })
            }
            Self::RoundRobin => picker.round_robin_ranked(drawn.0, &group.turn),
            Self::Random => picker.random_ranked(drawn.0),
            #[cfg(feature = "orca")]
            Self::Weighted(weighted) => picker.weighted_ranked(drawn.0, &group.turn, weighted),
            #[cfg(feature = "orca")]
            Self::Prequal(prequal) => picker.prequal_ranked(drawn, prequal),
            Self::Hashed(_) => match group.hashed(ask.hash) {
                Some(by) => picker.hashed_ranked(&by, drawn.0),
                None => picker.random_ranked(drawn.0),
            },
            Self::Choices(choices) => picker.choices(choices, &group.turn),
            Self::First(_) => picker.first(group.sequence.as_ref()?),
            Self::Sharded(_) => picker.sharded(group.replicas.as_ref()?, ask.hash),
        }
    }
}
