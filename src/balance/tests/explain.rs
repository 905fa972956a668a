//! What explanations say is what picks do, whatever the cluster and its state.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use proptest::prelude::*;

use super::{MILLI, SECOND, endpoint, policies};
use crate::{
    balance::{
        Ask, Asked, Balancer, Callers, Choice, EndpointStanding, Environment, HealthSet, InFlight,
        Outcome, Over, PickError, PickExplanation, PickReason, Spec, Upstream, Wanted,
    },
    config::{
        self, Address, Balancer as Policy, Balancing, Cluster, Health, Locality, LocalityBalancing,
        LocalityScope, LocalityWeight, OutlierDetection, Place, Ring, Rings, SubsetSelector,
        Subsets, Subsetting, ZoneAware,
    },
    core::{Epoch, Random},
};

/// What an endpoint's connections are at, by its port.
#[derive(Default)]
struct Wire {
    down: AtomicBool,
    failing: AtomicBool,
    /// Nanoseconds; 0: not measured.
    round_trip: AtomicU64,
}

#[derive(Default)]
struct Wires(Mutex<HashMap<u16, Arc<Wire>>>);

struct Peer {
    name: Arc<str>,
    wire: Arc<Wire>,
}

impl Wires {
    fn of(&self, port: u16) -> Arc<Wire> {
        Arc::clone(self.0.lock().unwrap().entry(port).or_default())
    }
}

/// In the first of three zones, where two of the three callers are.
impl Environment for Wires {
    fn place(&self) -> Place {
        Place { locality: Locality::new("r", "z0"), ..Place::default() }
    }

    fn callers(&self, _cluster: &str) -> Vec<Callers> {
        let of = |zone: &str, number| {
            let locality = Locality::new("r", zone);
            Callers { locality, number, weight: number }
        };
        vec![of("z0", 2), of("z1", 1)]
    }
}

impl Upstream for Peer {
    type Context = Wires;

