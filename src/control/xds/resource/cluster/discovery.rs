//! Where the endpoints of a cluster come from.

use std::{
    collections::{BTreeMap, HashSet},
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use envoy_types::pb::envoy::{
    config::{
        cluster::v3::{
            Cluster as Pb,
            cluster::{
                ClusterDiscoveryType, CustomClusterType, DiscoveryType, DnsLookupFamily,
                EdsClusterConfig, RefreshRate,
            },
        },
        core::v3::{
            Address as PbAddress, ApiConfigSource, ConfigSource, DnsResolutionConfig,
            SocketAddress, address, api_config_source::ApiType,
            config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
        },
        endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier},
    },
    extensions::clusters::{
        aggregate::v3::ClusterConfig as AggregateCluster,
        common::dns::v3::DnsLookupFamily as TypedFamily, dns::v3::DnsCluster,
    },
};
use envoy_types::pb::google::protobuf;

use super::super::{
    Context, Dialect, EndpointsFrom,
    address::Host,
    endpoints::endpoints,
    read::{YEAR, said, type_name},
    walk::{Result, Walk},
};
use crate::config::{
    self, Address, Discovery, DnsDiscovery, DnsFamily, DnsKind, Health, discovery::DnsTarget,
};

/// Envoy's `dns_refresh_rate` where nothing is said.
const REFRESH: Duration = Duration::from_secs(5);
/// Names of one cluster that DNS is asked for.
const MOST_NAMES: usize = 1_000;
/// Clusters that one is made of: each is asked for, with its endpoints.
const MOST_PARTS: usize = 8_000;
/// The shortest of the model.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

/// Settings of DNS, of whichever message.
struct Dns<'a> {
    refresh: Option<&'a protobuf::Duration>,
    failure: Option<(Option<&'a protobuf::Duration>, Option<&'a protobuf::Duration>)>,
    jitter: Option<&'a protobuf::Duration>,
    respect_ttl: bool,
    family: Option<DnsFamily>,
}

pub(super) fn discovery(
    walk: &mut Walk,
    context: &Context,
    pb: &Pb,
    config: &mut config::Cluster,
) -> Result<EndpointsFrom> {
    let kind = match &pb.cluster_discovery_type {
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return walk
                .within("cluster_type", |walk| custom_type(walk, context, pb, custom, config));
        }
        Some(ClusterDiscoveryType::Type(kind)) => *kind,
        None => 0,
    };
    let is_eds = DiscoveryType::try_from(kind) == Ok(DiscoveryType::Eds);
    if !is_eds && pb.eds_cluster_config.is_some() {
        walk.note("eds_cluster_config", "counts for clusters of type EDS only");
    }
    match DiscoveryType::try_from(kind) {
        Ok(DiscoveryType::Eds) => {
            eds(walk, context.dialect, pb.eds_cluster_config.as_ref(), &pb.name)
        }
        Ok(DiscoveryType::Static) => {
            if let Some(assignment) = &pb.load_assignment {
                listed(walk, context.dialect, assignment, config)?;
            }
            Ok(EndpointsFrom::Inline)
        }
        Ok(DiscoveryType::StrictDns) => of_dns(walk, context, pb, DnsKind::Strict, config),
        Ok(DiscoveryType::LogicalDns) => of_dns(walk, context, pb, DnsKind::Logical, config),
        Ok(DiscoveryType::OriginalDst) => {
            walk.refuse("type", "ORIGINAL_DST", "not supported yet: calls have no original address")
        }
        Err(_) => walk.refuse("type", kind, "is no type of clusters"),
    }
}

fn eds(
    walk: &mut Walk,
    dialect: Dialect,
    eds: Option<&EdsClusterConfig>,
    name: &str,
) -> Result<EndpointsFrom> {
    walk.within("eds_cluster_config", |walk| {
        let service_name = eds.and_then(|eds| said(&eds.service_name));
        if let Some(source) = eds.and_then(|eds| eds.eds_config.as_ref()) {
            from_the_stream(walk, dialect, "eds_config", source)?;
        } else {
            return walk.refuse("eds_config", "none", "must be `ads` or `self`");
        }
        //= gRFC A47: names of the new kind need the service's name
        if service_name.is_none() && name.starts_with("xdstp:") {
            return walk.refuse("service_name", "", "must be given where the cluster is `xdstp:`");
        }
        Ok(EndpointsFrom::Eds { service_name: service_name.map(Arc::from) })
    })
}

