//! What an answer changes.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
};

use super::{
    Action, Client, Decode, Invalid,
    entry::{Entry, Good, Since, Watched},
    name::Name,
    settings::ServerId,
    trouble::{Cause, Trouble},
};
use crate::{
    control::xds::{
        ads::answer::{Answer, Item, Message},
        bulk::first_text,
        kind::Kind,
        said::quoted,
    },
    core::Instant,
};

/// Beyond that, what else is wrong is counted in the text of a NACK. Unit: bytes.
const LONGEST_NACK: usize = 8192;
/// Of so many resources without a name it is kept why they are refused; the others are counted.
const MOST_NAMELESS: usize = 64;

/// What was read of an answer.
struct Read<R> {
    good: Vec<(Arc<str>, R, Vec<u8>, Item)>,
    /// Their time to live is renewed.
    renewed: Vec<(Arc<str>, Item)>,
    /// Each name once.
    bad: Vec<(Arc<str>, Arc<str>, String)>,
    bad_names: HashSet<Arc<str>>,
    /// Why the first of those that have no name are refused, and how many there are.
    nameless: Vec<String>,
    nameless_count: usize,
    /// Nobody asked for them.
    unasked: Vec<Arc<str>>,
}

// === impl Client ===

impl<D: Decode> Client<D> {
    pub(super) fn answered(&mut self, now: Instant, server: ServerId, message: Message) {
        let of = &mut self.servers[server.0];
        // Neither ACK nor NACK for what is unknown, or was not asked for on this stream.
        let Some(kind) = Kind::of_url(message.type_url()) else { return };
        if !of.ads.is_solicited(kind) {
            return;
        }
        of.ads.read(kind);
        let mut answer = Answer::read(kind, message);
        let content = answer.content();
        let mut read = self.read(server, kind, std::mem::take(&mut answer.items));
        let errors = read.errors();
        for name in read.unasked.drain(..) {
            self.servers[server.0].ads.unasked(kind, &name);
        }
        let figures = &mut self.servers[server.0].figures;
        figures.valid[kind as usize] += read.good.len() as u64;
        figures.invalid[kind as usize] += (read.bad.len() + read.nameless_count) as u64;
        // What an answer does not name is gone, unless there is something in it that has no name.
        let is_nameless = !read.nameless.is_empty();
        if is_nameless {
            self.refused_nameless(server, kind, &read.names());
        }
        let named = (answer.is_whole && !is_nameless).then(|| read.names());
        // Of what is said of a name twice, the first counts.
        let mut failing = HashSet::new();
        let failed: Vec<_> = std::mem::take(&mut answer.failed)
            .into_iter()
            .map(|failed| (Name::canonical(kind, &failed.name), failed))
            .filter(|(name, _)| failing.insert(Arc::clone(name)))
            .collect();

        let has_good = !read.good.is_empty();
        for (name, resource, value, item) in read.good.drain(..) {
            self.good(now, server, kind, &name, resource, value, &item);
        }
        for (name, item) in read.renewed.drain(..) {
            // That it lives says nothing of what it is: where it is not held, it is waited for.
            if self.renew(now, server, kind, &name, &item) {
                self.servers[server.0].ads.named(kind, &name);
            }
        }
        for (name, version, reason) in read.bad.drain(..) {
            self.servers[server.0].ads.named(kind, &name);
            self.refused(now, server, kind, &name, version, &reason);
        }
        for (name, failed) in &failed {
            self.servers[server.0].ads.named(kind, name);
            self.trouble(now, server, kind, name, Cause::denied(failed.code, &failed.message));
        }
        for name in &answer.removed {
            let name = Name::canonical(kind, name);
            if self.servers[server.0].ads.is_named(kind, &name) {
                self.servers[server.0].ads.named(kind, &name);
                self.trouble(now, server, kind, &name, Cause::Removed);
            }
        }
        if let Some(mut named) = named {
            named.extend(failed.into_iter().map(|(name, _)| name));
            self.removed(now, server, kind, &named);
        }

        let ads = &mut self.servers[server.0].ads;
        let was_spared = ads.was_spared(kind);
        match errors {
            None => ads.accept(now, kind, &answer.version, answer.nonce, content),
            Some(reason) => {
                ads.refuse(now, kind, &answer.version, answer.nonce, content, reason);
                if has_good {
                    ads.mixed(kind);
                }
            }
        }
        if was_spared {
            self.asked_again(server, kind);
        }
    }

