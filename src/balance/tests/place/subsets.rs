//! A part of the endpoints: this process's, or those of the labels that are asked for.

use super::*;

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
            assert_eq!(counts.len(), 20, "{used:?} {}", named(&cluster));
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
    for cluster in without_tables().into_iter().filter(|it| !is_by_latency(it)) {
        let subsetting = Some(Subsetting::Deterministic(used.clone()));
        let cluster = Cluster { subsetting, ..cluster };
        let mut world = World::new(&cluster, Here::default(), (10..20).map(endpoint).collect());
        let counts = world.calls(50_000);
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), (12..=17).collect::<Vec<_>>());
        for (port, count) in &counts {
            let wanted = if matches!(port, 12 | 17) { 0.1 } else { 0.2 };
            let share = f64::from(*count) / 50_000.0;
            assert!((share - wanted).abs() < 0.04, "{port}: {share} {}", named(&cluster));
        }
    }
}

#[test]
fn a_call_without_labels_goes_nowhere_when_the_default_part_is_gone() {
    let subsets = Subsets {
        fallback: SubsetFallback::Default,
        default: [("version".to_owned(), "1".to_owned())].into(),
        ..Subsets::default()
    };
    for cluster in without_tables() {
        let cluster = Cluster { subsets: Some(subsets.clone()), ..cluster };
        let endpoints = vec![labelled(1, "1"), labelled(2, "2")];
        let world = World::new(&cluster, Here::default(), endpoints);
        let met = || world.pick().map(|flight| port_of(flight.endpoint().spec()));
        for _ in 0..20 {
            assert_eq!(met(), Ok(1), "{}", named(&cluster));
        }
        world.balancer.remove(&[endpoint(1).address]);
        for _ in 0..20 {
            assert_eq!(met(), Err(PickError::NoPart), "{}", named(&cluster));
        }
    }
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
fn labels_of_a_cluster_without_subsets_are_carried_by_nobody() {
    let world = World::new(&round_robin(), Here::default(), vec![labelled(1, "1")]);
    assert_eq!(world.wanting(&wanted("1")), Err(PickError::NoPart));
    assert!(!world.balancer.is_callable(Some(&wanted("1"))));
    assert_eq!(world.wanting(&Wanted::default()), Ok(1));
}
