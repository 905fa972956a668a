//! One client, and so one stream per server, for all meshes of the process that have the same
//! bootstrap.
//!
//! Istio's agent closes the stream that is there when another one comes, so two meshes with a stream each
//! would cut each other's for ever. The task ends with its last subscriber, and with it the streams,
//! the connections and what follows files. Its runtime may end before that; then the subscribers that
//! are left begin it again on one of theirs, with what it held: nobody is told that what is known is
//! missing because a client is new.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
};

use super::{
    driver::{Batch, Driver, Input, Left},
    figures,
    mail::{Mailbox, mail},
    reports::Report,
};
use crate::{
    config::{ConfigError, ConfigErrors},
    control::xds::{
        bootstrap::{Bootstrap, Target},
        cache,
        client::{Client, Decode, Legacy},
        kind::Kind,
    },
    core::{BoxFuture, Figures, Instant, Loads},
};

/// The clients of a process.
pub(crate) struct Registry<D: Decode> {
    entries: Mutex<Vec<Entry<D>>>,
    ids: AtomicU64,
}

struct Entry<D: Decode> {
    id: u64,
    bootstrap: Arc<Bootstrap>,
    inbox: UnboundedSender<Input<D>>,
    figures: figures::Shared,
    /// Kept by its task and its subscribers alone.
    left: Weak<OnceLock<Arc<Legacy<D::Resource>>>>,
}

/// The side of one mesh.
pub(crate) struct Subscriber<D: Decode + 'static> {
    registry: &'static Registry<D>,
    bootstrap: Arc<Bootstrap>,
    decode: fn(&Bootstrap) -> D,
    runtime: Handle,
    cache: Option<cache::Settings>,
    seat: Arc<Seat<D>>,
    told: Mailbox<D::Resource>,
    watched: BTreeSet<(Kind, Arc<str>)>,
    reported: BTreeMap<Arc<str>, Reported>,
    again: Again,
}

/// What is reported of a cluster, to be said again.
struct Reported {
    service: Arc<str>,
    metrics: Vec<String>,
    loads: Arc<dyn Loads>,
}

/// The place of a subscriber at its client; it leaves when nobody holds it any more.
struct Seat<D: Decode>(Mutex<Place<D>>);

struct Place<D: Decode> {
    id: u64,
    inbox: UnboundedSender<Input<D>>,
    /// What the client held, once its task has ended before its time.
    left: Left<D::Resource>,
}

/// When a client is joined again that has ended before its time.
#[derive(Debug)]
struct Again {
    since: Instant,
    pause: Duration,
    /// It is waited until then.
    at: Option<Instant>,
}

struct Joined<D: Decode> {
    place: Place<D>,
    told: Mailbox<D::Resource>,
}

