//! What a pick reads: the endpoints of a cluster and how one of them is picked, at one moment.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    endpoint::{Environment, Upstream},
    flight::Marks,
    hash::{Crowd, Spread},
    health::Health,
    pick::{First, Hashed, Pins, Sequence},
    place::slow_start::SlowStart,
    place::{Counting, LocalityWeights, Making, Placing, Plan, Sharing},
    policy::{Form, Policy},
    set::Set,
    shard::Replicas,
    subset::labels::{self, Labels},
};
use crate::{config, core::earliest};

/// How often a plan is counted anew, while calls come. Nanoseconds.
const COUNT: u64 = 1_000_000_000;
/// Of so many new endpoints each is looked at for whether the plan may stay.
const FEW: usize = 64;
/// Of so many endpoints, a few that change do not change what was counted less than [`COUNT`] ago.
const MANY: usize = 1024;

/// Immutable; replaced as a whole by an update.
pub(super) struct View<X> {
    /// Every endpoint.
    pub(super) all: Group<X>,
    pub(super) policy: Policy,
    /// The policy's: how fast latencies are forgotten. Nanoseconds; 0: no average is asked for.
    pub(super) decay: u64,
    /// The policy's: it bounds the load of each endpoint by the mean, and counts what is in flight; it
    /// looks at answers for whether they ask for less.
    pub(super) marks: Marks,
    /// How a call that asks for nothing else gets any good endpoint that the policy draws.
    pub(super) form: Form,
    pub(super) placing: Arc<Placing>,
    /// Of the cluster; the same in every view of it.
    pub(super) health: Arc<Health>,
    /// Where calls find the endpoint that they name.
    pub(super) pins: Pins,
    /// Where to pick, unless anywhere will do.
    pub(super) placed: Option<Box<Placed<X>>>,
}

/// Endpoints that one policy picks among.
pub(super) struct Group<X> {
    pub(super) set: Set<X>,
    /// Whose turn it is; it survives updates.
    pub(super) turn: Arc<AtomicU64>,
    /// The table of a policy that hashes.
    pub(super) spread: Option<Arc<Spread>>,
    /// The calls in flight to the cluster; it survives updates.
    pub(super) crowd: Arc<Crowd>,
    /// Who holds which shard, where the policy shards.
    pub(super) replicas: Option<Replicas>,
    /// The order in which endpoints are tried, where the policy picks the first.
    pub(super) sequence: Option<Sequence>,
}

impl<X> Group<X> {
    /// The same endpoints, whose turns are its own.
    pub(super) fn copied(&self) -> Self {
        Self {
            set: self.set.share(),
            turn: Arc::new(AtomicU64::new(self.turn.load(Relaxed))),
            spread: self.spread.clone(),
            crowd: Arc::clone(&self.crowd),
            replicas: self.replicas.clone(),
            sequence: self.sequence.as_ref().map(Sequence::copied),
        }
    }

    /// What a hash is picked by; there is a table where the policy hashes.
    #[inline]
    pub(super) fn hashed(&self, hash: Option<u64>) -> Option<Hashed<'_>> {
        Some(Hashed { spread: self.spread.as_deref()?, hash, crowd: &self.crowd })
    }
}

/// The plan of a cluster, and those of its parts by labels.
pub(super) struct Placed<X> {
    /// It asks for no labels, its priorities and localities come to all endpoints alike, and its policy
    /// draws: while these are well, a pick goes by the policy alone.
    pub(super) is_straight: bool,
    pub(super) plan: Plan<X>,
    pub(super) parts: HashMap<u64, (Labels, Plan<X>)>,
}

impl<X: Upstream> Group<X> {
    /// The turn goes on where it was `before`, and a table that fits is kept. `weights` are those by which
    /// localities share it.
    pub(super) fn new(
        policy: &Policy,
        set: Set<X>,
        before: Option<&Self>,
        (crowd, weights): (&Arc<Crowd>, Option<&LocalityWeights>),
    ) -> Self {
        let table = before.and_then(|before| before.spread.as_ref());
        let held = before.and_then(|before| before.replicas.as_ref());
        let ordered = before.and_then(|before| Some((before.sequence.as_ref()?, &before.set)));
        Self {
            sequence: policy.first().map(|first| Sequence::of(first, &set, ordered)),
            replicas: policy.shards().map(|map| Replicas::of(map, &set, held)),
            spread: policy.hashes().map(|kind| Spread::of(kind, &set, weights, table)),
            set,
            turn: before.map(|before| Arc::clone(&before.turn)).unwrap_or_default(),
            crowd: Arc::clone(crowd),
        }
    }
}

