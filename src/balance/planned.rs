//! A pick by the plan: the priority and the locality first, then an endpoint of it. What is not good
//! there is looked for elsewhere before anything bad is called.

use std::{
    cell::Cell,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{
    ask::Ask,
    balancer::PickError,
    decide::Chosen,
    endpoint::{Endpoint, Upstream},
    hash::Spread,
    pick::{Drawn, Mode, Picker, Plain, Rank, is_bad, scale},
    place::{Level, Placing, Plan},
    subset::labels::{Found, Wanted},
    view::{Group, Placed, View},
};

/// How soon it is counted again when a pick finds nothing good where it looks. Nanoseconds.
const SOON: u64 = 100_000_000;

/// Where one pick looks.
struct Way<'a, X> {
    view: &'a View<X>,
    plan: &'a Plan<X>,
    ask: &'a Ask<'a, X>,
    mode: &'a Mode<'a, X>,
}

impl<X: Upstream> View<X> {
    /// What becomes of the endpoint of a pick by the plan; `wakes` who counts when the shares are not
    /// right any more.
    #[inline]
    pub(super) fn choose<T>(
        &self,
        ask: &Ask<'_, X>,
        wakes: &dyn Fn(),
        then: impl FnOnce(Chosen<'_, X>) -> T,
    ) -> Result<T, PickError> {
        let Some(placed) = &self.placed else { return Err(PickError::Empty) };
        let plan = plan_of(self, placed, ask.wanted)?;
        plan.used.leave();
        if plan.levels.is_empty() {
            let is_empty = self.all.set.len() == 0;
            return Err(if is_empty { PickError::Empty } else { PickError::Unavailable });
        }
        let mode = Mode {
            worst: Cell::new(Rank::Young),
            slow_start: self.slow_start(plan, ask.now),
            ..Mode::new(ask)
        };
        Way { view: self, plan, ask, mode: &mode }.pick(wakes).map(then)
    }

    /// A pick that goes by the policy alone, as the plan, if there is one, asks nothing of it now. Else
    /// nothing is drawn.
    #[inline(never)]
    pub(super) fn straight<'a>(&'a self, picker: Picker<'a, X>, hash: Option<u64>) -> Plain<'a, X> {
        match &self.placed {
            Some(placed) if placed.is_straight && placed.plan.note_straight() => {
                self.policy.plain_elsewhere(&self.all, picker, hash)
            }
            _ => Err(None),
        }
    }

    /// What becomes of who was drawn so and is not plainly good.
    pub(super) fn choose_drawn<T>(
        &self,
        ask: &Ask<'_, X>,
        wakes: &dyn Fn(),
        drawn: Drawn<'_, X>,
        then: impl FnOnce(Chosen<'_, X>) -> T,
    ) -> Result<T, PickError> {
        let plan = self.placed.as_ref().map(|placed| &placed.plan);
        let Some((plan, level)) = plan.and_then(|plan| Some((plan, plan.levels.first()?))) else {
            return Err(PickError::Empty);
        };
        let mode = Mode { worst: Cell::new(Rank::Young), ..Mode::new(ask) };
        let way = Way { view: self, plan, ask, mode: &mode };
        way.look_as(level, false);
        way.of_drawn(wakes, (0, way.whole(level)), drawn).map(then)
    }
}

impl<'a, X: Upstream> Way<'a, X> {
    fn pick(&self, wakes: &dyn Fn()) -> Result<Chosen<'a, X>, PickError> {
        let plan = self.plan;
        if let Some(picked) = self.trial() {
            return Ok(picked);
        }
        // A hash belongs to one priority and locality, as far as health allows.
        let word = self.ask.hash.map_or_else(|| self.ask.random.next(), mixed);
        let percent = u32::try_from(scale(word, 100)).unwrap_or(0) + 1;
        let (index, degraded) = plan.level(percent);
        let level = &plan.levels[index];
        let load = level.load();
        if load.panic && self.view.placing.fail_on_panic && !self.ask.well {
            return Err(PickError::Panic);
        }
        let part = (level.is_split.load(Relaxed) && !load.panic && !degraded)
            .then(|| level.part(low(word)));
        let group = part.and_then(|part| level.parts.get(part)).map(|part| &part.group);
        let group = group.unwrap_or_else(|| self.whole(level));
        self.look_as(level, degraded);
        if !self.is_usual() {
            if let Some(picked) = self.within(group) {
                return Ok(picked);
            }
            return self.elsewhere(wakes, index, group);
        }
        let picker = Picker::new(&group.set, self.ask);
        match self.view.policy.plain_elsewhere(group, picker, self.ask.hash) {
            Ok((endpoint, live)) => Ok((endpoint, Some(live))),
            Err(None) => self.elsewhere(wakes, index, group),
            Err(Some(drawn)) => self.of_drawn(wakes, (index, group), drawn),
        }
    }

    /// Goes on from what was drawn and is not plainly good.
    fn of_drawn(
        &self,
        wakes: &dyn Fn(),
        (index, group): (usize, &'a Group<X>),
        drawn: Drawn<'a, X>,
    ) -> Result<Chosen<'a, X>, PickError> {
        match self.view.policy.ranked(group, self.picker(group), self.ask, drawn) {
            Some(endpoint) => Ok((endpoint, None)),
            None => self.elsewhere(wakes, index, group),
        }
    }

    /// One of a group that gets nothing, where it is time to see whether it is well again.
    #[inline]
    fn trial(&self) -> Option<Chosen<'a, X>> {
        let (level, part) = self.plan.take_trial()?;
        // A call that has met something already is not to be kept waiting.
        if !self.ask.tried.is_empty() {
            return None;
        }
        self.look_as(level, false);
        self.mode.trial.set(true);
        let group = part.map_or_else(|| self.whole(level), |part| &part.group);
        let picked = self.within(group);
        self.mode.trial.set(false);
        picked
    }

