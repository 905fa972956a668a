//! The events of a mesh, counted: what shows that a scenario really happened.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};
use tower_mesh::{Event, Mesh};

/// Counts of what happened to connections and retries.
pub(crate) struct Tally {
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
    task: JoinHandle<()>,
    _open: Arc<Open>,
}

/// The calls of a mesh whose heads have not come.
struct Open {
    mesh: Mesh,
    calls: Mutex<BTreeMap<u64, Call>>,
}

/// A call, and what has happened to it.
struct Call {
    since: Instant,
    events: Vec<String>,
}

/// Of every mesh that is tallied.
static OPEN: Mutex<Vec<Weak<Open>>> = Mutex::new(Vec::new());

/// What is known of calls that have waited so long for their heads, and of their meshes.
pub(crate) fn standing(age: Duration) -> String {
    let all: Vec<_> = OPEN.lock().unwrap().iter().filter_map(Weak::upgrade).collect();
    let mut text = String::new();
    for open in all {
        let calls = open.calls.lock().unwrap();
        let old: Vec<_> = calls.iter().filter(|(_, call)| call.since.elapsed() >= age).collect();
        let _ = writeln!(text, "{} of {} heads are awaited for {age:?}", old.len(), calls.len());
        for (number, call) in old {
            let (phase, since) = (call.phase(), call.since.elapsed());
            let _ = writeln!(text, "call {number}, {phase}, {since:?}: {:#?}", call.events);
        }
        let _ = writeln!(text, "{}", open.mesh.describe());
    }
    text + "a call that is not among them waits for its body"
}

impl Call {
    fn phase(&self) -> &'static str {
        match self.events.last().map(String::as_str) {
            None => "before its first attempt",
            Some(last) if last.starts_with("AttemptStarted") => "in an attempt",
            Some(_) => "between attempts",
        }
    }
}

impl Open {
    fn note(&self, event: &Event) {
        let mut calls = self.calls.lock().unwrap();
        match event {
            Event::CallStarted { call, .. } => {
                calls.insert(*call, Call { since: Instant::now(), events: Vec::new() });
            }
            Event::CallEnded { call, .. } => drop(calls.remove(call)),
            Event::AttemptStarted { call, .. }
            | Event::AttemptEnded { call, .. }
            | Event::Retry { call, .. }
            | Event::RetryRefused { call, .. } => {
                if let Some(call) = calls.get_mut(call) {
                    call.events.push(format!("{event:?}"));
                }
            }
            _ => {}
        }
    }
}

impl Tally {
    /// Counts from now on.
    pub(crate) fn of(mesh: &Mesh) -> Self {
        let mut events = mesh.events();
        let counts = Arc::new(Mutex::new(BTreeMap::new()));
        let into = Arc::clone(&counts);
        let open = Arc::new(Open { mesh: mesh.clone(), calls: Mutex::default() });
        OPEN.lock().unwrap().push(Arc::downgrade(&open));
        let noted = Arc::clone(&open);
        let task = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                noted.note(&event);
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
        Self { counts, task, _open: open }
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
