//! Whom the policies that hash pick: of what a hash belongs to, and what comes next.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::{
    super::{Ask, Endpoint, InFlight, PickError},
    MILLI, Mock, Outcome, SECOND, Sim, endpoint, number_of,
};
use crate::config::{self, Health, Maglev, RingHash};

fn ring(fill: impl FnOnce(&mut RingHash)) -> config::Balancer {
    let mut ring = RingHash::default();
    fill(&mut ring);
    config::Balancer::RingHash(ring)
}

fn maglev(fill: impl FnOnce(&mut Maglev)) -> config::Balancer {
    let mut maglev = Maglev::default();
    fill(&mut maglev);
    config::Balancer::Maglev(maglev)
}

fn both() -> [config::Balancer; 2] {
    [ring(|_| {}), maglev(|_| {})]
}

impl Sim {
    fn hashed(
        &self,
        hash: u64,
        tried: &[Arc<Endpoint<Mock>>],
    ) -> Result<InFlight<Mock>, PickError> {
        self.balancer.pick(Ask { hash: Some(hash), ..Ask::any(self.now, &self.random, tried) })
    }

    /// Who a hash belongs to, without a call that lasts.
    fn of_hash(&self, hash: u64) -> u16 {
        let flight = self.hashed(hash, &[]).unwrap();
        let number = number_of(flight.endpoint());
        flight.finish(self.now, Outcome::Ignored);
        number
    }

    /// Who many hashes belong to.
    fn owners(&self) -> Vec<u16> {
        hashes().map(|hash| self.of_hash(hash)).collect()
    }
}

fn hashes() -> impl Iterator<Item = u64> {
    (0..2_000_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number << 32)
}

/// The ring of Envoy's `ring_hash_lb_test.cc`, Basic: `127.0.0.1:90` to `:95`, of 12 entries.
#[test]
fn the_ring_is_envoys() {
    let policy = ring(|ring| ring.minimum_ring_size = Some(12));
    let sim = Sim::new(&policy, (90..96).map(endpoint).collect());
    for (hash, port) in [
        (0, 94),
        (u64::MAX, 94),
        (3_551_244_743_356_806_947, 95),
        (3_551_244_743_356_806_948, 93),
        (16_117_243_373_044_804_880, 90),
    ] {
        assert_eq!(sim.of_hash(hash), port, "{hash}");
    }
}

/// The same ring with keys and with host names `90` to `95`: `BasicWithMetadataHashKey`.
#[test]
fn keys_and_host_names_take_the_place_of_addresses() {
    let named = |number: u16, by_key: bool| {
        let mut endpoint = endpoint(number);
        let text = Some(number.to_string());
        *(if by_key { &mut endpoint.hash_key } else { &mut endpoint.hostname }) = text;
        endpoint
    };
    for by_key in [false, true] {
        let policy = ring(|ring| {
            ring.minimum_ring_size = Some(12);
            ring.use_hostname = Some(!by_key);
        });
        let sim = Sim::new(&policy, (90..96).map(|number| named(number, by_key)).collect());
        for (hash, port) in [
            (0, 95),
            (u64::MAX, 95),
            (7_225_015_537_174_310_577, 92),
            (6_803_900_775_736_438_537, 93),
        ] {
            assert_eq!(sim.of_hash(hash), port, "{hash} by key: {by_key}");
        }
    }
}

/// `maglev_lb_test.cc`, Basic.
#[test]
fn the_table_is_envoys() {
    let policy = maglev(|maglev| maglev.table_size = Some(7));
    let sim = Sim::new(&policy, (90..96).map(endpoint).collect());
    let ports: Vec<_> = (0..14).map(|hash| sim.of_hash(hash)).collect();
    assert_eq!(ports, [92, 94, 90, 91, 95, 90, 93].repeat(2));
}

/// `BasicWithRetryHostPredicate` of both.
#[test]
fn what_was_tried_leaves_the_call_to_the_next() {
    let ring = ring(|ring| ring.minimum_ring_size = Some(12));
    let sim = Sim::new(&ring, (90..96).map(endpoint).collect());
    let mut tried = Vec::new();
    for port in [94, 92, 90, 95, 93, 91, 94] {
        let flight = sim.hashed(0, &tried).unwrap();
        assert_eq!(number_of(flight.endpoint()), port);
        tried.push(Arc::clone(flight.endpoint()));
    }
    let maglev = maglev(|maglev| maglev.table_size = Some(7));
    let sim = Sim::new(&maglev, (90..96).map(endpoint).collect());
    let mut tried = Vec::new();
    for port in [91, 90, 95] {
        let flight = sim.hashed(10, &tried).unwrap();
        assert_eq!(number_of(flight.endpoint()), port);
        tried.push(Arc::clone(flight.endpoint()));
    }
}

