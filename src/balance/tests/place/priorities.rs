//! Priorities: who gets what, in health, in panic and when one is lost.

use super::*;

#[test]
fn the_first_priority_gets_everything_while_it_is_well() {
    for cluster in policies() {
        let endpoints = (1..=4).map(|port| at(port, u32::from(port > 2))).collect();
        let mut world = World::new(&cluster, Here::default(), endpoints);
        assert_eq!(world.share(1..=2), 1.0, "{}", named(&cluster));
    }
}

/// Outlier detection alone makes a plan, and asks nothing of a pick while its endpoints are well.
#[test]
fn only_a_plan_of_equals_is_gone_past() {
    let straight = |cluster: &Cluster, endpoints: Vec<config::Endpoint>| {
        let world = World::new(cluster, Here::default(), endpoints);
        let view = world.balancer.read();
        view.placed.as_ref().map(|placed| placed.is_straight)
    };
    let alike = || (1..=4).map(endpoint).collect::<Vec<_>>();
    let watched = |cluster: Cluster| Cluster {
        outlier_detection: Some(config::OutlierDetection::default()),
        ..cluster
    };
    assert_eq!(straight(&round_robin(), alike()), None);
    assert_eq!(straight(&watched(round_robin()), alike()), Some(true));
    assert_eq!(straight(&watched(pick_first()), alike()), Some(false));
    let ramped = Cluster { slow_start: Some(config::SlowStart::default()), ..round_robin() };
    assert_eq!(straight(&ramped, alike()), Some(false));
    assert_eq!(straight(&round_robin(), vec![at(1, 0), at(2, 1)]), Some(false));
    let zones = vec![of_zone(1, "a"), of_zone(2, "b")];
    let aware = balanced(zone_aware(ZoneAware::default()));
    assert_eq!(straight(&aware, zones), Some(false));
    let random = config::RandomSubset { size: Some(2), above: Some(0), seed: Some(1) };
    let few = Cluster { subsetting: Some(Subsetting::Random(random)), ..round_robin() };
    assert_eq!(straight(&few, alike()), Some(false));
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
        assert!(about(share, 0.7), "{share} {}", named(&cluster));
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
        assert_eq!(world.share(3..=4), 1.0, "{}", named(&cluster));
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
        assert_eq!(world.share(1..=2), 1.0, "{}", named(&cluster));
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
        assert!(about(share, 0.35), "{share} {}", named(&cluster));
        let endpoints = vec![endpoint(1), endpoint(2), endpoint(3), degraded(4)];
        let mut world = World::new(&cluster, Here::default(), endpoints);
        assert_eq!(world.share(1..=3), 1.0, "{}", named(&cluster));
    }
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
