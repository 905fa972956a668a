//! The sink that sources publish into. Each change takes effect on its own; a bad one is refused
//! with its reason, and what it would have changed stays.

mod gone;
mod judging;
mod sources;

#[cfg(feature = "xds")]
use std::sync::{Arc, PoisonError};

use self::{gone::remove_service, judging::take_back, sources::forget_reports};
use super::{asking::Answer, inner::Inner, runtime::Runtime, state::State};
use crate::{
    config::{self, ConfigError, ConfigErrors},
    core::Instant,
    discover::{Change, Sink, SourceId},
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
                    by.insert(source, service);
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
                // Its settings are copied here and there: there are many endpoints.
                let endpoints = std::mem::take(&mut cluster.endpoints);
                let found = found
                    .and_then(|()| self.securable(state, source, &name, (&cluster, &endpoints)));
                let mended = self.judge(state, source, &part, found)?;
                let redefined = self.entry(state, &name).define(source, *cluster);
                self.settle(state, &name);
                self.examine_cluster(state, &name);
                let entry = self.entry(state, &name);
                let replaced = entry.replace(source, endpoints);
                entry.secure();
                self.examine_endpoints(state, &name);
                self.keep_entry(state, &name);
                if state.standing(&part) != before {
                    self.compile_users(state, &name);
                }
                if mended || redefined || replaced {
                    self.applied(part);
                }
            }
            Change::Patch(name, patch) => {
                let name = name.to_ascii_lowercase();
                if !state.may_patch(source, &name, &patch.put) {
                    let whole = Box::new((patch.whole)());
                    return self.change(state, source, Change::Cluster(name, whole));
                }
                let changed = self.entry(state, &name).patch(patch.put, &patch.gone);
                self.keep_entry(state, &name);
                if changed {
                    self.applied(format!("cluster {name}"));
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
                self.examine_endpoints(state, &name);
                self.keep_entry(state, &name);
            }
            Change::Upsert(name, endpoints) => {
                let name = name.to_ascii_lowercase();
                self.checked(state, source, &name, &endpoints)?;
                self.adopt(state, source, &name);
                self.entry(state, &name).upsert(source, endpoints);
                self.examine_endpoints(state, &name);
                self.keep_entry(state, &name);
            }
            Change::Remove(name, addresses) => {
                let name = name.to_ascii_lowercase();
                if let Some(entry) = state.clusters.get_mut(&name) {
                    entry.remove(source, addresses);
                    self.examine_endpoints(state, &name);
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
                    self.hear(state, source);
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
}
