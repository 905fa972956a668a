//! What the layers of settings come to: the code's over those of the sources, in their order, field
//! by field.
//!
//! Each layer is valid by itself; together they may contradict each other. Then what is nearer
//! holds, and what contradicts it of a further layer is left out, field by field, and reported. Two
//! things stand before that: an `attempt_timeout` over the `timeout` does nothing, so that it is left
//! out whoever says it, and how connections are secured is never left out, nor mixed from several
//! sources ([ADR 0040](../../docs/adr/0040-overlay.md)).

use std::collections::BTreeMap;

use super::state::Said;
use crate::{
    config::{
        Cluster, ConfigError, ConfigErrors, Filter, FilterOverride, Overlay, Policy, RouteOrder,
        SecurityMode, Service,
    },
    discover::SourceId,
};

/// Whose settings they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Whose {
    Code,
    Source(SourceId),
}

/// What layers come to.
#[derive(Clone, Debug)]
pub(super) struct Laid<T> {
    pub(super) merged: T,
    /// The layers, nearest first, without what was left out.
    pub(super) layers: Vec<(Whose, T)>,
    pub(super) left_out: Vec<LeftOut>,
}

/// A field that contradicts what is nearer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LeftOut {
    pub(super) whose: Whose,
    pub(super) error: ConfigError,
}

