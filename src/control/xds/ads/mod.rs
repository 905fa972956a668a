//! One server's stream, without I/O: what is asked for on it, what is answered, when it is opened.
//!
//! It knows names, versions and nonces, and nothing of what is in a resource: the
//! [client](super::client) reads answers and says what became of them. Both protocols, the state of
//! the world (`SotW`) and the delta, are one machine: they differ in how a request is written
//! ([`request`]) and an answer is read ([`answer`]).
//!
//! # Rules
//!
//! | what | rule | source |
//! |---|---|---|
//! | names | asked for by name only: neither `*` nor an empty list that a server reads as it | xDS protocol |
//! | version | what was last accepted, of this server; on a new stream only where all that is asked for is held from here and nothing of it was refused since, else the server is to send all; by delta that of each resource, unless other content was refused under it | xDS protocol, and its silence otherwise |
//! | nonce | of the stream | gRFC A27 |
//! | node | in the first request of a stream | gRFC A27 |
//! | timer | 15 s from the request on an open stream, only for what is not held; 30 s with `resource_timer_is_transient_error` | gRFC A57, A88 |
//! | backoff | 1 s × 1.6, at most 120 s, ± 20 %; anew after an answer, or where the server need not say anything for as long as a resource is waited for, and then streams at least 1 s apart | gRFC A27; the silence own |
//! | repeated NACK | at most one per backoff ([`damp`]) | own |
//! | replies by delta | each answer has one of its own; at most 64 wait for their time, and go out one by one: refusals 1 s apart, acceptances of the same 100 ms | incremental xDS; the pace own |
//! | sent by delta before it is asked for | it is given up, then asked for: istiod, which sends a sidecar all listeners and clusters, is silent otherwise | own |
//! | asked for again without an answer | one new stream before it is said to be absent ([`dropped`]) | own |
//! | an answer that cannot be read | ends the stream as one without an answer does; the backoff begins anew when an answer of that type is read ([`unread`]) | own |
//! | a type whose request ends the stream | after three streams in a row the others are asked for without it, for 10 s and longer each time, at most 10 min ([`blame`]) | own |

pub(crate) mod answer;
mod backoff;
mod blame;
mod damp;
mod dropped;
mod request;
mod subscription;
mod unread;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use envoy_types::pb::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
};

pub(crate) use self::backoff::Backoff;
pub(crate) use self::request::Held;
use self::{
    blame::{Blame, End},
    subscription::Type,
    unread::Unread,
};
use super::kind::Kind;
use crate::core::{Instant, Random, earliest};

/// How the server is spoken to.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Mode {
    /// The state of the world: `StreamAggregatedResources`.
    #[default]
    Sotw,
    /// `DeltaAggregatedResources`.
    Delta,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Sotw(DiscoveryRequest),
    Delta(DeltaDiscoveryRequest),
}

/// What is to be done with the stream.
#[derive(Debug, PartialEq)]
pub(crate) enum Out {
    Open { stream: u64 },
    Close { stream: u64 },
    Send { stream: u64, request: Request },
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// It had been answered, or need not have been.
    Well,
    /// Without an answer that was due, or it was never opened.
    Badly,
    /// As often before, because this type was asked for: it is not for a while ([`Ads::spared`]).
    By(Kind),
}

/// Streams that were answered are opened again no sooner than so long after the last.
const APART: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Link {
    Closed,
    Opening,
    Open {
        since: Instant,
        /// A message has come.
        answered: bool,
        /// A request with the node has gone out.
        introduced: bool,
        /// It was told that it holds.
        settled: bool,
        /// The server has something to say that it has not said yet: not all that was asked for is held
        /// from it.
        owes: bool,
    },
    /// To be closed, and opened again at once.
    Restarting,
}

/// The stream to one server.
pub(crate) struct Ads {
    mode: Mode,
    node: Node,
    /// How long a server has to name a resource (gRFC A57).
    timeout: Duration,
    link: Link,
    /// The number of the last stream.
    stream: u64,
    opened_at: Option<Instant>,
    not_before: Option<Instant>,
    backoff: Backoff,
    types: [Type; Kind::COUNT],
    blame: Blame,
    unread: Unread,
    deadlines: BTreeSet<(Instant, Kind, Arc<str>)>,
}

// === impl Ads ===

