//! The sink that sources publish into. Each change takes effect on its own; a bad one is refused
//! with its reason, and what it would have changed stays.

#[cfg(feature = "xds")]
use std::sync::PoisonError;
use std::{collections::BTreeSet, sync::Arc};

use super::{
    asking::Answer,
    inner::Inner,
    overlay,
    runtime::Runtime,
    state::{Part, State},
};
use crate::{
    config::{self, ConfigError, ConfigErrors},
    core::Instant,
    discover::{Change, Nowhere, Sink, SourceId},
};

/// Nothing is taken any more.
pub(super) fn closed() -> ConfigErrors {
    ConfigErrors(vec![ConfigError::new("mesh", "closed", "it is shut down")])
}

impl Sink for Inner {
    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }

    fn used(&self, name: &str) -> Option<Instant> {
        self.last_used(&name.to_ascii_lowercase())
    }

    fn secures(&self, cluster: &str) -> bool {
        self.state().secured.contains(cluster)
    }

    #[cfg(feature = "xds")]
    fn loads(&self, cluster: &str) -> Option<Arc<dyn crate::core::Loads>> {
        self.loads_of(cluster)
    }

    #[cfg(feature = "xds")]
    fn plane(&self, plane: Box<dyn crate::core::Plane>) {
        self.planes.lock().unwrap_or_else(PoisonError::into_inner).push(plane);
    }

    #[cfg(feature = "xds")]
    fn farewell(&self, said: crate::core::BoxFuture<()>) {
        self.farewells.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }

    fn apply(&self, source: SourceId, change: Change) -> Result<(), ConfigErrors> {
        let mut state = self.state();
        // Under the lock: once it is closed, nothing comes after.
        if self.is_closed() {
            return Err(closed());
        }
        if !matches!(
            change,
            Change::Refused { .. }
                | Change::Synced
                | Change::Places(_)
                | Change::Cached(_)
                | Change::CacheTrouble(..)
        ) {
            self.hub.heard(source.index());
        }
        let may_rename = matches!(
            change,
            Change::Identity(..)
                | Change::RemoveIdentity(_)
                | Change::Accepted { .. }
                | Change::Refused { .. }
                | Change::Synced
        );
        let result = self.change(&mut state, source, change);
        if may_rename {
            self.look_at_own(&state);
        }
        drop(state);
        self.notify();
        result
    }
}

