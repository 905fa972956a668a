//! What is known of one resource.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{settings::ServerId, stock::Age, trouble::Trouble};
use crate::{
    control::xds::ads::{Held, Mode},
    core::Instant,
};

/// What a watcher is told (gRFC A88).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Watched<R> {
    /// It is there, or another than before, or well again.
    Resource { resource: R, version: Arc<str> },
    /// It cannot be used, and what was known before is not to be used: it does not exist, was never
    /// valid, or its server cannot be reached and nothing is held.
    Missing(Arc<Trouble>),
    /// Something is wrong, and the last good one stays.
    Ambient(Arc<Trouble>),
    /// No live server has said anything of it, for this reason: what an earlier process knew of it is
    /// used, from its cache.
    Cached { resource: R, version: Arc<str>, age: Age, trouble: Arc<Trouble> },
}

/// The last good one.
#[derive(Clone, Debug)]
pub(super) struct Good<R> {
    pub(super) resource: R,
    pub(super) version: Arc<str>,
    /// As it came; whoever writes it down shares it.
    pub(super) value: Bytes,
    pub(super) server: ServerId,
    pub(super) at: Instant,
    /// It is from the cache of an earlier process: no server has said it to this one.
    pub(super) cached: Option<Age>,
    pub(super) since: Since,
}

/// What its server has sent of it since.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Since {
    Nothing,
    /// What was refused.
    Refused,
    /// What was refused, under the very version of what is held.
    RefusedAlike,
}

#[derive(Debug)]
pub(super) struct Entry<R> {
    /// Whose it is, among the client's authorities.
    pub(super) authority: usize,
    /// Who watches it, by the name they use: the same resource may have several.
    pub(super) watchers: BTreeMap<Arc<str>, usize>,
    pub(super) good: Option<Good<R>>,
    /// What its watchers were told last that is wrong.
    pub(super) trouble: Option<Arc<Trouble>>,
    /// When that was last found.
    pub(super) troubled_at: Option<Instant>,
    /// Where it stands among what lingers.
    pub(super) lingers: Option<(Instant, u64)>,
    /// When it is no longer valid.
    pub(super) expires: Option<Instant>,
}

// === impl Good ===

impl<R> Good<R> {
    /// As this server is told.
    pub(super) fn held(&self, server: ServerId, mode: Mode) -> Held {
        // The state of the world has one version for all of a type; by delta, each resource has its own.
        let is_behind = match mode {
            Mode::Sotw => self.since >= Since::Refused,
            Mode::Delta => self.since == Since::RefusedAlike,
        };
        match self.cached {
            // It has still to be said.
            Some(_) => Held::Nothing,
            None if self.server != server || is_behind => Held::Otherwise,
            None => Held::Here(Arc::clone(&self.version)),
        }
    }

    /// This server has sent what was refused, under this version as far as one is known.
    pub(super) fn refused(&mut self, server: ServerId, version: Option<&str>) {
        if self.server == server && self.cached.is_none() {
            let is_alike = version.is_some_and(|version| version == &*self.version);
            let since = if is_alike { Since::RefusedAlike } else { Since::Refused };
            self.since = self.since.max(since);
        }
    }
}

// === impl Entry ===

impl<R: Clone> Entry<R> {
    pub(super) fn new(authority: usize) -> Self {
        Self {
            authority,
            watchers: BTreeMap::new(),
            good: None,
            trouble: None,
            troubled_at: None,
            lingers: None,
            expires: None,
        }
    }

    /// What a new watcher is told at once.
    pub(super) fn known(&self) -> Vec<Watched<R>> {
        let trouble = self.trouble.clone();
        match &self.good {
            Some(Good { resource, version, cached: Some(age), .. }) => {
                let (resource, version, age) = (resource.clone(), Arc::clone(version), *age);
                let cached = |trouble| Watched::Cached { resource, version, age, trouble };
                trouble.map(cached).into_iter().collect()
            }
            Some(good) => {
                let resource = Watched::Resource {
                    resource: good.resource.clone(),
                    version: Arc::clone(&good.version),
                };
                std::iter::once(resource).chain(trouble.map(Watched::Ambient)).collect()
            }
            None => trouble.map(Watched::Missing).into_iter().collect(),
        }
    }
}
