//! Sets of endpoints of every kind, and such as come and go.

use super::*;
use crate::balance::{set::Set, view::View};

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

/// What a plan says of each of its groups, and who is in it.
fn shape(view: &View<Peer>) -> Vec<String> {
    let ports = |set: &Set<Peer>| set.iter().map(|it| port_of(it.spec())).collect::<Vec<_>>();
    let Some(placed) = &view.placed else { return Vec::new() };
    let mut lines = vec![format!("straight: {}", placed.is_straight)];
    for plan in placed.plans() {
        lines.push(format!("plan {}, in part: {}", plan.id, plan.is_subset));
        for level in &plan.levels {
            let whole = level.whole.as_ref().map(|group| ports(&group.set));
            let (priority, distance) = (level.priority, level.distance);
            let (load, shares) = (level.load(), level.shares());
            lines.push(format!("{priority}, {distance}: {whole:?}, {load:?}, {shares:?}"));
            for part in &level.parts {
                let (locality, ports) = (&part.locality, ports(&part.group.set));
                lines.push(format!("{locality:?}, {:?}: {ports:?}", part.ring));
            }
        }
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_that_stays_is_the_one_that_would_be_made(
        steps in prop::collection::vec(
            (1_u16..9, prop::bool::weighted(0.1), 0_u8..5, prop::bool::weighted(0.1)), 1..40),
        sharing in 0_u8..3,
        policy in 0..of_small_tables().len(),
    ) {
        let locality = match sharing {
            0 => LocalityBalancing::None,
            1 => LocalityBalancing::Weighted,
            _ => LocalityBalancing::ZoneAware(ZoneAware::default()),
        };
        let weight = LocalityWeight {
            locality: Locality::new("r", "0"), weight: 3, ..LocalityWeight::default()
        };
        let cluster = Cluster {
            balancing: Some(Balancing { locality, ..Balancing::default() }),
            localities: vec![weight],
            ..of_small_tables()[policy].clone()
        };
        let world = World::new(&cluster, in_zone("0"), Vec::new());
        for (port, is_behind, health, is_elsewhere) in steps {
            if health == 0 {
                world.balancer.remove(&[endpoint(port).address]);
            } else {
                let health =
                    [Health::Healthy, Health::Degraded, Health::Unhealthy, Health::Draining]
                        [usize::from(health) - 1];
                let zone = if is_elsewhere { "1" } else { "0" };
                let priority = u32::from(is_behind);
                world.balancer.upsert(vec![config::Endpoint {
                    priority, health, ..of_zone(port, zone)
                }]);
            }
            let view = world.balancer.read();
            // What there was before the first endpoint has no plan yet.
            if view.placed.is_none() {
                continue;
            }
            let set = view.all.set.share();
            let anew = view.of(set, world.balancer.context(), world.now);
            prop_assert_eq!(shape(&view), shape(&anew));
        }
    }
}

#[test]
fn a_plan_stays_where_who_is_new_belongs_to_its_one_group() {
    let stays = |cluster: &Cluster, known: Vec<config::Endpoint>, new: config::Endpoint| {
        let world = World::new(cluster, Here::default(), known);
        let before = world.balancer.read();
        world.balancer.upsert(vec![new]);
        let after = world.balancer.read();
        let (set, placed) = (&after.all.set, before.placed.as_ref().unwrap());
        placed.kept(&after.policy, &after.placing, set, &[set.len() - 1]).is_some()
    };
    let of_zone_a = || (1..=4).map(|port| of_zone(port, "a")).collect::<Vec<_>>();
    let behind = || config::Endpoint { priority: 1, ..of_zone(9, "a") };
    let weighted =
        balanced(Balancing { locality: LocalityBalancing::Weighted, ..Balancing::default() });
    assert!(stays(&weighted, of_zone_a(), of_zone(9, "a")));
    assert!(!stays(&weighted, of_zone_a(), of_zone(9, "b")));
    assert!(!stays(&weighted, of_zone_a(), behind()));
    assert!(!stays(&weighted, vec![of_zone(1, "a"), of_zone(2, "b")], of_zone(9, "a")));
    let together = balanced(Balancing::default());
    assert!(stays(&together, of_zone_a(), of_zone(9, "b")));
    assert!(!stays(&together, of_zone_a(), behind()));
    assert!(!stays(&balanced(zone_aware(ZoneAware::default())), of_zone_a(), of_zone(9, "a")));
    let ramped = Cluster { slow_start: Some(config::SlowStart::default()), ..round_robin() };
    assert!(!stays(&ramped, of_zone_a(), of_zone(9, "a")));
    let random = config::RandomSubset { size: Some(20), above: Some(0), seed: Some(1) };
    let few = Cluster { subsetting: Some(Subsetting::Random(random)), ..round_robin() };
    assert!(!stays(&few, of_zone_a(), of_zone(9, "a")));
}

/// What changes of ten thousand endpoints costs what has changed.
#[test]
fn a_few_that_change_of_many_do_not_have_all_counted_anew_within_a_second() {
    // Whether most are seen to be down, where one changes so much later than they were counted.
    let is_panic = |many: u16, later: u64| {
        let mut world = World::new(&balanced(Balancing::default()), Here::default(), Vec::new());
        world.balancer.upsert((1..=many).map(|port| at(port, 0)).collect());
        world.calls(10 * u32::from(many));
        world.count();
        for port in 2..=many {
            world.balancer.context().wire(port).down.store(true, Relaxed);
        }
        let view = world.balancer.read();
        let plan = |view: &View<_>| view.placed.as_ref().unwrap().plan.levels[0].load();
        assert!(!plan(&view).panic);
        let set = view.all.set.share();
        plan(&view.of_changed(set, &[0], world.balancer.context(), world.now + later)).panic
    };
    assert!(!is_panic(1_100, SECOND - 1), "counted a moment ago");
    assert!(is_panic(1_100, SECOND), "no longer than a second");
    assert!(is_panic(1_000, 0), "these are soon counted");
}

/// Four endpoints that have been there for a while, and a fifth that joins them now.
async fn joined_by_a_fifth(cluster: &Cluster) -> World {
    let epoch = Epoch::now();
    let balancer = Balancer::new(cluster, Here::default(), epoch);
    let nanos = || epoch.nanos(crate::core::Instant::now());
    tokio::time::advance(Duration::from_secs(100)).await;
    // Only between unequal weights a bias says anything.
    let is_biased = cluster.least_request.as_ref().is_some_and(|it| it.active_bias.is_some());
    let heavy = 1 + u32::from(is_biased);
    let weight = |port: u16| if port == 1 { heavy } else { 1 };
    balancer.replace((1..=4).map(|port| endpoint(port).weight(weight(port))).collect());
    let mut world = World { balancer, random: Random::seeded(3), now: nanos() };
    world.calls(4_000);
    tokio::time::advance(Duration::from_secs(100)).await;
    world.balancer.upsert(vec![endpoint(5)]);
    world.now = nanos();
    world
}

/// The part of so many calls that goes to the fifth. All take as long, and none is in flight beside
/// another: by latency and by calls in flight there is nothing between the endpoints.
fn share_of_the_fifth(world: &World) -> f64 {
    let mut taken = 0;
    for _ in 0..4_000 {
        let flight = world.pick().unwrap();
        taken += u32::from(port_of(flight.endpoint().spec()) == 5);
        flight.finish(world.now + MILLI, Outcome::Success);
    }
    f64::from(taken) / 4_000.0
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_is_warmed_up_under_every_policy() {
    // Its even share is a fifth, or a sixth by weight: of that a tenth, then a half.
    let even = 0.14..0.24;
    for cluster in sharing() {
        let slow_start = Some(config::SlowStart::default());
        let ramped = Cluster { slow_start, ..cluster.clone() };
        let mut world = joined_by_a_fifth(&ramped).await;
        for (wait, wanted) in [(0, 0.01..0.04), (5, 0.07..0.14), (6, even.clone())] {
            world.now += wait * SECOND;
            let share = share_of_the_fifth(&world);
            assert!(wanted.contains(&share), "{wait} s: {share} {}", named(&cluster));
        }
        let mut world = joined_by_a_fifth(&cluster).await;
        for wait in [0, 5, 6] {
            world.now += wait * SECOND;
            let share = share_of_the_fifth(&world);
            assert!(even.contains(&share), "no ramp, {wait} s: {share} {}", named(&cluster));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_unhealthy_and_is_well_begins_its_ramp_anew() {
    for cluster in sharing() {
        let cluster = Cluster { slow_start: Some(config::SlowStart::default()), ..cluster };
        let mut world = joined_by_a_fifth(&cluster).await;
        tokio::time::advance(Duration::from_secs(20)).await;
        world.now += 20 * SECOND;
        let share = share_of_the_fifth(&world);
        assert!((0.14..0.24).contains(&share), "{share} {}", named(&cluster));
        world.balancer.upsert(vec![endpoint(5).health(Health::Unhealthy)]);
        world.balancer.upsert(vec![endpoint(5)]);
        let share = share_of_the_fifth(&world);
        assert!((0.01..0.04).contains(&share), "anew: {share} {}", named(&cluster));
    }
}
