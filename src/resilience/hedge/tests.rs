//! What the window of latencies says.

use proptest::prelude::*;

use super::recent::{BUCKETS, LEAST, PARTS, REFRESH, Recent, UNIT, bound, bucket};

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

fn recent(share: f64) -> Box<Recent> {
    Box::new(Recent::new(share, 3 * SECOND))
}

#[test]
fn of_a_hundred_latencies_one_is_above_the_99th() {
    let recent = recent(0.01);
    for n in 1..=100 {
        recent.record(n, n * MILLI);
    }
    let wait = recent.wait(SECOND).unwrap();
    assert!((98 * MILLI..=100 * MILLI).contains(&wait), "{wait}");
}

#[test]
fn nothing_is_said_before_enough_is_known() {
    let recent = recent(0.01);
    for n in 0..99 {
        recent.record(n, 5 * MILLI);
    }
    assert_eq!(recent.wait(SECOND), None);
    recent.record(SECOND, 5 * MILLI);
    assert_eq!(recent.wait(SECOND + REFRESH - 1), None, "not looked at again yet");
    assert!(recent.wait(SECOND + REFRESH).is_some());
}

#[test]
fn nobody_waits_less_than_a_millisecond() {
    let recent = recent(0.5);
    for n in 0..1_000 {
        recent.record(n, 1_000);
    }
    assert_eq!(recent.wait(1_000), Some(LEAST));
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let recent = recent(0.1);
    for n in 0..1_000 {
        recent.record(n, 500 * MILLI);
    }
    assert!(recent.wait(1).unwrap() >= 500 * MILLI);
    for n in 0..1_000 {
        recent.record(20 * SECOND + n, 2 * MILLI);
    }
    assert!(recent.wait(25 * SECOND).unwrap() >= 500 * MILLI, "half of the window");
    assert!(recent.wait(31 * SECOND).unwrap() < 3 * MILLI, "the first half has passed");
    assert_eq!(recent.wait(60 * SECOND), None);
    assert_eq!(recent.count(), 0);
}

#[test]
fn a_latency_beyond_all_bounds_is_the_longest() {
    let recent = recent(0.0);
    for n in 0..100 {
        recent.record(n, u64::MAX);
    }
    assert_eq!(recent.wait(1_000), Some(bound(BUCKETS - 1)));
}

proptest! {
    #[test]
    fn a_bucket_holds_its_latencies_and_is_narrow(nanos in LEAST..131_072_000_000) {
        let bound = bound(bucket(nanos));
        prop_assert!(nanos < bound, "{nanos} in a bucket up to {bound}");
        prop_assert!(bound - nanos <= nanos / PARTS + UNIT);
    }

    #[test]
    fn buckets_are_in_order(a in any::<u64>(), b in any::<u64>()) {
        prop_assert_eq!(a.min(b), if bucket(a) <= bucket(b) { a.min(b) } else { a.max(b) });
    }

    #[test]
    fn it_is_the_quantile_to_a_bucket(
        samples in prop::collection::vec(1..10_000_u64, 100..1_000),
        share in 0.0..0.5,
    ) {
        let recent = recent(share);
        let mut samples: Vec<_> = samples.iter().map(|sample| sample * MILLI / 10).collect();
        for (n, sample) in samples.iter().enumerate() {
            recent.record(n as u64, *sample);
        }
        samples.sort_unstable();
        let above = (share * samples.len() as f64) as usize;
        let exact = samples[samples.len() - 1 - above].max(LEAST);
        let wait = recent.wait(10_000).unwrap();
        prop_assert!(bucket(wait).abs_diff(bucket(exact)) <= 1, "{wait} for {exact}");
    }

    #[test]
    fn the_total_is_what_is_in_the_window(
        steps in prop::collection::vec((0..20 * SECOND, 0..SECOND), 1..200),
    ) {
        let recent = recent(0.1);
        let (mut now, mut all) = (0, Vec::new());
        for (pause, latency) in steps {
            now += pause;
            recent.record(now, latency);
            all.push(now / (3 * SECOND));
        }
        let newest = now / (3 * SECOND);
        let live = all.iter().filter(|slot| newest - **slot < 10).count();
        prop_assert_eq!(recent.count(), live as u64);
    }
}
