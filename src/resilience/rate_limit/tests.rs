use proptest::prelude::*;

use super::bucket::{Bucket, Rate, Taken};

const SECOND: u64 = 1_000_000_000;

/// A bucket of exact fractions: the level times `interval`, in tokens.
struct Model {
    max: u128,
    per_fill: u128,
    interval: u128,
    level: u128,
    at: u64,
}

impl Model {
    fn new(max: u32, per_fill: u32, interval: u64) -> Self {
        let (max, interval) = (u128::from(max), u128::from(interval));
        Self { max, per_fill: u128::from(per_fill), interval, level: max * interval, at: 0 }
    }

    fn take(&mut self, hits: u64, now: u64) -> bool {
        let earned = u128::from(now - self.at) * self.per_fill;
        self.level = (self.level + earned).min(self.max * self.interval);
        self.at = now;
        let need = u128::from(hits) * self.interval;
        let enough = need <= self.level;
        self.level -= if enough { need } else { 0 };
        enough
    }

    fn tokens(&self) -> u64 {
        u64::try_from(self.level / self.interval).unwrap()
    }
}

fn drain(bucket: &Bucket, rate: Rate, now: u64) -> u64 {
    (0..).take_while(|_| bucket.take(rate, 1, now) == Taken::Yes).count() as u64
}

#[test]
fn a_bucket_begins_full_and_fills_evenly() {
    //= Envoy's example: max_tokens 10, tokens_per_fill 5, fill_interval 1 s
    let (bucket, rate) = (Bucket::new(), Rate::new(10, 5, SECOND));
    assert_eq!(drain(&bucket, rate, 0), 10);
    assert_eq!(bucket.take(rate, 1, 0), Taken::No(Some(SECOND / 5)));
    assert_eq!(bucket.take(rate, 1, SECOND / 5 - 1), Taken::No(Some(1)));
    assert_eq!(drain(&bucket, rate, SECOND / 5), 1);
    assert_eq!(drain(&bucket, rate, SECOND), 4);
    assert_eq!(drain(&bucket, rate, 60 * SECOND), 10, "never more than it holds");
}

#[test]
fn several_tokens_are_taken_or_none() {
    let (bucket, rate) = (Bucket::new(), Rate::new(10, 1, SECOND));
    assert_eq!(bucket.take(rate, 8, 0), Taken::Yes);
    assert_eq!(bucket.take(rate, 3, 0), Taken::No(Some(SECOND)));
    assert_eq!(bucket.tokens(rate, 0), 2);
    assert_eq!(bucket.take(rate, 11, 0), Taken::No(None), "more than it ever holds");
    assert_eq!(bucket.take(rate, u64::MAX, 0), Taken::No(None));
    assert_eq!(bucket.take(rate, 0, 0), Taken::Yes);
}

#[test]
fn a_third_of_a_second_does_not_drift() {
    let (bucket, rate) = (Bucket::new(), Rate::new(10, 3, SECOND));
    drain(&bucket, rate, 0);
    let mut granted = 0;
    // Asked at each nanosecond at which a token comes, for a thousand seconds.
    for token in 1..=3_000_u64 {
        let due = (token * SECOND).div_ceil(3);
        granted += u64::from(bucket.take(rate, 1, due) == Taken::Yes);
    }
    assert_eq!(granted, 3_000);
}

#[test]
fn a_rate_that_is_rounded_is_never_faster() {
    // A token takes 15,999.952 sixteenths of a nanosecond.
    let (bucket, rate) = (Bucket::new(), Rate::new(u32::MAX, 1_000_003, SECOND));
    assert_eq!(bucket.take(rate, u64::from(u32::MAX), 0), Taken::Yes);
    let (there, earned) = (bucket.tokens(rate, 1_000 * SECOND), 1_000_003_000);
    assert!(there <= earned && there > earned - earned / 100_000, "{there} of {earned}");
}

