//! What the benches measure: the balancer with endpoints that own nothing. Not part of the API.

#![allow(missing_docs, reason = "for the benches of this crate only")]

pub mod caller;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Ask, Balancer, Outcome, Spec, Upstream};
use crate::{
    config,
    core::{Epoch, Random},
};

struct Nothing(std::sync::Arc<str>);

impl Upstream for Nothing {
    type Context = ();

    fn build(_spec: &Spec, (): &()) -> Self {
        Self("".into())
    }

    fn name(&self) -> &std::sync::Arc<str> {
        &self.0
    }

    fn added(_spec: &Spec, (): &()) {}

    fn removed(_spec: &Spec, (): &()) {}

    fn available(&self, _now: u64) -> bool {
        true
    }

    fn respecified(&self, _spec: &Spec) {}

    fn retire(&self) {}
}

/// A balancer without transport.
pub struct Bench {
    balancer: Balancer<Nothing>,
    random: Random,
    now: AtomicU64,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}

/// The address of the endpoint with the number 0.
const FIRST: u32 = 0x0a00_0000;

#[must_use]
pub fn endpoint(number: u32) -> config::Endpoint {
    SocketAddr::from((Ipv4Addr::from_bits(FIRST + number), 80)).into()
}

impl Bench {
    #[must_use]
    pub fn new(policy: &config::Balancer, endpoints: u32) -> Self {
        let balancer = Some(policy.clone());
        let cluster = config::Cluster { balancer, ..config::Cluster::default() };
        let balancer = Balancer::new(&cluster, (), Epoch::now());
        balancer.replace((0..endpoints).map(endpoint).collect());
        Self { balancer, random: Random::seeded(7), now: AtomicU64::new(1_000_000_000) }
    }

    /// Picks and finishes.
    pub fn pick(&self) {
        let now = self.now.load(Relaxed) + 10_000;
        self.now.store(now, Relaxed);
        if let Ok(flight) = self.balancer.pick(Ask::any(now, &self.random, &[])) {
            flight.finish(now + 1_000_000, Outcome::Success);
        }
    }

    /// The same for a request of this hash.
    pub fn pick_hashed(&self, hash: u64) {
        let now = self.now.load(Relaxed) + 10_000;
        self.now.store(now, Relaxed);
        let ask = Ask::any(now, &self.random, &[]).hashed(Some(hash));
        if let Ok(flight) = self.balancer.pick(ask) {
            flight.finish(now + 1_000_000, Outcome::Success);
        }
    }

    pub fn replace(&self, endpoints: Vec<config::Endpoint>) {
        self.balancer.replace(endpoints);
    }

    pub fn upsert(&self, endpoint: config::Endpoint) {
        self.balancer.upsert(vec![endpoint]);
    }
}
