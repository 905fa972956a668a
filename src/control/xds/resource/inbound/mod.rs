//! Listeners of calls that come in (gRFC A36, A41): those of gRPC, and those of a sidecar.
//!
//! What cannot be enforced refuses the listener. What is no HTTP is read to be told apart from it, and no further: nothing
//! here serves it.

mod before;
mod matches;
mod overlap;
mod routes;
mod types;

use std::collections::BTreeMap;

use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::transport_socket::ConfigType as SocketConfig,
            listener::v3::{
                Filter as PbFilter, FilterChain, Listener as Pb, ListenerFilter,
                filter::ConfigType as ChainConfig, listener_filter::ConfigType as ListenerConfig,
            },
            route::v3::RouteConfiguration,
        },
        extensions::{
            filters::network::http_connection_manager::v3::HttpConnectionManager as Manager,
            transport_sockets::tls::v3::DownstreamTlsContext,
        },
    },
    google::protobuf::Any,
};

pub use self::types::{
    Inbound, InboundChain, InboundFilter, InboundHost, InboundHttp, InboundMatch, InboundPort,
    InboundRoute, InboundRoutes, InboundSecurity, InboundSlashes, InboundSource,
    InboundUnderscores,
};
use super::{
    Context, Dialect, Kind, Refused, Routes, RoutesFrom, bounded, cluster,
    listener::{MANAGER, listens_at, manager_of},
    message,
    read::{TypedStruct, bools, type_name},
    refused,
    routes::routes as routes_of,
    walk::{IGNORED, Result, Walk},
};
use crate::config::IdentityFiles;

/// Chains of one listener at most.
const MOST_CHAINS: usize = 2_000;
const TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const TCP: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
/// Filters of a sidecar's connections that tell who is there, and change nothing.
const LOOKING: [&str; 3] = [
    "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
];
/// Filters of a sidecar's chains ahead of HTTP that only tell of them.
const HARMLESS: [&str; 2] =
    ["envoy.tcp.metadataexchange.config.MetadataExchange", "stats.PluginConfig"];
const COMES_IN: &str = "not supported yet, and it decides whose calls come in where";

/// Reads a listener: `value` is what stands inside of its `Any`.
///
/// # Errors
///
/// What of it cannot be used: the field's place, its value and why.
pub(crate) fn decode(context: &Context, value: &[u8]) -> std::result::Result<Inbound, Refused> {
    bounded(Kind::Listener, value)?;
    let pb: Pb = message(value)?;
    let mut walk = Walk::new();
    let read = listener(&mut walk, context, &pb);
    let mut read = read.map_err(|bad| refused(&pb.name, bad))?;
    read.own_notes = walk.notes();
    read.notes.clone_from(&read.own_notes);
    Ok(read)
}

/// The same listener, with the routes that chains of it have by the name of this resource, in the place of those that
/// they had by it.
///
/// # Errors
///
/// What of them cannot be used, and that no chain has routes by this name.
pub(crate) fn with_routes(
    context: &Context,
    inbound: &Inbound,
    value: &[u8],
) -> std::result::Result<Inbound, Refused> {
    bounded(Kind::Routes, value)?;
    let pb: RouteConfiguration = message(value)?;
    let mut walk = Walk::new();
    let read = routes_of(&mut walk, context, &pb).and_then(|read| place(&walk, inbound, &read));
    let mut read = read.map_err(|bad| refused(&pb.name, bad))?;
    read.route_notes.insert(pb.name, walk.notes());
    read.notes.clone_from(&read.own_notes);
    read.notes.extend(read.route_notes.values().flatten().cloned());
    Ok(read)
}

fn place(walk: &Walk, inbound: &Inbound, read: &Routes) -> Result<Inbound> {
    let mut inbound = inbound.clone();
    let mut is_named = false;
    for chain in inbound.chains.iter_mut().chain(&mut inbound.default_chain) {
        if let Some(http) = &mut chain.http
            && http.routes_name.as_deref() == Some(&*read.name)
        {
            http.routes = InboundRoutes::Hosts(routes::hosts(walk, http, read)?);
            is_named = true;
        }
    }
    if !is_named {
        return walk.refuse("name", &read.name, "is not that of routes of the listener");
    }
    Ok(inbound)
}