/// What is asked for stands on the stream that this came from. Envoy's control planes may name themselves
/// by a cluster of Envoy's bootstrap, which nobody has here: that is the same stream, too, and is told.
pub(in super::super) fn from_the_stream(
    walk: &mut Walk,
    dialect: Dialect,
    field: &str,
    source: &ConfigSource,
) -> Result<()> {
    match &source.config_source_specifier {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Ok(()),
        Some(ConfigSourceSpecifier::ApiConfigSource(api))
            if dialect == Dialect::Sidecar && is_grpc(api) =>
        {
            let reason = "the same control plane is asked, whatever server it names";
            walk.note(&format!("{field}.api_config_source"), reason);
            Ok(())
        }
        Some(ConfigSourceSpecifier::ApiConfigSource(_)) => {
            walk.refuse(field, "api_config_source", "must be `ads` or `self`")
        }
        Some(ConfigSourceSpecifier::Path(_) | ConfigSourceSpecifier::PathConfigSource(_)) => {
            walk.refuse(field, "path", "must be `ads` or `self`")
        }
        None => walk.refuse(field, "none", "must be `ads` or `self`"),
    }
}

/// Whether it is a stream that speaks as ours do.
fn is_grpc(api: &ApiConfigSource) -> bool {
    let kind = ApiType::try_from(api.api_type);
    matches!(
        kind,
        Ok(ApiType::Grpc
            | ApiType::DeltaGrpc
            | ApiType::AggregatedGrpc
            | ApiType::AggregatedDeltaGrpc)
    )
}

/// The endpoints that the configuration lists.
fn listed(
    walk: &mut Walk,
    dialect: Dialect,
    assignment: &ClusterLoadAssignment,
    config: &mut config::Cluster,
) -> Result<()> {
    let read = walk.within("load_assignment", |walk| endpoints(walk, dialect, assignment))?;
    super::join::lay(config, &read, dialect == Dialect::Proxyless);
    Ok(())
}

fn of_dns(
    walk: &mut Walk,
    context: &Context,
    pb: &Pb,
    kind: DnsKind,
    config: &mut config::Cluster,
) -> Result<EndpointsFrom> {
    let family = match DnsLookupFamily::try_from(pb.dns_lookup_family) {
        // gRPC does not read it.
        Ok(DnsLookupFamily::Auto) if context.dialect == Dialect::Proxyless => None,
        Ok(DnsLookupFamily::Auto) => Some(DnsFamily::Auto),
        Ok(DnsLookupFamily::V4Only) => Some(DnsFamily::V4Only),
        Ok(DnsLookupFamily::V6Only) => Some(DnsFamily::V6Only),
        Ok(DnsLookupFamily::V4Preferred) => Some(DnsFamily::V4Preferred),
        Ok(DnsLookupFamily::All) => Some(DnsFamily::All),
        Err(_) => return walk.refuse("dns_lookup_family", pb.dns_lookup_family, "is no family"),
    };
    let settings = Dns {
        refresh: pb.dns_refresh_rate.as_ref(),
        failure: pb.dns_failure_refresh_rate.as_ref().map(
            |RefreshRate { base_interval, max_interval }| {
                (base_interval.as_ref(), max_interval.as_ref())
            },
        ),
        jitter: pb.dns_jitter.as_ref(),
        respect_ttl: pb.respect_dns_ttl,
        family,
    };
    let mut dns = settings.read(walk, context.dialect, kind)?;
    dns.use_tcp = pb.use_tcp_for_dns_lookups.then_some(true);
    dns.resolvers = resolvers(walk, "dns_resolvers", &pb.dns_resolvers)?;
    if let Some(DnsResolutionConfig { resolvers: list, dns_resolver_options }) =
        &pb.dns_resolution_config
    {
        dns.resolvers = resolvers(walk, "dns_resolution_config.resolvers", list)?;
        if let Some(options) = dns_resolver_options {
            dns.use_tcp = options.use_tcp_for_dns_lookups.then_some(true);
        }
    }
    let is_typed = pb.typed_dns_resolver_config.is_some();
    walk.note_if(is_typed, "typed_dns_resolver_config", "the resolver is the mesh's");
    named(walk, context.dialect, pb.load_assignment.as_ref(), dns, config)
}

