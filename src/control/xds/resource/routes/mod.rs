//! Routes (RDS, and those that listeners hold).

mod action;
mod answer;
mod domain;
mod headers;
mod limit;
mod matches;
mod policy;
mod retry;
mod tracing;

use std::collections::{BTreeMap, HashSet};

use envoy_types::pb::envoy::config::{
    core::v3::Metadata,
    route::v3::{
        Route as PbRoute, RouteConfiguration, VirtualHost as PbHost, route::Action,
        route_action::ClusterSpecifier,
    },
};

pub(super) use self::{
    action::{add_upgrade, mutations, upgrade},
    answer::unavailable,
    headers::Edits,
    limit::descriptors,
    tracing::tags,
};
use super::{
    Context, Dialect, Override, Route, Routes, VirtualHost,
    endpoints::LABELS,
    listener::overrides,
    read::said,
    walk::{Bad, IGNORED, Result, Walk},
};
use crate::{
    config::{self, RateDescriptor, Role, WeightedCluster},
    control::xds::bulk::LONGEST_NAME,
};

/// Where routes of calls that come in lead, if they are answered here.
const HERE: &str = "here";
const DECIDES: &str = "not supported yet, and it decides which rules a call that comes in is asked";
/// Routes of one resource at most.
const MOST_ROUTES: usize = 50_000;
/// Clusters that one virtual host leads to: each is asked for, with its endpoints.
const MOST_CLUSTERS: usize = 8_000;

/// Reads a route configuration.
pub(super) fn routes(
    walk: &mut Walk,
    context: &Context,
    pb: &RouteConfiguration,
) -> Result<Routes> {
    let count: usize = pb.virtual_hosts.iter().map(|host| host.routes.len()).sum();
    if count > MOST_ROUTES {
        let reason = format!("must have at most {MOST_ROUTES} routes");
        return walk.refuse("virtual_hosts", count, reason);
    }
    for (is_said, field) in [
        (pb.vhds.is_some(), "vhds"),
        (!pb.internal_only_headers.is_empty(), "internal_only_headers"),
        (!pb.vhost_header.is_empty(), "vhost_header"),
        (pb.ignore_path_parameters_in_path_matching, "ignore_path_parameters_in_path_matching"),
    ] {
        if is_said && context.role == Role::Receiver {
            return walk.refuse(field, "given", DECIDES);
        }
        walk.note_if(is_said, field, "not supported yet");
    }
    for plugin in &pb.cluster_specifier_plugins {
        let name = plugin.extension.as_ref().map_or("", |it| it.name.as_str());
        if plugin.is_optional {
            walk.note("cluster_specifier_plugins", format!("{name} is not supported yet"));
        } else {
            //= gRFC A28 (cluster specifier plugins): one that is needed must be known
            return walk.refuse("cluster_specifier_plugins", name, "not supported yet");
        }
    }
    let all = Level {
        edits: Edits::read(
            walk,
            &pb.request_headers_to_add,
            &pb.request_headers_to_remove,
            &pb.response_headers_to_add,
            &pb.response_headers_to_remove,
        )?,
        specific_first: pb.most_specific_header_mutations_wins,
        overrides: overrides(walk, context, &pb.typed_per_filter_config)?,
    };
    let mut domains = HashSet::new();
    let hosts = walk.each("virtual_hosts", &pb.virtual_hosts, |walk, host| {
        virtual_host(walk, context, pb, &all, host, &mut domains)
    })?;
    for host in &hosts {
        let clusters = host.clusters();
        if clusters.len() > MOST_CLUSTERS {
            let reason =
                format!("leads to {} clusters, and may lead to {MOST_CLUSTERS}", clusters.len());
            return walk.refuse("virtual_hosts", &host.name, reason);
        }
        if let Some(name) = clusters.into_iter().find(|name| name.len() > LONGEST_NAME) {
            let reason = format!(
                "leads to a cluster whose name has {} bytes, and may have {LONGEST_NAME}",
                name.len()
            );
            return walk.refuse("virtual_hosts", &host.name, reason);
        }
    }
    Ok(Routes {
        name: pb.name.as_str().into(),
        hosts,
        notes: Vec::new(),
        ignore_port: pb.ignore_port_in_host_matching,
    })
}

/// What holds for all of a level.
struct Level {
    edits: Edits,
    specific_first: bool,
    overrides: BTreeMap<String, Override>,
}