fn listener(walk: &mut Walk, context: &Context, pb: &Pb) -> Result<Inbound> {
    if pb.name.is_empty() {
        return walk.refuse("name", "", "must not be empty");
    }
    let is_strict = context.dialect == Dialect::Proxyless;
    //= gRFC A36: none of these is said to a server of gRPC
    for (is_said, field) in [
        (pb.api_listener.is_some(), "api_listener"),
        (pb.filter_chain_matcher.is_some(), "filter_chain_matcher"),
        (pb.fcds_config.is_some(), "fcds_config"),
        (pb.udp_listener_config.is_some(), "udp_listener_config"),
        (pb.listener_specifier.is_some(), "listener_specifier"),
        (is_strict && bools(pb.use_original_dst.as_ref()) == Some(true), "use_original_dst"),
    ] {
        if is_said {
            return walk.refuse(field, "given", COMES_IN);
        }
    }
    for (index, filter) in pb.listener_filters.iter().enumerate() {
        walk.at("listener_filters", index, |walk| looks(walk, is_strict, filter))?;
    }
    let Some(address) = listens_at(pb.address.as_ref()) else {
        let reason = "must be an IP address and the number of a port";
        return walk.refuse("address", "another", reason);
    };
    for (is_said, field) in [
        (!pb.access_log.is_empty(), "access_log"),
        (!pb.additional_addresses.is_empty(), "additional_addresses"),
    ] {
        walk.note_if(is_said, field, IGNORED);
    }
    if pb.filter_chains.is_empty() && pb.default_filter_chain.is_none() {
        return walk.refuse("filter_chains", "[]", "must have one, or `default_filter_chain`");
    }
    if pb.filter_chains.len() > MOST_CHAINS {
        let reason = format!("must be at most {MOST_CHAINS}");
        return walk.refuse("filter_chains", pb.filter_chains.len(), reason);
    }
    let mut identities = BTreeMap::new();
    let chains = walk.each("filter_chains", &pb.filter_chains, |walk, pb| {
        chain(walk, context, pb, &mut identities)
    })?;
    overlap::check(walk, &chains)?;
    let default_chain = match &pb.default_filter_chain {
        Some(pb) => Some(
            walk.within("default_filter_chain", |walk| chain(walk, context, pb, &mut identities))?,
        ),
        None => None,
    };
    Ok(Inbound {
        name: pb.name.clone(),
        address,
        chains,
        default_chain,
        identities,
        notes: Vec::new(),
        own_notes: Vec::new(),
        route_notes: BTreeMap::new(),
    })
}

/// A filter ahead of the choice of a chain: those of a sidecar look at who is there.
fn looks(walk: &Walk, is_strict: bool, pb: &ListenerFilter) -> Result<()> {
    let url = match &pb.config_type {
        Some(ListenerConfig::TypedConfig(any)) => type_name(&any.type_url),
        Some(ListenerConfig::ConfigDiscovery(_)) | None => "none",
    };
    if is_strict || !LOOKING.contains(&url) {
        return walk.refuse("typed_config", url, COMES_IN);
    }
    Ok(())
}

fn chain(
    walk: &mut Walk,
    context: &Context,
    pb: &FilterChain,
    identities: &mut BTreeMap<String, IdentityFiles>,
) -> Result<InboundChain> {
    let FilterChain {
        filter_chain_match,
        filters,
        use_proxy_proto,
        metadata: _,
        transport_socket,
        transport_socket_connect_timeout: _,
        name,
    } = pb;
    if bools(use_proxy_proto.as_ref()) == Some(true) {
        return walk.refuse("use_proxy_proto", true, COMES_IN);
    }
    let matches = match filter_chain_match {
        Some(pb) => walk.within("filter_chain_match", |walk| matches::matches(walk, pb))?,
        None => InboundMatch::default(),
    };
    let socket = transport_socket.as_ref().map(|socket| match &socket.config_type {
        Some(SocketConfig::TypedConfig(any)) => (type_name(&any.type_url), Some(any)),
        None => ("none", None),
    });
    let http = http(walk, context, filters)?;
    let security = match socket {
        None | Some((RAW, _)) => None,
        Some((TLS, Some(any))) => Some(walk.within("transport_socket", |walk| {
            let pb: DownstreamTlsContext = walk.unpack("typed_config", any)?;
            let read = walk.within("typed_config", |walk| cluster::received(walk, context, &pb))?;
            identities.extend(read.files);
            Ok(InboundSecurity {
                requires_certificate: read.requires_certificate,
                tls: read.security,
            })
        })?),
        Some((url, _)) => return walk.refuse("transport_socket", url, COMES_IN),
    };
    Ok(InboundChain { name: name.clone(), matches, security, http })
}

