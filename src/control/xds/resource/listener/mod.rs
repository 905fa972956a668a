//! Listeners (LDS): where the routes are, and what every call passes.

mod compose;
mod filter;
mod limit;
mod rbac;
mod session;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use envoy_types::pb::envoy::{
    config::{
        core::v3::{Address, HttpProtocolOptions, address, socket_address::PortSpecifier},
        listener::v3::{
            ApiListener, FilterChain, Listener as Pb, filter::ConfigType as ChainConfig,
        },
    },
    extensions::filters::network::http_connection_manager::v3::{
        HttpConnectionManager as Manager, Rds,
        http_connection_manager::{RouteSpecifier, StripPortMode, Tracing as PbTracing},
    },
};

pub(super) use self::filter::overrides;
use super::{
    Context, Dialect, Listener, RoutesFrom,
    cluster::from_the_stream,
    read::{YEAR, bools, type_name},
    routes::{add_upgrade, routes, tags, upgrade},
    walk::{IGNORED, Result, Walk},
};
use crate::config::{Policy, Role, Tracing};

pub(super) const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
/// Envoy's idle time of a stream where nothing is said.
const IDLE: Duration = Duration::from_secs(300);

/// Reads a listener.
pub(super) fn listener(walk: &mut Walk, context: &Context, pb: &Pb) -> Result<Listener> {
    if pb.name.is_empty() {
        return walk.refuse("name", "", "must not be empty");
    }
    let (mut read, address) = match &pb.api_listener {
        Some(ApiListener { api_listener }) => walk.within("api_listener", |walk| {
            let url = api_listener.as_ref().map_or("none", |any| type_name(&any.type_url));
            let Some(any) = api_listener.as_ref().filter(|_| url == MANAGER) else {
                return walk.refuse("api_listener", url, "must be an HttpConnectionManager");
            };
            let manager: Manager = walk.unpack("api_listener", any)?;
            Ok((manager_of(walk, context, &pb.name, &manager)?, None))
        })?,
        None => (of_chains(walk, context, pb)?, listens_at(pb.address.as_ref())),
    };
    read.address = address;
    walk.note_if(!pb.access_log.is_empty(), "access_log", IGNORED);
    compose::check(walk, &read)?;
    Ok(read)
}

pub(super) fn listens_at(address: Option<&Address>) -> Option<SocketAddr> {
    let Some(address::Address::SocketAddress(socket)) = address?.address.as_ref() else {
        return None;
    };
    let port = match socket.port_specifier.as_ref()? {
        PortSpecifier::PortValue(port) => u16::try_from(*port).ok()?,
        PortSpecifier::NamedPort(_) => return None,
    };
    Some(SocketAddr::new(socket.address.parse().ok()?, port))
}

/// The first chain that speaks HTTP: what a sidecar's listener has for a port.
fn of_chains(walk: &mut Walk, context: &Context, pb: &Pb) -> Result<Listener> {
    let chains = pb.filter_chains.iter().chain(&pb.default_filter_chain);
    for (index, FilterChain { filters, .. }) in chains.enumerate() {
        for (place, filter) in filters.iter().enumerate() {
            let Some(ChainConfig::TypedConfig(any)) = &filter.config_type else { continue };
            if type_name(&any.type_url) != MANAGER {
                continue;
            }
            return walk.within(&format!("filter_chains[{index}].filters[{place}]"), |walk| {
                let manager: Manager = walk.unpack("typed_config", any)?;
                manager_of(walk, context, &pb.name, &manager)
            });
        }
    }
    let reason = "must have an HttpConnectionManager: TCP, and TLS that is passed through, are not \
                  supported yet. Istio's ports named `tcp`, `tls` and `https` are of this kind: name \
                  one that speaks HTTP `http`, and say its TLS in a DestinationRule";
    walk.refuse("filter_chains", pb.filter_chains.len(), reason)
}

