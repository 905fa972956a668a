//! The set and its index under random updates, against a plain map.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, Weak, atomic::Ordering::Relaxed},
};

use proptest::prelude::*;

use super::{
    super::{Balancer, Environment, Spec, Upstream, set::Diff},
    Mock, Sim, address, endpoint, number_of, policies,
};
use crate::{
    config::{self, Health, Protocol},
    core::{Epoch, Random},
};

#[derive(Clone, Debug)]
enum Op {
    Replace(Vec<(u16, u32, u8)>),
    Upsert(Vec<(u16, u32, u8)>),
    Remove(Vec<u16>),
}

/// Number, weight, and which of its other fields were said.
fn parts() -> impl Strategy<Value = Vec<(u16, u32, u8)>> {
    let weight = prop_oneof![4 => Just(1_u32), 2 => 1..5_u32, 1 => Just(0), 1 => Just(100_000)];
    prop::collection::vec((1..600_u16, weight, 0..4_u8), 0..40)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => parts().prop_map(Op::Replace),
        3 => parts().prop_map(Op::Upsert),
        1 => (1..600_u16, 1..300_u16)
            .prop_map(|(from, count)| Op::Upsert((from..from + count).map(|n| (n, 1, 0)).collect())),
        3 => prop::collection::vec(1..600_u16, 0..60).prop_map(Op::Remove),
    ]
}

fn build((number, weight, kind): (u16, u32, u8)) -> config::Endpoint {
    let endpoint = endpoint(number).weight(weight);
    match kind {
        1 => endpoint.health(Health::Unhealthy),
        2 => endpoint.protocol(Protocol::Http2),
        3 => {
            let mut endpoint = endpoint;
            endpoint.authority = Some(format!("h{number}"));
            endpoint
        }
        _ => endpoint,
    }
}

/// What the set holds for it: weights that do not fit are clamped.
fn held(endpoint: &config::Endpoint) -> config::Endpoint {
    let mut endpoint = endpoint.clone();
    if endpoint.authority.is_none() {
        endpoint.weight = endpoint.weight.clamp(1, 65_535);
    }
    endpoint
}

fn upsert(
    model: &mut BTreeMap<u16, config::Endpoint>,
    parts: Vec<(u16, u32, u8)>,
    diff: &mut Diff,
) -> Vec<config::Endpoint> {
    let mut given = Vec::new();
    for part in parts {
        let new = build(part);
        match model.insert(part.0, held(&new)) {
            None => diff.added += 1,
            Some(old) if old != held(&new) => diff.changed += 1,
            Some(_) => {}
        }
        given.push(new);
    }
    given
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn updates_agree_with_a_map(ops in prop::collection::vec(op(), 1..25)) {
        let sim = Sim::of(&config::Balancer::Random, 0);
        let mut model: BTreeMap<u16, config::Endpoint> = BTreeMap::new();
        for op in ops {
            let mut expected = Diff::default();
            let diff = match op {
                Op::Replace(parts) => {
                    let wanted: BTreeSet<u16> = parts.iter().map(|part| part.0).collect();
                    expected.removed = model.len();
                    model.retain(|number, _| wanted.contains(number));
                    expected.removed -= model.len();
                    sim.balancer.replace(upsert(&mut model, parts, &mut expected))
                }
                Op::Upsert(parts) => sim.balancer.upsert(upsert(&mut model, parts, &mut expected)),
                Op::Remove(numbers) => {
                    expected.removed = model.len();
                    model.retain(|number, _| !numbers.contains(number));
                    expected.removed -= model.len();
                    let gone: Vec<_> = numbers.into_iter().map(address).collect();
                    sim.balancer.remove(&gone)
                }
            };
            prop_assert_eq!(diff, expected);
            prop_assert_eq!(sim.balancer.len(), model.len());
            sim.balancer.check();
            let mut specs = sim.balancer.specs();
            specs.sort_by(|a, b| a.address.cmp(&b.address));
            let wanted: Vec<_> = model.values().cloned().collect();
            prop_assert_eq!(specs, wanted);
        }
    }
}

