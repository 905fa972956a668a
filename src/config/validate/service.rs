//! Checks of services.

use std::collections::{BTreeMap, HashSet};

use super::{Checker, filter::Level, named::named};
use crate::config::{ConfigErrors, Filter, FilterOverride, Match, Route, Service, name};

impl Service {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used, with its value and the allowed range.
    pub fn validate(&self, name: &str) -> Result<(), ConfigErrors> {
        let Self { policy, routes, cluster, order: _, filters, overrides, protocol, labels: _ } =
            self;
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
        let mut known = Vec::new();
        checker.names(filters, &mut known);
        checker.each("routes", routes, |checker, route| checker.route(route, &known));
        checker.of_all_routes(filters, overrides, routes);
        checker.only_default("protocol", protocol);
        checker.done()
    }
}

impl Checker {
    /// The filters of a service, which are done for each of its routes, before those of the route.
    fn of_all_routes(
        &mut self,
        filters: &[Filter],
        overrides: &BTreeMap<String, FilterOverride>,
        routes: &[Route],
    ) {
        let of = |route: &Route| match route.matches.as_slice() {
            [] => vec![Match::default()],
            matches => matches.to_vec(),
        };
        if !filters.is_empty() || !overrides.is_empty() {
            let matches: Vec<_> = routes.iter().flat_map(of).collect();
            self.calls_filters(filters, &matches, Level::Service);
            let known: Vec<_> = named(filters).collect();
            self.overrides(overrides, &known, &matches, Level::Service);
        }
        let of_service = filters.iter().any(rewrites_path);
        for (index, route) in routes.iter().enumerate() {
            let name = route.name.as_deref().unwrap_or("without a name");
            let own = route.filters.iter().position(rewrites_path);
            if let Some(place) = own.filter(|_| of_service) {
                let reason = format!(
                    "the filters of the service rewrite the path already (route {name}): say it on \
                     each route"
                );
                let field = format!("routes[{index}].filters[{place}].rewrite.path");
                self.refuse(&field, "", reason);
            }
            if !of_service && own.is_none() {
                continue;
            }
            for (number, target) in route.clusters.iter().enumerate() {
                if let Some(place) = target.filters.iter().position(rewrites_path) {
                    let reason = format!(
                        "the filters of the service or the route rewrite the path already (route \
                         {name}): say it on each cluster"
                    );
                    let field =
                        format!("routes[{index}].clusters[{number}].filters[{place}].rewrite.path");
                    self.refuse(&field, "", reason);
                }
            }
        }
    }
}

fn rewrites_path(filter: &Filter) -> bool {
    matches!(filter.inner(), Filter::Rewrite(rewrite) if rewrite.path.is_some())
}