fn virtual_host(
    walk: &mut Walk,
    context: &Context,
    all: &RouteConfiguration,
    level: &Level,
    pb: &PbHost,
    seen: &mut HashSet<String>,
) -> Result<VirtualHost> {
    let is_strict = context.dialect == Dialect::Sidecar;
    if pb.domains.is_empty() && is_strict {
        return walk.refuse("domains", "[]", "must not be empty");
    }
    for (index, domain) in pb.domains.iter().enumerate() {
        let field = format!("domains[{index}]");
        domain::check(walk, &field, domain)?;
        if !seen.insert(domain.to_ascii_lowercase()) {
            //= Envoy: a domain stands in one place
            if is_strict {
                return walk.refuse(&field, domain, "is listed twice");
            }
            walk.note(&field, "is listed twice: the first counts");
        }
    }
    let (routes, refused) = match of_host(walk, context, all, level, pb) {
        Ok(routes) => (routes, None),
        // The other hosts are none the worse for it: a sidecar is sent all of a port in one resource.
        Err(Bad::Lacking(reason)) if context.role == Role::Caller => {
            walk.note("", format!("it is refused; its last good routes stay, and without any its calls fail: {reason}"));
            (Vec::new(), Some(reason))
        }
        // A route that is left out is no rule of its own either: who calls would come by another.
        Err(bad) => return Err(bad),
    };
    Ok(VirtualHost { name: pb.name.clone(), domains: pb.domains.clone(), routes, refused })
}

/// The routes of a virtual host.
fn of_host(
    walk: &mut Walk,
    context: &Context,
    all: &RouteConfiguration,
    level: &Level,
    pb: &PbHost,
) -> Result<Vec<Route>> {
    if pb.matcher.is_some() {
        return walk.lacks("matcher", "given", "not supported yet: give `routes`");
    }
    if context.role == Role::Receiver {
        decided(walk, !pb.route_specifiers.is_empty())?;
        if pb.require_tls != 0 {
            let reason = "must be NONE where calls come in: chains say how connections are secured";
            return walk.refuse("require_tls", pb.require_tls, reason);
        }
    }
    for (is_said, field) in [
        (pb.cors.is_some(), "cors"),
        (!pb.virtual_clusters.is_empty(), "virtual_clusters"),
        (pb.retry_policy_typed_config.is_some(), "retry_policy_typed_config"),
        (pb.per_request_buffer_limit_bytes.is_some(), "per_request_buffer_limit_bytes"),
        (!pb.route_specifiers.is_empty(), "route_specifiers"),
    ] {
        walk.note_if(is_said, field, IGNORED);
    }
    // Of who accepts calls: whoever calls `http` there is sent to `https`.
    let why = "no call is redirected: clusters say how connections are secured";
    walk.note_if(pb.require_tls != 0, "require_tls", why);
    let overrides = overrides(walk, context, &pb.typed_per_filter_config)?;
    let edits = Edits::read(
        walk,
        &pb.request_headers_to_add,
        &pb.request_headers_to_remove,
        &pb.response_headers_to_add,
        &pb.response_headers_to_remove,
    )?;
    let describe = descriptors(walk, "rate_limits", &pb.rate_limits)?;
    let host = Host { context, all, level, pb, edits, overrides, describe };
    let routes = walk.each("routes", &pb.routes, |walk, route| host.route(walk, route))?;
    let mut routes: Vec<Route> = routes.into_iter().flatten().collect();
    names(&mut routes);
    Ok(routes)
}

/// Refuses what would choose another route than the one that is read.
fn decided(walk: &Walk, is_said: bool) -> Result<()> {
    if is_said {
        return walk.refuse("route_specifiers", "given", DECIDES);
    }
    Ok(())
}

/// Refuses rules of a cluster where calls come in: which one a call would go to, nobody chooses there.
fn ruled(walk: &Walk, overrides: usize) -> Result<()> {
    if overrides > 0 {
        let reason = "must be empty where calls come in: give it to the route";
        return walk.refuse("typed_per_filter_config", overrides, reason);
    }
    Ok(())
}

/// Makes names of routes unique.
fn names(routes: &mut [Route]) {
    let mut seen: HashSet<String> = HashSet::new();
    for (index, route) in routes.iter_mut().enumerate() {
        if let Some(name) = &mut route.config.name {
            while !seen.insert(name.clone()) {
                *name = format!("{name}#{index}");
            }
        }
    }
}

/// A virtual host, and what holds for all of its routes.
struct Host<'a> {
    context: &'a Context,
    all: &'a RouteConfiguration,
    level: &'a Level,
    pb: &'a PbHost,
    edits: Edits,
    overrides: BTreeMap<String, Override>,
    describe: Vec<RateDescriptor>,
}

// === impl Host ===

