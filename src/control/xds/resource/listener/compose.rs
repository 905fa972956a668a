//! A listener and the routes of an authority, put together: the service that calls obey.
//!
//! Filters that no route overrides are the service's: all of its routes share what they count. One
//! that a route overrides is each route's own, and counts there.

use std::collections::BTreeSet;

use super::super::{
    HttpFilter, Listener, Override, Route, Step, VirtualHost,
    routes::unavailable,
    walk::{Result, Walk},
};
use crate::config::{self, DirectResponse, Filter, RateDescriptor, Service};

// === impl Listener ===

impl Listener {
    /// The service of an authority whose routes these are.
    pub(crate) fn service(&self, host: &VirtualHost) -> Service {
        let mut service = Service::default();
        service.policy = self.policy.clone();
        let overridden: BTreeSet<&str> = host
            .routes
            .iter()
            .flat_map(|route| route.overrides.keys().map(String::as_str))
            .collect();
        let is_shared = |filter: &HttpFilter| {
            !overridden.contains(filter.name.as_str())
                && filter.steps.iter().all(|step| matches!(step, Step::Filter(_)))
        };
        for filter in self.filters.iter().filter(|filter| is_shared(filter) && !filter.disabled) {
            let steps = filter.steps.iter().filter_map(|step| match step {
                Step::Filter(filter) => Some(filter.clone()),
                Step::Limited(_) => None,
            });
            service.filters.extend(steps);
        }
        let own: Vec<&HttpFilter> =
            self.filters.iter().filter(|filter| !is_shared(filter)).collect();
        service.routes = host.routes.iter().map(|route| of_route(&own, route)).collect();
        if service.routes.is_empty() {
            service.routes.push(nowhere());
        }
        service
    }

    /// The service of an authority that has no routes: its calls fail.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn without_routes(&self) -> Service {
        let mut service = Service::default();
        service.policy = self.policy.clone();
        service.routes.push(nowhere());
        service
    }
}

/// A route on which calls fail: no route takes them, and no cluster of the service's name either.
fn nowhere() -> config::Route {
    let answer: DirectResponse = unavailable(404, "no route matches");
    let mut route = config::Route::default();
    route.filters.push(Filter::DirectResponse(answer));
    route
}

fn of_route(own: &[&HttpFilter], route: &Route) -> config::Route {
    let mut config = route.config.clone();
    let mut filters = Vec::new();
    for filter in own {
        let steps: &[Step] = match route.overrides.get(&filter.name) {
            Some(Override::Disabled) => continue,
            Some(Override::Steps(steps)) => steps,
            Some(Override::Enabled) => &filter.steps,
            None if filter.disabled => continue,
            None => &filter.steps,
        };
        filters.extend(steps.iter().filter_map(|step| described(step, &route.describe)));
    }
    filters.append(&mut config.filters);
    config.filters = filters;
    config
}

/// A step with what describes the requests; none where nothing does.
fn described(step: &Step, describe: &[RateDescriptor]) -> Option<Filter> {
    let filter = match step {
        Step::Filter(filter) => return Some(filter.clone()),
        Step::Limited(filter) => filter,
    };
    let of_stage = |stage: u32| -> Vec<RateDescriptor> {
        describe.iter().filter(|it| it.stage.unwrap_or(0) == stage).cloned().collect()
    };
    match filter {
        Filter::RateLimit(limit) => {
            let mut limit = limit.clone();
            if limit.describe.is_empty() {
                limit.describe = of_stage(0);
            }
            if limit.describe.is_empty() {
                // Nothing can be one of the descriptors.
                let has_bucket = limit.has_bucket();
                limit.descriptors.clear();
                limit.always_bucket = None;
                if !has_bucket {
                    return None;
                }
            }
            Some(Filter::RateLimit(limit))
        }
        Filter::GlobalRateLimit(limit) => {
            let mut limit = limit.clone();
            if limit.describe.is_empty() {
                limit.describe = of_stage(limit.stage.unwrap_or(0));
            }
            (!limit.describe.is_empty()).then_some(Filter::GlobalRateLimit(limit))
        }
        other => Some(other.clone()),
    }
}

/// Checks what a listener says by the model's own checks, as a service of one route.
pub(super) fn check(walk: &mut Walk, listener: &Listener) -> Result<()> {
    let mut service = Service::default();
    service.policy = listener.policy.clone();
    let mut route = config::Route::default();
    route.clusters.push(config::WeightedCluster::new("cluster"));
    let any = RateDescriptor::new([config::DescriptorPart::DestinationCluster]);
    for filter in &listener.filters {
        for step in &filter.steps {
            let mut any = any.clone();
            if let Step::Limited(Filter::GlobalRateLimit(limit)) = step {
                any.stage = limit.stage;
            }
            route.filters.extend(described(step, &[any]));
        }
    }
    service.routes.push(route);
    walk.checked("http_filters", service.validate("listener"))
}
