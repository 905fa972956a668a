//! The sink that sources publish into. Each change takes effect on its own; a bad one is refused
//! with its reason, and what it would have changed stays.

use super::{inner::Inner, state::State};
use crate::{
    config::{self, ConfigError, ConfigErrors},
    core::Event,
    discover::{Change, Sink, SourceId},
};

impl Sink for Inner {
    fn apply(&self, source: SourceId, change: Change) -> Result<(), ConfigErrors> {
        if self.is_closed() {
            return Err(ConfigErrors(vec![ConfigError::new("mesh", "closed", "it is shut down")]));
        }
        let mut state = self.state();
        let result = self.change(&mut state, source, change);
        drop(state);
        self.notify();
        result
    }
}

impl Inner {
    fn change(
        &self,
        state: &mut State,
        source: SourceId,
        change: Change,
    ) -> Result<(), ConfigErrors> {
        match change {
            Change::Service(name, service) => {
                let name = name.to_ascii_lowercase();
                self.judge(state, format!("service {name}"), service.validate(&name))?;
                state.services.entry(name.clone()).or_default().insert(source, *service);
                self.compile(state, &name);
            }
            Change::RemoveService(name) => {
                let name = name.to_ascii_lowercase();
                state.refused.remove(&format!("service {name}"));
                if let Some(by) = state.services.get_mut(&name) {
                    by.remove(&source);
                }
                self.compile(state, &name);
            }
            Change::Cluster(name, mut cluster) => {
                let name = name.to_ascii_lowercase();
                self.judge(state, format!("cluster {name}"), cluster.validate(&name))?;
                let endpoints = std::mem::take(&mut cluster.endpoints);
                self.entry(state, &name).define(source, *cluster);
                self.settle(state, &name);
                self.entry(state, &name).replace(source, endpoints);
                self.compile(state, &name);
                self.applied(format!("cluster {name}"));
            }
            Change::RemoveCluster(name) => {
                let name = name.to_ascii_lowercase();
                state.refused.remove(&format!("cluster {name}"));
                self.entry(state, &name).forget(source);
                self.settle(state, &name);
                self.compile(state, &name);
            }
            Change::Endpoints(name, endpoints) => {
                let name = name.to_ascii_lowercase();
                self.checked(state, &name, &endpoints)?;
                self.adopt(state, source, &name);
                self.entry(state, &name).replace(source, endpoints);
            }
            Change::Upsert(name, endpoints) => {
                let name = name.to_ascii_lowercase();
                self.checked(state, &name, &endpoints)?;
                self.adopt(state, source, &name);
                self.entry(state, &name).upsert(source, endpoints);
            }
            Change::Remove(name, addresses) => {
                self.entry(state, &name.to_ascii_lowercase()).remove(source, addresses);
            }
            Change::Refused { part, reason } => self.report(state, part, reason),
            Change::Accepted { part } => {
                state.refused.remove(&part);
            }
            Change::Synced => {
                state.synced.insert(source);
                if state.synced.len() >= self.sources.len() {
                    self.set_synced();
                }
            }
        }
        Ok(())
    }

    /// Reports a part that was found bad, or takes an earlier report of it back.
    fn judge(
        &self,
        state: &mut State,
        part: String,
        found: Result<(), ConfigErrors>,
    ) -> Result<(), ConfigErrors> {
        match &found {
            Ok(()) => {
                state.refused.remove(&part);
            }
            Err(errors) => self.report(state, part, errors.to_string()),
        }
        found
    }

    /// Refuses a set with an endpoint that cannot be used; the last good set stays.
    fn checked(
        &self,
        state: &mut State,
        name: &str,
        endpoints: &[config::Endpoint],
    ) -> Result<(), ConfigErrors> {
        let errors = endpoints.iter().enumerate().filter_map(|(index, endpoint)| {
            endpoint.validate(&format!("clusters.{name}.endpoints[{index}]")).err()
        });
        let errors: Vec<ConfigError> = errors.flat_map(|errors| errors.0).collect();
        let found = if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) };
        self.judge(state, format!("endpoints of cluster {name}"), found)
    }

    /// A source that publishes endpoints alone defines the cluster with default settings.
    fn adopt(&self, state: &mut State, source: SourceId, name: &str) {
        let entry = self.entry(state, name);
        if !entry.settings.contains_key(&source) {
            entry.define(source, config::Cluster::default());
            self.compile(state, name);
        }
    }

    pub(super) fn applied(&self, part: String) {
        self.events.emit(|| Event::ConfigApplied { part: part.into() });
    }

    fn report(&self, state: &mut State, part: String, reason: String) {
        self.events.emit(|| Event::ConfigRefused {
            part: part.as_str().into(),
            reason: reason.as_str().into(),
        });
        state.refused.insert(part, reason);
    }
}