fn resolvers(walk: &mut Walk, field: &str, list: &[PbAddress]) -> Result<Vec<Address>> {
    walk.each(field, list, |walk, address| walk.address("", Some(address)))
}

impl Dns<'_> {
    fn read(self, walk: &mut Walk, dialect: Dialect, kind: DnsKind) -> Result<DnsDiscovery> {
        let least = |time: Duration| time.max(SHORTEST_REFRESH);
        let mut dns = DnsDiscovery::default();
        dns.kind = kind;
        dns.family = self.family;
        dns.refresh = walk.positive("dns_refresh_rate", self.refresh)?.map(least);
        dns.jitter = walk.bound("dns_jitter", self.jitter)?;
        if dialect == Dialect::Sidecar {
            dns.respect_ttl = Some(self.respect_ttl);
            dns.refresh.get_or_insert(if self.respect_ttl {
                Duration::from_secs(60)
            } else {
                REFRESH
            });
        } else if self.respect_ttl {
            dns.respect_ttl = Some(true);
        }
        if let Some((base, most)) = self.failure {
            walk.within("dns_failure_refresh_rate", |walk| {
                let base = walk.positive("base_interval", base)?.map(least);
                let most = walk.positive("max_interval", most)?.map(least);
                if let (Some(base), Some(most)) = (base, most)
                    && most < base
                {
                    let reason = format!("must be at least base_interval ({base:?})");
                    return walk.refuse("max_interval", format!("{most:?}"), reason);
                }
                dns.failure_refresh = base;
                // Envoy's default is ten times the first.
                dns.failure_refresh_max =
                    most.or_else(|| base.map(|base| base.saturating_mul(10).min(YEAR)));
                Ok(())
            })?;
        }
        Ok(dns)
    }
}

/// The names that DNS is asked for, and addresses, for which nobody is asked.
fn named(
    walk: &mut Walk,
    dialect: Dialect,
    assignment: Option<&ClusterLoadAssignment>,
    mut dns: DnsDiscovery,
    config: &mut config::Cluster,
) -> Result<EndpointsFrom> {
    walk.within("load_assignment", |walk| {
        let Some(assignment) = assignment else {
            return walk.refuse("", "none", "must be given: it says which name is asked for");
        };
        let is_logical = dns.kind == DnsKind::Logical;
        let groups = &assignment.endpoints;
        //= gRFC A37: one locality with one endpoint
        if is_logical && (groups.len() != 1 || groups[0].lb_endpoints.len() != 1) {
            let count: usize = groups.iter().map(|group| group.lb_endpoints.len()).sum();
            let value = format!("{} localities, {count} endpoints", groups.len());
            return walk.refuse("endpoints", value, "must be one locality with one endpoint");
        }
        let (assignment, names) = placed(walk, assignment, is_logical)?;
        if names.is_empty() && assignment.endpoints.iter().all(|it| it.lb_endpoints.is_empty()) {
            return walk.refuse("endpoints", "[]", "must say which name is asked for");
        }
        let read = endpoints(walk, dialect, &assignment)?;
        super::join::lay(config, &read, dialect == Dialect::Proxyless);
        if names.is_empty() {
            return Ok(EndpointsFrom::Inline);
        }
        let all = std::mem::take(&mut config.endpoints);
        for mut endpoint in all {
            match names.get(&endpoint.address) {
                None => config.endpoints.push(endpoint),
                Some((host, port)) => {
                    if !endpoint.more_addresses.is_empty() {
                        walk.note("endpoints", "further addresses of a name count for nothing");
                        endpoint.more_addresses.clear();
                    }
                    let name = format!("dns:///{host}:{port}");
                    endpoint.hostname.get_or_insert_with(|| host.clone());
                    dns.targets.push(DnsTarget { name, endpoint });
                }
            }
        }
        let Some(first) = dns.targets.first() else {
            // gRPC: of localities without a weight nobody gets anything.
            return walk.refuse("endpoints", "no weights", "must say which name is asked for");
        };
        dns.name.clone_from(&first.name);
        // One name of which no more is said.
        let is_bare = |target: &DnsTarget| {
            let mut endpoint = target.endpoint.clone();
            (endpoint.weight, endpoint.hostname) = (1, None);
            endpoint.is_plain() && endpoint.health == Health::Unknown
        };
        if config.endpoints.is_empty()
            && let [only] = dns.targets.as_slice()
            && is_bare(only)
            && only.endpoint.hostname.as_deref() == names.values().next().map(|(host, _)| &**host)
        {
            dns.targets.clear();
        }
        config.discovery = Some(Discovery::Dns(dns));
        Ok(EndpointsFrom::Dns)
    })
}

