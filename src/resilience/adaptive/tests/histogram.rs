//! Latencies by size.

use proptest::prelude::*;

use super::super::histogram::{Histogram, PLACES, middle, place};

#[test]
fn percentiles_are_taken_once() {
    let histogram = Histogram::new();
    for micros in 1..=1000 {
        histogram.record(micros);
    }
    let median = histogram.take(50.0).unwrap();
    assert!((median - 500.0).abs() < 35.0, "{median}");
    assert_eq!(histogram.take(50.0), None);
}

proptest! {
    #[test]
    fn a_latency_is_told_within_seven_percent(micros in 1..u64::from(u32::MAX)) {
        let told = middle(place(micros));
        prop_assert!((told - micros as f64).abs() <= micros as f64 * 0.07, "{told}");
    }

    #[test]
    fn no_latency_is_without_a_place(micros in any::<u64>()) {
        prop_assert!(place(micros) < PLACES);
    }
}
