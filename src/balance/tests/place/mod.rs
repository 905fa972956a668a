//! Where calls go: priorities, localities, rings and subsets, with endpoints that own nothing.

mod localities;
mod priorities;
mod rings;
mod sets;
mod subsets;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use proptest::prelude::*;

use super::{family, hash_for, is_by_latency, named, pick_first};
use crate::{
    balance::{
        Ask, Balancer, Callers, Environment, InFlight, Outcome, PickError, Shift, Spec, Upstream,
        Wanted,
    },
    config::{
        self, Address, Balancing, Cluster, Health, Locality, LocalityBalancing, LocalityScope,
        LocalityWeight, Place, Ring, Rings, SubsetFallback, SubsetSelector, Subsets, Subsetting,
        ZoneAware,
    },
    core::{Epoch, Random},
};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;

/// What an endpoint's connections are at, by its port; kept when the endpoint is not.
#[derive(Default)]
struct Wire {
    down: AtomicBool,
    /// It could not be connected to, and has not answered since.
    failing: AtomicBool,
    /// Nanoseconds; 0: not measured.
    round_trip: AtomicU64,
}

#[derive(Default)]
struct Here {
    place: Place,
    callers: Mutex<Vec<Callers>>,
    shifts: Mutex<Vec<Shift>>,
    wires: Mutex<HashMap<u16, Arc<Wire>>>,
}

struct Peer {
    name: Arc<str>,
    wire: Arc<Wire>,
}

impl Here {
    fn wire(&self, port: u16) -> Arc<Wire> {
        Arc::clone(self.wires.lock().unwrap().entry(port).or_default())
    }
}

impl Upstream for Peer {
    type Context = Here;

