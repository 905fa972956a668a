//! A listener and the routes of an authority, put together: the service that calls obey.
//!
//! Filters that no route overrides are the service's: all of its routes share what they count. One
//! that a route overrides is each route's own, and counts there. One that a cluster of a route overrides
//! has a name there, by which the cluster changes it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::super::{
    HttpFilter, Listener, Override, Route, Step, VirtualHost,
    routes::{add_upgrade, unavailable},
    walk::{Result, Walk},
};
use crate::config::{
    self, DirectResponse, Filter, FilterOverride, NamedFilter, RateDescriptor, Service,
    WeightedCluster,
};

// === impl Listener ===

impl Listener {
    /// The service of an authority whose routes these are.
    pub(crate) fn service(&self, host: &VirtualHost) -> Service {
        let mut service = Service::default();
        service.policy = self.policy.clone();
        let overridden: BTreeSet<&str> = host
            .routes
            .iter()
            .flat_map(|route| std::iter::once(&route.overrides).chain(&route.of_clusters))
            .flatten()
            .filter(|(_, said)| !matches!(said, Override::Unknown))
            .map(|(name, _)| name.as_str())
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
        for route in &mut service.routes {
            for upgrade in &self.upgrades {
                add_upgrade(&mut route.upgrades, Some(upgrade.clone()));
            }
        }
        if service.routes.is_empty() {
            service.routes.push(nowhere());
        }
        service
    }

    /// Why these routes cannot be had with the filters of this listener: something of them is not done
    /// here, or they turn a filter on that is not known here, or in a way that is not known.
    pub(crate) fn lacks(&self, host: &VirtualHost) -> Option<String> {
        if let Some(reason) = &host.refused {
            return Some(reason.clone());
        }
        let off = self.filters.iter().filter(|filter| filter.disabled);
        let off: BTreeMap<&str, Option<&str>> = off
            .map(|filter| (filter.name.as_str(), None))
            .chain(self.unknown.iter().map(|(name, url)| (name.as_str(), Some(url.as_str()))))
            .collect();
        if off.is_empty() {
            return None;
        }
        for route in &host.routes {
            for (name, said) in
                std::iter::once(&route.overrides).chain(&route.of_clusters).flatten()
            {
                let Some(unknown) = off.get(name.as_str()) else { continue };
                let what = match (unknown, said) {
                    (_, Override::Disabled)
                    | (None, Override::Enabled | Override::Steps(_) | Override::More(_)) => {
                        continue;
                    }
                    (Some(url), _) => format!("{url} is not supported yet"),
                    (None, Override::Unknown) => {
                        "what the route says of it is not known".to_owned()
                    }
                };
                let route = route.config.name.as_deref().unwrap_or("(no name)");
                return Some(format!(
                    "route {route} turns the filter {name} on, which is off else: {what}"
                ));
            }
        }
        None
    }

    /// What of these routes cannot be done with the filters of this listener.
    pub(crate) fn left_out(&self, host: &VirtualHost) -> Vec<String> {
        let mut left_out = Vec::new();
        for route in &host.routes {
            for (place, overrides) in route.of_clusters.iter().enumerate() {
                let own = self.filters.iter().filter(|it| overrides.contains_key(&it.name));
                for filter in own {
                    let base = base(filter, route);
                    let own = match overrides.get(&filter.name) {
                        Some(Override::Steps(steps)) => steps.as_slice(),
                        _ => &[],
                    };
                    if base.iter().chain(own).any(is_of_route) {
                        let name = route.config.name.as_deref().unwrap_or("(no name)");
                        let target = route.config.clusters.get(place);
                        let target = target.map_or("", |target| target.name.as_str());
                        left_out.push(format!(
                            "route {name}, cluster {target}, filter {}: a session is the route's, and \
                             not one cluster's: what the cluster says of it is left out",
                            filter.name
                        ));
                    }
                }
            }
        }
        left_out
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
        let is_changed = route.names_of_clusters().any(|name| *name == filter.name);
        let is_on = is_on(filter, route);
        let steps = base(filter, route);
        if !is_changed || steps.iter().any(is_of_route) {
            let steps = steps.iter().filter(|_| is_on);
            filters.extend(steps.filter_map(|step| described(step, &route.describe)));
            continue;
        }
        let mut steps: Vec<Filter> =
            steps.iter().filter_map(|step| described(step, &route.describe)).collect();
        let more = reserve(filter, route, &mut steps);
        for (target, overrides) in config.clusters.iter_mut().zip(&route.of_clusters) {
            match overrides.get(&filter.name) {
                Some(Override::More(levels)) => {
                    add(target, levels, filter, &steps, &more);
                }
                Some(said) => change(target, said, filter, (&steps, &more), route),
                None => {}
            }
        }
        for (place, step) in steps.into_iter().enumerate() {
            let mut named = NamedFilter::new(name(filter, place), step);
            named.disabled = !is_on || more.contains(&place);
            filters.push(Filter::Named(Box::new(named)));
        }
    }
    filters.append(&mut config.filters);
    config.filters = filters;
    config
}

