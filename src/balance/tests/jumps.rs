//! A clock that jumps: far ahead, as after a long sleep, and back, which one that is monotonic never does.

use std::ops::Range;

#[cfg(feature = "orca")]
use super::reports::{prequal, report, reported, signalled, weighted};
use super::{
    health::{one_fails, outliers, watched},
    ramps::{EVEN, FIRST, NOTHING, share},
    *,
};
use crate::{
    balance::health::Checked,
    config::{Cluster, SlowStart},
};

const HOUR: u64 = 3_600 * SECOND;
const YEAR: u64 = 365 * 24 * HOUR;
const JUMPS: [Jump; 2] = [Jump::Ahead, Jump::Back];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Jump {
    /// By a year.
    Ahead,
    /// By an hour.
    Back,
}

impl Jump {
    /// While no call of the simulation is under way.
    fn make(self, sim: &mut Sim) {
        assert!(sim.running.is_empty());
        match self {
            Self::Ahead => sim.now += YEAR,
            Self::Back => sim.now -= HOUR,
        }
        keep(sim);
    }
}

fn keep(sim: &Sim) {
    let _due = sim.balancer.keep(sim.now);
}

/// Four endpoints under a cluster's settings, two hours after their epoch.
fn four(cluster: &Cluster) -> Sim {
    let mut sim = Sim::of(&config::Balancer::default(), 4);
    sim.balancer.settle(cluster);
    sim.pass(2 * HOUR);
    sim
}

/// More than an hour of calls: after a jump back, the clock is again where it was, and further.
fn live_on(sim: &mut Sim) {
    sim.forget();
    sim.open(4_400, SECOND, healthy);
}

fn counts(sim: &Sim) -> Vec<u64> {
    (1..=4).map(|number| sim.count(number)).collect()
}

#[test]
fn a_clock_that_jumps_neither_panics_nor_holds_anyone_for_ever() {
    let mut sim = watched(&config::Balancer::default(), 3, &outliers());
    sim.closed(60, 20, one_fails);
    let far = 1 << 62;
    for now in [0, far, SECOND, far + SECOND, 0, far] {
        sim.now = now;
        for _ in 0..50 {
            let flight = sim.pick().unwrap();
            let outcome = one_fails(number_of(flight.endpoint())).1;
            flight.finish(now, outcome);
        }
        sim.balancer.keep(now);
    }
    sim.now = far;
    for _ in 0..50 {
        sim.now += 400 * SECOND;
        sim.pick().unwrap().finish(sim.now, Outcome::Success);
    }
    assert_eq!(sim.balancer.health.ejected(), 0);
}

#[test]
fn endpoints_that_are_well_share_evenly_after_a_jump_whatever_was_in_flight() {
    for cluster in family() {
        for jump in JUMPS {
            let mut sim = four(&cluster);
            sim.open(400, MILLI, healthy);
            sim.pass(SECOND);
            let held = sim.pick().unwrap();
            jump.make(&mut sim);
            // As long as a year, or shorter than nothing.
            held.finish(sim.now, Outcome::Success);
            live_on(&mut sim);
            let what = format!("{jump:?} {:?} {}", counts(&sim), named(&cluster));
            assert!(counts(&sim).iter().all(|count| *count > 0), "{what}");
            sim.forget();
            sim.open(4_000, MILLI, healthy);
            let what = format!("{jump:?} {:?} {}", counts(&sim), named(&cluster));
            assert!((1..=4).all(|number| (0.15..0.35).contains(&sim.share(number))), "{what}");
        }
    }
}

