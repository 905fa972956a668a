//! The task around a client: what it is told goes in, what it wants done is done.

mod keeping;
#[cfg(test)]
mod tests;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender},
    },
};
use tonic::Code;

use self::keeping::fit;
use super::{
    dial::Aborted,
    figures::{self, Counted},
    mail::Teller,
    one::{self, Closed, Event, Requests, Way},
    reports::{self, Means, Report, Reports, Said},
};
use crate::{
    control::xds::{
        ads::{Mode, Request, answer::Message},
        bootstrap::{Bootstrap, Server},
        cache::{self, Keeper},
        client::{
            Action, Client, ClientSettings, Decode, Features, Legacy, Linger, ServerId,
            ServerSettings, Watched,
        },
        kind::Kind,
    },
    core::{Instant, earliest},
};

/// What the task is told.
pub(super) enum Input<D: Decode> {
    Join {
        subscriber: u64,
        tell: Teller<D::Resource>,
        /// What an earlier process knew may be used, and is kept there.
        cache: Option<cache::Settings>,
    },
    Leave {
        subscriber: u64,
        said: Option<Said>,
    },
    /// The load of a cluster is to be reported, if its server wants it.
    Report {
        subscriber: u64,
        report: Report,
    },
    Unreport {
        subscriber: u64,
        cluster: Arc<str>,
    },
    /// What has become of a stream of reports.
    Reporting {
        server: ServerId,
        stream: u64,
        event: reports::Event,
    },
    Watch {
        subscriber: u64,
        kind: Kind,
        name: Arc<str>,
        /// What the task before held, of one that watched it there.
        before: Option<Arc<Legacy<D::Resource>>>,
    },
    Unwatch {
        subscriber: u64,
        kind: Kind,
        name: Arc<str>,
    },
    /// What has become of a stream.
    Stream {
        server: ServerId,
        stream: u64,
        event: Event,
    },
    /// One that was told of this message has done what follows from it.
    Worked(Work),
    /// What an earlier process knew, read for this keeper, or why it is not used.
    Stocked {
        keeper: u64,
        found: Result<Vec<cache::Found>, String>,
    },
    /// What is known was written for a later process, or could not be.
    Saved {
        keeper: u64,
        result: Result<(), String>,
    },
    /// Somebody wants to see it.
    Inspect(Box<dyn FnOnce(&Client<D>) + Send>),
}

/// What the task of a client held when it ended before its time, for those that begin it again.
pub(super) type Left<R> = Arc<OnceLock<Arc<Legacy<R>>>>;

/// What a subscriber is told at once. The stream that it came by is read on when it is dropped, or after
/// [`WORK_TIMEOUT`]: ask for what follows from it before that.
#[derive(Debug)]
pub(crate) struct Batch<R> {
    pub(crate) told: Vec<Told<R>>,
    /// What is wrong with the cache now, if that is news.
    pub(crate) cache: Option<Flaw>,
    /// The task that tells has ended before its time, and why nobody begins it again at once: nothing new
    /// is heard until then.
    pub(crate) lost: Option<String>,
    /// The messages that it came by.
    pub(super) working: Vec<Working>,
}

/// What is wrong with the cache; or nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Flaw(pub(crate) Option<Arc<str>>);

impl<R> Default for Batch<R> {
    fn default() -> Self {
        Self { told: Vec::new(), cache: None, lost: None, working: Vec::new() }
    }
}

impl<R> Batch<R> {
    pub(super) fn lost(why: String) -> Self {
        Self { lost: Some(why), ..Self::default() }
    }
}

/// What is known of a resource now.
#[derive(Debug)]
pub(crate) struct Told<R> {
    pub(crate) kind: Kind,
    /// As it is watched.
    pub(crate) name: Arc<str>,
    pub(crate) watched: Watched<R>,
}

/// A message, and one that was told of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Work {
    subscriber: u64,
    server: ServerId,
    stream: u64,
    message: u64,
}

/// A message is being worked on by a subscriber, until this is dropped.
pub(super) struct Working(pub(super) Box<dyn Fn() + Send + Sync>);

pub(super) struct Driver<D: Decode> {
    client: Client<D>,
    ways: Vec<Arc<Way>>,
    live: HashMap<ServerId, Live>,
    subscribers: BTreeMap<u64, Teller<D::Resource>>,
    /// Those that have not worked off a message in time, until they have: nobody waits for them.
    late: BTreeSet<u64>,
    topics: HashMap<(Kind, Arc<str>), BTreeSet<u64>>,
    /// What is to be told next.
    batches: BTreeMap<u64, Vec<Told<D::Resource>>>,
    bootstrap: Arc<Bootstrap>,
    keeper: Option<Keeper>,
    /// Nothing is asked for while it is read.
    holds: bool,
    /// Who may be told what an earlier process knew.
    caching: BTreeSet<u64>,
    /// What they were told that is wrong with it.
    told_flaw: Flaw,
    reports: Reports,
    counted: Counted,
    left: Left<D::Resource>,
    /// Given to streams, and to whoever works on a message.
    sender: UnboundedSender<Input<D>>,
    runtime: Handle,
}

