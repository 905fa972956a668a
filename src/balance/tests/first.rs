//! Pick first: the order, who stays in use, and who comes next.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
};

use super::{Address, MILLI, SECOND, address, endpoint, under};
use crate::{
    balance::{
        Ask, Balancer, Endpoint, Environment, Outcome, PickError, Spec, Upstream, Wanted,
        health::Link,
    },
    config::{self, Health, PickFirst},
    core::{Epoch, Random},
};

/// An endpoint whose connections are as the test says.
struct Wire {
    name: Arc<str>,
    link: AtomicU8,
    available: AtomicBool,
}

impl Environment for u64 {
    fn seed(&self) -> u64 {
        *self
    }
}

impl Upstream for Wire {
    /// What an order is shuffled by.
    type Context = u64;

    fn build(spec: &Spec, _seed: &u64) -> Self {
        let name = spec.address().to_string().into();
        Self { name, link: AtomicU8::new(0), available: AtomicBool::new(true) }
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn available(&self, _now: u64) -> bool {
        self.available.load(Relaxed)
    }

    fn link(&self, _now: u64) -> Link {
        match self.link.load(Relaxed) {
            0 => Link::Idle,
            1 => Link::Connecting,
            _ => Link::Ready,
        }
    }

    fn retire(&self) {}
}

struct First {
    balancer: Balancer<Wire>,
    random: Random,
    now: std::cell::Cell<u64>,
}

fn list(numbers: impl IntoIterator<Item = u16>) -> Vec<config::Endpoint> {
    numbers.into_iter().map(endpoint).collect()
}

fn cluster(shuffle: bool) -> config::Cluster {
    let settings = PickFirst { shuffle: Some(shuffle) };
    under(&config::Balancer::PickFirst(settings))
}

impl First {
    fn new(cluster: &config::Cluster, seed: u64, endpoints: Vec<config::Endpoint>) -> Self {
        let balancer = Balancer::new(cluster, seed, Epoch::now());
        balancer.replace(endpoints);
        Self { balancer, random: Random::seeded(3), now: std::cell::Cell::new(SECOND) }
    }

    fn of(numbers: impl IntoIterator<Item = u16>) -> Self {
        Self::new(&cluster(false), 0, list(numbers))
    }

    fn ask(&self, tried: &[Arc<Endpoint<Wire>>], outcome: Outcome) -> Result<u16, PickError> {
        self.now.set(self.now.get() + MILLI);
        let flight = self.balancer.pick(Ask::any(self.now.get(), &self.random, tried))?;
        let Address::Socket(address) = flight.endpoint().spec().address().clone() else {
            panic!("no socket address")
        };
        flight.finish(self.now.get() + MILLI, outcome);
        Ok(address.port())
    }

    fn pick(&self) -> u16 {
        self.ask(&[], Outcome::Success).unwrap()
    }

    fn find(&self, number: u16) -> Arc<Endpoint<Wire>> {
        let view = self.balancer.view.load();
        let mut all = view.all.set.iter();
        Arc::clone(all.find(|it| *it.spec().address() == address(number)).unwrap())
    }

    fn wire(&self, number: u16, with: impl FnOnce(&Wire)) {
        let endpoint = self.find(number);
        with(endpoint.extra().expect("it was picked"));
    }

    /// It has a connection.
    fn ready(&self, number: u16) {
        self.wire(number, |wire| wire.link.store(2, Relaxed));
    }

    fn connecting(&self, number: u16) {
        self.wire(number, |wire| wire.link.store(1, Relaxed));
    }

    /// Its connections are closed.
    fn lost(&self, number: u16) {
        self.wire(number, |wire| wire.link.store(0, Relaxed));
    }

    /// Whether its connect back-off is over.
    fn available(&self, number: u16, available: bool) {
        self.wire(number, |wire| wire.available.store(available, Relaxed));
    }

