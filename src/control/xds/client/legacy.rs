//! What a client held whose task has ended before its time, for the one that takes its place: those that
//! watched a resource go on with what they know, and it must not be taken from them by a client that has
//! only just begun.
//!
//! It comes with each that watches again ([`watch_after`](Client::watch_after)), so that nothing of it is
//! kept that nobody watches.

use std::{collections::HashMap, sync::Arc};

use super::{
    Client, Decode,
    entry::{Entry, Good},
    trouble::Cause,
};
use crate::control::xds::kind::Kind;

pub(crate) struct Legacy<R> {
    /// By type, by canonical name: of what is held.
    entries: [HashMap<Arc<str>, Entry<R>>; Kind::COUNT],
    /// Of each authority, the position of the server whose word counted.
    positions: Vec<usize>,
}

// === impl Client ===

impl<D: Decode> Client<D> {
    /// All that is held, at its end.
    pub(crate) fn leave(&mut self) -> Legacy<D::Resource> {
        let mut entries = std::mem::take(&mut self.entries);
        for of_kind in &mut entries {
            of_kind.retain(|_, entry| entry.good.is_some());
        }
        let positions = self.authorities.iter().map(|authority| authority.position()).collect();
        Legacy { entries, positions }
    }

    /// Goes on with what was held of a resource that is asked for, unless something newer is held, or the
    /// server has said since what takes it away.
    pub(super) fn take_over(
        &mut self,
        authority: usize,
        kind: Kind,
        name: &Arc<str>,
        legacy: &Legacy<D::Resource>,
    ) {
        if let Some(position) = legacy.positions.get(authority) {
            self.authorities[authority].resume(*position);
        }
        let Some(left) = legacy.entries[kind as usize].get(name) else { return };
        let Some(mut good) = left.good.clone() else { return };
        let Some(active) = self.authorities[authority].active() else { return };
        let Some(entry) = self.entries[kind as usize].get_mut(name) else { return };
        let (features, is_cached) = (self.servers[active.0].features, good.cached.is_some());
        let is_ended = entry.trouble.as_ref().is_some_and(|it| it.cause.ends(features, is_cached));
        let is_known = entry.good.as_ref().is_some_and(|known| !is_newer(&good, known));
        if is_ended || is_known || good.server.0 >= self.servers.len() {
            return;
        }
        match &entry.trouble {
            Some(trouble) => {
                if matches!(trouble.cause, Cause::Refused(_)) {
                    good.refused(active, trouble.version.as_deref());
                }
            }
            None => {
                // Another stream is asked for all types at first.
                let stands = |cause: &Cause| is_cached || !matches!(cause, Cause::Spared(_));
                entry.trouble = left.trouble.clone().filter(|trouble| stands(&trouble.cause));
                entry.troubled_at = left.troubled_at.filter(|_| entry.trouble.is_some());
            }
        }
        entry.good = Some(good);
        if let Some(at) = entry.expires.take() {
            self.expiring.remove(&(at, kind, Arc::clone(name)));
        }
        // It may be over by now, which is told next.
        if let Some(at) = left.expires {
            entry.expires = Some(at);
            self.expiring.insert((at, kind, Arc::clone(name)));
        }
        self.changes += 1;
        if !is_cached {
            self.stock.forget(kind, name);
        }
        self.tell_all(kind, name);
    }
}

/// What a server has said goes before what is from the cache; else what came later counts.
fn is_newer<R>(one: &Good<R>, other: &Good<R>) -> bool {
    match (one.cached.is_some(), other.cached.is_some()) {
        (false, true) => true,
        (true, false) => false,
        _ => one.at > other.at,
    }
}
