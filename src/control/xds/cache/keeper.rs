//! One client's cache: what is read at first, and written from then on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Settings, disk,
    format::{self, Found, Snapshot},
    identity::Identity,
    place::{Place, Writing, spelled},
    schedule::Schedule,
};
use crate::{
    control::xds::{
        bootstrap::Bootstrap,
        client::{Age, Client, Decode, ServerId, Stocked},
    },
    core::{BoxFuture, Instant},
};

/// What cannot be read by then is done without.
const LONGEST_READ: Duration = Duration::from_secs(5);
/// A place that another client has is looked at again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// The cache of one client.
pub(crate) struct Keeper {
    id: u64,
    settings: Settings,
    identity: Identity,
    servers: Vec<Arc<str>>,
    schedule: Schedule,
    /// Where the file is, whichever folder the process goes to.
    path: PathBuf,
    /// From when it is read.
    place: Option<Place>,
    state: State,
    trouble: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// It has to be read first; not before.
    Unread(Option<Instant>),
    Reading,
    Read,
}

/// A reading, to be done beside what its client does.
pub(crate) struct Reading {
    path: PathBuf,
    identity: Identity,
    /// What an earlier client of the process has still to write is there.
    written: BoxFuture<()>,
}

/// A writing, to be done where blocking is allowed.
pub(crate) struct Save {
    path: PathBuf,
    snapshot: Snapshot,
    writing: Writing,
}

// === impl Keeper ===

impl Keeper {
    /// The number is its own: what is said of another is not said of it.
    pub(crate) fn new(id: u64, settings: Settings, bootstrap: &Bootstrap) -> Self {
        let servers = bootstrap.every_server();
        let path = std::path::absolute(&settings.path);
        Self {
            id,
            path: path.unwrap_or_else(|_| settings.path.clone()),
            settings,
            identity: Identity::of(bootstrap),
            servers: servers.into_iter().map(|server| Arc::clone(&server.uri)).collect(),
            schedule: Schedule::default(),
            place: None,
            state: State::Unread(None),
            trouble: None,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether it is as these say, however they spell its path.
    pub(crate) fn is_of(&self, settings: &Settings) -> bool {
        let Settings { path, max_age } = settings;
        *max_age == self.settings.max_age && spelled(path) == spelled(&self.path)
    }

    pub(crate) fn max_age(&self) -> Option<Duration> {
        self.settings.max_age
    }

    /// As it was said.
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

    pub(crate) fn is_reading(&self) -> bool {
        self.state == State::Reading
    }

    /// It is to be read. Nothing while another client has its place.
    pub(crate) fn read(&mut self) -> Option<Reading> {
        let Some(place) = Place::take(&self.path) else {
            self.state = State::Unread(Instant::now().checked_add(AGAIN));
            let why = "another mesh of this process keeps the cache of other control planes, or as \
                       another node, at this path: it is not used here";
            self.trouble = Some(why.into());
            return None;
        };
        let written = Box::pin(place.written());
        self.place = Some(place);
        self.state = State::Reading;
        Some(Reading { path: self.path.clone(), identity: self.identity.clone(), written })
    }

    /// It has been read, or could not be.
    pub(crate) fn found(&mut self, found: Result<Vec<Found>, String>) -> Option<Vec<Stocked>> {
        self.state = State::Read;
        match found.and_then(|found| self.stocked(found)) {
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
        if self.state != State::Read || !self.schedule.take_due(now, client.changes()) {
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
    pub(crate) fn last<D: Decode>(&self, client: &Client<D>) -> Option<Save> {
        if self.state != State::Read {
            return None;
        }
        self.save(Instant::now(), client)
    }

    /// Nothing, while no live server has said anything: what is there may be better.
    fn save<D: Decode>(&self, now: Instant, client: &Client<D>) -> Option<Save> {
        let place = self.place.as_ref()?;
        if !client.kept(now).any(|kept| kept.is_live) {
            return None;
        }
        Some(Save {
            path: self.path.clone(),
            snapshot: Snapshot::of(&self.identity, SystemTime::now(), client.kept(now)),
            writing: place.writing(),
        })
    }

    /// Until all that there is to write now has been written, or never will be.
    pub(crate) fn written(&self) -> Option<BoxFuture<()>> {
        Some(Box::pin(self.place.as_ref()?.written()))
    }

    /// It has been written, or could not be.
    pub(crate) fn saved(&mut self, now: Instant, result: Result<(), String>) {
        self.schedule.ended(now, result.is_ok());
        self.trouble = result.err().map(|why| format!("it cannot be written: {why}").into());
    }

    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Unread(at) => at,
            State::Reading => None,
            State::Read => self.schedule.wake_at(),
        }
    }
}

// === impl Reading ===

impl Reading {
    /// All that is there, for no longer than is waited for it.
    ///
    /// # Errors
    ///
    /// Why nothing of it is used.
    pub(crate) async fn run(self) -> Result<Vec<Found>, String> {
        let Self { path, identity, written } = self;
        let read = async move {
            written.await;
            let read = move || {
                disk::tidy(&path);
                match disk::read(&path)? {
                    None => Ok(Vec::new()),
                    Some(bytes) => format::read(&bytes, &identity, SystemTime::now()),
                }
            };
            tokio::task::spawn_blocking(read).await
        };
        match tokio::time::timeout(LONGEST_READ, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => Err("reading it has failed".to_owned()),
            Err(_) => Err(format!("it could not be read within {LONGEST_READ:?}")),
        }
    }
}

// === impl Save ===

impl Save {
    /// Blocks.
    ///
    /// # Errors
    ///
    /// Those of the file system; then the file is as it was.
    pub(crate) fn run(self) -> Result<(), String> {
        let Self { path, snapshot, writing } = self;
        let written = writing.run(|| disk::write(&path, &snapshot.bytes(), fastrand::u64(..)));
        written.map_err(|error| error.to_string())
    }
}
