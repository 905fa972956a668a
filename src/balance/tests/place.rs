//! Where calls go: priorities, localities, rings and subsets, with endpoints that own nothing.

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

use crate::{
    balance::{
        Ask, Balancer, Callers, InFlight, Outcome, PickError, Shift, Spec, Upstream, Wanted,
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

    fn added(_spec: &Spec, _cx: &Here) {}

    fn removed(_spec: &Spec, _cx: &Here) {}

    fn available(&self, _now: u64) -> bool {
        !self.wire.down.load(Relaxed)
    }

    fn respecified(&self, _spec: &Spec) {}

    fn retire(&self) {}

    fn is_failing(&self) -> bool {
        self.wire.failing.load(Relaxed)
    }

    fn round_trip(&self) -> Option<Duration> {
        let nanos = self.wire.round_trip.load(Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    fn place(cx: &Here) -> Place {
        cx.place.clone()
    }

    fn callers(cx: &Here, _cluster: &str) -> Vec<Callers> {
        cx.callers.lock().unwrap().clone()
    }

    fn seed(_cx: &Here) -> u64 {
        7
    }

    fn shifted(cx: &Here, shift: Shift) {
        cx.shifts.lock().unwrap().push(shift);
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
        let hash = super::hash_for(&self.balancer, &self.random);
        self.balancer.pick(Ask::any(self.now, &self.random, &[]).hashed(hash))
    }

    fn wanting(&self, wanted: &Wanted) -> Result<u16, PickError> {
        let hash = super::hash_for(&self.balancer, &self.random);
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
    let mut policies = super::family();
    policies.push(super::pick_first());
    policies
}

/// Those that call every endpoint. Pick first has one take all calls of a group: in panic, in a slow
/// start and among the endpoints of a subset it says nothing of shares.
fn sharing() -> Vec<Cluster> {
    super::family()
}

/// Of these, those that make no table, which takes a while for many endpoints.
fn without_tables() -> Vec<Cluster> {
    let tables = |it: &Cluster| {
        matches!(it.balancer, Some(config::Balancer::RingHash(_) | config::Balancer::Maglev(_)))
    };
    sharing().into_iter().filter(|it| !tables(it)).collect()
}

/// All of them, with tables that are soon made.
fn of_small_tables() -> Vec<Cluster> {
    let small = config::Maglev { table_size: Some(251), ..config::Maglev::default() };
    let mut all: Vec<_> = policies();
    for cluster in &mut all {
        match &mut cluster.balancer {
            Some(config::Balancer::RingHash(ring)) => *ring = config::RingHash::default(),
            Some(config::Balancer::Maglev(maglev)) => *maglev = small.clone(),
            _ => {}
        }
    }
    all
}

#[test]
fn the_first_priority_gets_everything_while_it_is_well() {
    for cluster in policies() {
        let endpoints = (1..=4).map(|port| at(port, u32::from(port > 2))).collect();
        let mut world = World::new(&cluster, Here::default(), endpoints);
        assert_eq!(world.share(1..=2), 1.0, "{}", super::named(&cluster));
    }
}

#[test]
fn the_next_priority_takes_over_what_the_first_cannot_carry() {
    for cluster in policies() {
        let endpoints = (1..=8).map(|port| at(port, u32::from(port > 4))).collect();
        let mut world = World::new(&cluster, Here::default(), endpoints);
        world.calls(2_000);
        // Half of it: 1.4 · 50 % stay.
        world.set_down(1..=2, true);
        let share = world.share(3..=4);
        assert!(about(share, 0.7), "{share} {}", super::named(&cluster));
        world.set_down(1..=4, true);
        assert_eq!(world.share(5..=8), 1.0);
        world.set_down(1..=4, false);
        assert_eq!(world.share(1..=4), 1.0);
    }
}

#[test]
fn nothing_bad_is_called_while_another_priority_is_well_even_before_it_is_counted() {
    for cluster in policies() {
        let endpoints = (1..=4).map(|port| at(port, u32::from(port > 2))).collect();
        let mut world = World::new(&cluster, Here::default(), endpoints);
        world.calls(100);
        for port in 1..=2 {
            world.balancer.context().wire(port).down.store(true, Relaxed);
        }
        assert_eq!(world.share(3..=4), 1.0, "{}", super::named(&cluster));
    }
}

#[test]
fn a_priority_that_is_lost_is_tried_by_one_call_per_count_and_returns() {
    let endpoints = vec![at(1, 0), at(2, 0), at(3, 1)];
    let mut world = World::new(&round_robin(), Here::default(), endpoints);
    world.calls(10);
    for port in 1..=2 {
        world.balancer.context().wire(port).failing.store(true, Relaxed);
    }
    // The back-off is over again and again: one call finds out, the others do not wait.
    for _ in 0..10 {
        world.count();
        let counts = world.calls(100);
        assert_eq!(counts[&3], 99, "{counts:?}");
    }
    for port in 1..=2 {
        world.balancer.context().wire(port).failing.store(false, Relaxed);
    }
    world.count();
    assert_eq!(world.share(1..=2), 1.0);
}

#[test]
fn a_priority_of_suspects_is_probed_and_returns() {
    let endpoints = vec![at(1, 0), at(2, 1)];
    let mut world = World::new(&round_robin(), Here::default(), endpoints);
    let answer = |world: &mut World, failing: bool| {
        let flight = world.pick().unwrap();
        let port = port_of(flight.endpoint().spec());
        let fails = failing && port == 1;
        flight.finish(world.now, if fails { Outcome::Failure } else { Outcome::Success });
        port
    };
    for _ in 0..20 {
        answer(&mut world, true);
    }
    world.count();
    let first = (0..100).filter(|_| answer(&mut world, true) == 1).count();
    assert!(first <= 1, "{first}");
    // It answers again, and the single calls find that out.
    for _ in 0..100 {
        world.now += SECOND;
        world.count();
        for _ in 0..10 {
            answer(&mut world, false);
        }
    }
    assert_eq!(world.share(1..=1), 1.0);
}

#[test]
fn a_retry_goes_to_the_next_priority_when_the_first_is_tried() {
    let mut world = World::new(&round_robin(), Here::default(), vec![at(1, 0), at(2, 1)]);
    world.calls(10);
    let flight = world.pick().unwrap();
    let tried = [Arc::clone(flight.endpoint())];
    assert_eq!(port_of(tried[0].spec()), 1);
    let again = world.balancer.pick(Ask::any(world.now, &world.random, &tried)).unwrap();
    assert_eq!(port_of(again.endpoint().spec()), 2);
    // With nothing else left, it is called once more.
    let both = [Arc::clone(flight.endpoint()), Arc::clone(again.endpoint())];
    assert!(world.balancer.pick(Ask::any(world.now, &world.random, &both)).is_ok());
}

#[test]
fn priorities_may_have_gaps_and_any_number() {
    let endpoints = vec![at(1, 128), at(2, 7), at(3, u32::MAX)];
    let mut world = World::new(&round_robin(), Here::default(), endpoints);
    assert_eq!(world.share(2..=2), 1.0);
    world.set_down(2..=2, true);
    assert_eq!(world.share(1..=1), 1.0);
    world.set_down(1..=2, true);
    assert_eq!(world.share(3..=3), 1.0);
}

#[test]
fn shifts_are_told_once() {
    let endpoints = vec![at(1, 0), at(2, 0), at(3, 1)];
    let mut world = World::new(&round_robin(), Here::default(), endpoints);
    world.calls(10);
    assert_eq!(world.shifts(), []);
    world.set_down(1..=2, true);
    let shift = |priority, percent, panic| Shift { priority, distance: 0, percent, panic };
    assert_eq!(world.shifts(), [shift(0, 0, false), shift(1, 100, false)]);
    world.count();
    world.calls(10);
    assert_eq!(world.shifts(), []);
    world.set_down(3..=3, true);
    assert_eq!(world.shifts(), [shift(0, 67, true), shift(1, 33, true)]);
    world.set_down(1..=3, false);
    assert_eq!(world.shifts(), [shift(0, 100, false), shift(1, 0, false)]);
}

#[test]
fn in_panic_all_endpoints_are_called() {
    let sick = |port| endpoint(port).health(Health::Unhealthy);
    for cluster in sharing() {
        // One of four is healthy: less than half.
        let endpoints = vec![endpoint(1), sick(2), sick(3), sick(4)];
        let mut world = World::new(&cluster, Here::default(), endpoints.clone());
        let counts = world.calls(8_000);
        assert!(counts.len() == 4 && counts.values().all(|it| *it > 500), "{counts:?}");
        // Two of four are enough.
        world.balancer.upsert(vec![endpoint(2)]);
        assert_eq!(world.share(1..=2), 1.0, "{}", super::named(&cluster));
        // Without the rule the healthy one gets everything.
        let never = Cluster { panic_threshold: Some(0.0), ..cluster };
        let mut world = World::new(&never, Here::default(), endpoints);
        assert_eq!(world.share(1..=1), 1.0);
    }
}

#[test]
fn calls_fail_in_panic_where_that_is_asked_for() {
    let fails = Balancing { fail_on_panic: Some(true), ..Balancing::default() };
    let sick = |port| endpoint(port).health(Health::Unhealthy);
    let endpoints = vec![endpoint(1), sick(2), sick(3), sick(4)];
    let mut world = World::new(&balanced(fails), Here::default(), endpoints);
    assert_eq!(world.pick().err(), Some(PickError::Panic));
    world.balancer.upsert(vec![endpoint(2)]);
    assert_eq!(world.share(1..=2), 1.0);
}

#[test]
fn degraded_endpoints_get_what_healthy_ones_cannot_carry() {
    let degraded = |port| endpoint(port).health(Health::Degraded);
    for cluster in policies() {
        let endpoints = vec![endpoint(1), degraded(2), degraded(3), degraded(4)];
        let mut world = World::new(&cluster, Here::default(), endpoints);
        // 1.4 · 25 % = 35 %.
        let share = world.share(1..=1);
        assert!(about(share, 0.35), "{share} {}", super::named(&cluster));
        let endpoints = vec![endpoint(1), endpoint(2), endpoint(3), degraded(4)];
        let mut world = World::new(&cluster, Here::default(), endpoints);
        assert_eq!(world.share(1..=3), 1.0, "{}", super::named(&cluster));
    }
}

#[test]
fn localities_share_by_their_weights() {
    let weight = |zone: &str, weight| LocalityWeight {
        locality: Locality::new("r", zone),
        weight,
        ..LocalityWeight::default()
    };
    let balancing = Balancing { locality: LocalityBalancing::Weighted, ..Balancing::default() };
    for cluster in policies() {
        let cluster = Cluster {
            localities: vec![weight("x", 1), weight("y", 2), weight("none", 0)],
            balancing: Some(balancing.clone()),
            ..cluster
        };
        let zone = |port| match port {
            1..=4 => "x",
            5..=8 => "y",
            9 => "none",
            _ => "nobody has said anything of it",
        };
        let endpoints = (1..=10).map(|port| of_zone(port, zone(port))).collect();
        let mut world = World::new(&cluster, Here::default(), endpoints);
        let share = world.share(1..=4);
        assert!(about(share, 1.0 / 3.0), "{share} {}", super::named(&cluster));
        assert_eq!(world.share(9..=10), 0.0);
        world.set_down(1..=2, true);
        // 1 · 70 to 2 · 100.
        let share = world.share(3..=4);
        assert!(about(share, 0.259), "{share}");
        world.set_down(1..=8, true);
        assert_eq!(world.share(9..=10), 1.0, "rather than bad ones");
    }
}

#[test]
fn localities_without_any_weight_are_as_none() {
    let balancing = Balancing { locality: LocalityBalancing::Weighted, ..Balancing::default() };
    let endpoints = (1..=4).map(|port| of_zone(port, if port == 1 { "x" } else { "y" })).collect();
    let mut world = World::new(&balanced(balancing), Here::default(), endpoints);
    assert!(about(world.share(1..=1), 0.25));
}

fn zone_aware(zone: ZoneAware) -> Balancing {
    Balancing { locality: LocalityBalancing::ZoneAware(zone), ..Balancing::default() }
}

fn callers(zone: &str, number: u64) -> Callers {
    Callers { locality: Locality::new("r", zone), number, weight: number }
}

#[test]
fn what_fits_stays_in_the_own_zone() {
    let own = ZoneAware { own_cluster: Some("me".into()), ..ZoneAware::default() };
    for cluster in policies() {
        let cluster = Cluster { balancing: Some(zone_aware(own.clone())), ..cluster };
        let here = in_zone("a");
        *here.callers.lock().unwrap() = vec![callers("a", 40), callers("b", 40), callers("c", 20)];
        let zone = |port| match port {
            1..=2 => "a",
            3..=6 => "b",
            _ => "c",
        };
        let endpoints = (1..=8).map(|port| of_zone(port, zone(port))).collect();
        let mut world = World::new(&cluster, here, endpoints);
        let counts = world.calls(20_000);
        let part = |ports: std::ops::RangeInclusive<u16>| {
            f64::from(counts.iter().filter(|it| ports.contains(it.0)).map(|it| it.1).sum::<u32>())
                / 20_000.0
        };
        assert!(about(part(1..=2), 0.625), "{counts:?}");
        assert!(about(part(3..=6), 0.25), "{counts:?}");
        assert!(about(part(7..=8), 0.125), "{counts:?}");
        // More of the callers come to be elsewhere.
        *world.balancer.context().callers.lock().unwrap() = vec![callers("a", 1), callers("b", 9)];
        world.count();
        assert_eq!(world.share(1..=2), 1.0);
        // The zone dies: nothing fails.
        world.set_down(1..=2, true);
        assert_eq!(world.share(3..=8), 1.0);
    }
}

#[test]
fn a_zone_may_be_kept_to_without_knowing_the_callers() {
    let forced = ZoneAware { force_local_min_size: Some(2), ..ZoneAware::default() };
    let endpoints = (1..=8).map(|port| of_zone(port, if port <= 2 { "a" } else { "b" })).collect();
    let mut world = World::new(&balanced(zone_aware(forced)), in_zone("a"), endpoints);
    assert_eq!(world.share(1..=2), 1.0);
    world.set_down(1..=1, true);
    // It is too small now: everything is called.
    assert!(about(world.share(2..=2), 1.0 / 7.0));
}

#[test]
fn what_is_near_is_a_priority() {
    let prefer = vec![LocalityScope::Region, LocalityScope::Zone];
    let near = Balancing { prefer, ..Balancing::default() };
    let endpoints = vec![
        of_zone(1, "a"),
        of_zone(2, "b"),
        config::Endpoint { locality: Some(Box::new(Locality::new("far", "a"))), ..endpoint(3) },
        endpoint(4),
    ];
    let mut world = World::new(&balanced(near.clone()), in_zone("a"), endpoints.clone());
    assert_eq!(world.share(1..=1), 1.0);
    world.set_down(1..=1, true);
    assert_eq!(world.share(2..=2), 1.0);
    world.set_down(1..=2, true);
    assert_eq!(world.share(3..=4), 1.0);
    // A caller that does not know where it is calls all.
    let mut world = World::new(&balanced(near.clone()), Here::default(), endpoints.clone());
    assert_eq!(world.calls(4_000).len(), 4);
    // Kept to strictly, nobody else is called.
    let strict = Balancing { prefer_strictly: Some(true), ..near };
    let mut world = World::new(&balanced(strict.clone()), in_zone("a"), endpoints.clone());
    assert_eq!(world.share(1..=1), 1.0);
    world.set_down(1..=1, true);
    assert_eq!(world.share(1..=1), 1.0, "even when it is down");
    let world = World::new(&balanced(strict), Here::default(), endpoints);
    assert_eq!(world.pick().err(), Some(PickError::Unavailable));
}

fn ringed(rings: Rings) -> Cluster {
    let locality = LocalityBalancing::Rings(rings);
    balanced(Balancing { locality, ..Balancing::default() })
}

fn rings() -> Rings {
    let ring = |millis| Ring::new(Duration::from_millis(millis)).threshold_percent(50.0);
    Rings { rings: vec![ring(2), ring(20)], full_load: Some(10) }
}

/// Six endpoints, two in each ring, that were all called once.
fn of_rings() -> World {
    let mut world = World::new(&ringed(rings()), Here::default(), (1..=6).map(endpoint).collect());
    for port in 1..=6 {
        let millis = [1, 10, 100][usize::from(port - 1) / 2];
        world.balancer.context().wire(port).round_trip.store(millis * MILLI, Relaxed);
    }
    world.calls(100);
    world.count();
    world
}

#[test]
fn the_nearest_ring_takes_everything_while_it_is_not_too_busy() {
    let mut world = of_rings();
    assert_eq!(world.share(1..=2), 1.0);
    // The nearest are gone: the next ring, not the last one.
    world.set_down(1..=2, true);
    assert_eq!(world.share(3..=4), 1.0);
}

/// The test of the formula in docs/BALANCING.md: with the rings closed it fails.
#[test]
fn the_next_ring_opens_when_the_mean_load_of_the_nearer_ones_passes_its_threshold() {
    let mut world = of_rings();
    // 8 calls in flight to two endpoints: a load of 0.4 each, under the threshold of 0.5.
    let held: Vec<_> = (0..8).map(|_| world.pick().unwrap()).collect();
    world.count();
    assert_eq!(world.share(1..=2), 1.0);
    // 16 in flight: 0.8. The ring would be at its threshold with 0.5 / 0.8 of the calls.
    let more: Vec<_> = (0..8).map(|_| world.pick().unwrap()).collect();
    world.count();
    let share = world.share(1..=2);
    assert!(about(share, 0.625), "{share}");
    assert!(about(world.share(3..=4), 0.375));
    assert_eq!(world.share(5..=6), 0.0);
    // They end, and the ring closes within a few counts.
    drop((held, more));
    for _ in 0..8 {
        world.count();
    }
    assert_eq!(world.share(1..=2), 1.0);
}

#[test]
fn what_was_not_measured_is_where_its_locality_is() {
    let endpoints =
        (1..=4).map(|port| of_zone(port, if port <= 2 { "near" } else { "far" })).collect();
    let mut world = World::new(&ringed(rings()), Here::default(), endpoints);
    // Nothing is known: all are called, and that is how it is found out.
    assert_eq!(world.calls(400).len(), 4);
    world.balancer.context().wire(1).round_trip.store(MILLI, Relaxed);
    world.balancer.context().wire(3).round_trip.store(90 * MILLI, Relaxed);
    world.count();
    assert_eq!(world.share(1..=2), 1.0);
}

#[test]
fn a_client_of_ten_thousand_endpoints_calls_twenty() {
    for used in [
        Subsetting::Random(config::RandomSubset::default()),
        Subsetting::Deterministic(config::DeterministicSubset {
            size: Some(20),
            process: 3,
            processes: 1_000,
        }),
    ] {
        for cluster in without_tables() {
            let cluster = Cluster { subsetting: Some(used.clone()), ..cluster };
            let mut world =
                World::new(&cluster, Here::default(), (1..=10_000).map(endpoint).collect());
            let counts = world.calls(20_000);
            assert_eq!(counts.len(), 20, "{used:?} {}", super::named(&cluster));
            // One leaves that is called: one other takes its place.
            let gone = *counts.keys().next().unwrap();
            world.balancer.remove(&[endpoint(gone).address]);
            let after: BTreeSet<_> = world.calls(20_000).into_keys().collect();
            let before: BTreeSet<_> = counts.into_keys().collect();
            assert!(!after.contains(&gone));
            let changed = after.difference(&before).count();
            assert!(changed <= 1 || matches!(used, Subsetting::Deterministic(_)), "{changed}");
        }
    }
}

#[test]
fn a_subset_that_is_bad_as_a_whole_is_left() {
    let random = config::RandomSubset { size: Some(3), above: Some(0), seed: Some(1) };
    let cluster = Cluster { subsetting: Some(Subsetting::Random(random)), ..round_robin() };
    let mut world = World::new(&cluster, Here::default(), (1..=30).map(endpoint).collect());
    let used: Vec<_> = world.calls(300).into_keys().collect();
    assert_eq!(used.len(), 3);
    for port in &used {
        world.set_down(*port..=*port, true);
    }
    let others = world.calls(3_000);
    assert!(others.len() > 3 && used.iter().all(|port| !others.contains_key(port)));
}

#[test]
fn the_ends_of_an_aperture_are_used_by_their_share() {
    // 4 processes, 10 endpoints, 3 wanted: half of the circle from 2.5 on.
    let used = config::DeterministicSubset { size: Some(3), process: 1, processes: 4 };
    for cluster in without_tables().into_iter().filter(|it| !super::is_by_latency(it)) {
        let subsetting = Some(Subsetting::Deterministic(used.clone()));
        let cluster = Cluster { subsetting, ..cluster };
        let mut world = World::new(&cluster, Here::default(), (10..20).map(endpoint).collect());
        let counts = world.calls(50_000);
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), (12..=17).collect::<Vec<_>>());
        for (port, count) in &counts {
            let wanted = if matches!(port, 12 | 17) { 0.1 } else { 0.2 };
            let share = f64::from(*count) / 50_000.0;
            assert!((share - wanted).abs() < 0.04, "{port}: {share} {}", super::named(&cluster));
        }
    }
}

fn labelled(port: u16, version: &str) -> config::Endpoint {
    let labels = [("version".to_owned(), version.to_owned())].into();
    config::Endpoint { labels, ..endpoint(port) }
}

fn wanted(version: &str) -> Wanted {
    Wanted::new([("version".to_owned(), version.to_owned())].into())
}

#[test]
fn a_route_gets_the_endpoints_of_its_labels() {
    let selector = SubsetSelector { keys: vec!["version".into()], ..SubsetSelector::default() };
    let mut subsets = Subsets { selectors: vec![selector], ..Subsets::default() };
    let endpoints = |_| vec![labelled(1, "1"), labelled(2, "2"), labelled(3, "2"), endpoint(4)];
    let cluster = |subsets: &Subsets| Cluster { subsets: Some(subsets.clone()), ..round_robin() };
    let mut world = World::new(&cluster(&subsets), Here::default(), endpoints(()));
    for _ in 0..100 {
        assert_eq!(world.wanting(&wanted("1")), Ok(1));
        assert!(matches!(world.wanting(&wanted("2")), Ok(2 | 3)));
        assert_eq!(world.wanting(&wanted("3")), Err(PickError::NoPart));
    }
    assert_eq!(world.calls(400).len(), 4, "a route without labels calls all");
    // An endpoint changes its labels.
    world.balancer.upsert(vec![labelled(4, "3")]);
    assert_eq!(world.wanting(&wanted("3")), Ok(4));
    subsets.fallback = SubsetFallback::Any;
    world.balancer.settle(&cluster(&subsets));
    assert!(world.wanting(&wanted("9")).is_ok());
    // Labels of a cluster that has no parts: nobody is known to carry them.
    world.balancer.settle(&round_robin());
    world.balancer.upsert(vec![at(5, 1)]);
    assert_eq!(world.wanting(&wanted("1")), Err(PickError::NoPart));
}

#[test]
fn a_hash_belongs_to_one_endpoint_of_one_priority() {
    let ring = config::Balancer::RingHash(config::RingHash::default());
    let cluster = Cluster { balancer: Some(ring), ..Cluster::default() };
    let endpoints = (1..=8).map(|port| at(port, u32::from(port > 4))).collect();
    let world = World::new(&cluster, Here::default(), endpoints);
    let of = |world: &World, hash: u64| {
        let ask = Ask::any(world.now, &world.random, &[]).hashed(Some(hash));
        let flight = world.balancer.pick(ask).unwrap();
        let port = port_of(flight.endpoint().spec());
        flight.finish(world.now, Outcome::Success);
        port
    };
    let all = |world: &World| (0..200).map(|hash| of(world, hash << 55)).collect::<Vec<_>>();
    let before = all(&world);
    assert_eq!(before, all(&world));
    assert!(before.iter().all(|port| *port <= 4), "{before:?}");
    // Half of the priority is gone: 30 % of the hashes move to the next one, and stay there.
    world.set_down(1..=2, true);
    let after = all(&world);
    assert_eq!(after, all(&world));
    let moved = after.iter().filter(|port| **port > 4).count();
    assert!((40..80).contains(&moved), "{moved}");
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *before <= 2 || *after > 4, "{before} {after}");
    }
    world.set_down(1..=2, false);
    assert_eq!(before, all(&world));
}

