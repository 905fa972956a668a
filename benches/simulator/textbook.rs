//! Policies as the literature has them, for comparison.

use super::{
    model::{MS, WORK_MEAN, prequal},
    random::Stream,
    scenario::Policy,
    server::{Report, Server, State},
};

/// What a policy is shown of the servers. An honest one reads only what it could know.
pub(crate) struct Sight<'a> {
    pub(crate) servers: &'a [Server],
    /// The sums of the weights of weighted round robin, up to each server.
    pub(crate) weights: &'a [f64],
    pub(crate) clients: u32,
}

/// A probe's answer in the pool.
#[derive(Clone, Copy, Debug)]
struct Probe {
    server: u32,
    in_flight: u32,
    latency: Option<u64>,
    at: u64,
    uses: u32,
}

/// A client by the book.
#[derive(Debug)]
pub(crate) struct Textbook {
    policy: Policy,
    random: Stream,
    list: Vec<u32>,
    /// By server.
    in_flight: Vec<u32>,
    turn: usize,
    pool: Vec<Probe>,
    /// Calls in flight that probes have told, the latest last, as a ring.
    history: Vec<u32>,
    told: usize,
    oldest_next: bool,
    /// What was in flight in each server when all were asked last, and when that was.
    polled: (u64, Vec<u32>),
    /// C3's average of what each server has told to be in flight.
    queues: Vec<f64>,
    pub(crate) probes: u64,
}

/// How often YARP's power of two asks all servers. Prequal's paper §5.2: 500 ms.
const POLLED_EVERY: u64 = 500 * MS;
/// What a call in flight weighs in `Linear`, in nanoseconds of latency. Prequal's paper §5.2: the
/// median latency at one call in flight, half and half.
const LINEAR: f64 = WORK_MEAN;
/// The part of the latest report in C3's averages. C3 (NSDI '15) §4: 0.9.
const C3_BLEND: f64 = 0.9;

/// So often a policy picks again when it has met a server that the call has tried.
const AGAIN: usize = 16;

impl Textbook {
    pub(crate) fn new(policy: Policy, list: Vec<u32>, mut random: Stream) -> Self {
        let turn = random.below(list.len());
        Self {
            policy,
            random,
            list,
            in_flight: Vec::new(),
            turn,
            pool: Vec::new(),
            history: Vec::new(),
            told: 0,
            oldest_next: true,
            polled: (0, Vec::new()),
            queues: Vec::new(),
            probes: 0,
        }
    }

    pub(crate) fn replace(&mut self, list: Vec<u32>) {
        self.pool.retain(|probe| list.contains(&probe.server));
        self.list = list;
    }

    pub(crate) fn pick(&mut self, now: u64, sight: &Sight<'_>, tried: &[u32]) -> u32 {
        let mut server = self.choose(now, sight);
        for _ in 0..AGAIN {
            if !tried.contains(&server) {
                break;
            }
            server = self.choose(now, sight);
        }
        let place = server as usize;
        if self.in_flight.len() <= place {
            self.in_flight.resize(place + 1, 0);
        }
        self.in_flight[place] += 1;
        if let Policy::Prequal(_) | Policy::Linear | Policy::C3 = self.policy {
            self.probe(now, sight);
        }
        server
    }

    pub(crate) fn ended(&mut self, server: u32) {
        self.in_flight[server as usize] -= 1;
    }

    fn any(&mut self) -> u32 {
        self.list[self.random.below(self.list.len())]
    }

    fn own(&self, server: u32) -> u32 {
        self.in_flight.get(server as usize).copied().unwrap_or(0)
    }

    fn two(&mut self) -> (u32, u32) {
        let len = self.list.len();
        let first = self.random.below(len);
        let mut second = self.random.below(len - 1);
        second += usize::from(second >= first);
        (self.list[first], self.list[second])
    }

    fn choose(&mut self, now: u64, sight: &Sight<'_>) -> u32 {
        match self.policy {
            Policy::RoundRobin => {
                self.turn = (self.turn + 1) % self.list.len();
                self.list[self.turn]
            }
            Policy::Weighted => {
                let all = sight.weights.last().copied().unwrap_or(0.0);
                let point = self.random.ratio() * all;
                let place = sight.weights.partition_point(|sum| *sum <= point);
                place.min(sight.weights.len() - 1) as u32
            }
            Policy::LeastLoaded => {
                let (from, len) = (self.random.below(self.list.len()), self.list.len());
                let places = (0..len).map(|step| self.list[(from + step) % len]);
                places.min_by_key(|server| self.own(*server)).unwrap_or(0)
            }
            Policy::P2c => {
                let (first, second) = self.two();
                if self.own(second) < self.own(first) { second } else { first }
            }
            Policy::Oracle => {
                let (first, second) = self.two();
                let load = |server: u32| sight.servers[server as usize].in_flight();
                if load(second) < load(first) { second } else { first }
            }
            Policy::Polled => {
                if self.polled.1.len() < sight.servers.len() || now - self.polled.0 >= POLLED_EVERY
                {
                    let in_flight = sight.servers.iter().map(Server::in_flight);
                    self.polled = (now, in_flight.collect());
                }
                let (first, second) = self.two();
                let load = |server: u32| self.polled.1[server as usize];
                if load(second) < load(first) { second } else { first }
            }
            Policy::Prequal(hot) => self.prequal(now, hot, None),
            // What is removed as the worst is the one of the most in flight.
            Policy::Linear | Policy::C3 => self.prequal(now, 0.0, Some(sight.clients)),
            Policy::Random | Policy::Ours(..) | Policy::Part(..) => self.any(),
        }
    }

