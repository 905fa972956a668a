//! Servers and time that are not there: requests and answers travel for some milliseconds, servers
//! are killed, restarted, silent or wrong. A server holds the client to the protocol.

use std::collections::{BTreeSet, VecDeque};

use super::*;

/// What a server has of one type: content by name, and a version of each.
pub(super) type Table = BTreeMap<String, (u64, String)>;

#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) tables: [Table; Kind::COUNT],
    pub(super) version: u64,
}

impl World {
    pub(super) fn set(&mut self, kind: Kind, name: &str, content: &str) {
        self.version += 1;
        self.tables[kind as usize].insert(name.to_owned(), (self.version, content.to_owned()));
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &str) {
        self.version += 1;
        self.tables[kind as usize].remove(name);
    }
}

/// What a server knows of one type on one stream.
#[derive(Debug, Default)]
struct Told {
    names: BTreeSet<String>,
    was_named: bool,
    nonces: BTreeSet<String>,
    last: String,
    /// What it has sent, with the version.
    sent: BTreeMap<String, u64>,
    /// Versions that were refused (state of the world).
    refused: BTreeSet<String>,
    by_nonce: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Stream {
    has_node: bool,
    told: [Told; Kind::COUNT],
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what is wrong with it, each by itself")]
pub(super) struct Server {
    pub(super) world: World,
    pub(super) is_up: bool,
    pub(super) is_silent: bool,
    /// Sends again what is refused or acknowledged, at once.
    pub(super) insists: bool,
    /// Does not send on a stream what it has sent on it (go-control-plane).
    pub(super) forgets: bool,
    /// Ends the stream on which it is asked for this (go-control-plane's `MuxCache`).
    pub(super) lacks: Option<Kind>,
    streams: BTreeMap<u64, Stream>,
    nonce: u64,
    pub(super) requests: u64,
    /// Those of them that refuse an answer.
    pub(super) nacks: u64,
}

#[derive(Debug)]
enum Event {
    Opened(usize, u64),
    Refused(usize, u64),
    ToServer(usize, u64, Request),
    ToClient(usize, u64, Message),
    Ended(usize, u64),
    Lacking(usize, u64),
}

/// A client among its servers.
pub(super) struct Sim {
    pub(super) client: Client<Text>,
    pub(super) servers: Vec<Server>,
    pub(super) now: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    live: BTreeMap<usize, u64>,
    /// What watchers know: the content, or that it is missing.
    pub(super) seen: BTreeMap<(Kind, String), Option<String>>,
    pub(super) watched: BTreeSet<(Kind, String)>,
    /// Resources that were there and then missing.
    pub(super) lost: Vec<String>,
    pub(super) opens: u64,
    pub(super) closes: u64,
    pub(super) told: u64,
    /// When requests were sent, of the last second.
    recent: VecDeque<Instant>,
    pub(super) busiest: usize,
}

impl Server {
    fn new() -> Self {
        Self {
            world: World::default(),
            is_up: true,
            is_silent: false,
            insists: false,
            forgets: false,
            lacks: None,
            streams: BTreeMap::new(),
            nonce: 0,
            requests: 0,
            nacks: 0,
        }
    }

    /// The names that it is asked for now, on its only stream.
    pub(super) fn subscribed(&self) -> Vec<(Kind, String)> {
        assert!(self.streams.len() <= 1, "{} streams", self.streams.len());
        let told = self.streams.values().flat_map(|stream| Kind::ALL.into_iter().zip(&stream.told));
        told.flat_map(|(kind, told)| told.names.iter().map(move |name| (kind, name.clone())))
            .collect()
    }

    fn is_lacking(&self, request: &Request) -> bool {
        let url = match request {
            Request::Sotw(request) => &request.type_url,
            Request::Delta(request) => &request.type_url,
        };
        self.lacks.is_some_and(|kind| kind.url() == url)
    }

    fn nonce(&mut self) -> String {
        self.nonce += 1;
        format!("n{}", self.nonce)
    }

    fn request(&mut self, stream: u64, request: Request) -> Vec<Message> {
        self.requests += 1;
        let error = match &request {
            Request::Sotw(request) => &request.error_detail,
            Request::Delta(request) => &request.error_detail,
        };
        self.nacks += u64::from(error.is_some());
        match request {
            Request::Sotw(request) => self.sotw(stream, &request),
            Request::Delta(request) => self.delta(stream, &request),
        }
    }

    fn sotw(&mut self, number: u64, request: &DiscoveryRequest) -> Vec<Message> {
        let Some(stream) = self.streams.get_mut(&number) else { return Vec::new() };
        assert_ne!(request.node.is_some(), stream.has_node, "the node, once");
        stream.has_node = true;
        let kind = Kind::of_url(&request.type_url).expect("a type");
        let told = &mut stream.told[kind as usize];
        let names: BTreeSet<String> = request.resource_names.iter().cloned().collect();
        assert!(!names.contains("*") && !names.contains(""), "a wildcard");
        assert!(told.was_named || !names.is_empty(), "an empty list is a wildcard");
        told.was_named = true;
        let nonce = &request.response_nonce;
        assert!(nonce.is_empty() || told.nonces.contains(nonce), "a nonce of another stream");
        assert!(nonce.is_empty() == told.last.is_empty() || nonce.is_empty(), "no nonce");
        let is_refused = request.error_detail.is_some();
        let claimed = &request.version_info;
        assert!(is_refused || !told.refused.contains(claimed), "a refused version is accepted");
        if is_refused && let Some(version) = told.by_nonce.get(nonce) {
            told.refused.insert(version.clone());
        }
        if !nonce.is_empty() && *nonce != told.last {
            // It is about an older answer: another request follows.
            return Vec::new();
        }
        let is_new = names.iter().any(|name| !told.names.contains(name));
        let is_unsent = names.iter().any(|name| !told.sent.contains_key(name));
        told.names = names;
        let current = self.world.version.to_string();
        let is_first = nonce.is_empty();
        let answers = if is_first {
            request.version_info != current
        } else if self.forgets {
            is_new && is_unsent
        } else {
            is_new
        };
        if self.is_silent || !(answers || self.insists) {
            return Vec::new();
        }
        self.push_sotw(number, kind).into_iter().collect()
    }

    fn push_sotw(&mut self, number: u64, kind: Kind) -> Option<Message> {
        let nonce = self.nonce();
        let told = &mut self.streams.get_mut(&number)?.told[kind as usize];
        let table = &self.world.tables[kind as usize];
        let there = told.names.iter().filter_map(|name| table.get_key_value(name));
        let resources: Vec<(&str, &str)> =
            there.clone().map(|(name, (_, content))| (name.as_str(), content.as_str())).collect();
        for (name, (version, _)) in there {
            told.sent.insert(name.clone(), *version);
        }
        let version = self.world.version.to_string();
        // The same version with what is good in it may be accepted later.
        told.refused.remove(&version);
        told.nonces.insert(nonce.clone());
        told.last.clone_from(&nonce);
        told.by_nonce.insert(nonce.clone(), version.clone());
        Some(answer(kind, &version, &nonce, &resources))
    }

    fn delta(&mut self, number: u64, request: &DeltaDiscoveryRequest) -> Vec<Message> {
        let Some(stream) = self.streams.get_mut(&number) else { return Vec::new() };
        assert_ne!(request.node.is_some(), stream.has_node, "the node, once");
        stream.has_node = true;
        let kind = Kind::of_url(&request.type_url).expect("a type");
        let told = &mut stream.told[kind as usize];
        let subscribe = &request.resource_names_subscribe;
        assert!(!subscribe.iter().any(|name| name == "*" || name.is_empty()), "a wildcard");
        assert!(told.was_named || !subscribe.is_empty(), "no name is a wildcard");
        assert!(told.was_named == request.initial_resource_versions.is_empty() || !told.was_named);
        told.was_named = true;
        let nonce = &request.response_nonce;
        assert!(nonce.is_empty() || told.nonces.contains(nonce), "a nonce of another stream");
        for name in &request.resource_names_unsubscribe {
            assert!(told.names.remove(name), "{name} was not asked for");
            told.sent.remove(name);
        }
        for (name, version) in &request.initial_resource_versions {
            told.sent.insert(name.clone(), version.parse().expect("a version of this server"));
        }
        for name in subscribe {
            assert!(told.names.insert(name.clone()), "{name} was asked for already");
        }
        if self.is_silent {
            return Vec::new();
        }
        if self.insists && !nonce.is_empty() {
            let told = &mut self.streams.get_mut(&number).expect("a stream").told[kind as usize];
            told.sent.clear();
        }
        self.push_delta(number, kind).into_iter().collect()
    }

    /// What the client does not have yet.
    fn push_delta(&mut self, number: u64, kind: Kind) -> Option<Message> {
        let table = &self.world.tables[kind as usize];
        let told = &mut self.streams.get_mut(&number)?.told[kind as usize];
        let changed: Vec<(String, String, String)> = told
            .names
            .iter()
            .filter_map(|name| table.get_key_value(name))
            .filter(|(name, (version, _))| told.sent.get(*name) != Some(version))
            .map(|(name, (version, content))| (name.clone(), version.to_string(), content.clone()))
            .collect();
        let gone: Vec<String> = told
            .sent
            .keys()
            .filter(|name| told.names.contains(*name) && !table.contains_key(*name))
            .cloned()
            .collect();
        if changed.is_empty() && gone.is_empty() {
            return None;
        }
        for (name, version, _) in &changed {
            told.sent.insert(name.clone(), version.parse().expect("a number"));
        }
        for name in &gone {
            told.sent.remove(name);
        }
        let nonce = self.nonce();
        let told = &mut self.streams.get_mut(&number)?.told[kind as usize];
        told.nonces.insert(nonce.clone());
        told.last.clone_from(&nonce);
        let changed: Vec<(&str, &str, &str)> = changed
            .iter()
            .map(|(name, version, content)| (name.as_str(), version.as_str(), content.as_str()))
            .collect();
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        Some(delta(kind, &nonce, &changed, &gone))
    }
}

impl Sim {
    pub(super) fn new(settings: ClientSettings, seed: u64) -> Self {
        let servers = settings.servers.iter().map(|_| Server::new()).collect();
        Self {
            client: Client::new(settings, Text, seed),
            servers,
            now: Instant::now(),
            events: BTreeMap::new(),
            sequence: 0,
            live: BTreeMap::new(),
            seen: BTreeMap::new(),
            watched: BTreeSet::new(),
            lost: Vec::new(),
            opens: 0,
            closes: 0,
            told: 0,
            recent: VecDeque::new(),
            busiest: 0,
        }
    }

    fn travel(&mut self, event: Event) {
        // Never past what was sent before it on the same way.
        let at = self.now + Duration::from_millis(5);
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    pub(super) fn watch(&mut self, kind: Kind, name: &str) {
        if self.watched.insert((kind, name.to_owned())) {
            self.client.watch(self.now, kind, name);
        }
    }

    pub(super) fn unwatch(&mut self, kind: Kind, name: &str) {
        if self.watched.remove(&(kind, name.to_owned())) {
            self.client.unwatch(self.now, kind, name);
            self.seen.remove(&(kind, name.to_owned()));
        }
    }

    /// A server changes: all its streams are told.
    pub(super) fn change(&mut self, server: usize, change: impl FnOnce(&mut World)) {
        change(&mut self.servers[server].world);
        if !self.servers[server].is_up || self.servers[server].is_silent {
            return;
        }
        let streams: Vec<u64> = self.servers[server].streams.keys().copied().collect();
        for stream in streams {
            for kind in Kind::ALL {
                let of = &mut self.servers[server];
                let told = &of.streams[&stream].told[kind as usize];
                if told.names.is_empty() {
                    continue;
                }
                let mode = self.client.servers[server].ads.mode();
                let message = match mode {
                    Mode::Sotw => of.push_sotw(stream, kind),
                    Mode::Delta => of.push_delta(stream, kind),
                };
                if let Some(message) = message {
                    self.travel(Event::ToClient(server, stream, message));
                }
            }
        }
    }

    /// All streams of a server end.
    pub(super) fn cut(&mut self, server: usize) {
        let streams: Vec<u64> = self.servers[server].streams.keys().copied().collect();
        self.servers[server].streams.clear();
        for stream in streams {
            self.travel(Event::Ended(server, stream));
        }
    }

    pub(super) fn kill(&mut self, server: usize) {
        self.servers[server].is_up = false;
        self.cut(server);
    }

    fn act(&mut self) {
        for step in 0.. {
            assert!(step < 100_000, "it never ends");
            let Some(action) = self.client.next(self.now) else { return };
            match action {
                Action::Open { server, stream, .. } => {
                    self.opens += 1;
                    self.live.insert(server.0, stream);
                    let is_up = self.servers[server.0].is_up;
                    let event = if is_up { Event::Opened } else { Event::Refused };
                    self.travel(event(server.0, stream));
                }
                Action::Close { server, stream } => {
                    self.closes += 1;
                    self.live.remove(&server.0);
                    self.servers[server.0].streams.remove(&stream);
                }
                Action::Send { server, stream, request } => {
                    self.recent.push_back(self.now);
                    let second = self.now.checked_sub(Duration::from_secs(1));
                    while self.recent.front().copied() < second {
                        self.recent.pop_front();
                    }
                    self.busiest = self.busiest.max(self.recent.len());
                    self.travel(Event::ToServer(server.0, stream, request));
                }
                Action::Tell { kind, name, watched } => {
                    self.told += 1;
                    let key = (kind, name.to_string());
                    if !self.watched.contains(&key) {
                        continue;
                    }
                    match watched {
                        Watched::Resource { resource, .. } => {
                            self.seen.insert(key, Some(resource));
                        }
                        Watched::Missing(trouble) => {
                            if let Some(Some(_)) = self.seen.insert(key, None) {
                                self.lost.push(trouble.to_string());
                            }
                        }
                        Watched::Ambient(_) => {}
                        Watched::Cached { .. } => panic!("nothing is in stock"),
                    }
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Opened(server, stream) => {
                if self.live.get(&server) != Some(&stream) {
                    return;
                }
                if self.servers[server].is_up {
                    self.servers[server].streams.insert(stream, Stream::default());
                    self.client.opened(self.now, ServerId(server), stream);
                } else {
                    self.happen(Event::Refused(server, stream));
                }
            }
            Event::Refused(server, stream) => {
                self.client.closed(self.now, ServerId(server), stream, 14, "connection refused");
            }
            Event::Ended(server, stream) => {
                self.client.closed(self.now, ServerId(server), stream, 14, "reset");
            }
            Event::Lacking(server, stream) => {
                self.client.closed(self.now, ServerId(server), stream, 2, "no cache is there");
            }
            Event::ToServer(server, stream, request) => {
                if self.servers[server].is_lacking(&request) {
                    // What was on its way is lost.
                    if self.servers[server].streams.remove(&stream).is_some() {
                        self.travel(Event::Lacking(server, stream));
                    }
                    return;
                }
                for message in self.servers[server].request(stream, request) {
                    self.travel(Event::ToClient(server, stream, message));
                }
            }
            Event::ToClient(server, stream, message) => {
                if self.servers[server].streams.contains_key(&stream) {
                    self.client.received(self.now, ServerId(server), stream, message);
                }
            }
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut same = 0;
        loop {
            self.act();
            let event = self.events.first_key_value().map(|(at, _)| at.0);
            let next = earliest(event, self.client.wake_at());
            let Some(next) = next.filter(|at| *at <= until) else { break };
            same = if next > self.now { 0 } else { same + 1 };
            assert!(same < 10_000, "no time passes");
            self.now = self.now.max(next);
            if let Some(first) = self.events.first_entry().filter(|first| first.key().0 <= self.now)
            {
                let event = first.remove();
                self.happen(event);
            }
        }
        self.now = until;
        self.act();
    }

    /// Whether what watchers know is what this server has, and it is asked for exactly that.
    pub(super) fn check(&self, server: usize) {
        let of = &self.servers[server];
        let mut asked = of.subscribed();
        asked.sort();
        let wanted: Vec<(Kind, String)> = self.watched.iter().cloned().collect();
        assert_eq!(asked, wanted, "what is asked for");
        for other in (0..self.servers.len()).filter(|other| *other != server) {
            assert!(self.servers[other].subscribed().is_empty(), "server {other} is still asked");
        }
        for (kind, name) in &self.watched {
            let has = of.world.tables[*kind as usize].get(name).map(|(_, content)| content);
            let has = has.filter(|content| !content.starts_with("bad"));
            let seen = self.seen.get(&(*kind, name.clone())).and_then(Option::as_ref);
            // What is gone, or refused now, may have been good before, and is kept.
            if has.is_some() {
                assert_eq!(seen, has, "{kind} {name}");
            }
        }
        let known = self.client.dump().count();
        assert_eq!(known, self.watched.len(), "nothing leaks");
        assert!(self.events.is_empty(), "it is quiet");
    }
}
