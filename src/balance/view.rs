//! What a pick reads: the endpoints of a cluster and how one of them is picked, at one moment.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    endpoint::Upstream,
    place::{Counting, Making, Placing, Plan, Sharing},
    policy::Policy,
    set::Set,
    subset::labels::{self, Labels},
};
use crate::config;

/// How often a plan is counted anew, while calls come. Nanoseconds.
const COUNT: u64 = 1_000_000_000;

/// Immutable; replaced as a whole by an update.
pub(super) struct View<X> {
    /// Every endpoint.
    pub(super) all: Group<X>,
    pub(super) policy: Policy,
    /// The policy's: how fast latencies are forgotten. Nanoseconds; 0: no average is asked for.
    pub(super) decay: u64,
    pub(super) placing: Arc<Placing>,
    /// Where to pick, unless anywhere will do.
    pub(super) placed: Option<Box<Placed<X>>>,
}

/// Endpoints that one policy picks among.
pub(super) struct Group<X> {
    pub(super) set: Set<X>,
    /// Whose turn it is; it survives updates.
    pub(super) turn: Arc<AtomicU64>,
}

/// The plan of a cluster, and those of its parts by labels.
pub(super) struct Placed<X> {
    pub(super) plan: Plan<X>,
    pub(super) parts: HashMap<u64, (Labels, Plan<X>)>,
}

impl<X> Group<X> {
    /// The turn goes on where it was `before`.
    pub(super) fn new(set: Set<X>, before: Option<&Self>) -> Self {
        Self { set, turn: before.map(|before| Arc::clone(&before.turn)).unwrap_or_default() }
    }
}

impl<X: Upstream> Placed<X> {
    fn new(
        all: &Group<X>,
        placing: &Placing,
        place: &config::Place,
        before: Option<&Self>,
    ) -> Self {
        let endpoints: Vec<_> = all.set.iter().cloned().collect();
        let making = Making { placing, place, before: before.map(|it| &it.plan), id: 0 };
        let plan = Plan::new(&making, &endpoints, true);
        let mut parts = HashMap::new();
        if let Some(subsets) = &placing.subsets {
            let none = Labels::new();
            let of = endpoints.iter().map(|it| it.spec().said().map_or(&none, |said| &said.labels));
            for (id, part) in labels::parts(subsets, of) {
                let of = |place: &u32| endpoints.get(*place as usize).cloned();
                let members: Vec<_> = part.places.iter().filter_map(of).collect();
                let before = before.and_then(|it| it.parts.get(&id)).map(|(_, plan)| plan);
                let making = Making { placing, place, before, id };
                parts.insert(id, (part.labels, Plan::new(&making, &members, false)));
            }
        }
        Self { plan, parts }
    }

    fn plans(&self) -> impl Iterator<Item = &Plan<X>> {
        std::iter::once(&self.plan).chain(self.parts.values().map(|(_, plan)| plan))
    }
}

impl<X: Upstream> View<X> {
    pub(super) fn empty(cluster: &config::Cluster, cx: &X::Context) -> Self {
        let all = Group::new(Set::empty(), None);
        let placing = Arc::new(Placing::of(cluster, || X::seed(cx)));
        let policy = Policy::of(cluster);
        let decay = policy.decay();
        Self { all, policy, decay, placing, placed: None }
    }

    /// Where to pick by other settings; what was drawn once stays.
    pub(super) fn placing(&self, cluster: &config::Cluster, cx: &X::Context) -> Placing {
        Placing::of(cluster, || self.placing.seed().unwrap_or_else(|| X::seed(cx)))
    }

    /// Whether there is periodic work under these settings.
    pub(super) fn is_kept(&self) -> bool {
        self.placed.is_some()
    }

    /// Does what is due, and says when more will be; whether the view is to be made anew.
    pub(super) fn keep(&self, cx: &X::Context, now: u64) -> (Option<u64>, bool) {
        let Some(placed) = &self.placed else { return (None, false) };
        let used = placed.plans().fold(false, |used, plan| plan.used.swap(false, Relaxed) | used);
        let moved = self.count(cx, now);
        (used.then_some(now.saturating_add(COUNT)), moved)
    }

    /// Counts the endpoints of the plan; whether the view is to be made anew.
    fn count(&self, cx: &X::Context, now: u64) -> bool {
        let Some(placed) = &self.placed else { return false };
        let (placing, place) = (&*self.placing, &X::place(cx));
        let callers = match &placing.sharing {
            Sharing::Zone { own_cluster: Some(own), .. } => X::callers(cx, own),
            _ => Vec::new(),
        };
        let counting = Counting { placing, place, callers: &callers, now };
        let mut moved = placed.plan.count(&self.all, &counting, |shift| X::shifted(cx, shift));
        for (_, plan) in placed.parts.values() {
            moved |= plan.count(&self.all, &counting, |_| {});
        }
        moved
    }

    /// The view of a changed set.
    pub(super) fn of(&self, set: Set<X>, cx: &X::Context, now: u64) -> Self {
        self.under(self.policy, Arc::clone(&self.placing), set, cx, now)
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
        let all = Group::new(set, Some(&self.all));
        let placed = (placing.said || all.set.placed > 0).then(|| {
            let before = self.placed.as_deref();
            Box::new(Placed::new(&all, &placing, &X::place(cx), before))
        });
        let decay = policy.decay();
        let view = Self { all, policy, decay, placing, placed };
        view.count(cx, now);
        view
    }
}