impl<D> Registry<D>
where
    D: Decode + Send + 'static,
    D::Resource: Send + Sync + 'static,
{
    pub(crate) const fn new() -> Self {
        Self { entries: Mutex::new(Vec::new()), ids: AtomicU64::new(1) }
    }

    /// Subscribes to the client of this bootstrap; it is begun on this runtime if it is not there.
    ///
    /// # Errors
    ///
    /// When another mesh asks the same agent as somebody else.
    #[cfg(test)]
    pub(crate) fn subscribe(
        &'static self,
        bootstrap: Arc<Bootstrap>,
        runtime: Handle,
        decode: fn(&Bootstrap) -> D,
    ) -> Result<Subscriber<D>, ConfigErrors> {
        self.subscribe_cached(bootstrap, runtime, decode, None)
    }

    /// The same; what an earlier process knew may be told, and what is known is kept for a later one.
    ///
    /// # Errors
    ///
    /// The same.
    pub(crate) fn subscribe_cached(
        &'static self,
        bootstrap: Arc<Bootstrap>,
        runtime: Handle,
        decode: fn(&Bootstrap) -> D,
        cache: Option<cache::Settings>,
    ) -> Result<Subscriber<D>, ConfigErrors> {
        let Joined { place, told } = self.join(&bootstrap, &runtime, decode, cache.clone())?;
        let seat = Arc::new(Seat(Mutex::new(place)));
        let (watched, reported) = (BTreeSet::new(), BTreeMap::new());
        let again = Again { since: Instant::now(), pause: Duration::ZERO, at: None };
        let registry = self;
        Ok(Subscriber {
            registry,
            bootstrap,
            decode,
            runtime,
            cache,
            seat,
            told,
            watched,
            reported,
            again,
        })
    }

    fn join(
        &'static self,
        bootstrap: &Arc<Bootstrap>,
        runtime: &Handle,
        decode: fn(&Bootstrap) -> D,
        cache: Option<cache::Settings>,
    ) -> Result<Joined<D>, ConfigErrors> {
        let id = self.ids.fetch_add(1, Relaxed);
        let (tell, told) = mail();
        let mut entries = self.lock();
        entries.retain(|entry| !entry.inbox.is_closed());
        let known = entries.iter().find(|entry| entry.bootstrap.asks_as(bootstrap));
        let (inbox, left) = match known {
            Some(entry) => (entry.inbox.clone(), entry.left.upgrade().unwrap_or_default()),
            None => {
                check(&entries, bootstrap)?;
                let left = Left::default();
                let entry = self.begin(id, bootstrap, runtime, decode, &left);
                let inbox = entry.inbox.clone();
                entries.push(entry);
                (inbox, left)
            }
        };
        // Under the lock: it does not end between this and the join.
        drop(inbox.send(Input::Join { subscriber: id, tell, cache }));
        Ok(Joined { place: Place { id, inbox, left }, told })
    }

    fn begin(
        &'static self,
        id: u64,
        bootstrap: &Arc<Bootstrap>,
        runtime: &Handle,
        decode: fn(&Bootstrap) -> D,
        left: &Left<D::Resource>,
    ) -> Entry<D> {
        let (sender, inbox) = unbounded_channel();
        let (figures, seed) = (figures::Shared::default(), fastrand::u64(..));
        let client = (decode(bootstrap), seed, figures.clone(), Arc::clone(left));
        let driver = Driver::new(bootstrap, client, sender.clone(), runtime);
        drop(runtime.spawn(driver.run(inbox, move |inbox| self.end(id, inbox))));
        let left = Arc::downgrade(left);
        Entry { id, bootstrap: Arc::clone(bootstrap), inbox: sender, figures, left }
    }

    /// Whether nobody has joined meanwhile; then nobody can any more.
    fn end(&self, id: u64, inbox: &UnboundedReceiver<Input<D>>) -> bool {
        let mut entries = self.lock();
        if !inbox.is_empty() {
            return false;
        }
        entries.retain(|entry| entry.id != id);
        true
    }

    /// Shows the client of this bootstrap to somebody, soon. Says whether there is one; it may end before
    /// it is shown.
    pub(crate) fn inspect(
        &self,
        bootstrap: &Bootstrap,
        look: impl FnOnce(&Client<D>) + Send + 'static,
    ) -> bool {
        let entries = self.lock();
        let known = entries.iter().find(|entry| entry.bootstrap.asks_as(bootstrap));
        known.is_some_and(|entry| entry.inbox.send(Input::Inspect(Box::new(look))).is_ok())
    }

    /// What is counted of the client of this bootstrap, if there is one.
    pub(crate) fn figures(&self, bootstrap: &Bootstrap) -> Figures {
        let entries = self.lock();
        let known = entries.iter().find(|entry| entry.bootstrap.asks_as(bootstrap));
        known.map(|entry| entry.figures.read()).unwrap_or_default()
    }

    /// The bootstraps whose clients there are.
    pub(crate) fn bootstraps(&self) -> Vec<Arc<Bootstrap>> {
        self.lock().iter().map(|entry| Arc::clone(&entry.bootstrap)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry<D>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What listens at a Unix socket is an agent of this pod, which has one client.
fn check<D: Decode>(entries: &[Entry<D>], bootstrap: &Bootstrap) -> Result<(), ConfigErrors> {
    for server in bootstrap.every_server() {
        let (uri, place) = (&server.uri, server.place());
        let is_agent = matches!(place, Ok(Target::Unix(_)));
        let is_asked = |entry: &Entry<D>| {
            entry.bootstrap.every_server().iter().any(|other| other.place() == place)
        };
        if is_agent && entries.iter().any(is_asked) {
            let why = "another mesh of this process asks the same agent by another bootstrap, and \
                       each would cut the other's stream: give both the same bootstrap";
            return Err(ConfigErrors(vec![ConfigError::new("xds_servers", uri, why)]));
        }
    }
    Ok(())
}

impl<D> Subscriber<D>
where
    D: Decode + Send + 'static,
    D::Resource: Send + Sync + 'static,
{
    /// Is told of this resource from now on; what is known of it, at once.
    pub(crate) fn watch(&mut self, kind: Kind, name: &Arc<str>) {
        if self.watched.insert((kind, Arc::clone(name))) {
            let (name, before) = (Arc::clone(name), None);
            self.seat.send(|subscriber| Input::Watch { subscriber, kind, name, before });
        }
    }

    /// Is not told of it any more.
    pub(crate) fn unwatch(&mut self, kind: Kind, name: &Arc<str>) {
        if self.watched.remove(&(kind, Arc::clone(name))) {
            let name = Arc::clone(name);
            self.seat.send(|subscriber| Input::Unwatch { subscriber, kind, name });
        }
    }

    /// The load of a cluster is reported from now on, if its server wants it.
    pub(crate) fn report(&mut self, report: Report) {
        let Report { cluster, service, metrics, loads } = &report;
        // Before there is a service that leads to it, so that its first call counts.
        loads.begin(metrics);
        let (service, metrics, loads) = (Arc::clone(service), metrics.clone(), Arc::clone(loads));
        self.reported.insert(Arc::clone(cluster), Reported { service, metrics, loads });
        self.seat.send(|subscriber| Input::Report { subscriber, report });
    }

    /// It is not any more.
    pub(crate) fn unreport(&mut self, cluster: &Arc<str>) {
        if self.reported.remove(cluster).is_some() {
            let cluster = Arc::clone(cluster);
            self.seat.send(|subscriber| Input::Unreport { subscriber, cluster });
        }
    }

    /// Keeps the place at the client until it is awaited, or dropped; then it is left. What was counted
    /// until then is reported, and what is kept for a later process is written, before this ends.
    pub(crate) fn farewell(&self) -> BoxFuture<()> {
        let seat = Arc::clone(&self.seat);
        Box::pin(async move {
            let (tell, told) = oneshot::channel();
            seat.send(|subscriber| Input::Leave { subscriber, said: Some(Arc::new(tell)) });
            drop(seat);
            // Nothing is told: it is dropped when all has been said.
            drop(told.await);
        })
    }

    /// What is new. What follows from it should be watched before it is dropped: the next message of
    /// the stream is read then, or after 5 s.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Batch<D::Resource> {
        loop {
            if let Some(at) = self.again.at {
                tokio::time::sleep_until(at).await;
                self.again.at = None;
                if let Err(errors) = self.join_again() {
                    return self.pause(&errors.to_string());
                }
                if self.watched.is_empty() {
                    // Nothing else would be told that says that it is back.
                    return Batch::default();
                }
            }
            if let Some(mut batch) = self.told.next().await {
                batch
                    .told
                    .retain(|told| self.watched.contains(&(told.kind, Arc::clone(&told.name))));
                if !batch.told.is_empty() || batch.cache.is_some() {
                    return batch;
                }
                continue;
            }
            // Its runtime has ended, or it has panicked, as it may again by the same message.
            if self.again.take_first(Instant::now()) {
                self.again.at = Some(Instant::now());
                continue;
            }
            return self.pause("the task of the stream has ended before its time");
        }
    }

    /// It is joined again, but not at once.
    fn pause(&mut self, why: &str) -> Batch<D::Resource> {
        let pause = self.again.pause(Instant::now());
        Batch::lost(format!("{why}; what is known stays, and it is tried again in {pause:?}"))
    }

    /// What the task held that has ended is said of all that is watched. Another mesh may have come to ask
    /// the same agent.
    fn join_again(&mut self) -> Result<(), ConfigErrors> {
        let cache = self.cache.clone();
        let left = self.seat.place().left.get().cloned();
        let joined = self.registry.join(&self.bootstrap, &self.runtime, self.decode, cache)?;
        let Joined { place, told } = joined;
        *self.seat.place() = place;
        self.told = told;
        self.again.since = Instant::now();
        for (kind, name) in &self.watched {
            let (kind, name, before) = (*kind, Arc::clone(name), left.clone());
            self.seat.send(|subscriber| Input::Watch { subscriber, kind, name, before });
        }
        for (cluster, Reported { service, metrics, loads }) in &self.reported {
            let report = Report {
                cluster: Arc::clone(cluster),
                service: Arc::clone(service),
                metrics: metrics.clone(),
                loads: Arc::clone(loads),
            };
            self.seat.send(|subscriber| Input::Report { subscriber, report });
        }
        Ok(())
    }
}

/// Before it is tried again, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// One that has run that long has not ended by what it began with.
const RAN_WELL: Duration = Duration::from_secs(60);

// === impl Again ===

impl Again {
    /// Whether it has run well before it ended: then it is joined again at once.
    fn take_first(&mut self, now: Instant) -> bool {
        let ran_well = now.duration_since(self.since) >= RAN_WELL;
        let is_first = ran_well || self.pause.is_zero();
        if is_first {
            self.pause = AGAIN.0 / 2;
        }
        is_first
    }

    /// How long it is waited, longer each time.
    fn pause(&mut self, now: Instant) -> Duration {
        self.pause = (self.pause * 2).clamp(AGAIN.0, AGAIN.1);
        self.at = Some(now + self.pause);
        self.pause
    }
}

impl<D: Decode> Seat<D> {
    fn place(&self) -> MutexGuard<'_, Place<D>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is gone if the runtime of the client has ended, which `next` finds.
    fn send(&self, input: impl FnOnce(u64) -> Input<D>) {
        let place = self.place();
        drop(place.inbox.send(input(place.id)));
    }
}

impl<D: Decode> Drop for Seat<D> {
    fn drop(&mut self) {
        self.send(|subscriber| Input::Leave { subscriber, said: None });
    }
}

impl<D: Decode + 'static> std::fmt::Debug for Subscriber<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("watched", &self.watched.len()).finish_non_exhaustive()
    }
}
