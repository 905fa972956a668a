//! A server in memory, and a cluster in memory that listens.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Notify;

use super::super::{
    answer::{Answer, Kind, Question, Record},
    machine::Outcome,
    run::{Ask, Tell, run},
    search::Search,
};
use crate::{
    config::{DnsDiscovery, Endpoint},
    core::{BoxFuture, Instant, Random},
};

/// What the server does with a question.
#[derive(Clone)]
pub(super) enum Does {
    Say(Vec<Record>),
    SayWith(Vec<Record>, Vec<Record>),
    Deny(Option<u32>),
    Fail(&'static str),
    Stall,
}

#[derive(Default)]
pub(super) struct Server {
    pub(super) zone: Mutex<BTreeMap<String, Does>>,
    /// Each question with the time since the start.
    pub(super) log: Mutex<Vec<(Duration, String)>>,
    pub(super) search: Search,
    start: Option<Instant>,
}

/// What was told, with the time since the start.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<Mutex<Vec<(Duration, Outcome)>>>);

/// A name that is being resolved.
pub(super) struct Resolved {
    pub(super) server: Arc<Server>,
    pub(super) told: Told,
    pub(super) unreachable: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    fn does(&self, question: &Question) -> Does {
        let zone = self.zone.lock().unwrap();
        zone.get(&question.to_string()).cloned().unwrap_or(Does::Deny(Some(5)))
    }

    pub(super) fn set(&self, question: &str, does: Does) {
        self.zone.lock().unwrap().insert(question.to_owned(), does);
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(|(_, question)| question.clone()).collect()
    }

    /// How often it was asked this.
    pub(super) fn count(&self, question: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|(_, asked)| asked == question).count()
    }

    /// When it was asked this.
    pub(super) fn times(&self, question: &str) -> Vec<Duration> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|(_, asked)| asked == question).map(|(at, _)| *at).collect()
    }
}

impl Ask for Arc<Server> {
    fn names(&self, host: &str) -> BoxFuture<Vec<Arc<str>>> {
        let names = self.search.names(host);
        Box::pin(async move { names })
    }

    fn ask(&self, question: Question) -> BoxFuture<Answer> {
        let since = self.start.unwrap().elapsed();
        self.log.lock().unwrap().push((since, question.to_string()));
        let does = self.does(&question);
        Box::pin(async move {
            match does {
                Does::Say(answers) => Answer::Message { answers, additionals: Vec::new() },
                Does::SayWith(answers, additionals) => Answer::Message { answers, additionals },
                Does::Deny(ttl) => Answer::Nothing { exists: false, ttl },
                Does::Fail(reason) => Answer::Failed(reason.to_owned()),
                Does::Stall => {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    Answer::Failed("no answer within 5 s".to_owned())
                }
            }
        })
    }
}

impl Tell for (Instant, Told) {
    fn tell(&mut self, outcome: Outcome) -> Option<Instant> {
        let (start, told) = self;
        told.0.lock().unwrap().push((start.elapsed(), outcome));
        None
    }
}

impl Told {
    /// How often something was told: the wake-ups of the task.
    pub(super) fn rounds(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|(_, outcome)| outcome.is_over).count()
    }

    /// The newest endpoints, as text.
    pub(super) fn endpoints(&self) -> Vec<String> {
        let told = self.0.lock().unwrap();
        let newest = told.iter().rev().find_map(|(_, outcome)| outcome.endpoints.as_ref());
        newest.map(|set| set.iter().map(text).collect()).unwrap_or_default()
    }

    /// When endpoints were told, with what they were.
    pub(super) fn history(&self) -> Vec<(Duration, Vec<String>)> {
        let told = self.0.lock().unwrap();
        let changes =
            told.iter().filter_map(|(at, outcome)| Some((*at, outcome.endpoints.as_ref()?)));
        changes.map(|(at, set)| (at, set.iter().map(text).collect())).collect()
    }

    pub(super) fn failure(&self) -> Option<String> {
        let told = self.0.lock().unwrap();
        told.iter().rev().find(|(_, outcome)| outcome.is_over)?.1.failure.clone()
    }

    /// Whether the failure is that of a part.
    pub(super) fn is_partial(&self) -> bool {
        let told = self.0.lock().unwrap();
        let newest = told.iter().rev().find(|(_, outcome)| outcome.is_over);
        newest.is_some_and(|(_, outcome)| outcome.is_partial)
    }

    /// When the endpoints were taken away, in seconds.
    pub(super) fn gone(&self) -> Option<f64> {
        let history = self.history();
        history.iter().find(|(_, set)| set.is_empty()).map(|(at, _)| at.as_secs_f64())
    }
}

/// `address+more weight /priority`, the weight only if it is not 1, the priority only if not 0.
pub(super) fn text(endpoint: &Endpoint) -> String {
    let mut text = endpoint.address.to_string();
    for more in &endpoint.more_addresses {
        text += &format!("+{more}");
    }
    if endpoint.weight != 1 {
        text += &format!(" {}", endpoint.weight);
    }
    if endpoint.priority != 0 {
        text += &format!(" /{}", endpoint.priority);
    }
    text
}

impl Resolved {
    /// Resolves a name, and what else the settings say, against this zone.
    pub(super) fn new(dns: DnsDiscovery, zone: &[(&str, Does)]) -> Self {
        Self::searching(dns, zone, Search::default())
    }

    pub(super) fn searching(dns: DnsDiscovery, zone: &[(&str, Does)], search: Search) -> Self {
        let start = Instant::now();
        let server = Server { search, start: Some(start), ..Server::default() };
        for (question, does) in zone {
            server.set(question, does.clone());
        }
        let (server, told) = (Arc::new(server), Told::default());
        let unreachable = Arc::new(Notify::new());
        let ask: Arc<dyn Ask> = Arc::new(Arc::clone(&server));
        let tell = (start, told.clone());
        let random = Arc::new(Random::seeded(7));
        let task = tokio::spawn(run(dns, None, ask, tell, Arc::clone(&unreachable), random));
        Self { server, told, unreachable, task }
    }

    /// Lets so many seconds pass.
    pub(super) async fn pass(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
}

impl Drop for Resolved {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The settings of a name.
pub(super) fn named(name: &str) -> DnsDiscovery {
    DnsDiscovery { name: name.to_owned(), ..DnsDiscovery::default() }
}

/// A question as the zone has it.
pub(super) fn key(name: &str, kind: Kind) -> String {
    Question { name: name.into(), kind }.to_string()
}