    //= Prequal (NSDI '24) §4: the hot-cold rule over a pool of probes
    fn prequal(&mut self, now: u64, hot: f64, scored: Option<u32>) -> u32 {
        self.pool.retain(|probe| probe.at + prequal::AGE >= now);
        let theta = self.theta(hot);
        let best = match scored {
            _ if self.pool.len() < 2 => None,
            Some(clients) => self.least(clients),
            None => self.best(theta),
        };
        let server = match best {
            None => self.any(),
            Some(place) => {
                let reuse = self.reuse();
                let probe = &mut self.pool[place];
                probe.in_flight += 1;
                probe.uses += 1;
                let (server, uses) = (probe.server, probe.uses);
                if uses >= reuse {
                    self.pool.swap_remove(place);
                }
                server
            }
        };
        for _ in 0..prequal::REMOVED {
            self.remove(theta);
        }
        server
    }

    fn theta(&self, hot: f64) -> u32 {
        if self.history.is_empty() {
            return u32::MAX;
        }
        let mut sorted = self.history.clone();
        let rank = (hot * sorted.len() as f64) as usize;
        let rank = rank.min(sorted.len() - 1);
        *sorted.select_nth_unstable(rank).1
    }

    fn best(&self, theta: u32) -> Option<usize> {
        let pool = || self.pool.iter().enumerate();
        let cold = pool().filter(|(_, probe)| probe.in_flight <= theta);
        cold.min_by_key(|(_, probe)| probe.latency.unwrap_or(0))
            .or_else(|| pool().min_by_key(|(_, probe)| probe.in_flight))
            .map(|(place, _)| place)
    }

    /// The least by the policy's score.
    fn least(&self, clients: u32) -> Option<usize> {
        let score = |probe: &Probe| {
            if self.policy == Policy::Linear {
                return probe.latency.unwrap_or(0) as f64 + LINEAR * f64::from(probe.in_flight);
            }
            //= C3 (NSDI '15) §3: R - 1/μ + q³/μ, q = 1 + own in flight · clients + average of the
            //= queue. Here servers have no queue and the network takes no time: R is 1/μ.
            let queue = self.queues.get(probe.server as usize).copied().unwrap_or(0.0);
            let own = f64::from(self.own(probe.server)) * f64::from(clients);
            // Who has answered nothing of late is not quick.
            let service = probe.latency.map_or(WORK_MEAN, |latency| latency as f64);
            (1.0 + own + queue).powi(3) * service
        };
        let places = self.pool.iter().enumerate().map(|(place, probe)| (place, score(probe)));
        places.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(place, _)| place)
    }

    /// How often a probe is used: max{1, (1 + δ) / ((1 - m/n) · probes - removed)}.
    fn reuse(&mut self) -> u32 {
        let full = self.pool.len() as f64 / self.list.len() as f64;
        let surplus = (1.0 - full) * f64::from(prequal::PROBES) - f64::from(prequal::REMOVED);
        if surplus <= 0.0 {
            return u32::MAX;
        }
        let reuse = ((1.0 + prequal::DELTA) / surplus).max(1.0);
        reuse as u32 + u32::from(self.random.ratio() < reuse.fract())
    }

    /// The oldest and the worst in turn.
    fn remove(&mut self, theta: u32) {
        let pool = self.pool.iter().enumerate();
        let gone = if self.oldest_next {
            pool.min_by_key(|(_, probe)| probe.at)
        } else if self.pool.iter().any(|probe| probe.in_flight > theta) {
            pool.max_by_key(|(_, probe)| probe.in_flight)
        } else {
            pool.max_by_key(|(_, probe)| probe.latency)
        };
        if let Some(place) = gone.map(|(place, _)| place) {
            self.pool.swap_remove(place);
        }
        self.oldest_next = !self.oldest_next;
    }

    fn probe(&mut self, now: u64, sight: &Sight<'_>) {
        let mut asked = [u32::MAX; prequal::PROBES as usize];
        for at in 0..asked.len() {
            let mut server = self.any();
            while asked.contains(&server) {
                server = self.any();
            }
            asked[at] = server;
            self.probes += 1;
            let asked = &sight.servers[server as usize];
            if asked.state == State::Refusing {
                continue;
            }
            let Report { in_flight, latency } = asked.report(now);
            if self.history.len() < prequal::HISTORY {
                self.history.push(in_flight);
            } else {
                self.history[self.told % prequal::HISTORY] = in_flight;
            }
            self.told += 1;
            let place = server as usize;
            if self.queues.len() <= place {
                self.queues.resize(place + 1, 0.0);
            }
            self.queues[place] += C3_BLEND * (f64::from(in_flight) - self.queues[place]);
            self.pool.retain(|probe| probe.server != server);
            if self.pool.len() == prequal::POOL
                && let Some((oldest, _)) =
                    self.pool.iter().enumerate().min_by_key(|(_, probe)| probe.at)
            {
                self.pool.swap_remove(oldest);
            }
            self.pool.push(Probe { server, in_flight, latency, at: now, uses: 0 });
        }
    }
}