    /// The order, as those behind the first show it.
    fn order(&self) -> Vec<u16> {
        let first = self.pick();
        let ask = Ask::any(self.now.get(), &self.random, &[]);
        let behind = self.balancer.behind(&self.find(first), &ask);
        let number = |endpoint: &Arc<Endpoint<Wire>>| match endpoint.spec().address() {
            Address::Socket(address) => address.port(),
            Address::Unix(_) => 0,
        };
        std::iter::once(first).chain(behind.iter().map(number)).collect()
    }
}

#[test]
fn one_takes_all_calls_in_the_order_of_the_list() {
    let first = First::of([3, 1, 2]);
    assert_eq!(first.order(), [3, 1, 2]);
    for _ in 0..100 {
        assert_eq!(first.pick(), 3);
    }
    first.ready(3);
    for _ in 0..100 {
        assert_eq!(first.pick(), 3);
    }
}

#[test]
fn it_stays_while_it_is_ready_and_the_order_begins_anew_when_it_is_lost() {
    let first = First::of([1, 2, 3]);
    assert_eq!(first.pick(), 1);
    // It could not be connected to: the next one, which stays although the first would be back.
    first.available(1, false);
    assert_eq!(first.pick(), 2);
    first.ready(2);
    first.available(1, true);
    for _ in 0..50 {
        assert_eq!(first.pick(), 2);
    }
    first.lost(2);
    assert_eq!(first.pick(), 1);
    first.ready(1);
    assert_eq!(first.pick(), 1);
    // Lost again, with the first in back-off still: the second, not the third.
    first.lost(1);
    first.available(1, false);
    assert_eq!(first.pick(), 2);
}

#[test]
fn whoever_is_connected_first_is_used_by_all() {
    let first = First::of([1, 2, 3]);
    assert_eq!(first.pick(), 1);
    first.connecting(1);
    assert_eq!(first.pick(), 1);
    // A call that waited has gone on to the second.
    let ask = Ask::any(first.now.get(), &first.random, &[]);
    let behind = first.balancer.behind(&first.find(1), &ask);
    first.balancer.begin_at(&behind[0], first.now.get()).finish(first.now.get(), Outcome::Success);
    first.ready(2);
    assert_eq!(first.pick(), 2);
    // Its connection is there too late.
    first.ready(1);
    assert_eq!(first.pick(), 2);
    first.lost(2);
    assert_eq!(first.pick(), 1);
}

#[test]
fn a_new_list_keeps_the_one_in_use_and_is_the_order_from_then_on() {
    let first = First::of([1, 2, 3, 4, 5]);
    assert_eq!(first.pick(), 1);
    first.ready(1);
    // Another before it.
    first.balancer.replace(list([9, 2, 1, 5]));
    assert_eq!(first.pick(), 1);
    first.lost(1);
    assert_eq!(first.order(), [9, 2, 1, 5]);
    first.ready(9);
    assert_eq!(first.pick(), 9);
    // The same ones in another order.
    first.balancer.replace(list([5, 1, 2, 9]));
    assert_eq!(first.pick(), 9);
    first.lost(9);
    assert_eq!(first.order(), [5, 1, 2, 9]);
    // It leaves: the order has no hole, and what is added is the last.
    first.balancer.remove(&[address(5)]);
    assert_eq!(first.order(), [1, 2, 9]);
    first.balancer.upsert(list([7, 1]));
    assert_eq!(first.order(), [1, 2, 9, 7]);
    first.balancer.replace(Vec::new());
    assert_eq!(first.ask(&[], Outcome::Success), Err(PickError::Empty));
}

#[test]
fn the_order_is_known_although_another_balancer_came_before() {
    let first = First::new(&under(&config::Balancer::RoundRobin), 0, list(1..=6));
    first.balancer.remove(&[address(1)]);
    first.balancer.settle(&cluster(false));
    assert_eq!(first.order(), [2, 3, 4, 5, 6]);
}

#[test]
fn the_families_take_turns() {
    let of = |text: &str| -> config::Endpoint { text.parse::<Address>().unwrap().into() };
    let listed = ["[::1]:1", "[::1]:2", "[::1]:3", "127.0.0.1:4", "127.0.0.1:5"].map(of);
    let first = First::new(&cluster(false), 0, listed.to_vec());
    let view = first.balancer.view.load();
    let sequence = view.all.sequence.as_ref().unwrap();
    let all = view.all.set.iter().next().unwrap();
    let behind = sequence.behind(&view.all.set, all).map(|it| it.spec().address().to_string());
    let behind: Vec<_> = behind.collect();
    assert_eq!(behind, ["127.0.0.1:4", "[::1]:2", "127.0.0.1:5", "[::1]:3"]);
}

#[test]
fn a_shuffled_order_is_that_of_its_seed_and_changes_as_little_as_the_list() {
    let of = |seed, count| First::new(&cluster(true), seed, list(1..=count)).order();
    assert_eq!(of(7, 20), of(7, 20));
    assert_ne!(of(7, 20), of(8, 20));
    let first = First::new(&cluster(true), 7, list(1..=20));
    let before = first.order();
    assert_ne!(before, (1..=20).collect::<Vec<_>>());
    // The order of the source says nothing, and who stays keeps its place.
    first.balancer.replace(list((1..=20).rev()));
    assert_eq!(first.order(), before);
    first.balancer.settle(&cluster(true));
    assert_eq!(first.order(), before);
    let gone = before[3];
    first.balancer.replace(list((1..=25).filter(|number| *number != gone)));
    let known = |number: &u16| (1..=20).contains(number);
    let mut after = first.order();
    after.retain(known);
    let mut wanted = before;
    wanted.retain(|number| *number != gone);
    // The one in use has stayed, and so comes first: the others are behind it, in their circle.
    let at = |list: &[u16]| list.iter().position(|it| *it == wanted[0]).unwrap();
    let turn = at(&after);
    after.rotate_left(turn);
    assert_eq!(after, wanted);
}

#[test]
fn over_many_clients_the_first_is_by_weight() {
    let (mut counts, clients) = ([0_u32; 3], 6_000_u32);
    for seed in 0..clients {
        let weighted =
            [(1, 1), (2, 2), (3, 3)].map(|(number, weight)| endpoint(number).weight(weight));
        let seed = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let first = First::new(&cluster(true), seed, weighted.to_vec());
        counts[usize::from(first.pick()) - 1] += 1;
    }
    for (count, share) in counts.into_iter().zip([1.0 / 6.0, 2.0 / 6.0, 3.0 / 6.0]) {
        let got = f64::from(count) / f64::from(clients);
        assert!((got - share).abs() < 0.025, "{counts:?}");
    }
}

#[test]
fn a_retry_goes_on_to_the_next_and_takes_nobody_with_it() {
    let first = First::of([1, 2, 3]);
    assert_eq!(first.pick(), 1);
    first.ready(1);
    let met = [first.find(1)];
    for _ in 0..10 {
        assert_eq!(first.ask(&met, Outcome::Success), Ok(2));
        assert_eq!(first.pick(), 1);
    }
    let met = [first.find(1), first.find(2)];
    assert_eq!(first.ask(&met, Outcome::Success), Ok(3));
    assert_eq!(first.pick(), 1);
}

#[test]
fn one_that_fails_is_left_and_probed_by_single_calls_when_the_order_begins_anew() {
    let first = First::of([1, 2]);
    first.pick();
    first.ready(1);
    for _ in 0..40 {
        let _number = first.ask(&[], Outcome::Failure);
        if first.pick() == 2 {
            break;
        }
    }
    first.ready(2);
    for _ in 0..2_000 {
        assert_eq!(first.pick(), 2);
    }
}

#[test]
fn what_drains_is_never_picked_and_what_is_bad_is_picked_last() {
    let listed = vec![
        endpoint(1).health(Health::Draining),
        endpoint(2).health(Health::Unhealthy),
        endpoint(3),
        endpoint(4),
    ];
    let first = First::new(&cluster(false), 0, listed);
    assert_eq!(first.pick(), 3);
    first.available(3, false);
    assert_eq!(first.pick(), 4);
    first.available(4, false);
    let picked = first.pick();
    assert_eq!(picked, 2);
    first.balancer.replace(vec![endpoint(1).health(Health::Draining)]);
    assert_eq!(first.ask(&[], Outcome::Success), Err(PickError::Unavailable));
}

#[test]
fn each_priority_has_an_order_of_its_own() {
    let of = |number: u16, priority| {
        let mut endpoint = endpoint(number);
        endpoint.priority = priority;
        endpoint
    };
    let listed = vec![of(3, 1), of(1, 0), of(4, 1), of(2, 0)];
    let first = First::new(&cluster(false), 0, listed);
    assert_eq!(first.order(), [1, 2]);
    first.ready(1);
    for _ in 0..50 {
        assert_eq!(first.pick(), 1);
    }
    first.lost(1);
    first.available(1, false);
    assert_eq!(first.pick(), 2);
    first.available(2, false);
    let other = first.pick();
    assert_eq!(other, 3);
    let ask = Ask::any(first.now.get(), &first.random, &[]);
    assert_eq!(first.balancer.behind(&first.find(3), &ask).len(), 1);
}

#[test]
fn who_is_tried_beside_carries_the_labels_that_the_call_asks_for() {
    let labels = |version: &str| [("version".to_owned(), version.to_owned())].into();
    let of =
        |number: u16, version| config::Endpoint { labels: labels(version), ..endpoint(number) };
    let keys = vec!["version".to_owned()];
    let selector = config::SubsetSelector { keys, ..config::SubsetSelector::default() };
    let subsets = config::Subsets { selectors: vec![selector], ..config::Subsets::default() };
    let cluster = config::Cluster { subsets: Some(subsets), ..cluster(false) };
    let endpoints = vec![of(1, "1"), of(2, "2"), of(3, "1"), of(4, "2")];
    let first = First::new(&cluster, 0, endpoints);
    let wanted = Wanted::new(labels("1"));
    let ask = Ask::any(SECOND, &first.random, &[]).wanting(Some(&wanted));
    let behind = first.balancer.behind(&first.find(1), &ask);
    let behind: Vec<_> = behind.iter().map(|it| it.spec().address().clone()).collect();
    assert_eq!(behind, [address(3)]);
}
