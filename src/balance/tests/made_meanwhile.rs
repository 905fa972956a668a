//! What happens to an endpoint while the state of its first pick is being made: nobody misses it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{Ask, Balancer, SECOND, Spec, Upstream, address, endpoint};
use crate::{
    balance::{Environment, health::Checked},
    config::{self, Cluster, OutlierDetection, Protocol},
    core::{Epoch, Random},
};

/// What happens while the next state is being made.
type Meanwhile = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// An endpoint's connections, of which it is known whether they are drained.
struct Slow {
    name: Arc<str>,
    retired: AtomicBool,
}

impl Environment for Meanwhile {}

impl Upstream for Slow {
    type Context = Meanwhile;

    fn build(spec: &Spec, meanwhile: &Meanwhile) -> Self {
        if let Some(happens) = meanwhile.lock().unwrap().take() {
            happens();
        }
        Self { name: spec.address().to_string().into(), retired: AtomicBool::new(false) }
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn available(&self, _now: u64) -> bool {
        true
    }

    fn retire(&self) {
        self.retired.store(true, Relaxed);
    }
}

/// The balancer of these endpoints, and what happens to it while the next state is being made.
fn during_which(
    cluster: &Cluster,
    endpoints: Vec<config::Endpoint>,
    happens: impl FnOnce(&Balancer<Slow>) + Send + 'static,
) -> Arc<Balancer<Slow>> {
    let balancer = Balancer::<Slow>::new(cluster, Meanwhile::default(), Epoch::now());
    let balancer = Arc::new(balancer);
    balancer.replace(endpoints);
    let changed = Arc::clone(&balancer);
    *balancer.context().lock().unwrap() = Some(Box::new(move || happens(&changed)));
    balancer
}

/// The endpoint of a first pick during which this happened.
fn picked_while(
    happens: impl FnOnce(&Balancer<Slow>) + Send + 'static,
) -> Arc<super::Endpoint<Slow>> {
    let balancer = during_which(&Cluster::default(), vec![endpoint(1)], happens);
    let flight = balancer.pick(Ask::any(SECOND, &Random::seeded(1), &[])).unwrap();
    Arc::clone(flight.endpoint())
}

fn is_drained(endpoint: &super::Endpoint<Slow>) -> bool {
    endpoint.extra().unwrap().retired.load(Relaxed)
}

#[test]
fn rules_that_come_meanwhile_watch_it() {
    let picked = picked_while(|balancer| {
        let outlier_detection = Some(OutlierDetection::default());
        balancer.settle(&Cluster { outlier_detection, ..Cluster::default() });
    });
    assert!(picked.live().unwrap().watch.get().is_some(), "its outcomes are never counted");
}

#[cfg(feature = "orca")]
#[test]
fn a_policy_that_comes_meanwhile_hears_of_it() {
    let picked = picked_while(|balancer| {
        let weighted = config::ClientWeighted::default();
        balancer.settle(&super::under(&config::Balancer::ClientWeighted(weighted)));
    });
    assert!(picked.live().unwrap().told.get().is_some(), "its reports go nowhere");
}

#[test]
fn connections_that_a_change_meanwhile_makes_useless_are_drained() {
    let picked = picked_while(|balancer| {
        let mut changed = endpoint(1);
        changed.protocol = Some(Protocol::Http2);
        balancer.upsert(vec![changed]);
    });
    assert!(is_drained(&picked), "nobody uses its connections again, and nobody closes them");
}

#[test]
fn connections_of_one_that_leaves_meanwhile_are_drained() {
    let picked = picked_while(|balancer| {
        balancer.remove(&[address(1)]);
    });
    assert!(is_drained(&picked));
}

#[test]
fn a_plan_that_is_made_meanwhile_counts_what_a_check_has_found() {
    let at = |number, priority| config::Endpoint { priority, ..endpoint(number) };
    let balancer = during_which(&Cluster::default(), vec![at(1, 0), at(2, 1)], move |balancer| {
        balancer.upsert(vec![at(3, 1)]);
    });
    let found = balancer.endpoints().into_iter().find(|it| it.spec().priority() == 0).unwrap();
    // The others are as if nobody checked them.
    balancer.set_checked(0, [(&found, Checked::Unfit)], SECOND);
    let told = balancer.places(SECOND);
    assert_eq!(told[0], "priority 0: 0 % of calls, 0 of 1 healthy", "{told:?}");
}
