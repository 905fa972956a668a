//! The servers and their machines.

use super::{
    model::{self, ALLOTTED},
    random::Stream,
    scenario::{Machines, Scenario, Trouble},
    server::{Server, State},
    textbook::Sight,
};

pub(crate) struct Fleet {
    /// All that ever were, by number.
    pub(crate) servers: Vec<Server>,
    /// Those that a source would tell now.
    pub(crate) list: Vec<u32>,
    machines: Machines,
    /// Of each server: whether the antagonist is on, and its times.
    antagonists: Vec<(bool, Stream)>,
    /// Servers whose antagonist has not been scheduled.
    unscheduled: Vec<u32>,
    seed: u64,
    /// None of what has done nothing yet.
    weights: Vec<Option<f64>>,
    /// The sums of them.
    sums: Vec<f64>,
    /// The server that is replaced next.
    oldest: u32,
    /// Whether servers tell the crate's clients of their load.
    tells: bool,
    clients: u32,
}

impl Fleet {
    pub(crate) fn new(scenario: &Scenario, tells: bool, seed: u64) -> Self {
        let mut fleet = Self {
            servers: Vec::new(),
            list: Vec::new(),
            machines: scenario.machines,
            antagonists: Vec::new(),
            unscheduled: Vec::new(),
            seed,
            weights: Vec::new(),
            sums: Vec::new(),
            oldest: 0,
            tells,
            clients: scenario.clients,
        };
        for number in 0..scenario.servers {
            fleet.add();
            let server = &mut fleet.servers[number as usize];
            match scenario.trouble {
                Trouble::Slow if number % 2 == 1 => server.slowness = model::fast_slow::SLOWNESS,
                Trouble::Sinkhole if number == 0 => server.state = State::Failing,
                Trouble::Dead(dead) if number < dead => server.state = State::Refusing,
                _ => {}
            }
        }
        fleet.sum();
        fleet
    }

    fn add(&mut self) {
        let number = self.servers.len() as u32;
        let mut random = Stream::new(self.seed, 1_000_000 + u64::from(number));
        let on = model::ANTAGONIST_ON as f64;
        let share = on / (on + model::ANTAGONIST_OFF as f64);
        let is_on = self.machines == Machines::Shared && random.ratio() < share;
        let mut server = Server::new(self.capacity(is_on), 1.0);
        if self.tells {
            server.tells();
        }
        self.servers.push(server);
        self.antagonists.push((is_on, random));
        self.unscheduled.push(number);
        self.list.push(number);
        self.weights.push(None);
    }

    fn capacity(&self, antagonist: bool) -> f64 {
        ALLOTTED
            * match (self.machines, antagonist) {
                (Machines::Alone, _) => 1.0,
                (Machines::Shared, false) => model::ALONE,
                (Machines::Shared, true) => model::HOBBLED,
            }
    }

    pub(crate) fn sight(&self) -> Sight<'_> {
        Sight { servers: &self.servers, weights: &self.sums, clients: self.clients }
    }

    /// When the antagonists of new servers come or go for the first time, counted from now.
    pub(crate) fn first_turns(&mut self, now: u64) -> Vec<(u64, u32)> {
        let new = std::mem::take(&mut self.unscheduled);
        if self.machines == Machines::Alone {
            return Vec::new();
        }
        new.into_iter().map(|number| (now + self.lasts(number), number)).collect()
    }

    /// How long the antagonist stays as it is.
    fn lasts(&mut self, number: u32) -> u64 {
        let (on, random) = &mut self.antagonists[number as usize];
        let mean = if *on { model::ANTAGONIST_ON } else { model::ANTAGONIST_OFF };
        random.exponential(mean as f64) as u64
    }

    /// An antagonist comes or goes; returns when it does so next.
    pub(crate) fn turn(&mut self, now: u64, number: u32) -> u64 {
        let place = number as usize;
        self.antagonists[place].0 = !self.antagonists[place].0;
        let capacity = self.capacity(self.antagonists[place].0);
        self.servers[place].set_capacity(now, capacity);
        now + self.lasts(number)
    }

    /// The oldest servers leave, others take their places.
    pub(crate) fn rotate(&mut self) {
        let count = (self.list.len() as f64 * model::rotation::SHARE) as u32;
        for _ in 0..count {
            self.servers[self.oldest as usize].state = State::Refusing;
            self.oldest += 1;
            self.add();
        }
        let oldest = self.oldest;
        self.list.retain(|number| *number >= oldest);
    }

    /// Every second server.
    pub(crate) fn outage(&mut self, begins: bool) {
        for server in self.servers.iter_mut().step_by(2) {
            server.state = if begins { State::Refusing } else { State::Serving };
        }
    }

    /// Weights of weighted round robin, from what was used since the last time.
    pub(crate) fn weigh(&mut self, now: u64) {
        for (server, weight) in self.servers.iter_mut().zip(&mut self.weights) {
            let (used, done) = server.usage(now);
            // Over a period of one second, in allotments.
            let used = used / model::WRR_PERIOD as f64 / ALLOTTED;
            if used > 0.0 && done > 0 {
                let measured = done as f64 / used;
                let before = weight.unwrap_or(measured);
                *weight = Some(before + model::WRR_BLEND * (measured - before));
            }
        }
        self.sum();
    }

    fn sum(&mut self) {
        // What is not known is taken to be as the others are (gRFC A58).
        let known = self.weights.iter().flatten();
        let mean = known.clone().sum::<f64>() / known.count().max(1) as f64;
        let mean = if mean > 0.0 { mean } else { 1.0 };
        let mut sum = 0.0;
        self.sums.clear();
        self.sums.extend(self.weights.iter().map(|weight| {
            sum += weight.unwrap_or(mean);
            sum
        }));
    }
}
