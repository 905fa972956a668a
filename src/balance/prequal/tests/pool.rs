//! What is chosen, how long, how often, and what is removed.

use super::{MILLI, Pool, SECOND, Settings, keeping, settings};
use crate::config;

const NOW: u64 = 100 * SECOND;
/// More than a few endpoints, so that the quantile counts.
const MANY: usize = 100;

/// A pool with these reports: whose, in flight, latency.
fn pool(reports: &[(usize, u32, u64)], settings: &Settings) -> Pool {
    let pool = Pool::new(settings.pool_size);
    for (index, (who, in_flight, latency)) in reports.iter().enumerate() {
        pool.offer(NOW + index as u64, (*who, 10), (*in_flight, *latency), settings);
    }
    pool
}

fn chosen(pool: &Pool, settings: &Settings, endpoints: usize) -> Option<usize> {
    pool.choose(NOW + MILLI, settings, endpoints, (0, 0)).map(|choice| choice.who)
}

#[test]
fn the_cold_one_of_the_least_latency_is_chosen() {
    // The threshold is the report at 0.35 · 4: 3 in flight.
    let pool = pool(&[(1, 9, 1), (2, 2, 50), (3, 3, 20), (4, 8, 2)], &keeping());
    assert_eq!(chosen(&pool, &keeping(), MANY), Some(3));
    // At 0 only the least are cold; at 1 none is hot.
    let at = |quantile| {
        let mut config = config::Prequal::default();
        (config.hot_quantile, config.remove_rate) = (Some(quantile), Some(0.0));
        Settings::new(&config)
    };
    let reports = [(1, 9, 1), (2, 2, 50), (3, 3, 20), (4, 8, 2)];
    assert_eq!(chosen(&Pool::new(16), &at(0.0), MANY), None);
    assert_eq!(chosen(&self::pool(&reports, &at(0.0)), &at(0.0), MANY), Some(2));
    assert_eq!(chosen(&self::pool(&reports, &at(1.0)), &at(1.0), MANY), Some(1));
    // With up to four endpoints the quantile is 0, whatever is set.
    assert_eq!(chosen(&self::pool(&reports, &at(1.0)), &at(1.0), 4), Some(2));
}

#[test]
fn where_all_are_hot_the_least_in_flight_is_chosen() {
    let (pool, settings) = (pool(&[(1, 0, 1), (2, 0, 1), (3, 0, 1)], &keeping()), keeping());
    // What the pool counts itself makes all of them hot.
    for round in 0..30 {
        let choice = pool.choose(NOW + MILLI, &settings, 3, (0, 0)).unwrap();
        pool.take(choice, &settings, 3, u64::MAX);
        assert!(choice.who <= 3, "{round}");
    }
    // They were chosen in turn: each has ten in flight by now, and a fourth has fewer.
    pool.offer(NOW + MILLI, (4, 0), (9, 1_000), &settings);
    assert_eq!(chosen(&pool, &settings, MANY), Some(4));
}

#[test]
fn of_equals_each_is_as_likely_wherever_it_is() {
    let settings = keeping();
    // Fewer than the pool has room for, and one of them has been forgotten.
    let pool = pool(&[(1, 1, 2), (2, 1, 2), (3, 1, 2), (4, 1, 2), (5, 1, 2), (6, 1, 2)], &settings);
    pool.forget(3);
    let random = crate::core::Random::seeded(5);
    let mut calls = [0; 7];
    for step in 0..5_000 {
        let now = NOW + MILLI + step;
        let choice = pool.choose(now, &settings, MANY, (0, random.next())).unwrap();
        calls[choice.who] += 1;
        pool.take(choice, &settings, MANY, u64::MAX);
        pool.offer(now, (choice.who, 10), (1, 2), &settings);
    }
    calls[3] += 1_000;
    assert!(calls[1..].iter().all(|calls| (900..1_100).contains(calls)), "{calls:?}");
}

#[test]
fn a_choice_counts_as_in_flight_until_its_next_report() {
    let settings = keeping();
    let pool = pool(&[(1, 5, 10), (2, 5, 10)], &settings);
    let first = pool.choose(NOW + MILLI, &settings, 2, (0, 0)).unwrap();
    pool.take(first, &settings, 2, 0);
    let second = pool.choose(NOW + MILLI, &settings, 2, (0, 0)).unwrap();
    assert_ne!(first.who, second.who);
    pool.take(second, &settings, 2, 0);
    pool.offer(NOW + MILLI, (first.who, 10), (5, 10), &settings);
    assert_eq!(chosen(&pool, &settings, 2), Some(first.who));
}

