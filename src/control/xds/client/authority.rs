//! Whose names are asked of which server (gRFC A47), and who is asked when one fails (gRFC A71).

use std::sync::Arc;

use super::{
    Client, Decode,
    settings::{ClientSettings, ServerId},
    trouble::{Cause, Trouble},
};
use crate::{control::xds::kind::Kind, core::Instant};

#[derive(Debug)]
pub(super) struct Authority {
    /// `None`: of names without one.
    pub(super) name: Option<Arc<str>>,
    servers: Vec<ServerId>,
    /// The position of the server whose word counts. It and those before it are asked.
    active: usize,
    /// How many names are asked of it.
    pub(super) names: usize,
}

// === impl Authority ===

impl Authority {
    pub(super) fn all(settings: &ClientSettings) -> Vec<Self> {
        let known = |servers: &[ServerId]| {
            let mut known: Vec<ServerId> = Vec::new();
            for server in servers {
                if server.0 < settings.servers.len() && !known.contains(server) {
                    known.push(*server);
                }
            }
            known
        };
        let default = Self { name: None, servers: known(&settings.default), active: 0, names: 0 };
        let named = settings.authorities.iter().map(|(name, servers)| {
            let servers = if servers.is_empty() { &settings.default } else { servers };
            Self { name: Some(Arc::clone(name)), servers: known(servers), active: 0, names: 0 }
        });
        std::iter::once(default).chain(named).collect()
    }

    /// Who is asked now.
    pub(super) fn asked(&self) -> &[ServerId] {
        &self.servers[..self.servers.len().min(self.active + 1)]
    }

    /// One name less is asked of it. An authority of which nothing is asked begins with its first
    /// server.
    pub(super) fn give_up(&mut self) {
        self.names = self.names.saturating_sub(1);
        if self.names == 0 {
            self.active = 0;
        }
    }

    /// The position of the server whose word counts.
    pub(super) fn position(&self) -> usize {
        self.active
    }

    /// Goes on with the server at this position, unless something is asked of it already.
    pub(super) fn resume(&mut self, position: usize) {
        if self.names == 0 && position < self.servers.len() {
            self.active = position;
        }
    }

    /// Whose word counts.
    pub(super) fn active(&self) -> Option<ServerId> {
        self.servers.get(self.active).copied()
    }
}

// === impl Client ===

impl<D: Decode> Client<D> {
    /// The names that an authority is asked for.
    fn names(&self, authority: usize) -> Vec<(Kind, Arc<str>)> {
        let of = |kind: Kind| {
            let entries = self.entries[kind as usize].iter();
            let own = entries.filter(move |(_, entry)| entry.authority == authority);
            own.map(move |(name, _)| (kind, Arc::clone(name)))
        };
        Kind::ALL.into_iter().flat_map(of).collect()
    }

    /// Whether nothing is known of it: neither it, nor that it is not there or wrong (gRFC A71).
    fn is_open(&self, kind: Kind, name: &str) -> bool {
        self.entries[kind as usize].get(name).is_some_and(|entry| {
            let is_known = |trouble: &Arc<Trouble>| trouble.cause.is_data_error();
            let is_held = entry.good.as_ref().is_some_and(|good| good.cached.is_none());
            !is_held && !entry.trouble.as_ref().is_some_and(is_known)
        })
    }

    /// Something new is asked of a server that may have failed.
    pub(super) fn ask_another(
        &mut self,
        now: Instant,
        authority: usize,
        kind: Kind,
        name: &Arc<str>,
    ) {
        let of = &self.authorities[authority];
        let Some(active) = of.active() else { return };
        if let Some(why) = self.servers[active.0].ads.spared(kind) {
            let cause = Cause::spared(why);
            return self.trouble(now, active, kind, name, cause);
        }
        let Some(reason) = &self.servers[active.0].down else { return };
        // It is tried again at once.
        if self.servers[active.0].ads.is_ready(now) {
            return;
        }
        if of.active + 1 < of.servers.len() {
            return self.fall_back(now, authority);
        }
        let cause = Cause::unreachable(reason);
        self.trouble(now, active, kind, name, cause);
    }

