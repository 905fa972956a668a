//! Runtime keys: shares that are changed without a word about routes. What the code says of one goes
//! before what sources say, in their order; what nobody says leaves the field as it is.
//!
//! They are filled in when a service is compiled: a call pays nothing for them, and a change compiles
//! the services alone that name the key.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
};

use super::{apply::closed, describe::SettingOrigin, inner::Inner, state::State};
use crate::{
    config::{self, ConfigError, ConfigErrors, Filter, Match, Mirror},
    discover::SourceId,
    route::Switch,
};

/// What is said of keys, by whom, and who asks for them.
#[derive(Debug, Default)]
pub(super) struct Runtime {
    code: BTreeMap<String, f64>,
    said: BTreeMap<String, BTreeMap<SourceId, f64>>,
    /// The keys that each service names.
    users: BTreeMap<String, BTreeSet<String>>,
    /// What keys turn off without a service being compiled again: descriptions of rate limits, whose
    /// tokens stay what they are.
    switches: BTreeMap<String, Weak<Switch>>,
}

/// A key that somebody has set: its value, whose it is, and which source's.
pub(super) type Told = (String, f64, SettingOrigin, Option<SourceId>);

// === impl Runtime ===

impl Runtime {
    /// What the code says when the mesh is built.
    pub(super) fn of(code: &BTreeMap<String, f64>) -> Self {
        let code = code.iter().map(|(key, percent)| (key.to_ascii_lowercase(), *percent));
        Self { code: code.collect(), ..Self::default() }
    }

    /// Whether a key may be this; its name is that of the part that says so.
    pub(super) fn check(key: &str, percent: f64) -> Result<(), ConfigErrors> {
        let error = if key.is_empty() {
            ConfigError::new("runtime", "\"\"", "a key has a name")
        } else if !(0.0..=100.0).contains(&percent) {
            ConfigError::new(format!("runtime.{key}"), percent, "must be in 0..=100")
        } else {
            return Ok(());
        };
        Err(ConfigErrors(vec![error]))
    }

    /// What the code says of a key, or nothing; whether that is new.
    pub(super) fn set(&mut self, key: &str, percent: Option<f64>) -> bool {
        let before = match percent {
            Some(percent) => self.code.insert(key.to_owned(), percent),
            None => self.code.remove(key),
        };
        self.turn(key);
        before != percent
    }

    /// The same of a source.
    pub(super) fn say(&mut self, source: SourceId, key: &str, percent: Option<f64>) -> bool {
        let said = self.said.entry(key.to_owned()).or_default();
        let before = match percent {
            Some(percent) => said.insert(source, percent),
            None => said.remove(&source),
        };
        if said.is_empty() {
            self.said.remove(key);
        }
        self.turn(key);
        before != percent
    }

    fn get(&self, key: &str) -> Option<f64> {
        let key = key.to_ascii_lowercase();
        let said = || self.said.get(&key)?.values().next();
        self.code.get(&key).or_else(said).copied()
    }

    /// What turns the descriptions of rate limits off that name this `disable_key`.
    //= Envoy rate limit filter, runtime: ratelimit.<route_key>.http_filter_enabled
    pub(super) fn of_limit(&mut self, disable_key: &str) -> Arc<Switch> {
        let key = format!("ratelimit.{disable_key}.http_filter_enabled").to_ascii_lowercase();
        if let Some(switch) = self.switches.get(&key).and_then(Weak::upgrade) {
            return switch;
        }
        self.switches.retain(|_, switch| switch.strong_count() > 0);
        let switch = Arc::new(Switch::new(self.get(&key)));
        self.switches.insert(key, Arc::downgrade(&switch));
        switch
    }

    /// A key may have changed.
    fn turn(&self, key: &str) {
        if let Some(switch) = self.switches.get(key).and_then(Weak::upgrade) {
            switch.set(self.get(key));
        }
    }

    /// The services that name a key.
    pub(super) fn users(&self, key: &str) -> Vec<String> {
        let users = self.users.iter().filter(|(_, keys)| keys.contains(key));
        users.map(|(service, _)| service.clone()).collect()
    }

    /// A service is not run any more.
    pub(super) fn forget(&mut self, service: &str) {
        self.users.remove(service);
    }

    /// Every key that somebody has set.
    pub(super) fn told(&self) -> Vec<Told> {
        let code = self.code.iter();
        let code = code.map(|(key, it)| (key.clone(), *it, SettingOrigin::Code, None));
        let said = self.said.iter().filter(|(key, _)| !self.code.contains_key(*key));
        let said = said.filter_map(|(key, by)| {
            let (source, percent) = by.first_key_value()?;
            Some((key.clone(), *percent, SettingOrigin::ControlPlane, Some(*source)))
        });
        code.chain(said).collect()
    }

