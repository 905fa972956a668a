//! What a cluster does with calls, ejections, checks and updates, driven by one number: for the properties and
//! the fuzz targets of what a source may say of one. Whatever that is, nothing panics, who is picked is there and
//! takes calls, and what is over is counted no more.

#![allow(clippy::panic, reason = "a finding is a panic")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    Ask, Avoid, Balancer, Callers, Endpoint, Environment, HealthSet, InFlight, Outcome, Over,
    PickError, Spec, Upstream, Wanted,
    health::{Checked, Link},
};
use crate::{
    config::{self, Address, Health, Locality, Place},
    core::{BodyEnd, Epoch, Random, Watcher as _},
};

const SECOND: u64 = 1_000_000_000;
/// How far the clock goes between two steps. Nanoseconds.
const PAUSES: [u64; 8] =
    [0, 1, 1_000_000, 20_000_000, 300_000_000, 2 * SECOND, 40 * SECOND, 3_600 * SECOND];
/// Endpoints of one cluster at most, calls in flight at most, and entries of a table at most: how large they
/// may be is not what is found out here.
const ENDPOINTS: usize = 24;
const RUNNING: usize = 32;
const RING: u32 = 128;
const TABLE: u32 = 61;
const ZONES: [&str; 3] = ["a", "b", "c"];

/// Connections that are there or not, as it is said.
struct Wire {
    name: Arc<str>,
    is_down: AtomicBool,
}

/// A caller in the first zone.
struct Around(Arc<Random>);

impl Environment for Around {
    fn random(&self) -> Arc<Random> {
        Arc::clone(&self.0)
    }

    fn seed(&self) -> u64 {
        7
    }

    fn place(&self) -> Place {
        Place { locality: Locality::new("r", ZONES[0]), ..Place::default() }
    }

    fn callers(&self, _cluster: &str) -> Vec<Callers> {
        let of =
            |zone: &&str| Callers { locality: Locality::new("r", *zone), number: 1, weight: 1 };
        ZONES.iter().map(of).collect()
    }
}

impl Upstream for Wire {
    type Context = Around;

    fn build(spec: &Spec, _: &Around) -> Self {
        Self { name: spec.address().to_string().into(), is_down: AtomicBool::new(false) }
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn available(&self, _now: u64) -> bool {
        !self.is_down.load(Relaxed)
    }

    fn is_failing(&self) -> bool {
        self.is_down.load(Relaxed)
    }

    fn link(&self, _now: u64) -> Link {
        if self.is_down.load(Relaxed) { Link::BackingOff } else { Link::Ready }
    }

    fn retire(&self) {}
}

/// One cluster under way.
struct Course<'a> {
    cluster: &'a config::Cluster,
    balancer: Balancer<Wire>,
    random: Random,
    now: u64,
    /// All that its source may list, and what it has listed last.
    all: Vec<config::Endpoint>,
    listed: Vec<config::Endpoint>,
    running: Vec<InFlight<Wire>>,
    wanted: Vec<Wanted>,
    avoid: Option<Avoid>,
    checks: Option<u64>,
}

/// Goes so many steps with a cluster that is valid.
///
/// # Panics
///
/// If anything does, picks who is not there or takes no calls, or is counted wrongly.
pub(crate) fn exercise(cluster: &config::Cluster, seed: u64, steps: usize) {
    let cluster = small(cluster);
    let mut course = Course::new(&cluster, seed);
    for _ in 0..steps {
        course.step();
    }
    course.end();
}

/// The same with few endpoints and small tables.
fn small(cluster: &config::Cluster) -> config::Cluster {
    let mut small = config::Cluster { endpoints: Vec::new(), ..cluster.clone() };
    for endpoint in cluster.endpoints.iter().take(ENDPOINTS) {
        if small.endpoints.iter().all(|known| known.address != endpoint.address) {
            small.endpoints.push(endpoint.clone());
        }
    }
    if let Some(balancer) = &mut small.balancer {
        shrink(balancer);
    }
    small
}