#[test]
fn extremes_neither_panic_nor_grant_too_much() {
    for (max, per_fill, interval) in
        [(u32::MAX, u32::MAX, 1), (u32::MAX, 1, u64::MAX), (1, u32::MAX, u64::MAX), (1, 0, 0)]
    {
        let (bucket, rate) = (Bucket::new(), Rate::new(max, per_fill, interval));
        for now in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX, 0] {
            let _taken = bucket.take(rate, 1, now);
            assert!(bucket.tokens(rate, now) <= u64::from(max));
        }
    }
}

#[test]
fn only_a_full_bucket_is_given_up_and_then_it_says_so() {
    let (bucket, rate) = (Bucket::new(), Rate::new(2, 1, SECOND));
    assert_eq!(bucket.take(rate, 1, 0), Taken::Yes);
    assert!(!bucket.retire(rate, SECOND - 1));
    assert!(bucket.retire(rate, SECOND));
    assert!(!bucket.retire(rate, 2 * SECOND));
    assert_eq!(bucket.take(rate, 1, 2 * SECOND), Taken::Gone);
    assert_eq!(bucket.take(rate, 9, 2 * SECOND), Taken::Gone);
}

#[test]
fn threads_share_exactly_what_there_is() {
    let (bucket, rate) = (Bucket::new(), Rate::new(1_000, 1, 3_600 * SECOND));
    let granted: u64 = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(|| drain(&bucket, rate, 0)));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted, 1_000);
}

proptest! {
    #[test]
    fn it_agrees_with_exact_fractions(
        max in 1..1_000_u32,
        per_fill in 1..=16_u32,
        interval in 50_000_000..10 * SECOND,
        steps in proptest::collection::vec((0..SECOND, 0..5_u64), 1..200),
    ) {
        let (bucket, rate) = (Bucket::new(), Rate::new(max, per_fill, interval));
        let mut model = Model::new(max, per_fill, interval);
        let mut now = 0;
        for (step, hits) in steps {
            now += step;
            prop_assert_eq!(bucket.take(rate, hits, now) == Taken::Yes, model.take(hits, now));
            prop_assert_eq!(bucket.tokens(rate, now), model.tokens());
        }
    }

    #[test]
    fn it_never_grants_more_than_exact_fractions_would(
        max in 1..100_000_u32,
        per_fill in 1..u32::MAX,
        interval in 1..100 * SECOND,
        steps in proptest::collection::vec((0..SECOND, 0..5_u64), 1..100),
    ) {
        let (bucket, rate) = (Bucket::new(), Rate::new(max, per_fill, interval));
        let (mut now, mut granted) = (0, 0_u64);
        for (step, hits) in steps {
            now += step;
            granted += if bucket.take(rate, hits, now) == Taken::Yes { hits } else { 0 };
            let earned = u128::from(now) * u128::from(per_fill) / u128::from(interval);
            prop_assert!(u128::from(granted) <= u128::from(max) + earned);
        }
    }

    #[test]
    fn a_token_is_there_after_the_wait_that_is_told_and_not_before(
        max in 1..100_u32,
        per_fill in 1..1_000_000_u32,
        interval in 50_000_000..100 * SECOND,
        hits in 1..100_u64,
    ) {
        let (bucket, rate) = (Bucket::new(), Rate::new(max, per_fill, interval));
        let now = 7;
        drain(&bucket, rate, now);
        match bucket.take(rate, hits, now) {
            Taken::Yes | Taken::Gone => prop_assert!(false),
            Taken::No(None) => prop_assert!(hits > u64::from(max)),
            Taken::No(Some(wait)) => {
                prop_assert!(wait > 0);
                prop_assert_ne!(bucket.take(rate, hits, now + wait - 1), Taken::Yes);
                prop_assert_eq!(bucket.take(rate, hits, now + wait), Taken::Yes);
            }
        }
    }
}