    /// Fills in what a service names, and notes that it does.
    pub(super) fn fill(
        &mut self,
        name: &str,
        service: &mut config::Service,
        routes: &mut [config::Route],
    ) {
        let mut keys = BTreeSet::new();
        let mut fill = |key: &Option<String>, percent: &mut f64| {
            let Some(key) = key else { return };
            keys.insert(key.to_ascii_lowercase());
            if let Some(set) = self.get(key) {
                *percent = set;
            }
        };
        of_filters(&mut service.filters, &mut fill);
        of_overrides(&mut service.overrides, &mut fill);
        for route in routes {
            for Match { fraction, .. } in &mut route.matches {
                if let Some(fraction) = fraction {
                    fill(&fraction.key, &mut fraction.percent);
                }
            }
            of_filters(&mut route.filters, &mut fill);
            of_overrides(&mut route.overrides, &mut fill);
            for target in &mut route.clusters {
                of_filters(&mut target.filters, &mut fill);
                of_overrides(&mut target.overrides, &mut fill);
            }
        }
        if keys.is_empty() {
            self.users.remove(name);
        } else {
            self.users.insert(name.to_owned(), keys);
        }
    }
}

type Fill<'a> = dyn FnMut(&Option<String>, &mut f64) + 'a;

fn of_filters(filters: &mut [Filter], fill: &mut Fill<'_>) {
    filters.iter_mut().for_each(|filter| of_filter(filter, fill));
}

fn of_overrides(overrides: &mut BTreeMap<String, config::FilterOverride>, fill: &mut Fill<'_>) {
    let filters = overrides.values_mut().filter_map(|said| said.filter.as_deref_mut());
    filters.for_each(|filter| of_filter(filter, fill));
}

fn of_filter(filter: &mut Filter, fill: &mut Fill<'_>) {
    match filter {
        Filter::Named(named) => of_filter(&mut named.filter, fill),
        Filter::Mirror(Mirror { percent, key, .. }) if key.is_some() => {
            let mut share = percent.unwrap_or(100.0);
            fill(key, &mut share);
            *percent = Some(share);
        }
        _ => {}
    }
}

// === impl Inner ===

impl Inner {
    /// What the code says of a runtime key from now on.
    pub(super) fn set_runtime_key(
        &self,
        key: &str,
        percent: Option<f64>,
    ) -> Result<(), ConfigErrors> {
        Runtime::check(key, percent.unwrap_or(0.0))?;
        let key = key.to_ascii_lowercase();
        let mut state = self.state();
        if self.is_closed() {
            return Err(closed());
        }
        if state.runtime.set(&key, percent) {
            self.rekey(&mut state, &key);
        }
        drop(state);
        self.notify();
        Ok(())
    }

    /// Compiles the services that name a key again.
    pub(super) fn rekey(&self, state: &mut State, key: &str) {
        for service in state.runtime.users(key) {
            self.compile(state, &service);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Route, RuntimeFraction, Service};

    fn share(key: Option<&str>, percent: f64) -> Route {
        let mut fraction = RuntimeFraction::default();
        (fraction.key, fraction.percent) = (key.map(str::to_owned), percent);
        let mut rule = Match::default();
        rule.fraction = Some(fraction);
        let mut route = Route::default();
        route.matches = vec![rule];
        route
    }

    fn filled(runtime: &mut Runtime) -> f64 {
        let mut routes = [share(Some("Canary"), 10.0)];
        runtime.fill("shop", &mut Service::default(), &mut routes);
        routes[0].matches[0].fraction.as_ref().unwrap().percent
    }

    #[test]
    fn the_code_goes_before_sources_and_they_before_the_field() {
        let (first, second) = (SourceId::new(0), SourceId::new(1));
        let mut runtime = Runtime::of(&[("CANARY".to_owned(), 40.0)].into());
        assert_eq!(filled(&mut runtime), 40.0);
        assert!(runtime.say(second, "canary", Some(20.0)));
        assert!(!runtime.say(second, "canary", Some(20.0)));
        assert_eq!(filled(&mut runtime), 40.0);
        assert!(runtime.set("canary", None));
        assert_eq!(filled(&mut runtime), 20.0);
        assert!(runtime.say(first, "canary", Some(30.0)));
        assert_eq!(filled(&mut runtime), 30.0);
        assert!(runtime.say(first, "canary", None) && runtime.say(second, "canary", None));
        assert_eq!(filled(&mut runtime), 10.0);
        assert!(!runtime.set("canary", None));
        assert_eq!(runtime.users("canary"), ["shop"]);
        runtime.fill("shop", &mut Service::default(), &mut [share(None, 5.0)]);
        assert!(runtime.users("canary").is_empty());
    }

    #[test]
    fn a_key_is_a_share() {
        for (key, percent) in [("", 1.0), ("a", -0.1), ("a", 100.1), ("a", f64::NAN)] {
            assert!(Runtime::check(key, percent).is_err(), "{key} {percent}");
        }
        assert!(Runtime::check("a", 100.0).is_ok());
    }
}
