//! A server that shares its processors, and the estimate that it tells of itself.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, VecDeque},
};

use tower_mesh::{balance::bench::caller::ServerSays, server::bench::Estimate};

use super::model::{self, S, prequal};

/// What a server tells of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) in_flight: u32,
    /// Nanoseconds; none before anything recent has been measured.
    pub(crate) latency: Option<u64>,
}

/// How a server takes a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Serving,
    /// It fails every call at once.
    Failing,
    /// It refuses connections; what is in it goes on.
    Refusing,
}

/// One call in a server.
#[derive(Debug)]
struct Job {
    /// The served time per job, since the server's start, at which it is done.
    done: f64,
    key: u32,
    serial: u64,
}

impl Eq for Job {}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Job {
    fn cmp(&self, other: &Self) -> Ordering {
        self.done.total_cmp(&other.done).then(self.serial.cmp(&other.serial))
    }
}

/// A measured call: how many were in flight when it came, how long it took, and when it ended.
#[derive(Clone, Copy, Debug)]
struct Sample {
    in_flight: u32,
    latency: u64,
    at: u64,
}

/// What the crate's layer would measure in a server.
#[derive(Debug)]
struct Teller {
    estimate: Estimate,
    /// When the utilisation was last computed, and what was used and done until then.
    from: u64,
    used: f64,
    done: u64,
    utilization: f64,
    calls_per_second: f64,
}

/// Processor sharing: each of the jobs is served at min(1, capacity / jobs).
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) state: State,
    /// Processors.
    capacity: f64,
    /// How many times as long everything takes here.
    pub(crate) slowness: f64,
    jobs: BinaryHeap<Reverse<Job>>,
    /// Those of the jobs that are not cancelled.
    in_flight: u32,
    served: f64,
    at: u64,
    samples: VecDeque<Sample>,
    /// Processor time used, and calls done, since they were last asked for.
    used: f64,
    done: u64,
    /// The same since the start.
    all_used: f64,
    all_done: u64,
    pub(crate) max_in_flight: u32,
    /// The crate's, where the clients ask for it.
    teller: Option<Teller>,
}

impl Server {
    pub(crate) fn new(capacity: f64, slowness: f64) -> Self {
        Self {
            state: State::Serving,
            capacity,
            slowness,
            jobs: BinaryHeap::new(),
            in_flight: 0,
            served: 0.0,
            at: 0,
            samples: VecDeque::new(),
            used: 0.0,
            done: 0,
            all_used: 0.0,
            all_done: 0,
            max_in_flight: 0,
            teller: None,
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn rate(&self) -> f64 {
        (self.capacity / f64::from(self.in_flight.max(1))).min(1.0)
    }

    fn advance(&mut self, now: u64) {
        let passed = (now - self.at) as f64;
        self.at = now;
        if self.in_flight > 0 {
            let rate = self.rate();
            self.served += rate * passed;
            let used = rate * passed * f64::from(self.in_flight);
            self.used += used;
            self.all_used += used;
        }
    }

    pub(crate) fn set_capacity(&mut self, now: u64, capacity: f64) {
        self.advance(now);
        self.capacity = capacity;
    }

    /// Returns how many are in flight with it.
    pub(crate) fn enter(&mut self, now: u64, work: f64, key: u32, serial: u64) -> u32 {
        self.advance(now);
        self.jobs.push(Reverse(Job { done: self.served + work * self.slowness, key, serial }));
        self.in_flight += 1;
        self.max_in_flight = self.max_in_flight.max(self.in_flight);
        self.in_flight
    }

    /// A job that is still in it is no longer served.
    pub(crate) fn cancel(&mut self, now: u64) {
        self.advance(now);
        self.in_flight -= 1;
    }

    /// When the next job is done, if none comes or goes. `is_live` tells the cancelled ones.
    pub(crate) fn next(&mut self, is_live: impl Fn(u32, u64) -> bool) -> u64 {
        while let Some(Reverse(job)) = self.jobs.peek() {
            if is_live(job.key, job.serial) {
                let wait = (job.done - self.served).max(0.0) / self.rate();
                return self.at + wait.ceil() as u64;
            }
            self.jobs.pop();
        }
        u64::MAX
    }

    /// The job that is done by now.
    pub(crate) fn done(&mut self, now: u64) -> Option<(u32, u64)> {
        self.advance(now);
        // Whole nanoseconds: what is left of it is a rounding.
        if self.jobs.peek().is_some_and(|Reverse(job)| job.done <= self.served + 1.0) {
            self.in_flight -= 1;
            self.done += 1;
            self.all_done += 1;
            return self.jobs.pop().map(|Reverse(job)| (job.key, job.serial));
        }
        None
    }

    pub(crate) fn measured(&mut self, now: u64, in_flight: u32, latency: u64) {
        if self.samples.len() == prequal::SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { in_flight, latency, at: now });
    }

    /// From now on it measures what it tells the crate's clients.
    pub(crate) fn tells(&mut self) {
        self.teller = Some(Teller {
            estimate: Estimate::new(model::ESTIMATE_AGE),
            from: 0,
            used: 0.0,
            done: 0,
            utilization: 0.0,
            calls_per_second: 0.0,
        });
    }

    /// What it tells with the answer of a call that met so many others, itself counted, and took
    /// so long.
    pub(crate) fn told(&mut self, now: u64, met: u32, took: u64) -> Option<ServerSays> {
        let (in_flight, used, done) = (self.in_flight, self.all_used, self.all_done);
        let teller = self.teller.as_mut()?;
        teller.estimate.record(now, met - 1, in_flight, took);
        let passed = now - teller.from;
        if passed >= S {
            teller.utilization = (used - teller.used) / passed as f64 / model::ALLOTTED;
            teller.calls_per_second = (done - teller.done) as f64 * S as f64 / passed as f64;
            (teller.from, teller.used, teller.done) = (now, used, done);
        }
        Some(ServerSays {
            in_flight,
            latency: u32::try_from(teller.estimate.micros()).unwrap_or(u32::MAX),
            utilization: teller.utilization,
            calls_per_second: teller.calls_per_second,
        })
    }

    /// The textbook's: the median latency of recent calls that met about as many in flight.
    pub(crate) fn report(&self, now: u64) -> Report {
        let from = now.saturating_sub(prequal::SAMPLE_AGE);
        let recent = self.samples.iter().rev().take_while(|sample| sample.at >= from);
        // Of those that are equally near, the latest.
        let mut near: Vec<(u32, usize, u64)> = recent
            .enumerate()
            .map(|(back, sample)| (sample.in_flight.abs_diff(self.in_flight), back, sample.latency))
            .collect();
        let nearest = prequal::NEAREST.min(near.len());
        if nearest == 0 {
            return Report { in_flight: self.in_flight, latency: None };
        }
        near.select_nth_unstable(nearest - 1);
        let (_, &mut (_, _, latency), _) =
            near[..nearest].select_nth_unstable_by_key(nearest / 2, |&(_, _, latency)| latency);
        Report { in_flight: self.in_flight, latency: Some(latency) }
    }

    /// Processor time used, and calls done, since the last time.
    pub(crate) fn usage(&mut self, now: u64) -> (f64, u64) {
        self.advance(now);
        (std::mem::take(&mut self.used), std::mem::take(&mut self.done))
    }
}