#[test]
fn who_is_ejected_or_suspect_is_called_again_after_a_jump() {
    for cluster in family() {
        for (jump, rules) in
            JUMPS.into_iter().flat_map(|jump| [(jump, None), (jump, Some(outliers()))])
        {
            let is_watched = rules.is_some();
            let mut sim = four(&Cluster { outlier_detection: rules, ..cluster.clone() });
            // All of the first ones are under way at once.
            sim.closed(400, 80, one_fails);
            sim.pass(SECOND);
            assert_eq!(sim.balancer.health.ejected(), u32::from(is_watched), "{}", named(&cluster));
            jump.make(&mut sim);
            live_on(&mut sim);
            assert_eq!(sim.balancer.health.ejected(), 0, "{jump:?} {}", named(&cluster));
            sim.forget();
            sim.open(2_000, 100 * MILLI, healthy);
            let what = format!("{jump:?} {:?} {}", counts(&sim), named(&cluster));
            assert!(counts(&sim).iter().all(|count| *count > 0), "{what}");
        }
    }
}

#[test]
fn after_a_jump_a_ramp_is_over_or_begins_anew_and_checks_count_as_before() {
    for cluster in family() {
        for jump in JUMPS {
            let slow_start = Some(SlowStart::default());
            let mut sim = four(&Cluster { slow_start, ..cluster.clone() });
            let by = sim.balancer.begin_checks();
            let endpoints = sim.balancer.endpoints();
            sim.balancer.set_checked(by, endpoints.iter().map(|it| (it, Checked::Fit)), sim.now);
            let first = endpoints.iter().find(|it| number_of(it) == 1).unwrap();
            let set_checked = |sim: &Sim, checked: Checked| {
                sim.balancer.set_checked(by, [(first, checked)], sim.now);
            };
            let expect_share = |sim: &mut Sim, wanted: Range<f64>, what: &str| {
                let met = share(sim);
                assert!(wanted.contains(&met), "{jump:?}, {what}: {met} {}", named(&cluster));
            };
            // Its ramp begins, and goes on for a second.
            set_checked(&sim, Checked::Unfit);
            set_checked(&sim, Checked::Fit);
            sim.pass(SECOND);
            expect_share(&mut sim, FIRST, "its checks have passed");
            jump.make(&mut sim);
            let wanted = if jump == Jump::Ahead { EVEN } else { FIRST };
            expect_share(&mut sim, wanted, "the jump");
            set_checked(&sim, Checked::Unfit);
            expect_share(&mut sim, NOTHING, "its checks fail");
            set_checked(&sim, Checked::Fit);
            expect_share(&mut sim, FIRST, "they pass again");
            sim.pass(HOUR + 11 * SECOND);
            expect_share(&mut sim, EVEN, "an hour later");
        }
    }
}

#[test]
fn a_plan_is_counted_after_a_jump_as_before_it() {
    for cluster in family() {
        for jump in JUMPS {
            let mut sim = four(&cluster);
            let second = |number| config::Endpoint { priority: 1, ..endpoint(number) };
            sim.balancer.upsert(vec![second(3), second(4)]);
            let set_available = |sim: &Sim, available: bool| {
                for endpoint in sim.balancer.endpoints() {
                    if let Some(extra) = endpoint.extra()
                        && number_of(&endpoint) <= 2
                    {
                        extra.available.store(available, Relaxed);
                    }
                }
                keep(sim);
            };
            let first = |sim: &mut Sim| {
                sim.forget();
                sim.open(400, MILLI, healthy);
                sim.count(1) + sim.count(2)
            };
            let what = format!("{jump:?} {}", named(&cluster));
            assert_eq!(first(&mut sim), 400, "{what}");
            set_available(&sim, false);
            assert_eq!(first(&mut sim), 0, "the second priority takes over: {what}");
            sim.pass(SECOND);
            jump.make(&mut sim);
            assert_eq!(first(&mut sim), 0, "the jump changes nothing: {what}");
            set_available(&sim, true);
            assert_eq!(first(&mut sim), 400, "the first one is well again: {what}");
        }
    }
}