impl<X: Upstream> Placed<X> {
    fn new(
        all: &Group<X>,
        policy: &Policy,
        placing: &Placing,
        place: &config::Place,
        before: Option<&Self>,
    ) -> Self {
        let endpoints: Vec<_> = all.set.iter().collect();
        let making = Making {
            policy,
            crowd: &all.crowd,
            placing,
            place,
            before: before.map(|it| &it.plan),
            id: 0,
        };
        let plan = Plan::new(&making, &endpoints, true);
        let mut parts = HashMap::new();
        if let Some(subsets) = &placing.subsets {
            let none = Labels::new();
            let of = endpoints.iter().map(|it| it.spec().said().map_or(&none, |said| &said.labels));
            for (id, part) in labels::parts(subsets, of) {
                let of = |place: &u32| endpoints.get(*place as usize).copied();
                let members: Vec<_> = part.places.iter().filter_map(of).collect();
                let before = before.and_then(|it| it.parts.get(&id)).map(|(_, plan)| plan);
                let making = Making { before, id, ..making };
                parts.insert(id, (part.labels, Plan::new(&making, &members, false)));
            }
        }
        let is_straight = is_straight(policy, placing, &all.set) && plan.is_whole();
        Self { is_straight, plan, parts }
    }

    /// The same for a set in which these places alone have endpoints that are new or said otherwise, where
    /// that is known without a look at the others: all are one group, and those belong to it.
    pub(super) fn kept(
        &self,
        policy: &Policy,
        placing: &Placing,
        set: &Set<X>,
        new: &[usize],
    ) -> Option<Self> {
        if new.len() > FEW || !placing.is_even() || !self.parts.is_empty() {
            return None;
        }
        let plan = self.plan.renewed()?;
        let level = plan.levels.first()?;
        let stays = (0..set.len()).find(|place| !new.contains(place))?;
        let locality = set.get(stays)?.locality();
        let belongs = |place: &usize| {
            set.get(*place).is_some_and(|endpoint| {
                endpoint.spec().priority() == level.priority
                    && (placing.is_together() || endpoint.locality() == locality)
            })
        };
        if !new.iter().all(belongs) {
            return None;
        }
        let is_straight = is_straight(policy, placing, set);
        Some(Self { is_straight, plan, parts: HashMap::new() })
    }

    pub(super) fn plans(&self) -> impl Iterator<Item = &Plan<X>> {
        std::iter::once(&self.plan).chain(self.parts.values().map(|(_, plan)| plan))
    }
}

/// Whether picks go by the policy alone where the plan is one group.
fn is_straight<X>(policy: &Policy, placing: &Placing, set: &Set<X>) -> bool {
    let draws = policy.form(set.uniform) != Form::Ranked;
    draws && placing.subsets.is_none() && placing.slow_start.is_none()
}

impl<X: Upstream> View<X> {
    pub(super) fn empty(cluster: &config::Cluster, cx: &X::Context, health: Arc<Health>) -> Self {
        let policy = Policy::of(cluster, || cx.seed());
        let all = Group::new(&policy, Set::empty(), None, (&Arc::default(), None));
        let placing = Arc::new(Placing::of(cluster, || cx.seed()));
        Self::made(policy, all, placing, health, None)
    }

    fn made(
        policy: Policy,
        all: Group<X>,
        placing: Arc<Placing>,
        health: Arc<Health>,
        placed: Option<Box<Placed<X>>>,
    ) -> Self {
        let (decay, pins) = (policy.decay(), Pins::default());
        let marks = Marks::new(policy.is_bounded(), policy.is_biased(), health.is_on());
        let form = if placed.is_none() { policy.form(all.set.uniform) } else { Form::Ranked };
        Self { all, policy, decay, marks, form, placing, health, pins, placed }
    }

    /// Where to pick by other settings; what was drawn once stays.
    pub(super) fn placing(&self, cluster: &config::Cluster, cx: &X::Context) -> Placing {
        Placing::of(cluster, || self.placing.seed().unwrap_or_else(|| cx.seed()))
    }