/// An assignment that is read as any other: addresses stand in it for the names that DNS is asked for.
type Placed = (ClusterLoadAssignment, BTreeMap<Address, (String, u16)>);

fn placed(walk: &mut Walk, pb: &ClusterLoadAssignment, is_logical: bool) -> Result<Placed> {
    let mut pb = pb.clone();
    let mut names = BTreeMap::<Address, (String, u16)>::new();
    let mut seen = HashSet::new();
    for (outer, group) in pb.endpoints.iter_mut().enumerate() {
        let mut kept = Vec::with_capacity(group.lb_endpoints.len());
        for (inner, mut item) in std::mem::take(&mut group.lb_endpoints).into_iter().enumerate() {
            let field = format!("endpoints[{outer}].lb_endpoints[{inner}].endpoint");
            let Some(HostIdentifier::Endpoint(it)) = &mut item.host_identifier else {
                return walk.refuse(&field, "none", "must be given");
            };
            let name = match walk.host(&format!("{field}.address"), it.address.as_ref())? {
                Host::Name(name, port) => (name.to_ascii_lowercase(), port),
                Host::Address(Address::Unix(path)) => {
                    return walk.refuse(&field, path.display(), "must be a name or an IP address");
                }
                Host::Address(address) if is_logical => host_and_port(&address),
                Host::Address(_) => {
                    kept.push(item);
                    continue;
                }
            };
            if !seen.insert(name.clone()) {
                walk.note(
                    &field,
                    format!("{}:{} is there twice: the first counts", name.0, name.1),
                );
                continue;
            }
            let place = u16::try_from(names.len()).unwrap_or(u16::MAX);
            if usize::from(place) >= MOST_NAMES {
                let reason = format!("must be one of at most {MOST_NAMES} names");
                return walk.refuse(&field, name.0, reason);
            }
            // Of a range that nobody is reached at (RFC 6666).
            let ip = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, place);
            it.address = Some(stands_for(ip));
            names.insert(SocketAddr::from((ip, 1)).into(), name);
            kept.push(item);
        }
        group.lb_endpoints = kept;
    }
    Ok((pb, names))
}

fn stands_for(ip: Ipv6Addr) -> PbAddress {
    let socket = SocketAddress {
        address: ip.to_string(),
        port_specifier: Some(PortSpecifier::PortValue(1)),
        ..SocketAddress::default()
    };
    PbAddress { address: Some(address::Address::SocketAddress(socket)) }
}

fn host_and_port(address: &Address) -> (String, u16) {
    match address {
        Address::Socket(socket) if socket.is_ipv6() => {
            (format!("[{}]", socket.ip()), socket.port())
        }
        Address::Socket(socket) => (socket.ip().to_string(), socket.port()),
        Address::Unix(path) => (path.display().to_string(), 0),
    }
}

