//! The events of a mesh, counted: what shows that a scenario really happened.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::task::JoinHandle;
use tower_mesh::{Event, Mesh};

/// Counts of what happened to connections and retries.
pub(crate) struct Tally {
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
    task: JoinHandle<()>,
}

impl Tally {
    /// Counts from now on.
    pub(crate) fn of(mesh: &Mesh) -> Self {
        let mut events = mesh.events();
        let counts = Arc::new(Mutex::new(BTreeMap::new()));
        let into = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let what = match event {
                    Event::Connected { .. } => "connected".to_owned(),
                    Event::ConnectFailed { .. } => "connect failed".to_owned(),
                    Event::Disconnected { reason, .. } => format!("disconnected, {reason}"),
                    Event::Retry { reason, .. } => format!("retry, {reason}"),
                    Event::RetryRefused { reason, .. } => format!("retry refused, {reason}"),
                    Event::ConfigApplied { .. } => "config applied".to_owned(),
                    _ => continue,
                };
                *into.lock().unwrap().entry(what).or_default() += 1;
                if events.missed() > 0 {
                    into.lock().unwrap().insert("missed events".to_owned(), 1);
                }
            }
        });
        Self { counts, task }
    }

    /// How often what starts so happened.
    pub(crate) fn count(&self, what: &str) -> usize {
        let counts = self.counts.lock().unwrap();
        counts.iter().filter(|(key, _)| key.starts_with(what)).map(|(_, count)| count).sum()
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        let counts = self.counts.lock().unwrap();
        let parts: Vec<_> = counts.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        parts.join("; ")
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.task.abort();
    }
}
