//! Which hosts are looked up, and when: each once at a time, a few at once, and ever more seldom where nothing changes.

use std::{
    collections::HashMap,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::{Id, JoinSet},
};

use super::addresses::{Found, Turn, listeners, system};
use crate::core::{BoxFuture, Instant};

/// Less than calls wait for a name.
const WITHIN: Duration = Duration::from_secs(2);
/// So many hosts are looked up at once, by all meshes of the process: each takes a thread.
const AT_ONCE: usize = 8;
/// A host is looked up again no sooner than so long after the last time; twice as long where nothing has changed, at
/// most `LONGEST`, or where it has no address `LONGEST_OF_NONE`.
const PAUSE: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(5 * 60);
const LONGEST_OF_NONE: Duration = Duration::from_secs(60);

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);
/// The turns that lookups take that nobody waits for: the others are there for calls.
static AGAIN: Semaphore = Semaphore::const_new(AT_ONCE / 2);

/// The listeners that a name may be on, or why there are none.
type Listeners = Result<Vec<String>, String>;

/// What was found out of a name.
pub(super) type LookedUp = (Arc<str>, Listeners);

/// Whoever knows the addresses of a host and port.
type Resolve = Arc<dyn Fn(String, u16, Turn) -> BoxFuture<Found> + Send + Sync>;

/// Who looks up, and who may.
#[derive(Clone)]
struct Resolver {
    resolve: Resolve,
    turns: &'static Semaphore,
    /// Those of lookups that are done again.
    again: &'static Semaphore,
}

/// A name that is looked up, or has been.
struct Asked {
    is_running: bool,
    /// It has not been forgotten since.
    is_wanted: bool,
    last: Option<Listeners>,
    pause: Duration,
    due: Instant,
}

/// What a task says.
struct Told {
    name: Arc<str>,
    found: Listeners,
    /// The resolver has not ended.
    is_late: bool,
}

/// The lookups of a source.
pub(super) struct Lookups {
    resolver: Resolver,
    names: HashMap<Arc<str>, Asked>,
    tasks: JoinSet<()>,
    running: HashMap<Id, Arc<str>>,
    tell: UnboundedSender<Told>,
    told: UnboundedReceiver<Told>,
}

// === impl Lookups ===

impl Lookups {
    /// By the resolver of the system.
    pub(super) fn new() -> Self {
        Self::by(Resolver { resolve: Arc::new(system), turns: &TURNS, again: &AGAIN })
    }

    fn by(resolver: Resolver) -> Self {
        let (tell, told) = unbounded_channel();
        Self {
            resolver,
            names: HashMap::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            tell,
            told,
        }
    }

    /// Looks the host of a name up of which nothing is known. What is known of one that is looked up already is
    /// told at once.
    pub(super) fn seek(&mut self, now: Instant, name: &Arc<str>, host: String, port: u16) {
        if !self.names.get(name).is_some_and(|asked| asked.is_running) {
            return self.begin(now, name, (host, port), false);
        }
        let Some(asked) = self.names.get_mut(name) else { return };
        asked.is_wanted = true;
        if let Some(found) = asked.last.clone() {
            let told = Told { name: Arc::clone(name), found, is_late: true };
            drop(self.tell.send(told));
        }
    }

    /// Looks it up again, if it is time to.
    pub(super) fn again(&mut self, now: Instant, name: &Arc<str>, host: String, port: u16) {
        let waits = |asked: &Asked| asked.is_running || now < asked.due;
        if !self.names.get(name).is_some_and(waits) {
            self.begin(now, name, (host, port), true);
        }
    }

    /// Nobody wants to know it any more.
    pub(super) fn forget(&mut self, name: &str) {
        let is_running = self.names.get_mut(name).is_some_and(|asked| {
            asked.is_wanted = false;
            asked.is_running
        });
        if !is_running {
            self.names.remove(name);
        }
    }