#[test]
fn a_call_without_a_hash_goes_anywhere() {
    for policy in both() {
        let mut sim = Sim::of(&policy, 5);
        sim.closed(2_000, 1, super::healthy);
        assert!((1..=5).all(|number| sim.count(number) > 200), "{policy:?}: {:?}", sim.picked);
    }
}

#[test]
fn one_that_was_never_called_gets_its_share_of_the_calls_without_a_hash() {
    let random = crate::core::Random::seeded(7);
    for policy in both() {
        let mut met = 0;
        for _ in 0..1_000 {
            let sim = Sim::of(&policy, 2);
            // One of them has been called.
            let known = sim.of_hash(1);
            let flight = sim.balancer.pick(Ask::any(sim.now, &random, &[])).unwrap();
            met += usize::from(number_of(flight.endpoint()) != known);
            flight.finish(sim.now, Outcome::Ignored);
        }
        assert!((400..600).contains(&met), "{policy:?}: {met} of 1000");
    }
}

#[test]
fn only_the_calls_of_one_that_cannot_be_connected_to_move_and_they_come_back() {
    for policy in both() {
        let sim = Sim::of(&policy, 8);
        let before = sim.owners();
        sim.set_available(3, false);
        let mut heirs = BTreeMap::new();
        for (owner, now) in before.iter().zip(sim.owners()) {
            assert_ne!(now, 3, "{policy:?}");
            assert!(now == *owner || *owner == 3, "{policy:?}: {owner} became {now}");
            if *owner == 3 {
                *heirs.entry(now).or_insert(0) += 1;
            }
        }
        // It has no single heir.
        assert!(heirs.len() >= 5, "{policy:?}: {heirs:?}");
        sim.balancer.read().all.set.iter().for_each(|endpoint| {
            if let Some(extra) = endpoint.extra() {
                extra.available.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        });
        assert_eq!(sim.owners(), before, "{policy:?}");
    }
}

#[test]
fn one_that_fails_gets_probes_and_its_calls_the_next() {
    for policy in both() {
        let mut sim = Sim::of(&policy, 4);
        let hash = hashes().find(|hash| sim.of_hash(*hash) == 2).unwrap();
        let mut met = BTreeMap::new();
        for _ in 0..5_000 {
            let flight = sim.hashed(hash, &[]).unwrap();
            let number = number_of(flight.endpoint());
            *met.entry(number).or_insert(0) += 1;
            let failed = number == 2;
            let outcome = if failed { Outcome::Failure } else { Outcome::Success };
            flight.finish(sim.now + MILLI, outcome);
            sim.now += MILLI;
        }
        assert!(met[&2] < 10 && met.len() == 2, "{policy:?}: {met:?}");
        sim.now += 40 * SECOND;
        for _ in 0..10 {
            sim.hashed(hash, &[]).unwrap().finish(sim.now + MILLI, Outcome::Success);
            sim.now += SECOND;
        }
        assert_eq!(sim.of_hash(hash), 2, "{policy:?}");
    }
}

#[test]
fn draining_and_unhealthy_ones_are_in_no_table_as_if_they_were_not_there() {
    for policy in both() {
        let of = |number, health| endpoint(number).health(health);
        let (gone, mut rest) = (vec![3, 5], Vec::new());
        let mut with = Vec::new();
        for number in 1..=8 {
            let health = match number {
                3 => Health::Draining,
                5 => Health::Unhealthy,
                _ => Health::Unknown,
            };
            with.push(of(number, health));
            if !gone.contains(&number) {
                rest.push(of(number, Health::Healthy));
            }
        }
        assert_eq!(Sim::new(&policy, with).owners(), Sim::new(&policy, rest).owners());
        // Draining ones are never called.
        let all = (1..=4).map(|number| of(number, Health::Draining)).collect();
        assert_eq!(Sim::new(&policy, all).hashed(1, &[]).err(), Some(PickError::Unavailable));
        assert_eq!(Sim::new(&policy, Vec::new()).hashed(1, &[]).err(), Some(PickError::Empty));
    }
}

#[test]
fn where_all_are_unhealthy_they_are_called_by_their_hashes() {
    for policy in both() {
        let of = |health: Health| (1..=4).map(|number| endpoint(number).health(health)).collect();
        let (all, known) = (of(Health::Unhealthy), of(Health::Unknown));
        assert_eq!(Sim::new(&policy, all).owners(), Sim::new(&policy, known).owners());
    }
}

#[test]
fn a_policy_is_changed_under_the_endpoints() {
    let sim = Sim::of(&config::Balancer::Random, 6);
    let settle = |policy: config::Balancer| {
        let cluster = config::Cluster { balancer: Some(policy), ..config::Cluster::default() };
        sim.balancer.settle(&cluster);
        sim.owners()
    };
    let [one, other] = both();
    assert_eq!(settle(one.clone()), Sim::of(&one, 6).owners());
    assert_eq!(settle(other.clone()), Sim::of(&other, 6).owners());
    let tiny = ring(|ring| ring.minimum_ring_size = Some(12));
    assert_eq!(settle(tiny.clone()), Sim::of(&tiny, 6).owners());
}

#[test]
fn a_table_is_kept_while_nothing_changes_that_it_is_made_from() {
    for policy in both() {
        let sim = Sim::of(&policy, 6);
        let table = || Arc::as_ptr(sim.balancer.read().all.spread.as_ref().unwrap());
        let before = table();
        sim.balancer.upsert(vec![endpoint(2).health(Health::Healthy)]);
        assert_eq!(table(), before, "{policy:?}");
        sim.balancer.upsert(vec![endpoint(2).weight(2)]);
        assert_ne!(table(), before, "{policy:?}");
    }
    let sim = Sim::of(&ring(|_| {}), 6);
    assert_eq!(sim.balancer.read().all.spread.as_ref().unwrap().len(), 1_026);
}

/// Holds so many calls of one hash and says who has how many.
fn hold(
    sim: &Sim,
    calls: usize,
    hash: impl Fn(usize) -> u64,
) -> (Vec<InFlight<Mock>>, BTreeMap<u16, u32>) {
    let mut held = BTreeMap::new();
    let flights: Vec<_> = (0..calls).map(|call| sim.hashed(hash(call), &[]).unwrap()).collect();
    for flight in &flights {
        *held.entry(number_of(flight.endpoint())).or_default() += 1;
    }
    (flights, held)
}

#[test]
fn nobody_takes_more_than_the_bound_however_many_calls_one_key_has() {
    for policy in [
        ring(|ring| ring.balance_percent = Some(150)),
        maglev(|maglev| maglev.balance_percent = Some(150)),
    ] {
        let sim = Sim::of(&policy, 10);
        let owner = sim.of_hash(7);
        let (flights, held) = hold(&sim, 200, |_| 7);
        // Of 201 calls · 1.5, a tenth, and the one that finds the last place taken.
        let most = held.values().max().unwrap();
        assert!((30..=32).contains(most), "{policy:?}: {held:?}");
        assert_eq!(held[&owner], *most, "{policy:?}: its own has no place left");
        assert!(held.len() >= 7, "{policy:?}: {held:?}");
        // When they are over, so is the crowd.
        drop(flights);
        assert_eq!(sim.balancer.read().all.crowd.count(), 0);
        assert_eq!(sim.of_hash(7), owner);
        // One by one, all of them are its own's.
        for _ in 0..100 {
            assert_eq!(sim.of_hash(7), owner);
        }
    }
    // Without a bound, one has them all.
    let sim = Sim::of(&ring(|_| {}), 10);
    assert_eq!(hold(&sim, 200, |_| 7).1.len(), 1);
}

#[test]
fn the_bound_follows_the_weights() {
    let policy = maglev(|maglev| maglev.balance_percent = Some(120));
    let sim = Sim::new(&policy, vec![endpoint(1).weight(3), endpoint(2), endpoint(3)]);
    let hash = hashes().find(|hash| sim.of_hash(*hash) == 1).unwrap();
    let (_flights, held) = hold(&sim, 100, |_| hash);
    // 101 calls · 1.2 · 3/5 = 73.
    assert!((72..=74).contains(&held[&1]), "{held:?}");
}

#[test]
fn what_has_no_room_goes_where_the_hash_says() {
    let policy = || ring(|ring| ring.balance_percent = Some(100));
    let who = |order: &mut dyn Iterator<Item = u16>| {
        let sim = Sim::new(&policy(), order.map(endpoint).collect());
        let (_flights, held) = hold(&sim, 40, |_| 7);
        held
    };
    // Whatever the order in which the endpoints came.
    assert_eq!(who(&mut (1..=10)), who(&mut (1..=10).rev()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_order_of_a_source_and_the_way_there_change_nothing(
        mut numbers in prop::collection::btree_map(1..200_u16, 1..5_u32, 2..20)
            .prop_map(|of| of.into_iter().collect::<Vec<_>>())
            .prop_shuffle(),
        extra in prop::collection::vec(200..220_u16, 0..5),
    ) {
        let of = |list: &[(u16, u32)]| {
            list.iter().map(|(number, weight)| endpoint(*number).weight(*weight)).collect::<Vec<_>>()
        };
        for policy in both() {
            let one = Sim::new(&policy, of(&numbers));
            numbers.reverse();
            // Others come and go before.
            let other = Sim::new(&policy, extra.iter().copied().map(endpoint).collect());
            for some in of(&numbers).chunks(3) {
                other.balancer.upsert(some.to_vec());
            }
            other.balancer.replace(of(&numbers));
            other.balancer.check();
            prop_assert_eq!(one.owners(), other.owners());
        }
    }
}
