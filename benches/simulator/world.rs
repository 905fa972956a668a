//! The events of a run, in virtual time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use tower_mesh::resilience::bench::{Failure, Hedged};

use super::{
    client::{Client, Ended, Flight, Tried},
    extra::Extras,
    fleet::Fleet,
    keys::{Seen, Zipf, hash_of},
    model,
    random::Stream,
    scenario::{Extra, Policy, Scenario, Trouble, Work},
    server::State,
    tally::{End, Phase, Tally},
};

/// What happens at a time of its own; calls ending in servers and timeouts are looked up.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Arrival,
    Antagonist(u32),
    Weights,
    /// One more attempt of a call.
    Again(Id),
    /// One beside those under way.
    Hedge(Id),
    Rotation,
    /// A client hears of a rotation.
    Heard(u32),
    Outage(bool),
    /// A client's periodic work.
    Keep(u32),
}

/// A place in a slab, and who is meant there.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Id {
    key: u32,
    serial: u64,
}

struct Call {
    client: u32,
    began: u64,
    key: Option<u32>,
    work: f64,
    /// Those that may have reached a server.
    attempts: u32,
    under_way: Vec<Id>,
    tried: Tried,
    hedged: Option<Hedged>,
}

struct Attempt {
    /// None: the caller has left, and the server goes on.
    call: Option<Id>,
    server: u32,
    began: u64,
    is_first: bool,
    /// In flight there, when it came.
    met: u32,
    flight: Option<Flight>,
}

struct Slab<T> {
    places: Vec<Option<(u64, T)>>,
    free: Vec<u32>,
    serial: u64,
}

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    fleet: Fleet,
    /// When the next call of each server ends.
    next: Vec<u64>,
    clients: Vec<Client>,
    calls: Slab<Call>,
    attempts: Slab<Attempt>,
    deadlines: VecDeque<(u64, Id)>,
    attempt_deadlines: VecDeque<(u64, Id)>,
    extras: Extras,
    arrivals: Stream,
    works: Stream,
    stragglers: Stream,
    /// What calls have keys by, if they have any.
    zipf: Option<Zipf>,
    keys: Stream,
    seen: Seen,
    tally: Tally,
}

/// Runs a scenario with clients of one policy.
pub(crate) fn run(scenario: &Scenario, policy: &Policy, seed: u64) -> Tally {
    World::new(scenario, policy, seed).run()
}

