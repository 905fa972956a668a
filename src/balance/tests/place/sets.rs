//! Sets of endpoints of every kind, and such as come and go.

use super::*;

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
            let slack = if is_by_latency(&cluster) { 0.2 } else { 0.05 };
            assert!((share - wanted).abs() < slack, "{wait} s: {share} {}", named(&cluster));
        }
        // Who was unhealthy and is well begins anew.
        world.balancer.upsert(vec![endpoint(5).health(Health::Unhealthy)]);
        world.balancer.upsert(vec![endpoint(5)]);
        let joined = world.balancer.read().all.set.iter().last().unwrap().joined();
        assert_eq!(joined, nanos());
    }
}
