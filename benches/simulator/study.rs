//! Runs of several scenarios at once. Each is deterministic by itself, whatever runs beside it.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use super::{
    run,
    scenario::{Policy, Scenario},
    tally::Tally,
};

pub(crate) type Job = (Scenario, Policy, u64);

/// Their tallies, in the order of the jobs.
pub(crate) fn all(jobs: &[Job]) -> Vec<Tally> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Tally)>> = Mutex::default();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(jobs.len().max(1));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let place = next.fetch_add(1, Relaxed)
                    && let Some((scenario, policy, seed)) = jobs.get(place)
                {
                    let tally = run(scenario, policy, *seed);
                    done.lock().unwrap().push((place, tally));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, tally)| tally).collect()
}
