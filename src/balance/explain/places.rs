//! What each priority and locality gets.

use std::{collections::HashSet, sync::Arc};

use super::{
    endpoints::{Seeing, Spot},
    types::{EndpointExplanation, LocalityExplanation, PickReason, PriorityExplanation},
};
use crate::balance::{
    endpoint::Upstream,
    place::{Count, Level, Plan, name_of},
    planned::leaves_others,
    view::Group,
};

impl<X: Upstream> Seeing<'_, X> {
    /// The priorities, and who is in none of them.
    pub(super) fn places(&self) -> (Vec<PriorityExplanation>, Vec<EndpointExplanation>) {
        let all = &self.view.all;
        let Some(plan) = self.plan else {
            if self.view.placed.is_some() {
                // No part has the labels that are asked for.
                let spot = Spot { level: None, group: all, without: Some(PickReason::Labels) };
                return (Vec::new(), self.group(all, &spot));
            }
            return (vec![self.together(all)], Vec::new());
        };
        let mut priorities = Vec::with_capacity(plan.levels.len());
        let mut before = 0;
        for level in &plan.levels {
            priorities.push(self.level(level, before));
            before += level.load().all();
        }
        (priorities, self.outside(plan))
    }

    /// Of endpoints that nothing tells apart.
    fn together(&self, all: &Group<X>) -> PriorityExplanation {
        let counted = Count::counted(all, &self.view.placing, self.now);
        let spot = Spot { level: None, group: all, without: None };
        let endpoints = self.group(all, &spot);
        PriorityExplanation {
            priority: 0,
            distance: 0,
            share: 1.0,
            degraded_share: 0.0,
            healthy: counted.healthy,
            degraded: counted.degraded,
            total: counted.total,
            is_panicking: false,
            skipped: None,
            localities: vec![LocalityExplanation { name: None, share: None, endpoints }],
        }
    }

    fn level(&self, level: &Level<X>, before: u32) -> PriorityExplanation {
        let whole = level.whole.as_ref().unwrap_or(&self.view.all);
        let counted = Count::counted(whole, &self.view.placing, self.now);
        let load = level.load();
        let share = load.all();
        let skipped = (share == 0).then(|| {
            if before >= 100 {
                "what comes before it carries everything".to_owned()
            } else if counted.total == 0 {
                "it has no endpoint that takes calls".to_owned()
            } else {
                "none of its endpoints was well when it was counted".to_owned()
            }
        });
        let without = (share == 0).then_some(PickReason::Priority);
        let shares = if load.panic { Vec::new() } else { level.shares() };
        let localities = if level.parts.is_empty() {
            let spot = Spot { level: Some(level), group: whole, without };
            let endpoints = self.group(whole, &spot);
            vec![LocalityExplanation { name: None, share: None, endpoints }]
        } else {
            let part = |(index, part): (usize, &crate::balance::place::Part<X>)| {
                let name = match part.ring {
                    Some(ring) => format!("ring {}", ring + 1),
                    None => name_of(&part.locality),
                };
                let share = shares.get(index).copied();
                let empty = share.is_some_and(|share| share <= 0.0);
                let without = without.or_else(|| empty.then_some(PickReason::Locality));
                let spot = Spot { level: Some(level), group: &part.group, without };
                let endpoints = self.group(&part.group, &spot);
                LocalityExplanation { name: Some(name), share, endpoints }
            };
            level.parts.iter().enumerate().map(part).collect()
        };
        let of_100 = |percent: u32| f64::from(percent) / 100.0;
        PriorityExplanation {
            priority: level.priority,
            distance: level.distance,
            share: of_100(share),
            degraded_share: of_100(load.degraded),
            healthy: counted.healthy,
            degraded: counted.degraded,
            total: counted.total,
            is_panicking: load.panic,
            skipped,
            localities,
        }
    }

    fn group(&self, group: &Group<X>, spot: &Spot<'_, X>) -> Vec<EndpointExplanation> {
        group.set.iter().map(|endpoint| self.endpoint(endpoint, spot)).collect()
    }

    /// Who is in no priority of the plan.
    fn outside(&self, plan: &Plan<X>) -> Vec<EndpointExplanation> {
        let all = &self.view.all;
        if plan.id == 0 && !plan.is_subset {
            return Vec::new();
        }
        let mut inside = HashSet::new();
        for level in &plan.levels {
            inside.extend(level.whole.as_ref().unwrap_or(all).set.iter().map(Arc::as_ptr));
        }
        let without = if plan.id != 0 {
            PickReason::Labels
        } else if leaves_others(plan, &self.view.placing) {
            PickReason::Subset
        } else {
            PickReason::Distance
        };
        let spot = Spot { level: None, group: all, without: Some(without) };
        let is_outside = |it: &&Arc<_>| !inside.contains(&Arc::as_ptr(it));
        all.set.iter().filter(is_outside).map(|it| self.endpoint(it, &spot)).collect()
    }
}
