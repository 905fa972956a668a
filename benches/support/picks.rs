//! The subjects of the picking benches: the mesh's balancer without transport, and tower's p2c
//! around a service that does nothing.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use tower::{
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, PeakEwmaDiscover, PendingRequestsDiscover},
};
use tower_mesh::{
    balance::bench::{Bench, endpoint},
    config::Balancer,
};
use tower_service::Service;

/// Picks that a measured function makes.
pub(crate) const PICKS: usize = 1000;

/// A picking policy of the mesh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Policy {
    Random,
    LeastRequest,
    PeakEwma,
    RoundRobin,
    /// Round robin over weights 1, 2 and 3.
    Weighted,
}

impl Policy {
    pub(crate) const ALL: [Self; 5] =
        [Self::Random, Self::LeastRequest, Self::PeakEwma, Self::RoundRobin, Self::Weighted];
}

/// The mesh's balancer, every endpoint of which has been picked before.
pub(crate) fn mesh(policy: Policy, endpoints: u32) -> Bench {
    let balancer = match policy {
        Policy::Random => Balancer::Random,
        Policy::LeastRequest => Balancer::LeastRequest,
        Policy::PeakEwma => Balancer::default(),
        Policy::RoundRobin | Policy::Weighted => Balancer::RoundRobin,
    };
    let bench = Bench::new(&balancer, endpoints);
    if policy == Policy::Weighted {
        bench.replace((0..endpoints).map(|n| endpoint(n).weight(n % 3 + 1)).collect());
    }
    // At random, each is missed with probability e^-12 or less.
    let rounds = if matches!(policy, Policy::RoundRobin | Policy::Weighted) { 3 } else { 12 };
    for _ in 0..rounds * endpoints + 1000 {
        bench.pick();
    }
    bench
}

pub(crate) fn pick(bench: Bench, picks: usize) -> Bench {
    for _ in 0..picks {
        bench.pick();
    }
    bench
}

/// A service that does nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nothing;

impl Service<()> for Nothing {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

type List = ServiceList<Vec<Nothing>>;
/// tower's p2c by calls in flight.
pub(crate) type Pending = Balance<PendingRequestsDiscover<List>, ()>;
/// tower's p2c by peak EWMA.
pub(crate) type Ewma = Balance<PeakEwmaDiscover<List>, ()>;

fn list(endpoints: usize) -> List {
    ServiceList::new(vec![Nothing; endpoints])
}

pub(crate) fn pending(endpoints: usize) -> Pending {
    let list = PendingRequestsDiscover::new(list(endpoints), CompleteOnResponse::default());
    tower(Balance::new(list), 1000)
}

pub(crate) fn ewma(endpoints: usize) -> Ewma {
    let (rtt, decay) = (Duration::from_millis(30), Duration::from_secs(10));
    let list = PeakEwmaDiscover::new(list(endpoints), rtt, decay, CompleteOnResponse::default());
    tower(Balance::new(list), 1000)
}

/// Readies and calls a service that never waits.
pub(crate) fn tower<S: Service<()>>(mut service: S, calls: usize) -> S {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..calls {
        assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))), "not ready");
        assert!(matches!(service.call(()).now_or_never(), Some(Ok(_))), "not answered");
    }
    service
}