    fn build(spec: &Spec, cx: &Here) -> Self {
        Self { name: "".into(), wire: cx.wire(port_of(spec)) }
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn available(&self, _now: u64) -> bool {
        !self.wire.down.load(Relaxed)
    }

    fn retire(&self) {}

    fn is_failing(&self) -> bool {
        self.wire.failing.load(Relaxed)
    }

    fn round_trip(&self) -> Option<Duration> {
        let nanos = self.wire.round_trip.load(Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }
}

impl Environment for Here {
    fn place(&self) -> Place {
        self.place.clone()
    }

    fn callers(&self, _cluster: &str) -> Vec<Callers> {
        self.callers.lock().unwrap().clone()
    }

    fn seed(&self) -> u64 {
        7
    }

    fn shifted(&self, shift: Shift) {
        self.shifts.lock().unwrap().push(shift);
    }
}

fn port_of(spec: &Spec) -> u16 {
    match spec.address() {
        Address::Socket(address) => address.port(),
        Address::Unix(_) => 0,
    }
}

/// A cluster that is called.
struct World {
    balancer: Balancer<Peer>,
    random: Random,
    now: u64,
}

impl World {
    fn new(cluster: &Cluster, here: Here, endpoints: Vec<config::Endpoint>) -> Self {
        let balancer = Balancer::new(cluster, here, Epoch::now());
        balancer.replace(endpoints);
        let world = Self { balancer, random: Random::seeded(3), now: SECOND };
        if matches!(cluster.balancer, Some(config::Balancer::PickFirst(_))) {
            world.connect();
        }
        world
    }

    /// As if each had been called once: of one that pick first has never used nobody knows that it is
    /// down.
    fn connect(&self) {
        let view = self.balancer.read();
        for endpoint in view.all.set.iter() {
            let _known = self.balancer.live(endpoint, &view.all);
        }
    }

    fn pick(&self) -> Result<InFlight<Peer>, PickError> {
        let hash = hash_for(&self.balancer, &self.random);
        self.balancer.pick(Ask::any(self.now, &self.random, &[]).hashed(hash))
    }

    fn wanting(&self, wanted: &Wanted) -> Result<u16, PickError> {
        let hash = hash_for(&self.balancer, &self.random);
        let ask = Ask::any(self.now, &self.random, &[]).hashed(hash).wanting(Some(wanted));
        let flight = self.balancer.pick(ask)?;
        let port = port_of(flight.endpoint().spec());
        flight.finish(self.now, Outcome::Success);
        Ok(port)
    }

    /// How many of so many calls each endpoint gets; each call is over before the next.
    fn calls(&mut self, calls: u32) -> BTreeMap<u16, u32> {
        let mut counts = BTreeMap::new();
        for _ in 0..calls {
            let flight = self.pick().unwrap();
            *counts.entry(port_of(flight.endpoint().spec())).or_default() += 1;
            self.now += 1_000;
            flight.finish(self.now, Outcome::Success);
        }
        counts
    }

    /// The part of so many calls that goes to the ports of a range.
    fn share(&mut self, ports: std::ops::RangeInclusive<u16>) -> f64 {
        let counts = self.calls(20_000);
        let of: u32 = counts.iter().filter(|(port, _)| ports.contains(port)).map(|it| it.1).sum();
        f64::from(of) / 20_000.0
    }

    fn set_down(&self, ports: std::ops::RangeInclusive<u16>, down: bool) {
        for port in ports {
            self.balancer.context().wire(port).down.store(down, Relaxed);
        }
        self.count();
    }

    fn count(&self) {
        self.balancer.keep(self.now);
    }

    fn shifts(&self) -> Vec<Shift> {
        std::mem::take(&mut self.balancer.context().shifts.lock().unwrap())
    }
}

fn endpoint(port: u16) -> config::Endpoint {
    SocketAddr::from(([127, 0, 0, 1], port)).into()
}

fn at(port: u16, priority: u32) -> config::Endpoint {
    config::Endpoint { priority, ..endpoint(port) }
}

fn of_zone(port: u16, zone: &str) -> config::Endpoint {
    config::Endpoint { locality: Some(Box::new(Locality::new("r", zone))), ..endpoint(port) }
}

fn round_robin() -> Cluster {
    Cluster { balancer: Some(config::Balancer::RoundRobin), ..Cluster::default() }
}

fn balanced(balancing: Balancing) -> Cluster {
    Cluster { balancing: Some(balancing), ..round_robin() }
}

fn in_zone(zone: &str) -> Here {
    let locality = Locality::new("r", zone);
    Here { place: Place { locality, ..Place::default() }, ..Here::default() }
}

fn about(met: f64, wanted: f64) -> bool {
    (met - wanted).abs() < 0.02
}

/// Every policy, so that none forgets the plan.
fn policies() -> Vec<Cluster> {
    let mut policies = family();
    policies.push(pick_first());
    policies
}

/// Those that call every endpoint. Pick first has one take all calls of a group: in panic, in a slow
/// start and among the endpoints of a subset it says nothing of shares.
fn sharing() -> Vec<Cluster> {
    family()
}

/// Of these, those that make no table, which takes a while for many endpoints.
fn without_tables() -> Vec<Cluster> {
    sharing().into_iter().filter(|it| !has_table(it)).collect()
}

fn has_table(it: &Cluster) -> bool {
    matches!(it.balancer, Some(config::Balancer::RingHash(_) | config::Balancer::Maglev(_)))
}

/// All of them, with tables that are soon made.
fn of_small_tables() -> Vec<Cluster> {
    let small = config::Maglev { table_size: Some(251), ..config::Maglev::default() };
    let mut all: Vec<_> = policies();
    for cluster in &mut all {
        match &mut cluster.balancer {
            Some(config::Balancer::RingHash(ring)) => ring.minimum_ring_size = None,
            Some(config::Balancer::Maglev(maglev)) => *maglev = small.clone(),
            _ => {}
        }
    }
    all
}

fn zone_aware(zone: ZoneAware) -> Balancing {
    Balancing { locality: LocalityBalancing::ZoneAware(zone), ..Balancing::default() }
}

fn callers(zone: &str, number: u64) -> Callers {
    Callers { locality: Locality::new("r", zone), number, weight: number }
}

fn rings() -> Rings {
    let ring = |millis| Ring::new(Duration::from_millis(millis)).threshold_percent(50.0);
    Rings { rings: vec![ring(2), ring(20)], full_load: Some(10) }
}

fn labelled(port: u16, version: &str) -> config::Endpoint {
    let labels = [("version".to_owned(), version.to_owned())].into();
    config::Endpoint { labels, ..endpoint(port) }
}

fn wanted(version: &str) -> Wanted {
    Wanted::new([("version".to_owned(), version.to_owned())].into())
}