    /// How those that have just joined, or are well again, get their share; None while there are none.
    pub(super) fn slow_start(&self, plan: &Plan<X>, now: u64) -> Option<&SlowStart> {
        let slow = self.placing.slow_start.as_ref()?;
        (now < plan.young_until || self.health.is_renewing(now, slow.window)).then_some(slow)
    }

    /// Whether who was ejected gets its share by and by.
    pub(super) fn ramps(&self) -> bool {
        self.placing.slow_start.as_ref().is_some_and(|slow| slow.after_ejection)
    }

    /// The policy of other settings; what was drawn once stays.
    pub(super) fn policy(&self, cluster: &config::Cluster, cx: &X::Context) -> Policy {
        let drawn = self.policy.first().and_then(First::seed);
        Policy::of(cluster, || drawn.unwrap_or_else(|| cx.seed()))
    }

    /// Whether there is periodic work under these settings.
    pub(super) fn is_kept(&self) -> bool {
        self.placed.is_some() || self.policy.is_kept()
    }

    /// Does what is due, and says when more will be; whether the view is to be made anew.
    pub(super) fn keep(&self, cx: &X::Context, now: u64) -> (Option<u64>, bool) {
        let due = self.policy.keep(&self.all.set, cx, now);
        let Some(placed) = &self.placed else { return (due, false) };
        let used = placed.plans().fold(false, |used, plan| plan.used.take() | used);
        let moved = self.count(cx, now);
        (earliest(due, used.then_some(now.saturating_add(COUNT))), moved)
    }

    /// Counts the endpoints of the plan; whether the view is to be made anew.
    pub(super) fn count(&self, cx: &X::Context, now: u64) -> bool {
        let Some(placed) = &self.placed else { return false };
        let (placing, place) = (&*self.placing, &cx.place());
        let callers = match &placing.sharing {
            Sharing::Zone { own_cluster: Some(own), .. } => cx.callers(own),
            _ => Vec::new(),
        };
        let counting = Counting { placing, place, callers: &callers, now };
        let mut moved = placed.plan.count(&self.all, &counting, |shift| cx.shifted(shift));
        for (_, plan) in placed.parts.values() {
            moved |= plan.count(&self.all, &counting, |_| {});
        }
        moved
    }

    /// The view of a changed set.
    pub(super) fn of(&self, set: Set<X>, cx: &X::Context, now: u64) -> Self {
        self.under(self.policy.clone(), Arc::clone(&self.placing), set, cx, now)
    }

    /// The same, where these places alone have endpoints that are new or said otherwise.
    pub(super) fn of_changed(&self, set: Set<X>, new: &[usize], cx: &X::Context, now: u64) -> Self {
        let (policy, placing) = (self.policy.clone(), Arc::clone(&self.placing));
        let placed = self.placed.as_ref();
        let kept = placed.and_then(|placed| placed.kept(&policy, &placing, &set, new));
        self.with((policy, placing), set, kept, cx, now)
    }

    /// The view of a set, perhaps the same, under settings, perhaps the same.
    pub(super) fn under(
        &self,
        policy: Policy,
        placing: Arc<Placing>,
        set: Set<X>,
        cx: &X::Context,
        now: u64,
    ) -> Self {
        self.with((policy, placing), set, None, cx, now)
    }

    /// The same, whose plan is this one, if it needs one, or is made.
    fn with(
        &self,
        (policy, placing): (Policy, Arc<Placing>),
        set: Set<X>,
        kept: Option<Placed<X>>,
        cx: &X::Context,
        now: u64,
    ) -> Self {
        let all = Group::new(&policy, set, Some(&self.all), (&self.all.crowd, placing.weights()));
        let before = self.placed.as_deref().filter(|_| all.set.len() >= MANY);
        let is_counted = kept.as_ref().zip(before).is_some_and(|(kept, before)| {
            kept.plan.take_count_of(&before.plan, now.saturating_sub(COUNT))
        });
        let placed = (placing.said || all.set.placed > 0).then(|| {
            let before = self.placed.as_deref();
            let made = || Placed::new(&all, &policy, &placing, &cx.place(), before);
            Box::new(kept.unwrap_or_else(made))
        });
        let pins = self.pins.of(&all.set);
        let view =
            Self { pins, ..Self::made(policy, all, placing, Arc::clone(&self.health), placed) };
        if !is_counted {
            view.count(cx, now);
        }
        view
    }
}
