//! The calls that are made all along, and what they may come to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Request;
use tokio::{sync::Notify, task::JoinHandle};

use super::planes;
use crate::{Body, Client};

/// A caller for each service that is called.
#[derive(Default)]
pub(super) struct Calls {
    shared: Arc<Shared>,
    callers: BTreeMap<usize, JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Everybody calls now.
    now: Notify,
}

#[derive(Default)]
struct State {
    pace: Duration,
    made: u64,
    /// What went wrong first.
    failed: Option<String>,
    services: BTreeMap<usize, Service>,
}

#[derive(Default)]
struct Service {
    /// It has answered: none of its calls fails from now on.
    is_known: bool,
    /// The endpoints that may answer.
    may: BTreeSet<String>,
}

// === impl Calls ===

impl Calls {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Calls this service from now on.
    pub(super) fn start(&mut self, service: usize, client: Client) {
        let caller = tokio::spawn(caller(Arc::clone(&self.shared), client, service));
        self.stop_one(service);
        self.callers.insert(service, caller);
    }

    /// Calls it no more.
    pub(super) fn stop_one(&mut self, service: usize) {
        if let Some(caller) = self.callers.remove(&service) {
            caller.abort();
        }
    }

    pub(super) fn stop(&mut self) {
        for (_, caller) in std::mem::take(&mut self.callers) {
            caller.abort();
        }
    }

    /// From now on it may be unknown, until it has answered.
    pub(super) fn is_new(&self, service: usize) {
        self.state().services.entry(service).or_default().is_known = false;
    }

    pub(super) fn is_known(&self, service: usize) -> bool {
        self.state().services.get(&service).is_some_and(|it| it.is_known)
    }

    /// These endpoints may answer, too.
    pub(super) fn may(&self, service: usize, endpoints: BTreeSet<String>) {
        self.state().services.entry(service).or_default().may.extend(endpoints);
    }

    /// These may, and no others.
    pub(super) fn only(&self, service: usize, endpoints: BTreeSet<String>) {
        self.state().services.entry(service).or_default().may = endpoints;
    }

    /// Everybody calls now, and so often from now on.
    pub(super) fn pace(&self, pace: Duration) {
        self.state().pace = pace;
        self.shared.now.notify_waiters();
    }

    /// How many were made.
    pub(super) fn made(&self) -> u64 {
        self.state().made
    }

    /// What went wrong, if anything did; also of a caller that has ended by itself.
    pub(super) fn failed(&self) -> Option<String> {
        let ended = self.callers.iter().find(|(_, caller)| caller.is_finished());
        let ended = ended.map(|(service, _)| format!("the caller of service {service} panicked"));
        self.state().failed.clone().or(ended)
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, service: usize, answer: Result<String, String>) {
        let mut state = self.state();
        state.made += 1;
        let of = state.services.entry(service).or_default();
        let wrong = match answer {
            Ok(endpoint) if of.may.contains(&endpoint) => {
                of.is_known = true;
                return;
            }
            Ok(endpoint) => {
                format!("a call of service {service} went to {endpoint}, not to {:?}", of.may)
            }
            Err(reason) if of.is_known => format!("a call of service {service} failed: {reason}"),
            Err(_) => return,
        };
        if state.failed.is_none() {
            state.failed = Some(wrong);
        }
    }
}

async fn caller(shared: Arc<Shared>, client: Client, service: usize) {
    loop {
        let answer = call(&client, service).await;
        shared.ended(service, answer);
        let pace = shared.state().pace;
        // Either will do.
        tokio::time::timeout(pace, shared.now.notified()).await.ok();
    }
}

/// The endpoint that has answered.
async fn call(client: &Client, service: usize) -> Result<String, String> {
    let uri = format!("http://{}/", planes::name(service));
    let request = Request::get(uri).body(Body::empty()).unwrap();
    let response = client.send(request).await.map_err(|error| error.chain())?;
    let status = response.status();
    let body = response.into_body().bytes().await.map_err(|error| error.chain())?;
    let body = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() { Ok(body) } else { Err(format!("{status}: {body}")) }
}