impl Inner {
    pub(super) fn change(
        &self,
        state: &mut State,
        source: SourceId,
        change: Change,
    ) -> Result<(), ConfigErrors> {
        match change {
            Change::Service(name, service) => {
                let name = name.to_ascii_lowercase();
                let part = format!("service {name}");
                state.asking.answered(source, &name, Answer::Said);
                let mended = self.judge(state, source, &part, service.validate(&name))?;
                state.asking.defined(source, &name);
                let by = state.services.entry(name.clone()).or_default();
                if mended || by.get(&source) != Some(&service) {
                    by.insert(source, *service);
                    self.compile(state, &name);
                }
            }
            Change::RemoveService(name) => {
                let name = name.to_ascii_lowercase();
                if remove_service(state, source, &name) {
                    self.compile(state, &name);
                }
            }
            Change::NoService { name, why, reason } => {
                self.no_service(state, source, &name.to_ascii_lowercase(), why, reason);
            }
            Change::Cluster(name, mut cluster) => {
                let name = name.to_ascii_lowercase();
                let part = format!("cluster {name}");
                let before = state.standing(&part);
                let found = cluster.validate(&name);
                let found = found.and_then(|()| self.securable(state, source, &name, &cluster));
                let mended = self.judge(state, source, &part, found)?;
                let endpoints = std::mem::take(&mut cluster.endpoints);
                let redefined = self.entry(state, &name).define(source, *cluster);
                self.settle(state, &name);
                self.examine_cluster(state, &name);
                let replaced = self.entry(state, &name).replace(source, endpoints);
                self.keep_entry(state, &name);
                if state.standing(&part) != before {
                    self.compile_users(state, &name);
                }
                if mended || redefined || replaced {
                    self.applied(part);
                }
            }
            Change::RemoveCluster(name) => self.no_cluster(state, source, &name, None),
            Change::NoCluster { name, reason } => {
                self.no_cluster(state, source, &name, Some(reason));
            }
            Change::Endpoints(name, endpoints) => {
                let name = name.to_ascii_lowercase();
                self.checked(state, source, &name, &endpoints)?;
                self.adopt(state, source, &name);
                self.entry(state, &name).replace(source, endpoints);
                self.keep_entry(state, &name);
            }
            Change::Upsert(name, endpoints) => {
                let name = name.to_ascii_lowercase();
                self.checked(state, source, &name, &endpoints)?;
                self.adopt(state, source, &name);
                self.entry(state, &name).upsert(source, endpoints);
                self.keep_entry(state, &name);
            }
            Change::Remove(name, addresses) => {
                if let Some(entry) = state.clusters.get_mut(&name.to_ascii_lowercase()) {
                    entry.remove(source, addresses);
                }
            }
            Change::Identity(name, files) => {
                let part = format!("identity {name}");
                self.judge(state, source, &part, files.validate(&name))?;
                let State { keys, .. } = &mut *state;
                match keys.read(self, source, &name, *files) {
                    Ok(false) => forget_reports(state),
                    Ok(true) => {
                        self.applied(part);
                        self.rekeyed(state);
                    }
                    Err(reason) => {
                        let error = ConfigError::new(format!("identities.{name}"), "", reason);
                        return self
                            .judge(state, source, &part, Err(ConfigErrors(vec![error])))
                            .map(drop);
                    }
                }
            }
            Change::RemoveIdentity(name) => {
                take_back(state, source, &format!("identity {name}"));
                if state.keys.forget(source, &name) {
                    self.rekeyed(state);
                }
            }
            Change::Runtime(key, percent) => {
                let key = key.to_ascii_lowercase();
                let part = format!("runtime {key}");
                let found = Runtime::check(&key, percent);
                let mended = self.judge(state, source, &part, found)?;
                if state.runtime.say(source, &key, Some(percent)) || mended {
                    self.rekey(state, &key);
                    self.applied(part);
                }
            }
            Change::RemoveRuntime(key) => {
                let key = key.to_ascii_lowercase();
                take_back(state, source, &format!("runtime {key}"));
                if state.runtime.say(source, &key, None) {
                    self.rekey(state, &key);
                }
            }
            Change::Authorize(name, rules) => {
                let name = name.to_ascii_lowercase();
                let part = format!("authorize {name}");
                let found = rules.validate(&format!("authorize.{name}"));
                let mended = self.judge(state, source, &part, found)?;
                if self.rule(state, source, &name, Some(config::Filter::Authorize(*rules)))
                    || mended
                {
                    self.applied(part);
                }
            }
            Change::RemoveAuthorize(name) => {
                let name = name.to_ascii_lowercase();
                take_back(state, source, &format!("authorize {name}"));
                self.rule(state, source, &name, None);
            }
            Change::Refused { part, reason } => self.refuse(state, source, &part, reason),
            Change::Accepted { part } => {
                let before = state.standing(&part);
                if take_back(state, source, &part) {
                    if state.standing(&part) != before {
                        self.compile_part(state, &part);
                    }
                    self.applied(part);
                }
            }
            Change::Noted { part, note } => self.note(state, source, &part, note),
            Change::Synced => self.sync(state, source),
            Change::Looks(names) => state.asking.looks(source, names),
            Change::Forget(name) => {
                let name = name.to_ascii_lowercase();
                state.asking.leave(source, &name);
                return self.change(state, source, Change::RemoveService(name));
            }
            Change::Cached(since) => self.cached(state, source, since),
            Change::CacheTrouble(part, reason) => self.cache_trouble(state, part, reason),
            // That it was said is noted.
            Change::Confirmed => {}
            Change::Places(places) => {
                state.places.insert(source, places);
            }
        }
        Ok(())
    }

