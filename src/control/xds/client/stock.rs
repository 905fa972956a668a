//! What an earlier process knew, for what nobody can be asked for.
//!
//! It is looked at only when a resource is missing because its server cannot be reached, or has not
//! said a word for a while; never when a live server has said anything of it. What is taken from it
//! is decoded as if a server had sent it, and is asked for as before: the first word of a live server
//! takes its place, be it another resource or that there is none.
//!
//! What nobody has asked for yet stays in stock for as long as a server that says nothing of it may
//! be away, and for a while after one was heard: a process that has just begun has not asked for all
//! it will need.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    Client, Decode,
    entry::{Good, Since},
    name::Name,
    settings::ServerId,
    trouble::Cause,
};
use crate::{
    control::xds::{kind::Kind, said::short},
    core::{Instant, earliest},
};

/// How old something is: so old at that time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Age {
    pub(crate) was: Duration,
    pub(crate) at: Instant,
}

/// A resource that an earlier process knew.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stocked {
    pub(crate) kind: Kind,
    pub(crate) name: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) value: Bytes,
    pub(crate) server: ServerId,
    /// Since it was last known to be so.
    pub(crate) age: Age,
}

/// A resource that a later process may need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kept<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a Arc<str>,
    pub(crate) version: &'a Arc<str>,
    pub(crate) value: &'a Bytes,
    pub(crate) server: &'a Arc<str>,
    /// Since it was last known to be so.
    pub(crate) age: Duration,
    /// A live server has said it to this process.
    pub(crate) is_live: bool,
}

#[derive(Debug, Default)]
pub(super) struct Stock {
    all: HashMap<(Kind, Arc<str>), Stocked>,
    /// What is older is not used.
    max_age: Option<Duration>,
    /// Until when what nobody asks for is kept; unknown until a server is heard.
    until: Option<Instant>,
    /// What has been asked for, and until when an answer is waited for.
    wanted: BTreeSet<(Instant, Kind, Arc<str>)>,
    /// The servers that were waited for, and have not said a word since.
    mute: BTreeSet<ServerId>,
}

/// A server that has not said a word by then is taken for one that is away: less than calls wait for
/// a name that is looked up.
const PATIENCE: Duration = Duration::from_secs(3);
/// As long as a name is followed that nobody calls.
const UNASKED: Duration = Duration::from_secs(30 * 60);

// === impl Age ===

impl Age {
    pub(crate) fn now(self, now: Instant) -> Duration {
        self.was.saturating_add(now.saturating_duration_since(self.at))
    }
}

// === impl Stock ===

impl Stock {
    /// Somebody asks this server for a resource. One that has been waited for is not waited for again for
    /// each that follows from another.
    pub(super) fn wanted(
        &mut self,
        now: Instant,
        server: Option<ServerId>,
        kind: Kind,
        name: &Arc<str>,
    ) {
        let has = !self.all.is_empty() && self.all.contains_key(&(kind, Arc::clone(name)));
        let is_mute = server.is_some_and(|server| self.mute.contains(&server));
        let patience = if is_mute { Duration::ZERO } else { PATIENCE };
        if let Some(at) = now.checked_add(patience).filter(|_| has) {
            self.wanted.insert((at, kind, Arc::clone(name)));
        }
    }

    /// A server has been heard.
    pub(super) fn heard(&mut self, now: Instant, server: ServerId) {
        self.mute.remove(&server);
        if self.until.is_none() && !self.all.is_empty() {
            self.until = now.checked_add(UNASKED);
        }
    }

    /// A live server has spoken of it.
    pub(super) fn forget(&mut self, kind: Kind, name: &Arc<str>) -> bool {
        !self.all.is_empty() && self.all.remove(&(kind, Arc::clone(name))).is_some()
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        let until = self.until.filter(|_| !self.all.is_empty());
        earliest(self.wanted.first().map(|first| first.0), until)
    }
}

// === impl Client ===

impl<D: Decode> Client<D> {
    /// What an earlier process knew, and how old it may be to be used.
    pub(crate) fn stock(&mut self, now: Instant, all: Vec<Stocked>, max_age: Option<Duration>) {
        let mut stock = Stock { max_age, ..Stock::default() };
        for mut one in all {
            // What cannot be asked for cannot be used.
            let Ok(name) = Name::read(one.kind, &one.name) else { continue };
            if one.server.0 >= self.servers.len() {
                continue;
            }
            one.name = name.canonical;
            // What a live server has said is known already.
            let entry = self.entries[one.kind as usize].get(&one.name);
            let good = entry.and_then(|entry| entry.good.as_ref());
            if good.is_some_and(|good| good.cached.is_none()) {
                continue;
            }
            stock.all.insert((one.kind, Arc::clone(&one.name)), one);
        }
        self.stock = stock;
        let missing: Vec<(Kind, Arc<str>, Option<Cause>)> = Kind::ALL
            .into_iter()
            .flat_map(|kind| self.entries[kind as usize].iter().map(move |one| (kind, one)))
            .filter(|(_, (_, entry))| entry.good.is_none())
            .map(|(kind, (name, entry))| {
                let cause = entry.trouble.as_ref().map(|trouble| trouble.cause.clone());
                (kind, Arc::clone(name), cause)
            })
            .collect();
        for (kind, name, cause) in missing {
            match cause {
                None => {
                    let entry = self.entries[kind as usize].get(&name);
                    let server = entry.and_then(|it| self.authorities[it.authority].active());
                    self.stock.wanted(now, server, kind, &name);
                }
                Some(cause) if !cause.is_data_error() => self.replenish(now, kind, &name, cause),
                Some(_) => {}
            }
        }
    }

