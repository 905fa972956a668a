//! The arithmetic of outlier detection: Envoy's vectors, and what no vector says.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    Fault, Rules,
    floor::Ejected,
    outlier::{Counts, Origin, Tally, compare, threshold},
    rules::{Floor, Time},
};
use crate::{
    config::{FailurePercentage, OutlierDetection, SuccessRate},
    core::EjectReason,
};

const SECOND: u64 = 1_000_000_000;

fn rules(edit: impl FnOnce(&mut OutlierDetection)) -> Rules {
    let mut config = OutlierDetection::default();
    edit(&mut config);
    Rules::new(&config)
}

/// What a tally tells of these outcomes, one after the other.
fn told(tally: &Tally, rules: &Rules, faults: &[Option<Fault>]) -> Vec<Fault> {
    let mut all = Vec::new();
    for fault in faults {
        tally.count(rules, *fault, |fault| all.push(fault));
    }
    all
}

const SERVER: Option<Fault> = Some(Fault::Server);
const GATEWAY: Option<Fault> = Some(Fault::Gateway);
const LOCAL: Option<Fault> = Some(Fault::LocalOrigin);
const GOOD: Option<Fault> = None;

#[test]
fn the_defaults_are_envoys_with_grpcs_at_least_one() {
    let rules = rules(|_| {});
    assert_eq!(rules.consecutive, [(5, 100), (5, 0), (5, 100)]);
    let time = Time { interval: 10 * SECOND, base: 30 * SECOND, max: 300 * SECOND, jitter: 0 };
    assert_eq!(rules.time, time);
    let floor = Floor { max_percent: 10.0, always_one: true, min_health: 0.0, min_ready: 0 };
    assert_eq!(rules.floor, floor);
    assert!(!rules.split && rules.uneject_on_check && !rules.compares());
    let base = Some(Duration::from_secs(400));
    let long = Rules::new(&OutlierDetection { base_ejection_time: base, ..Default::default() });
    assert_eq!(long.time.max, 400 * SECOND);
}

#[test]
fn who_asks_for_accrual_gets_no_other_detector_beside_it() {
    let rules = rules(|config| config.accrual = Some(Default::default()));
    assert_eq!(rules.consecutive.map(|(limit, _)| limit), [0, 0, 0]);
    assert_eq!(told(&Tally::default(), &rules, &[SERVER; 20]), []);
}

#[test]
fn five_failures_in_a_row_are_told_once() {
    let (tally, rules) = (Tally::default(), rules(|_| {}));
    assert_eq!(told(&tally, &rules, &[SERVER, SERVER, SERVER, SERVER, GOOD]), []);
    assert_eq!(told(&tally, &rules, &[SERVER; 4]), []);
    assert_eq!(told(&tally, &rules, &[SERVER]), [Fault::Server]);
    // Whoever was told starts the row anew.
    tally.reset(Fault::Server);
    assert_eq!(told(&tally, &rules, &[SERVER; 5]), [Fault::Server]);
}

#[test]
fn a_gateways_failure_counts_as_both_and_another_breaks_its_row() {
    let (tally, rules) = (Tally::default(), rules(|config| config.consecutive_5xx = Some(6)));
    assert_eq!(told(&tally, &rules, &[GATEWAY; 5]), [Fault::Gateway]);
    assert_eq!(told(&tally, &rules, &[GATEWAY]), [Fault::Server]);
    let tally = Tally::default();
    let mixed = [GATEWAY, GATEWAY, GATEWAY, GATEWAY, SERVER, GATEWAY];
    assert_eq!(told(&tally, &rules, &mixed), [Fault::Server]);
}

