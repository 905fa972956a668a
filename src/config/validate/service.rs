//! Checks of services.

use std::collections::HashSet;

use super::Checker;
use crate::config::{ConfigErrors, Filter, Match, Route, Service, name};

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
        checker.of_all_routes(filters, routes);
        checker.only_default("protocol", protocol);
        checker.done()
    }
}

impl Checker {
    /// The filters of a service, which are done for each of its routes, before those of the route.
    fn of_all_routes(&mut self, filters: &[Filter], routes: &[Route]) {
        if filters.is_empty() {
            return;
        }
        let of = |route: &Route| match route.matches.as_slice() {
            [] => vec![Match::default()],
            matches => matches.to_vec(),
        };
        let matches: Vec<_> = routes.iter().flat_map(of).collect();
        self.calls_filters(filters, &matches);
        if !filters.iter().any(rewrites_path) {
            return;
        }
        for (index, route) in routes.iter().enumerate() {
            if let Some(place) = route.filters.iter().position(rewrites_path) {
                let name = route.name.as_deref().unwrap_or("without a name");
                let reason = format!(
                    "the filters of the service rewrite the path already (route {name}): say it on \
                     each route"
                );
                let field = format!("routes[{index}].filters[{place}].rewrite.path");
                self.refuse(&field, "", reason);
            }
        }
    }
}

fn rewrites_path(filter: &Filter) -> bool {
    matches!(filter, Filter::Rewrite(rewrite) if rewrite.path.is_some())
}
