//! Picks that are tried out: by the code of a pick, on a copy of what it counts by, with randomness of
//! their own. Nothing that a call would see is changed.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::Asked;
use crate::{
    balance::{
        ask::Ask,
        balancer::PickError,
        endpoint::{Endpoint, Upstream},
        pick::Pins,
        planned::plan_of,
        view::{Group, Placed, View},
    },
    core::Random,
};

/// So many picks at most, and so many of a large cluster: together they look at a bounded number of
/// endpoints, even if each looks at all.
const RUNS: usize = 4_096;
const FEWEST: usize = 256;
const LOOKS: usize = 1 << 20;
/// A trial is of few endpoints.
const TRIALS: usize = 64;
/// How many retries of a call are told.
const RETRIES: usize = 3;
/// Any: one state is explained in one way.
const SEED: u64 = 0x6578_706c_6169_6e21;

/// What picks of one state come to.
pub(super) struct Outcomes<X> {
    /// How often each was picked.
    pub(super) counts: HashMap<*const Endpoint<X>, u32>,
    pub(super) runs: u32,
    pub(super) fails: u32,
    /// Each that was met.
    pub(super) errors: Vec<PickError>,
    /// No random word decides.
    pub(super) certain: bool,
    /// Who was picked, each once.
    pub(super) met: Vec<Arc<Endpoint<X>>>,
    /// What endpoints have told of themselves, where the policy picks by that.
    #[cfg(feature = "orca")]
    pub(super) reports: Vec<crate::balance::prequal::Reported>,
    /// The first to be picked; and where it is certain, whom each further attempt would pick.
    pub(super) chain: Vec<Arc<Endpoint<X>>>,
    /// Who gets the next call before all of this.
    pub(super) trial: Vec<Arc<Endpoint<X>>>,
}

/// A view that picks may be tried out on.
struct Trials<X> {
    view: View<X>,
    /// Whose turn it was.
    turns: Vec<(Arc<AtomicU64>, u64)>,
}

impl<X: Upstream> View<X> {
    /// The same endpoints under the same policy, with turns and shares of its own.
    fn copied(&self) -> Self {
        let placed = self.placed.as_ref().map(|placed| {
            let parts = placed.parts.iter();
            let parts = parts.map(|(id, (labels, plan))| (*id, (labels.clone(), plan.copied())));
            let (is_straight, parts) = (placed.is_straight, parts.collect());
            Box::new(Placed { is_straight, plan: placed.plan.copied(), parts })
        });
        Self {
            all: self.all.copied(),
            policy: self.policy.clone(),
            decay: self.decay,
            marks: self.marks,
            form: self.form,
            placing: Arc::clone(&self.placing),
            health: Arc::clone(&self.health),
            pins: Pins::default(),
            placed,
        }
    }
}

impl<X: Upstream> Trials<X> {
    fn of(view: &View<X>) -> Self {
        let view = view.copied();
        let mut turns = Vec::new();
        let mut note = |group: &Group<X>| {
            turns.push((Arc::clone(&group.turn), group.turn.load(Relaxed)));
        };
        note(&view.all);
        if let Some(placed) = &view.placed {
            for level in placed.plans().flat_map(|plan| &plan.levels) {
                level.whole.iter().for_each(&mut note);
                level.parts.iter().for_each(|part| note(&part.group));
            }
        }
        Self { view, turns }
    }

    /// One pick of the same state as every other.
    fn pick(&self, ask: &Ask<'_, X>) -> Result<Arc<Endpoint<X>>, PickError> {
        let picked = self.view.decide(ask, &|| (), |(endpoint, _)| Arc::clone(endpoint));
        for (turn, at) in &self.turns {
            turn.store(*at, Relaxed);
        }
        picked
    }
}

impl<X: Upstream> Trials<X> {
    /// Whether there is a plan, and all of its picks look in the same place first.
    fn has_one_group(&self, asked: &Asked<'_>) -> bool {
        let plan = self.view.placed.as_ref();
        let plan = plan.and_then(|placed| plan_of(&self.view, placed, asked.wanted).ok());
        plan.is_some_and(|plan| match plan.levels.as_slice() {
            [level] => {
                let load = level.load();
                load.degraded == 0 && (load.panic || !level.is_split.load(Relaxed))
            }
            _ => false,
        })
    }