#[test]
fn failures_of_our_own_side_count_as_a_gateways_unless_they_are_split() {
    let plain = rules(|_| {});
    assert_eq!(told(&Tally::default(), &plain, &[LOCAL; 5]), [Fault::Gateway, Fault::Server]);
    let split = rules(|config| config.split_local_origin = Some(true));
    let tally = Tally::default();
    assert_eq!(told(&tally, &split, &[LOCAL, LOCAL, LOCAL, LOCAL]), []);
    // An answer, though a failure, shows that it can be reached.
    assert_eq!(told(&tally, &split, &[SERVER, LOCAL, LOCAL, LOCAL, LOCAL]), []);
    assert_eq!(told(&tally, &split, &[LOCAL]), [Fault::LocalOrigin]);
    // And what is not reached says nothing of its answers.
    assert_eq!(told(&tally, &split, &[SERVER; 4]), [Fault::Server]);
}

#[test]
fn zero_turns_a_row_off() {
    let rules = rules(|config| {
        config.consecutive_5xx = Some(0);
        config.consecutive_gateway_failure = Some(0);
    });
    assert_eq!(told(&Tally::default(), &rules, &[GATEWAY; 100]), []);
}

/// Who is told, with windows of (good, bad).
fn compared(rules: &Rules, windows: &[(u32, u32)]) -> Vec<(usize, EjectReason)> {
    let windows: Vec<_> =
        windows.iter().map(|(good, bad)| Counts { good: *good, all: good + bad }).collect();
    let mut told = Vec::new();
    compare(rules, Origin::External, &windows, |place, reason, _| told.push((place, reason)));
    told
}

fn by_success_rate() -> Rules {
    rules(|config| config.success_rate = Some(SuccessRate::default()))
}

fn by_failure_percentage() -> Rules {
    rules(|config| config.failure_percentage = Some(FailurePercentage::default()))
}

#[test]
fn the_threshold_of_envoys_example() {
    let (mean, threshold) = threshold(&[50.0, 100.0, 100.0, 100.0, 100.0], 1.9);
    assert!((mean - 90.0).abs() < 1e-9 && (threshold - 52.0).abs() < 1e-9);
}

#[test]
fn success_rates_of_envoys_tests() {
    let rules = by_success_rate();
    let all = |last| [(200, 0), (200, 0), (200, 0), (200, 0), last];
    // 50 is below 52.
    assert_eq!(compared(&rules, &all((200, 200))), [(4, EjectReason::SuccessRate)]);
    // 25 and 25 are too few, and with them there are too few endpoints.
    assert_eq!(compared(&rules, &all((25, 25))), []);
    assert_eq!(compared(&rules, &[(200, 0), (200, 0), (200, 0), (0, 200)]), []);
    // 1.65 deviations would be 57.
    let narrow = self::rules(|config| {
        let rate = SuccessRate { stdev_factor: Some(1650), ..Default::default() };
        config.success_rate = Some(rate);
    });
    assert_eq!(compared(&narrow, &all((224, 176))), [(4, EjectReason::SuccessRate)]);
    // All alike: no one is below.
    assert_eq!(compared(&rules, &[(0, 200); 5]), []);
}

#[test]
fn failure_percentages_of_envoys_tests() {
    let rules = by_failure_percentage();
    // 83.3 and 85.7 percent.
    let windows = [(50, 0), (50, 0), (50, 0), (50, 250), (50, 300)];
    assert_eq!(compared(&rules, &windows), [(4, EjectReason::FailurePercentage)]);
    // `>=`: 85 percent exactly are enough, and what is below is not.
    let at = |good| [(50, 0), (50, 0), (50, 0), (50, 0), (good, 100 - good)];
    assert_eq!(compared(&rules, &at(15)), [(4, EjectReason::FailurePercentage)]);
    assert_eq!(compared(&rules, &at(16)), []);
    // 50 calls are enough, and half of them are not.
    assert_eq!(compared(&rules, &[(25, 0), (25, 0), (25, 0), (25, 0), (25, 25)]), []);
    let low = self::rules(|config| {
        let share = FailurePercentage { threshold: Some(40), ..Default::default() };
        config.failure_percentage = Some(share);
    });
    let windows = [(200, 0), (200, 0), (200, 0), (200, 0), (200, 200)];
    assert_eq!(compared(&low, &windows), [(4, EjectReason::FailurePercentage)]);
}

