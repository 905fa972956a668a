//! What is run: the model with its settings for one question.

use tower_mesh::config;

use super::model::{self, MS, S};

/// Which balancer the clients have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Policy {
    /// The crate's own.
    Ours(&'static str, config::Balancer),
    /// The same over a part of the servers.
    Part(&'static str, config::Balancer, Part),
    Random,
    RoundRobin,
    /// By calls over utilisation, from one place for all clients.
    Weighted,
    /// Least of the client's own calls in flight, of all servers.
    LeastLoaded,
    /// The same of two servers.
    P2c,
    /// Of two servers, by what truly is in flight: what no client can know.
    Oracle,
    /// Of two servers, by what was in flight there when this client asked all of them last.
    Polled,
    /// With 3 probes per call and this hot quantile.
    Prequal(f64),
    /// By the same probes, the least of the mean of latency and calls in flight.
    Linear,
    /// By the same probes, the least by C3's score.
    C3,
}

/// Which part of the servers a client uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// By the client's seed.
    Random(u32),
    /// By the client's number.
    Deterministic(u32),
}

/// How servers and their machines are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Machines {
    /// With antagonists that come and go.
    Shared,
    /// What is allotted, always.
    Alone,
}

/// How much work a call is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Work {
    Normal,
    /// With stragglers.
    Lognormal,
}

/// What happens during the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    None,
    /// Every second server is slow.
    Slow,
    /// The first server fails everything at once.
    Sinkhole,
    /// So many servers refuse connections.
    Dead(u32),
    /// Servers are replaced.
    Rotation,
    /// Half of the servers refuse connections for a while.
    Outage,
}

/// Attempts beyond the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Extra {
    None,
    /// Of what was never sent.
    Safe,
    /// Of failed attempts, under the crate's budget of this ratio and reserve per second, or
    /// without one.
    Retries(Option<(f64, u32)>),
    /// The same under gRPC's throttle of so many tokens, of which a success gives back a part.
    Throttled(f64, f64),
    /// One attempt beside the first when that takes long, for so many percent of the calls.
    Hedge(f64),
}

/// One question.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) servers: u32,
    pub(crate) clients: u32,
    /// Of what is allotted to all servers; one per phase.
    pub(crate) loads: Vec<f64>,
    pub(crate) warm_up: u64,
    pub(crate) phase: u64,
    pub(crate) machines: Machines,
    pub(crate) work: Work,
    pub(crate) trouble: Trouble,
    /// How unequally the keys of calls are wanted; none: they have no keys.
    pub(crate) skew: Option<f64>,
    pub(crate) extra: Extra,
    pub(crate) attempt_timeout: Option<u64>,
    /// Whether a server works on though the caller has left.
    pub(crate) heedless: bool,
}

impl Scenario {
    /// Plain load.
    pub(crate) fn at(load: f64, clients: u32) -> Self {
        Self {
            servers: model::SERVERS,
            clients,
            loads: vec![load],
            warm_up: model::WARM_UP,
            phase: model::MEASURED,
            machines: Machines::Shared,
            work: Work::Normal,
            trouble: Trouble::None,
            skew: None,
            extra: Extra::None,
            attempt_timeout: None,
            heedless: false,
        }
    }

    pub(crate) fn ramp(clients: u32) -> Self {
        let loads = model::RAMP.to_vec();
        Self { loads, phase: model::RAMP_STEP, ..Self::at(0.0, clients) }
    }

    /// The steps of the ramp below saturation.
    pub(crate) fn below_saturation(clients: u32) -> Self {
        let mut ramp = Self::ramp(clients);
        ramp.loads.retain(|load| *load < model::SATURATION);
        ramp
    }

    pub(crate) fn fast_slow() -> Self {
        use model::fast_slow::{CLIENTS, LOAD, SLOWNESS};
        let load = LOAD * model::SATURATION * (1.0 + 1.0 / SLOWNESS) / 2.0;
        Self { trouble: Trouble::Slow, ..Self::at(load, CLIENTS) }
    }

    pub(crate) fn sinkhole(clients: u32) -> Self {
        use model::sinkhole::{LOAD, SERVERS};
        Self { servers: SERVERS, trouble: Trouble::Sinkhole, ..Self::at(LOAD, clients) }
    }

    pub(crate) fn dead() -> Self {
        use model::dead::{CLIENTS, DEAD, LOAD, SERVERS};
        let extra = Extra::Safe;
        Self { servers: SERVERS, trouble: Trouble::Dead(DEAD), extra, ..Self::at(LOAD, CLIENTS) }
    }

