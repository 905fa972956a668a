//! The client of one bootstrap, without I/O: what is known of each resource, who watches it, and
//! which server is asked.
//!
//! # In and out
//!
//! In: [`watch`](Client::watch) and [`unwatch`](Client::unwatch), and what becomes of streams:
//! [`opened`](Client::opened), [`received`](Client::received), [`closed`](Client::closed),
//! [`cut`](Client::cut). Out: [`next`](Client::next), until it has nothing more; then
//! [`wake_at`](Client::wake_at) says when to come back without an event. What watchers are told comes
//! before what is sent, so that all they then ask for goes out in one request; the next message is read
//! when `next` has given everything, and requests go out in the meantime: neither side waits for the
//! other.
//!
//! # What becomes of errors (gRFC A88)
//!
//! | | something is held | nothing is held |
//! |---|---|---|
//! | refused here (NACK) | it stays; ambient. With `fail_on_data_errors`: missing | missing |
//! | removed, expired | the same; stays with `ignore_resource_deletion` | missing |
//! | an error of the server's | not found and denied: as refused; else it stays, ambient | missing |
//! | the server ends the stream for its type | it stays, ambient | missing |
//! | the server cannot be reached | the next server if anything else is missing (gRFC A71); it stays, ambient | missing when there is no next |
//! | no answer in time | | missing |
//!
//! Where an earlier process has left its last good ones ([`stock`]), what is missing because nobody
//! could be asked is taken from there, until a server says something of it.
//!
//! The task around it may end before its time. What it held then goes over to the client that takes its
//! place ([`legacy`]), as if it were the same: the table holds for it, too.
//!
//! Who has been told something is not told it again, and a resource that comes again as it was is
//! told to nobody, unless something had been wrong with it.

mod apply;
mod authority;
mod dump;
mod entry;
mod legacy;
mod linger;
mod name;
#[cfg(any(test, fuzzing))]
pub(crate) mod script;
mod settings;
mod stock;
#[cfg(test)]
mod tests;
mod trouble;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use envoy_types::pb::envoy::config::core::v3::Node;

use self::{authority::Authority, entry::Entry, linger::Lingering, name::Name, stock::Stock};
pub(crate) use self::{
    dump::{Dumped, Figures, Status},
    entry::Watched,
    legacy::Legacy,
    settings::{ClientSettings, Features, Linger, ServerId, ServerSettings},
    stock::{Age, Kept, Stocked},
    trouble::{Cause, Trouble},
};
use super::{
    ads::{Ads, Ended, Held, Mode, Out, Request, answer::Message},
    kind::Kind,
    said,
};
use crate::core::{Instant, Random, earliest};

/// Decodes resources.
pub(crate) trait Decode {
    type Resource: Clone + PartialEq;

    /// `value` is the bytes of the resource inside of its `Any`, `kind` what the type URL says.
    ///
    /// # Errors
    ///
    /// What is wrong with it; its name, as far as that could be read.
    fn decode(&self, kind: Kind, value: &[u8]) -> Result<Decoded<Self::Resource>, Invalid>;