#[test]
fn a_hash_belongs_to_the_same_endpoint_after_a_jump() {
    let of_hashes = |sim: &Sim| -> Vec<u16> {
        let of_hash = |hash: u64| {
            let ask = Ask::any(sim.now, &sim.random, &[]).hashed(Some(hash));
            let flight = sim.balancer.pick(ask).unwrap();
            let number = number_of(flight.endpoint());
            flight.finish(sim.now, Outcome::Success);
            number
        };
        (0..400_u64).map(|hash| of_hash(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
    };
    let hashes = |cluster: &Cluster| {
        matches!(
            cluster.balancer,
            Some(config::Balancer::RingHash(_) | config::Balancer::Maglev(_))
        )
    };
    for cluster in family().into_iter().filter(hashes) {
        for jump in JUMPS {
            let mut sim = four(&cluster);
            let before = of_hashes(&sim);
            jump.make(&mut sim);
            assert_eq!(of_hashes(&sim), before, "{jump:?} {}", named(&cluster));
        }
    }
}

#[cfg(feature = "orca")]
#[test]
fn reports_of_before_a_jump_are_forgotten_or_replaced_and_hold_nobody_out() {
    let signal = |in_flight| Some(crate::balance::report::Signal { in_flight, latency: 1_000 });
    for jump in JUMPS {
        for count in [3, 8] {
            let mut sim = Sim::of(&prequal(), count);
            sim.pass(2 * HOUR);
            let known = |sim: &Sim| {
                let view = sim.balancer.read();
                view.policy.reports(sim.now, usize::from(count)).len()
            };
            signalled(&mut sim, 400, |number| signal(if number == 1 { 0 } else { 20 }));
            assert!(known(&sim) > 1, "{}", known(&sim));
            jump.make(&mut sim);
            assert_eq!(known(&sim) == 0, jump == Jump::Ahead, "{jump:?}: {}", known(&sim));
            // What is told from now on counts, and it is another one that is busy.
            let told = |number: u16| signal(if number == 1 { 20 } else { 0 });
            signalled(&mut sim, 100, told);
            sim.forget();
            signalled(&mut sim, 1_000, told);
            assert!(sim.share(1) < 0.1, "{jump:?} {count}: {:?}", sim.picked);
            sim.pass(HOUR + SECOND);
            sim.forget();
            signalled(&mut sim, 4_000, told);
            let what = format!("an hour later, {jump:?} {count}: {:?}", sim.picked);
            assert!(sim.share(1) < 0.1, "{what}");
            assert!((1..=count).all(|number| sim.count(number) > 0), "{what}");
            // They say nothing any more.
            jump.make(&mut sim);
            sim.forget();
            signalled(&mut sim, 4_000, |_| None);
            let what = format!("{jump:?} {count}, in silence: {:?}", sim.picked);
            let even = 1.0 / f64::from(count);
            assert!((1..=count).all(|number| sim.share(number) > even / 2.0), "{what}");
        }
    }
}

#[cfg(feature = "orca")]
#[test]
fn weights_of_before_a_jump_expire_or_stay_until_the_clock_is_where_it_was() {
    let told = |number: u16| Some(report(100.0, if number == 1 { 0.25 } else { 0.5 }));
    for jump in JUMPS {
        let mut sim = Sim::of(&weighted(), 3);
        sim.pass(2 * HOUR);
        let met = |sim: &mut Sim, is_told: bool| {
            sim.forget();
            reported(sim, 3 * SECOND, |number| is_told.then(|| told(number)).flatten());
            sim.share(1)
        };
        reported(&mut sim, 12 * SECOND, told);
        let share = met(&mut sim, true);
        assert!((share - 0.5).abs() < 0.02, "{jump:?}: {share}");
        jump.make(&mut sim);
        let share = met(&mut sim, false);
        let wanted = if jump == Jump::Ahead { 1.0 / 3.0 } else { 0.5 };
        assert!((share - wanted).abs() < 0.02, "after the jump, {jump:?}: {share}");
        sim.pass(HOUR);
        reported(&mut sim, 14 * SECOND, told);
        let share = met(&mut sim, true);
        assert!((share - 0.5).abs() < 0.02, "an hour later, {jump:?}: {share}");
    }
}