#[test]
fn nothing_to_compare_compares_nothing() {
    let none = rules(|config| {
        let (minimum_hosts, request_volume) = (Some(0), Some(0));
        config.success_rate =
            Some(SuccessRate { minimum_hosts, request_volume, ..Default::default() });
        config.failure_percentage =
            Some(FailurePercentage { minimum_hosts, request_volume, ..Default::default() });
    });
    assert_eq!(compared(&none, &[]), []);
    assert_eq!(compared(&none, &[(0, 0); 5]), []);
}

#[test]
fn an_ejection_lasts_longer_each_time_and_forgets_with_rest() {
    let rules = rules(|_| {});
    let (tally, time) = (Tally::default(), rules.time);
    let eject = |now: u64| tally.ejected(now * SECOND, time, 0) / SECOND;
    assert_eq!(
        (1..=12).map(|_| eject(100)).collect::<Vec<_>>(),
        [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]
    );
    // It counted to eleven: `n · base < max + base` holds no longer.
    assert_eq!(time.next(11), 11);
    tally.returned(1_000 * SECOND);
    // Nine intervals later: 11 - 9 + 1.
    let eject = |now: u64| tally.ejected(now * SECOND, time, 0) / SECOND;
    assert_eq!(eject(1_090), 90);
    tally.returned(2_000 * SECOND);
    let eject = |now: u64| tally.ejected(now * SECOND, time, 0) / SECOND;
    assert_eq!(eject(2_009), 120);
    tally.returned(3_000 * SECOND);
    assert_eq!(tally.ejected(9_000 * SECOND, time, 0) / SECOND, 30);
}

#[test]
fn jitter_is_added_to_the_longest_time_too() {
    let jitter = 5 * SECOND;
    let time = Time { interval: SECOND, base: 30 * SECOND, max: 300 * SECOND, jitter };
    assert_eq!(time.of(1, jitter), 35 * SECOND);
    assert_eq!(time.of(1, jitter + 1), 30 * SECOND);
    assert_eq!(time.of(99, jitter), 305 * SECOND);
}

/// How many of so many go out, one after the other.
fn out_of(all: usize, unready: usize, edit: impl FnOnce(&mut OutlierDetection)) -> u32 {
    let floor = rules(edit).floor;
    let ejected = Ejected::default();
    ejected.set_members(all);
    let unready = u32::try_from(unready).unwrap();
    while ejected.count() < 1_000 && ejected.claim(&floor, || unready) {}
    ejected.count()
}

#[test]
fn the_limit_is_envoys_and_below_ten_endpoints_one() {
    let envoys = |config: &mut OutlierDetection| config.always_eject_one = Some(false);
    for (all, envoy, ours) in [(1, 0, 1), (3, 0, 1), (9, 0, 1), (10, 1, 1), (19, 1, 1), (20, 2, 2)]
    {
        assert_eq!(out_of(all, 0, envoys), envoy, "{all}");
        assert_eq!(out_of(all, 0, |_| {}), ours, "{all}");
    }
    assert_eq!(out_of(10, 0, |config| config.max_ejection_percent = Some(100.0)), 10);
    assert_eq!(out_of(10, 0, |config| config.max_ejection_percent = Some(35.0)), 3);
}

