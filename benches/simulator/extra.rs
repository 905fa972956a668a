//! Attempts beyond the first: the crate's own decisions about retries and hedges, and its budget.

use std::time::Duration;

use tower_mesh::{
    config,
    resilience::bench::{Failure, Hedged, Hedges, Retries},
};

use super::{
    model::metastable,
    random::Stream,
    scenario::{Extra, Scenario},
};

/// Of each client, where there are any.
pub(crate) struct Extras {
    retries: Vec<Retries>,
    hedges: Vec<Hedges>,
}

impl Extras {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let seed = |from: u64, client: u32| Stream::new(seed, from + u64::from(client)).word();
        let mut budget = config::Budget::default();
        let mut hedge = config::Hedge::default();
        let (retry, budget) = match scenario.extra {
            Extra::None | Extra::Safe => {
                return Self { retries: Vec::new(), hedges: Vec::new() };
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
            Extra::Hedge(percent) => {
                hedge = config::Hedge::within(percent);
                (config::Retry::standard().attempts(1), Some(&budget))
            }
        };
        let clients = 0..scenario.clients;
        let retries =
            clients.clone().map(|client| Retries::new(&retry, budget, seed(2_000_000, client)));
        let hedges = clients.filter_map(|client| Hedges::new(&hedge, seed(3_000_000, client)));
        Self { retries: retries.collect(), hedges: hedges.collect() }
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

    /// The first attempt of a call is under way: the hedging of that call, if there is any.
    pub(crate) fn hedged(&self, client: u32, now: u64) -> Option<Hedged> {
        self.hedges.get(client as usize).map(|hedges| hedges.begin(now))
    }

    /// Whether one more attempt is sent now beside those under way.
    pub(crate) fn hedge(&self, client: u32, now: u64, hedged: &mut Hedged) -> bool {
        let client = client as usize;
        let (Some(hedges), Some(retries)) = (self.hedges.get(client), self.retries.get(client))
        else {
            return false;
        };
        hedges.send(now, hedged, retries)
    }

    /// A call has been answered; after so long, if that was by its first attempt.
    pub(crate) fn ended(&self, client: u32, now: u64, took: Option<u64>) {
        if let Some(retries) = self.retries.get(client as usize) {
            retries.succeeded();
        }
        if let (Some(hedges), Some(took)) = (self.hedges.get(client as usize), took) {
            hedges.answered(now, took);
        }
    }

    /// The first attempt of a call is left without an answer.
    pub(crate) fn left(&self, client: u32, now: u64, age: u64) {
        if let Some(hedges) = self.hedges.get(client as usize) {
            hedges.unanswered(now, age);
        }
    }
}