/// A stream that is open, or being opened.
struct Live {
    stream: u64,
    requests: Requests,
    worked: Arc<Semaphore>,
    /// Who is working on the last message.
    working: Option<Waited>,
    /// The number of that message.
    message: u64,
    _task: Aborted,
}

/// Who is waited for before the next message is read, and how long.
struct Waited {
    until: Instant,
    subscribers: BTreeSet<u64>,
}

/// Whoever has not worked off a message by then is not waited for any more, nor with what comes after it,
/// until it has: a mesh that hangs must not keep the others from what is new.
const WORK_TIMEOUT: Duration = Duration::from_secs(5);
/// As many requests wait for a server that does not read them.
const MOST_WAITING: usize = 1024;
/// What is read at once before anything is done: so that one request says all of it.
const AT_ONCE: usize = 1024;

/// What the client is told of a bootstrap, and the servers that it numbers.
pub(super) fn settings(bootstrap: &Bootstrap) -> (ClientSettings, Vec<Server>) {
    let servers: Vec<Server> = bootstrap.every_server().into_iter().cloned().collect();
    let ids = |list: &[Server]| {
        let id = |server: &Server| servers.iter().position(|one| one == server).map(ServerId);
        list.iter().filter_map(id).collect::<Vec<_>>()
    };
    let of = |server: &Server| ServerSettings {
        name: Arc::clone(&server.uri),
        mode: if server.features.delta { Mode::Delta } else { Mode::Sotw },
        features: Features {
            ignore_resource_deletion: server.features.ignore_resource_deletion,
            fail_on_data_errors: server.features.fail_on_data_errors,
            resource_timer_is_transient_error: server.features.resource_timer_is_transient_error,
        },
    };
    let authorities = bootstrap.authorities.iter();
    let authorities = authorities.map(|(name, it)| (Arc::clone(name), ids(&it.servers)));
    let settings = ClientSettings {
        node: bootstrap.node.message(bootstrap.dialect),
        servers: servers.iter().map(of).collect(),
        default: ids(&bootstrap.servers),
        authorities: authorities.collect(),
        linger: Linger::default(),
    };
    (settings, servers)
}