    /// What a source has said of a service is over, and why: in one step, so that nobody else's word
    /// takes its place in between.
    fn no_service(
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
            Nowhere::Unsaid => {
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
    fn no_cluster(&self, state: &mut State, source: SourceId, name: &str, reason: Option<String>) {
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

    /// Files have been read that were waited for.
    #[cfg(feature = "_tls")]
    pub(super) fn keys_came(&self, source: SourceId, name: &str) {
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
    fn rekeyed(&self, state: &mut State) {
        forget_reports(state);
        self.settle_all(state);
    }

    /// A source's task is over. What it has published stays.
    pub(super) fn source_over(&self, source: SourceId, has_panicked: bool) {
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
        state.asking.over(source);
        self.look_at_own(&state);
        drop(state);
        self.notify();
    }

    /// Notes that a source has delivered its first state.
    fn sync(&self, state: &mut State, source: SourceId) {
        state.synced.insert(source);
        if !self.is_synced() && state.synced.len() >= self.sources.len() {
            self.set_synced();
            self.examine_all(state);
            self.ask_for_held(state);
        }
    }

    /// Reports a part that was found bad, or takes an earlier report of it back, and says so.
    fn judge(
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
    fn checked(
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
    /// have come.
    fn securable(
        &self,
        state: &mut State,
        source: SourceId,
        name: &str,
        cluster: &config::Cluster,
    ) -> Result<(), ConfigErrors> {
        let code = || self.code.cluster(name);
        let alone = overlay::clusters(name, code(), [(source, cluster)].into_iter()).merged;
        let others = state.clusters.get(name).map(|entry| entry.settings.clone());
        let mut others = others.unwrap_or_default();
        others.remove(&source);
        let mut all = vec![alone];
        if others.values().any(|it| it.security.is_some()) {
            // Nor beside what another source says of its security.
            let mut settings = cluster.clone();
            settings.endpoints = Vec::new();
            others.insert(source, settings);
            let said = others.iter().map(|(source, it)| (*source, it));
            all.push(overlay::clusters(name, code(), said).merged);
        }
        for merged in all {
            let protector = self.protector(&mut state.keys, name, &merged);
            protector.validate(&cluster.endpoints).map_err(|errors| of_cluster(name, errors))?;
        }
        Ok(())
    }

    /// A source that publishes endpoints alone defines the cluster with default settings.
    fn adopt(&self, state: &mut State, source: SourceId, name: &str) {
        if self.entry(state, name).settings.contains_key(&source) {
            return;
        }
        let before = state.cluster(name);
        self.entry(state, name).define(source, config::Cluster::default());
        if state.cluster(name) != before {
            self.compile_users(state, name);
        }
    }

    /// What a source says of all calls, or no more; whether that is new. Every service is compiled again.
    fn rule(
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

    pub(super) fn applied(&self, part: String) {
        self.hub.applied(part);
    }

    pub(super) fn report(&self, part: &str, reason: &str) {
        self.hub.refused(part, reason);
    }

    /// Notes that a part is refused; without a good definition, what it defines is refused, too.
    pub(super) fn refuse(&self, state: &mut State, source: SourceId, part: &str, reason: String) {
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
    fn note(&self, state: &mut State, source: SourceId, part: &str, note: String) {
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
    pub(super) fn mended(&self, state: &mut State, part: &str) {
        self.mended_of(state, SourceId::DISCOVERY, part);
    }

    /// The same, of a source.
    #[cfg(feature = "dns")]
    pub(super) fn mended_of(&self, state: &mut State, source: SourceId, part: &str) {
        drop(self.change(state, source, Change::Accepted { part: part.to_owned() }));
    }

    fn compile_part(&self, state: &mut State, part: &str) {
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

/// Takes back what a source has said of a service; whether there was anything.
fn remove_service(state: &mut State, source: SourceId, name: &str) -> bool {
    let mut changed = take_back(state, source, &format!("service {name}"));
    if let Some(by) = state.services.get_mut(name) {
        changed |= by.remove(&source).is_some();
        if by.is_empty() {
            state.services.remove(name);
        }
    }
    changed
}

/// Takes a source's report of a part back, if there is one.
fn take_back(state: &mut State, source: SourceId, part: &str) -> bool {
    let Some(by) = state.refused.get_mut(part) else { return false };
    let was_refused = by.remove(&source).is_some();
    if by.is_empty() {
        state.refused.remove(part);
    }
    was_refused
}

/// Takes back what was reported of keys and roots that nobody names any more.
fn forget_reports(state: &mut State) {
    let State { refused, keys, .. } = &mut *state;
    let by_keys = refused.iter().filter(|(_, by)| by.contains_key(&SourceId::KEYS));
    let gone = by_keys.map(|(part, _)| part).filter(|part| keys.is_gone(part));
    let gone: Vec<String> = gone.cloned().collect();
    for part in gone {
        take_back(state, SourceId::KEYS, &part);
    }
}
