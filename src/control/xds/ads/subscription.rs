//! What is asked for of one type, and what is to be replied.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    Mode,
    damp::{Damp, REFUSALS_APART, REPEATS_APART},
    dropped::Dropped,
};
use crate::core::Instant;

/// A name that is asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// A request on this stream has named it.
    pub(super) sent: bool,
    /// The server has said something of it on this stream.
    pub(super) answered: bool,
    /// By when the server has to.
    pub(super) deadline: Option<Instant>,
    /// How many answers of the type had come when it was named.
    pub(super) named_after: u64,
}

/// What is said to an answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) nonce: String,
    /// Why it was refused.
    pub(super) reason: Option<String>,
    /// Not before.
    pub(super) at: Option<Instant>,
}

impl Reply {
    fn is_refusal(&self) -> bool {
        self.reason.is_some()
    }
}

/// Replies that had to wait go out one by one: when the next of each sort may.
#[derive(Debug, Default)]
struct Pace {
    refusal: Option<Instant>,
    acceptance: Option<Instant>,
}

impl Pace {
    /// When it may go out; none: at once.
    fn due_at(&self, reply: &Reply) -> Option<Instant> {
        let next = if reply.is_refusal() { self.refusal } else { self.acceptance };
        reply.at.map(|at| next.map_or(at, |next| next.max(at)))
    }

    fn is_due(&self, reply: &Reply, now: Instant) -> bool {
        self.due_at(reply).is_none_or(|at| at <= now)
    }

    fn went_out(&mut self, reply: &Reply, now: Instant) {
        match reply.at {
            Some(_) if reply.is_refusal() => self.refusal = now.checked_add(REFUSALS_APART),
            Some(_) => self.acceptance = now.checked_add(REPEATS_APART),
            None => {}
        }
    }
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what a stream has come to, each by itself")]
pub(super) struct Type {
    pub(super) names: BTreeMap<Arc<str>, Wanted>,
    /// Names to be told, and given up, since the last request (what delta sends).
    pub(super) added: BTreeSet<Arc<str>>,
    pub(super) removed: BTreeSet<Arc<str>>,
    /// A request on this stream has named something: from then on an empty list means nothing, and
    /// not everything.
    pub(super) solicited: bool,
    /// The nonce of the last answer on this stream.
    pub(super) nonce: String,
    /// The last version that was accepted from this server.
    pub(super) accepted: String,
    /// The accepted version was refused since: a server has one version for all names, and more of
    /// them are asked for by now.
    is_tainted: bool,
    /// Since the accepted version, what was good of an answer that was refused is in use: no version stands for
    /// all that is held.
    pub(super) is_mixed: bool,
    /// Names were given up since the last acceptance went out: a server that looks at no request with an older
    /// nonce, nor at the names of a refusal, may not know it.
    pub(super) gave_up: bool,
    /// What has still to be said to answers, the oldest first: of the state of the world to the newest alone,
    /// for it has all that those before it had.
    replies: VecDeque<Reply>,
    pace: Pace,
    /// The names are to be told once more: a refusal went out, and they have not been answered.
    pub(super) retold: bool,
    /// The next stream is to ask for everything, whatever is held.
    pub(super) fresh: bool,
    pub(super) dropped: Dropped,
    /// Answers that have come.
    pub(super) answers: u64,
    /// Names that a stream was begun anew for and that have not been heard of since, and when.
    pub(super) sought: BTreeMap<Arc<str>, Instant>,
    /// What the server has sent on this stream, by delta, and nobody had asked for.
    pub(super) unasked: Dropped,
    damp: Damp,
}

/// For a name that was not there, a stream is begun anew once in so long.
const SOUGHT_AGAIN: Duration = Duration::from_secs(10 * 60);
/// So many of them are known.
const MOST_SOUGHT: usize = 4096;
/// So many replies wait for their time; beyond that, refusals are said in one.
const MOST_REPLIES: usize = 64;
/// No longer is the text of refusals that are said in one. Unit: bytes.
const LONGEST_REASON: usize = 8192;

// === impl Type ===

impl Type {
    pub(super) fn get_mut(&mut self, name: &str) -> Option<(Arc<str>, &mut Wanted)> {
        let (name, _) = self.names.get_key_value(name)?;
        let name = Arc::clone(name);
        let wanted = self.names.get_mut(&name)?;
        Some((name, wanted))
    }

    pub(super) fn subscribe(&mut self, name: &Arc<str>) {
        if self.names.contains_key(name) {
            return;
        }
        // Given up and wanted again before a request went out: the server never hears of it. Its
        // copy here is gone all the same, so it has to be sent again.
        self.names.insert(Arc::clone(name), Wanted::default());
        self.added.insert(Arc::clone(name));
        // To the server it is subscribed to already, and istiod is silent then: it is given up first.
        if self.unasked.has(name) {
            self.removed.insert(Arc::clone(name));
        }
    }

