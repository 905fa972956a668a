//! A service with so many workers and a queue without end, and callers that come at a rate: in a
//! time of its own, under a seed.

use std::{cmp::Reverse, collections::BinaryHeap, collections::VecDeque};

use super::super::decision::{Adaptive, End};
use crate::{config::AdaptiveConcurrency, core::Random};

pub(super) const MILLI: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MILLI;

/// What the service is like from now on.
#[derive(Clone, Copy)]
pub(super) struct Service {
    pub(super) workers: usize,
    /// The work of one call, in milliseconds.
    pub(super) millis: f64,
}

pub(super) struct World {
    pub(super) limit: Option<Adaptive>,
    random: Random,
    now: u64,
    service: Service,
    busy: usize,
    queue: VecDeque<u64>,
    in_flight: u32,
    /// Ends of work: when, and when the call began.
    ends: BinaryHeap<Reverse<(u64, u64)>>,
    /// Calls that took longer than this fail; their work is done all the same.
    pub(super) timeout: u64,
}

/// What was seen in a while.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) refused: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) latencies: Vec<u64>,
    pub(super) limits: Vec<u32>,
}

impl World {
    pub(super) fn new(config: Option<&AdaptiveConcurrency>, service: Service, seed: u64) -> Self {
        let random = Random::seeded(seed);
        Self {
            limit: config.map(|config| Adaptive::new(config, 0, &random)),
            random,
            now: 0,
            service,
            busy: 0,
            queue: VecDeque::new(),
            in_flight: 0,
            ends: BinaryHeap::new(),
            timeout: u64::MAX,
        }
    }

    pub(super) fn change(&mut self, service: Service) {
        self.service = service;
        self.work();
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.as_ref().map_or(u32::MAX, Adaptive::limit)
    }

    /// So many seconds, with so many calls in each.
    pub(super) fn run(&mut self, seconds: u64, per_second: f64) -> Seen {
        let mut seen = Seen::default();
        let until = self.now + seconds * SECOND;
        let mut next = self.now + self.gap(per_second);
        let mut tick = self.now;
        loop {
            let end = self.ends.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let at = end.min(next).min(tick);
            if at >= until {
                self.now = until;
                return seen;
            }
            self.now = at;
            if at == tick {
                seen.limits.push(self.limit());
                tick += SECOND / 10;
            } else if at == end {
                self.end(&mut seen);
            } else {
                next = self.now + self.gap(per_second);
                if self.in_flight < self.limit() {
                    self.in_flight += 1;
                    self.queue.push_back(self.now);
                    self.work();
                } else {
                    seen.refused += 1;
                }
            }
        }
    }

    fn end(&mut self, seen: &mut Seen) {
        let Some(Reverse((_, began))) = self.ends.pop() else { return };
        let took = self.now - began;
        let end = if took > self.timeout { End::Dropped } else { End::Answered };
        if let Some(limit) = &self.limit {
            limit.ended(end, (began, self.now), self.now, self.in_flight, &self.random);
        }
        if end == End::Answered {
            seen.answered += 1;
            seen.latencies.push(took);
        } else {
            seen.failed += 1;
        }
        self.in_flight -= 1;
        self.busy -= 1;
        self.work();
    }

    fn work(&mut self) {
        while self.busy < self.service.workers
            && let Some(began) = self.queue.pop_front()
        {
            self.busy += 1;
            // A tenth up or down.
            let work = self.service.millis * (0.9 + 0.2 * self.random.ratio());
            self.ends.push(Reverse((self.now + (work * MILLI as f64) as u64, began)));
        }
    }

    fn gap(&self, per_second: f64) -> u64 {
        if per_second <= 0.0 {
            return u64::MAX / 2;
        }
        let gap = -(1.0 - self.random.ratio()).ln() / per_second;
        (gap * SECOND as f64) as u64 + 1
    }
}

impl Seen {
    pub(super) fn percentile(&mut self, percent: usize) -> u64 {
        self.latencies.sort_unstable();
        let place = self.latencies.len() * percent / 100;
        self.latencies.get(place.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or(0)
            / MILLI
    }

    pub(super) fn mean_limit(&self) -> f64 {
        self.limits.iter().map(|limit| f64::from(*limit)).sum::<f64>() / self.limits.len() as f64
    }
}
