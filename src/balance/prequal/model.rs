//! The pool of reports under loom: every interleaving of a pick and those who bring reports.

use loom::{sync::Arc, thread};

use super::{hot, settings};
use crate::config;

mod sync {
    pub(super) use loom::sync::{
        Mutex,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    };
}

#[path = "pool.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod pool;

use self::{pool::Pool, settings::Settings};

const NOW: u64 = 10_000_000_000;

fn settings() -> Settings {
    Settings::new(&config::Prequal::default())
}

/// The endpoint of a number says that it has as many in flight; its place is its number, too.
fn offer(pool: &Pool, now: u64, number: u32) {
    let load = (number, u64::from(number));
    pool.offer(now, (number as usize, number), load, &settings());
}

/// What is left is whole: who, where, how many and how long belong to one report.
fn is_whole(pool: &Pool, now: u64) -> Vec<u32> {
    let reports = said(pool, now).into_iter().map(|(who, place, in_flight, latency)| {
        let number = u64::from(place);
        assert_eq!((who, in_flight, latency), (place as usize, number, number));
        place
    });
    reports.collect()
}

/// Who, where, how many and how long.
fn said(pool: &Pool, now: u64) -> Vec<(usize, u32, u64, u64)> {
    let reports = pool.reports(now, &settings(), 2).into_iter();
    reports.map(|it| (it.who, it.place, it.in_flight, it.micros)).collect()
}

#[test]
fn of_two_reports_at_once_one_may_be_lost_and_neither_is_torn() {
    loom::model(|| {
        let pool = Arc::new(Pool::new(2));
        let rival = Arc::clone(&pool);
        let rival = thread::spawn(move || offer(&rival, NOW, 1));
        offer(&pool, NOW, 2);
        rival.join().unwrap();
        let mut left = is_whole(&pool, NOW);
        left.sort_unstable();
        assert!([&[1][..], &[2], &[1, 2]].contains(&&left[..]), "{left:?}");
    });
}

#[test]
fn two_reports_of_one_endpoint_at_once_are_one() {
    loom::model(|| {
        let pool = Arc::new(Pool::new(2));
        let rival = Arc::clone(&pool);
        let rival = thread::spawn(move || offer(&rival, NOW, 1));
        offer(&pool, NOW, 1);
        rival.join().unwrap();
        assert_eq!(is_whole(&pool, NOW), [1]);
    });
}

#[test]
fn a_pick_sees_a_new_report_whole_or_not_at_all() {
    loom::model(|| {
        let pool = Arc::new(Pool::new(2));
        // So old that only the new one makes its slot count.
        offer(&pool, NOW - 5_000_000_000, 1);
        offer(&pool, NOW, 9);
        let rival = Arc::clone(&pool);
        let rival = thread::spawn(move || offer(&rival, NOW, 2));
        // Two are there, or too few: of two it is the one that is less loaded.
        let choice = pool.choose(NOW, &settings(), 2, (0, 0));
        if let Some(choice) = choice {
            assert_eq!((choice.who, choice.place), (2, 2));
        }
        rival.join().unwrap();
        assert_eq!(pool.choose(NOW, &settings(), 2, (0, 0)).unwrap().who, 2);
    });
}

#[test]
fn a_pick_beside_a_report_that_replaces_another_finds_somebody_who_was_there() {
    loom::model(|| {
        let pool = Arc::new(Pool::new(3));
        for number in [1, 8, 9] {
            offer(&pool, NOW - u64::from(9 - number), number);
        }
        let rival = Arc::clone(&pool);
        let rival = thread::spawn(move || offer(&rival, NOW, 2));
        // The other two are young whatever happens: it never has to do without.
        let choice = pool.choose(NOW, &settings(), 3, (0, 0)).unwrap();
        // Of the slot that changes, name and place may be those of different reports: that is for
        // the balancer to see. They are of no other.
        let (who, place) = (choice.who as u32, choice.place);
        assert!(who == 8 && place == 8 || [1, 2].contains(&who) && [1, 2].contains(&place));
        rival.join().unwrap();
    });
}

#[test]
fn a_call_beside_a_new_report_counts_in_it_once_or_not() {
    loom::model(|| {
        let pool = Arc::new(Pool::new(2));
        offer(&pool, NOW, 1);
        offer(&pool, NOW, 9);
        let choice = pool.choose(NOW, &settings(), 2, (0, 0)).unwrap();
        assert_eq!(choice.who, 1);
        let rival = Arc::clone(&pool);
        let rival = thread::spawn(move || offer(&rival, NOW, 1));
        pool.take(choice, &settings(), 2, 0);
        rival.join().unwrap();
        let reports = said(&pool, NOW);
        let said = reports.iter().find(|(who, ..)| *who == 1).unwrap();
        assert!([(1, 1, 1, 1), (1, 1, 2, 1)].contains(said), "{said:?}");
    });
}

#[test]
fn two_calls_at_once_count_twice() {
    loom::model(|| {
        let pool = Arc::new(Pool::new(2));
        offer(&pool, NOW, 1);
        offer(&pool, NOW, 9);
        // With nine in flight nobody else is ever chosen.
        let take = |pool: &Pool| {
            let choice = pool.choose(NOW, &settings(), 2, (0, 0)).unwrap();
            pool.take(choice, &settings(), 2, 0);
        };
        let rival = Arc::clone(&pool);
        let rival = thread::spawn(move || take(&rival));
        take(&pool);
        rival.join().unwrap();
        assert!(said(&pool, NOW).contains(&(1, 1, 3, 1)));
    });
}

#[test]
fn who_has_failed_is_forgotten_whoever_else_reports() {
    loom::model(|| {
        let pool = Arc::new(Pool::new(2));
        offer(&pool, NOW, 1);
        let rival = Arc::clone(&pool);
        let rival = thread::spawn(move || offer(&rival, NOW, 2));
        pool.forget(1);
        rival.join().unwrap();
        assert_eq!(is_whole(&pool, NOW), [2]);
    });
}
