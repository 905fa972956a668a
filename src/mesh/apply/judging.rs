//! Whether what a source says can be used; the reports of what cannot.

use std::sync::Arc;

use crate::{
    config::{self, ConfigError, ConfigErrors},
    discover::SourceId,
    mesh::{
        asking::Answer,
        inner::Inner,
        overlay,
        state::{Part, State},
    },
};

impl Inner {
    /// Reports a part that was found bad, or takes an earlier report of it back, and says so.
    pub(super) fn judge(
        &self,
        state: &mut State,
        source: SourceId,
        part: &str,
        found: Result<(), ConfigErrors>,
    ) -> Result<bool, ConfigErrors> {
        match found {
            Ok(()) => Ok(take_back(state, source, part)),
            Err(errors) => {
                let reason = state.placed(source, &errors);
                self.refuse(state, source, part, reason);
                Err(errors)
            }
        }
    }

    /// Refuses a set with an endpoint that cannot be used; the last good set stays.
    pub(super) fn checked(
        &self,
        state: &mut State,
        source: SourceId,
        name: &str,
        endpoints: &[config::Endpoint],
    ) -> Result<(), ConfigErrors> {
        let errors = endpoints.iter().enumerate().filter_map(|(index, endpoint)| {
            endpoint.validate(&format!("clusters.{name}.endpoints[{index}]")).err()
        });
        let errors: Vec<ConfigError> = errors.flat_map(|errors| errors.0).collect();
        let found = if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) };
        let found = found.and_then(|()| {
            let protector = Arc::clone(&self.entry(state, name).cell.core.load().protector);
            protector.validate(endpoints).map_err(|errors| of_cluster(name, errors))
        });
        let part = format!("endpoints of cluster {name}");
        if self.judge(state, source, &part, found)? {
            self.applied(part);
        }
        Ok(())
    }

    /// Whether a cluster could be secured as it says, as far as that is known before keys and roots
    /// have come: its settings, and its endpoints beside them.
    pub(super) fn securable(
        &self,
        state: &mut State,
        source: SourceId,
        name: &str,
        (cluster, endpoints): (&config::Cluster, &[config::Endpoint]),
    ) -> Result<(), ConfigErrors> {
        let code = || self.code.cluster(name);
        let alone = overlay::clusters(name, code(), [(source, cluster)].into_iter()).merged;
        let others = state.clusters.get(name).map(|entry| entry.settings.clone());
        let mut others = others.unwrap_or_default();
        others.remove(&source);
        let mut all = vec![(alone, cluster.security.clone())];
        if others.values().any(|it| it.security.is_some()) {
            // Nor beside what another source says of its security.
            others.insert(source, Box::new(cluster.clone()));
            let said = others.iter().map(|(source, it)| (*source, &**it));
            let merged = overlay::clusters(name, code(), said).merged;
            all.push((merged, others.values().find_map(|it| it.security.clone())));
        }
        for (merged, said) in all {
            let protector = self.protector(&mut state.keys, name, &merged, said.as_ref());
            protector.validate(endpoints).map_err(|errors| of_cluster(name, errors))?;
        }
        Ok(())
    }

    pub(in crate::mesh) fn applied(&self, part: String) {
        self.hub.applied(part);
    }

    pub(in crate::mesh) fn report(&self, part: &str, reason: &str) {
        self.hub.refused(part, reason);
    }

    /// Notes that a part is refused; without a good definition, what it defines is refused, too.
    pub(in crate::mesh) fn refuse(
        &self,
        state: &mut State,
        source: SourceId,
        part: &str,
        reason: String,
    ) {
        self.report(part, &reason);
        if let Part::Service(name) = Part::of(part) {
            state.asking.answered(source, name, Answer::Said);
        }
        let before = state.standing(part);
        state.refused.entry(part.to_owned()).or_default().insert(source, reason);
        if let Part::Rules(name) = Part::of(part)
            && !state.rules.contains_key(&(source, name.to_owned()))
        {
            // Nobody knows what it would have denied.
            let mut all = config::Authorization::default();
            let rule = format!("{part}, which is refused");
            all.rules = vec![config::AuthorizationRule::deny(rule)];
            self.rule(state, source, name, Some(config::Filter::Authorize(all)));
        }
        if state.standing(part) != before {
            self.compile_part(state, part);
        }
    }

    /// Keeps what a source says of a part, and tells it if it is new.
    pub(in crate::mesh) fn note(
        &self,
        state: &mut State,
        source: SourceId,
        part: &str,
        note: String,
    ) {
        if note.is_empty() {
            if let Some(by) = state.notes.get_mut(part) {
                by.remove(&source);
                if by.is_empty() {
                    state.notes.remove(part);
                }
            }
            return;
        }
        let by = state.notes.entry(part.to_owned()).or_default();
        if by.get(&source) != Some(&note) {
            self.hub.noted(part, &note);
            by.insert(source, note);
        }
    }

    /// A report is over.
    #[cfg(feature = "dns")]
    pub(in crate::mesh) fn mended(&self, state: &mut State, part: &str) {
        self.mended_of(state, SourceId::DISCOVERY, part);
    }

    /// The same, of a source.
    #[cfg(feature = "dns")]
    pub(in crate::mesh) fn mended_of(&self, state: &mut State, source: SourceId, part: &str) {
        drop(self.change(
            state,
            source,
            crate::discover::Change::Accepted { part: part.to_owned() },
        ));
    }

    pub(super) fn compile_part(&self, state: &mut State, part: &str) {
        match Part::of(part) {
            Part::Service(name) => self.compile(state, name),
            Part::Cluster(name) => self.compile_users(state, name),
            Part::Rules(_) | Part::Other => {}
        }
    }
}

/// The errors of a part of a cluster, with its name.
fn of_cluster(name: &str, ConfigErrors(errors): ConfigErrors) -> ConfigErrors {
    let errors = errors
        .into_iter()
        .map(|error| ConfigError { path: format!("clusters.{name}.{}", error.path), ..error });
    ConfigErrors(errors.collect())
}

/// Takes a source's report of a part back, if there is one.
pub(super) fn take_back(state: &mut State, source: SourceId, part: &str) -> bool {
    let Some(by) = state.refused.get_mut(part) else { return false };
    let was_refused = by.remove(&source).is_some();
    if by.is_empty() {
        state.refused.remove(part);
    }
    was_refused
}