fn shrink(balancer: &mut config::Balancer) {
    match balancer {
        config::Balancer::RingHash(ring) => {
            let (least, most) = (ring.least().min(RING), ring.most().min(RING));
            (ring.minimum_ring_size, ring.maximum_ring_size) = (Some(least), Some(most));
        }
        config::Balancer::Maglev(maglev) if maglev.entries() > TABLE => {
            maglev.table_size = Some(TABLE);
        }
        config::Balancer::OverrideHost(over) => shrink(&mut over.fallback),
        _ => {}
    }
}

/// Endpoints for a cluster that lists none itself: of several priorities, zones, weights, kinds of health, and
/// with the labels that its parts are made by.
fn made(cluster: &config::Cluster, random: &Random) -> Vec<config::Endpoint> {
    let below = |most: u64| random.next() % most;
    let keys: Vec<&String> =
        cluster.subsets.iter().flat_map(|it| &it.selectors).flat_map(|it| &it.keys).collect();
    let count = below(9);
    let one = |number: u16| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
        let mut endpoint = config::Endpoint::new(address.into());
        endpoint.weight = [1, 1, 1, 2, 100, 65_535][index(below(6))];
        endpoint.priority = [0, 0, 0, 1, 2][index(below(5))];
        endpoint.locality =
            (below(4) > 0).then(|| Box::new(Locality::new("r", ZONES[index(below(3))])));
        endpoint.hash_key = (below(4) == 0).then(|| number.to_string());
        endpoint.hostname = (below(4) == 0).then(|| "h.example".to_owned());
        for key in &keys {
            let value = ["a", "b"][index(below(2))];
            endpoint.labels.insert((*key).clone(), value.to_owned());
        }
        endpoint
    };
    (1..=u16::try_from(count).unwrap_or(1)).map(one).collect()
}

/// The part of the cluster where each of these keys has this value.
fn labelled(keys: &[String], value: &str) -> Wanted {
    Wanted::new(keys.iter().map(|key| (key.clone(), value.to_owned())).collect())
}

fn index(word: u64) -> usize {
    usize::try_from(word).unwrap_or(0)
}

impl<'a> Course<'a> {
    fn new(cluster: &'a config::Cluster, seed: u64) -> Self {
        let random = Random::seeded(seed);
        let around = Around(Arc::new(Random::seeded(random.next())));
        let balancer = Balancer::new(cluster, around, Epoch::now());
        let listed = cluster.endpoints.clone();
        let all = if listed.is_empty() { made(cluster, &random) } else { listed };
        balancer.replace(all.clone());
        let selectors = cluster.subsets.iter().flat_map(|it| &it.selectors);
        let wanted = selectors.flat_map(|it| ["a", "z"].map(|value| labelled(&it.keys, value)));
        let default = cluster.subsets.iter().map(|it| Wanted::new(it.default.clone()));
        let wanted = wanted.chain(default).collect();
        let retry = config::Retry {
            avoid: vec![config::AvoidEndpoint::Canaries, config::AvoidEndpoint::Tried],
            priority: Some(config::RetryPriority::default()),
            ..config::Retry::default()
        };
        Self {
            cluster,
            balancer,
            random,
            now: SECOND,
            listed: all.clone(),
            all,
            running: Vec::new(),
            wanted,
            avoid: Avoid::new(&retry),
            checks: None,
        }
    }

    fn below(&self, most: usize) -> usize {
        let most = u64::try_from(most.max(1)).unwrap_or(1);
        index(self.random.next() % most)
    }

    fn step(&mut self) {
        self.now += PAUSES[self.below(PAUSES.len())];
        match self.below(32) {
            0 => self.keep(),
            1 => self.list(),
            2 | 3 => self.remark(),
            4 => self.take_out(),
            5 => self.settle(),
            6 | 7 => self.check(),
            8 => self.plug(),
            9..=14 => {
                if !self.running.is_empty() {
                    let at = self.below(self.running.len());
                    let flight = self.running.swap_remove(at);
                    self.finish(flight);
                }
            }
            _ => self.call(),
        }
    }

    // === what comes from outside ===

    fn keep(&self) {
        let due = self.balancer.keep(self.now);
        assert!(due.is_none_or(|due| due > self.now), "{due:?} is not after {}", self.now);
    }

