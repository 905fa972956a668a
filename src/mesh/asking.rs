//! Names that are looked up when they are first asked for, by sources that cannot list what they know:
//! a control plane of xDS is asked for one listener after another.
//!
//! A name that no source defines is asked of every source that looks names up; calls to it wait
//! until one defines it, or all have said that they do not know it. What is asked stays asked: a
//! source that learns of the name later defines it then. A source forgets names that nobody calls
//! any more; that source is asked anew at the next call of one that nobody else defines.
//!
//! Names may come from outside. When there is no room for another one, those that nobody knows make
//! room, the longest unused first.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::BuildHasher,
    sync::Arc,
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    inner::Inner,
    resolve::HTTPS,
    state::{Standing, State},
};
use crate::{
    core::{Error, ErrorKind, Instant, Phase},
    discover::{Look, SourceId},
};

/// How many names may be asked for: they may come from outside.
const MAX_NAMES: usize = 10_000;
/// One in so many of the names that nobody knows goes when there is no room.
const MAKES_ROOM: usize = 4;
/// How many names are remembered that were defined once.
const MAX_ONCE: usize = 100_000;

/// The names that are asked for, and of whom.
#[derive(Default)]
pub(super) struct Asking {
    lookers: BTreeMap<SourceId, UnboundedSender<Look>>,
    names: HashMap<String, Asked>,
    once: Once,
}

struct Asked {
    /// What each source that looks it up has said; nothing yet.
    of: BTreeMap<SourceId, Option<Answer>>,
    /// When it was last asked for; calls to what has been found do not ask.
    at: Instant,
}

/// What a source says of a name that it was asked for.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// It has defined it, or tried to.
    Said,
    /// It does not know it, for this reason.
    Unknown(String),
    /// It cannot say whether it knows it, for this reason.
    Unsaid(String),
}

/// The names that a source which looks names up has defined once, by their hashes: one that is taken
/// for another is refused, which is safe.
#[derive(Default)]
struct Once {
    names: HashSet<u64>,
    hasher: std::hash::RandomState,
}

/// There is no room for another name.
#[derive(Debug)]
pub(super) struct Full;

// === impl Asking ===

impl Asking {
    /// From now on the source looks names up; it is told of those that are asked for already.
    pub(super) fn looks(&mut self, source: SourceId, sender: UnboundedSender<Look>) {
        for (name, asked) in &mut self.names {
            if sender.send(Look::Up(name.clone())).is_ok() {
                asked.of.insert(source, None);
            }
        }
        self.lookers.insert(source, sender);
    }

    /// Whether the source looks names up.
    pub(super) fn has(&self, source: SourceId) -> bool {
        self.lookers.contains_key(&source)
    }

    /// A source is over: nothing more comes of it.
    pub(super) fn over(&mut self, source: SourceId) {
        if self.lookers.remove(&source).is_some() {
            let names: Vec<String> = self.names.keys().cloned().collect();
            names.iter().for_each(|name| self.leave(source, name));
        }
    }

    /// Asks for a name, each source once; whether an answer is awaited.
    pub(super) fn ask(&mut self, name: &str, at: Instant) -> Result<bool, Full> {
        if self.lookers.is_empty() {
            return Ok(false);
        }
        if !self.names.contains_key(name) {
            if self.names.len() >= MAX_NAMES {
                self.make_room()?;
            }
            self.names.insert(name.to_owned(), Asked { of: BTreeMap::new(), at });
        }
        let Some(asked) = self.names.get_mut(name) else { return Ok(false) };
        asked.at = at;
        for (source, sender) in &self.lookers {
            if !asked.of.contains_key(source) && sender.send(Look::Up(name.to_owned())).is_ok() {
                asked.of.insert(*source, None);
            }
        }
        Ok(asked.is_awaited())
    }

    /// A name is called that need not be asked for.
    pub(super) fn touch(&mut self, name: &str, at: Instant) {
        if let Some(asked) = self.names.get_mut(name) {
            asked.at = at;
        }
    }

    /// A source has answered.
    pub(super) fn answered(&mut self, source: SourceId, name: &str, answer: Answer) {
        let of = self.names.get_mut(name).and_then(|asked| asked.of.get_mut(&source));
        if let Some(of) = of {
            *of = Some(answer);
        }
    }

    /// A source has defined the name.
    pub(super) fn defined(&mut self, source: SourceId, name: &str) {
        if self.has(source) {
            self.once.add(name);
        }
    }

    /// Whether a source that looks names up has defined the name once, be it by its usual port.
    pub(super) fn was_defined(&self, name: &str) -> bool {
        self.once.has(plain(name))
    }

    /// Why the sources that were asked do not know the name.
    pub(super) fn unknown(&self, name: &str) -> Vec<String> {
        let reason = |answer: &Answer| match answer {
            Answer::Unknown(reason) => Some(reason.clone()),
            _ => None,
        };
        self.reasons(name, reason)
    }

    /// Why the sources that were asked cannot say whether they know it.
    pub(super) fn unsaid(&self, name: &str) -> Vec<String> {
        let reason = |answer: &Answer| match answer {
            Answer::Unsaid(reason) => Some(reason.clone()),
            _ => None,
        };
        self.reasons(name, reason)
    }

    fn reasons(&self, name: &str, reason: impl Fn(&Answer) -> Option<String>) -> Vec<String> {
        let asked = self.names.get(plain(name)).into_iter();
        let answers = asked.flat_map(|asked| asked.of.values().flatten());
        answers.filter_map(reason).filter(|reason| !reason.is_empty()).collect()
    }

