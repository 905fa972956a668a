//! Rings of latency.

use super::*;

fn ringed(rings: Rings) -> Cluster {
    let locality = LocalityBalancing::Rings(rings);
    balanced(Balancing { locality, ..Balancing::default() })
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