#[test]
fn enough_stay_ready_whatever_else_is_allowed() {
    let all = |config: &mut OutlierDetection| config.max_ejection_percent = Some(100.0);
    let ready = |config: &mut OutlierDetection| {
        all(config);
        config.min_ready_endpoints = Some(4);
    };
    assert_eq!(out_of(10, 0, ready), 6);
    // Those that are not ready anyway are not among them.
    assert_eq!(out_of(10, 3, ready), 3);
    assert_eq!(out_of(4, 0, ready), 0);
    assert_eq!(out_of(2, 0, ready), 0);
    let healthy = |config: &mut OutlierDetection| {
        all(config);
        config.min_health_percent = Some(50.0);
    };
    assert_eq!(out_of(10, 0, healthy), 5);
    assert_eq!(out_of(10, 4, healthy), 1);
    assert_eq!(out_of(10, 6, healthy), 0);
    // Not even the one.
    assert_eq!(out_of(1, 0, healthy), 0);
}

/// Takes what these outcomes make of a window in which so much was counted before.
fn taken(before: Counts, faults: &[Option<Fault>]) -> Counts {
    let tally = Tally::of(before);
    told(&tally, &rules(|config| config.success_rate = Some(Default::default())), faults);
    let window = tally.take(Origin::External);
    assert_eq!(tally.take(Origin::External), Counts::default());
    window
}

#[test]
fn a_window_counts_every_outcome_once_and_keeps_their_share_when_it_is_full() {
    let most = u32::MAX / 2;
    let cases: [((u32, u32), &[Option<Fault>], (u32, u32)); 9] = [
        ((0, 0), &[GOOD, SERVER, GOOD, LOCAL, GOOD], (3, 5)),
        ((7, 9), &[], (7, 9)),
        ((most - 1, most - 1), &[GOOD], (most, most)),
        // Full: half of both is left, and counted on from.
        ((most, most), &[GOOD], (1 << 30, 1 << 30)),
        ((most, most), &[SERVER, SERVER, GOOD], (1 << 30, (1 << 30) + 2)),
        ((1 << 30, most), &[GOOD, SERVER], (1 << 29, (1 << 30) + 1)),
        ((0, most), &[SERVER], (0, 1 << 30)),
        // Fuller than that, for others were counted before anybody halved it.
        ((0, most + 1), &[SERVER], (0, 1 << 30)),
        ((most + 1, most + 1), &[GOOD], (1 << 30, 1 << 30)),
    ];
    for (before, faults, after) in cases {
        let counts = |(good, all)| Counts { good, all };
        assert_eq!(taken(counts(before), faults), counts(after), "{before:?} {faults:?}");
    }
}

/// Absent, or any number: those at the ends more often than chance has them.
fn number() -> impl Strategy<Value = Option<u32>> {
    let ends = prop_oneof![Just(0), Just(1), Just(u32::MAX)];
    prop::option::of(prop_oneof![ends, 0..10_u32, any::<u32>()])
}

#[test]
fn what_is_absent_is_its_default_written_out() {
    let absent = rules(|config| {
        config.success_rate = Some(SuccessRate::default());
        config.failure_percentage = Some(FailurePercentage::default());
    });
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let written = rules(|config| {
        config.interval = seconds(10);
        config.base_ejection_time = seconds(30);
        config.max_ejection_time = seconds(300);
        config.max_ejection_time_jitter = seconds(0);
        config.max_ejection_percent = Some(10.0);
        config.consecutive_5xx = Some(5);
        config.enforcing_consecutive_5xx = Some(100);
        config.consecutive_gateway_failure = Some(5);
        config.enforcing_consecutive_gateway_failure = Some(0);
        config.consecutive_local_origin_failure = Some(5);
        config.enforcing_consecutive_local_origin_failure = Some(100);
        config.success_rate = Some(SuccessRate {
            enforcing: Some(100),
            enforcing_local_origin: Some(100),
            minimum_hosts: Some(5),
            request_volume: Some(100),
            stdev_factor: Some(1900),
            ..Default::default()
        });
        config.failure_percentage = Some(FailurePercentage {
            threshold: Some(85),
            enforcing: Some(0),
            enforcing_local_origin: Some(0),
            minimum_hosts: Some(5),
            request_volume: Some(50),
            ..Default::default()
        });
    });
    assert_eq!(absent, written);
}