pub(super) fn manager_of(
    walk: &mut Walk,
    context: &Context,
    name: &str,
    pb: &Manager,
) -> Result<Listener> {
    if context.dialect == Dialect::Proxyless || context.role == Role::Receiver {
        //= gRFC A41: who calls is never read from headers
        if pb.xff_num_trusted_hops != 0 {
            return walk.refuse("xff_num_trusted_hops", pb.xff_num_trusted_hops, "must be 0");
        }
        if !pb.original_ip_detection_extensions.is_empty() {
            let count = pb.original_ip_detection_extensions.len();
            return walk.refuse("original_ip_detection_extensions", count, "must be empty");
        }
    }
    if context.role == Role::Receiver && !pb.early_header_mutation_extensions.is_empty() {
        let count = pb.early_header_mutation_extensions.len();
        let reason = "must be empty where calls come in: rules would see other headers";
        return walk.refuse("early_header_mutation_extensions", count, reason);
    }
    let routes = match &pb.route_specifier {
        Some(RouteSpecifier::Rds(Rds { config_source, route_config_name })) => {
            walk.within("rds", |walk| {
                if route_config_name.is_empty() {
                    return walk.refuse("route_config_name", "", "must not be empty");
                }
                match config_source {
                    Some(source) => {
                        from_the_stream(walk, context.dialect, "config_source", source)?;
                    }
                    None => return walk.refuse("config_source", "none", "must be `ads` or `self`"),
                }
                Ok(RoutesFrom::Named(route_config_name.as_str().into()))
            })?
        }
        Some(RouteSpecifier::RouteConfig(config)) => {
            let mut read = walk.within("route_config", |walk| routes(walk, context, config))?;
            if strips_port(pb) {
                read.ignore_port = true;
            }
            RoutesFrom::Inline(Arc::new(read))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => {
            return walk.refuse("scoped_routes", "given", "not supported yet");
        }
        None => return walk.refuse("route_specifier", "none", "must be given"),
    };
    let (filters, unknown) = filter::chain(walk, context, &pb.http_filters)?;
    let policy = policy(walk, context.dialect, pb)?;
    for (is_said, field) in [
        (pb.local_reply_config.is_some(), "local_reply_config"),
        (!pb.early_header_mutation_extensions.is_empty(), "early_header_mutation_extensions"),
        (!pb.access_log.is_empty(), "access_log"),
    ] {
        walk.note_if(is_said, field, IGNORED);
    }
    let mut upgrades = Vec::new();
    for (index, pb) in pb.upgrade_configs.iter().enumerate() {
        let field = format!("upgrade_configs[{index}]");
        let filters = format!("{field}.filters");
        //= Envoy: they stand in the place of those of the listener, its rules among them
        if context.role == Role::Receiver && !pb.filters.is_empty() {
            let reason =
                "must be empty where calls come in: upgrades would be asked by other rules";
            return walk.refuse(&filters, pb.filters.len(), reason);
        }
        walk.note_if(!pb.filters.is_empty(), &filters, IGNORED);
        let is_off = bools(pb.enabled.as_ref()) == Some(false);
        add_upgrade(&mut upgrades, upgrade(walk, &field, &pb.upgrade_type, is_off)?);
    }
    let listener = Listener {
        name: name.into(),
        routes,
        filters,
        unknown,
        policy,
        address: None,
        ignore_port: strips_port(pb),
        upgrades,
        notes: Vec::new(),
    };
    if let RoutesFrom::Inline(routes) = &listener.routes
        && let Some(reason) = routes
            .hosts
            .iter()
            .filter(|host| host.refused.is_none())
            .find_map(|host| listener.lacks(host))
    {
        return walk.refuse("route_config", "", reason);
    }
    Ok(listener)
}

/// Whether the port of an authority counts for nothing.
fn strips_port(pb: &Manager) -> bool {
    matches!(pb.strip_port_mode, Some(StripPortMode::StripAnyHostPort(true)))
}

/// What every call obeys.
fn policy(walk: &mut Walk, dialect: Dialect, pb: &Manager) -> Result<Policy> {
    let mut policy = Policy::default();
    if let Some(HttpProtocolOptions { max_stream_duration, .. }) = &pb.common_http_protocol_options
    {
        let most = walk.time(
            "common_http_protocol_options.max_stream_duration",
            max_stream_duration.as_ref(),
        )?;
        policy.max_stream_duration = most.map(|most| most.min(YEAR));
    }
    let idle = walk.time("stream_idle_timeout", pb.stream_idle_timeout.as_ref())?;
    policy.idle_timeout = match idle {
        Some(idle) => Some(idle.min(YEAR)),
        None => (dialect == Dialect::Sidecar).then_some(IDLE),
    };
    if let Some(pb) = &pb.tracing {
        walk.within("tracing", |walk| {
            let PbTracing {
                client_sampling, random_sampling, overall_sampling, custom_tags, ..
            } = pb;
            let mut read = Tracing::default();
            read.client_percent = walk.percent("client_sampling", client_sampling.as_ref())?;
            read.random_percent = walk.percent("random_sampling", random_sampling.as_ref())?;
            read.overall_percent = walk.percent("overall_sampling", overall_sampling.as_ref())?;
            tags(walk, custom_tags, &mut read);
            policy.tracing = (read != Tracing::default()).then_some(read);
            Ok(())
        })?;
    }
    Ok(policy)
}
