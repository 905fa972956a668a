//! Rates and latencies.

use proptest::prelude::*;

use super::super::{latency::Latency, rate::Rate};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

#[test]
fn rates_are_those_of_the_last_ten_seconds() {
    let rate = Rate::default();
    assert!(rate.per_second(5 * SECOND) < f64::EPSILON);
    for step in 0..2_000 {
        rate.count(step * 10 * MILLI);
    }
    // 100 per second for 20 s.
    let now = 20 * SECOND - 1;
    assert!((rate.per_second(now) - 100.0).abs() < 1.0, "{}", rate.per_second(now));
    // Five seconds of nothing.
    let later = rate.per_second(now + 5 * SECOND);
    assert!((later - 50.0).abs() < 6.0, "{later}");
    assert!(rate.per_second(now + 11 * SECOND) < f64::EPSILON);
    // A young server divides by its age.
    let rate = Rate::default();
    for step in 0..100 {
        rate.count(step * 10 * MILLI);
    }
    assert!((rate.per_second(SECOND - 1) - 100.0).abs() < 1.0);
}

#[test]
fn the_latency_is_the_median_of_the_calls_in_a_like_situation() {
    let latency = Latency::new(SECOND);
    assert_eq!(latency.estimate(), None);
    let mut now = SECOND;
    for step in 0..40 {
        now += 2 * MILLI;
        let (met, took) = if step % 2 == 0 { (1, 10 * MILLI) } else { (50, 200 * MILLI) };
        latency.record(now, (met, 1), took);
    }
    assert_eq!(latency.estimate(), Some(10_000));
    latency.record(now + 2 * MILLI, (50, 50), 200 * MILLI);
    assert_eq!(latency.estimate(), Some(200_000));
    // What is older than a second is forgotten.
    latency.record(now + 2 * SECOND, (50, 1), 70 * MILLI);
    assert_eq!(latency.estimate(), Some(70_000));
}

proptest! {
    #[test]
    fn any_times_do(steps in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u64>()), 0..300)) {
        let (latency, rate) = (Latency::new(SECOND), Rate::default());
        for (now, met, took) in steps {
            latency.record(now, (met, met / 2), took);
            rate.count(now);
            let per_second = rate.per_second(now);
            prop_assert!(per_second.is_finite() && per_second >= 0.0);
        }
        prop_assert!(latency.estimate() != Some(0));
    }
}
