//! So many ready endpoints stay, whatever fails.

use proptest::prelude::*;

use super::*;
use crate::{balance::health::Checked, config::Health};

#[test]
fn some_come_back_when_others_leave() {
    let rules = OutlierDetection { min_ready_endpoints: Some(2), ..outliers() };
    let mut sim = watched(&config::Balancer::RoundRobin, 6, &rules);
    sim.closed(200, 60, |n| (MILLI, if n <= 4 { Outcome::Failure } else { Outcome::Success }));
    sim.pass(SECOND);
    assert_eq!(sim.balancer.health.ejected(), 4);
    sim.balancer.remove(&[address(6)]);
    assert_eq!(sim.balancer.health.ejected(), 3);
    // One that drains is not ready either.
    let draining = config::Endpoint { health: Health::Draining, ..endpoint(5) };
    sim.balancer.upsert(vec![draining]);
    assert_eq!(sim.balancer.health.ejected(), 2);
    let returned = (1..=4).flat_map(|n| told(&sim, n)).filter(|it| it == "returned: floor");
    assert_eq!(returned.count(), 2);
}

/// Four endpoints, two of which stay ready, and whose checks have passed; and who checks them.
fn two_of_four() -> (Sim, u64) {
    let rules =
        OutlierDetection { consecutive_5xx: Some(2), min_ready_endpoints: Some(2), ..outliers() };
    let mut sim = watched(&config::Balancer::RoundRobin, 4, &rules);
    let by = sim.balancer.begin_checks();
    let endpoints = sim.balancer.endpoints();
    sim.balancer.set_checked(by, endpoints.iter().map(|it| (it, Checked::Fit)), sim.now);
    sim.open(40, MILLI, healthy);
    sim.pass(SECOND);
    (sim, by)
}

fn check(sim: &Sim, by: u64, number: u16, checked: Checked) {
    let all = sim.balancer.endpoints();
    let found = all.iter().find(|it| number_of(it) == number).unwrap();
    sim.balancer.set_checked(by, [(found, checked)], sim.now);
}

/// So many calls, which fail at these endpoints.
fn fail_at(sim: &Sim, numbers: &[u16]) {
    for _ in 0..40 {
        let flight = sim.pick().unwrap();
        let fails = numbers.contains(&number_of(flight.endpoint()));
        flight.finish(sim.now, if fails { Outcome::Failure } else { Outcome::Success });
    }
}

#[test]
fn those_whose_checks_fail_are_not_among_the_ready_ones_that_stay() {
    for (ill, out) in [(&[3, 4][..], 0), (&[3], 1), (&[], 2)] {
        let (sim, by) = two_of_four();
        ill.iter().for_each(|number| check(&sim, by, *number, Checked::Unfit));
        fail_at(&sim, &[1, 2]);
        assert_eq!(sim.balancer.health.ejected(), out, "{ill:?}");
    }
}

#[test]
fn those_in_back_off_are_not_among_the_ready_ones_that_stay() {
    for (away, out) in [(&[3, 4][..], 0), (&[3], 1), (&[], 2)] {
        let (sim, _) = two_of_four();
        away.iter().for_each(|number| sim.set_available(*number, false));
        fail_at(&sim, &[1, 2]);
        assert_eq!(sim.balancer.health.ejected(), out, "{away:?}");
    }
}

#[test]
fn one_that_is_about_to_be_ejected_is_not_missed_twice() {
    let (sim, _) = two_of_four();
    let calls: Vec<_> = (0..40).map(|_| sim.pick().unwrap()).collect();
    sim.set_available(1, false);
    for flight in calls {
        let fails = number_of(flight.endpoint()) <= 2;
        flight.finish(sim.now, if fails { Outcome::Failure } else { Outcome::Success });
    }
    assert_eq!(sim.balancer.health.ejected(), 2, "3 and 4 are ready");
}

