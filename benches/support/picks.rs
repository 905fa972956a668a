//! The subjects of the picking benches: the mesh's balancer without transport, and tower's p2c
//! around a service that does nothing.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{FutureExt, Stream};
use tower::{
    balance::p2c::Balance,
    discover::{Change, ServiceList},
    load::{CompleteOnResponse, PeakEwmaDiscover, PendingRequestsDiscover},
};
use tower_mesh::{
    balance::bench::{Bench, Named, endpoint},
    config::{
        Balancer, Balancing, Cluster, Endpoint, LeastRequest, Locality, LocalityBalancing,
        LocalityWeight, Maglev, PickFirst, RingHash, Shard, Sharded,
    },
};
use tower_service::Service;

use super::cpu::{median, timed};

/// A picking policy of the mesh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Policy {
    Random,
    LeastRequest,
    PeakEwma,
    RoundRobin,
    /// Round robin over weights 1, 2 and 3.
    Weighted,
    /// By a random hash each time.
    RingHash,
    Maglev,
    /// Maglev with a bounded load.
    Bounded,
    /// Least request of three.
    ThreeChoices,
    /// Least request of all.
    FullScan,
    /// Least request by turns, over weights 1, 2 and 3.
    Biased,
    PickFirst,
}

impl Policy {
    pub(crate) const ALL: [(&str, Self); 12] = [
        ("random", Self::Random),
        ("least_request", Self::LeastRequest),
        ("peak_ewma", Self::PeakEwma),
        ("round_robin", Self::RoundRobin),
        ("weighted_round_robin", Self::Weighted),
        ("ring_hash", Self::RingHash),
        ("maglev", Self::Maglev),
        ("bounded_load", Self::Bounded),
        ("three_choices", Self::ThreeChoices),
        ("full_scan", Self::FullScan),
        ("biased", Self::Biased),
        ("pick_first", Self::PickFirst),
    ];
}

/// A balancer of shards of ten endpoints each, of which every endpoint has been picked before.
pub(crate) fn sharded(endpoints: u32) -> Bench {
    let mut sharded = Sharded::default();
    for first in (0..endpoints).step_by(10) {
        let mut shard = Shard::default();
        shard.name = format!("shard {first}");
        let replicas = first..(first + 10).min(endpoints);
        shard.replicas = replicas.map(|number| endpoint(number).address).collect();
        sharded.shards.push(shard);
    }
    let bench = pick(Bench::new(&Balancer::RoundRobin, endpoints), 3 * endpoints);
    bench.settle(&Balancer::Sharded(sharded));
    keyed(bench, 1_000)
}

/// A balancer whose calls name their endpoints, each of which has been picked before.
pub(crate) fn named(endpoints: u32) -> (Bench, Vec<Named>) {
    let bench = pick(Bench::new(&Balancer::RoundRobin, endpoints), 3 * endpoints);
    let names: Vec<_> = (0..64).map(|number| Named::new(number * (endpoints / 64))).collect();
    // The first makes the index.
    bench.pick_named(&names[0]);
    (bench, names)
}

pub(crate) fn keyed(bench: Bench, picks: u32) -> Bench {
    for _ in 0..picks {
        bench.pick_keyed();
    }
    bench
}

pub(crate) fn pick_named(bench: (Bench, Vec<Named>), picks: u32) -> (Bench, Vec<Named>) {
    for number in 0..picks {
        bench.0.pick_named(&bench.1[number as usize % bench.1.len()]);
    }
    bench
}