/// The services that several sources make of one name.
pub(super) struct LaidService {
    /// Its routes and filters; its policies are beside it.
    pub(super) service: Service,
    /// Whose each of its filters is.
    pub(super) filtered_by: Vec<SourceId>,
    /// Whose the changes to them are that the service says itself.
    pub(super) overridden_by: Option<SourceId>,
    /// Who says where the calls go; the first source, where none does.
    pub(super) routed_by: Option<SourceId>,
    /// The policies of the service, in the order of their sources.
    pub(super) policies: Vec<(SourceId, Policy)>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Lays the layers over each other, nearest first. `first` holds whatever comes.
fn lay<T: Overlay>(
    layers: Vec<(Whose, T)>,
    first: T,
    check: impl Fn(&T) -> Result<(), ConfigErrors>,
) -> Laid<T> {
    let nothing = T::default();
    let said = layers.iter().filter(|(_, layer)| *layer != nothing).count();
    let merged = layers.iter().fold(first.clone(), |merged, (_, it)| merged.laid_over(it));
    if said < 2 || check(&merged).is_ok() {
        return Laid { merged, layers, left_out: Vec::new() };
    }
    let (mut merged, mut kept, mut left_out) = (first, Vec::new(), Vec::new());
    for (whose, layer) in layers {
        let mut good = T::default();
        let mut waiting = layer.parts();
        loop {
            let before = waiting.len();
            let (mut again, mut errors) = (Vec::new(), Vec::new());
            for part in waiting {
                let next = merged.laid_over(&part);
                match check(&next) {
                    Ok(()) => {
                        merged = next;
                        good = good.laid_over(&part);
                    }
                    Err(ConfigErrors(found)) => {
                        errors.extend(found.into_iter().next());
                        again.push(part);
                    }
                }
            }
            // What one part makes wrong another may mend.
            if again.is_empty() || again.len() == before {
                left_out.extend(errors.into_iter().map(|error| LeftOut { whose, error }));
                break;
            }
            waiting = again;
        }
        kept.push((whose, good));
    }
    Laid { merged, layers: kept, left_out }
}

/// The policies of a route, nearest first.
pub(super) fn policies(mut layers: Vec<(Whose, Policy)>, path: &str) -> Laid<Policy> {
    let mut left_out = Vec::new();
    let nearest = |layers: &[(Whose, Policy)], of: fn(&Policy) -> Option<std::time::Duration>| {
        layers.iter().find_map(|(whose, policy)| Some((*whose, of(policy)?)))
    };
    let attempt = nearest(&layers, |policy| policy.attempt_timeout);
    let whole = nearest(&layers, |policy| policy.timeout);
    if let (Some((whose, attempt)), Some((_, whole))) = (attempt, whole)
        && !whole.is_zero()
        && attempt > whole
    {
        let path = format!("{path}.attempt_timeout");
        let reason = format!("must be at most timeout ({whole:?}), which ends the call before it");
        let error = ConfigError::new(path, format!("{attempt:?}"), reason);
        left_out.push(LeftOut { whose, error });
        for (_, policy) in &mut layers {
            policy.attempt_timeout = None;
        }
    }
    let laid = lay(layers, Policy::default(), |policy| policy.validate(path));
    left_out.extend(laid.left_out);
    Laid { left_out, ..laid }
}

/// The settings of a cluster: the code's, and those of its sources in their order.
pub(super) fn clusters<'a>(
    name: &str,
    code: Cluster,
    sources: impl Iterator<Item = (SourceId, &'a Cluster)>,
) -> Laid<Cluster> {
    let mut layers = vec![(Whose::Code, code)];
    let mut is_secured = false;
    for (source, settings) in sources {
        let mut settings = settings.clone();
        settings.endpoints = Vec::new();
        // How connections are secured is of one source: parts of two authors would make what
        // neither has written.
        if is_secured {
            settings.security = None;
        }
        is_secured |= settings.security.is_some();
        layers.push((Whose::Source(source), settings));
    }
    let first = layers.iter().fold(Cluster::default(), |first, (_, layer)| {
        let security = layer.security.clone();
        first.laid_over(&Cluster { security, ..Cluster::default() })
    });
    // Where that is wrong by itself, nothing else is for it; the cluster is refused for it elsewhere.
    let is_sound = valid(name, &first, true).is_ok();
    lay(layers, first, |cluster| valid(name, cluster, is_sound))
}

/// Whether settings without endpoints are what a cluster may have.
fn valid(name: &str, cluster: &Cluster, with_security: bool) -> Result<(), ConfigErrors> {
    let mut cluster = cluster.clone();
    match &mut cluster.security {
        security if !with_security => *security = None,
        // An endpoint may ask for it.
        Some(security) if security.mode == Some(SecurityMode::Tls) => security.certificate = None,
        _ => {}
    }
    cluster.validate(name)
}

/// What several sources make of a service.
pub(super) fn services(name: &str, said: &Said<Service>) -> LaidService {
    let mut laid = LaidService {
        service: Service::default(),
        filtered_by: Vec::new(),
        overridden_by: None,
        routed_by: said.keys().next().copied(),
        policies: said.iter().map(|(source, it)| (*source, it.policy.clone())).collect(),
        left_out: Vec::new(),
    };
    let service = &mut laid.service;
    if let [(source, only)] = said.iter().collect::<Vec<_>>()[..] {
        *service = Service { policy: Policy::default(), ..Service::clone(only) };
        laid.filtered_by = vec![*source; only.filters.len()];
        laid.overridden_by = Some(*source);
        return laid;
    }
    // Where the calls go is one choice.
    if let Some((source, it)) = said.iter().find(|(_, service)| routes(service)) {
        laid.routed_by = Some(*source);
        service.routes.clone_from(&it.routes);
        service.cluster.clone_from(&it.cluster);
        service.order = it.order;
    } else if let Some(it) = said.values().find(|it| it.order != RouteOrder::default()) {
        service.order = it.order;
    }
    let filtering = said.iter().find(|(_, service)| !service.filters.is_empty());
    if let Some((source, it)) = filtering {
        service.filters.clone_from(&it.filters);
        service.overrides.clone_from(&it.overrides);
        laid.overridden_by = Some(*source);
        if let Some(routed_by) = laid.routed_by.filter(|by| by != source) {
            let kept = said.get(&routed_by).map(|it| rules_by_name(it)).unwrap_or_default();
            let changes = stranded(name, service, &kept);
            let whose = Whose::Source(routed_by);
            laid.left_out.extend(changes.into_iter().map(|error| LeftOut { whose, error }));
        }
        if Some(*source) != laid.routed_by
            && let Err(ConfigErrors(errors)) = unchanged(service).validate(name)
        {
            // Each list is sound; the filters were not made for these routes.
            service.filters = fitting(&unchanged(service), name);
            let whose = Whose::Source(*source);
            let errors = errors.into_iter();
            laid.left_out.extend(errors.map(|error| LeftOut { whose, error }));
        }
        laid.filtered_by = vec![*source; service.filters.len()];
        // A list is one value, but nobody takes back what another refuses.
        for (other, it) in said.iter().filter(|(other, _)| *other != source) {
            for filter in it.filters.iter().filter(|it| is_authorization(it)) {
                service.filters.push(filter.clone());
                laid.filtered_by.push(*other);
            }
        }
    }
    let plain = |it: &&Service| it.protocol == Service::default().protocol;
    if let Some(it) = said.values().map(|it| &**it).find(|it| !plain(it)) {
        service.protocol = it.protocol;
    }
    if let Some(it) = said.values().find(|it| !it.labels.is_empty()) {
        service.labels.clone_from(&it.labels);
    }
    laid
}

/// The same without changes to filters: those that are left are sound beside the filters of their own
/// source.
fn unchanged(service: &Service) -> Service {
    let mut service = service.clone();
    service.overrides.clear();
    for route in &mut service.routes {
        route.overrides.clear();
        route.clusters.iter_mut().for_each(|target| target.overrides.clear());
    }
    service
}

/// The names of its rules of authorisation, which hold whoever says the other filters.
fn rules_by_name(service: &Service) -> Vec<String> {
    let named = service.filters.iter().filter_map(|filter| match filter {
        Filter::Named(named) if is_authorization(filter) => Some(named.name.clone()),
        _ => None,
    });
    named.collect()
}

/// Takes the changes to filters out of routes that are beside the filters of another source.
fn stranded(name: &str, service: &mut Service, kept: &[String]) -> Vec<ConfigError> {
    let mut stranded = Vec::new();
    let mut take = |path: String, overrides: &mut BTreeMap<String, FilterOverride>| {
        overrides.retain(|filter, _| {
            let is_kept = kept.contains(filter);
            if !is_kept {
                let reason = "the filters of the service are those of another source";
                let path = format!("{path}.overrides.{filter}");
                stranded.push(ConfigError::new(path, filter, reason));
            }
            is_kept
        });
    };
    for (index, route) in service.routes.iter_mut().enumerate() {
        let path = format!("services.{name}.routes[{index}]");
        take(path.clone(), &mut route.overrides);
        for (number, target) in route.clusters.iter_mut().enumerate() {
            take(format!("{path}.clusters[{number}]"), &mut target.overrides);
        }
    }
    stranded
}

/// Whether a service says where its calls go.
pub(super) fn routes(service: &Service) -> bool {
    !service.routes.is_empty() || service.cluster.is_some()
}

/// The filters that fit the routes they are beside, one by one. What refuses or limits calls looks
/// at no route, and stays whatever else does not fit.
fn fitting(service: &Service, name: &str) -> Vec<Filter> {
    let mut fits: Vec<bool> = service.filters.iter().map(|it| !is_of_routes(it)).collect();
    let kept = |fits: &[bool]| {
        let kept = service.filters.iter().zip(fits).filter(|(_, fits)| **fits);
        kept.map(|(filter, _)| filter.clone()).collect::<Vec<_>>()
    };
    let mut tried = service.clone();
    for place in 0..fits.len() {
        if !fits[place] {
            fits[place] = true;
            tried.filters = kept(&fits);
            fits[place] = tried.validate(name).is_ok();
        }
    }
    kept(&fits)
}

/// Whether a filter says where a call goes, what it is on the way there, or what answers it.
fn is_of_routes(filter: &Filter) -> bool {
    match filter {
        Filter::RequestHeaders(_)
        | Filter::ResponseHeaders(_)
        | Filter::Rewrite(_)
        | Filter::Redirect(_)
        | Filter::DirectResponse(_)
        | Filter::Mirror(_)
        | Filter::Session(_)
        | Filter::Extension(_) => true,
        Filter::Fault(_)
        | Filter::RateLimit(_)
        | Filter::GlobalRateLimit(_)
        | Filter::Authorize(_)
        | Filter::AdaptiveConcurrency(_)
        | Filter::AdmissionControl(_)
        | Filter::Throttle(_) => false,
        Filter::Named(named) => is_of_routes(&named.filter),
    }
}

/// Rules of a route that no call would meet, since another source says where the calls go.
pub(super) struct LostRules {
    /// Who says them, and who the routes.
    pub(super) source: SourceId,
    pub(super) routed_by: SourceId,
    /// Where its source says them.
    pub(super) path: String,
}

/// The first of them. Their routes are one choice, and rules are made for theirs: nobody can tell
/// which calls of other routes they deny.
pub(super) fn lost_rules(name: &str, said: &Said<Service>) -> Option<LostRules> {
    if said.len() < 2 {
        return None;
    }
    let mut routing = said.iter().filter(|(_, service)| routes(service));
    let (&routed_by, first) = routing.next()?;
    // Who says the same routes has lost nothing.
    let is_same = |it: &Service| it.routes == first.routes && it.order == first.order;
    routing.filter(|(_, it)| !is_same(it)).find_map(|(&source, it)| {
        let mut routes = it.routes.iter().enumerate();
        let path = routes.find_map(|(route, it)| {
            let path = format!("services.{name}.routes[{route}]");
            let mut targets = it.clusters.iter().enumerate();
            rules_of(&path, &it.filters, &it.overrides).or_else(|| {
                targets.find_map(|(number, it)| {
                    let path = format!("{path}.clusters[{number}]");
                    rules_of(&path, &it.filters, &it.overrides)
                })
            })
        });
        Some(LostRules { source, routed_by, path: path? })
    })
}

/// Where rules of authorisation are said first.
fn rules_of(
    path: &str,
    filters: &[Filter],
    overrides: &BTreeMap<String, FilterOverride>,
) -> Option<String> {
    let own = filters.iter().position(is_authorization).map(|place| {
        let named =
            if matches!(filters.get(place), Some(Filter::Named(_))) { ".named.filter" } else { "" };
        format!("{path}.filters[{place}]{named}.authorize")
    });
    let is_rule = |said: &FilterOverride| said.filter.as_deref().is_some_and(is_authorization);
    own.or_else(|| {
        let (filter, _) = overrides.iter().find(|(_, said)| is_rule(said))?;
        Some(format!("{path}.overrides.{filter}.filter.authorize"))
    })
}

/// Whether a filter says who may call what.
pub(super) fn is_authorization(filter: &Filter) -> bool {
    match filter {
        Filter::Authorize(_) => true,
        Filter::Named(named) => is_authorization(&named.filter),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
