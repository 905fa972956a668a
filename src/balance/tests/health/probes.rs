//! Who is out, or suspect, is probed by one call at a time.

use super::*;

#[test]
fn while_the_probe_is_out_nobody_else_is_sent() {
    let mut sim = watched(&config::Balancer::RoundRobin, 2, &outliers());
    let fails = |number| (MILLI, if number == 1 { Outcome::Gateway } else { Outcome::Success });
    // Ahead of suspicion: all five are under way at once.
    sim.closed(40, 20, fails);
    sim.pass(SECOND);
    assert_eq!(standing(&sim, 1), Standing::Ejected);
    sim.forget();
    sim.pass(40 * SECOND);
    // It answers late, if at all.
    sim.open(2_000, MILLI, |number| {
        (if number == 1 { 20 * SECOND } else { MILLI }, Outcome::Success)
    });
    assert_eq!((sim.count(1), standing(&sim, 1)), (1, Standing::Probing));
    sim.pass(20 * SECOND);
    assert_eq!(standing(&sim, 1), Standing::Healthy);
}

#[test]
fn a_probe_whose_caller_leaves_is_made_by_another_call() {
    let mut sim = watched(&config::Balancer::RoundRobin, 2, &outliers());
    sim.closed(40, 20, |n| (MILLI, if n == 1 { Outcome::Failure } else { Outcome::Success }));
    sim.pass(40 * SECOND);
    let find = |sim: &Sim| loop {
        let flight = sim.pick().unwrap();
        if number_of(flight.endpoint()) == 1 {
            break flight;
        }
        flight.finish(sim.now, Outcome::Success);
    };
    let probe = find(&sim);
    assert_eq!(standing(&sim, 1), Standing::Probing);
    probe.finish(sim.now, Outcome::Ignored);
    assert_eq!(standing(&sim, 1), Standing::Ejected);
    let probe = find(&sim);
    probe.finish(sim.now, Outcome::Success);
    assert_eq!(standing(&sim, 1), Standing::Healthy);
}

#[test]
fn a_probe_that_never_ends_gives_way_after_its_lease() {
    let mut sim = watched(&config::Balancer::RoundRobin, 2, &outliers());
    sim.closed(40, 20, |n| (MILLI, if n == 1 { Outcome::Failure } else { Outcome::Success }));
    sim.pass(40 * SECOND);
    let hung = |number| (if number == 1 { 10_000 * SECOND } else { MILLI }, Outcome::Success);
    sim.forget();
    sim.open(100, 100 * MILLI, hung);
    assert_eq!(sim.count(1), 1);
    sim.open(700, 100 * MILLI, hung);
    assert_eq!(sim.count(1), 3);
}

#[test]
fn whoever_claims_the_probe_of_a_suspect_makes_it() {
    for cluster in family() {
        let mut sim = Sim::of(&config::Balancer::default(), 4);
        sim.balancer.settle(&cluster);
        let find =
            |sim: &Sim| sim.balancer.endpoints().into_iter().find(|it| number_of(it) == 1).unwrap();
        sim.open(200, MILLI, |number| {
            (MILLI, if number == 1 { Outcome::Failure } else { Outcome::Success })
        });
        let due = |sim: &Sim| find(sim).live().map_or(0, |live| live.load.state.probe_at());
        let mut claims = 0;
        for _ in 0..20_000 {
            let before = due(&sim);
            let flight = sim.pick().unwrap();
            let number = number_of(flight.endpoint());
            if due(&sim) != before {
                claims += 1;
                assert_eq!(number, 1, "{}", named(&cluster));
            }
            let outcome = if number == 1 { Outcome::Failure } else { Outcome::Success };
            flight.finish(sim.now, outcome);
            sim.pass(10 * MILLI);
        }
        assert!(claims > 2, "{claims} {}", named(&cluster));
    }
}
