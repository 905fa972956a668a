//! A caller of a simulation: the balancer of one process, in a time that its owner tells.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

#[cfg(feature = "orca")]
use crate::balance::report::{Entry, LATENCY_US, RIF, Report};
use crate::{
    balance::{Ask, Balancer, Endpoint, Environment, InFlight, Outcome, Spec, Upstream},
    config::{self, TransportSettings},
    core::{Epoch, Random},
    transport::Backoff,
};

/// What an endpoint has instead of connections: whether they are refused.
struct Way {
    name: Arc<str>,
    number: u32,
    backoff: Backoff,
}

/// What the process is to its balancer.
struct Process {
    /// Whether who keeps it is to look again.
    woken: AtomicBool,
    /// What it shuffles by, and chooses its part by.
    seed: u64,
}

/// The endpoints that a call has met.
#[derive(Default)]
pub struct Tried(Vec<Arc<Endpoint<Way>>>);

/// One attempt under way.
pub struct Flight(InFlight<Way>);

/// What a server says of itself.
#[cfg(feature = "orca")]
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "for the benches of this crate only")]
pub struct ServerSays {
    pub in_flight: u32,
    /// Microseconds; 0: unknown.
    pub latency: u32,
    pub utilization: f64,
    pub calls_per_second: f64,
}

/// The balancer of one process.
pub struct Caller {
    balancer: Balancer<Way>,
    random: Random,
    settings: TransportSettings,
}

macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

opaque!(Tried, Flight, Caller);

/// Numbers of endpoints are their addresses: see [`endpoint`](super::endpoint).
impl Upstream for Way {
    type Context = Process;

    fn build(spec: &Spec, _process: &Process) -> Self {
        let number = match spec.address() {
            config::Address::Socket(std::net::SocketAddr::V4(address)) => {
                address.ip().to_bits().wrapping_sub(super::FIRST)
            }
            _ => u32::MAX,
        };
        Self { name: "".into(), number, backoff: Backoff::default() }
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn available(&self, now: u64) -> bool {
        !self.backoff.lasts(now)
    }

    fn retire(&self) {}
}

impl Environment for Process {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn wake(&self) {
        self.woken.store(true, Relaxed);
    }
}

impl Caller {
    #[must_use]
    pub fn new(cluster: &config::Cluster, seed: u64) -> Self {
        Self {
            balancer: Balancer::new(
                cluster,
                Process { woken: AtomicBool::new(false), seed },
                Epoch::now(),
            ),
            random: Random::seeded(seed),
            settings: TransportSettings::default(),
        }
    }

    pub fn replace(&self, endpoints: Vec<config::Endpoint>) {
        self.balancer.replace(endpoints);
    }

    /// None: no endpoint may be called. A call without a hash goes where it likes, under policies
    /// that hash.
    #[must_use]
    pub fn pick(&self, now: u64, tried: &Tried, hash: Option<u64>) -> Option<Flight> {
        let ask = Ask::any(now, &self.random, &tried.0).hashed(hash);
        self.balancer.pick(ask).ok().map(Flight)
    }

    /// Whether it is to be kept from now on.
    #[must_use]
    pub fn takes_keeper(&self) -> bool {
        self.balancer.takes_keeper()
    }

    /// Whether who keeps it is to look again.
    #[must_use]
    pub fn woken(&self) -> bool {
        let woken = &self.balancer.context().woken;
        woken.load(Relaxed) && woken.swap(false, Relaxed)
    }

    /// Does what is due; when more will be, if not because of a call.
    #[must_use]
    pub fn keep(&self, now: u64) -> Option<u64> {
        self.balancer.keep(now)
    }

    /// Whether there is an endpoint besides these.
    #[must_use]
    pub fn has_other(&self, tried: &Tried, hash: Option<u64>) -> bool {
        let tried: Vec<_> = tried.0.iter().map(|endpoint| &**endpoint).collect();
        self.balancer.has_other(&tried, hash, None)
    }

    /// The connection of an attempt was refused: its endpoint is avoided for the transport's
    /// back-off.
    pub fn refused(&self, now: u64, flight: Flight) {
        if let Some(way) = flight.0.endpoint().extra() {
            let (base, max) =
                (self.settings.connect_backoff_base, self.settings.connect_backoff_max);
            way.backoff.failed(now, base, max, &self.random);
        }
        flight.0.finish(now, Outcome::Connect);
    }
}

impl Tried {
    pub fn note(&mut self, flight: &Flight) {
        self.0.push(Arc::clone(flight.0.endpoint()));
    }
}

impl Flight {
    /// The number of the endpoint.
    #[must_use]
    pub fn endpoint(&self) -> u32 {
        self.0.endpoint().extra().map_or(u32::MAX, |way| way.number)
    }

    /// Its server has told this of itself with its answer.
    #[cfg(feature = "orca")]
    pub fn told(&self, now: u64, load: &ServerSays) {
        let report = Report {
            application_utilization: load.utilization,
            rps_fractional: load.calls_per_second,
            named_metrics: vec![
                Entry::of(RIF, f64::from(load.in_flight)),
                Entry::of(LATENCY_US, f64::from(load.latency)),
            ],
            ..Report::default()
        };
        self.0.endpoint().reported(now, &report);
    }

    pub fn succeeded(self, now: u64) {
        if let Some(way) = self.0.endpoint().extra() {
            way.backoff.succeeded();
        }
        self.0.finish(now, Outcome::Success);
    }

    pub fn failed(self, now: u64) {
        self.0.finish(now, Outcome::Failure);
    }

    /// The caller has left.
    pub fn left(self, now: u64) {
        self.0.left(now);
    }
}
