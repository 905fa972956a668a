//! What sources publish that an earlier process knew, and what is wrong with where it is kept.

use std::{collections::BTreeMap, time::Duration};

use super::{
    inner::Inner,
    remark::{CacheInUse, Remark},
    state::State,
};
use crate::{
    core::{Event, Instant},
    discover::SourceId,
};

/// Of each source.
#[derive(Debug, Default)]
pub(super) struct Caches {
    used: BTreeMap<SourceId, Used>,
    /// By part.
    troubles: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Used {
    /// The oldest of it was so old at that time.
    was: Duration,
    at: Instant,
    reason: String,
}

// === impl Caches ===

impl Caches {
    /// The sources that publish what an earlier process knew: the age of the oldest of it, and why.
    pub(super) fn used(&self, now: Instant) -> impl Iterator<Item = (SourceId, Duration, &str)> {
        let age = move |it: &Used| it.was.saturating_add(now.saturating_duration_since(it.at));
        self.used.iter().map(move |(source, used)| (*source, age(used), &*used.reason))
    }

    pub(super) fn troubles(&self) -> impl Iterator<Item = (&String, &String)> {
        self.troubles.iter()
    }
}

impl Inner {
    /// The sources that publish what an earlier process knew: the age of the oldest of it, and why.
    pub(super) fn caches(&self) -> Vec<CacheInUse> {
        let state = self.state();
        let used = state.caches.used(Instant::now());
        used.map(|(source, age, why)| CacheInUse {
            source: self.source_name(source).to_owned(),
            age,
            reason: why.to_owned(),
        })
        .collect()
    }

    pub(super) fn cache_troubles(&self) -> Vec<Remark> {
        let state = self.state();
        state.caches.troubles().map(|(part, why)| Remark::new(part, why)).collect()
    }

    pub(super) fn cached(
        &self,
        state: &mut State,
        source: SourceId,
        since: Option<(Duration, String)>,
    ) {
        let used = &mut state.caches.used;
        let before = match since {
            Some((was, reason)) => {
                let used = used.insert(source, Used { was, at: Instant::now(), reason });
                if used.is_none() {
                    let source = self.source_name(source);
                    self.events.emit(|| Event::CacheUsed { source: source.into(), age: was });
                }
                return;
            }
            None => used.remove(&source),
        };
        if before.is_some() {
            let source = self.source_name(source);
            self.events.emit(|| Event::CacheLeft { source: source.into() });
        }
    }

    pub(super) fn cache_trouble(&self, state: &mut State, part: String, reason: Option<String>) {
        let troubles = &mut state.caches.troubles;
        match reason {
            Some(reason) => {
                self.report(&part, &reason);
                troubles.insert(part, reason);
            }
            None => {
                if troubles.remove(&part).is_some() {
                    self.applied(part);
                }
            }
        }
    }
}
