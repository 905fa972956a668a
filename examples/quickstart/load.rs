//! The callers: a few tasks per service that call without a pause, and what they noted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Request;
use tokio::{task::JoinSet, time::Instant};
use tower_mesh::{Body, BoxError, Client, Event, EventStream, Mesh};

use crate::{
    greeter::{GreeterClient, HelloRequest},
    replica::REPLICA,
};

pub(crate) const USERS: &str = "users.prod";
pub(crate) const GREETER: &str = "greeter.prod";

const CALLERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(4);

/// What happened to the calls of one service since the last look.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) latencies: Vec<Duration>,
    /// Answers by replica.
    pub(crate) answers: BTreeMap<String, u64>,
    /// Retries by reason.
    pub(crate) retries: BTreeMap<String, u64>,
    pub(crate) failures: Vec<String>,
}

/// What happened since the last look.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) services: BTreeMap<String, Tally>,
    /// Parts of the file that were refused, with the reason.
    pub(crate) refused: Vec<String>,
    /// Events that came too fast to be counted.
    pub(crate) missed: u64,
}

/// The calls in progress.
pub(crate) struct Load {
    notes: Arc<Mutex<Notes>>,
    stop: Arc<AtomicBool>,
    in_flight: Arc<AtomicUsize>,
    callers: JoinSet<()>,
}

impl Notes {
    fn ended(&mut self, service: &str, elapsed: Duration, outcome: Result<String, String>) {
        let tally = self.services.entry(service.to_owned()).or_default();
        tally.latencies.push(elapsed);
        match outcome {
            Ok(replica) => *tally.answers.entry(replica).or_default() += 1,
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

    /// Whether this replica has answered a call.
    pub(crate) fn answered(&self, replica: &str) -> bool {
        self.services.values().any(|tally| tally.answers.contains_key(replica))
    }
}

impl Load {
    /// Calls both services through the mesh until it is stopped.
    pub(crate) fn start(mesh: &Mesh) -> Result<Self, BoxError> {
        let mut load = Self {
            notes: Arc::default(),
            stop: Arc::default(),
            in_flight: Arc::default(),
            callers: JoinSet::new(),
        };
        tokio::spawn(listen(mesh.events(), Arc::clone(&load.notes)));
        for _ in 0..CALLERS {
            let http = mesh.http();
            load.caller(USERS, move || get(http.clone()));
            let greeter = GreeterClient::new(mesh.client(GREETER)?);
            load.caller(GREETER, move || greet(greeter.clone()));
        }
        Ok(load)
    }

    fn caller<F, Fut>(&mut self, service: &'static str, call: F)
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<String, String>> + Send,
    {
        let (notes, stop) = (Arc::clone(&self.notes), Arc::clone(&self.stop));
        let in_flight = Arc::clone(&self.in_flight);
        self.callers.spawn(async move {
            while !stop.load(Relaxed) {
                let started = Instant::now();
                in_flight.fetch_add(1, Relaxed);
                let outcome = call().await;
                in_flight.fetch_sub(1, Relaxed);
                let elapsed = started.elapsed();
                notes.lock().unwrap().ended(service, elapsed, outcome);
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// Calls and failures since the last look.
    pub(crate) fn so_far(&self) -> (usize, usize) {
        let notes = self.notes.lock().unwrap();
        (notes.calls(), notes.failed())
    }

    /// Calls that wait for their answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// What happened since the last look.
    pub(crate) fn take(&self) -> Notes {
        std::mem::take(&mut *self.notes.lock().unwrap())
    }

    /// No further call begins from here on.
    pub(crate) async fn stop(&self) {
        self.stop.store(true, Relaxed);
        // Whoever has just not seen it has begun by then.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    /// Waits until the last call has ended.
    pub(crate) async fn join(&mut self) {
        while self.callers.join_next().await.is_some() {}
    }
}

/// Retries and refused edits, as the mesh tells them.
async fn listen(mut events: EventStream, notes: Arc<Mutex<Notes>>) {
    let mut missed = 0;
    while let Some(event) = events.recv().await {
        let mut notes = notes.lock().unwrap();
        match event {
            Event::Retry { service, reason, .. } => {
                let tally = notes.services.entry(service.to_string()).or_default();
                *tally.retries.entry(reason.to_string()).or_default() += 1;
            }
            Event::ConfigRefused { part, reason, .. } => {
                notes.refused.push(format!("{part}: {reason}"));
            }
            _ => {}
        }
        notes.missed += events.missed() - missed;
        missed = events.missed();
    }
}

/// One HTTP call: the request's authority names the service.
async fn get(http: Client) -> Result<String, String> {
    let request = Request::get("http://users.prod/1").body(Body::empty()).unwrap();
    let response = http.send(request).await.map_err(|error| error.chain())?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()));
    }
    let replica = response.headers()[REPLICA].to_str().unwrap_or("?").to_owned();
    response.into_body().bytes().await.map_err(|error| error.chain())?;
    Ok(replica)
}

/// One gRPC call: a generated client, unchanged.
async fn greet(mut greeter: GreeterClient<Client>) -> Result<String, String> {
    let request = HelloRequest { name: "newcomer".to_owned() };
    let response = greeter.say_hello(request).await.map_err(|status| status.to_string())?;
    let replica = response.metadata().get(REPLICA).and_then(|name| name.to_str().ok());
    Ok(replica.unwrap_or("?").to_owned())
}
