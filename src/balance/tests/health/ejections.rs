//! Who is ejected, who returns, and what is called when few are left.

use super::*;

#[test]
fn five_failures_in_a_row_eject_and_one_call_brings_it_back() {
    for cluster in family() {
        let policy = named(&cluster);
        let mut sim = watched_under(&cluster, 3, &outliers());
        sim.open(3_000, MILLI, one_fails);
        sim.pass(5 * SECOND);
        // A suspect is probed at intervals: it may take a while to five.
        for _ in 0..100 {
            sim.open(100, 10 * MILLI, one_fails);
        }
        let first = told(&sim, 1);
        assert_eq!(first[0], "ejected: consecutive failures for 30 s", "{policy}");
        assert_eq!(standing(&sim, 1), Standing::Ejected, "{policy}");
        // Until its probes succeed, each call to it is one of them.
        let (before, probes) = (sim.count(1), told(&sim, 1).len());
        sim.open(60_000, 10 * MILLI, one_fails);
        let failed = told(&sim, 1).len() - probes;
        assert!(failed >= 2, "{policy}: {:?}", told(&sim, 1));
        let met = sim.count(1) - before;
        assert!(met.abs_diff(failed as u64) <= 1, "{policy}: {met} calls, {failed} probes");
        assert!(told(&sim, 1).contains(&"ejected: probe failed for 60 s".to_owned()));
        // It is well: one call finds out, and then it gets its share.
        sim.open(60_000, 10 * MILLI, healthy);
        assert_eq!(told(&sim, 1).last().unwrap(), "returned: probe", "{policy}");
        assert_eq!(sim.balancer.health.ejected(), 0);
        sim.forget();
        sim.open(3_000, MILLI, healthy);
        assert!((0.25..0.42).contains(&sim.share(1)), "{policy}: {}", sim.share(1));
    }
}

#[test]
fn when_all_are_ejected_they_are_called_all_the_same() {
    for cluster in family() {
        let policy = named(&cluster);
        let mut sim = watched_under(&cluster, 3, &outliers());
        sim.closed(600, 60, |_| (MILLI, Outcome::Failure));
        sim.pass(SECOND);
        for number in 1..=3 {
            assert_eq!(standing(&sim, number), Standing::Ejected, "{policy}");
        }
        sim.forget();
        sim.open(900, MILLI, healthy);
        assert_eq!(sim.calls, 900);
        // None was due to be probed: what was called in need decides nothing.
        assert_eq!(sim.balancer.health.ejected(), 3);
        sim.pass(30 * SECOND);
        sim.open(300, MILLI, healthy);
        assert_eq!(sim.balancer.health.ejected(), 0, "{policy}");
    }
}

#[test]
fn pick_first_leaves_one_that_is_ejected_and_probes_it_when_it_has_to_choose_again() {
    let mut sim = watched_under(&pick_first(), 3, &outliers());
    sim.open(10, MILLI, healthy);
    assert_eq!(sim.count(1), 10);
    // All five are under way at once.
    sim.closed(40, 20, one_fails);
    sim.pass(SECOND);
    assert_eq!(standing(&sim, 1), Standing::Ejected);
    sim.forget();
    sim.open(100, MILLI, healthy);
    assert_eq!((sim.count(1), sim.count(2)), (0, 100));
    // It stays where it is, and probes nobody whom it does not need.
    sim.pass(40 * SECOND);
    sim.open(100, MILLI, healthy);
    assert_eq!((sim.count(1), sim.count(2)), (0, 200));
    sim.balancer.remove(&[address(2), address(3)]);
    sim.open(100, MILLI, healthy);
    assert_eq!(sim.count(1), 100);
    assert_eq!(told(&sim, 1).last().unwrap(), "returned: probe");
}

/// Envoy's panic ignores ejection: of whom we have ejected ourselves, too, not of the source's word
/// alone.
#[test]
fn in_panic_those_that_we_have_ejected_are_called() {
    let fails = |number| (MILLI, if number > 1 { Outcome::Failure } else { Outcome::Success });
    for cluster in family() {
        for (threshold, all) in [(None, true), (Some(0.0), false)] {
            let cluster = Cluster { panic_threshold: threshold, ..cluster.clone() };
            let mut sim = watched_under(&cluster, 4, &outliers());
            sim.closed(400, 80, fails);
            sim.pass(SECOND);
            assert_eq!(sim.balancer.health.ejected(), 3, "{}", named(&cluster));
            sim.balancer.keep(sim.now);
            sim.forget();
            sim.open(4_000, MILLI, healthy);
            for number in 2..=4 {
                let met = sim.count(number);
                // By latency and success, who has failed loses nearly every comparison.
                let least = if is_by_latency(&cluster) { 1 } else { 20 };
                let is_called = if all { met >= least } else { met == 0 };
                assert!(is_called, "{met} calls to {number}: {}", named(&cluster));
            }
            // What was called in need decides nothing.
            assert_eq!(sim.balancer.health.ejected(), 3);
        }
    }
}

#[test]
fn of_three_one_is_ejected_and_no_more() {
    let mut sim = watched(&config::Balancer::RoundRobin, 3, &OutlierDetection::default());
    sim.closed(600, 60, |_| (MILLI, Outcome::Failure));
    sim.pass(SECOND);
    assert_eq!(sim.balancer.health.ejected(), 1);
}

#[test]
fn one_that_leaves_while_it_is_ejected_is_counted_no_more() {
    let mut sim = watched(&config::Balancer::RoundRobin, 3, &outliers());
    sim.closed(60, 20, one_fails);
    sim.pass(SECOND);
    assert_eq!(sim.balancer.health.ejected(), 1);
    sim.balancer.remove(&[address(1)]);
    assert_eq!(sim.balancer.health.ejected(), 0);
    // It is a new one when it comes back.
    sim.balancer.upsert(vec![endpoint(1)]);
    assert_eq!(standing(&sim, 1), Standing::Healthy);
}

#[test]
fn without_rules_nobody_stays_out() {
    let mut sim = watched(&config::Balancer::RoundRobin, 3, &outliers());
    sim.closed(60, 20, one_fails);
    sim.pass(SECOND);
    assert_eq!(standing(&sim, 1), Standing::Ejected);
    sim.balancer.settle(&under(&config::Balancer::RoundRobin));
    assert_eq!(told(&sim, 1).last().unwrap(), "returned: rules");
    assert_eq!(sim.balancer.health.ejected(), 0);
}