    pub(crate) fn rotation() -> Self {
        use model::rotation::{CLIENTS, LOAD};
        Self { trouble: Trouble::Rotation, extra: Extra::Safe, ..Self::at(LOAD, CLIENTS) }
    }

    /// Calls with keys.
    pub(crate) fn keyed(skew: f64) -> Self {
        use model::keys::{CLIENTS, LOAD};
        Self { skew: Some(skew), ..Self::at(LOAD, CLIENTS) }
    }

    /// The same while servers are replaced.
    pub(crate) fn keyed_rotation(skew: f64) -> Self {
        let (trouble, extra) = (Trouble::Rotation, Extra::Safe);
        Self { trouble, extra, ..Self::keyed(skew) }
    }

    pub(crate) fn hedging(extra: Extra) -> Self {
        use model::hedging::{CLIENTS, LOAD};
        let (machines, work) = (Machines::Alone, Work::Lognormal);
        Self { machines, work, extra, ..Self::at(LOAD, CLIENTS) }
    }

    /// One phase from the start, and seconds in [`Tally`](super::tally::Tally).
    pub(crate) fn metastable(extra: Extra, heedless: bool) -> Self {
        use model::metastable::{ATTEMPT_TIMEOUT, CLIENTS, END, LOAD};
        Self {
            warm_up: 0,
            phase: END,
            machines: Machines::Alone,
            trouble: Trouble::Outage,
            extra,
            attempt_timeout: Some(ATTEMPT_TIMEOUT),
            heedless,
            ..Self::at(LOAD, CLIENTS)
        }
    }

    /// The same in so short a time that a test may run it.
    #[allow(dead_code, reason = "for tests, of which this file is a part, too")]
    pub(crate) fn short(mut self, warm_up: u64, phase: u64) -> Self {
        self.warm_up = warm_up;
        self.phase = phase;
        self
    }

    pub(crate) fn end(&self) -> u64 {
        self.warm_up + self.phase * self.loads.len() as u64
    }

    /// The phase of a call that began then; none in the warm-up and after the end.
    pub(crate) fn phase_of(&self, began: u64) -> Option<usize> {
        let phase = began.checked_sub(self.warm_up)? / self.phase;
        usize::try_from(phase).ok().filter(|phase| *phase < self.loads.len())
    }

    /// Calls per nanosecond of all clients.
    pub(crate) fn calls_per_nano(&self, now: u64) -> f64 {
        let phase = now.saturating_sub(self.warm_up) / self.phase;
        let last = self.loads.len() - 1;
        let load = self.loads[usize::try_from(phase).unwrap_or(last).min(last)];
        load * model::ALLOTTED * f64::from(self.servers) / self.expected_work()
    }

    fn expected_work(&self) -> f64 {
        use model::hedging::{MEDIAN, SIGMA, STRAGGLERS, STRAGGLING};
        match self.work {
            Work::Normal => model::WORK_EXPECTED,
            Work::Lognormal => {
                MEDIAN * (SIGMA * SIGMA / 2.0).exp() * (1.0 + STRAGGLERS * (STRAGGLING - 1.0))
            }
        }
    }
}

