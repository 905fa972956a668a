//! What is over: services and clusters of which a source says nothing more.

use super::judging::take_back;
use crate::{
    discover::{Nowhere, SourceId},
    mesh::{asking::Answer, inner::Inner, state::State},
};

impl Inner {
    /// What a source has said of a service is over, and why: in one step, so that nobody else's word
    /// takes its place in between.
    pub(super) fn no_service(
        &self,
        state: &mut State,
        source: SourceId,
        name: &str,
        why: Nowhere,
        reason: String,
    ) {
        let part = format!("service {name}");
        let is_defined = state.services.get(name).is_some_and(|by| by.contains_key(&source));
        if why == Nowhere::Unsaid && is_defined {
            state.asking.answered(source, name, Answer::Said);
            return;
        }
        let changed = remove_service(state, source, name);
        match why {
            Nowhere::Unknown => state.asking.answered(source, name, Answer::Unknown(reason)),
            Nowhere::Unsaid | Nowhere::Denied => {
                self.report(&part, &reason);
                state.asking.answered(source, name, Answer::Unsaid(reason));
            }
            Nowhere::Refused => {
                self.report(&part, &reason);
                state.asking.answered(source, name, Answer::Said);
                state.refused.entry(part).or_default().insert(source, reason);
            }
        }
        if changed || why == Nowhere::Refused {
            self.compile(state, name);
        }
    }

    /// What a source has said of a cluster is over; with a reason, it is refused from the same moment on.
    pub(super) fn no_cluster(
        &self,
        state: &mut State,
        source: SourceId,
        name: &str,
        reason: Option<String>,
    ) {
        let name = &name.to_ascii_lowercase();
        let part = format!("cluster {name}");
        let before = state.standing(&part);
        take_back(state, source, &part);
        take_back(state, source, &format!("endpoints of {part}"));
        let is_refused = reason.is_some();
        if let Some(reason) = reason {
            self.report(&part, &reason);
            state.refused.entry(part.clone()).or_default().insert(source, reason);
        } else {
            self.set_aside(state, source, name);
        }
        if let Some(entry) = state.clusters.get_mut(name) {
            entry.forget(source);
        }
        self.settle(state, name);
        self.examine_cluster(state, name);
        if is_refused || state.standing(&part) != before {
            self.compile_users(state, name);
        }
        state.tidy(name);
    }
}

/// Takes back what a source has said of a service; whether there was anything.
pub(super) fn remove_service(state: &mut State, source: SourceId, name: &str) -> bool {
    let mut changed = take_back(state, source, &format!("service {name}"));
    if let Some(by) = state.services.get_mut(name) {
        changed |= by.remove(&source).is_some();
        if by.is_empty() {
            state.services.remove(name);
        }
    }
    changed
}
