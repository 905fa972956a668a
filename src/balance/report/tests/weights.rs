//! Weights. Vectors of gRFC A58, A114, and of `static_stride_scheduler_test.cc` (gRPC C-core).

use proptest::prelude::*;

use super::super::{
    Entry, Metric, Report, Rules, Scale,
    Unusable::{NotYet, Stale},
    Weight,
};

const SECOND: u64 = 1_000_000_000;

fn rules() -> Rules {
    Rules { blackout: 10 * SECOND, expiration: 180 * SECOND, penalty: 1.0, metrics: Vec::new() }
}

fn report(qps: f64, eps: f64, application: f64, cpu: f64) -> Report {
    Report {
        rps_fractional: qps,
        eps,
        application_utilization: application,
        cpu_utilization: cpu,
        ..Report::default()
    }
}

#[test]
fn weight_is_qps_over_utilization_and_errors() {
    let weight = |qps, eps, application, cpu| rules().weight(&report(qps, eps, application, cpu));
    assert_eq!(weight(100.0, 0.0, 0.5, 0.0), Some(200.0));
    // The application's own word comes before the processor's.
    assert_eq!(weight(100.0, 0.0, 0.25, 0.9), Some(400.0));
    assert_eq!(weight(100.0, 0.0, 0.0, 0.5), Some(200.0));
    // 50 of 100 fail: 0.5 + 0.5 · 1.
    assert_eq!(weight(100.0, 50.0, 0.5, 0.0), Some(100.0));
    let harsh = Rules { penalty: 3.0, ..rules() };
    assert_eq!(harsh.weight(&report(100.0, 50.0, 0.5, 0.0)), Some(50.0));
    let lenient = Rules { penalty: 0.0, ..rules() };
    assert_eq!(lenient.weight(&report(100.0, 50.0, 0.5, 0.0)), Some(200.0));
    // Without one of the two there is no weight.
    assert_eq!(weight(0.0, 0.0, 0.5, 0.5), None);
    assert_eq!(weight(100.0, 5.0, 0.0, 0.0), None);
    // The old field says the same.
    let old = Report { rps: 100, cpu_utilization: 0.5, ..Report::default() };
    assert_eq!(rules().weight(&old), Some(200.0));
}

#[test]
fn named_metrics_stand_for_utilization() {
    let metrics = ["named_metrics.queue", "mem_utilization", "utilization.gpu"];
    let metrics = metrics.iter().map(|name| Metric::parse(name).unwrap()).collect();
    let rules = Rules { metrics, ..rules() };
    let base = || Report {
        rps_fractional: 100.0,
        cpu_utilization: 0.1,
        mem_utilization: 0.25,
        ..Report::default()
    };
    assert_eq!(rules.weight(&base()), Some(400.0));
    let queued = || Report { named_metrics: vec![Entry::new("queue", 0.5)], ..base() };
    assert_eq!(rules.weight(&queued()), Some(200.0));
    let gpu = Report { utilization: vec![Entry::new("gpu", 0.8)], ..queued() };
    assert_eq!(rules.weight(&gpu), Some(125.0));
    let application = Report { application_utilization: 0.2, ..queued() };
    assert_eq!(rules.weight(&application), Some(500.0));
    // None of them, or absurd ones: the processor.
    let bad = |value| Report {
        named_metrics: vec![Entry::new("queue", value)],
        mem_utilization: 0.0,
        ..base()
    };
    for value in [f64::NAN, f64::INFINITY, -0.5, 0.0] {
        assert_eq!(rules.weight(&bad(value)), Some(1000.0), "{value}");
    }
    for name in ["queue", "named_metrics.", "rps_fractional", "eps", "", "other.x"] {
        assert_eq!(Metric::parse(name), None, "{name}");
    }
}

#[test]
fn absurd_reports_give_no_weight_or_a_bounded_one() {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 5e-324, 1e300, f64::MAX];
    for qps in values {
        for eps in values {
            for utilization in values {
                let weight = rules().weight(&report(qps, eps, utilization, utilization));
                let bad = |value: f64| !value.is_finite() || value <= 0.0;
                assert_eq!(weight.is_none(), bad(qps) || bad(utilization), "{qps} {utilization}");
                if let Some(weight) = weight {
                    assert!((1e-30..=1e30).contains(&weight), "{weight}");
                }
            }
        }
    }
}

#[test]
fn blackout_and_expiration() {
    let (weight, rules) = (Weight::default(), rules());
    let start = 5 * SECOND;
    assert_eq!(weight.get(start, &rules), Err(NotYet));
    weight.report(start, 7.0);
    assert_eq!(weight.get(start, &rules), Err(NotYet));
    weight.report(14 * SECOND, 8.0);
    assert_eq!(weight.get(15 * SECOND - 1, &rules), Err(NotYet));
    assert_eq!(weight.get(15 * SECOND, &rules), Ok(8.0));
    let end = 194 * SECOND;
    assert_eq!(weight.get(end - 1, &rules), Ok(8.0));
    assert_eq!(weight.get(end, &rules), Err(Stale));
    // Once expired it is new again, and the blackout holds.
    weight.report(200 * SECOND, 9.0);
    assert_eq!(weight.get(200 * SECOND, &rules), Err(NotYet));
    assert_eq!(weight.get(210 * SECOND, &rules), Ok(9.0));
    let eager = Rules { blackout: 0, ..rules };
    let weight = Weight::default();
    weight.report(start, 1.0);
    assert_eq!(weight.get(start, &eager), Ok(1.0));
    // A clock that went back: a report from later counts.
    assert_eq!(weight.get(start - SECOND, &eager), Ok(1.0));
}