    /// Its deadline, which is to be forgotten.
    pub(super) fn unsubscribe(&mut self, name: &Arc<str>) -> Option<Instant> {
        let wanted = self.names.remove(name)?;
        self.added.remove(name);
        if wanted.sent {
            self.removed.insert(Arc::clone(name));
            self.dropped.add(name);
        }
        wanted.deadline
    }

    /// A stream is begun anew for this name.
    pub(super) fn seek(&mut self, now: Instant, name: &Arc<str>) {
        self.sought.retain(|_, at| now < *at + SOUGHT_AGAIN);
        if self.sought.len() < MOST_SOUGHT {
            self.sought.insert(Arc::clone(name), now);
        }
    }

    /// Whether a stream was begun anew for it a short while ago, in vain.
    pub(super) fn was_sought(&self, now: Instant, name: &str) -> bool {
        self.sought.get(name).is_some_and(|at| now < *at + SOUGHT_AGAIN)
    }

    /// The version that a request without an error may name.
    pub(super) fn claim(&self) -> String {
        if self.is_tainted { String::new() } else { self.accepted.clone() }
    }

    pub(super) fn is_changed(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty() || self.retold
    }

    pub(super) fn accept(
        &mut self,
        now: Instant,
        mode: Mode,
        version: &str,
        nonce: String,
        content: u64,
    ) {
        version.clone_into(&mut self.accepted);
        self.is_tainted = false;
        self.is_mixed = false;
        let at = self.damp.accept(now, content);
        self.answer(mode, Reply { nonce, reason: None, at });
    }

    pub(super) fn refuse(
        &mut self,
        now: Instant,
        mode: Mode,
        version: &str,
        nonce: String,
        content: u64,
        reason: String,
    ) {
        self.is_tainted |= version == self.accepted;
        let at = self.damp.refuse(now, content);
        // It does not overtake those that wait.
        let waits = mode == Mode::Delta && self.replies.iter().any(Reply::is_refusal);
        let at = at.or_else(|| waits.then_some(now));
        self.answer(mode, Reply { nonce, reason: Some(reason), at });
    }

    fn answer(&mut self, mode: Mode, reply: Reply) {
        self.fresh = false;
        self.answers += 1;
        self.nonce.clone_from(&reply.nonce);
        //= xDS incremental protocol: each answer has an acknowledgement or a refusal of its own
        if mode == Mode::Sotw {
            self.replies.clear();
        } else if self.replies.len() == MOST_REPLIES {
            self.make_room();
        }
        self.replies.push_back(reply);
    }

    /// One reply less waits: the oldest refusal is said in the next one, or an acceptance is not said.
    fn make_room(&mut self) {
        let Some(first) = self.replies.iter().position(Reply::is_refusal) else {
            drop(self.replies.pop_front());
            return;
        };
        let Some(next) = self.replies.iter().skip(first + 1).position(Reply::is_refusal) else {
            drop(self.replies.remove(usize::from(first == 0)));
            return;
        };
        let reason = self.replies.remove(first).and_then(|reply| reply.reason);
        let said = self.replies.get_mut(first + next).and_then(|reply| reply.reason.as_mut());
        if let (Some(reason), Some(said)) = (reason, said)
            && reason.len() + said.len() <= LONGEST_REASON
        {
            *said = format!("{reason}; {said}");
        }
    }

    pub(super) fn reply_is_due(&self, now: Instant) -> bool {
        self.replies.iter().any(|reply| self.pace.is_due(reply, now))
    }

    /// The oldest reply that is due.
    pub(super) fn take_reply(&mut self, now: Instant) -> Option<Reply> {
        let place = self.replies.iter().position(|reply| self.pace.is_due(reply, now))?;
        let reply = self.replies.remove(place)?;
        self.pace.went_out(&reply, now);
        Some(reply)
    }

    /// The newest reply, whether it is due or not.
    pub(super) fn take_newest(&mut self, now: Instant) -> Option<Reply> {
        let reply = self.replies.pop_back()?;
        self.pace.went_out(&reply, now);
        Some(reply)
    }

    pub(super) fn reply_at(&self) -> Option<Instant> {
        self.replies.iter().filter_map(|reply| self.pace.due_at(reply)).min()
    }

    /// The stream is gone: what was of it is forgotten, the version stays.
    pub(super) fn lost(&mut self) {
        self.solicited = false;
        self.nonce.clear();
        self.replies.clear();
        self.pace = Pace::default();
        self.retold = false;
        self.gave_up = false;
        self.removed.clear();
        self.dropped.clear();
        self.unasked.clear();
        self.damp.new_stream();
        self.added = self.names.keys().cloned().collect();
        for wanted in self.names.values_mut() {
            *wanted = Wanted::default();
        }
    }
}