    fn build(spec: &Spec, wires: &Wires) -> Self {
        Self { name: spec.address().to_string().into(), wire: wires.of(port_of(spec.address())) }
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn available(&self, _now: u64) -> bool {
        !self.wire.down.load(Relaxed)
    }

    fn is_failing(&self) -> bool {
        self.wire.failing.load(Relaxed)
    }

    fn round_trip(&self) -> Option<Duration> {
        let nanos = self.wire.round_trip.load(Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    fn back_off(&self, _now: u64) -> u64 {
        3 * SECOND
    }

    fn retire(&self) {}
}

fn port_of(address: &Address) -> u16 {
    match address {
        Address::Socket(address) => address.port(),
        Address::Unix(_) => 0,
    }
}

/// A cluster in some state, and what a call asks of it.
struct World {
    balancer: Balancer<Peer>,
    dice: Random,
    random: Random,
    now: u64,
    held: Vec<InFlight<Peer>>,
    hash: Option<u64>,
    over: Option<Over>,
    wanted: Option<Wanted>,
    round_robin: bool,
    /// There are other clusters.
    well: bool,
}

impl World {
    fn new(cluster: &Cluster, endpoints: Vec<config::Endpoint>) -> Self {
        let balancer = Balancer::new(cluster, Wires::default(), Epoch::now());
        balancer.replace(endpoints);
        Self {
            balancer,
            dice: Random::seeded(1),
            random: Random::seeded(3),
            now: SECOND,
            held: Vec::new(),
            hash: None,
            over: None,
            wanted: None,
            round_robin: false,
            well: false,
        }
    }

    /// The world of a seed: any policy, any plan, any state.
    fn any(seed: u64) -> Self {
        Self::of(seed, false)
    }

    /// The same, where the place of the caller counts: its zone, what is near, what is soon reached.
    fn near_and_far(seed: u64) -> Self {
        Self::of(seed, true)
    }

    fn of(seed: u64, by_place: bool) -> Self {
        let dice = Random::seeded(seed);
        let die = |sides: u64| dice.next() % sides;
        let (mut cluster, is_in_parts) = some_cluster(&die);
        if by_place {
            cluster.balancing = Some(by_place_of(&cluster, &die));
        }
        let count = 1 + u16::try_from(die(10)).unwrap();
        let endpoints = (1..=count).map(|port| some_endpoint(port, &die)).collect();
        let mut world = Self::new(&cluster, endpoints);
        let by_turns = cluster.least_request.as_ref().is_some_and(|it| it.active_bias.is_some());
        world.round_robin = by_turns
            || matches!(cluster.balancer, Some(Policy::RoundRobin | Policy::ClientWeighted(_)));
        let hashes = matches!(
            cluster.balancer,
            Some(Policy::RingHash(_) | Policy::Maglev(_) | Policy::Sharded(_))
        );
        if hashes && die(6) > 0 {
            world.hash = Some(dice.next());
        }
        if is_in_parts {
            let version = format!("v{}", die(3));
            world.wanted = Some(Wanted::new([("version".to_owned(), version)].into()));
        }
        if die(5) == 0 {
            let address = endpoint(1 + u16::try_from(die(12)).unwrap()).address;
            let health = HealthSet::default();
            world.over = Some(Over { address, strict: die(2) == 0, health });
        }
        world.balancer.upsert(vec![some_endpoint(count + 1, &die)]);
        // Calls that succeed, fail, stay, or whose endpoints go away.
        for _ in 0..die(40) {
            let Ok(mut flight) = world.pick() else { break };
            world.now += MILLI * die(20);
            match die(4) {
                0 => world.held.push(flight),
                1 => flight.finish(world.now, Outcome::Failure),
                2 => {
                    flight.record(world.now, Outcome::Timeout);
                    world.held.push(flight);
                }
                _ => flight.finish(world.now, Outcome::Success),
            }
        }
        for port in 1..=count {
            let wire = world.balancer.context().of(port);
            wire.down.store(die(8) == 0, Relaxed);
            wire.failing.store(die(8) == 0, Relaxed);
            wire.round_trip.store(u64::from(port) % 3 * 15 * MILLI, Relaxed);
        }
        world.count();
        world.well = die(4) == 0;
        world.dice = dice;
        world
    }

    fn ask(&self) -> Ask<'_, Peer> {
        let ask = Ask::any(self.now, &self.random, &[]).hashed(self.hash);
        Ask { over: self.over.as_ref(), ..ask.wanting(self.wanted.as_ref()) }
    }

    fn pick(&self) -> Result<InFlight<Peer>, PickError> {
        if self.well { self.balancer.pick_well(self.ask()) } else { self.balancer.pick(self.ask()) }
    }

    fn explain(&self) -> PickExplanation {
        let (over, wanted) = (self.over.as_ref(), self.wanted.as_ref());
        let asked =
            Asked { hash: self.hash, over, wanted, apart: false, avoid: None, well: self.well };
        self.balancer.explain(&asked, self.now, |error| format!("{error:?}"))
    }

    fn count(&self) {
        let _due = self.balancer.keep(self.now);
    }

    /// Everything that a pick reads or writes.
    fn state(&self) -> String {
        let view = self.balancer.read();
        let mut text = format!("{:?} {}", view.pins, self.random.mark());
        for endpoint in view.all.set.iter() {
            text += &format!("\n{:?}", endpoint.live().map(|live| (&live.load, &live.watch)));
        }
        text += &format!("\n{:?}", view.all.sequence);
        let mut turns = vec![view.all.turn.load(Relaxed)];
        if let Some(placed) = &view.placed {
            for plan in placed.plans() {
                text += &format!("\n{:?} {:?} {:?}", plan.used, plan.trial, plan.counted);
                for level in &plan.levels {
                    text += &format!(" {:?}", level.load());
                    text += &format!("{:?}", level.whole.as_ref().map(|it| &it.sequence));
                    turns.extend(level.whole.iter().map(|it| it.turn.load(Relaxed)));
                    turns.extend(level.parts.iter().map(|it| it.group.turn.load(Relaxed)));
                }
            }
        }
        #[cfg(feature = "orca")]
        {
            text += &format!("\n{:?}", view.policy.reports(self.now, view.all.set.len()));
        }
        format!("{text}\n{turns:?}")
    }
}

fn some_cluster(die: &impl Fn(u64) -> u64) -> (Cluster, bool) {
    let mut kinds: Vec<_> = policies().into();
    let bounded = config::RingHash { balance_percent: Some(120), ..config::RingHash::default() };
    kinds.push(Policy::RingHash(bounded));
    let shard = |name: &str| config::Shard { name: name.into(), ..config::Shard::default() };
    let shards = vec![shard("v0"), shard("v1")];
    let label = Some("version".into());
    kinds.push(Policy::Sharded(config::Sharded { shards, label, hash: Vec::new() }));
    kinds.push(Policy::PickFirst(config::PickFirst::default()));
    #[cfg(feature = "orca")]
    {
        kinds.push(Policy::Prequal(config::Prequal::default()));
        kinds.push(Policy::ClientWeighted(config::ClientWeighted::default()));
    }
    let kind = usize::try_from(die(kinds.len() as u64)).unwrap();
    let mut cluster = Cluster { balancer: Some(kinds.swap_remove(kind)), ..Cluster::default() };
    let mut least = config::LeastRequest::default();
    match die(4) {
        0 => least.choices = Some(3),
        1 => least.full_scan = Some(true),
        2 => least.active_bias = Some(1.0),
        _ => {}
    }
    if matches!(cluster.balancer, Some(Policy::LeastRequest)) {
        cluster.least_request = Some(least);
    }
    let mut in_parts = false;
    match die(8) {
        0 => cluster.outlier_detection = Some(OutlierDetection::default()),
        1 => {
            cluster.balancing =
                Some(Balancing { locality: LocalityBalancing::Weighted, ..Balancing::default() });
            cluster.localities = (0..3)
                .map(|zone| LocalityWeight {
                    locality: Locality::new("r", format!("z{zone}")),
                    weight: u32::try_from(die(3)).unwrap(),
                    ..LocalityWeight::default()
                })
                .collect();
        }
        2 => {
            in_parts = true;
            let selector =
                SubsetSelector { keys: vec!["version".into()], ..SubsetSelector::default() };
            cluster.subsets = Some(Subsets { selectors: vec![selector], ..Subsets::default() });
        }
        3 => {
            cluster.slow_start = Some(config::SlowStart {
                window: Some(Duration::from_secs(4)),
                ..config::SlowStart::default()
            });
        }
        4 => {
            let random = config::RandomSubset { size: Some(3), above: Some(2), seed: Some(5) };
            cluster.subsetting = Some(Subsetting::Random(random));
        }
        5 => {
            cluster.balancing =
                Some(Balancing { fail_on_panic: Some(true), ..Balancing::default() });
        }
        6 => {
            let aperture = config::DeterministicSubset { size: Some(3), process: 1, processes: 4 };
            cluster.subsetting = Some(Subsetting::Deterministic(aperture));
        }
        _ => {}
    }
    (cluster, in_parts)
}

/// What the cluster says of its balancing, and that calls go to the own zone first, to what is near, or
/// to what is soon reached.
fn by_place_of(cluster: &Cluster, die: &impl Fn(u64) -> u64) -> Balancing {
    let mut balancing = cluster.balancing.clone().unwrap_or_default();
    match die(3) {
        0 => {
            let (min_cluster_size, own_cluster) = (Some(1), Some("me".into()));
            let zone = ZoneAware { min_cluster_size, own_cluster, ..ZoneAware::default() };
            balancing.locality = LocalityBalancing::ZoneAware(zone);
        }
        1 => {
            let ring = |millis| Ring::new(Duration::from_millis(millis)).threshold_percent(50.0);
            let rings = Rings { rings: vec![ring(2), ring(20)], full_load: Some(10) };
            balancing.locality = LocalityBalancing::Rings(rings);
        }
        _ => {
            balancing.prefer = vec![LocalityScope::Region, LocalityScope::Zone];
            balancing.prefer_strictly = Some(die(3) == 0);
        }
    }
    balancing
}

fn some_endpoint(port: u16, die: &impl Fn(u64) -> u64) -> config::Endpoint {
    let mut endpoint = endpoint(port);
    // Half of the worlds are plain.
    if die(3) == 0 {
        endpoint.priority = u32::try_from(die(3)).unwrap();
    }
    endpoint.weight = 1 + u32::try_from(die(2) * die(4)).unwrap();
    endpoint.locality = Some(Box::new(Locality::new("r", format!("z{}", die(3)))));
    endpoint.labels = [("version".to_owned(), format!("v{}", die(2)))].into();
    endpoint.health = match die(12) {
        0 => Health::Unhealthy,
        1 => Health::Degraded,
        2 => Health::Draining,
        _ => Health::Unknown,
    };
    endpoint
}

/// Why an endpoint is not picked, by its port.
fn reasons(explanation: &PickExplanation) -> BTreeMap<u16, PickReason> {
    let all = explanation.priorities.iter().flat_map(|it| &it.localities);
    let all = all.flat_map(|it| &it.endpoints).chain(&explanation.outside);
    all.map(|it| (port_of(&it.address.parse().unwrap()), it.reason)).collect()
}

fn address_of(picked: &InFlight<Peer>) -> String {
    picked.endpoint().spec().address().to_string()
}

/// What an explanation says of a pick: true if it had said so, false if it had called it rare.
fn foretold(before: &PickExplanation, picked: Result<&InFlight<Peer>, &PickError>) -> bool {
    let name = picked.map(address_of);
    if name.as_ref().is_ok_and(|name| before.trial.contains(name)) {
        return true;
    }
    // That a probe is due is said beside the endpoint, and not of the call: a pick may meet a suspect
    // several times, and what is tried out counts no meetings.
    let all = before.priorities.iter().flat_map(|it| &it.localities);
    let due = EndpointStanding::Suspect { probe_in: Duration::ZERO };
    let due: Vec<_> = all
        .flat_map(|it| &it.endpoints)
        .chain(&before.outside)
        .filter(|it| it.standing == due)
        .map(|it| &*it.address)
        .collect();
    if name.as_ref().is_ok_and(|name| due.contains(&&**name)) {
        return true;
    }
    match (&before.choice, name) {
        (Choice::Endpoint { address, .. }, Ok(name)) => {
            assert!(*address == name, "{name} was picked: {before}");
            true
        }
        (Choice::OneOf { endpoints, .. }, Ok(name)) => {
            endpoints.iter().any(|(known, _)| *known == name)
        }
        (Choice::OneOf { fails, .. }, Err(_)) => *fails > 0.0,
        (Choice::Nothing { reason }, Err(error)) => {
            let error = format!("{error:?}");
            let is_said = reason.split(" or ").any(|it| it == error);
            // One that is due is met, and found to be bad, or is not met.
            assert!(is_said || !due.is_empty(), "{error} came of it: {before}");
            true
        }
        (choice, name) => panic!("{choice:?} was said, and {name:?} came of it: {before}"),
    }
}

/// Nothing is changed by saying it, and the next pick does what is said, whatever has happened before.
fn next_picks_are_said(mut world: World) -> Result<(), TestCaseError> {
    let mut rare = 0;
    for _ in 0..12 {
        let before = world.state();
        let explanation = world.explain();
        prop_assert_eq!(&before, &world.state(), "{}", explanation);
        let picked = world.pick();
        rare += usize::from(!foretold(&explanation, picked.as_ref()));
        let die = world.dice.next();
        world.now += MILLI * (die % 300);
        if let Ok(flight) = picked {
            let outcome = if die.is_multiple_of(5) { Outcome::Failure } else { Outcome::Success };
            flight.finish(world.now, outcome);
        }
        if die.is_multiple_of(7) {
            world.count();
        }
    }
    // What one in thousands of picks comes to.
    prop_assert!(rare <= 2, "{rare} picks were not foretold: {}", world.explain());
    Ok(())
}

/// Of one state so many picks pick those that are said to be picked, and as often.
fn picks_are_as_often_as_said(world: &World, total: u32) -> Result<(), TestCaseError> {
    // What happens once only is over.
    if !world.explain().trial.is_empty() {
        drop(world.pick());
    }
    for _ in 0..200 {
        if let Ok(flight) = world.pick() {
            flight.finish(world.now, Outcome::Ignored);
        }
    }
    let said = world.explain();
    let mut counts = BTreeMap::<String, u32>::new();
    let mut failed = 0;
    for _ in 0..total {
        match world.pick() {
            Ok(flight) => {
                *counts.entry(address_of(&flight)).or_default() += 1;
                flight.finish(world.now, Outcome::Ignored);
            }
            Err(_) => failed += 1,
        }
    }
    let is_named = said.named.as_ref().is_some_and(|named| named.is_honoured);
    let near = |count: u32, share: f64| {
        let met = f64::from(count) / f64::from(total);
        let runs = 1.0 / f64::from(total) + 1.0 / 4096.0;
        // Five deviations of both, and what is rare.
        (met - share).abs() < 5.0 * (share * (1.0 - share) * runs).sqrt() + 0.004
    };
    match &said.choice {
        // Whose turn it is moves on with each.
        Choice::Endpoint { .. } if world.round_robin && !is_named => {}
        Choice::Endpoint { address, .. } => {
            prop_assert_eq!(counts.get(address).copied(), Some(total), "{}: {:?}", said, counts);
        }
        Choice::OneOf { .. } if world.round_robin => {}
        Choice::OneOf { endpoints, fails, .. } => {
            let all = counts.clone();
            for (address, share) in endpoints {
                let count = counts.remove(address).unwrap_or(0);
                prop_assert!(near(count, *share), "{address} got {count} of {all:?}: {said}");
            }
            prop_assert!(near(failed, *fails), "{failed} failed: {said}");
            prop_assert!(counts.values().all(|count| *count < 40), "{counts:?}: {said}");
        }
        Choice::Nothing { .. } => prop_assert_eq!(failed, total),
    }
    Ok(())
}

/// Each endpoint is told of once, with a reason that fits its chance.
fn each_is_told_of_once(world: &World) -> Result<(), TestCaseError> {
    let said = world.explain();
    let all = said.priorities.iter().flat_map(|it| &it.localities);
    let all: Vec<_> = all.flat_map(|it| &it.endpoints).chain(&said.outside).collect();
    prop_assert_eq!(all.len(), world.balancer.len());
    prop_assert_eq!(reasons(&said).len(), all.len());
    for endpoint in all {
        prop_assert_eq!(endpoint.reason == PickReason::Picked, endpoint.share > 0.0);
    }
    let sum: f64 = said.priorities.iter().map(|it| it.share).sum();
    prop_assert!(said.priorities.is_empty() || (sum - 1.0).abs() < 0.02, "{sum}: {said}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_next_pick_is_what_is_said_and_saying_it_changes_nothing(seed: u64) {
        next_picks_are_said(World::any(seed))?;
    }

    #[test]
    fn ten_thousand_picks_are_those_that_are_said(seed: u64) {
        picks_are_as_often_as_said(&World::any(seed), 10_000)?;
    }

    #[test]
    fn every_endpoint_is_told_of_once(seed: u64) {
        each_is_told_of_once(&World::any(seed))?;
    }

    #[test]
    fn where_the_callers_place_counts_picks_are_those_that_are_said(seed: u64) {
        each_is_told_of_once(&World::near_and_far(seed))?;
        next_picks_are_said(World::near_and_far(seed))?;
        picks_are_as_often_as_said(&World::near_and_far(seed), 4_000)?;
    }
}

/// `fail_on_panic`, and a suspect whose probe is due beside one that is well.
#[test]
fn a_suspect_that_may_not_be_called_fails_no_call_that_another_endpoint_can_take() {
    let world = || World::near_and_far(12_782_955_683_646_688_738);
    next_picks_are_said(world()).unwrap();
    picks_are_as_often_as_said(&world(), 4_000).unwrap();
}

fn ring(count: u16) -> World {
    let policy = Policy::RingHash(config::RingHash::default());
    let cluster = Cluster { balancer: Some(policy), ..Cluster::default() };
    World::new(&cluster, (1..=count).map(endpoint).collect())
}

#[test]
fn the_retries_of_a_hash_are_told_in_their_order() {
    let mut world = ring(8);
    for hash in 0..50_u64 {
        world.hash = Some(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let Choice::Endpoint { address, then } = world.explain().choice else {
            panic!("a hash has one endpoint");
        };
        let mut met = Vec::new();
        for expected in std::iter::once(&address).chain(&then) {
            let ask = Ask::any(world.now, &world.random, &met).hashed(world.hash);
            let flight = world.balancer.pick(ask).unwrap();
            assert_eq!(address_of(&flight), *expected);
            met.push(Arc::clone(flight.endpoint()));
        }
        assert_eq!(then.len(), 3);
    }
}

#[test]
fn ten_thousand_endpoints_stay_readable() {
    let mut endpoints: Vec<_> = (1..=10_000).map(endpoint).collect();
    endpoints[7].health = Health::Draining;
    let cluster = Cluster { balancer: Some(Policy::LeastRequest), ..Cluster::default() };
    let text = World::new(&cluster, endpoints).explain().to_string();
    assert!(text.lines().count() < 30, "{text}");
    assert!(text.contains("one of many") && text.contains("127.0.0.1:8 "), "{text}");
    assert!(text.contains("1 no: draining"), "{text}");
}