    fn whole(&self, level: &'a Level<X>) -> &'a Group<X> {
        level.whole.as_ref().unwrap_or(&self.view.all)
    }

    /// Looks at endpoints as their priority's are looked at.
    fn look_as(&self, level: &'a Level<X>, degraded: bool) {
        let panic = level.load().panic;
        // Before all are called, other clusters are; those that could not be connected to are tried
        // again when their back-off is over, or nobody would find out that they can be.
        self.mode.panic.set(panic && !self.ask.well);
        self.mode.trial.set(panic && self.ask.well);
        self.mode.degraded.set(degraded);
        self.mode.edges.set(&level.edges);
    }

    /// Whether every endpoint is what it seems.
    fn is_usual(&self) -> bool {
        !self.mode.panic.get()
            && !self.mode.degraded.get()
            && self.mode.slow_start.is_none()
            && self.mode.leaves_nothing()
            && self.mode.edges.get().is_empty()
    }

    fn picker(&self, group: &'a Group<X>) -> Picker<'a, X> {
        Picker { mode: Some(self.mode), ..Picker::new(&group.set, self.ask) }
    }

    /// One of a group, if there is any that ranks well enough.
    fn within(&self, group: &'a Group<X>) -> Option<Chosen<'a, X>> {
        let policy = &self.view.policy;
        let picker = self.picker(group);
        // A table of those that are well by their source's word leaves the others out.
        let in_part = |spread: &Arc<Spread>| spread.members() < group.set.len();
        if self.mode.panic.get() && group.spread.as_ref().is_some_and(in_part) {
            let word = self.ask.hash.map_or_else(|| self.ask.random.next(), mixed);
            let first = group.set.get(scale(word, group.set.len()))?;
            return Some((picker.random_ranked(first)?, None));
        }
        Some((policy.by_rank(group, picker, self.ask)?, None))
    }

    /// There is nothing good where it was to be: the rest of the priority, then the other ones, then
    /// those that are left out; and only then what is less than good.
    #[cold]
    #[inline(never)]
    fn elsewhere(
        &self,
        wakes: &dyn Fn(),
        index: usize,
        group: &'a Group<X>,
    ) -> Result<Chosen<'a, X>, PickError> {
        let plan = self.plan;
        // The shares are those of endpoints that are not so any more.
        if self.ask.now.saturating_sub(plan.counted.load(Relaxed)) > SOON {
            wakes();
        }
        let rest = (0..plan.levels.len()).filter(|at| *at != index);
        let levels = std::iter::once(index).chain(rest).filter_map(|at| plan.levels.get(at));
        self.mode.spares.set(self.view.placing.fail_on_panic);
        for worst in [Rank::Young, Rank::Degraded, Rank::Left, Rank::Tried] {
            if worst == Rank::Tried && self.ask.well {
                break;
            }
            self.mode.worst.set(worst);
            if worst != Rank::Young
                && let Some(picked) = self.within(group)
            {
                return Ok(picked);
            }
            for level in levels.clone() {
                self.look_as(level, false);
                if let Some(picked) = self.within(self.whole(level)) {
                    return Ok(picked);
                }
            }
            // Those of a subset are all bad: the others are better than that.
            if leaves_others(plan, &self.view.placing) {
                self.mode.panic.set(false);
                self.mode.edges.set(&[]);
                if let Some(picked) = self.within(&self.view.all) {
                    return Ok(picked);
                }
            }
        }
        if self.ask.well
            && let Some(picked) = self.last_trial(levels)
        {
            return Ok(picked);
        }
        let is_spared = self.mode.has_spared.get();
        Err(if is_spared { PickError::Panic } else { PickError::Unavailable })
    }

    /// Before other clusters are called: one that could not be connected to and whose back-off is over,
    /// or nobody would find out that it can be.
    #[cold]
    fn last_trial(&self, levels: impl Iterator<Item = &'a Level<X>>) -> Option<Chosen<'a, X>> {
        self.mode.worst.set(Rank::Left);
        let looked = |level| {
            self.look_as(level, false);
            self.mode.trial.set(true);
            self.within(self.whole(level))
        };
        let picked = levels.into_iter().find_map(looked);
        self.mode.trial.set(false);
        picked
    }
}

impl<X: Upstream> View<X> {
    /// Whether a pick by the plan may find such an endpoint.
    #[cold]
    pub(super) fn has_planned(
        &self,
        wanted: Option<&Wanted>,
        now: u64,
        such: impl Fn(&Arc<Endpoint<X>>) -> bool,
    ) -> bool {
        let Some(placed) = &self.placed else { return false };
        let Ok(plan) = plan_of(self, placed, wanted) else { return false };
        let placing = &self.placing;
        let allowed = |endpoint: &Arc<Endpoint<X>>| {
            such(endpoint) && !(placing.fail_on_panic && is_bad(endpoint, now))
        };
        let levels = plan.levels.iter().filter(|it| !(placing.fail_on_panic && it.load().panic));
        let within =
            |level: &Level<X>| level.whole.as_ref().unwrap_or(&self.all).set.iter().any(&allowed);
        levels.into_iter().any(within)
            || (leaves_others(plan, placing) && self.all.set.iter().any(&allowed))
    }
}

/// Whether what is left out of the plan is called when nothing in it is good.
pub(super) fn leaves_others<X>(plan: &Plan<X>, placing: &Placing) -> bool {
    plan.is_subset && plan.id == 0 && !placing.prefer_strictly
}

/// The plan of the labels that are asked for.
pub(super) fn plan_of<'a, X: Upstream>(
    view: &'a View<X>,
    placed: &'a Placed<X>,
    wanted: Option<&Wanted>,
) -> Result<&'a Plan<X>, PickError> {
    let Some(subsets) = &view.placing.subsets else {
        return match wanted {
            Some(wanted) if !wanted.is_empty() => Err(PickError::NoPart),
            _ => Ok(&placed.plan),
        };
    };
    let nothing = Wanted::default();
    let found = wanted
        .unwrap_or(&nothing)
        .find(subsets, |id| placed.parts.get(&id).map(|(labels, _)| labels));
    match found {
        Found::Any => Ok(&placed.plan),
        Found::Part(id) => match placed.parts.get(&id) {
            Some((_, plan)) => Ok(plan),
            None => Err(PickError::NoPart),
        },
        Found::Nothing if subsets.panic_any == Some(true) => Ok(&placed.plan),
        Found::Nothing => Err(PickError::NoPart),
    }
}

/// A hash whose bits are all as good as each other.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ hash >> 29
}

/// A random word's lower half.
#[expect(clippy::cast_possible_truncation, reason = "half of it is wanted")]
fn low(word: u64) -> u32 {
    word as u32
}