impl Policy {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Ours(name, _) => format!("tower-mesh {name}"),
            Self::Part(name, _, Part::Random(size)) => {
                format!("tower-mesh {name}, {size} at random")
            }
            Self::Part(name, _, Part::Deterministic(size)) => {
                format!("tower-mesh {name}, {size} by number")
            }
            Self::Random => "random".into(),
            Self::RoundRobin => "round robin".into(),
            Self::Weighted => "WRR q/u".into(),
            Self::LeastLoaded => "least loaded (own)".into(),
            Self::P2c => "P2C (own in flight)".into(),
            Self::Oracle => "P2C (oracle)".into(),
            Self::Polled => "P2C (polled in flight)".into(),
            Self::Linear => "Linear, 3 probes".into(),
            Self::C3 => "C3, 3 probes".into(),
            Self::Prequal(hot) => format!("Prequal, 3 probes, Q {hot}"),
        }
    }

    /// Whether clients follow what servers tell of their load.
    pub(crate) fn is_told(&self) -> bool {
        let (Self::Ours(_, balancer) | Self::Part(_, balancer, _)) = self else { return false };
        matches!(balancer, config::Balancer::Prequal(_) | config::Balancer::ClientWeighted(_))
    }

    /// What the client of this number, of so many, is told to do, if the policy is the crate's.
    pub(crate) fn cluster(&self, number: u32, clients: u32) -> config::Cluster {
        let mut cluster = config::Cluster::default();
        if let Self::Ours(_, balancer) | Self::Part(_, balancer, _) = self {
            cluster.balancer = Some(balancer.clone());
        }
        if let Self::Part(_, _, part) = self {
            cluster.subsetting = Some(match *part {
                Part::Random(size) => {
                    let mut random = config::RandomSubset::default();
                    (random.size, random.above) = (Some(size), Some(0));
                    config::Subsetting::Random(random)
                }
                Part::Deterministic(size) => {
                    let mut numbered = config::DeterministicSubset::default();
                    (numbered.size, numbered.process, numbered.processes) =
                        (Some(size), number, clients);
                    config::Subsetting::Deterministic(numbered)
                }
            });
        }
        cluster
    }

    /// The crate's that go by the key of a call, over so many servers, and two that do not.
    pub(crate) fn keyed(servers: u32) -> Vec<Self> {
        let bound = Some(model::keys::BOUND);
        let ring = config::RingHash::default();
        let (mut bounded_ring, maglev) = (ring.clone(), config::Maglev::default());
        let mut bounded = maglev.clone();
        (bounded_ring.balance_percent, bounded.balance_percent) = (bound, bound);
        let mut large = ring.clone();
        large.minimum_ring_size = Some(model::keys::RING);
        vec![
            Self::Ours("ring_hash", config::Balancer::RingHash(ring)),
            Self::Ours("ring_hash, bounded", config::Balancer::RingHash(bounded_ring)),
            Self::Ours("ring_hash of 65,536", config::Balancer::RingHash(large)),
            Self::Ours("maglev", config::Balancer::Maglev(maglev)),
            Self::Ours("maglev, bounded", config::Balancer::Maglev(bounded)),
            Self::Ours("sharded", super::keys::sharded(servers)),
            Self::Ours("random", config::Balancer::Random),
            Self::Ours("peak_ewma", config::Balancer::default()),
        ]
    }

    /// Pick first, in the order of the source and shuffled.
    pub(crate) fn first() -> Vec<Self> {
        let (listed, mut shuffled) = (config::PickFirst::default(), config::PickFirst::default());
        shuffled.shuffle = Some(true);
        vec![
            Self::Ours("pick_first", config::Balancer::PickFirst(listed)),
            Self::Ours("pick_first, shuffled", config::Balancer::PickFirst(shuffled)),
        ]
    }

    /// Over all servers, and over parts of them.
    pub(crate) fn parts() -> Vec<Self> {
        let size = model::PART;
        let mut all = Vec::new();
        for (name, balancer) in [
            ("prequal", config::Balancer::Prequal(config::Prequal::default())),
            ("peak_ewma", config::Balancer::default()),
            ("least_request", config::Balancer::LeastRequest),
            ("round_robin", config::Balancer::RoundRobin),
        ] {
            all.push(Self::Ours(name, balancer.clone()));
            all.push(Self::Part(name, balancer.clone(), Part::Random(size)));
            all.push(Self::Part(name, balancer, Part::Deterministic(size)));
        }
        all
    }

    /// The crate's, as they are by default.
    pub(crate) fn ours() -> Vec<Self> {
        vec![
            Self::Ours("peak_ewma", config::Balancer::default()),
            Self::Ours("least_request", config::Balancer::LeastRequest),
            Self::Ours("round_robin", config::Balancer::RoundRobin),
            Self::Ours("random", config::Balancer::Random),
            Self::Ours("client_weighted", config::Balancer::ClientWeighted(Default::default())),
        ]
    }

    /// The textbook's.
    pub(crate) fn textbook() -> Vec<Self> {
        vec![
            Self::Random,
            Self::RoundRobin,
            Self::Weighted,
            Self::LeastLoaded,
            Self::P2c,
            Self::Polled,
            Self::Linear,
            Self::C3,
            Self::Prequal(model::prequal::HOT),
            Self::Prequal(0.35),
            Self::Oracle,
        ]
    }
}

/// A time of the model as a person reads it.
pub(crate) fn text(nanos: u64) -> String {
    match nanos {
        model::TIMEOUT.. => "TO".into(),
        _ if nanos.is_multiple_of(S) && nanos > 0 => format!("{} s", nanos / S),
        _ => format!("{}", (nanos + MS / 2) / MS),
    }
}
