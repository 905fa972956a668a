//! What happens to an endpoint while the state of its first pick is being made: nobody misses it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{Ask, Balancer, SECOND, Spec, Upstream, address, endpoint, under};
use crate::{
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

    fn added(_spec: &Spec, _meanwhile: &Meanwhile) {}

    fn removed(_spec: &Spec, _meanwhile: &Meanwhile) {}

    fn available(&self, _now: u64) -> bool {
        true
    }

    fn respecified(&self, _spec: &Spec) {}

    fn retire(&self) {
        self.retired.store(true, Relaxed);
    }
}

/// The endpoint of a first pick during which this happened.
fn picked_while(
    happens: impl FnOnce(&Balancer<Slow>) + Send + 'static,
) -> Arc<super::Endpoint<Slow>> {
    let balancer = Balancer::<Slow>::new(&Cluster::default(), Meanwhile::default(), Epoch::now());
    let balancer = Arc::new(balancer);
    balancer.replace(vec![endpoint(1)]);
    let changed = Arc::clone(&balancer);
    *balancer.context().lock().unwrap() = Some(Box::new(move || happens(&changed)));
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
        balancer.settle(&under(&config::Balancer::ClientWeighted(weighted)));
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