#[test]
fn awkward_sets_of_endpoints() {
    let draining = |port, priority| at(port, priority).health(Health::Draining);
    for balancing in [
        Balancing::default(),
        Balancing { locality: LocalityBalancing::Weighted, ..Balancing::default() },
        zone_aware(ZoneAware::default()),
        Balancing { locality: LocalityBalancing::Rings(rings()), ..Balancing::default() },
    ] {
        let cluster = balanced(balancing);
        let mut world = World::new(&cluster, Here::default(), Vec::new());
        assert_eq!(world.pick().err(), Some(PickError::Empty));
        world.count();
        // All drain: nothing is called.
        world.balancer.replace(vec![draining(1, 0), draining(2, 1)]);
        assert_eq!(world.pick().err(), Some(PickError::Unavailable));
        // A priority that drains gives everything to the next.
        world.balancer.replace(vec![draining(1, 0), at(2, 1)]);
        assert_eq!(world.share(2..=2), 1.0);
        // The same address twice is the last one's.
        world.balancer.replace(vec![at(1, 0), at(2, 0), at(1, 1)]);
        assert_eq!(world.share(2..=2), 1.0);
        // All of them are down: something is called all the same.
        world.calls(10);
        world.set_down(1..=2, true);
        assert!(world.pick().is_ok());
        world.balancer.replace(Vec::new());
        assert_eq!(world.pick().err(), Some(PickError::Empty));
    }
}

