//! From a name to its service: found in a map that no call locks, or refused with the reason.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::{
    UnknownNames,
    inner::Inner,
    service::ServiceCell,
    state::{Part, State},
};
use crate::{
    config::name::Name,
    core::{Error, ErrorKind, Origin, Phase},
};

/// What the names of services begin with that DNS defines for calls with `https`.
pub(super) const HTTPS: &str = "https://";

impl Inner {
    /// The cell of a service that is defined, by an authority as requests carry it: no lock, no
    /// allocation. Nothing for any other spelling of its name.
    pub(crate) fn find(&self, authority: &str) -> Option<Arc<ServiceCell>> {
        let services = self.services.load();
        // A name whose definition was refused is there, too, and empty.
        let cell = services.get(authority).or_else(|| {
            let (host, port) = authority.rsplit_once(':')?;
            // Nor is a password one.
            if !is_port(port) {
                return None;
            }
            // What was looked up by its host alone says nothing of another port.
            services.get(host).filter(|cell| cell.has_any_port())
        })?;
        cell.current.load().is_some().then(|| Arc::clone(cell))
    }

    /// The same by the name of a cell, which may say `https`: a name that only DNS knows is
    /// another then, for its endpoints are to be secured.
    pub(crate) fn find_named(&self, name: &str) -> Option<Arc<ServiceCell>> {
        match name.strip_prefix(HTTPS) {
            Some(authority) => self.find_secured(authority),
            None => self.find(name),
        }
    }

    /// The cell of a service that a call with `https` means: what a source defines is secured, or
    /// not, as its cluster says.
    pub(crate) fn find_secured(&self, authority: &str) -> Option<Arc<ServiceCell>> {
        let by_port = self.asks_by_port && !has_port(authority);
        let full: Cow<'_, str> =
            if by_port { format!("{authority}:443").into() } else { authority.into() };
        let (authority, found) = (&*full, self.find(&full));
        if self.unknown_names != UnknownNames::Dns || found.as_ref().is_some_and(|it| !it.by_dns())
        {
            return found;
        }
        let services = self.services.load();
        let cell = services.get(format!("{HTTPS}{authority}").as_str())?;
        cell.current.load().is_some().then(|| Arc::clone(cell))
    }

    /// The full name, with what makes it another than that of `http`.
    pub(super) fn full_name(&self, name: &Name) -> String {
        let mut full = name.to_string();
        if name.https && self.asks_by_port && name.port.is_none() {
            full.push_str(":443");
        }
        if name.https && self.unknown_names == UnknownNames::Dns {
            full.insert_str(0, HTTPS);
        }
        full
    }

    /// The cell of a name that a client is made for.
    ///
    /// Before every source has spoken it is one of the full name: `name:port` may still come.
    /// Calls look for what it stands for, and the service fills it when it comes.
    pub(crate) fn lookup(self: &Arc<Self>, name: &Name) -> Result<Arc<ServiceCell>, Error> {
        let full = self.full_name(name);
        if self.is_synced() {
            return match self.find_named(&full) {
                Some(cell) => Ok(cell),
                None => match self.unfound(&full)? {
                    Some(cell) => Ok(cell),
                    // A source looks it up.
                    None => Ok(self.absent(&full)),
                },
            };
        }
        Ok(self.absent(&full))
    }

    /// The cell of a name that is not defined yet.
    fn absent(&self, full: &str) -> Arc<ServiceCell> {
        let mut state = self.state();
        let known = self.services.load().get(full).map(Arc::clone);
        known.unwrap_or_else(|| state.absent.cell(full, &self.hub))
    }

    /// What becomes of a name that no source defines, once all have spoken. Nothing yet while a
    /// source looks it up.
    pub(crate) fn unfound(self: &Arc<Self>, name: &str) -> Result<Option<Arc<ServiceCell>>, Error> {
        if self.ask(name)? {
            return Ok(None);
        }
        #[cfg(feature = "dns")]
        if self.unknown_names == UnknownNames::Dns
            && let Ok(name) = Name::parse(name)
        {
            self.define_by_dns(&name)?;
        }
        self.find_named(name).map(Some).ok_or_else(|| self.unknown(name))
    }