impl<D> Driver<D>
where
    D: Decode + Send + 'static,
    D::Resource: Send + Sync + 'static,
{
    pub(super) fn new(
        bootstrap: &Arc<Bootstrap>,
        (decode, seed, figures, left): (D, u64, figures::Shared, Left<D::Resource>),
        sender: UnboundedSender<Input<D>>,
        runtime: &Handle,
    ) -> Self {
        let (settings, servers) = settings(bootstrap);
        let way = |server: Server| Arc::new(Way::new(server, runtime));
        Self {
            client: Client::new(settings, decode, seed),
            ways: servers.into_iter().map(way).collect(),
            live: HashMap::new(),
            subscribers: BTreeMap::new(),
            late: BTreeSet::new(),
            topics: HashMap::new(),
            batches: BTreeMap::new(),
            bootstrap: Arc::clone(bootstrap),
            keeper: None,
            holds: false,
            caching: BTreeSet::new(),
            told_flaw: Flaw::default(),
            reports: Reports::new(!seed),
            counted: Counted::new(figures),
            left,
            sender,
            runtime: runtime.clone(),
        }
    }

    /// Runs until nobody subscribes any more; `end` is asked whether that is so for good.
    pub(super) async fn run(
        mut self,
        mut inbox: UnboundedReceiver<Input<D>>,
        end: impl Fn(&UnboundedReceiver<Input<D>>) -> bool,
    ) {
        loop {
            self.look();
            // However much there is to take: not only when nothing comes.
            self.give_up_waiting();
            if !self.is_held() {
                self.act(None);
            }
            self.save();
            self.report();
            self.counted.count(Instant::now(), &self.client);
            let keeps = self.keeper.as_ref().and_then(Keeper::wake_at);
            let client = self.client.wake_at().filter(|_| !self.is_held());
            let own = earliest(client, self.work_ends());
            let own = earliest(own, self.counted.wake_at());
            let beside = earliest(self.reports.wake_at(), keeps);
            let input = match earliest(own, beside) {
                None => inbox.recv().await,
                Some(at) => match tokio::time::timeout_at(at, inbox.recv()).await {
                    Ok(input) => input,
                    Err(_) => {
                        self.counted.changes();
                        continue;
                    }
                },
            };
            let Some(input) = input else { return };
            self.counted.changes();
            self.take(input);
            for _ in 1..AT_ONCE {
                let Ok(input) = inbox.try_recv() else { break };
                self.take(input);
            }
            if self.subscribers.is_empty() && end(&inbox) {
                // What was counted to the end is said by streams that end by themselves.
                self.report();
                return;
            }
        }
    }

    fn take(&mut self, input: Input<D>) {
        let now = Instant::now();
        match input {
            Input::Join { subscriber, tell, cache } => self.join(subscriber, tell, cache),
            Input::Leave { subscriber, said } => {
                self.reports.leave(subscriber, said.clone());
                self.leave(now, subscriber, said);
            }
            Input::Report { subscriber, report } => {
                if self.subscribers.contains_key(&subscriber) {
                    self.reports.report(now, subscriber, report);
                }
            }
            Input::Unreport { subscriber, cluster } => {
                self.reports.unreport(subscriber, &cluster);
            }
            Input::Reporting { server, stream, event } => {
                self.reports.event(now, server, stream, event);
            }
            Input::Watch { subscriber, kind, name, before } => {
                self.watch(now, subscriber, (kind, &name), before.as_deref());
            }
            Input::Unwatch { subscriber, kind, name } => {
                self.unwatch(now, subscriber, kind, &name);
            }
            Input::Stream { server, stream, event } => self.stream(now, server, stream, event),
            Input::Worked(work) => self.worked(work),
            Input::Stocked { keeper, found } => self.stocked(keeper, found),
            Input::Saved { keeper, result } => self.saved(now, keeper, result),
            Input::Inspect(look) => look(&self.client),
        }
    }

    // === subscribers ===

    fn watch(
        &mut self,
        now: Instant,
        subscriber: u64,
        (kind, name): (Kind, &Arc<str>),
        before: Option<&Legacy<D::Resource>>,
    ) {
        if !self.subscribers.contains_key(&subscriber) {
            return;
        }
        let watchers = self.topics.entry((kind, Arc::clone(name))).or_default();
        let is_first = watchers.is_empty();
        if !watchers.insert(subscriber) {
            return;
        }
        match before {
            Some(before) => self.client.watch_after(now, kind, name, before),
            None => self.client.watch(now, kind, name),
        }
        if !is_first {
            for watched in self.client.known(kind, name) {
                let watched = self.fit(subscriber, watched);
                let told = Told { kind, name: Arc::clone(name), watched };
                self.batches.entry(subscriber).or_default().push(told);
            }
        }
    }

    fn unwatch(&mut self, now: Instant, subscriber: u64, kind: Kind, name: &Arc<str>) {
        let topic = (kind, Arc::clone(name));
        let Some(watchers) = self.topics.get_mut(&topic) else { return };
        if !watchers.remove(&subscriber) {
            return;
        }
        if watchers.is_empty() {
            self.topics.remove(&topic);
        }
        self.client.unwatch(now, kind, name);
    }

    fn leave(&mut self, now: Instant, subscriber: u64, said: Option<Said>) {
        // While what it watches is watched.
        self.leave_cache(subscriber, said);
        self.subscribers.remove(&subscriber);
        self.batches.remove(&subscriber);
        self.late.remove(&subscriber);
        self.live.values_mut().for_each(|live| live.done(subscriber));
        let topics = self.topics.iter().filter(|(_, watchers)| watchers.contains(&subscriber));
        let topics: Vec<(Kind, Arc<str>)> = topics.map(|(topic, _)| topic.clone()).collect();
        for (kind, name) in topics {
            self.unwatch(now, subscriber, kind, &name);
        }
    }

    // === streams ===

    fn stream(&mut self, now: Instant, server: ServerId, stream: u64, event: Event) {
        let Some(live) = self.live.get_mut(&server).filter(|live| live.stream == stream) else {
            // It was closed here meanwhile.
            return;
        };
        match event {
            Event::Opened => self.client.opened(now, server, stream),
            Event::Received(message) => {
                live.message += 1;
                let number = live.message;
                self.received(now, server, stream, number, message);
            }
            Event::Closed(Closed { code, message, is_cut }) => {
                self.end(server);
                if is_cut {
                    self.client.cut(now, server, stream, code.into(), &message);
                } else {
                    self.client.closed(now, server, stream, code.into(), &message);
                }
            }
        }
    }

    fn received(
        &mut self,
        now: Instant,
        server: ServerId,
        stream: u64,
        number: u64,
        message: Message,
    ) {
        // What was to be told before is not told as a part of this.
        self.act(None);
        self.client.received(now, server, stream, message);
        let subscribers = self.act(Some((server, stream, number)));
        let Some(live) = self.live.get_mut(&server).filter(|live| live.stream == stream) else {
            // It was closed by what followed: who works on that is not waited for on the next one.
            self.late.extend(subscribers);
            return;
        };
        if subscribers.is_empty() {
            live.worked.add_permits(1);
        } else {
            let until = now.checked_add(WORK_TIMEOUT).unwrap_or(now);
            live.working = Some(Waited { until, subscribers });
        }
    }

    /// Does all that the client wants done, of a message or by itself. Says who works on that message.
    fn act(&mut self, message: Option<(ServerId, u64, u64)>) -> BTreeSet<u64> {
        while let Some(action) = self.client.next(Instant::now()) {
            match action {
                Action::Tell { kind, name, watched } => {
                    let watchers = self.topics.get(&(kind, Arc::clone(&name)));
                    for subscriber in watchers.into_iter().flatten() {
                        let (name, watched) = (Arc::clone(&name), watched.clone());
                        let watched = fit(&self.caching, *subscriber, watched);
                        let told = Told { kind, name, watched };
                        self.batches.entry(*subscriber).or_default().push(told);
                    }
                }
                Action::Open { server, stream, mode } => self.open(server, stream, mode),
                Action::Send { server, stream, request } => self.send(server, stream, request),
                Action::Close { server, stream } => {
                    if self.live.get(&server).is_some_and(|live| live.stream == stream) {
                        self.end(server);
                    }
                }
            }
        }
        let mut working = BTreeSet::new();
        for (subscriber, told) in std::mem::take(&mut self.batches) {
            let Some(tell) = self.subscribers.get(&subscriber) else { continue };
            let mut batch = Batch { told, ..Batch::default() };
            if let Some((server, stream, message)) = message
                && !self.late.contains(&subscriber)
            {
                let work = Work { subscriber, server, stream, message };
                let inbox = self.sender.clone();
                // Nobody is there when the task has ended.
                let done = move || drop(inbox.send(Input::Worked(work)));
                batch.working.push(Working(Box::new(done)));
                working.insert(subscriber);
            }
            tell.tell(batch);
        }
        working
    }

    /// A server that reads nothing, and says more and more to be replied to, is left.
    fn send(&mut self, server: ServerId, stream: u64, request: Request) {
        let Some(live) = self.live.get(&server).filter(|live| live.stream == stream) else {
            return;
        };
        if live.requests.waiting() < MOST_WAITING {
            live.requests.send(request);
            return;
        }
        self.end(server);
        let why = format!("the server does not read: {MOST_WAITING} requests wait for it");
        let code = Code::ResourceExhausted.into();
        self.client.closed(Instant::now(), server, stream, code, &why);
    }

    fn open(&mut self, server: ServerId, stream: u64, mode: Mode) {
        let Some(way) = self.ways.get(server.0) else { return };
        let (requests, body) = one::requests(mode == Mode::Delta);
        let worked = Arc::new(Semaphore::new(1));
        let inbox = self.sender.clone();
        let tell = move |event| drop(inbox.send(Input::Stream { server, stream, event }));
        let run = one::run(Arc::clone(way), body, Arc::clone(&worked), tell);
        let task = Aborted::new(self.runtime.spawn(run).abort_handle());
        let live = Live { stream, requests, worked, working: None, message: 0, _task: task };
        self.live.insert(server, live);
    }

    /// A stream is over. Who has still to work off its last message is not waited for on the next one.
    fn end(&mut self, server: ServerId) {
        let waited = self.live.remove(&server).and_then(|live| live.working);
        self.late.extend(waited.into_iter().flat_map(|waited| waited.subscribers));
    }

    /// Reports what is to be reported now.
    fn report(&mut self) {
        if self.reports.is_empty() {
            return;
        }
        let (client, sender) = (&self.client, &self.sender);
        let tell = |server, stream| -> Box<dyn Fn(reports::Event) + Send + Sync> {
            let inbox = sender.clone();
            Box::new(move |event| drop(inbox.send(Input::Reporting { server, stream, event })))
        };
        self.reports.act(
            Instant::now(),
            &Means {
                ways: &self.ways,
                node: client.node(),
                runtime: &self.runtime,
                server_of: &|cluster| client.server_of(Kind::Cluster, cluster),
                origins: client.origins(),
                tell: &tell,
            },
        );
    }
}

impl<D: Decode> Drop for Driver<D> {
    /// Its runtime has ended, or it has panicked. What is held is whole even so, and is there before those
    /// that are left find that nobody tells them any more.
    fn drop(&mut self) {
        if !self.subscribers.is_empty() {
            drop(self.left.set(Arc::new(self.client.leave())));
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Working {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Working")
    }
}
