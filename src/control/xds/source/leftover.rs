//! What of an earlier process a mesh uses, and that it is told.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    control::xds::{
        client::{Age, Trouble, Watched},
        graph::Id,
        kind::Kind,
        resource::Resource,
        stream::{Flaw, Told},
    },
    core::Instant,
    discover::Publisher,
};

#[derive(Default)]
pub(super) struct Leftover {
    /// What reports call the file, if there is one.
    part: Option<String>,
    used: BTreeMap<Id, (Age, Arc<Trouble>)>,
    /// It has changed since it was said.
    is_news: bool,
}

// === impl Leftover ===

impl Leftover {
    pub(super) fn new(part: Option<String>) -> Self {
        Self { part, ..Self::default() }
    }

    /// What is wrong with the file.
    pub(super) fn flaw(&self, publisher: &Publisher, Flaw(why): &Flaw) {
        if let Some(part) = &self.part {
            publisher.cache_trouble(part.clone(), why.as_deref().map(str::to_owned));
        }
    }

    pub(super) fn told(&mut self, told: &Told<Resource>) {
        match &told.watched {
            Watched::Cached { age, trouble, .. } => {
                let id = (told.kind, Arc::clone(&told.name));
                self.used.insert(id, (*age, Arc::clone(trouble)));
                self.is_news = true;
            }
            Watched::Resource { .. } | Watched::Missing(_) | Watched::Ambient(_) => {
                self.forget(told.kind, &told.name);
            }
        }
    }

    pub(super) fn forget(&mut self, kind: Kind, name: &Arc<str>) {
        if !self.used.is_empty() {
            self.is_news |= self.used.remove(&(kind, Arc::clone(name))).is_some();
        }
    }

    /// Says it, if it is something else than before.
    pub(super) fn say(&mut self, publisher: &Publisher) {
        if !std::mem::take(&mut self.is_news) {
            return;
        }
        let now = Instant::now();
        let oldest = self.used.values().max_by_key(|(age, _)| age.now(now));
        let count = self.used.len();
        publisher.cached(oldest.map(|(age, trouble)| {
            let what =
                if count == 1 { "1 resource".to_owned() } else { format!("{count} resources") };
            (age.now(now), format!("{what}, the oldest of which: {trouble}"))
        }));
    }
}