/// Makes room among the steps of a filter for what clusters of the route add to it: they are nearer than
/// all else. One place for each kind that any of them adds, where the others do nothing.
fn reserve(filter: &HttpFilter, route: &Route, steps: &mut Vec<Filter>) -> Range<usize> {
    let mut kinds: Vec<Filter> = Vec::new();
    for said in route.of_clusters.iter().filter_map(|it| it.get(&filter.name)) {
        let Override::More(levels) = said else { continue };
        for step in levels.iter().flatten() {
            let Some(step) = described(step, &route.describe) else { continue };
            if !kinds.iter().any(|kind| kind.name() == step.name()) {
                kinds.push(step);
            }
        }
    }
    let start = if filter.nearest_last { steps.len() } else { filter.steps.len().min(steps.len()) };
    let reserved = start..start + kinds.len();
    steps.splice(start..start, kinds);
    reserved
}

/// What a cluster of a route adds to a filter, of which these are the steps, at the places that are
/// reserved for it. It turns the filter on.
fn add(
    target: &mut WeightedCluster,
    levels: &[Vec<Step>],
    filter: &HttpFilter,
    steps: &[Filter],
    reserved: &Range<usize>,
) {
    let mut own: Vec<Filter> =
        levels.iter().flatten().filter_map(|step| described(step, &[])).collect();
    for (place, step) in steps.iter().enumerate() {
        let mut changed = FilterOverride::default();
        if reserved.contains(&place) {
            let Some(at) = own.iter().position(|own| own.name() == step.name()) else { continue };
            changed.filter = Some(Box::new(own.remove(at)));
        }
        changed.disabled = Some(false);
        target.overrides.insert(name(filter, place), changed);
    }
}

/// What a cluster of a route makes of a filter, of which these are the steps on the route.
fn change(
    target: &mut WeightedCluster,
    said: &Override,
    filter: &HttpFilter,
    (steps, reserved): (&[Filter], &Range<usize>),
    route: &Route,
) {
    let mut left: Vec<Filter> = match said {
        Override::Steps(own) => {
            own.iter().filter_map(|step| described(step, &route.describe)).collect()
        }
        // It says nothing in a filter's place.
        Override::Unknown | Override::More(_) => return,
        Override::Disabled | Override::Enabled => Vec::new(),
    };
    for (place, step) in steps.iter().enumerate() {
        if reserved.contains(&place) {
            // That is another cluster's.
            continue;
        }
        let mut changed = FilterOverride::default();
        let same = left.iter().position(|own| own.name() == step.name());
        match (said, same) {
            (Override::Enabled, _) => changed.disabled = Some(false),
            (_, Some(same)) => {
                changed.disabled = Some(false);
                changed.filter = Some(Box::new(left.remove(same)));
            }
            (_, None) => changed.disabled = Some(true),
        }
        target.overrides.insert(name(filter, place), changed);
    }
    // Of a kind that the route's has none of.
    left.retain(|own| !matches!(own, Filter::Session(_)));
    left.append(&mut target.filters);
    target.filters = left;
}

/// What a step of a filter is called, for clusters to change it.
fn name(filter: &HttpFilter, place: usize) -> String {
    if place == 0 { filter.name.clone() } else { format!("{}#{place}", filter.name) }
}

/// The steps of a filter on a route, whether it is on or not.
fn base<'a>(filter: &'a HttpFilter, route: &'a Route) -> Cow<'a, [Step]> {
    match route.overrides.get(&filter.name) {
        Some(Override::Steps(steps)) => steps.into(),
        Some(Override::More(levels)) => filter.with(levels).into(),
        Some(Override::Enabled | Override::Disabled | Override::Unknown) | None => {
            (&filter.steps).into()
        }
    }
}

fn is_on(filter: &HttpFilter, route: &Route) -> bool {
    match route.overrides.get(&filter.name) {
        Some(Override::Disabled) => false,
        Some(Override::Steps(_) | Override::More(_) | Override::Enabled) => true,
        Some(Override::Unknown) | None => !filter.disabled,
    }
}

/// Whether a step is of a whole route, and cannot be of one of its clusters.
fn is_of_route(step: &Step) -> bool {
    matches!(step, Step::Filter(Filter::Session(_)))
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
    route.clusters.push(WeightedCluster::new("cluster"));
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