    /// Another list, of some of them or all.
    fn list(&mut self) {
        let keeps = self.below(4);
        let listed = self.all.iter().filter(|_| keeps > 0 || self.below(2) == 0).cloned();
        self.listed = listed.collect();
        self.balancer.replace(self.listed.clone());
    }

    /// Its source says something else of one, or adds it.
    fn remark(&mut self) {
        if self.all.is_empty() {
            return;
        }
        let at = self.below(self.all.len());
        let mut changed = self.all[at].clone();
        let health = [
            Health::Healthy,
            Health::Unhealthy,
            Health::Degraded,
            Health::Draining,
            Health::Unknown,
        ];
        match self.below(6) {
            0 => changed.weight = [1, 7, 65_535][self.below(3)],
            1 => changed.protocol = Some(config::Protocol::Http2),
            _ => changed.health = health[self.below(health.len())],
        }
        self.balancer.upsert(vec![changed.clone()]);
        match self.listed.iter_mut().find(|it| it.address == changed.address) {
            Some(listed) => *listed = changed,
            None => self.listed.push(changed),
        }
    }

    fn take_out(&mut self) {
        if !self.listed.is_empty() {
            let at = self.below(self.listed.len());
            let gone = self.listed.swap_remove(at);
            self.balancer.remove(&[gone.address]);
        }
    }

    /// Other settings, or its own again.
    fn settle(&self) {
        let mut other = config::Cluster { endpoints: Vec::new(), ..self.cluster.clone() };
        match self.below(6) {
            0 => other.outlier_detection = None,
            1 => other.balancer = None,
            2 => (other.slow_start, other.subsets) = (None, None),
            3 => (other.balancing, other.subsetting) = (None, None),
            _ => {}
        }
        self.balancer.settle(&other);
    }

    fn check(&mut self) {
        let Some(by) = self.checks else {
            self.checks = Some(self.balancer.begin_checks());
            return;
        };
        if self.below(6) == 0 {
            self.balancer.forget_checks(self.now);
            self.checks = None;
            return;
        }
        let all = self.balancer.endpoints();
        let found = |endpoint| {
            let is_unfit = self.below(3) == 0;
            (endpoint, if is_unfit { Checked::Unfit } else { Checked::Fit })
        };
        self.balancer.set_checked(by, all.iter().map(found), self.now);
    }

    /// One can be connected to no more, or is again.
    fn plug(&self) {
        let all = self.balancer.endpoints();
        if let Some(wire) = all.get(self.below(all.len())).and_then(|it| it.extra()) {
            wire.is_down.fetch_xor(true, Relaxed);
        }
    }

    // === calls ===

    fn call(&mut self) {
        let met = if self.below(4) == 0 { self.below(4) } else { 0 };
        let tried: Vec<Arc<Endpoint<Wire>>> =
            self.running.iter().take(met).map(|flight| Arc::clone(flight.endpoint())).collect();
        let over = (self.below(8) == 0).then(|| self.named());
        let wanted = self.wanted.get(self.below(self.wanted.len() + 2));
        let hash = (self.below(4) > 0).then(|| self.random.next());
        let ask = Ask {
            over: over.as_ref(),
            apart: self.below(4) == 0,
            avoid: self.avoid.as_ref().filter(|_| self.below(4) == 0),
            ..Ask::any(self.now, &self.random, &tried).hashed(hash).wanting(wanted)
        };
        let picked =
            if self.below(8) == 0 { self.balancer.pick_well(ask) } else { self.balancer.pick(ask) };
        match picked {
            Ok(flight) => {
                let address = flight.endpoint().spec().address();
                let listed = self.listed.iter().find(|it| it.address == *address);
                let Some(listed) = listed else {
                    panic!("{address} was picked, which is not there: {:?}", self.cluster);
                };
                // Who drains keeps the sessions that it has.
                let takes_calls = over.is_some() || listed.health != Health::Draining;
                assert!(takes_calls, "{address} drains, and was picked: {:?}", self.cluster);
                let _stands = flight.stands(self.now);
                if self.running.len() < RUNNING && self.below(2) == 0 {
                    self.running.push(flight);
                } else {
                    self.finish(flight);
                }
            }
            Err(PickError::Empty) => {
                let is_empty = self.listed.iter().all(|it| it.health == Health::Draining);
                assert!(is_empty, "there are endpoints: {:?}", self.cluster);
            }
            Err(PickError::Unavailable | PickError::NoPart | PickError::Panic) => {}
        }
    }

