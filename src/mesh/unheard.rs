//! Sources that have still to say how a cluster is secured: until they have, nothing is sent in clear to
//! a cluster of which nobody else has said it.

use std::sync::Arc;

use super::{cluster::Cluster, inner::Inner, state::State};
use crate::{
    core::{BoxFuture, Error, ErrorKind, Origin, Phase},
    discover::SourceId,
};

impl Inner {
    /// A source has said something of itself: notes that it has spoken, if it has, and could be read.
    pub(super) fn hear(&self, state: &mut State, source: SourceId) {
        let Some(part) = self.sources.get(source.index()) else { return };
        if !state.synced.contains(&source) || state.heard.contains(&source) {
            return;
        }
        let is_refused = state.refused.get(part).is_some_and(|by| by.contains_key(&source));
        // What is refused of it beside parts that are in force (a field that nobody knows) is not the whole.
        let is_read = || {
            state.services.values().any(|said| said.contains_key(&source))
                || state.clusters.values().any(|entry| entry.settings.contains_key(&source))
        };
        if !is_refused || is_read() {
            self.has_spoken(state, source);
        }
    }

    /// A source has said all that it has to say for the beginning.
    pub(super) fn has_spoken(&self, state: &mut State, source: SourceId) {
        state.heard.insert(source);
        if state.heard.len() >= self.sources.len() {
            self.set_heard();
        }
    }

    /// What became of the sources that may still say how the cluster is secured, in words: those that
    /// have not spoken, or could never be read, and say nothing of it.
    #[cold]
    fn unheard(&self, cluster: &str) -> Vec<String> {
        let state = self.state();
        let speaks = |source: SourceId| {
            let said = state.clusters.get(cluster).map(|entry| &entry.settings);
            said.is_some_and(|said| said.contains_key(&source))
        };
        let sources = self.sources.iter().enumerate();
        let sources = sources.map(|(index, name)| (SourceId::new(index), name));
        let unheard = sources.filter(|(it, _)| !state.heard.contains(it) && !speaks(*it));
        let told = unheard.map(|(source, name)| {
            match state.refused.get(name).and_then(|by| by.get(&source)) {
                Some(reason) => format!("{name} was refused: {reason}"),
                None => format!("source {name} has not spoken yet"),
            }
        });
        told.collect()
    }

    /// Why the cluster, of which nobody has said how it is secured, is not called in clear.
    #[cold]
    pub(crate) fn withheld(&self, cluster: &str) -> Option<Error> {
        let unheard = self.unheard(cluster);
        (!unheard.is_empty()).then(|| {
            Error::new(ErrorKind::Config, Phase::Resolve)
                .with_origin(Origin::Control)
                .detail(format!(
                    "the connections of cluster {cluster} are plaintext by default, and a source may \
                     still secure them: {}",
                    unheard.join("; ")
                ))
                .check("that source; `plaintext()` in code, or mode `off`, where that is meant")
        })
    }

    /// The same of the cluster, or of one that takes over from it, where it has endpoints that would be
    /// called so.
    #[cold]
    pub(crate) fn withheld_of(&self, cluster: &Arc<Cluster>) -> Option<Error> {
        let is_open = |cluster: &Arc<Cluster>| {
            let core = cluster.core.load();
            core.balancer.has(|spec| core.protector.is_open(spec))
        };
        if self.is_heard() {
            return None;
        }
        cluster.line().filter(is_open).find_map(|cluster| self.withheld(&cluster.name))
    }

    /// Ends when nothing of the cluster is withheld any more, or every source has spoken.
    pub(crate) fn heard(self: &Arc<Self>, cluster: &Arc<Cluster>) -> BoxFuture<()> {
        let (inner, cluster) = (Arc::clone(self), Arc::clone(cluster));
        Box::pin(async move {
            inner
                .wait_until(|inner| {
                    inner.is_synced() || inner.is_closed() || inner.withheld_of(&cluster).is_none()
                })
                .await;
        })
    }
}