impl Host<'_> {
    /// None: it can match nothing here, or leads nowhere by what is known here.
    fn route(&self, walk: &mut Walk, pb: &PbRoute) -> Result<Option<Route>> {
        let Some(rule) = &pb.r#match else {
            return walk.refuse("match", "none", "must be given");
        };
        let mut config = config::Route::default();
        config.name = said(&pb.name);
        if !walk
            .within("match", |walk| matches::rule(walk, self.context.role, rule, &mut config))?
        {
            return Ok(None);
        }
        if self.context.role == Role::Receiver {
            decided(walk, !pb.route_specifiers.is_empty())?;
        }
        for (is_said, field) in [
            (pb.per_request_buffer_limit_bytes.is_some(), "per_request_buffer_limit_bytes"),
            (!pb.route_specifiers.is_empty(), "route_specifiers"),
        ] {
            walk.note_if(is_said, field, IGNORED);
        }
        let own = overrides(walk, self.context, &pb.typed_per_filter_config)?;
        let mut route = Route {
            config,
            overrides: BTreeMap::new(),
            of_clusters: Vec::new(),
            describe: Vec::new(),
        };
        // The nearest says how.
        for level in [&self.level.overrides, &self.overrides, &own] {
            for (name, it) in level {
                let said = it.over(route.overrides.get(name));
                route.overrides.insert(name.clone(), said);
            }
        }
        self.edit(walk, pb, &mut route.config)?;
        if pb.tracing.is_some() || pb.decorator.is_some() {
            route.config.policy.tracing =
                tracing::tracing(walk, pb.tracing.as_ref(), pb.decorator.as_ref())?;
        }
        match &pb.action {
            _ if self.context.role == Role::Receiver => {
                self.receive(walk, pb, &mut route.config)?;
            }
            Some(Action::Route(action)) => {
                let is_routed = walk.within("route", |walk| {
                    action::route(
                        walk,
                        self.context,
                        self.all,
                        self.pb,
                        action,
                        &mut route,
                        &self.describe,
                    )
                })?;
                if !is_routed {
                    return Ok(None);
                }
            }
            Some(Action::Redirect(action)) => {
                walk.within("redirect", |walk| answer::redirect(walk, action, &mut route.config))?;
            }
            Some(Action::DirectResponse(action)) => {
                walk.within("direct_response", |walk| {
                    answer::direct(walk, action, &mut route.config)
                })?;
            }
            //= gRFC A36: a client's call on such a route fails, UNAVAILABLE
            Some(Action::NonForwardingAction(_)) => {
                answer::nowhere(&mut route.config, "the route leads nowhere");
            }
            Some(Action::FilterAction(_)) | None => {
                walk.note("action", "is not given, or not supported yet: calls on it fail");
                answer::nowhere(&mut route.config, "the route has no action that is known");
            }
        }
        let mut service = config::Service::default();
        service.routes = vec![route.config.clone()];
        walk.checked("", service.validate("route"))?;
        Ok(Some(route))
    }

    /// Where calls that come in lead on a route.
    fn receive(&self, walk: &mut Walk, pb: &PbRoute, config: &mut config::Route) -> Result<()> {
        let is_here = match &pb.action {
            Some(Action::NonForwardingAction(_)) => true,
            // A sidecar forwards to whom it stands beside: that is this process.
            Some(Action::Route(action)) => {
                if let Some(ClusterSpecifier::WeightedClusters(it)) = &action.cluster_specifier {
                    for (index, cluster) in it.clusters.iter().enumerate() {
                        walk.at("route.weighted_clusters.clusters", index, |walk| {
                            ruled(walk, cluster.typed_per_filter_config.len())
                        })?;
                    }
                }
                let is_here = self.context.dialect == Dialect::Sidecar;
                if is_here {
                    walk.within("route", |walk| action::upgrades(walk, action, config))?;
                }
                is_here
            }
            Some(Action::Redirect(_) | Action::DirectResponse(_) | Action::FilterAction(_))
            | None => false,
        };
        if is_here {
            config.clusters.push(WeightedCluster::new(HERE));
        } else {
            //= gRFC A36: a call on any other route fails, UNAVAILABLE
            answer::nowhere(config, "the route is not answered here");
        }
        Ok(())
    }

    /// Edits of headers of all levels, in Envoy's order: the nearest first, unless it is to win.
    fn edit(&self, walk: &mut Walk, pb: &PbRoute, config: &mut config::Route) -> Result<()> {
        let own = Edits::read(
            walk,
            &pb.request_headers_to_add,
            &pb.request_headers_to_remove,
            &pb.response_headers_to_add,
            &pb.response_headers_to_remove,
        )?;
        let mut levels = [&own, &self.edits, &self.level.edits];
        if self.level.specific_first {
            levels.reverse();
        }
        for edits in levels {
            config.filters.extend(edits.filters());
        }
        Ok(())
    }
}

/// The labels that a route asks for.
fn subset(
    walk: &mut Walk,
    field: &str,
    metadata: Option<&Metadata>,
) -> Result<BTreeMap<String, String>> {
    let labels = metadata.and_then(|metadata| metadata.filter_metadata.get(LABELS));
    walk.labels(field, labels)
}