#[test]
fn huge_weights_of_localities() {
    let weight = |zone: &str, weight| LocalityWeight {
        locality: Locality::new("r", zone),
        weight,
        ..LocalityWeight::default()
    };
    let locality = LocalityBalancing::Weighted;
    let cluster = Cluster {
        localities: vec![weight("x", u32::MAX), weight("y", u32::MAX), weight("z", 1)],
        ..balanced(Balancing { locality, ..Balancing::default() })
    };
    let endpoints = [(1, "x"), (2, "y"), (3, "z")].map(|(port, zone)| of_zone(port, zone)).into();
    let mut world = World::new(&cluster, Here::default(), endpoints);
    assert!(about(world.share(1..=1), 0.5));
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_is_warmed_up_under_every_policy() {
    for cluster in sharing() {
        let slow_start = Some(config::SlowStart::default());
        let cluster = Cluster { slow_start, ..cluster };
        let epoch = Epoch::now();
        let balancer = Balancer::new(&cluster, Here::default(), epoch);
        tokio::time::advance(Duration::from_secs(100)).await;
        balancer.replace((1..=4).map(endpoint).collect());
        let nanos = || epoch.nanos(crate::core::Instant::now());
        let mut world = World { balancer, random: Random::seeded(3), now: nanos() };
        // The first ones are new together: nobody waits.
        world.calls(4_000);
        tokio::time::advance(Duration::from_secs(100)).await;
        world.balancer.upsert(vec![endpoint(5)]);
        world.now = nanos();
        // A new one that answers as fast gets a fifth, and of that a tenth, then a half.
        for (wait, wanted) in [(0, 0.025), (5, 0.125), (6, 0.2)] {
            world.now += wait * SECOND;
            let mut calls = 0;
            let mut taken = 0;
            for _ in 0..4_000 {
                let flight = world.pick().unwrap();
                calls += 1;
                taken += u32::from(port_of(flight.endpoint().spec()) == 5);
                flight.finish(world.now + MILLI, Outcome::Success);
            }
            let share = f64::from(taken) / f64::from(calls);
            let slack = if super::is_by_latency(&cluster) { 0.2 } else { 0.05 };
            assert!((share - wanted).abs() < slack, "{wait} s: {share} {}", super::named(&cluster));
        }
        // Who was unhealthy and is well begins anew.
        world.balancer.upsert(vec![endpoint(5).health(Health::Unhealthy)]);
        world.balancer.upsert(vec![endpoint(5)]);
        let joined = world.balancer.read().all.set.iter().last().unwrap().joined();
        assert_eq!(joined, nanos());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever comes and goes: no endpoint that is gone or drains is picked, and none that is
    /// known to be down while one is well.
    #[test]
    fn no_endpoint_is_picked_that_is_gone(
        steps in prop::collection::vec(
            (1_u16..24, 0_u32..3, 0_u8..5, 0_u8..3, any::<bool>()), 1..60),
        sharing in 0_u8..4,
        subset in any::<bool>(),
        policy in 0..of_small_tables().len(),
        seed in any::<u64>(),
    ) {
        let locality = match sharing {
            0 => LocalityBalancing::None,
            1 => LocalityBalancing::Weighted,
            2 => LocalityBalancing::ZoneAware(ZoneAware {
                min_cluster_size: Some(1), own_cluster: Some("me".into()), ..ZoneAware::default()
            }),
            _ => LocalityBalancing::Rings(rings()),
        };
        let random = config::RandomSubset { size: Some(4), above: Some(0), seed: None };
        let weight = LocalityWeight {
            locality: Locality::new("r", "0"), weight: 3, ..LocalityWeight::default()
        };
        let cluster = Cluster {
            balancing: Some(Balancing { locality, ..Balancing::default() }),
            localities: vec![weight],
            subsetting: subset.then_some(Subsetting::Random(random)),
            ..of_small_tables()[policy].clone()
        };
        let here = in_zone("0");
        *here.callers.lock().unwrap() = vec![callers("0", 2), callers("1", 1)];
        let mut world = World::new(&cluster, here, Vec::new());
        world.random = Random::seeded(seed);
        let mut known = BTreeMap::new();
        for (port, priority, health, zone, down) in steps {
            world.now += SECOND;
            if health == 0 {
                world.balancer.remove(&[endpoint(port).address]);
                known.remove(&port);
            } else {
                let health =
                    [Health::Healthy, Health::Degraded, Health::Unhealthy, Health::Draining]
                        [usize::from(health) - 1];
                let said = config::Endpoint {
                    priority, health, ..of_zone(port, &zone.to_string())
                };
                world.balancer.upsert(vec![said]);
                known.insert(port, health);
            }
            let wire = world.balancer.context().wire(port);
            wire.down.store(down, Relaxed);
            wire.round_trip.store(u64::from(zone) * 15 * MILLI, Relaxed);
            if down {
                world.count();
            }
            let callable = known.values().any(|health| *health != Health::Draining);
            for _ in 0..8 {
                match world.pick() {
                    Err(_) => prop_assert!(!callable),
                    Ok(flight) => {
                        let port = port_of(flight.endpoint().spec());
                        let health = known.get(&port);
                        prop_assert!(health.is_some_and(|it| *it != Health::Draining), "{port}");
                        flight.finish(world.now, Outcome::Success);
                    }
                }
            }
        }
        world.balancer.check();
    }
}

#[test]
fn a_cluster_that_others_take_over_from_gets_its_calls_back_when_its_back_off_is_over() {
    let scans = config::LeastRequest { full_scan: Some(true), ..config::LeastRequest::default() };
    let shards = vec![config::Shard { name: "1".into(), ..config::Shard::default() }];
    let label = Some("version".into());
    let sharded = config::Sharded { shards, label, hash: Vec::new() };
    let kinds = [
        config::Balancer::PickFirst(config::PickFirst::default()),
        config::Balancer::LeastRequest,
        config::Balancer::Sharded(sharded),
        config::Balancer::RoundRobin,
        config::Balancer::default(),
    ];
    for balancer in kinds {
        for balancing in [None, Some(Balancing::default())] {
            let least_request = (balancer == config::Balancer::LeastRequest).then(|| scans.clone());
            let balancer = Some(balancer.clone());
            let cluster = Cluster { balancer, balancing, least_request, ..Cluster::default() };
            let mut world = World::new(&cluster, Here::default(), vec![labelled(1, "1")]);
            let well = |world: &World| {
                let ask = Ask::any(world.now, &world.random, &[]).hashed(Some(1));
                world
                    .balancer
                    .pick_well(ask)
                    .map(|flight| flight.finish(world.now, Outcome::Ignored))
            };
            assert_eq!(well(&world), Ok(()), "{cluster:?}");
            let wire = world.balancer.context().wire(1);
            wire.failing.store(true, Relaxed);
            world.set_down(1..=1, true);
            assert!(well(&world).is_err(), "{cluster:?}");
            world.now += SECOND;
            world.set_down(1..=1, false);
            assert_eq!(well(&world), Ok(()), "{cluster:?}");
        }
    }
}

#[test]
fn labels_of_a_cluster_without_subsets_are_carried_by_nobody() {
    let world = World::new(&round_robin(), Here::default(), vec![labelled(1, "1")]);
    assert_eq!(world.wanting(&wanted("1")), Err(PickError::NoPart));
    assert!(!world.balancer.is_callable(Some(&wanted("1"))));
    assert_eq!(world.wanting(&Wanted::default()), Ok(1));
}