#[test]
fn fewer_than_two_reports_choose_nothing() {
    let (one, settings) = (pool(&[(1, 5, 10)], &keeping()), keeping());
    assert_eq!(chosen(&one, &settings, MANY), None);
    assert_eq!(chosen(&pool(&[(1, 5, 10), (1, 6, 10)], &settings), &settings, MANY), None);
    let two = pool(&[(1, 5, 10), (2, 6, 10)], &settings);
    assert_eq!(chosen(&two, &settings, MANY), Some(1));
    // One that is skipped for this call is there all the same.
    let choice = two.choose(NOW + MILLI, &settings, MANY, (0, 0)).unwrap();
    let next = two.choose(NOW + MILLI, &settings, MANY, (two.skipping(choice), 0));
    assert_eq!(next.map(|next| next.who), Some(2));
    two.forget(choice.who);
    assert_eq!(chosen(&two, &settings, MANY), None);
}

#[test]
fn a_report_counts_for_a_second() {
    let settings = keeping();
    let pool = pool(&[(1, 5, 10), (2, 6, 10)], &settings);
    let chosen = |now| pool.choose(now, &settings, MANY, (0, 0)).map(|choice| choice.who);
    assert_eq!(chosen(NOW + SECOND), Some(1));
    assert_eq!(chosen(NOW + SECOND + 1), None);
    // A clock that is behind: it came just now.
    assert_eq!(chosen(0), Some(1));
    assert_eq!(pool.len(NOW, &settings), 2);
}

#[test]
fn a_report_is_used_up() {
    let settings = keeping();
    let pool = pool(&[(1, 5, 10), (2, 50, 10), (3, 60, 10)], &settings);
    // 2 / 0.84 = 2.38 with nothing removed: twice or three times.
    let used = |word| {
        pool.offer(NOW + MILLI, (1, 10), (0, 10), &settings);
        let mut used = 0;
        loop {
            let choice = pool.choose(NOW + MILLI, &settings, MANY, (0, 0)).unwrap();
            if choice.who != 1 {
                return used;
            }
            pool.take(choice, &settings, MANY, word);
            used += 1;
        }
    };
    assert_eq!(used(0), 3);
    assert_eq!(used(u64::MAX), 2);
}

#[test]
fn the_oldest_and_the_worst_are_removed_in_turn() {
    let mut config = config::Prequal::default();
    config.remove_rate = Some(1.0);
    let (settings, keeping) = (Settings::new(&config), keeping());
    let reports = [(1, 5, 1), (2, 90, 1), (3, 5, 90), (4, 80, 1), (5, 5, 2)];
    let pool = pool(&reports, &keeping);
    let there = |who| {
        let mut skip = 0;
        while let Some(choice) = pool.choose(NOW + MILLI, &keeping, MANY, (skip, 0)) {
            if choice.who == who {
                return true;
            }
            skip |= pool.skipping(choice);
        }
        false
    };
    assert!((1..=5).all(there));
    pool.offer(NOW + MILLI, (6, 10), (5, 3), &settings);
    assert!(!there(1) && there(2));
    pool.offer(NOW + MILLI, (7, 10), (5, 3), &settings);
    assert!(!there(2) && there(3));
    pool.offer(NOW + MILLI, (8, 10), (5, 3), &settings);
    assert!(!there(3) && there(4));
    pool.offer(NOW + MILLI, (9, 10), (5, 3), &settings);
    assert!(!there(4) && there(5));
}

#[test]
fn a_third_of_what_comes_in_is_removed_if_that_is_asked_for() {
    let mut config = config::Prequal::default();
    config.remove_rate = Some(1.0 / 3.0);
    let settings = Settings::new(&config);
    let pool = Pool::new(64);
    for who in 0..30 {
        pool.offer(NOW + who as u64, (who, 10), (5, 10), &settings);
    }
    let left = pool.len(NOW, &settings);
    assert!((20..=21).contains(&left), "{left}");
}

#[test]
fn a_full_pool_gives_up_its_oldest() {
    let settings = keeping();
    let pool = Pool::new(4);
    for who in 1..=6 {
        pool.offer(NOW + who as u64, (who, 10), (5, who as u64), &settings);
    }
    assert_eq!(pool.len(NOW, &settings), 4);
    assert_eq!(chosen(&pool, &settings, MANY), Some(3));
}

#[test]
fn one_that_failed_is_forgotten() {
    let settings = keeping();
    let pool = pool(&[(1, 0, 1), (2, 5, 10), (3, 6, 10)], &settings);
    assert_eq!(chosen(&pool, &settings, MANY), Some(1));
    pool.forget(1);
    assert_eq!(chosen(&pool, &settings, MANY), Some(2));
}

#[test]
fn threads_take_and_bring_at_once() {
    let (pool, settings) = (Pool::new(16), settings());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (pool, settings) = (&pool, &settings);
            scope.spawn(move || {
                for step in 0..20_000_usize {
                    let who = (step * 7 + thread) % 40 + 1;
                    let load = ((step % 30) as u32, step as u64 % 1_000);
                    pool.offer(NOW + step as u64, (who, who as u32), load, settings);
                    if let Some(choice) = pool.choose(NOW + step as u64, settings, MANY, (0, 0)) {
                        assert!((1..=40).contains(&choice.who));
                        pool.take(choice, settings, MANY, step as u64);
                    }
                }
            });
        }
    });
    assert!(pool.len(NOW, &settings) <= 16);
}