    /// The names of which a source cannot say whether it knows them.
    pub(super) fn all_unsaid(&self) -> impl Iterator<Item = (&String, &String)> {
        self.names.iter().flat_map(|(name, asked)| {
            asked.of.values().filter_map(move |answer| match answer {
                Some(Answer::Unsaid(reason)) => Some((name, reason)),
                _ => None,
            })
        })
    }

    /// A source looks the name up no more: that source is asked anew when it is next called.
    pub(super) fn leave(&mut self, source: SourceId, name: &str) {
        if let Some(asked) = self.names.get_mut(name)
            && asked.of.remove(&source).is_some()
            && asked.of.is_empty()
        {
            self.names.remove(name);
        }
    }

    /// Whether an answer to this name is awaited.
    pub(super) fn is_awaited(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(Asked::is_awaited)
    }

    /// Whether an answer to any name is awaited.
    pub(super) fn is_any_awaited(&self) -> bool {
        self.names.values().any(Asked::is_awaited)
    }

    /// Whether a source would be asked for this name at its next call.
    pub(super) fn may_ask(&self, name: &str) -> bool {
        let asked = self.names.get(plain(name));
        let is_asked = |source| asked.is_some_and(|asked| asked.of.contains_key(source));
        self.lookers.iter().any(|(source, sender)| !sender.is_closed() && !is_asked(source))
    }

    /// Whether every source that looks names up has been asked for this one, and has answered.
    pub(super) fn is_settled(&self, name: &str) -> bool {
        !self.may_ask(name) && !self.is_awaited(plain(name))
    }

    /// When the name was last asked for.
    pub(super) fn last(&self, name: &str) -> Option<Instant> {
        self.names.get(name).map(|asked| asked.at)
    }

    /// Gives names up that nobody knows, the longest unused first; their sources are told.
    fn make_room(&mut self) -> Result<(), Full> {
        let unknown = self.names.iter().filter(|(_, asked)| asked.is_unknown());
        let mut unknown: Vec<_> = unknown.map(|(name, asked)| (asked.at, name.clone())).collect();
        unknown.sort_unstable();
        unknown.truncate(unknown.len().div_ceil(MAKES_ROOM));
        for (_, name) in &unknown {
            for source in self.names.remove(name).into_iter().flat_map(|asked| asked.of.into_keys())
            {
                if let Some(sender) = self.lookers.get(&source) {
                    drop(sender.send(Look::NoMore(name.clone())));
                }
            }
        }
        if unknown.is_empty() { Err(Full) } else { Ok(()) }
    }
}

impl Asked {
    fn is_awaited(&self) -> bool {
        self.of.values().any(Option::is_none)
    }

    /// Whether all have answered, and nobody knows it.
    fn is_unknown(&self) -> bool {
        let of = self.of.values();
        of.map(Option::as_ref).all(|it| it.is_some_and(|answer| *answer != Answer::Said))
    }
}

// === impl Once ===

impl Once {
    fn add(&mut self, name: &str) {
        if self.names.len() < MAX_ONCE {
            self.names.insert(self.hasher.hash_one(usual(name)));
        }
    }

    /// When it is full, any name may have been there.
    fn has(&self, name: &str) -> bool {
        self.names.len() >= MAX_ONCE || self.names.contains(&self.hasher.hash_one(usual(name)))
    }
}

/// A name without the port that it has anyhow.
fn usual(name: &str) -> &str {
    name.strip_suffix(":80").or_else(|| name.strip_suffix(":443")).unwrap_or(name)
}

/// The name as sources know it.
fn plain(name: &str) -> &str {
    name.strip_prefix(HTTPS).unwrap_or(name)
}

impl Inner {
    /// Asks the sources that look names up for one that none defines; whether an answer is awaited.
    pub(super) fn ask(&self, name: &str) -> Result<bool, Error> {
        let (name, now) = (plain(name), Instant::now());
        let mut state = self.state();
        if self.is_closed() {
            return Ok(false);
        }
        if state.service(name) != Standing::Absent {
            state.asking.touch(name, now);
            return Ok(false);
        }
        state.asking.ask(name, now).map_err(|Full| {
            Error::new(ErrorKind::UnknownService, Phase::Resolve)
                .service(&name.into())
                .detail(format!("{MAX_NAMES} names are looked up already"))
        })
    }

    /// Every source has spoken: what clients were made for before, and nobody defines, is asked for.
    pub(super) fn ask_for_held(&self, state: &mut State) {
        let held: Vec<Arc<str>> = state.absent.held().map(|cell| Arc::clone(&cell.name)).collect();
        for name in held {
            if self.find_named(&name).is_some() {
                continue;
            }
            let name = plain(&name);
            if state.service(name) == Standing::Absent {
                // One that there is no room for is refused when it is called.
                drop(state.asking.ask(name, Instant::now()));
            }
        }
    }

    /// Whether an answer to this name is awaited.
    pub(crate) fn is_asked(&self, name: &str) -> bool {
        self.state().asking.is_awaited(plain(name))
    }

    /// Whether a source would be asked for this name at its next call.
    pub(super) fn may_ask(&self, name: &str) -> bool {
        self.state().asking.may_ask(name)
    }

    /// When the name was last called or asked for.
    pub(super) fn last_used(&self, name: &str) -> Option<Instant> {
        self.called(name).max(self.state().asking.last(name))
    }
}

#[cfg(test)]
mod tests;