    /// The same, beside the last good one and its bytes, of which parts may serve again.
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    fn decode_beside(
        &self,
        kind: Kind,
        value: &[u8],
        _before: Option<(&[u8], &Self::Resource)>,
    ) -> Result<Decoded<Self::Resource>, Invalid> {
        self.decode(kind, value)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decoded<R> {
    pub(crate) name: Arc<str>,
    pub(crate) resource: R,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Invalid {
    /// As far as it could be read.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) reason: String,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Action<R> {
    /// Open a stream; `opened` or `closed` with its number follows.
    Open {
        server: ServerId,
        stream: u64,
        mode: Mode,
    },
    Send {
        server: ServerId,
        stream: u64,
        request: Request,
    },
    /// Close it; nothing need follow.
    Close {
        server: ServerId,
        stream: u64,
    },
    /// Tell who watches it by this name.
    Tell {
        kind: Kind,
        name: Arc<str>,
        watched: Watched<R>,
    },
}

struct Server {
    name: Arc<str>,
    features: Features,
    ads: Ads,
    /// Why it could not be reached the last time, until it is heard again.
    down: Option<String>,
    /// When it was last heard.
    seen: Option<Instant>,
    figures: Figures,
}

pub(crate) struct Client<D: Decode> {
    decode: D,
    random: Random,
    node: Node,
    node_id: Arc<str>,
    servers: Vec<Server>,
    authorities: Vec<Authority>,
    /// By type, by canonical name.
    entries: [HashMap<Arc<str>, Entry<D::Resource>>; Kind::COUNT],
    lingering: Lingering,
    expiring: BTreeSet<(Instant, Kind, Arc<str>)>,
    stock: Stock,
    /// How often what is to be kept for a later process has changed.
    changes: u64,
    /// How often a cluster has come from another server than what was held of it, or anew.
    origins: u64,
    tell: VecDeque<Action<D::Resource>>,
}

/// That resources may come in their wrapper.
const IN_WRAPPER: &str = "xds.config.resource-in-sotw";

// === impl Client ===

impl<D: Decode> Client<D> {
    pub(crate) fn new(settings: ClientSettings, decode: D, seed: u64) -> Self {
        let authorities = Authority::all(&settings);
        let mut node = settings.node;
        if !node.client_features.iter().any(|feature| feature == IN_WRAPPER) {
            node.client_features.push(IN_WRAPPER.to_owned());
        }
        let server = |server: ServerSettings| Server {
            ads: Ads::new(server.mode, node.clone(), server.features.timeout()),
            name: server.name,
            features: server.features,
            down: None,
            seen: None,
            figures: Figures::default(),
        };
        let servers = settings.servers.into_iter().map(server).collect();
        Self {
            decode,
            random: Random::seeded(seed),
            node_id: node.id.as_str().into(),
            node,
            servers,
            authorities,
            entries: Default::default(),
            lingering: Lingering::new(settings.linger),
            expiring: BTreeSet::new(),
            stock: Stock::default(),
            changes: 0,
            origins: 0,
            tell: VecDeque::new(),
        }
    }

    /// One more watches a resource. Who is the first by this name is told what is known at once; the
    /// others read [`known`](Self::known).
    pub(crate) fn watch(&mut self, now: Instant, kind: Kind, name: &str) {
        self.begin(now, kind, name, None);
    }

    /// The same of one that watched it at the client whose place this one takes.
    pub(crate) fn watch_after(
        &mut self,
        now: Instant,
        kind: Kind,
        name: &str,
        before: &Legacy<D::Resource>,
    ) {
        self.begin(now, kind, name, Some(before));
    }

    fn begin(
        &mut self,
        now: Instant,
        kind: Kind,
        name: &str,
        before: Option<&Legacy<D::Resource>>,
    ) {
        let (authority, canonical) = match self.find(kind, name) {
            Ok(found) => found,
            Err(reason) => {
                let trouble = self.no_server(kind, name, reason);
                let name = Arc::clone(&trouble.name);
                let watched = Watched::Missing(trouble);
                return self.tell.push_back(Action::Tell { kind, name, watched });
            }
        };
        let entries = &mut self.entries[kind as usize];
        let is_new = !entries.contains_key(&canonical);
        entries.entry(Arc::clone(&canonical)).or_insert_with(|| Entry::new(authority));
        if let Some(before) = before {
            self.take_over(authority, kind, &canonical, before);
        }
        let Some(entry) = self.entries[kind as usize].get_mut(&canonical) else { return };
        if let Some(place) = entry.lingers.take() {
            self.lingering.remove(place);
        }
        let alias: Arc<str> =
            if name == &*canonical { Arc::clone(&canonical) } else { name.into() };
        let watchers = entry.watchers.entry(Arc::clone(&alias)).or_insert(0);
        *watchers += 1;
        if *watchers == 1 {
            self.changes += u64::from(entry.good.is_some());
            for watched in entry.known() {
                self.tell.push_back(Action::Tell { kind, name: Arc::clone(&alias), watched });
            }
        }
        if is_new {
            self.authorities[authority].names += 1;
            for server in self.authorities[authority].asked() {
                self.servers[server.0].ads.subscribe(kind, &canonical);
            }
            self.ask_another(now, authority, kind, &canonical);
            let active = self.authorities[authority].active();
            self.stock.wanted(now, active, kind, &canonical);
        }
    }

    /// One less watches it. It stays known for a while when nobody does.
    pub(crate) fn unwatch(&mut self, now: Instant, kind: Kind, name: &str) {
        let Ok((_, canonical)) = self.find(kind, name) else { return };
        let Some(entry) = self.entries[kind as usize].get_mut(&canonical) else { return };
        let Some(watchers) = entry.watchers.get_mut(name) else { return };
        *watchers -= 1;
        if *watchers == 0 {
            entry.watchers.remove(name);
        }
        if entry.watchers.is_empty() {
            // What is not known is not worth keeping, but may be wanted again in the same breath.
            let keep = entry.good.is_some();
            self.changes += u64::from(keep);
            entry.lingers = Some(self.lingering.add(now, keep, kind, canonical));
        }
    }

    /// What a new watcher is told, when it is not the first.
    pub(crate) fn known(&self, kind: Kind, name: &str) -> Vec<Watched<D::Resource>> {
        match self.find(kind, name) {
            Ok((_, canonical)) => {
                let entry = self.entries[kind as usize].get(&canonical);
                entry.map(Entry::known).unwrap_or_default()
            }
            Err(reason) => vec![Watched::Missing(self.no_server(kind, name, reason))],
        }
    }

    /// Requests can be written to this stream. Its headers need not have come.
    pub(crate) fn opened(&mut self, now: Instant, server: ServerId, stream: u64) {
        if let Some(server) = self.servers.get_mut(server.0)
            && server.ads.opened(now, stream)
        {
            // What is asked for now may be answered. What was told stays until something is heard.
            server.down = None;
        }
    }

    /// A message has come on this stream.
    pub(crate) fn received(
        &mut self,
        now: Instant,
        server: ServerId,
        stream: u64,
        message: Message,
    ) {
        let Some(of) = self.servers.get_mut(server.0) else { return };
        let is_of_mode = matches!(
            (of.ads.mode(), &message),
            (Mode::Sotw, Message::Sotw(_)) | (Mode::Delta, Message::Delta(_))
        );
        if !of.ads.is_current(stream) || !is_of_mode {
            return;
        }
        // Who answers can be written to.
        of.ads.opened(now, stream);
        of.seen = Some(now);
        self.stock.heard(now, server);
        if of.ads.heard() {
            self.reached(server);
        }
        self.answered(now, server, message);
    }

    /// The stream ended, or could not be opened: the gRPC status and its text.
    pub(crate) fn closed(
        &mut self,
        now: Instant,
        server: ServerId,
        stream: u64,
        code: i32,
        message: &str,
    ) {
        let Some(of) = self.servers.get_mut(server.0) else { return };
        match of.ads.closed(now, stream, (code, message), &self.random) {
            // A stream that ends after an answer is no failure (gRFC A57), nor one on which there was none to give.
            Some(Ended::Well) => of.seen = Some(now),
            Some(Ended::By(kind)) => {
                of.seen = Some(now);
                self.spare(now, server, kind);
            }
            Some(Ended::Badly) => self.failed(now, server, code, message),
            None => {}
        }
    }

    /// The stream was ended here: an answer on it could not be read, by this gRPC status and its text.
    pub(crate) fn cut(
        &mut self,
        now: Instant,
        server: ServerId,
        stream: u64,
        code: i32,
        message: &str,
    ) {
        let Some(of) = self.servers.get_mut(server.0) else { return };
        if of.ads.cut(now, stream, &self.random) {
            self.failed(now, server, code, message);
        }
    }

    /// A stream ended without an answer, or without one that could be read.
    fn failed(&mut self, now: Instant, server: ServerId, code: i32, message: &str) {
        let of = &mut self.servers[server.0];
        let text = said::short(message);
        of.down = Some(format!("stream ended with code {code}: {text}"));
        of.figures.failures += 1;
        for authority in 0..self.authorities.len() {
            if self.authorities[authority].active() == Some(server) {
                self.fall_back(now, authority);
            }
        }
    }

    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Action<D::Resource>> {
        if let Some(action) = self.tell.pop_front() {
            return Some(action);
        }
        self.due(now);
        if let Some(action) = self.tell.pop_front() {
            return Some(action);
        }
        let entries = &self.entries;
        for (at, server) in self.servers.iter_mut().enumerate() {
            let (id, mode) = (ServerId(at), server.ads.mode());
            let held = |kind: Kind, name: &str| {
                let entry = entries[kind as usize].get(name);
                let good = entry.and_then(|entry| entry.good.as_ref());
                good.map_or(Held::Nothing, |good| good.held(id, mode))
            };
            if let Some(out) = server.ads.next(now, &held) {
                return Some(match out {
                    Out::Open { stream } => Action::Open { server: id, stream, mode },
                    Out::Close { stream } => Action::Close { server: id, stream },
                    Out::Send { stream, request } => Action::Send { server: id, stream, request },
                });
            }
        }
        None
    }

    /// When there is something to do without an event.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let servers = self.servers.iter().filter_map(|server| server.ads.wake_at()).min();
        let expiring = self.expiring.first().map(|first| first.0);
        let soonest = earliest(earliest(servers, expiring), self.lingering.first());
        earliest(soonest, self.stock.wake_at())
    }

    /// Whose name it is, and its one form.
    fn find(&self, kind: Kind, name: &str) -> Result<(usize, Arc<str>), String> {
        let name = Name::read(kind, name)?;
        let authority = self.authorities.iter().position(|one| one.name == name.authority);
        let asked = authority.filter(|at| self.authorities[*at].active().is_some());
        match (asked, &name.authority) {
            (Some(authority), _) => Ok((authority, name.canonical)),
            (None, Some(name)) => {
                Err(format!("no server is known for authority `{}`", said::quoted(name)))
            }
            (None, None) => Err("no server is known".to_owned()),
        }
    }

    /// What the time brings.
    fn due(&mut self, now: Instant) {
        while let Some((kind, name)) = self.lingering.due(now) {
            self.forget(kind, &name);
        }
        self.restock(now);
        while self.expiring.first().is_some_and(|first| first.0 <= now) {
            if let Some((_, kind, name)) = self.expiring.pop_first() {
                self.expired(now, kind, &name);
            }
        }
        for at in 0..self.servers.len() {
            let server = ServerId(at);
            if self.servers[at].ads.take_settled(now) {
                self.reached(server);
            }
            if self.servers[at].ads.take_read_again(now) {
                self.read_again(server);
            }
            while let Some(kind) = self.servers[at].ads.take_outlived(now) {
                self.asked_again(server, kind);
            }
            while let Some((kind, name)) = self.servers[at].ads.overdue(now) {
                if self.servers[at].ads.is_doubtful(now, kind, &name) {
                    self.servers[at].ads.restart(now, kind, &name);
                    break;
                }
                self.absent(now, server, kind, &name);
            }
        }
    }

    /// Nobody has watched it for long enough.
    fn forget(&mut self, kind: Kind, name: &Arc<str>) {
        let Some(entry) = self.entries[kind as usize].remove(name) else { return };
        if let Some(at) = entry.expires {
            self.expiring.remove(&(at, kind, Arc::clone(name)));
        }
        for server in self.authorities[entry.authority].asked() {
            self.servers[server.0].ads.unsubscribe(kind, name);
        }
        self.authorities[entry.authority].give_up();
    }
}
