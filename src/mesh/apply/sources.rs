//! The sources themselves, their keys and roots, and what they say of everything at once.

use std::collections::BTreeSet;

use super::judging::take_back;
use crate::{
    config,
    discover::SourceId,
    mesh::{inner::Inner, state::State},
};

impl Inner {
    /// Files have been read that were waited for.
    #[cfg(feature = "_tls")]
    pub(in crate::mesh) fn keys_came(&self, source: SourceId, name: &str) {
        let mut state = self.state();
        if !self.is_closed() && state.keys.came(source, name) {
            self.applied(format!("identity {name}"));
            self.rekeyed(&mut state);
            self.look_at_own(&state);
        }
        drop(state);
        self.notify();
    }

    /// Other keys or roots are in force.
    pub(super) fn rekeyed(&self, state: &mut State) {
        forget_reports(state);
        self.settle_all(state);
    }

    /// A source's task is over. What it has published stays.
    pub(in crate::mesh) fn source_over(&self, source: SourceId, has_panicked: bool) {
        let mut state = self.state();
        if self.is_closed() {
            return;
        }
        let is_early = !state.synced.contains(&source);
        let reason = match (is_early, has_panicked) {
            (true, true) => "the source panicked before its first state was complete",
            (true, false) => "the source ended before its first state was complete",
            (false, true) => "the source panicked; its last good state stays",
            // One that never changes is done.
            (false, false) => return self.hub.done(source.index()),
        };
        let part = self.sources.get(source.index()).map_or("source", String::as_str);
        self.refuse(&mut state, source, part, reason.to_owned());
        if is_early {
            self.sync(&mut state, source);
        }
        if !has_panicked {
            // Nothing more will come: it secures nothing that it has not.
            self.has_spoken(&mut state, source);
        }
        state.asking.over(source);
        self.look_at_own(&state);
        drop(state);
        self.notify();
    }

    /// Notes that a source has delivered its first state.
    pub(super) fn sync(&self, state: &mut State, source: SourceId) {
        state.synced.insert(source);
        self.hear(state, source);
        if !self.is_synced() && state.synced.len() >= self.sources.len() {
            self.set_synced();
            self.examine_all(state);
            self.ask_for_held(state);
        }
    }

    /// A source that publishes endpoints alone defines the cluster with default settings.
    pub(super) fn adopt(&self, state: &mut State, source: SourceId, name: &str) {
        if self.entry(state, name).settings.contains_key(&source) {
            return;
        }
        let before = state.cluster(name);
        let entry = self.entry(state, name);
        entry.define(source, config::Cluster::default());
        entry.secure();
        if state.cluster(name) != before {
            self.compile_users(state, name);
        }
    }

    /// What a source says of all calls, or no more; whether that is new. Every service is compiled again.
    pub(super) fn rule(
        &self,
        state: &mut State,
        source: SourceId,
        name: &str,
        rules: Option<config::Filter>,
    ) -> bool {
        let key = (source, name.to_owned());
        if state.rules.get(&key) == rules.as_ref() {
            return false;
        }
        match rules {
            Some(rules) => drop(state.rules.insert(key, rules)),
            None => drop(state.rules.remove(&key)),
        }
        let mut names: BTreeSet<String> = state.services.keys().cloned().collect();
        names.extend(state.clusters.keys().cloned());
        for name in names {
            self.compile(state, &name);
        }
        true
    }
}

/// Takes back what was reported of keys and roots that nobody names any more.
pub(super) fn forget_reports(state: &mut State) {
    let State { refused, keys, .. } = &mut *state;
    let by_keys = refused.iter().filter(|(_, by)| by.contains_key(&SourceId::KEYS));
    let gone = by_keys.map(|(part, _)| part).filter(|part| keys.is_gone(part));
    let gone: Vec<String> = gone.cloned().collect();
    for part in gone {
        take_back(state, SourceId::KEYS, &part);
    }
}