#[test]
fn state_survives_an_update_by_address_and_ends_with_removal() {
    let sim = Sim::of(&config::Balancer::default(), 3);
    let before: Vec<_> = (1..=3).map(|number| sim.find(number)).collect();
    sim.balancer.replace(vec![endpoint(3).weight(7), endpoint(2)]);
    let kept = sim.find(3);
    assert_eq!(kept.spec().weight(), 7);
    assert!(kept.is(&before[2]));
    assert!(sim.find(2).is(&before[1]));
    let retired = |index: usize| before[index].extra().unwrap().retired.load(Relaxed);
    assert!(retired(0));
    assert!(!retired(1) && !retired(2));
}

#[test]
fn another_protocol_needs_other_connections() {
    let sim = Sim::of(&config::Balancer::default(), 1);
    let before = sim.find(1);
    sim.balancer.upsert(vec![endpoint(1).protocol(Protocol::Http2)]);
    assert!(before.extra().unwrap().retired.load(Relaxed));
    assert!(!sim.find(1).is(&before));
}

#[test]
fn a_picked_endpoint_that_is_removed_stays_itself() {
    let sim = Sim::of(&config::Balancer::default(), 2);
    let flight = sim.pick().unwrap();
    let number = number_of(flight.endpoint());
    sim.balancer.replace(vec![endpoint(9)]);
    assert_eq!(number_of(flight.endpoint()), number);
    assert!(flight.endpoint().extra().unwrap().retired.load(Relaxed));
    assert_eq!(number_of(&sim.find(9)), 9);
}

#[test]
fn updates_beside_picks_lose_nobody() {
    let sim = Sim::of(&config::Balancer::default(), 300);
    let random = Random::seeded(3);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..200_u16 {
                let number = 1 + round % 300;
                sim.balancer.remove(&[address(number)]);
                sim.balancer.upsert(vec![endpoint(number)]);
            }
        });
        let reader = scope.spawn(|| {
            let mut picks = 0;
            while picks < 20_000 {
                let flight =
                    sim.balancer.pick(super::Ask::any(super::SECOND, &random, &[])).unwrap();
                assert!((1..=300).contains(&number_of(flight.endpoint())));
                flight.finish(super::SECOND, super::Outcome::Success);
                picks += 1;
            }
        });
        writer.join().unwrap();
        reader.join().unwrap();
    });
    assert_eq!(sim.balancer.len(), 300);
    sim.balancer.check();
}

#[test]
fn a_pick_whose_endpoints_have_all_left_meanwhile_finds_the_new_ones() {
    let sim = Sim::of(&config::Balancer::default(), 1);
    drop(sim.pick().unwrap());
    let before = sim.balancer.read();
    sim.balancer.replace(vec![endpoint(2)]);
    let ask = || super::Ask::any(sim.now, &sim.random, &[]);
    let error = sim.balancer.pick_in(&before, ask()).err().unwrap();
    assert_eq!(error, super::PickError::Unavailable);
    let flight = sim.balancer.pick_again(&before, ask(), error).unwrap();
    assert_eq!(number_of(flight.endpoint()), 2);
    // Where nothing has changed, it stays as it was.
    let now = sim.balancer.read();
    assert!(sim.balancer.pick_again(&now, ask(), error).is_err());
}

#[test]
fn a_pick_never_frees_a_set() {
    let sim = Sim::of(&config::Balancer::default(), 3);
    let reader = sim.balancer.read();
    let set = Arc::downgrade(&*reader);
    sim.balancer.replace(vec![endpoint(4)]);
    drop(reader);
    // The updater has it; its next update frees it, and at once what nobody reads.
    assert_eq!(set.strong_count(), 1);
    let next = Arc::downgrade(&*sim.balancer.read());
    sim.balancer.replace(vec![endpoint(5)]);
    assert_eq!(set.strong_count(), 0);
    assert_eq!(next.strong_count(), 0);
}

#[test]
fn what_is_in_flight_is_counted_until_it_ends() {
    let sim = Sim::of(&config::Balancer::LeastRequest, 1);
    let flights: Vec<_> = (0..5).map(|_| sim.pick().unwrap()).collect();
    let endpoint = Arc::<super::Endpoint<Mock>>::clone(flights[0].endpoint());
    let in_flight = || endpoint.live().unwrap().load.in_flight();
    assert_eq!(in_flight(), 5);
    let mut flights = flights.into_iter();
    flights.next().unwrap().finish(sim.now, super::Outcome::Failure);
    drop(flights.next());
    let (watcher, ticket) = flights.next().unwrap().into_ticket(sim.now);
    assert_eq!(in_flight(), 3);
    watcher.ended(ticket, crate::core::BodyEnd::Dropped, None);
    assert_eq!(in_flight(), 2);
    drop(flights);
    assert_eq!(in_flight(), 0);
}

