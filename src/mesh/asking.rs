//! Names that are looked up when they are first asked for, by sources that cannot list what they know:
//! a control plane of xDS is asked for one listener after another.
//!
//! A name that no source defines is asked of every source that looks names up; calls to it wait
//! until one defines it, or all have said that they do not know it. What is asked stays asked: a
//! source that learns of the name later defines it then. A source forgets names that nobody calls
//! any more, and they are asked anew at their next call.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
    discover::SourceId,
};

/// How many names may be asked for: they may come from outside.
const MAX_NAMES: usize = 10_000;

/// The names that are asked for, and of whom.
#[derive(Default)]
pub(super) struct Asking {
    lookers: BTreeMap<SourceId, UnboundedSender<String>>,
    names: HashMap<String, Asked>,
}

struct Asked {
    /// The sources that have not answered.
    awaited: BTreeSet<SourceId>,
    /// Why sources that have answered do not know it.
    reasons: BTreeMap<SourceId, String>,
    /// When it was last asked for; calls to what has been found do not ask.
    at: Instant,
}

/// There is no room for another name.
#[derive(Debug)]
pub(super) struct Full;

// === impl Asking ===

impl Asking {
    /// From now on the source looks names up; it is told of those that are asked for already.
    pub(super) fn looks(&mut self, source: SourceId, sender: UnboundedSender<String>) {
        for (name, asked) in &mut self.names {
            if sender.send(name.clone()).is_ok() {
                asked.awaited.insert(source);
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
        self.lookers.remove(&source);
        for asked in self.names.values_mut() {
            asked.awaited.remove(&source);
        }
    }

    /// Asks for a name, once; whether an answer is awaited.
    pub(super) fn ask(&mut self, name: &str, at: Instant) -> Result<bool, Full> {
        if self.lookers.is_empty() {
            return Ok(false);
        }
        if let Some(asked) = self.names.get_mut(name) {
            asked.at = at;
            return Ok(!asked.awaited.is_empty());
        }
        if self.names.len() >= MAX_NAMES {
            return Err(Full);
        }
        let told = self.lookers.iter().filter(|(_, sender)| sender.send(name.to_owned()).is_ok());
        let awaited: BTreeSet<_> = told.map(|(source, _)| *source).collect();
        let is_awaited = !awaited.is_empty();
        self.names.insert(name.to_owned(), Asked { awaited, reasons: BTreeMap::new(), at });
        Ok(is_awaited)
    }

    /// A source has said something of the name.
    pub(super) fn answered(&mut self, source: SourceId, name: &str) {
        if let Some(asked) = self.names.get_mut(name) {
            asked.awaited.remove(&source);
            asked.reasons.remove(&source);
        }
    }

    /// A source does not know the name.
    pub(super) fn unknown(&mut self, source: SourceId, name: &str, reason: String) {
        if let Some(asked) = self.names.get_mut(name) {
            asked.awaited.remove(&source);
            asked.reasons.insert(source, reason);
        }
    }

    /// Why the sources that were asked do not know the name.
    pub(super) fn reasons(&self, name: &str) -> Vec<String> {
        let asked = self.names.get(plain(name));
        let reasons = asked.into_iter().flat_map(|asked| asked.reasons.values());
        reasons.filter(|reason| !reason.is_empty()).cloned().collect()
    }

    /// A source looks the name up no more: it is asked anew when it is next called.
    pub(super) fn forget(&mut self, source: SourceId, name: &str) {
        if self.lookers.contains_key(&source) {
            self.names.remove(name);
        }
    }

    /// Whether an answer to this name is awaited.
    pub(super) fn is_awaited(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|asked| !asked.awaited.is_empty())
    }

    /// Whether an answer to any name is awaited.
    pub(super) fn is_any_awaited(&self) -> bool {
        self.names.values().any(|asked| !asked.awaited.is_empty())
    }

    /// When the name was last asked for.
    pub(super) fn last(&self, name: &str) -> Option<Instant> {
        self.names.get(name).map(|asked| asked.at)
    }
}

/// The name as sources know it.
fn plain(name: &str) -> &str {
    name.strip_prefix(HTTPS).unwrap_or(name)
}

impl Inner {
    /// Asks the sources that look names up for one that none defines; whether an answer is awaited.
    pub(super) fn ask(&self, name: &str) -> Result<bool, Error> {
        let name = plain(name);
        let mut state = self.state();
        if self.is_closed() || state.service(name) != Standing::Absent {
            return Ok(false);
        }
        state.asking.ask(name, Instant::now()).map_err(|Full| {
            Error::new(ErrorKind::UnknownService, Phase::Resolve)
                .service(&name.into())
                .detail(format!("{MAX_NAMES} names are looked up already"))
        })
    }

    /// Every source has spoken: what clients were made for before, and nobody defines, is asked for.
    pub(super) fn ask_for_held(state: &mut State) {
        let held: Vec<Arc<str>> = state.absent.held().map(|cell| Arc::clone(&cell.name)).collect();
        for name in held {
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
        let asking = &self.state().asking;
        !asking.lookers.is_empty() && !asking.names.contains_key(plain(name))
    }

    /// When the name was last called or asked for.
    pub(super) fn last_used(&self, name: &str) -> Option<Instant> {
        self.called(name).max(self.state().asking.last(name))
    }
}