    /// How often what is [kept](Self::kept) has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// What a later process may need: what is watched and good, and what is in stock. Not what its
    /// server gives a time to live: it is not good without the server. Nor secrets: a private key is not
    /// put where it was not.
    pub(crate) fn kept(&self, now: Instant) -> impl Iterator<Item = Kept<'_>> {
        let of = |kind: Kind| self.entries[kind as usize].iter().map(move |one| (kind, one));
        let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Secret);
        let entries = kinds.flat_map(of);
        let good = entries.filter_map(move |(kind, (name, entry))| {
            let good = entry.good.as_ref()?;
            if entry.watchers.is_empty() || entry.expires.is_some() {
                return None;
            }
            let server = &self.servers[good.server.0];
            let age = match good.cached {
                Some(age) => age.now(now),
                None if server.ads.is_connected() => Duration::ZERO,
                None => {
                    now.saturating_duration_since(server.seen.map_or(good.at, |at| at.max(good.at)))
                }
            };
            let Good { version, value, .. } = good;
            let (server, is_live) = (&server.name, good.cached.is_none());
            Some(Kept { kind, name, version, value, server, age, is_live })
        });
        let has_good = move |kind: Kind, name: &Arc<str>| {
            let entry = self.entries[kind as usize].get(name);
            entry.is_some_and(|entry| entry.good.is_some() && !entry.watchers.is_empty())
        };
        let unasked = self.stock.all.values().filter(move |one| !has_good(one.kind, &one.name));
        good.chain(unasked.map(move |one| Kept {
            kind: one.kind,
            name: &one.name,
            version: &one.version,
            value: &one.value,
            server: &self.servers[one.server.0].name,
            age: one.age.now(now),
            is_live: false,
        }))
    }

    pub(super) fn has_stock(&self, kind: Kind, name: &Arc<str>) -> bool {
        let is_cached = |good: &Good<D::Resource>| good.cached.is_some();
        let entry = self.entries[kind as usize].get(name);
        entry.and_then(|entry| entry.good.as_ref()).is_some_and(is_cached)
            || (!self.stock.all.is_empty()
                && self.stock.all.contains_key(&(kind, Arc::clone(name))))
    }

    /// What the time brings.
    pub(super) fn restock(&mut self, now: Instant) {
        while self.stock.wanted.first().is_some_and(|first| first.0 <= now) {
            if let Some((_, kind, name)) = self.stock.wanted.pop_first() {
                self.replenish(now, kind, &name, Cause::Unanswered(PATIENCE));
            }
        }
        if self.stock.until.is_some_and(|until| until <= now) {
            self.changes += u64::from(!self.stock.all.is_empty());
            self.stock = Stock { max_age: self.stock.max_age, ..Stock::default() };
        }
    }

    /// Nobody can say anything of a resource, for this reason: it is taken from stock if it is
    /// there, and still missing.
    fn replenish(&mut self, now: Instant, kind: Kind, name: &Arc<str>, cause: Cause) {
        let Some(entry) = self.entries[kind as usize].get(name) else { return };
        let Some(active) = self.authorities[entry.authority].active() else { return };
        let is_answered = entry.trouble.as_ref().is_some_and(|it| it.cause.is_data_error());
        let is_live = self.servers[active.0].ads.is_connected();
        if entry.good.is_none() && !is_answered && !is_live && self.has_stock(kind, name) {
            self.stock.mute.insert(active);
            // Told though it was told already: there is more to say now.
            if let Some(entry) = self.entries[kind as usize].get_mut(name) {
                entry.trouble = None;
            }
            self.trouble(now, active, kind, name, cause);
        }
    }

    /// Takes what is missing from stock; what is wrong with that is said with the cause.
    pub(super) fn take_stock(
        &mut self,
        now: Instant,
        kind: Kind,
        name: &Arc<str>,
        cause: Cause,
    ) -> Cause {
        if self.stock.all.is_empty() {
            return cause;
        }
        let Some(stocked) = self.stock.all.get(&(kind, Arc::clone(name))) else { return cause };
        let Some(entry) = self.entries[kind as usize].get_mut(name) else { return cause };
        if entry.good.is_some() {
            return cause;
        }
        let age = stocked.age.now(now);
        let found = match self.stock.max_age {
            Some(most) if age > most => {
                Err(format!("it is {age:.0?} old, and at most {most:?} are allowed"))
            }
            _ => match self.decode.decode(kind, &stocked.value) {
                Ok(decoded) if Name::canonical(kind, &decoded.name) == *name => {
                    Ok(decoded.resource)
                }
                Ok(decoded) => Err(format!("it is named `{}` inside", decoded.name.escape_debug())),
                Err(invalid) => Err(invalid.reason),
            },
        };
        match found {
            Ok(resource) => {
                let Stocked { version, value, server, age, .. } = stocked.clone();
                let (cached, since) = (Some(age), Since::Nothing);
                entry.good =
                    Some(Good { resource, version, value, server, at: now, cached, since });
                entry.trouble = None;
                self.origins += u64::from(kind == Kind::Cluster);
                cause
            }
            Err(reason) => {
                self.stock.forget(kind, name);
                self.changes += 1;
                cause.beside_stock(&short(&reason))
            }
        }
    }
}
