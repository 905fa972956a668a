//! What is told when weights are computed from load reports (gRFC A78).

use std::sync::{Arc, Mutex};

use super::{
    Ask, Balancer, MILLI, Outcome, SECOND, Spec, Upstream, address, endpoint,
    reports::{report, weighted},
    under,
};
use crate::{
    balance::Environment,
    config,
    core::{Epoch, Random, Weighed},
};

/// Keeps what it is told.
#[derive(Default)]
struct Books(Mutex<Vec<Weighed>>);

/// An endpoint that can always be called.
struct Wire(Arc<str>);

impl Environment for Books {
    fn weighed(&self, weighed: &Weighed) {
        self.0.lock().unwrap().push(weighed.clone());
    }
}

impl Upstream for Wire {
    type Context = Books;

    fn build(spec: &Spec, _: &Books) -> Self {
        Self(spec.address().to_string().into())
    }

    fn name(&self) -> &Arc<str> {
        &self.0
    }

    fn available(&self, _now: u64) -> bool {
        true
    }

    fn retire(&self) {}
}

/// A cluster of the endpoints `1..=count`.
fn cluster(policy: &config::Balancer, count: u16) -> Balancer<Wire> {
    let balancer = Balancer::new(&under(policy), Books::default(), Epoch::now());
    balancer.replace((1..=count).map(endpoint).collect());
    balancer
}

/// This endpoint is called, and reports so many calls a second at full use.
fn reports(balancer: &Balancer<Wire>, now: u64, number: u16, qps: f64) {
    let random = Random::seeded(u64::from(number));
    loop {
        let flight = balancer.pick(Ask::any(now, &random, &[])).unwrap();
        let found = *flight.endpoint().spec().address() == address(number);
        if found {
            flight.endpoint().reported(now, &report(qps, 1.0));
        }
        flight.finish(now, Outcome::Success);
        if found {
            return;
        }
    }
}

/// What is told when it is kept at this time: the weights in their order.
fn told(balancer: &Balancer<Wire>, now: u64) -> Option<Weighed> {
    let _due = balancer.keep(now);
    let mut told = std::mem::take(&mut *balancer.context().0.lock().unwrap());
    assert!(told.len() <= 1, "{told:?}");
    let mut weighed = told.pop()?;
    weighed.weights.sort_by(f64::total_cmp);
    Some(weighed)
}

#[test]
fn each_computation_tells_who_has_which_weight_and_why_others_have_none() {
    let balancer = cluster(&weighted(), 3);
    let nobody = |not_yet_usable, stale| {
        let weights = vec![0.0; 3];
        Some(Weighed { weights, not_yet_usable, stale, is_fallback: true })
    };
    assert_eq!(told(&balancer, SECOND), nobody(3, 0), "nobody has reported");
    reports(&balancer, 2 * SECOND, 1, 100.0);
    reports(&balancer, 2 * SECOND, 2, 300.0);
    assert_eq!(told(&balancer, 2 * SECOND), nobody(3, 0), "two are in their blackout");
    let weights = vec![0.0, 100.0, 300.0];
    let usable = Weighed { weights, not_yet_usable: 1, stale: 0, is_fallback: false };
    assert_eq!(told(&balancer, 12 * SECOND), Some(usable));
    // Once a period at most.
    assert_eq!(told(&balancer, 12 * SECOND + MILLI), None);

    // The report of one is 180 s old, and one weight alone is none.
    reports(&balancer, 100 * SECOND, 1, 200.0);
    let weights = vec![0.0, 0.0, 200.0];
    let alone = Weighed { weights, not_yet_usable: 1, stale: 1, is_fallback: true };
    assert_eq!(told(&balancer, 182 * SECOND), Some(alone));
    // Each time, as long as they report nothing.
    for now in [280, 281, 600] {
        assert_eq!(told(&balancer, now * SECOND), nobody(1, 2), "after {now} s");
    }
    // Who reports again begins anew.
    reports(&balancer, 601 * SECOND, 2, 300.0);
    assert_eq!(told(&balancer, 601 * SECOND), nobody(2, 1));
}

#[test]
fn nothing_is_told_of_nobody_nor_by_other_policies() {
    assert_eq!(told(&cluster(&weighted(), 0), SECOND), None);
    assert_eq!(told(&cluster(&config::Balancer::RoundRobin, 3), SECOND), None);
}