/// The mesh's balancer, every endpoint of which has been picked before.
pub(crate) fn mesh(policy: Policy, endpoints: u32) -> Bench {
    let balancer = match policy {
        Policy::Random => Balancer::Random,
        Policy::LeastRequest | Policy::ThreeChoices | Policy::FullScan | Policy::Biased => {
            Balancer::LeastRequest
        }
        Policy::PickFirst => Balancer::PickFirst(PickFirst::default()),
        Policy::PeakEwma => Balancer::default(),
        Policy::RoundRobin | Policy::Weighted => Balancer::RoundRobin,
        Policy::RingHash => Balancer::RingHash(RingHash::default()),
        Policy::Maglev => Balancer::Maglev(Maglev::default()),
        Policy::Bounded => {
            let mut maglev = Maglev::default();
            maglev.balance_percent = Some(150);
            Balancer::Maglev(maglev)
        }
    };
    if matches!(policy, Policy::RingHash | Policy::Maglev | Policy::Bounded) {
        // Some endpoints belong to few hashes: it is not by those that all are picked once.
        let bench = pick(Bench::new(&Balancer::RoundRobin, endpoints), 3 * endpoints);
        bench.settle(&balancer);
        return bench;
    }
    if let Some(settings) = settings(policy) {
        let bench = pick(Bench::new(&Balancer::RoundRobin, endpoints), 3 * endpoints);
        if policy == Policy::Biased {
            bench.replace((0..endpoints).map(|n| endpoint(n).weight(n % 3 + 1)).collect());
        }
        bench.choose(settings);
        return pick(bench, 1000);
    }
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

/// Two priorities of four localities each, which share by weight.
pub(crate) fn plan() -> Cluster {
    let mut cluster = Cluster::default();
    let mut balancing = Balancing::default();
    balancing.locality = LocalityBalancing::Weighted;
    cluster.balancing = Some(balancing);
    let weights = (0..8).map(|n| {
        let mut weight = LocalityWeight::default();
        (weight.locality, weight.priority, weight.weight) = (zone(n), n / 4, n % 4 + 1);
        weight
    });
    cluster.localities = weights.collect();
    cluster
}

/// An endpoint of such a plan.
pub(crate) fn placed(number: u32) -> Endpoint {
    let mut endpoint = endpoint(number);
    endpoint.priority = number % 8 / 4;
    endpoint.locality = Some(Box::new(zone(number)));
    endpoint
}

fn zone(number: u32) -> Locality {
    Locality::new("a", format!("zone {}", number % 4))
}

/// A balancer with a plan, every endpoint of whose first priority has been picked before.
pub(crate) fn planned(endpoints: u32) -> Bench {
    let bench = Bench::of(&plan(), (0..endpoints).map(placed).collect());
    pick(bench, 30 * endpoints)
}

/// What least request says beyond the plain form.
fn settings(policy: Policy) -> Option<LeastRequest> {
    let mut settings = LeastRequest::default();
    match policy {
        Policy::ThreeChoices => settings.choices = Some(3),
        Policy::FullScan => settings.full_scan = Some(true),
        Policy::Biased => settings.active_bias = Some(1.0),
        _ => return None,
    }
    Some(settings)
}

pub(crate) fn pick(bench: Bench, picks: u32) -> Bench {
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

/// What the call that comes next pays in tower when every endpoint was replaced.
pub(crate) fn tower_stall(count: usize) -> Duration {
    let rounds = (0..9).map(|_| {
        let (changes, list) = Changes::new();
        let list = PendingRequestsDiscover::new(list, CompleteOnResponse::default());
        for key in 0..count {
            changes.push(Change::Insert(key, Nothing));
        }
        let balance = tower(Balance::new(list), 1000);
        for key in 0..count {
            changes.push(Change::Remove(key));
            changes.push(Change::Insert(count + key, Nothing));
        }
        timed(|| tower(balance, 1)).1
    });
    median(rounds.collect())
}

/// Changes that a balancer takes at its next poll.
#[derive(Clone, Default)]
struct Changes(Arc<Mutex<VecDeque<Change<usize, Nothing>>>>);

impl Changes {
    fn new() -> (Self, Self) {
        let changes = Self::default();
        (changes.clone(), changes)
    }

    fn push(&self, change: Change<usize, Nothing>) {
        self.0.lock().unwrap().push_back(change);
    }
}

impl Stream for Changes {
    type Item = Result<Change<usize, Nothing>, Infallible>;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.lock().unwrap().pop_front() {
            Some(change) => Poll::Ready(Some(Ok(change))),
            None => Poll::Pending,
        }
    }
}

/// Readies and calls a service that never waits.
pub(crate) fn tower<S: Service<()>>(mut service: S, calls: u32) -> S {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..calls {
        assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))), "not ready");
        assert!(matches!(service.call(()).now_or_never(), Some(Ok(_))), "not answered");
    }
    service
}