    /// Decodes what was asked for. What nobody asked for is not judged.
    fn read(&self, server: ServerId, kind: Kind, items: Vec<Item>) -> Read<D::Resource> {
        let ads = &self.servers[server.0].ads;
        let is_wanted = |name: &str| ads.is_subscribed(kind, name);
        let mut read = Read {
            good: Vec::new(),
            renewed: Vec::new(),
            bad: Vec::new(),
            bad_names: HashSet::new(),
            nameless: Vec::new(),
            nameless_count: 0,
            unasked: Vec::new(),
        };
        for mut item in items {
            let wrapped = item.name.as_deref().map(|name| Name::canonical(kind, name));
            let value = item.value.as_ref().ok().and_then(Option::as_deref);
            let inside = value.and_then(first_text).map(|name| Name::canonical(kind, name));
            let mut before = None;
            if let Some(name) = wrapped.as_ref().or(inside.as_ref()) {
                if !is_wanted(name) {
                    read.unasked.push(Arc::clone(name));
                    continue;
                }
                // What came before was valid, and is again.
                let entry = self.entries[kind as usize].get(name);
                let good = entry.and_then(|entry| entry.good.as_ref());
                before = good.map(|good| (&good.value[..], &good.resource));
                if let Some(good) = good.filter(|good| Some(&good.value[..]) == value)
                    && inside.as_ref() == Some(name)
                    && let Ok(Some(value)) = std::mem::replace(&mut item.value, Ok(None))
                {
                    read.good.push((Arc::clone(name), good.resource.clone(), value, item));
                    continue;
                }
            }
            let decoded = match std::mem::replace(&mut item.value, Ok(None)) {
                Ok(Some(value)) => {
                    let decoded = self.decode.decode_beside(kind, &value, before);
                    decoded.map(|decoded| (decoded, value))
                }
                Ok(None) => {
                    if let Some(name) = wrapped {
                        read.renewed.push((name, item));
                    }
                    continue;
                }
                Err(reason) => Err(Invalid { name: None, reason }),
            };
            match decoded {
                Ok((decoded, value)) => {
                    let name = Name::canonical(kind, &decoded.name);
                    match wrapped {
                        Some(wrapped) if wrapped != name => {
                            let reason = format!("it is named `{}` inside", name.escape_debug());
                            read.refuse(wrapped, item.version, reason);
                        }
                        _ if !is_wanted(&name) => {}
                        _ => read.good.push((name, decoded.resource, value, item)),
                    }
                }
                Err(invalid) => {
                    let name = invalid.name.map(|name| Name::canonical(kind, &name));
                    match wrapped.or(name) {
                        Some(name) if is_wanted(&name) => {
                            read.refuse(name, item.version, invalid.reason);
                        }
                        Some(_) => {}
                        None => read.refuse_nameless(invalid.reason),
                    }
                }
            }
        }
        read.refuse_twice();
        read
    }

    #[expect(clippy::too_many_arguments, reason = "what it is, and whose")]
    fn good(
        &mut self,
        now: Instant,
        server: ServerId,
        kind: Kind,
        name: &Arc<str>,
        resource: D::Resource,
        value: Vec<u8>,
        item: &Item,
    ) {
        self.servers[server.0].ads.named(kind, name);
        let Some(entry) = self.entries[kind as usize].get_mut(name) else { return };
        let authority = entry.authority;
        let is_known = entry
            .good
            .as_ref()
            .is_some_and(|good| good.value == value || good.resource == resource);
        let was_well = entry.trouble.take().is_none();
        let version = Arc::clone(&item.version);
        let is_kept = entry.good.as_ref().is_some_and(|good| {
            good.cached.is_none() && good.version == version && good.value == value
        });
        self.changes += u64::from(!is_kept);
        let is_elsewhere = entry.good.as_ref().is_none_or(|good| good.server != server);
        self.origins += u64::from(kind == Kind::Cluster && is_elsewhere);
        self.stock.forget(kind, name);
        let (cached, since, value) = (None, Since::Nothing, value.into());
        entry.good = Some(Good { resource, version, value, server, at: now, cached, since });
        if !(is_known && was_well) {
            self.tell_all(kind, name);
        }
        let _renewed = self.renew(now, server, kind, name, item);
        // As long as not all that it says can be read, the next one is needed.
        if !self.servers[server.0].ads.is_unread() {
            self.return_to(authority, server);
        }
    }