    /// What is found next.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<LookedUp> {
        loop {
            if let Poll::Ready(Some(told)) = self.told.poll_recv(cx) {
                self.note(Instant::now(), &told);
                return Poll::Ready((told.name, told.found));
            }
            let (id, error) = match ready!(self.tasks.poll_join_next_with_id(cx)) {
                // It is begun by whoever polls this, who does so again then.
                None => return Poll::Pending,
                Some(Ok((id, ()))) => (id, None),
                Some(Err(error)) => (error.id(), Some(error)),
            };
            let Some(name) = self.running.remove(&id) else { continue };
            if let Some(error) = error {
                let found = Err(format!("its lookup has failed: {error}"));
                let told = Told { name: Arc::clone(&name), found, is_late: false };
                drop(self.tell.send(told));
            }
            if let Some(asked) = self.names.get_mut(&name) {
                asked.is_running = false;
                if !asked.is_wanted {
                    self.names.remove(&name);
                }
            }
        }
    }

    fn begin(&mut self, now: Instant, name: &Arc<str>, place: (String, u16), is_again: bool) {
        let asked = self.names.entry(Arc::clone(name)).or_insert_with(|| Asked {
            is_running: false,
            is_wanted: true,
            last: None,
            pause: PAUSE,
            due: now,
        });
        asked.is_running = true;
        let (resolver, tell) = (self.resolver.clone(), self.tell.clone());
        let task = self.tasks.spawn(look_up(resolver, Arc::clone(name), place, is_again, tell));
        self.running.insert(task.id(), Arc::clone(name));
    }

    /// When it is looked up again follows from what is found.
    fn note(&mut self, now: Instant, told: &Told) {
        let Some(asked) = self.names.get_mut(&told.name) else { return };
        if told.is_late {
            if asked.last.is_none() {
                asked.last = Some(told.found.clone());
            }
            return;
        }
        let is_same = match (&asked.last, &told.found) {
            // What has many addresses names others each time.
            (Some(Ok(before)), Ok(found)) => before.iter().any(|it| found.contains(it)),
            (Some(Err(_)), Err(_)) => true,
            _ => false,
        };
        let longest = if told.found.is_ok() { LONGEST } else { LONGEST_OF_NONE };
        asked.pause = if is_same { longest.min(asked.pause * 2) } else { PAUSE };
        asked.due = now + asked.pause;
        asked.last = Some(told.found.clone());
    }
}

/// Lives until the resolver has ended; what takes longer than calls wait is told as not found meanwhile. Nobody
/// waits for one that is done again, and what is known stays until it has ended.
async fn look_up(
    resolver: Resolver,
    name: Arc<str>,
    (host, port): (String, u16),
    is_again: bool,
    tell: UnboundedSender<Told>,
) {
    let found = async {
        let _again = if is_again {
            Some(resolver.again.acquire().await.map_err(|error| error.to_string())?)
        } else {
            None
        };
        let turn = resolver.turns.acquire().await.map_err(|error| error.to_string())?;
        match (resolver.resolve)(host.clone(), port, turn).await {
            Ok(found) if found.is_empty() => Err(format!("`{host}` has no address")),
            Ok(found) => Ok(listeners(found, port)),
            Err(error) => Err(format!("`{host}` cannot be resolved: {error}")),
        }
    };
    let mut found = pin!(found);
    let in_time = async {
        if is_again {
            return Ok(found.as_mut().await);
        }
        tokio::time::timeout(WITHIN, found.as_mut()).await
    };
    let found = match in_time.await {
        Ok(found) => found,
        Err(_) => {
            let late = Err(format!("`{host}` cannot be resolved within {WITHIN:?}"));
            drop(tell.send(Told { name: Arc::clone(&name), found: late, is_late: true }));
            found.await
        }
    };
    drop(tell.send(Told { name, found, is_late: false }));
}

#[cfg(test)]
mod tests;