/// Who picks as soon as it is told of an endpoint.
struct Hasty(Arc<str>);

#[derive(Clone, Default)]
struct Telling(Arc<Mutex<(Weak<Balancer<Hasty>>, Vec<String>)>>);

impl Telling {
    fn note(&self, what: &str, spec: &Spec) {
        let mut told = self.0.lock().unwrap();
        let balancer = told.0.upgrade().unwrap();
        let found = balancer.pick(super::Ask::any(0, &Random::seeded(1), &[]));
        let found = found.map(|call| call.endpoint().spec().address().to_string());
        told.1.push(format!("{what} {}: {found:?}", spec.address()));
    }
}

impl Environment for Telling {
    fn added(&self, spec: &Spec) {
        self.note("added", spec);
    }

    fn removed(&self, spec: &Spec) {
        self.note("removed", spec);
    }

    fn marked(&self, spec: &Spec) {
        self.note(&format!("{} is", spec.mark()), spec);
    }
}

impl Upstream for Hasty {
    type Context = Telling;

    fn build(spec: &Spec, _: &Telling) -> Self {
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

#[test]
fn a_call_made_at_the_word_that_an_endpoint_was_added_finds_it() {
    let telling = Telling::default();
    let balancer = Arc::new(Balancer::<Hasty>::new(
        &super::under(&policies()[0]),
        telling.clone(),
        Epoch::now(),
    ));
    telling.0.lock().unwrap().0 = Arc::downgrade(&balancer);
    balancer.replace(vec![endpoint(1)]);
    balancer.replace(vec![endpoint(2)]);
    let told = telling.0.lock().unwrap().1.clone();
    assert_eq!(
        told,
        [
            r#"added 127.0.0.1:1: Ok("127.0.0.1:1")"#,
            r#"removed 127.0.0.1:1: Ok("127.0.0.1:2")"#,
            r#"added 127.0.0.1:2: Ok("127.0.0.1:2")"#,
        ]
    );
}

#[test]
fn a_word_of_the_source_on_health_is_told_once_of_whoever_it_concerns() {
    let telling = Telling::default();
    let balancer = Arc::new(Balancer::<Hasty>::new(
        &super::under(&policies()[0]),
        telling.clone(),
        Epoch::now(),
    ));
    telling.0.lock().unwrap().0 = Arc::downgrade(&balancer);
    let said = |number, health| config::Endpoint { health, ..endpoint(number) };
    let took = || -> Vec<String> {
        let told = std::mem::take(&mut telling.0.lock().unwrap().1);
        told.iter().map(|it| it.split(": ").next().unwrap().to_owned()).collect()
    };
    use config::Health::{Degraded, Draining, Healthy, Unhealthy, Unknown};
    balancer.replace(vec![said(1, Unknown), said(2, Healthy), said(3, Draining)]);
    let added = ["added 127.0.0.1:1", "added 127.0.0.1:2", "added 127.0.0.1:3"];
    assert_eq!(took(), [&added[..], &["draining is 127.0.0.1:3"]].concat());
    // Nothing that is new: not told, whatever else changes.
    let mut heavier = said(3, Draining);
    heavier.weight = 2;
    balancer.replace(vec![said(1, Healthy), said(2, Unknown), heavier]);
    assert!(took().is_empty());
    // The first one goes, and the last one takes its place.
    balancer.replace(vec![said(2, Degraded), said(3, Healthy)]);
    let told = ["removed 127.0.0.1:1", "degraded is 127.0.0.1:2", "healthy is 127.0.0.1:3"];
    assert_eq!(took(), told);
    balancer.upsert(vec![said(2, Draining)]);
    balancer.upsert(vec![said(2, Draining), said(3, Unhealthy)]);
    assert_eq!(took(), ["draining is 127.0.0.1:2", "unhealthy is 127.0.0.1:3"]);
}