    /// Counts its time to live from now, if it is held of this server.
    fn renew(
        &mut self,
        now: Instant,
        server: ServerId,
        kind: Kind,
        name: &Arc<str>,
        item: &Item,
    ) -> bool {
        let Some(entry) = self.entries[kind as usize].get_mut(name) else { return false };
        if entry.good.as_ref().is_none_or(|good| good.server != server || good.cached.is_some()) {
            return false;
        }
        if let Some(at) = entry.expires.take() {
            self.expiring.remove(&(at, kind, Arc::clone(name)));
        }
        if let Some(at) = item.ttl.and_then(|ttl| now.checked_add(ttl)) {
            entry.expires = Some(at);
            self.expiring.insert((at, kind, Arc::clone(name)));
        }
        true
    }

    pub(super) fn expired(&mut self, now: Instant, kind: Kind, name: &Arc<str>) {
        let Some(entry) = self.entries[kind as usize].get_mut(name) else { return };
        entry.expires = None;
        if let Some(server) = entry.good.as_ref().map(|good| good.server) {
            self.trouble(now, server, kind, name, Cause::Expired);
        }
    }

    fn refused(
        &mut self,
        now: Instant,
        server: ServerId,
        kind: Kind,
        name: &Arc<str>,
        version: Arc<str>,
        reason: &str,
    ) {
        let entry = self.entries[kind as usize].get_mut(name);
        if let Some(good) = entry.and_then(|entry| entry.good.as_mut()) {
            good.refused(server, Some(&*version));
        }
        self.troubled(now, server, kind, name, Some(version), Cause::refused(reason));
    }

    /// Something that has no name was refused: it may be any that is asked for and was not named.
    fn refused_nameless(&mut self, server: ServerId, kind: Kind, named: &HashSet<Arc<str>>) {
        let ads = &self.servers[server.0].ads;
        for (name, entry) in &mut self.entries[kind as usize] {
            if let Some(good) = &mut entry.good
                && !named.contains(name)
                && ads.is_named(kind, name)
            {
                good.refused(server, None);
            }
        }
    }

    /// The whole state does not have these: what is held of this server's, and was asked for on this
    /// stream, is gone. What it has never named may still come.
    fn removed(&mut self, now: Instant, server: ServerId, kind: Kind, named: &HashSet<Arc<str>>) {
        let ads = &self.servers[server.0].ads;
        let gone: Vec<Arc<str>> = self.entries[kind as usize]
            .iter()
            .filter(|(name, entry)| {
                // What is from the cache, it has never named.
                entry.good.as_ref().is_some_and(|good| good.cached.is_none())
                    && !named.contains(*name)
                    && ads.is_named(kind, name)
            })
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in gone {
            self.trouble(now, server, kind, &name, Cause::Removed);
        }
    }

    /// The server has not named it in time.
    pub(super) fn absent(&mut self, now: Instant, server: ServerId, kind: Kind, name: &Arc<str>) {
        let of = &self.servers[server.0];
        let after = of.ads.timeout();
        // One that has not said a word on this stream has not said that it is not there either.
        let is_mute = !of.ads.is_connected() && self.has_stock(kind, name);
        let is_silence = of.features.resource_timer_is_transient_error || is_mute;
        let cause = if is_silence { Cause::Unanswered(after) } else { Cause::Absent(after) };
        self.trouble(now, server, kind, name, cause);
    }