    /// The cell of an exact name that is defined or refused.
    pub(super) fn cell_in(&self, state: &mut State, name: &str) -> Arc<ServiceCell> {
        if let Some(cell) = self.services.load().get(name) {
            return Arc::clone(cell);
        }
        let cell = state.absent.take(name, &self.hub);
        let mut services = HashMap::clone(&self.services.load());
        services.insert(Arc::clone(&cell.name), Arc::clone(&cell));
        self.services.store(Arc::new(services));
        cell
    }

    /// Empties and forgets the cell of a name that is not defined any more; clients that hold it
    /// find it filled should the service come again.
    pub(super) fn drop_cell(&self, state: &mut State, name: &str) {
        let mut services = HashMap::clone(&self.services.load());
        let Some(cell) = services.remove(name) else { return };
        cell.clear();
        self.services.store(Arc::new(services));
        state.absent.keep(&cell);
    }

    /// Whether every source has said, as far as it can, that the name is none of its own: only then may
    /// somebody else be asked for it.
    pub(super) fn is_nobodys(&self, state: &State, name: &str) -> bool {
        state.asking.is_settled(name)
            && state.asking.unsaid(name).is_empty()
            && !state.asking.was_defined(name)
            && Self::refusals(state, name).is_empty()
            && self.lost_sources(state).is_empty()
    }

    /// Why the name is not defined, as far as sources tried to.
    fn refusals(state: &State, name: &str) -> Vec<String> {
        let name = name.strip_prefix(HTTPS).unwrap_or(name);
        let host = name.rsplit_once(':').map_or(name, |(host, _port)| host);
        let refused = state.refused.iter().flat_map(|(part, by)| {
            // What is looked up by its host alone says nothing of another port.
            by.iter().map(move |(source, reason)| (part, reason, !state.asking.has(*source)))
        });
        let flaws = state.flaws.iter().map(|(part, reason)| (part, reason, true));
        let about = |part: &str, of_host: bool| {
            Part::defines(part, name) || (of_host && Part::defines(part, host))
        };
        let about = refused.chain(flaws).filter(|(part, _, of_host)| about(part, *of_host));
        about.map(|(part, reason, _)| format!("{part} was refused: {reason}")).collect()
    }

    /// What became of sources that could not be read at all: any name may be theirs.
    fn lost_sources(&self, state: &State) -> Vec<String> {
        let lost = self.sources.iter().filter_map(|source| state.refused.get_key_value(source));
        let lost = lost.flat_map(|(part, by)| by.values().map(move |reason| (part, reason)));
        lost.map(|(part, reason)| format!("{part} was refused: {reason}")).collect()
    }

    /// The error of a name that nobody defines, or whose definition was refused.
    pub(crate) fn unknown(&self, name: &str) -> Error {
        let error = |kind| {
            Error::new(kind, Phase::Resolve).with_origin(Origin::Control).service(&name.into())
        };
        let state = self.state();
        let refused = Self::refusals(&state, name);
        if !refused.is_empty() {
            return error(ErrorKind::Config)
                .detail(refused.join("; "))
                .check("the refused definition; it is not run on defaults");
        }
        let unsaid = state.asking.unsaid(name);
        if !unsaid.is_empty() {
            return error(ErrorKind::Config).detail(unsaid.join("; "));
        }
        let sources = self.sources.join(", ");
        let lost = self.lost_sources(&state);
        let error = error(ErrorKind::UnknownService);
        if lost.is_empty() {
            let mut said: String = state
                .asking
                .unknown(name)
                .iter()
                .fold(String::new(), |said, reason| said + "; " + reason);
            if self.unknown_names == UnknownNames::Dns && state.asking.was_defined(name) {
                said.push_str("; DNS is not asked, for a source has defined it before");
            }
            return error.detail(format!("not defined by any source ({sources}){said}"));
        }
        error.detail(lost.join("; ")).check("what was refused, and the name's spelling")
    }
}

fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| is_port(port))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|it| it.is_ascii_digit())
}