proptest! {
    #[test]
    fn extreme_settings_neither_panic_nor_break_the_bounds(
        times in prop::array::uniform4(prop::option::of(any::<u64>())),
        counts in prop::array::uniform10(number()),
        percents in prop::array::uniform2(prop::option::of(prop::num::f64::ANY)),
        windows in prop::collection::vec((any::<u32>(), any::<u32>()), 0..20),
        (now, word) in (any::<u64>(), any::<u64>()),
    ) {
        let time = |nanos: Option<u64>| nanos.map(Duration::from_nanos);
        let rules = Rules::new(&OutlierDetection {
            interval: time(times[0]),
            base_ejection_time: time(times[1]),
            max_ejection_time: time(times[2]),
            max_ejection_time_jitter: time(times[3]),
            consecutive_5xx: counts[0],
            consecutive_gateway_failure: counts[8],
            consecutive_local_origin_failure: counts[9],
            max_ejection_percent: percents[0],
            min_health_percent: percents[1],
            min_ready_endpoints: counts[1],
            success_rate: Some(SuccessRate {
                minimum_hosts: counts[2],
                request_volume: counts[3],
                stdev_factor: counts[4],
                ..Default::default()
            }),
            failure_percentage: Some(FailurePercentage {
                threshold: counts[5],
                minimum_hosts: counts[6],
                request_volume: counts[7],
                ..Default::default()
            }),
            ..Default::default()
        });
        let windows: Vec<_> = windows
            .into_iter()
            .map(|(good, all)| Counts { good: good.min(all), all })
            .collect();
        compare(&rules, Origin::External, &windows, |place, _, percent| {
            assert!(place < windows.len() && percent <= 100);
        });
        let tally = Tally::default();
        for fault in [None, Some(Fault::Server), Some(Fault::Gateway), Some(Fault::LocalOrigin)] {
            // What is asked for once in a row is told at every failure, and at no success.
            let row = fault.map_or(0, |fault| rules.consecutive[fault as usize].0);
            let told = told(&tally, &rules, &[fault]);
            prop_assert!(told.is_empty() || fault.is_some());
            if let (Some(fault @ (Fault::Server | Fault::Gateway)), 1) = (fault, row) {
                prop_assert!(told.contains(&fault), "{told:?}");
            }
        }
        let longest = rules.time.max.saturating_add(rules.time.jitter);
        for at in [now, 0, u64::MAX, now] {
            prop_assert!(tally.ejected(at, rules.time, word) <= longest);
            tally.returned(at);
        }
        let ejected = Ejected::default();
        ejected.set_members(windows.len());
        for _ in 0..windows.len() + 2 {
            ejected.claim(&rules.floor, || 0);
        }
        prop_assert!(ejected.count() as usize <= windows.len().max(1));
    }

    /// However outcomes interleave, more are never out than Envoy's rule and the floor allow.
    #[test]
    fn the_limit_is_what_counting_by_hand_says(
        all in 0..200_usize,
        unready in 0..200_usize,
        percent in 0..=100_u32,
        min_ready in 0..50_u32,
        min_health in 0..=100_u32,
        one in any::<bool>(),
    ) {
        let unready = unready.min(all);
        let out = out_of(all, unready, |config| {
            config.max_ejection_percent = Some(percent.into());
            config.min_ready_endpoints = Some(min_ready);
            config.min_health_percent = Some(min_health.into());
            config.always_eject_one = Some(one);
        }) as usize;
        let allowed = |out: usize| {
            let left = (all - unready).saturating_sub(out);
            (100 * out <= percent as usize * all || one && out == 1)
                && left >= min_ready as usize
                && 100 * left >= min_health as usize * all.max(1)
        };
        prop_assert!(out == 0 || allowed(out));
        prop_assert!(!allowed(out + 1));
    }
}
