//! Localities: by weight, the own zone first, what is near.

use super::*;

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
        assert!(about(share, 1.0 / 3.0), "{share} {}", named(&cluster));
        assert_eq!(world.share(9..=10), 0.0);
        world.set_down(1..=2, true);
        // 1 · 70 to 2 · 100; of the one table that hashes share, what two of it had goes to all others.
        let (share, wanted) = (world.share(3..=4), if has_table(&cluster) { 0.2 } else { 0.259 });
        assert!(about(share, wanted), "{share} {}", named(&cluster));
        world.set_down(1..=8, true);
        assert_eq!(world.share(9..=10), 1.0, "rather than bad ones");
    }
}

// gRFC A42, Envoy: one ring for all localities of a priority.
#[test]
fn a_hash_meets_the_same_endpoint_as_where_the_endpoints_have_the_weights_themselves() {
    let weight = |zone: &str, weight| LocalityWeight {
        locality: Locality::new("r", zone),
        weight,
        ..LocalityWeight::default()
    };
    let balancing = Balancing { locality: LocalityBalancing::Weighted, ..Balancing::default() };
    for cluster in policies().into_iter().filter(has_table) {
        let weighted = Cluster {
            localities: vec![weight("x", 1), weight("y", 3)],
            balancing: Some(balancing.clone()),
            ..cluster.clone()
        };
        let zone = |port| if port <= 2 { "x" } else { "y" };
        let endpoints = (1..=8).map(|port| of_zone(port, zone(port))).collect();
        let world = World::new(&weighted, Here::default(), endpoints);
        // A quarter for two of them, the rest for six: each has an eighth.
        let alike = World::new(&cluster, Here::default(), (1..=8).map(endpoint).collect());
        // The own weights of endpoints are their parts of their locality's.
        let heavy = |port: u16| config::Endpoint {
            weight: if port == 1 { 3 } else { 1 },
            ..of_zone(port, zone(port))
        };
        let uneven = World::new(&weighted, Here::default(), (1..=8).map(heavy).collect());
        let of = |world: &World, hash| {
            let ask = Ask::any(world.now, &world.random, &[]).hashed(Some(hash));
            let flight = world.balancer.pick(ask).unwrap();
            let port = port_of(flight.endpoint().spec());
            flight.finish(world.now, Outcome::Success);
            port
        };
        let mut first = 0;
        for hash in (0..2_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            assert_eq!(of(&world, hash), of(&alike, hash), "{hash} {}", named(&cluster));
            first += u32::from(of(&uneven, hash) == 1);
        }
        assert!(about(f64::from(first) / 2_000.0, 0.1875), "{first} {}", named(&cluster));
    }
}

#[test]
fn localities_without_any_weight_are_as_none() {
    let balancing = Balancing { locality: LocalityBalancing::Weighted, ..Balancing::default() };
    let endpoints = (1..=4).map(|port| of_zone(port, if port == 1 { "x" } else { "y" })).collect();
    let mut world = World::new(&balanced(balancing), Here::default(), endpoints);
    assert!(about(world.share(1..=1), 0.25));
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