#[test]
fn who_is_out_comes_back_when_the_checks_take_out_too_many_of_the_others() {
    let (sim, by) = two_of_four();
    fail_at(&sim, &[1, 2]);
    assert_eq!(sim.balancer.health.ejected(), 2);
    check(&sim, by, 3, Checked::Unfit);
    assert_eq!(sim.balancer.health.ejected(), 1);
    let back = [1, 2].map(|number| told(&sim, number).pop().unwrap());
    assert!(back.contains(&"returned: floor".to_owned()), "{back:?}");
}

proptest! {
    /// Whatever happens, so many are ready as the floor asks for, if so many are there.
    #[test]
    fn the_floor_is_kept_whatever_happens(
        seed in any::<u64>(),
        steps in prop::collection::vec((0..9_u8, 1..30_u16), 1..120),
        min_ready in 0..6_u32,
        percent in 0..=100_u32,
    ) {
        let rules = OutlierDetection {
            consecutive_5xx: Some(2),
            max_ejection_percent: Some(percent.into()),
            min_ready_endpoints: Some(min_ready),
            ..OutlierDetection::default()
        };
        let mut sim = watched(&config::Balancer::Random, 10, &rules);
        sim.random = Random::seeded(seed);
        let by = sim.balancer.begin_checks();
        let checked = |sim: &Sim, number: u16, checked: Checked| {
            for endpoint in sim.balancer.endpoints() {
                if number_of(&endpoint) % 30 == number || number == 0 {
                    sim.balancer.set_checked(by, [(&endpoint, checked)], sim.now);
                }
            }
        };
        checked(&sim, 0, Checked::Fit);
        for (step, value) in steps {
            let out_before = sim.balancer.health.ejected();
            match step {
                0 => sim.balancer.replace((1..=value).map(endpoint).collect()).added,
                1 => sim.balancer.remove(&[address(value)]).removed,
                2 => {
                    let health = Health::Draining;
                    sim.balancer.upsert(vec![config::Endpoint { health, ..endpoint(value) }]).added
                }
                3 => {
                    sim.now += u64::from(value) * 3 * SECOND;
                    0
                }
                6 => {
                    checked(&sim, value, Checked::Unfit);
                    0
                }
                7 => {
                    checked(&sim, value % 2 * value, Checked::Fit);
                    0
                }
                8 => {
                    for endpoint in sim.balancer.endpoints() {
                        if let Some(extra) = endpoint.extra() {
                            let is_out = number_of(&endpoint).is_multiple_of(value);
                            extra.available.store(!is_out || value == 1, Relaxed);
                        }
                    }
                    0
                }
                _ => {
                    for _ in 0..value {
                        let Ok(flight) = sim.pick() else { continue };
                        let bad = !number_of(flight.endpoint()).is_multiple_of(4) && step == 4;
                        let outcome = if bad { Outcome::Failure } else { Outcome::Success };
                        flight.finish(sim.now, outcome);
                    }
                    0
                }
            };
            let view = sim.balancer.read();
            let (mut out, mut ready, mut reached) = (0_u32, 0_u32, 0_u32);
            for endpoint in view.all.set.iter() {
                let state = endpoint.live().map(|live| &live.load.state);
                let ejected = state.is_some_and(|state| state.is_ejected());
                let checked = state.is_some_and(|it| !it.is_unfit() && !it.is_unchecked());
                let drains = endpoint.spec().health() == Health::Draining;
                let is_ready = !ejected && !drains && checked;
                out += u32::from(ejected);
                ready += u32::from(is_ready);
                reached += u32::from(is_ready && endpoint.extra().unwrap().available(sim.now));
            }
            prop_assert_eq!(out, sim.balancer.health.ejected());
            prop_assert!(out == 0 || ready >= min_ready, "{} ready, {} out", ready, out);
            // A back-off brings nobody back that is out, but who is in back-off is no reason to eject.
            let fewer = out <= out_before || reached >= min_ready;
            prop_assert!(fewer, "{} of {} reached, {} out", reached, ready, out);
            let all = view.all.set.len() as u32;
            prop_assert!(out <= 1 || 100 * out <= percent * all, "{} of {} out", out, all);
        }
    }
}
