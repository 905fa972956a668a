//! What is counted.

use super::model::{S, TIMEOUT};

/// Of one phase of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Phase {
    /// Nanoseconds, of calls; one that timed out has the timeout, one that failed is not here.
    latencies: Vec<u64>,
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    pub(crate) attempts: u64,
}

/// Of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) phases: Vec<Phase>,
    /// Attempts per server in the phases.
    pub(crate) shares: Vec<u64>,
    pub(crate) max_in_flight: u32,
    /// In the phases: calls whose keys were called before, and those of them that met the server of
    /// that call.
    pub(crate) again: u64,
    pub(crate) same: u64,
    /// Of the whole run, with the warm-up.
    pub(crate) probes: u64,
    pub(crate) all_calls: u64,
    /// Calls that began in a second, and those of them that succeeded.
    pub(crate) seconds: Vec<(u64, u64)>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Success,
    Timeout,
    Failure,
}

/// p50, p90, p99, p99.9.
pub(crate) const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

impl Phase {
    pub(crate) fn ended(&mut self, latency: u64, end: End) {
        self.calls += 1;
        self.errors += u64::from(end != End::Success);
        match end {
            End::Success => self.latencies.push(latency),
            End::Timeout => self.latencies.push(TIMEOUT),
            End::Failure => {}
        }
    }

    /// The latency that so much of the calls does not exceed (nearest rank).
    pub(crate) fn quantile(&mut self, quantile: f64) -> u64 {
        if self.latencies.is_empty() {
            return 0;
        }
        let rank = (quantile * self.latencies.len() as f64).ceil() as usize;
        let rank = rank.clamp(1, self.latencies.len());
        *self.latencies.select_nth_unstable(rank - 1).1
    }

    pub(crate) fn quantiles(&mut self) -> [u64; 4] {
        QUANTILES.map(|quantile| self.quantile(quantile))
    }

    /// Attempts per call, beyond the first.
    pub(crate) fn extra(&self) -> f64 {
        self.attempts as f64 / self.calls.max(1) as f64 - 1.0
    }
}

impl Tally {
    pub(crate) fn began(&mut self, now: u64) {
        self.all_calls += 1;
        self.second(now).0 += 1;
    }

    pub(crate) fn succeeded(&mut self, began: u64) {
        self.second(began).1 += 1;
    }

    pub(crate) fn shared(&mut self, server: usize) {
        if self.shares.len() <= server {
            self.shares.resize(server + 1, 0);
        }
        self.shares[server] += 1;
    }

    fn second(&mut self, at: u64) -> &mut (u64, u64) {
        let second = (at / S) as usize;
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, (0, 0));
        }
        &mut self.seconds[second]
    }

    /// The part of the attempts that this server got.
    pub(crate) fn share(&self, server: usize) -> f64 {
        let all: u64 = self.shares.iter().sum();
        self.shares.get(server).copied().unwrap_or(0) as f64 / all.max(1) as f64
    }

    /// The attempts that the busiest server got beside an even share of `servers`.
    pub(crate) fn busiest(&self, servers: u32) -> f64 {
        let all: u64 = self.shares.iter().sum();
        let most = self.shares.iter().max().copied().unwrap_or(0);
        most as f64 * f64::from(servers) / all.max(1) as f64
    }

    /// The part of the calls that met the server of the call before them of the same key.
    pub(crate) fn kept(&self) -> f64 {
        self.same as f64 / self.again.max(1) as f64
    }

    pub(crate) fn probes_per_call(&self) -> f64 {
        self.probes as f64 / self.all_calls.max(1) as f64
    }
}