    /// The server can be reached: what was wrong for that is well again.
    pub(super) fn reached(&mut self, server: ServerId) {
        self.servers[server.0].down = None;
        self.return_from_the_dead(server);
        for kind in Kind::ALL {
            let well: Vec<Arc<str>> = self.entries[kind as usize]
                .iter_mut()
                .filter(|(_, entry)| {
                    self.authorities[entry.authority].active() == Some(server)
                        && entry.good.as_ref().is_some_and(|good| good.cached.is_none())
                        && entry
                            .trouble
                            .as_ref()
                            .is_some_and(|trouble| matches!(trouble.cause, Cause::Unreachable(_)))
                })
                .map(|(name, entry)| {
                    entry.trouble = None;
                    Arc::clone(name)
                })
                .collect();
            for name in well {
                self.tell_all(kind, &name);
            }
        }
    }

    /// A type is asked of the server again, which lives with it: what is held of it is well again. The server
    /// may have no cause to send any of it.
    pub(super) fn asked_again(&mut self, server: ServerId, kind: Kind) {
        let of = &self.servers[server.0].name;
        let is_spared = |trouble: &Arc<Trouble>| {
            matches!(trouble.cause, Cause::Spared(_)) && trouble.server.as_ref() == Some(of)
        };
        let well: Vec<Arc<str>> = self.entries[kind as usize]
            .iter_mut()
            .filter(|(_, entry)| {
                entry.good.as_ref().is_some_and(|good| good.cached.is_none())
                    && entry.trouble.as_ref().is_some_and(is_spared)
            })
            .map(|(name, entry)| {
                entry.trouble = None;
                Arc::clone(name)
            })
            .collect();
        for name in well {
            self.tell_all(kind, &name);
        }
    }

    pub(super) fn trouble(
        &mut self,
        now: Instant,
        server: ServerId,
        kind: Kind,
        name: &Arc<str>,
        cause: Cause,
    ) {
        self.troubled(now, server, kind, name, None, cause);
    }

    /// Something is wrong with a resource: what is held stays or goes, and watchers are told once.
    fn troubled(
        &mut self,
        now: Instant,
        server: ServerId,
        kind: Kind,
        name: &Arc<str>,
        version: Option<Arc<str>>,
        mut cause: Cause,
    ) {
        let Some(entry) = self.entries[kind as usize].get(name) else { return };
        // Of a server that is not the one whose word counts, or no longer: what is held of another
        // is not touched.
        let counts = self.authorities[entry.authority].active() == Some(server);
        let is_removal = matches!(cause, Cause::Removed);
        // Its server has said itself how long it is good for: it need not be the one whose word counts.
        let is_over = matches!(cause, Cause::Expired);
        if !counts && (is_removal || entry.good.is_none()) {
            return;
        }
        if counts && !cause.is_data_error() {
            cause = self.take_stock(now, kind, name, cause);
        }
        let of = &self.servers[server.0];
        let Some(entry) = self.entries[kind as usize].get_mut(name) else { return };
        let is_cached = entry.good.as_ref().is_some_and(|good| good.cached.is_some());
        let ends = is_over || counts && cause.ends(of.features, is_cached);
        if counts && cause.is_denial() && !of.features.ignore_resource_deletion {
            self.stock.forget(kind, name);
        }
        let is_lost = ends && entry.good.take().is_some();
        if is_lost {
            self.changes += 1;
            if let Some(at) = entry.expires.take() {
                self.expiring.remove(&(at, kind, Arc::clone(name)));
            }
            if entry.watchers.is_empty()
                && let Some(place) = entry.lingers.take()
            {
                self.lingering.remove(place);
                entry.lingers = Some(self.lingering.add(now, false, kind, Arc::clone(name)));
            }
        }
        let held = entry.good.as_ref().map(|good| Arc::clone(&good.version));
        let trouble = Arc::new(Trouble {
            kind,
            name: Arc::clone(name),
            version: version.or(held),
            node: Arc::clone(&self.node_id),
            server: Some(Arc::clone(&of.name)),
            cause,
        });
        let was_told = entry.trouble.as_ref().is_some_and(|told| told.is_same(&trouble));
        entry.trouble = Some(Arc::clone(&trouble));
        entry.troubled_at = Some(now);
        if was_told && !is_lost {
            return;
        }
        for alias in entry.watchers.keys() {
            let trouble = Arc::clone(&trouble);
            let watched = match &entry.good {
                None => Watched::Missing(trouble),
                Some(Good { resource, version, cached: Some(age), .. }) => {
                    let (resource, version, age) = (resource.clone(), Arc::clone(version), *age);
                    Watched::Cached { resource, version, age, trouble }
                }
                Some(_) => Watched::Ambient(trouble),
            };
            self.tell.push_back(Action::Tell { kind, name: Arc::clone(alias), watched });
        }
    }