impl Ads {
    pub(crate) fn new(mode: Mode, node: Node, timeout: Duration) -> Self {
        Self {
            mode,
            node,
            timeout,
            link: Link::Closed,
            stream: 0,
            opened_at: None,
            not_before: None,
            backoff: Backoff::default(),
            types: Default::default(),
            blame: Blame::default(),
            unread: Unread::default(),
            deadlines: BTreeSet::new(),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether the stream is open and has been answered.
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.link, Link::Open { answered: true, .. })
    }

    /// Whether this is the number of the stream that lives.
    pub(crate) fn is_current(&self, stream: u64) -> bool {
        stream == self.stream && matches!(self.link, Link::Opening | Link::Open { .. })
    }

    /// Whether a stream is opened as soon as something is asked for.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        matches!(self.link, Link::Closed) && self.not_before.is_none_or(|at| at <= now)
    }

    pub(crate) fn subscribe(&mut self, kind: Kind, name: &Arc<str>) {
        self.types[kind as usize].subscribe(name);
    }

    pub(crate) fn unsubscribe(&mut self, kind: Kind, name: &Arc<str>) {
        if let Some(at) = self.types[kind as usize].unsubscribe(name) {
            self.deadlines.remove(&(at, kind, Arc::clone(name)));
        }
    }

    pub(crate) fn is_subscribed(&self, kind: Kind, name: &str) -> bool {
        self.types[kind as usize].names.contains_key(name)
    }

    /// The names of this type that are asked for.
    pub(crate) fn names(&self, kind: Kind) -> impl Iterator<Item = &Arc<str>> {
        self.types[kind as usize].names.keys()
    }

    /// Whether a request on this stream has named it.
    pub(crate) fn is_named(&self, kind: Kind, name: &str) -> bool {
        self.types[kind as usize].names.get(name).is_some_and(|wanted| wanted.sent)
    }

    /// Whether something of this type was asked for on this stream.
    pub(crate) fn is_solicited(&self, kind: Kind) -> bool {
        self.types[kind as usize].solicited
    }

    /// Requests can be written. Whether that is news.
    pub(crate) fn opened(&mut self, now: Instant, stream: u64) -> bool {
        let is_news = stream == self.stream && matches!(self.link, Link::Opening);
        if is_news {
            self.link = Link::Open {
                since: now,
                answered: false,
                introduced: false,
                settled: false,
                owes: false,
            };
        }
        is_news
    }

    /// A message has come; whether it is the first on its stream.
    pub(crate) fn heard(&mut self) -> bool {
        let Link::Open { answered, settled, .. } = &mut self.link else { return false };
        *settled = true;
        let is_first = !std::mem::replace(answered, true);
        if !self.is_unread() {
            self.backoff.reset();
        }
        is_first
    }

    /// An answer of this type can be read.
    pub(crate) fn read(&mut self, kind: Kind) {
        if self.unread.read(kind) {
            self.backoff.reset();
        }
    }

    /// Whether the last answers of a type that is asked for could not be read here.
    pub(crate) fn is_unread(&self) -> bool {
        Kind::ALL.into_iter().any(|kind| self.unread.has(kind) && self.is_wanted(kind))
    }

    /// Whether the stream has held for as long as a resource is waited for though an earlier one was cut for what
    /// could not be read: it does not come again, whatever it was. Told once.
    pub(crate) fn take_read_again(&mut self, now: Instant) -> bool {
        let is_over = self.reads_again_at().is_some_and(|at| at <= now);
        if is_over {
            self.unread = Unread::default();
            self.backoff.reset();
        }
        is_over
    }

    fn reads_again_at(&self) -> Option<Instant> {
        match self.link {
            Link::Open { since, .. } if self.is_unread() => Some(since + self.timeout),
            _ => None,
        }
    }

    /// Whether something of this type is asked for.
    fn is_wanted(&self, kind: Kind) -> bool {
        !self.types[kind as usize].names.is_empty()
    }

    /// The server named a resource: nothing is waited for any more.
    pub(crate) fn named(&mut self, kind: Kind, name: &str) {
        self.types[kind as usize].sought.remove(name);
        if let Some((name, wanted)) = self.types[kind as usize].get_mut(name) {
            wanted.answered = true;
            if let Some(at) = wanted.deadline.take() {
                self.deadlines.remove(&(at, kind, name));
            }
        }
    }

    /// The server sent a resource that nobody has asked for.
    pub(crate) fn unasked(&mut self, kind: Kind, name: &str) {
        if self.mode == Mode::Delta && kind.is_whole() {
            self.types[kind as usize].unasked.add(name);
        }
    }

    /// An answer was accepted as a whole: its content as a hash, to know it again.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        kind: Kind,
        version: &str,
        nonce: String,
        content: u64,
    ) {
        self.blame.answered(kind);
        self.types[kind as usize].accept(now, self.mode, version, nonce, content);
    }

    /// An answer was refused, in part or as a whole.
    pub(crate) fn refuse(
        &mut self,
        now: Instant,
        kind: Kind,
        version: &str,
        nonce: String,
        content: u64,
        reason: String,
    ) {
        self.blame.answered(kind);
        self.types[kind as usize].refuse(now, self.mode, version, nonce, content, reason);
    }

    /// What was good of an answer that was refused is in use.
    pub(crate) fn mixed(&mut self, kind: Kind) {
        self.types[kind as usize].is_mixed = true;
    }

    /// Whether the stream has held for long without a word, and there was none to say.
    fn is_well(&self) -> bool {
        matches!(self.link, Link::Open { settled: true, owes: false, .. })
    }

    /// Why a type is not asked for now: the stream has ended whenever it was. Nothing: it is.
    pub(crate) fn spared(&self, kind: Kind) -> Option<&str> {
        self.blame.spared(kind)
    }

    /// Whether it was told of a type that it is not asked for, and not yet that it is again.
    pub(crate) fn was_spared(&self, kind: Kind) -> bool {
        self.blame.is_told(kind)
    }

    /// A type that was not asked for, and that the stream lives with since it is again; told once.
    pub(crate) fn take_outlived(&mut self, now: Instant) -> Option<Kind> {
        self.blame.take_outlived(now)
    }

    /// The stream ended, or was never opened, with this status of gRPC: UNAVAILABLE where no server has said one.
    /// `None` when it was not the one that lives.
    pub(crate) fn closed(
        &mut self,
        now: Instant,
        stream: u64,
        (code, message): (i32, &str),
        random: &Random,
    ) -> Option<Ended> {
        if !self.is_current(stream) {
            return None;
        }
        let was_answered = self.is_connected();
        let is_well = was_answered || self.is_well();
        let blamed = if let Link::Open { since, .. } = self.link {
            let wanted = Kind::ALL.map(|kind| self.is_wanted(kind));
            self.blame.ended(&End { now, since, was_answered, code, message, wanted })
        } else {
            None
        };
        let ended = match blamed {
            Some(kind) => Ended::By(kind),
            None if is_well => Ended::Well,
            None => Ended::Badly,
        };
        self.not_before = if ended == Ended::Badly {
            now.checked_add(self.backoff.wait(random))
        } else {
            self.opened_at.and_then(|at| at.checked_add(APART))
        };
        self.lost();
        Some(ended)
    }

    /// The stream was ended here, since an answer on it could not be read. The server is well, and of no use: until
    /// an answer of that type can be read, no other one makes up for it.
    pub(crate) fn cut(&mut self, now: Instant, stream: u64, random: &Random) -> bool {
        if !self.is_current(stream) {
            return false;
        }
        let is_asked = |kind: Kind| self.types[kind as usize].solicited && self.is_wanted(kind);
        let is_mute = |kind: Kind| is_asked(kind) && self.types[kind as usize].nonce.is_empty();
        let is_owed = |kind: Kind| is_mute(kind) && self.blame.is_owed(kind);
        if !self.is_unread() {
            // Nobody has seen what type it was of: of one that has something to say and has not said it, most likely.
            let guess = [Kind::ALL.map(is_owed), Kind::ALL.map(is_mute), Kind::ALL.map(is_asked)];
            self.unread = Unread::one_of(guess);
        }
        self.not_before = now.checked_add(self.backoff.wait(random));
        self.lost();
        true
    }

    /// What was of the stream is forgotten.
    fn lost(&mut self) {
        self.link = Link::Closed;
        self.deadlines.clear();
        self.blame.lost();
        for of_type in &mut self.types {
            of_type.lost();
        }
    }

    /// A resource of which the server has said nothing in time.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<(Kind, Arc<str>)> {
        let first = self.deadlines.first()?;
        if first.0 > now {
            return None;
        }
        let (_, kind, name) = self.deadlines.pop_first()?;
        if let Some((_, wanted)) = self.types[kind as usize].get_mut(&name) {
            wanted.deadline = None;
        }
        Some((kind, name))
    }

    /// Whether the server's silence about a resource says nothing: it was given up and asked for
    /// again on this stream, and some servers do not answer then. Not so if the server has said since
    /// then all that there is of its type, nor if a new stream has just said nothing of it either.
    pub(crate) fn is_doubtful(&self, now: Instant, kind: Kind, name: &str) -> bool {
        let of_type = &self.types[kind as usize];
        if !of_type.dropped.has(name) || of_type.was_sought(now, name) {
            return false;
        }
        //= xDS "Knowing When a Requested Resource Does Not Exist": each answer of these types has all
        let says_all = self.mode == Mode::Sotw && matches!(kind, Kind::Listener | Kind::Cluster);
        let wanted = of_type.names.get(name);
        !(says_all && wanted.is_some_and(|it| it.named_after < of_type.answers))
    }

    /// Begins a new stream that asks for everything of a type anew, for this name.
    pub(crate) fn restart(&mut self, now: Instant, kind: Kind, name: &Arc<str>) {
        if matches!(self.link, Link::Opening | Link::Open { .. }) {
            self.types[kind as usize].seek(now, name);
            self.lost();
            self.types[kind as usize].fresh = true;
            self.link = Link::Restarting;
        }
    }

    /// Whether the stream has held for as long as a resource is waited for; told once. Nothing need
    /// be said on a stream that goes on where the last one ended.
    pub(crate) fn take_settled(&mut self, now: Instant) -> bool {
        match &mut self.link {
            Link::Open { since, settled, owes, .. }
                if !*settled && now >= *since + self.timeout =>
            {
                *settled = true;
                if !*owes {
                    self.unread = Unread::default();
                    self.backoff.reset();
                }
                true
            }
            _ => false,
        }
    }

    /// What to do now. `held` says what is known of a resource, for its version.
    pub(crate) fn next(&mut self, now: Instant, held: &dyn Fn(Kind, &str) -> Held) -> Option<Out> {
        self.blame.pass(now);
        let is_wanted = self.types.iter().any(|of_type| !of_type.names.is_empty());
        match &self.link {
            Link::Closed => {
                if !is_wanted || self.not_before.is_some_and(|at| now < at) {
                    return None;
                }
                self.link = Link::Opening;
                self.opened_at = Some(now);
                self.stream += 1;
                Some(Out::Open { stream: self.stream })
            }
            Link::Restarting => {
                self.link = Link::Closed;
                self.not_before = None;
                Some(Out::Close { stream: self.stream })
            }
            Link::Opening | Link::Open { .. } if !is_wanted => {
                // Names that come and go do not dial a server that is away without end.
                let is_opening = matches!(self.link, Link::Opening);
                self.lost();
                self.not_before =
                    self.opened_at.filter(|_| is_opening).and_then(|at| at.checked_add(APART));
                Some(Out::Close { stream: self.stream })
            }
            Link::Opening => None,
            Link::Open { .. } => {
                let request = self.request(now, held)?;
                Some(Out::Send { stream: self.stream, request })
            }
        }
    }

    /// When something is to be done without an event.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match &self.link {
            Link::Closed if self.types.iter().any(|of_type| !of_type.names.is_empty()) => {
                self.not_before
            }
            Link::Open { since, settled, .. } => {
                let timer = self.deadlines.first().map(|first| first.0);
                let reply = self.types.iter().filter_map(Type::reply_at).min();
                let settles = (!settled).then(|| *since + self.timeout);
                let wanted = Kind::ALL.into_iter().filter(|kind| self.is_wanted(*kind));
                let spared = wanted.filter_map(|kind| self.blame.until(kind)).min();
                let spared = earliest(spared, self.blame.wake_at());
                let spared = earliest(spared, self.reads_again_at());
                earliest(earliest(timer, reply), earliest(settles, spared))
            }
            Link::Closed | Link::Opening | Link::Restarting => None,
        }
    }
}
