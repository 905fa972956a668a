//! Checks of services.

use std::collections::HashSet;

use super::Checker;
use crate::config::{ConfigErrors, Service, name};

impl Service {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used, with its value and the allowed range.
    pub fn validate(&self, name: &str) -> Result<(), ConfigErrors> {
        let Self { policy, routes, cluster, order: _, filters, protocol, labels: _ } = self;
        let mut checker = Checker::new(format!("services.{name}"));
        if name.is_empty() {
            checker.refuse("", "", "the name must not be empty");
        } else if let Err(reason) = name::callable(name) {
            checker.refuse("", name, format!("no client can call it: {reason}"));
        }
        checker.within("policy", |checker| checker.policy(policy));
        if let Some(cluster) = cluster {
            if !routes.is_empty() {
                checker.refuse("cluster", cluster, "a service has either `routes` or `cluster`");
            }
            if cluster.is_empty() {
                checker.refuse("cluster", "", "must not be empty");
            }
        }
        let mut names = HashSet::new();
        for (index, route) in routes.iter().enumerate() {
            if let Some(name) = &route.name
                && !names.insert(name)
            {
                checker.refuse(&format!("routes[{index}].name"), name, "is used twice");
            }
        }
        checker.each("routes", routes, Checker::route);
        checker.calls_filters(filters, &[]);
        checker.only_default("protocol", protocol);
        checker.done()
    }
}