    pub(super) fn tell_all(&mut self, kind: Kind, name: &Arc<str>) {
        let Some(entry) = self.entries[kind as usize].get(name) else { return };
        for alias in entry.watchers.keys() {
            for watched in Entry::known(entry) {
                self.tell.push_back(Action::Tell { kind, name: Arc::clone(alias), watched });
            }
        }
    }
}

// === impl Read ===

impl<R> Read<R> {
    fn names(&self) -> HashSet<Arc<str>> {
        let good = self.good.iter().map(|(name, ..)| name);
        let renewed = self.renewed.iter().map(|(name, _)| name);
        let bad = self.bad.iter().map(|(name, ..)| name);
        good.chain(renewed).chain(bad).cloned().collect()
    }

    fn refuse(&mut self, name: Arc<str>, version: Arc<str>, reason: String) {
        if self.bad_names.insert(Arc::clone(&name)) {
            self.bad.push((name, version, reason));
        }
    }

    fn refuse_nameless(&mut self, reason: String) {
        self.nameless_count += 1;
        if self.nameless.len() < MOST_NAMELESS {
            self.nameless.push(reason);
        }
    }

    /// What is named twice with other content is none of both.
    fn refuse_twice(&mut self) {
        let mut first: HashMap<Arc<str>, usize> = HashMap::new();
        let mut twice: HashSet<Arc<str>> = HashSet::new();
        for (at, (name, _, value, _)) in self.good.iter().enumerate() {
            match first.get(name) {
                Some(before) if self.good[*before].2 != *value => {
                    twice.insert(Arc::clone(name));
                }
                Some(_) => {}
                None => {
                    first.insert(Arc::clone(name), at);
                }
            }
        }
        for (name, ..) in &self.bad {
            if first.contains_key(name) {
                twice.insert(Arc::clone(name));
            }
        }
        if twice.is_empty() {
            return;
        }
        let (bad, names) = (&mut self.bad, &mut self.bad_names);
        self.good.retain(|(name, _, _, item)| {
            let is_twice = twice.contains(name);
            if is_twice && names.insert(Arc::clone(name)) {
                let reason = "it is named twice, with other content".to_owned();
                bad.push((Arc::clone(name), Arc::clone(&item.version), reason));
            }
            !is_twice
        });
    }

    /// The text of the NACK: every bad resource, as far as there is room.
    fn errors(&self) -> Option<String> {
        let count = self.bad.len() + self.nameless_count;
        if count == 0 {
            return None;
        }
        let mut text = String::new();
        let bad = self.bad.iter().map(|(name, _, reason)| (Some(name), reason));
        let nameless = self.nameless.iter().map(|reason| (None, reason));
        let mut told = 0;
        for (name, reason) in bad.chain(nameless) {
            if text.len() > LONGEST_NACK {
                break;
            }
            if told > 0 {
                text.push_str("; ");
            }
            told += 1;
            let reason = quoted(reason);
            let _written = match name {
                Some(name) => write!(text, "`{}`: {reason}", quoted(name)),
                None => write!(text, "a resource without a name: {reason}"),
            };
        }
        if told < count {
            let _written = write!(text, "; and {} more", count - told);
        }
        Some(text)
    }
}
