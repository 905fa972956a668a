//! What the benches measure: the balancer with endpoints that own nothing. Not part of the API.

#![allow(missing_docs, reason = "for the benches of this crate only")]

pub mod caller;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Ask, Balancer, HealthSet, Outcome, Over, Spec, Upstream, health::Link};
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

    fn available(&self, _now: u64) -> bool {
        true
    }

    fn link(&self, _now: u64) -> Link {
        Link::Ready
    }

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

/// The endpoint that a call names.
pub struct Named(Over);

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").finish_non_exhaustive()
    }
}

impl Named {
    /// The one of this number.
    #[must_use]
    pub fn new(number: u32) -> Self {
        let address = endpoint(number).address;
        Self(Over { address, strict: false, health: HealthSet::default() })
    }
}

/// One of several threads that pick: what it draws from, and its clock, are its own.
pub struct Thread<'a> {
    bench: &'a Bench,
    random: Random,
    now: u64,
}

impl std::fmt::Debug for Thread<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thread").finish_non_exhaustive()
    }
}

impl Thread<'_> {
    /// Picks and finishes.
    pub fn pick(&mut self) {
        self.now += 10_000;
        if let Ok(flight) = self.bench.balancer.pick(Ask::any(self.now, &self.random, &[])) {
            flight.finish(self.now + 1_000_000, Outcome::Success);
        }
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
        Self::of(&cluster, (0..endpoints).map(endpoint).collect())
    }

    /// One of any settings.
    #[must_use]
    pub fn of(cluster: &config::Cluster, endpoints: Vec<config::Endpoint>) -> Self {
        let balancer = Balancer::new(cluster, (), Epoch::now());
        balancer.replace(endpoints);
        Self { balancer, random: Random::seeded(7), now: AtomicU64::new(1_000_000_000) }
    }

    /// The same, and the answer carries what its server has in flight, and a latency.
    #[cfg(feature = "orca")]
    pub fn pick_reported(&self) {
        let now = self.now.load(Relaxed) + 10_000;
        self.now.store(now, Relaxed);
        if let Ok(flight) = self.balancer.pick(Ask::any(now, &self.random, &[])) {
            let (in_flight, latency) = ((now >> 14 & 31) as u32, now >> 12 & 1023);
            flight.endpoint().signalled(now, super::report::Signal { in_flight, latency });
            flight.finish(now + 1_000_000, Outcome::Success);
        }
    }

    /// Each endpoint has reported a weight of 1, 2 or 3, and they are computed.
    #[cfg(feature = "orca")]
    pub fn weigh(&self) {
        let now = self.now.load(Relaxed);
        for (number, endpoint) in self.balancer.view.load().all.set.iter().enumerate() {
            let report = super::report::Report {
                rps: number as u64 % 3 + 1,
                application_utilization: 0.5,
                ..super::report::Report::default()
            };
            endpoint.reported(now, &report);
        }
        let _due = self.balancer.keep(now);
    }

    /// Picks and finishes.
    pub fn pick(&self) {
        let now = self.now.load(Relaxed) + 10_000;
        self.now.store(now, Relaxed);
        if let Ok(flight) = self.balancer.pick(Ask::any(now, &self.random, &[])) {
            flight.finish(now + 1_000_000, Outcome::Success);
        }
    }

    /// The same by a hash, another each time.
    pub fn pick_keyed(&self) {
        let now = self.now.load(Relaxed) + 10_000;
        self.now.store(now, Relaxed);
        let hash = now.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = hash ^ hash >> 32;
        let ask = Ask::any(now, &self.random, &[]).hashed(Some(hash));
        if let Ok(flight) = self.balancer.pick(ask) {
            flight.finish(now + 1_000_000, Outcome::Success);
        }
    }

    /// The same of a call that names its endpoint.
    pub fn pick_named(&self, named: &Named) {
        let now = self.now.load(Relaxed) + 10_000;
        self.now.store(now, Relaxed);
        let mut ask = Ask::any(now, &self.random, &[]);
        ask.over = Some(&named.0);
        if let Ok(flight) = self.balancer.pick(ask) {
            flight.finish(now + 1_000_000, Outcome::Success);
        }
    }

    /// Picks of a thread of its own.
    #[must_use]
    pub fn thread(&self) -> Thread<'_> {
        Thread { bench: self, random: Random::default(), now: self.now.load(Relaxed) }
    }

    /// Picks by least request with these settings from now on.
    pub fn choose(&self, settings: config::LeastRequest) {
        let (balancer, least_request) = (Some(config::Balancer::LeastRequest), Some(settings));
        let cluster = config::Cluster { balancer, least_request, ..config::Cluster::default() };
        self.balancer.settle(&cluster);
    }

    /// Picks by another policy from now on.
    pub fn settle(&self, policy: &config::Balancer) {
        let balancer = Some(policy.clone());
        self.balancer.settle(&config::Cluster { balancer, ..config::Cluster::default() });
    }

    pub fn replace(&self, endpoints: Vec<config::Endpoint>) {
        self.balancer.replace(endpoints);
    }

    pub fn upsert(&self, endpoint: config::Endpoint) {
        self.balancer.upsert(vec![endpoint]);
    }
}

/// Whether these headers hold Prequal's signals.
#[cfg(feature = "orca")]
#[must_use]
pub fn read_report(headers: &http::HeaderMap) -> bool {
    super::report::signal_of(headers).is_some()
}
