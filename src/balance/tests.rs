//! The balancer: its load signal, its set and its policies, with endpoints that own nothing.

mod apart;
mod bias;
mod choices;
mod explain;
mod first;
mod hashed;
mod health;
mod jumps;
mod layout;
mod load;
mod made_meanwhile;
mod pick;
mod place;
mod ramps;
#[cfg(feature = "orca")]
mod reports;
mod set;
mod storm;
mod streams;
mod stride;
mod unchecked;
#[cfg(feature = "orca")]
mod weighed;
mod weights;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{Ask, Balancer, Endpoint, InFlight, Outcome, PickError, Spec, Standing, Upstream};
use crate::{
    config::{self, Address},
    core::{EjectReason, Epoch, Random, ReturnReason},
};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// An endpoint's connections, as far as a pick is concerned.
struct Mock {
    name: Arc<str>,
    available: AtomicBool,
    retired: AtomicBool,
    /// How often it was connected to again.
    #[cfg(feature = "orca")]
    returns: std::sync::atomic::AtomicU32,
    /// When it went out of use and came back.
    told: std::sync::Mutex<Vec<String>>,
}

impl Upstream for Mock {
    type Context = ();

    fn build(spec: &Spec, (): &()) -> Self {
        let name = spec.address().to_string().into();
        let (available, retired) = (AtomicBool::new(true), AtomicBool::new(false));
        Self {
            name,
            available,
            retired,
            #[cfg(feature = "orca")]
            returns: Default::default(),
            told: Default::default(),
        }
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn available(&self, _now: u64) -> bool {
        self.available.load(Relaxed)
    }

    #[cfg(feature = "orca")]
    fn returns(&self) -> u32 {
        self.returns.load(Relaxed)
    }

    fn ejected(&self, reason: EjectReason, nanos: u64) {
        let seconds = nanos as f64 / 1e9;
        self.told.lock().unwrap().push(format!("ejected: {reason} for {seconds} s"));
    }

    fn returned(&self, reason: ReturnReason) {
        self.told.lock().unwrap().push(format!("returned: {reason}"));
    }

    fn retire(&self) {
        self.retired.store(true, Relaxed);
    }
}

/// The policies that say nothing but their name.
fn policies() -> [config::Balancer; 6] {
    [
        config::Balancer::default(),
        config::Balancer::LeastRequest,
        config::Balancer::RoundRobin,
        config::Balancer::Random,
        // Large enough that shares are those of the weights.
        config::Balancer::RingHash(config::RingHash {
            minimum_ring_size: Some(65_536),
            ..config::RingHash::default()
        }),
        config::Balancer::Maglev(config::Maglev::default()),
    ]
}

/// A cluster under this policy.
fn under(policy: &config::Balancer) -> config::Cluster {
    config::Cluster { balancer: Some(policy.clone()), ..config::Cluster::default() }
}

/// All endpoints of these numbers are replicas of the one shard.
fn sharded() -> config::Cluster {
    let shard = config::Shard {
        name: "all".into(),
        replicas: (1..=10_000).map(address).collect(),
        ..config::Shard::default()
    };
    under(&config::Balancer::Sharded(config::Sharded {
        shards: vec![shard],
        ..config::Sharded::default()
    }))
}

/// A cluster under each policy that calls all of its endpoints: every one but pick first.
fn family() -> Vec<config::Cluster> {
    let least = |settings| config::Cluster {
        least_request: Some(settings),
        ..under(&config::Balancer::LeastRequest)
    };
    let three = config::LeastRequest { choices: Some(3), ..config::LeastRequest::default() };
    let all = config::LeastRequest { full_scan: Some(true), ..config::LeastRequest::default() };
    let biased = config::LeastRequest { active_bias: Some(1.0), ..config::LeastRequest::default() };
    let bounded = config::Balancer::RingHash(config::RingHash {
        minimum_ring_size: Some(65_536),
        balance_percent: Some(150),
        ..config::RingHash::default()
    });
    let naming = config::Balancer::OverrideHost(config::OverrideHost {
        sources: Vec::new(),
        fallback: Box::new(config::Balancer::RoundRobin),
        health: None,
    });
    let mut family: Vec<_> = policies().iter().map(under).collect();
    family.extend([least(three), least(all), least(biased), sharded()]);
    family.extend([under(&bounded), under(&naming)]);
    #[cfg(feature = "orca")]
    family.extend([
        under(&config::Balancer::Prequal(config::Prequal::default())),
        under(&config::Balancer::ClientWeighted(config::ClientWeighted::default())),
    ]);
    family
}

/// One takes all calls of a group.
fn pick_first() -> config::Cluster {
    under(&config::Balancer::PickFirst(config::PickFirst::default()))
}

/// Whether it compares latencies, in which failures are remembered and noise is.
fn is_by_latency(cluster: &config::Cluster) -> bool {
    match cluster.balancer {
        Some(config::Balancer::PeakEwma { .. }) => true,
        #[cfg(feature = "orca")]
        Some(config::Balancer::Prequal(_)) => true,
        _ => false,
    }
}

/// What a call is hashed to that any hash will do for: a policy that shards picks nobody without one.
fn hash_for<X: Upstream>(balancer: &Balancer<X>, random: &Random) -> Option<u64> {
    balancer.view.load().policy.shards().map(|_| random.next())
}

/// A policy in words.
fn named(cluster: &config::Cluster) -> String {
    format!("{:?} {:?}", cluster.balancer, cluster.least_request)
}

fn address(number: u16) -> Address {
    SocketAddr::from((Ipv4Addr::LOCALHOST, number)).into()
}

/// The endpoint of this number, from 1 on.
fn endpoint(number: u16) -> config::Endpoint {
    config::Endpoint::new(address(number))
}

fn number_of(endpoint: &Endpoint<Mock>) -> u16 {
    match endpoint.spec().address() {
        Address::Socket(address) => address.port(),
        Address::Unix(_) => 0,
    }
}

/// A cluster under load in virtual time.
struct Sim {
    balancer: Balancer<Mock>,
    random: Random,
    now: u64,
    /// What is in flight, by the time of its answer.
    running: BTreeMap<(u64, u64), (InFlight<Mock>, Outcome)>,
    calls: u64,
    picked: BTreeMap<u16, u64>,
}

impl Sim {
    fn new(policy: &config::Balancer, endpoints: Vec<config::Endpoint>) -> Self {
        let balancer = Balancer::new(&under(policy), (), Epoch::now());
        balancer.replace(endpoints);
        Self {
            balancer,
            random: Random::seeded(11),
            now: SECOND,
            running: BTreeMap::new(),
            calls: 0,
            picked: BTreeMap::new(),
        }
    }