fn custom_type(
    walk: &mut Walk,
    context: &Context,
    pb: &Pb,
    custom: &CustomClusterType,
    config: &mut config::Cluster,
) -> Result<EndpointsFrom> {
    let Some(any) = &custom.typed_config else {
        return walk.refuse("typed_config", "none", "must be given");
    };
    match type_name(&any.type_url) {
        "envoy.extensions.clusters.aggregate.v3.ClusterConfig" => {
            let AggregateCluster { clusters } = walk.unpack("typed_config", any)?;
            aggregate(walk, &pb.name, &clusters)
        }
        "envoy.extensions.clusters.dns.v3.DnsCluster" => {
            let dns: DnsCluster = walk.unpack("typed_config", any)?;
            let dns = walk.within("typed_config", |walk| typed_dns(walk, context, &dns))?;
            named(walk, context.dialect, pb.load_assignment.as_ref(), dns, config)
        }
        other => walk.refuse("typed_config", other, "not supported yet"),
    }
}

fn typed_dns(walk: &mut Walk, context: &Context, pb: &DnsCluster) -> Result<DnsDiscovery> {
    let DnsCluster {
        dns_refresh_rate,
        dns_failure_refresh_rate,
        respect_dns_ttl,
        dns_jitter,
        typed_dns_resolver_config,
        dns_lookup_family,
        all_addresses_in_single_endpoint,
        dns_min_refresh_rate,
    } = pb;
    let family = match TypedFamily::try_from(*dns_lookup_family) {
        Ok(TypedFamily::Unspecified) => None,
        Ok(TypedFamily::Auto) => Some(DnsFamily::Auto),
        Ok(TypedFamily::V4Only) => Some(DnsFamily::V4Only),
        Ok(TypedFamily::V6Only) => Some(DnsFamily::V6Only),
        Ok(TypedFamily::V4Preferred) => Some(DnsFamily::V4Preferred),
        Ok(TypedFamily::All) => Some(DnsFamily::All),
        Err(_) => return walk.refuse("dns_lookup_family", dns_lookup_family, "is no family"),
    };
    let settings = Dns {
        refresh: dns_refresh_rate.as_ref(),
        failure: dns_failure_refresh_rate
            .as_ref()
            .map(|rate| (rate.base_interval.as_ref(), rate.max_interval.as_ref())),
        jitter: dns_jitter.as_ref(),
        respect_ttl: *respect_dns_ttl,
        family,
    };
    let kind = if *all_addresses_in_single_endpoint { DnsKind::Logical } else { DnsKind::Strict };
    let is_typed = typed_dns_resolver_config.is_some();
    walk.note_if(is_typed, "typed_dns_resolver_config", "the resolver is the mesh's");
    walk.note_if(dns_min_refresh_rate.is_some(), "dns_min_refresh_rate", "is 1 s here");
    settings.read(walk, context.dialect, kind)
}

fn aggregate(walk: &mut Walk, name: &str, clusters: &[String]) -> Result<EndpointsFrom> {
    if clusters.len() > MOST_PARTS {
        let reason = format!("must be at most {MOST_PARTS}");
        return walk.refuse("typed_config.clusters", clusters.len(), reason);
    }
    let (mut list, mut seen) = (Vec::<Arc<str>>::new(), HashSet::new());
    for (index, cluster) in clusters.iter().enumerate() {
        let field = format!("typed_config.clusters[{index}]");
        if cluster.is_empty() {
            return walk.refuse(&field, "", "must not be empty");
        }
        if cluster == name {
            return walk.refuse(&field, cluster, "a cluster does not take over from itself");
        }
        //= gRFC A37: of one that is there twice, the first place counts
        if seen.insert(cluster) {
            list.push(cluster.as_str().into());
        }
    }
    if list.is_empty() {
        return walk.refuse("typed_config.clusters", "[]", "must not be empty");
    }
    Ok(EndpointsFrom::Aggregate(list))
}