/// What the requests of a chain meet; nothing of one that is no HTTP.
fn http(walk: &mut Walk, context: &Context, list: &[PbFilter]) -> Result<Option<InboundHttp>> {
    let is_sidecar = context.dialect == Dialect::Sidecar;
    let mut types = Vec::with_capacity(list.len());
    for (index, filter) in list.iter().enumerate() {
        types.push(walk.at("filters", index, |walk| type_of(walk, filter))?);
    }
    let Some(place) = types.iter().position(|(url, _)| url == MANAGER) else {
        if is_sidecar && types.iter().any(|(url, _)| url == TCP) {
            walk.note("filters", "is no HTTP: its connections are refused");
            return Ok(None);
        }
        let count = list.len();
        return walk.refuse("filters", count, "must have an HttpConnectionManager");
    };
    for (index, (url, _)) in types.iter().enumerate() {
        //= gRFC A36: it is alone
        let is_harmless = is_sidecar && HARMLESS.contains(&url.as_str());
        if index != place && !is_harmless {
            return walk.refuse(&format!("filters[{index}].typed_config"), url, COMES_IN);
        }
    }
    walk.at("filters", place, |walk| {
        let Some((_, Some(any))) = types.get(place) else {
            return walk.refuse("typed_config", "none", "must be given");
        };
        let pb: Manager = walk.unpack("typed_config", any)?;
        walk.within("typed_config", |walk| manager(walk, context, &pb)).map(Some)
    })
}

/// What a filter is, by its type or, of a struct, by the one that it names.
fn type_of<'a>(walk: &Walk, pb: &'a PbFilter) -> Result<(String, Option<&'a Any>)> {
    let any = match &pb.config_type {
        Some(ChainConfig::TypedConfig(any)) => any,
        Some(ChainConfig::ConfigDiscovery(_)) | None => return Ok(("none".to_owned(), None)),
    };
    let url = type_name(&any.type_url);
    if !TypedStruct::is_type(url) {
        return Ok((url.to_owned(), Some(any)));
    }
    let typed: TypedStruct = walk.unpack("typed_config", any)?;
    let name = type_name(&typed.type_url);
    let name =
        if HARMLESS.contains(&name) { name.to_owned() } else { format!("TypedStruct {name}") };
    Ok((name, Some(any)))
}

fn manager(walk: &mut Walk, context: &Context, pb: &Manager) -> Result<InboundHttp> {
    let read = manager_of(walk, context, "", pb)?;
    let escaped_slashes = before::slashes(walk, pb)?;
    let port = before::port(walk, pb)?;
    let underscores = before::underscores(walk, pb)?;
    let mut filters = Vec::with_capacity(read.filters.len());
    for filter in &read.filters {
        let rules = routes::rules(walk, &filter.name, &filter.steps)?;
        filters.push(InboundFilter { name: filter.name.clone(), disabled: filter.disabled, rules });
    }
    let mut http = InboundHttp {
        filters,
        routes: InboundRoutes::Hosts(Vec::new()),
        routes_name: None,
        normalize_path: bools(pb.normalize_path.as_ref()) == Some(true),
        merge_slashes: pb.merge_slashes,
        escaped_slashes,
        port,
        strip_trailing_dot: pb.strip_trailing_host_dot,
        underscores,
        upgrades: read.upgrades,
        unknown: read.unknown,
    };
    http.routes = match &read.routes {
        RoutesFrom::Named(name) => {
            http.routes_name = Some(name.to_string());
            InboundRoutes::Named(name.to_string())
        }
        RoutesFrom::Inline(read) => InboundRoutes::Hosts(routes::hosts(walk, &http, read)?),
    };
    Ok(http)
}