    /// A server has failed: the next one is asked where there is one and something is not held; else
    /// the watchers are told.
    pub(super) fn fall_back(&mut self, now: Instant, authority: usize) {
        let of = &self.authorities[authority];
        let Some(active) = of.active() else { return };
        let Some(reason) = self.servers[active.0].down.clone() else { return };
        let names = self.names(authority);
        let next = of.servers.get(of.active + 1).copied();
        if let Some(next) = next
            && names.iter().any(|(kind, name)| self.is_open(*kind, name))
        {
            self.authorities[authority].active += 1;
            for (kind, name) in &names {
                self.servers[next.0].ads.subscribe(*kind, name);
            }
            // It may be known to be down, from another authority.
            return self.fall_back(now, authority);
        }
        for (kind, name) in names {
            let is_held =
                self.entries[kind as usize].get(&name).is_some_and(|it| it.good.is_some());
            if is_held || self.is_open(kind, &name) {
                self.trouble(now, active, kind, &name, Cause::unreachable(&reason));
            }
        }
    }

    /// A type is not asked of this server for a while: who watches one of it is told why.
    pub(super) fn spare(&mut self, now: Instant, server: ServerId, kind: Kind) {
        let Some(why) = self.servers[server.0].ads.spared(kind) else { return };
        let cause = Cause::spared(why);
        let entries = self.entries[kind as usize].iter();
        let own = entries
            .filter(|(_, entry)| self.authorities[entry.authority].active() == Some(server))
            .map(|(name, _)| Arc::clone(name));
        for name in own.collect::<Vec<_>>() {
            self.trouble(now, server, kind, &name, cause.clone());
        }
    }

    /// A server can be reached: it is returned to where the one that was asked in its place cannot, or where
    /// all that is asked for is held from it. It may have no cause to send anything then.
    pub(super) fn return_from_the_dead(&mut self, server: ServerId) {
        for authority in 0..self.authorities.len() {
            let of = &self.authorities[authority];
            let Some(active) = of.active() else { continue };
            let is_down = self.servers[active.0].down.is_some();
            let is_held = |(kind, name): &(Kind, Arc<str>)| {
                let entry = self.entries[*kind as usize].get(name);
                let good = entry.and_then(|entry| entry.good.as_ref());
                good.is_some_and(|good| good.server == server && good.cached.is_none())
            };
            if active != server && (is_down || self.names(authority).iter().all(is_held)) {
                self.return_to(authority, server);
            }
        }
    }

    /// All that a server says can be read again: it is returned to where it has said something good meanwhile.
    pub(super) fn read_again(&mut self, server: ServerId) {
        self.reached(server);
        for authority in 0..self.authorities.len() {
            let is_of = |(kind, name): &(Kind, Arc<str>)| {
                let entry = self.entries[*kind as usize].get(name);
                let good = entry.and_then(|entry| entry.good.as_ref());
                good.is_some_and(|good| good.server == server && good.cached.is_none())
            };
            if self.names(authority).iter().any(is_of) {
                self.return_to(authority, server);
            }
        }
    }

    /// A server has sent something good: those after it are not needed.
    pub(super) fn return_to(&mut self, authority: usize, server: ServerId) {
        let of = &mut self.authorities[authority];
        let Some(position) = of.servers.iter().position(|one| *one == server) else { return };
        if position >= of.active {
            return;
        }
        let given_up = of.servers[position + 1..=of.active].to_vec();
        of.active = position;
        for (kind, name) in self.names(authority) {
            for server in &given_up {
                self.servers[server.0].ads.unsubscribe(kind, &name);
            }
        }
    }

    /// What is wrong with a name that leads nowhere.
    pub(super) fn no_server(&self, kind: Kind, name: &str, reason: String) -> Arc<Trouble> {
        Arc::new(Trouble {
            kind,
            name: name.into(),
            version: None,
            node: Arc::clone(&self.node_id),
            server: None,
            cause: Cause::Name(reason),
        })
    }
}