    /// Whom a trial may pick; nobody if it finds none who is worth it.
    fn of_trial(&self, trial: u64, ask: &Ask<'_, X>) -> Vec<Arc<Endpoint<X>>> {
        let mut met: Vec<Arc<Endpoint<X>>> = Vec::new();
        let plan = self.view.placed.as_ref();
        let plan = plan.and_then(|placed| plan_of(&self.view, placed, ask.wanted).ok());
        let Some(plan) = plan else { return met };
        plan.trial.store(trial, Relaxed);
        let Some((level, part)) = plan.take_trial() else { return met };
        let whole = level.whole.as_ref().unwrap_or(&self.view.all);
        let group = part.map_or(whole, |part| &part.group);
        for _ in 0..TRIALS {
            plan.trial.store(trial, Relaxed);
            // A call that goes where it says itself leaves the trial to others.
            if let Ok(picked) = self.pick(ask)
                && plan.trial.load(Relaxed) == 0
                && group.set.iter().any(|it| Arc::ptr_eq(it, &picked))
                && !met.iter().any(|it| Arc::ptr_eq(it, &picked))
            {
                met.push(picked);
            }
        }
        plan.trial.store(0, Relaxed);
        met
    }
}

/// Tries picks out.
pub(super) fn outcomes<X: Upstream>(
    view: &View<X>,
    asked: &Asked<'_>,
    now: u64,
    trial: u64,
) -> Outcomes<X> {
    let (trials, random) = (Trials::of(view), Random::dry(SEED));
    let first = ask(asked, now, &random, &[]);
    let trial = if trial == 0 { Vec::new() } else { trials.of_trial(trial, &first) };
    let mut outcomes = Outcomes {
        counts: HashMap::new(),
        runs: 0,
        fails: 0,
        errors: Vec::new(),
        certain: false,
        met: Vec::new(),
        #[cfg(feature = "orca")]
        reports: view.policy.reports(now, view.all.set.len()),
        chain: Vec::new(),
        trial,
    };
    let begun = random.mark();
    outcomes.note(trials.pick(&first));
    // The word that chooses a priority and a locality decides nothing where there is one of each.
    let idle = u64::from(asked.hash.is_none() && trials.has_one_group(asked));
    outcomes.certain = random.drew_at_most(idle, begun);
    if outcomes.certain {
        let more = if asked.hash.is_some() { RETRIES } else { 0 };
        for _ in 0..more {
            let next = trials.pick(&ask(asked, now, &random, &outcomes.chain));
            let Ok(next) = next else { break };
            // What is met again is no other.
            if outcomes.chain.iter().any(|met| met.is(&next)) {
                break;
            }
            outcomes.chain.push(next);
        }
        return outcomes;
    }
    let runs = (LOOKS / view.all.set.len().max(1)).clamp(FEWEST, RUNS);
    for _ in 1..runs {
        outcomes.note(trials.pick(&first));
    }
    outcomes
}

fn ask<'a, X>(
    asked: &Asked<'a>,
    now: u64,
    random: &'a Random,
    tried: &'a [Arc<Endpoint<X>>],
) -> Ask<'a, X> {
    let ask = Ask::any(now, random, tried).hashed(asked.hash).wanting(asked.wanted);
    let apart = asked.apart && !tried.is_empty();
    Ask { over: asked.over, well: asked.well, apart, avoid: asked.avoid, ..ask }
}

impl<X: Upstream> Outcomes<X> {
    fn note(&mut self, picked: Result<Arc<Endpoint<X>>, PickError>) {
        self.runs += 1;
        match picked {
            Ok(endpoint) => {
                let count = self.counts.entry(Arc::as_ptr(&endpoint)).or_default();
                *count += 1;
                if *count == 1 {
                    self.met.push(Arc::clone(&endpoint));
                }
                if self.chain.is_empty() {
                    self.chain.push(endpoint);
                }
            }
            Err(error) => {
                self.fails += 1;
                if !self.errors.contains(&error) {
                    self.errors.push(error);
                }
            }
        }
    }

    /// The chance of the next call to go there.
    pub(super) fn share(&self, endpoint: &Arc<Endpoint<X>>) -> f64 {
        let count = self.counts.get(&Arc::as_ptr(endpoint)).copied().unwrap_or(0);
        f64::from(count) / f64::from(self.runs.max(1))
    }
}
