//! One client's cache: what is read at first, and written from then on.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{
    Settings, disk,
    format::{self, Found, Snapshot},
    identity::Identity,
    schedule::Schedule,
};
use crate::{
    control::xds::{
        bootstrap::Bootstrap,
        client::{Age, Client, Decode, ServerId, Stocked},
    },
    core::Instant,
};

/// What cannot be read by then is done without.
const LONGEST_READ: Duration = Duration::from_secs(5);
/// A place that another client has is looked at again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// The places that clients of this process have.
static PLACES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The cache of one client.
pub(crate) struct Keeper {
    settings: Settings,
    identity: Identity,
    servers: Vec<Arc<str>>,
    schedule: Schedule,
    state: State,
    /// The number of the last writing, and which was done last: a later one is never undone.
    number: u64,
    done: Arc<Mutex<u64>>,
    trouble: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// It has to be read first; not before.
    Unread(Option<Instant>),
    Read,
}

/// A writing, to be done where blocking is allowed.
pub(crate) struct Save {
    path: PathBuf,
    snapshot: Snapshot,
    number: u64,
    done: Arc<Mutex<u64>>,
}

// === impl Keeper ===

impl Keeper {
    pub(crate) fn new(settings: Settings, bootstrap: &Bootstrap) -> Self {
        let servers = bootstrap.every_server();
        Self {
            settings,
            identity: Identity::of(bootstrap),
            servers: servers.into_iter().map(|server| Arc::clone(&server.uri)).collect(),
            schedule: Schedule::default(),
            state: State::Unread(None),
            number: 0,
            done: Arc::default(),
            trouble: None,
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn path(&self) -> &Path {
        &self.settings.path
    }

    /// Why what was there is not used, or what is known is not written.
    pub(crate) fn trouble(&self) -> Option<&Arc<str>> {
        self.trouble.as_ref()
    }

    /// Whether it is to be read now.
    pub(crate) fn is_unread(&self, now: Instant) -> bool {
        matches!(self.state, State::Unread(at) if at.is_none_or(|at| at <= now))
    }

    /// Reads what is there, once.
    ///
    /// # Cancel safety
    ///
    /// It is read again.
    pub(crate) async fn read(&mut self) -> Option<Vec<Stocked>> {
        if !places().insert(self.settings.path.clone()) {
            self.state = State::Unread(Instant::now().checked_add(AGAIN));
            let why = "another mesh of this process keeps the cache of other control planes, or as \
                       another node, at this path: it is not used here";
            self.trouble = Some(why.into());
            return None;
        }
        self.state = State::Read;
        let (path, identity) = (self.settings.path.clone(), self.identity.clone());
        let read = tokio::task::spawn_blocking(move || {
            disk::tidy(&path);
            match disk::read(&path)? {
                None => Ok(Vec::new()),
                Some(bytes) => format::read(&bytes, &identity, SystemTime::now()),
            }
        });
        let read = match tokio::time::timeout(LONGEST_READ, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => Err("reading it has failed".to_owned()),
            Err(_) => Err(format!("it could not be read within {LONGEST_READ:?}")),
        };
        let found = read.and_then(|found| self.stocked(found));
        match found {
            Ok(stocked) => {
                self.trouble = None;
                Some(stocked)
            }
            Err(why) => {
                self.trouble = Some(format!("what is there is not used: {why}").into());
                None
            }
        }
    }

    fn stocked(&self, found: Vec<Found>) -> Result<Vec<Stocked>, String> {
        let now = Instant::now();
        let stocked = found.into_iter().map(|found| {
            let Found { kind, name, version, value, server, age } = found;
            let of = self.servers.iter().position(|one| **one == *server).map(ServerId);
            let of = of.ok_or_else(|| {
                format!("it has the word of another server, `{}`", server.escape_debug())
            });
            let age = Age { was: age, at: now };
            Ok(Stocked { kind, name, version, value, server: of?, age })
        });
        stocked.collect()
    }

    /// What is to be written now.
    pub(crate) fn due<D: Decode>(&mut self, now: Instant, client: &Client<D>) -> Option<Save> {
        if self.state != State::Read || !self.schedule.is_due(now, client.changes()) {
            return None;
        }
        let save = self.save(now, client);
        if save.is_some() {
            self.schedule.begun(now, client.changes());
        } else {
            self.schedule.skipped(client.changes());
        }
        save
    }

    /// What is known now, for the last time.
    pub(crate) fn last<D: Decode>(&mut self, client: &Client<D>) -> Option<Save> {
        if self.state != State::Read {
            return None;
        }
        self.save(Instant::now(), client)
    }

    /// Nothing, while no live server has said anything: what is there may be better.
    fn save<D: Decode>(&mut self, now: Instant, client: &Client<D>) -> Option<Save> {
        if !client.kept(now).any(|kept| kept.is_live) {
            return None;
        }
        self.number += 1;
        Some(Save {
            path: self.settings.path.clone(),
            snapshot: Snapshot::of(&self.identity, SystemTime::now(), client.kept(now)),
            number: self.number,
            done: Arc::clone(&self.done),
        })
    }

    /// It has been written, or could not be.
    pub(crate) fn saved(&mut self, now: Instant, result: Result<(), String>) {
        self.schedule.ended(now, result.is_ok());
        self.trouble = result.err().map(|why| format!("it cannot be written: {why}").into());
    }

    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Unread(at) => at,
            State::Read => self.schedule.wake_at(),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.state == State::Read {
            places().remove(&self.settings.path);
        }
    }
}

fn places() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Save ===

impl Save {
    /// Blocks.
    ///
    /// # Errors
    ///
    /// Those of the file system; then the file is as it was.
    pub(crate) fn run(self) -> Result<(), String> {
        let Self { path, snapshot, number, done } = self;
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        if *done > number {
            return Ok(());
        }
        let written = disk::write(&path, &snapshot.bytes(), fastrand::u64(..));
        if written.is_ok() {
            *done = number;
        }
        written.map_err(|error| error.to_string())
    }
}
