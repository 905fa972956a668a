//! Attempts beyond the first: the crate's own retry decisions and budget; and a model of hedging,
//! paid for by the same budget.

use std::{collections::VecDeque, time::Duration};

use tower_mesh::{
    config,
    resilience::bench::{Failure, Retries},
};

use super::{
    model::{hedging, metastable},
    random::Stream,
    scenario::{Extra, Scenario},
};

pub(crate) struct Extras {
    extra: Extra,
    retries: Vec<Retries>,
    /// Of each client: its latencies and when they were measured.
    measured: Vec<Measured>,
}

#[derive(Default)]
struct Measured {
    latencies: VecDeque<(u64, u64)>,
    /// When the quantile was last looked for, and what it was.
    quantile: (u64, u64),
}

/// Finagle looks for it every 3 s.
const REFRESH: u64 = 3_000_000_000;
/// Before so many latencies are known, there is no quantile of 0.99.
const ENOUGH: usize = 100;

impl Extras {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let extra = scenario.extra;
        let clients = 0..scenario.clients;
        let seed = |client: u32| Stream::new(seed, 2_000_000 + u64::from(client)).word();
        let mut budget = config::Budget::default();
        let (retry, budget) = match extra {
            Extra::None | Extra::Safe => {
                return Self { extra, retries: Vec::new(), measured: Vec::new() };
            }
            Extra::Retries(granted) => {
                if let Some(granted) = granted {
                    (budget.ratio, budget.min_per_second) = granted;
                }
                (config::Retry::standard().attempts(metastable::ATTEMPTS), granted.map(|_| &budget))
            }
            Extra::Throttled(tokens, ratio) => {
                let retry = config::Retry::standard().attempts(metastable::ATTEMPTS);
                (retry.throttle(tokens, ratio), Some(&budget))
            }
            Extra::Hedge => {
                budget.ratio = hedging::BUDGET;
                budget.min_per_second = 0;
                (config::Retry::standard().attempts(1), Some(&budget))
            }
        };
        Self {
            extra,
            retries: clients
                .clone()
                .map(|client| Retries::new(&retry, budget, seed(client)))
                .collect(),
            measured: clients.map(|_| Measured::default()).collect(),
        }
    }

    pub(crate) fn begin(&self, client: u32, now: u64) {
        if let Some(retries) = self.retries.get(client as usize) {
            retries.begin(now);
        }
    }

    /// After which time a failed attempt is repeated.
    pub(crate) fn again(
        &self,
        client: u32,
        now: u64,
        attempts: u32,
        failure: Failure,
    ) -> Option<u64> {
        let retries = self.retries.get(client as usize)?;
        let after: Duration = retries.again(now, attempts, failure)?;
        u64::try_from(after.as_nanos()).ok()
    }

    /// Pays for a hedge.
    pub(crate) fn pay(&self, client: u32, now: u64) -> bool {
        self.retries.get(client as usize).is_some_and(|retries| retries.pay(now))
    }

    /// After which time an attempt gets another one beside it.
    pub(crate) fn hedge_after(&mut self, client: u32, now: u64) -> Option<u64> {
        if self.extra != Extra::Hedge {
            return None;
        }
        let measured = &mut self.measured[client as usize];
        let from = now.saturating_sub(hedging::WINDOW);
        while measured.latencies.front().is_some_and(|(at, _)| *at < from) {
            measured.latencies.pop_front();
        }
        if measured.latencies.len() < ENOUGH {
            return None;
        }
        let (at, known) = measured.quantile;
        if known != 0 && now < at + REFRESH {
            return Some(known);
        }
        let mut latencies: Vec<u64> =
            measured.latencies.iter().map(|(_, latency)| *latency).collect();
        let rank = (hedging::QUANTILE * latencies.len() as f64) as usize;
        let rank = rank.min(latencies.len() - 1);
        let found = (*latencies.select_nth_unstable(rank).1).max(hedging::FLOOR);
        measured.quantile = (now, found);
        Some(found)
    }

    /// A call has been answered.
    pub(crate) fn ended(&mut self, client: u32, now: u64, latency: u64) {
        if let Some(retries) = self.retries.get(client as usize) {
            retries.succeeded();
        }
        if self.extra == Extra::Hedge {
            self.measured[client as usize].latencies.push_back((now, latency));
        }
    }
}