impl<T> Slab<T> {
    fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), serial: 0 }
    }

    fn insert(&mut self, value: T) -> Id {
        self.serial += 1;
        let key = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        self.places[key as usize] = Some((self.serial, value));
        Id { key, serial: self.serial }
    }

    fn get(&mut self, id: Id) -> Option<&mut T> {
        let (serial, value) = self.places[id.key as usize].as_mut()?;
        (*serial == id.serial).then_some(value)
    }

    fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        self.free.push(id.key);
        self.places[id.key as usize].take().map(|(_, value)| value)
    }

    fn has(&self, key: u32, serial: u64) -> bool {
        self.places[key as usize].as_ref().is_some_and(|(there, _)| *there == serial)
    }
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, policy: &Policy, seed: u64) -> Self {
        let fleet = Fleet::new(scenario, policy.is_told(), seed);
        let list = fleet.list.clone();
        let clients = (0..scenario.clients)
            .map(|client| {
                let random = Stream::new(seed, 1_000 + u64::from(client));
                Client::new(policy, (client, scenario.clients), list.clone(), random)
            })
            .collect();
        let phases = vec![Phase::default(); scenario.loads.len()];
        let mut world = Self {
            scenario,
            now: 0,
            events: BinaryHeap::new(),
            order: 0,
            next: vec![u64::MAX; fleet.servers.len()],
            fleet,
            clients,
            calls: Slab::new(),
            attempts: Slab::new(),
            deadlines: VecDeque::new(),
            attempt_deadlines: VecDeque::new(),
            extras: Extras::new(scenario, seed),
            arrivals: Stream::new(seed, 1),
            works: Stream::new(seed, 2),
            stragglers: Stream::new(seed, 3),
            zipf: scenario.skew.map(Zipf::new),
            keys: Stream::new(seed, 4),
            seen: Seen::default(),
            tally: Tally { phases, ..Tally::default() },
        };
        world.at(0, Event::Arrival);
        for (at, server) in world.fleet.first_turns(0) {
            world.at(at, Event::Antagonist(server));
        }
        for client in 0..scenario.clients {
            world.look(client);
        }
        if *policy == Policy::Weighted {
            world.at(model::WRR_PERIOD, Event::Weights);
        }
        match scenario.trouble {
            Trouble::Rotation => world.at(model::rotation::EVERY, Event::Rotation),
            Trouble::Outage => {
                use model::metastable::{OUTAGE, OUTAGE_AT};
                world.at(OUTAGE_AT, Event::Outage(true));
                world.at(OUTAGE_AT + OUTAGE, Event::Outage(false));
            }
            _ => {}
        }
        world
    }

    /// After a client has been called or told something.
    fn look(&mut self, client: u32) {
        if self.clients[client as usize].is_due() {
            self.at(self.now, Event::Keep(client));
        }
    }

    fn at(&mut self, time: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time, self.order, event)));
    }

    /// Until the last counted call has ended: others go on coming meanwhile.
    fn run(mut self) -> Tally {
        let end = self.scenario.end() + model::TIMEOUT;
        loop {
            let mut server = 0;
            let mut done = u64::MAX;
            for (place, at) in self.next.iter().enumerate() {
                if *at < done {
                    (server, done) = (place, *at);
                }
            }
            let deadline = self.deadlines.front().map_or(u64::MAX, |(at, _)| *at);
            let attempt = self.attempt_deadlines.front().map_or(u64::MAX, |(at, _)| *at);
            let event = self.events.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
            self.now = done.min(deadline).min(attempt).min(event);
            if self.now > end {
                break;
            }
            if done == self.now {
                self.served(server);
            } else if deadline == self.now {
                if let Some((_, call)) = self.deadlines.pop_front() {
                    self.give_up(call);
                }
            } else if attempt == self.now {
                if let Some((_, attempt)) = self.attempt_deadlines.pop_front() {
                    self.expire(attempt);
                }
            } else if let Some(Reverse((_, _, event))) = self.events.pop() {
                self.happen(event);
            }
        }
        self.tally.max_in_flight =
            self.fleet.servers.iter().map(|server| server.max_in_flight).max().unwrap_or(0);
        self.tally.probes = self.clients.iter().map(Client::probes).sum();
        self.tally
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Antagonist(server) => {
                let next = self.fleet.turn(self.now, server);
                self.at(next, event);
                self.schedule(server as usize);
            }
            Event::Weights => {
                self.fleet.weigh(self.now);
                self.at(self.now + model::WRR_PERIOD, event);
            }
            Event::Again(call) => self.send(call),
            Event::Hedge(call) => {
                if let Some(known) = self.calls.get(call)
                    && let Some(hedged) = &mut known.hedged
                    && self.extras.hedge(known.client, self.now, hedged)
                {
                    let next = hedged.next();
                    self.send(call);
                    if let Some(next) = next {
                        self.at(next, event);
                    }
                }
            }
            Event::Rotation => {
                self.fleet.rotate();
                self.next.resize(self.fleet.servers.len(), u64::MAX);
                for (at, server) in self.fleet.first_turns(self.now) {
                    self.at(at, Event::Antagonist(server));
                }
                for client in 0..self.scenario.clients {
                    let late = self.stragglers.ratio() * model::rotation::HEARD_WITHIN as f64;
                    self.at(self.now + late as u64, Event::Heard(client));
                }
                self.at(self.now + model::rotation::EVERY, event);
            }
            Event::Heard(client) => {
                self.clients[client as usize].replace(self.fleet.list.clone());
                self.look(client);
            }
            Event::Outage(begins) => self.fleet.outage(begins),
            Event::Keep(client) => {
                if let Some(due) = self.clients[client as usize].keep(self.now) {
                    self.at(due.max(self.now + 1), event);
                }
            }
        }
    }

    fn arrive(&mut self) {
        let client = self.arrivals.below(self.clients.len()) as u32;
        let work = match self.scenario.work {
            Work::Normal => {
                self.works.normal().mul_add(model::WORK_DEVIATION, model::WORK_MEAN).max(0.0)
            }
            Work::Lognormal => {
                (self.works.normal() * model::hedging::SIGMA).exp() * model::hedging::MEDIAN
            }
        };
        let wait = self.arrivals.exponential(1.0 / self.scenario.calls_per_nano(self.now));
        self.at(self.now + wait as u64, Event::Arrival);
        self.tally.began(self.now);
        self.extras.begin(client, self.now);
        let key = self.zipf.as_ref().map(|zipf| zipf.draw(&mut self.keys));
        let call = self.calls.insert(Call {
            client,
            began: self.now,
            key,
            work,
            attempts: 0,
            under_way: Vec::new(),
            tried: Tried::default(),
            hedged: None,
        });
        self.deadlines.push_back((self.now + model::TIMEOUT, call));
        self.send(call);
    }

    /// Makes one more attempt, or as many as are refused at once.
    fn send(&mut self, id: Id) {
        loop {
            let Some(call) = self.calls.get(id) else { return };
            let client = &mut self.clients[call.client as usize];
            let hash = call.key.map(hash_of);
            let Some(flight) = client.pick(self.now, &self.fleet.sight(), &call.tried, hash) else {
                return self.failed(id);
            };
            let server = flight.server();
            if client.is_due() {
                self.order += 1;
                self.events.push(Reverse((self.now, self.order, Event::Keep(call.client))));
            }
            if let Some(phase) = self.scenario.phase_of(call.began) {
                self.tally.phases[phase].attempts += 1;
                self.tally.shared(server as usize);
            }
            call.tried.note(&flight);
            let state = self.fleet.servers[server as usize].state;
            if let Some(key) = call.key.filter(|_| state != State::Refusing)
                && let Some(is_same) = self.seen.meets(key, server)
                && self.scenario.phase_of(call.began).is_some()
            {
                self.tally.again += 1;
                self.tally.same += u64::from(is_same);
            }
            match self.fleet.servers[server as usize].state {
                State::Serving => {
                    call.attempts += 1;
                    return self.enter(id, server, flight);
                }
                State::Failing => {
                    call.attempts += 1;
                    client.ended(self.now, flight, Ended::Failure);
                    return self.again(id, Failure::Unavailable);
                }
                State::Refusing => {
                    client.ended(self.now, flight, Ended::Refused);
                    let others = client.has_other(&call.tried, hash, self.fleet.list.len());
                    // What was never sent is sent elsewhere, as the mesh does by default.
                    if self.scenario.extra == Extra::None || !others {
                        return self.failed(id);
                    }
                }
            }
        }
    }

    fn enter(&mut self, id: Id, server: u32, flight: Flight) {
        let Some(call) = self.calls.get(id) else { return };
        let mut work = call.work;
        if self.scenario.work == Work::Lognormal
            && self.stragglers.ratio() < model::hedging::STRAGGLERS
        {
            work *= model::hedging::STRAGGLING;
        }
        let (now, began) = (self.now, self.now);
        let (is_first, flight) = (call.attempts == 1, Some(flight));
        let attempt = Attempt { call: Some(id), server, began, is_first, met: 0, flight };
        let attempt = self.attempts.insert(attempt);
        call.under_way.push(attempt);
        if is_first {
            call.hedged = self.extras.hedged(call.client, now);
        }
        let hedge = call.hedged.as_ref().filter(|_| is_first).and_then(Hedged::next);
        let met = self.fleet.servers[server as usize].enter(now, work, attempt.key, attempt.serial);
        if let Some(attempt) = self.attempts.get(attempt) {
            attempt.met = met;
        }
        if let Some(timeout) = self.scenario.attempt_timeout {
            self.attempt_deadlines.push_back((now + timeout, attempt));
        }
        if let Some(at) = hedge {
            self.at(at, Event::Hedge(id));
        }
        self.schedule(server as usize);
    }

    fn schedule(&mut self, server: usize) {
        let attempts = &self.attempts;
        self.next[server] =
            self.fleet.servers[server].next(|key, serial| attempts.has(key, serial));
    }

    /// A server has done a call.
    fn served(&mut self, place: usize) {
        let now = self.now;
        let server = &mut self.fleet.servers[place];
        if let Some((key, serial)) = server.done(now)
            && let Some(attempt) = self.attempts.remove(Id { key, serial })
        {
            server.measured(now, attempt.met, now - attempt.began);
            let says = server.told(now, attempt.met, now - attempt.began);
            if let (Some(id), Some(flight)) = (attempt.call, attempt.flight)
                && let Some(mut call) = self.calls.remove(id)
            {
                self.clients[call.client as usize].ended(
                    now,
                    flight,
                    Ended::Success(says.as_ref()),
                );
                let took = now - attempt.began;
                self.extras.ended(call.client, now, attempt.is_first.then_some(took));
                for other in std::mem::take(&mut call.under_way) {
                    self.leave(call.client, other, Ended::Left);
                }
                self.tally.succeeded(call.began);
                self.count(call.began, End::Success);
            }
        }
        self.schedule(place);
    }

    /// The caller leaves an attempt, if it is still under way.
    fn leave(&mut self, client: u32, id: Id, ended: Ended<'_>) {
        let Some(attempt) = self.attempts.get(id) else { return };
        if let Some(flight) = attempt.flight.take() {
            self.clients[client as usize].ended(self.now, flight, ended);
            if attempt.is_first {
                self.extras.left(client, self.now, self.now - attempt.began);
            }
        }
        attempt.call = None;
        if !self.scenario.heedless
            && let Some(attempt) = self.attempts.remove(id)
        {
            let place = attempt.server as usize;
            self.fleet.servers[place].cancel(self.now);
            self.schedule(place);
        }
    }

    /// The timeout of a call has passed.
    fn give_up(&mut self, id: Id) {
        let Some(call) = self.calls.remove(id) else { return };
        for attempt in call.under_way {
            self.leave(call.client, attempt, Ended::Failure);
        }
        self.count(call.began, End::Timeout);
    }

    /// The timeout of an attempt has passed.
    fn expire(&mut self, id: Id) {
        let Some(call) = self.attempts.get(id).and_then(|attempt| attempt.call) else { return };
        let Some(known) = self.calls.get(call) else { return };
        known.under_way.retain(|under_way| *under_way != id);
        let client = known.client;
        self.leave(client, id, Ended::Failure);
        self.again(call, Failure::Timeout);
    }

    /// An attempt has failed.
    fn again(&mut self, id: Id, failure: Failure) {
        let Some(call) = self.calls.get(id) else { return };
        match self.extras.again(call.client, self.now, call.attempts, failure) {
            Some(after) => self.at(self.now + after, Event::Again(id)),
            None => self.failed(id),
        }
    }

    /// There will be no more attempts.
    fn failed(&mut self, id: Id) {
        if self.calls.get(id).is_some_and(|call| call.under_way.is_empty())
            && let Some(call) = self.calls.remove(id)
        {
            self.count(call.began, End::Failure);
        }
    }

    fn count(&mut self, began: u64, end: End) {
        if let Some(phase) = self.scenario.phase_of(began) {
            self.tally.phases[phase].ended(self.now - began, end);
        }
    }
}
