//! How the priorities of a cluster share its calls (Envoy's arithmetic, in whole percent).
//!
//! A priority is taken to have a reserve, the overprovisioning factor: with the usual 1.4 it is
//! fully healthy until fewer than 72 % of its endpoints are. What it cannot carry goes to the next
//! one, and to degraded endpoints only what healthy ones of no priority can carry.
//!
//! ```text
//! health(P)  = min(100, factor · healthy(P) / total(P))
//! total      = min(100, Σ (health + degraded))
//! load(P)    = min(what is left of 100, health(P) · 100 / total), rounded
//! ```
//!
//! Priorities of SRV records do not share: the first of which anything works gets all.

use super::panic;

/// How an endpoint counts here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    Healthy,
    /// It works, and healthy ones are better.
    Degraded,
    Unhealthy,
    /// It takes no part in the health of its priority: its first check is awaited.
    Excluded,
}

/// Numbers of endpoints, or sums of their weights.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// All but the excluded ones.
    pub(crate) total: u64,
    pub(crate) healthy: u64,
    pub(crate) degraded: u64,
}

/// The endpoints of one priority, by class.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Census {
    /// All of them, the excluded ones too.
    pub(crate) hosts: u64,
    pub(crate) counted: Tally,
    /// The same by weight.
    pub(crate) weighed: Tally,
}

/// By which rules priorities share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Percent.
    pub(crate) overprovisioning: u64,
    /// Health is that of the weights, not of the number of endpoints.
    pub(crate) weighted: bool,
    /// Percent; 0: no priority ever panics.
    pub(crate) panic_threshold: f64,
    /// The first priority that works gets all.
    pub(crate) in_order: bool,
}

/// What one priority gets, in percent of the calls.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Load {
    pub(crate) healthy: u32,
    /// For its degraded endpoints.
    pub(crate) degraded: u32,
    /// Its endpoints are called whatever their health.
    pub(crate) panic: bool,
}

// === impl Load ===

impl Load {
    /// What it gets in all.
    pub(crate) fn all(self) -> u32 {
        self.healthy + self.degraded
    }
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, class: Class, amount: u64) {
        let (total, healthy, degraded) = match class {
            Class::Healthy => (amount, amount, 0),
            Class::Degraded => (amount, 0, amount),
            Class::Unhealthy => (amount, 0, 0),
            Class::Excluded => (0, 0, 0),
        };
        self.total += total;
        self.healthy += healthy;
        self.degraded += degraded;
    }
}

// === impl Census ===

impl Census {
    pub(crate) fn add(&mut self, class: Class, weight: u16) {
        self.hosts += 1;
        self.counted.add(class, 1);
        self.weighed.add(class, u64::from(weight));
    }

    /// The endpoints of another part of the same priority.
    pub(super) fn join(&mut self, other: &Self) {
        self.hosts += other.hosts;
        for (sum, other) in [(&mut self.counted, other.counted), (&mut self.weighed, other.weighed)]
        {
            sum.total += other.total;
            sum.healthy += other.healthy;
            sum.degraded += other.degraded;
        }
    }

    /// The health of its healthy and of its degraded endpoints, in percent.
    fn health(&self, rule: &Rule) -> (u32, u32) {
        let Tally { total, healthy, degraded } =
            if rule.weighted { self.weighed } else { self.counted };
        let percent = |part| percent(part, total, rule.overprovisioning);
        (percent(healthy), percent(degraded))
    }
}

impl Default for Rule {
    fn default() -> Self {
        Self { overprovisioning: 140, weighted: false, panic_threshold: 50.0, in_order: false }
    }
}

/// `factor · part / total`, at most 100.
pub(super) fn percent(part: u64, total: u64, factor: u64) -> u32 {
    if total == 0 {
        return 0;
    }
    let percent = u128::from(factor) * u128::from(part) / u128::from(total);
    u32::try_from(percent.min(100)).unwrap_or(100)
}

/// What each priority gets, best first. The sum is 100, unless there are no priorities.
pub(crate) fn loads(priorities: &[Census], rule: &Rule) -> Vec<Load> {
    let mut loads = vec![Load::default(); priorities.len()];
    let health: Vec<_> = priorities.iter().map(|census| census.health(rule)).collect();
    let total: u32 = health.iter().map(|(healthy, degraded)| healthy + degraded).sum();
    let total = total.min(100);
    if total > 0 {
        let mut left = 100;
        let mut share = |health: u32| {
            let share = left.min((health * 100 + total / 2) / total);
            left -= share;
            share
        };
        for (load, (healthy, _)) in loads.iter_mut().zip(&health) {
            load.healthy = share(*healthy);
        }
        for (load, (_, degraded)) in loads.iter_mut().zip(&health) {
            load.degraded = share(*degraded);
        }
        // What is left by rounding is the first's that can carry it.
        let healthy = loads.iter_mut().zip(&health).find(|(_, health)| health.0 > 0);
        if let Some((load, _)) = healthy {
            load.healthy += left;
        } else if let Some((load, _)) =
            loads.iter_mut().zip(&health).find(|(_, health)| health.1 > 0)
        {
            load.degraded += left;
        }
    } else if let Some(first) = loads.first_mut() {
        // Nothing is well anywhere, and if nobody may panic nothing is picked.
        first.healthy = 100;
    }
    if total < 100 {
        panic::decide(priorities, rule.panic_threshold, &mut loads);
    }
    if rule.in_order {
        leave_to_first(priorities, &mut loads);
    }
    loads
}

/// Gives all to the first priority of which an endpoint is healthy, else to the first of which one is
/// degraded; who panics is decided as ever.
//= RFC 2782: a client must attempt the target of the lowest-numbered priority that it can reach
fn leave_to_first(priorities: &[Census], loads: &mut [Load]) {
    let first = |works: fn(&Tally) -> bool| priorities.iter().position(|it| works(&it.counted));
    let healthy = first(|it| it.healthy > 0);
    let Some(first) = healthy.or_else(|| first(|it| it.degraded > 0)) else { return };
    for (index, load) in loads.iter_mut().enumerate() {
        let all = if index == first { 100 } else { 0 };
        (load.healthy, load.degraded) = if healthy.is_some() { (all, 0) } else { (0, all) };
    }
}

#[cfg(test)]
mod tests;