#[test]
fn who_has_no_weight_says_why() {
    let (weight, rules) = (Weight::default(), rules());
    // However long it has said nothing.
    assert_eq!(weight.get(3_600 * SECOND, &rules), Err(NotYet));
    weight.report(0, 7.0);
    for now in [180, 181, 3_600] {
        assert_eq!(weight.get(now * SECOND, &rules), Err(Stale), "each time, after {now} s");
    }
    weight.report(3_600 * SECOND, 8.0);
    assert_eq!(weight.get(3_600 * SECOND, &rules), Err(NotYet));
    // Connected to again: its next report is the first, and what it has told grows old all the same.
    weight.forget();
    assert_eq!(weight.get(3_779 * SECOND, &rules), Err(NotYet));
    assert_eq!(weight.get(3_780 * SECOND, &rules), Err(Stale));
}

/// So many picks in turn, as `in_turn` of the picks makes them.
fn picks(weights: &[f64], count: usize) -> Vec<usize> {
    let known = |weight: f64| (weight > 0.0).then_some(weight);
    let scale = Scale::of(weights.iter().copied().filter_map(known));
    let turns: Vec<u16> = weights
        .iter()
        .map(|weight| scale.map_or(u16::MAX, |scale| scale.turns(known(*weight))))
        .collect();
    let (len, mut picks, mut at) = (turns.len() as u64, vec![0; turns.len()], 0);
    let largest = turns.iter().copied().max().unwrap();
    let unit = (u64::MAX / u64::from(largest)).wrapping_add(1);
    for _ in 0..count {
        loop {
            let (round, place) = (at / len, at % len);
            at += 1;
            let weight = turns[place as usize];
            let stride = u64::from(weight).wrapping_mul(unit);
            let step = stride.wrapping_mul(round).wrapping_add(place.wrapping_mul(u64::MAX / 2));
            if weight == largest || step.checked_add(stride).is_none() {
                picks[place as usize] += 1;
                break;
            }
        }
    }
    picks
}

#[test]
fn fewer_than_two_weights_are_none() {
    assert_eq!(Scale::of([]), None);
    assert_eq!(Scale::of([1.0]), None);
    assert_eq!(picks(&[1.0], 5), [5]);
    assert_eq!(picks(&[0.0; 4], 8), [2; 4]);
    // gRFC A58, where C-core has `{3, 0, 1}` and nothing for one weight alone.
    assert_eq!(picks(&[9.0, 0.0, 0.0], 9), [3; 3]);
}

#[test]
fn c_cores_shares() {
    assert_eq!(picks(&[1.0, 2.0, 3.0], 6), [1, 2, 3]);
    assert_eq!(picks(&[3.0, 0.0, 1.0], 6), [3, 2, 1]);
    assert_eq!(picks(&[300.0, 300.0, 0.0], 3000), [1000; 3]);
    // The largest is picked in every round.
    assert_eq!(picks(&[1.0, 2.0, 3.0], 65_535 * 2)[2], 65_535);
}

#[test]
fn the_largest_is_held_to_ten_times_the_mean() {
    let mut weights = [1.0; 20];
    weights[0] = 81.0;
    let mut expected = [1; 20];
    expected[0] = 50;
    assert_eq!(picks(&weights, 69), expected);
}

#[test]
fn the_least_is_held_to_a_hundredth_of_the_mean() {
    assert_eq!(picks(&[100.0, 1e-10], 201), [200, 1]);
}

proptest! {
    #[test]
    fn shares_follow_weights(weights in prop::collection::vec(1.0..9.0_f64, 2..20)) {
        let sum: f64 = weights.iter().sum();
        let count = 20_000;
        let picks = picks(&weights, count);
        for (weight, picks) in weights.iter().zip(&picks) {
            let share = *picks as f64 / count as f64;
            prop_assert!((share - weight / sum).abs() < 0.01, "{} of {}", share, weight / sum);
        }
    }

    #[test]
    fn no_weights_break_a_turn(weights in prop::collection::vec(1e-30..1e30_f64, 2..30)) {
        let scale = Scale::of(weights.iter().copied()).unwrap();
        prop_assert!(scale.mean >= 1);
        let turns: Vec<u16> = weights.iter().map(|weight| scale.turns(Some(*weight))).collect();
        prop_assert!(turns.iter().all(|turns| *turns >= 1));
        prop_assert_eq!(turns.iter().copied().max(), Some(u16::MAX));
    }
}