    /// A cluster of the endpoints `1..=count`.
    fn of(policy: &config::Balancer, count: u16) -> Self {
        Self::new(policy, (1..=count).map(endpoint).collect())
    }

    fn pick(&self) -> Result<InFlight<Mock>, PickError> {
        let hash = hash_for(&self.balancer, &self.random);
        self.balancer.pick(Ask::any(self.now, &self.random, &[]).hashed(hash))
    }

    /// One call now, answered later; returns who took it.
    fn call(&mut self, answer: impl Fn(u16) -> (u64, Outcome)) -> u16 {
        let flight = self.pick().unwrap();
        let number = number_of(flight.endpoint());
        let (latency, outcome) = answer(number);
        self.calls += 1;
        *self.picked.entry(number).or_default() += 1;
        self.running.insert((self.now + latency, self.calls), (flight, outcome));
        number
    }

    /// Lets time pass; answers come in on their way.
    fn pass(&mut self, time: u64) {
        let end = self.now + time;
        while let Some(entry) = self.running.first_entry() {
            let (at, _) = *entry.key();
            if at > end {
                break;
            }
            let (flight, outcome) = entry.remove();
            flight.finish(at, outcome);
        }
        self.now = end;
    }

    /// `calls` calls that come one every `gap`.
    fn open(&mut self, calls: u64, gap: u64, answer: impl Fn(u16) -> (u64, Outcome)) {
        for _ in 0..calls {
            self.call(&answer);
            self.pass(gap);
        }
    }

    /// `calls` calls of which `width` are in flight at any time.
    fn closed(&mut self, calls: u64, width: usize, answer: impl Fn(u16) -> (u64, Outcome)) {
        for _ in 0..calls {
            while self.running.len() >= width {
                let Some((at, _)) = self.running.keys().next().copied() else { break };
                self.pass(at - self.now);
            }
            self.call(&answer);
        }
    }

    /// The share of the calls that this endpoint got.
    fn share(&self, number: u16) -> f64 {
        self.picked.get(&number).copied().unwrap_or(0) as f64 / self.calls as f64
    }

    fn count(&self, number: u16) -> u64 {
        self.picked.get(&number).copied().unwrap_or(0)
    }

    fn forget(&mut self) {
        self.calls = 0;
        self.picked.clear();
    }

    /// Picks until this endpoint has been seen, and gives it back.
    fn find(&self, number: u16) -> Arc<Endpoint<Mock>> {
        loop {
            let flight = self.pick().unwrap();
            let found = Arc::clone(flight.endpoint());
            flight.finish(self.now, Outcome::Ignored);
            if number_of(&found) == number {
                return found;
            }
        }
    }

    fn set_available(&self, number: u16, available: bool) {
        self.find(number).extra().unwrap().available.store(available, Relaxed);
    }
}

/// Answers after a millisecond, from anyone.
fn healthy(_: u16) -> (u64, Outcome) {
    (MILLI, Outcome::Success)
}
