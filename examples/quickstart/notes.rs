//! What happened to the calls, and what the mesh has told, since the last look.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;
use tower_mesh::{DisconnectReason, Event, EventStream};

/// What happened to the calls of one service.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) latencies: Vec<Duration>,
    /// Answers by replica.
    pub(crate) answers: BTreeMap<String, u64>,
    /// When each of them has answered for the last time.
    last: BTreeMap<String, Instant>,
    /// Retries by reason.
    pub(crate) retries: BTreeMap<String, u64>,
    pub(crate) failures: Vec<String>,
}

#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) services: BTreeMap<String, Tally>,
    /// Calls by what they were made with.
    pub(crate) clients: BTreeMap<&'static str, usize>,
    /// Parts of the file that were refused, with the reason.
    pub(crate) refused: Vec<String>,
    /// What the mesh has told of keys, roots and records.
    pub(crate) told: Vec<String>,
    /// Connections that have ended, by reason.
    pub(crate) ended: BTreeMap<String, u64>,
    /// Connections in clear.
    pub(crate) unsecured: u64,
    /// Events that came too fast to be counted.
    pub(crate) missed: u64,
}

impl Notes {
    pub(crate) fn call(
        &mut self,
        (service, client): (&str, &'static str),
        elapsed: Duration,
        outcome: Result<String, String>,
    ) {
        *self.clients.entry(client).or_default() += 1;
        let tally = self.services.entry(service.to_owned()).or_default();
        tally.latencies.push(elapsed);
        match outcome {
            Ok(replica) => {
                tally.last.insert(replica.clone(), Instant::now());
                *tally.answers.entry(replica).or_default() += 1;
            }
            Err(failure) => tally.failures.push(failure),
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.services.values().map(|tally| tally.latencies.len()).sum()
    }

    pub(crate) fn failed(&self) -> usize {
        self.services.values().map(|tally| tally.failures.len()).sum()
    }

    pub(crate) fn retries(&self) -> u64 {
        self.services.values().flat_map(|tally| tally.retries.values()).sum()
    }

    /// Whether each of these replicas has answered a call.
    pub(crate) fn answered(&self, replicas: &[&str]) -> bool {
        let answered = |replica: &&str| {
            self.services.values().any(|tally| tally.answers.contains_key(*replica))
        };
        replicas.iter().all(answered)
    }

    /// Whether none of these replicas has answered a call for so long.
    pub(crate) fn silent(&self, replicas: &[&str], time: Duration) -> bool {
        let spoke = |replica: &&str| {
            let last = self.services.values().filter_map(|tally| tally.last.get(*replica)).max();
            last.is_some_and(|last| last.elapsed() < time)
        };
        !replicas.iter().any(spoke)
    }

    /// Which part of the calls of its service this replica has answered; all, if there were none.
    pub(crate) fn share(&self, service: &str, replica: &str) -> f64 {
        let tally = self.services.get(service);
        let answered = tally.and_then(|tally| tally.answers.get(replica)).copied();
        let calls = tally.map_or(0, |tally| tally.latencies.len());
        if calls == 0 { 1.0 } else { answered.unwrap_or_default() as f64 / calls as f64 }
    }

    /// How many retries there were for each call of this service.
    pub(crate) fn retried(&self, service: &str) -> f64 {
        let Some(tally) = self.services.get(service) else { return 0.0 };
        tally.retries.values().sum::<u64>() as f64 / tally.latencies.len().max(1) as f64
    }

    /// Whether the mesh has told something that begins so.
    pub(crate) fn told(&self, begins: &str) -> bool {
        self.told.iter().any(|told| told.starts_with(begins))
    }

    /// How many connections have ended for this reason.
    pub(crate) fn ended(&self, reason: DisconnectReason) -> u64 {
        self.ended.get(&reason.to_string()).copied().unwrap_or_default()
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Retry { service, reason, .. } => {
                let tally = self.services.entry(service.to_string()).or_default();
                *tally.retries.entry(reason.to_string()).or_default() += 1;
            }
            Event::ConfigRefused { part, reason, .. } => {
                self.refused.push(format!("refused: {part}: {reason}"));
            }
            Event::ConfigApplied { part, .. } => {
                let kind = part.split(' ').next().unwrap_or_default();
                if ["identity", "trust"].contains(&kind) {
                    self.told.push(format!("{kind} is in force"));
                }
            }
            Event::EndpointAdded { cluster, endpoint, .. } => {
                self.told.push(format!("joined {cluster}: {endpoint}"));
            }
            Event::EndpointRemoved { cluster, endpoint, .. } => {
                self.told.push(format!("left {cluster}: {endpoint}"));
            }
            Event::Connected { secured: false, .. } => self.unsecured += 1,
            Event::Disconnected { reason, .. } => {
                *self.ended.entry(reason.to_string()).or_default() += 1;
            }
            _ => {}
        }
    }
}

/// Notes what the mesh tells.
pub(crate) async fn listen(mut events: EventStream, notes: Arc<Mutex<Notes>>) {
    let mut missed = 0;
    while let Some(event) = events.recv().await {
        let mut notes = notes.lock().unwrap();
        notes.note(event);
        notes.missed += events.missed() - missed;
        missed = events.missed();
    }
}