    /// The endpoint that a call names; there may be none such.
    fn named(&self) -> Over {
        let listed = self.listed.get(self.below(self.listed.len() + 1));
        let gone = || Address::from(SocketAddr::from((Ipv4Addr::BROADCAST, 9)));
        let address = listed.map_or_else(gone, |it| it.address.clone());
        Over { address, strict: self.below(2) == 0, health: HealthSet::default() }
    }

    /// It ends in one of the ways in which attempts do.
    fn finish(&self, mut flight: InFlight<Wire>) {
        let now = self.now + PAUSES[self.below(5)];
        if self.below(3) == 0 {
            flight.endpoint().heard(&self.report());
        }
        match self.below(12) {
            0 => drop(flight),
            1 => flight.left(now),
            2 => flight.finish(now, Outcome::Connect),
            3 => flight.finish(now, Outcome::Reset),
            4 => flight.finish(now, Outcome::Timeout),
            5 => flight.finish(now, Outcome::Ignored),
            6 | 7 => {
                // Of a stream, the end is known later, or never.
                if self.below(2) == 0 {
                    flight.record(now, Outcome::Success);
                }
                let (watcher, ticket) = flight.into_ticket(now);
                let code = Some([0, 4, 13, 14, 99][self.below(5)]);
                let ends = [
                    BodyEnd::Complete(code),
                    BodyEnd::Complete(None),
                    BodyEnd::Failed,
                    BodyEnd::Stalled,
                    BodyEnd::Expired,
                    BodyEnd::Dropped,
                ];
                watcher.ended(ticket, ends[self.below(ends.len())], None);
            }
            _ => {
                let status = [200, 200, 200, 404, 429, 500, 503, 504][self.below(8)];
                let outcome = Outcome::of_http(status);
                let after = [None, Some(0), Some(1), Some(3_600), Some(u64::MAX)][self.below(5)];
                let after = || after.map(Duration::from_secs);
                flight.answered(now, (status, Some(outcome)), after);
                flight.finish(now, outcome);
            }
        }
    }

    /// What an endpoint says of its load.
    fn report(&self) -> HeaderMap {
        let load = HeaderName::from_static("endpoint-load-metrics");
        let texts = [
            "TEXT application_utilization=0.5,rps_fractional=20",
            "TEXT cpu_utilization=1e300,rps_fractional=1e-300,eps=5",
            "JSON {\"rps_fractional\": 1, \"cpu_utilization\": 0}",
            "TEXT cpu_utilization=",
        ];
        let mut headers = HeaderMap::new();
        headers.insert(load, HeaderValue::from_static(texts[self.below(texts.len())]));
        if self.below(2) == 0 {
            let rif = [HeaderValue::from_static("3"), HeaderValue::from_static("4294967295")];
            headers.insert("x-prequal-rif", rif[self.below(2)].clone());
            headers.insert("x-prequal-latency-us", HeaderValue::from_static("1000"));
        }
        headers
    }

    /// Nothing is under way any more.
    fn end(mut self) {
        for flight in std::mem::take(&mut self.running) {
            self.finish(flight);
        }
        self.keep();
        self.balancer.census(self.now, |seen| {
            assert_eq!(seen.in_flight.unwrap_or(0), 0, "{} has calls still", seen.address);
        });
        let all = self.balancer.endpoints();
        let is_out =
            |it: &&Arc<Endpoint<Wire>>| it.live().is_some_and(|live| live.load.state.is_ejected());
        let out = all.iter().filter(is_out).count();
        assert_eq!(usize::try_from(self.balancer.health.ejected()), Ok(out), "of {}", all.len());
        assert_eq!(all.len(), self.listed.len());
    }
}
