//! Endpoints (EDS, and those that clusters list).

mod again;
mod layout;
mod list;
mod sample;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use envoy_types::pb::envoy::config::{
    core::v3::{HealthStatus, Locality as PbLocality, Metadata},
    endpoint::v3::{
        self as endpoint, ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints,
        lb_endpoint::HostIdentifier, locality_lb_endpoints::LbConfig,
    },
};

pub(super) use self::again::again;
pub(crate) use self::list::{Changes, List};
use super::{
    Dialect, Endpoints,
    address::is_internal,
    read::{in_order, said, u32s},
    walk::{IGNORED, Result, Walk},
};
use crate::config::{Address, DropOverload, Endpoint, Health, Locality, LocalityWeight};

/// The largest weight of an endpoint in the model.
const HEAVIEST: u32 = 65_535;
/// The namespace of labels that balancers look at.
pub(super) const LABELS: &str = "envoy.lb";
/// So many further addresses may an endpoint have.
const MOST_ADDRESSES: usize = 15;

/// Reads an assignment.
pub(super) fn endpoints(
    walk: &mut Walk,
    dialect: Dialect,
    assignment: &ClusterLoadAssignment,
) -> Result<Endpoints> {
    let ClusterLoadAssignment { cluster_name, endpoints, named_endpoints, policy } = assignment;
    if cluster_name.is_empty() {
        return walk.refuse("cluster_name", "", "must not be empty");
    }
    walk.note_if(!named_endpoints.is_empty(), "named_endpoints", IGNORED);
    let mut read = Endpoints { name: cluster_name.as_str().into(), ..Endpoints::default() };
    if let Some(policy) = policy {
        walk.within(POLICY, |walk| read_policy(walk, dialect, policy, &mut read))?;
    }
    read.endpoints = localities(walk, dialect, endpoints, &mut read.localities)?;
    let inside = || endpoints.iter().flat_map(listed).filter(|item| is_inside(item)).count();
    if read.endpoints.len() == 0 && inside() > 0 {
        let reason = format!("{INSIDE}, and none is left");
        return walk.lacks("endpoints.address.envoy_internal_address", inside(), reason);
    }
    Ok(read)
}

/// The endpoints of a locality, wherever they stand.
fn listed(group: &LocalityLbEndpoints) -> &[LbEndpoint] {
    match &group.lb_config {
        Some(LbConfig::LoadBalancerEndpoints(list)) => &list.lb_endpoints,
        _ => &group.lb_endpoints,
    }
}

/// Whether an endpoint is reached through a listener inside of Envoy: Istio's ambient mode has its tunnels
/// there.
fn is_inside(item: &LbEndpoint) -> bool {
    let Some(HostIdentifier::Endpoint(it)) = &item.host_identifier else { return false };
    let more = it.additional_addresses.iter().map(|it| it.address.as_ref());
    std::iter::once(it.address.as_ref()).chain(more).any(is_internal)
}

const INSIDE: &str =
    "leads to a listener inside of Envoy (HBONE), which is not spoken: such endpoints are left out";

/// The field of what counts for all endpoints.
const POLICY: &str = "policy";
/// gRPC looks at neither field of how priorities share.
const STAYS: &str =
    "counts for nothing, as to gRPC: a priority keeps all calls while one endpoint of it works";

fn read_policy(
    walk: &mut Walk,
    dialect: Dialect,
    policy: &endpoint::cluster_load_assignment::Policy,
    read: &mut Endpoints,
) -> Result<()> {
    let endpoint::cluster_load_assignment::Policy {
        drop_overloads,
        overprovisioning_factor,
        endpoint_stale_after,
        weighted_priority_health,
    } = policy;
    read.drops = walk.each("drop_overloads", drop_overloads, |walk, drop| {
        let percent = walk.fraction("drop_percentage", drop.drop_percentage.as_ref())?;
        Ok(DropOverload { category: drop.category.clone(), percent: percent.unwrap_or(0.0) })
    })?;
    let mut seen = HashSet::new();
    for (index, DropOverload { category, .. }) in read.drops.iter().enumerate() {
        let field = format!("drop_overloads[{index}].category");
        if category.is_empty() {
            return walk.refuse(&field, "", "must not be empty");
        }
        if !seen.insert(category) {
            return walk.refuse(&field, category, "is listed twice");
        }
    }
    //= gRFC A20: how priorities share is not the plane's to say
    let is_grpc = dialect == Dialect::Proxyless;
    read.overprovisioning = match u32s(overprovisioning_factor.as_ref()) {
        Some(0) => return walk.refuse("overprovisioning_factor", 0, "must be over 0"),
        Some(_) if is_grpc => {
            walk.note("overprovisioning_factor", STAYS);
            None
        }
        Some(percent) if percent < 100 => {
            walk.note("overprovisioning_factor", "under 100 counts as 100");
            Some(100)
        }
        percent => percent,
    };
    read.stale_after = walk.bound("endpoint_stale_after", endpoint_stale_after.as_ref())?;
    walk.note_if(
        read.stale_after.is_some(),
        "endpoint_stale_after",
        "not supported yet: the last endpoints stay",
    );
    walk.note_if(is_grpc && *weighted_priority_health, "weighted_priority_health", STAYS);
    read.weighted_health = *weighted_priority_health && !is_grpc;
    Ok(())
}

fn localities(
    walk: &mut Walk,
    dialect: Dialect,
    all: &[LocalityLbEndpoints],
    weights: &mut Vec<LocalityWeight>,
) -> Result<List> {
    let mut read = Vec::new();
    let is_weighted = all.iter().any(|it| u32s(it.load_balancing_weight.as_ref()) > Some(0));
    let mut priorities = BTreeSet::new();
    let mut sums: BTreeMap<u32, u64> = BTreeMap::new();
    let mut places = HashSet::new();
    let mut addresses = HashSet::new();
    for (index, group) in all.iter().enumerate() {
        walk.at("endpoints", index, |walk| {
            let weight = u32s(group.load_balancing_weight.as_ref()).unwrap_or(0);
            //= gRFC A27: a locality without a weight gets nothing
            if dialect == Dialect::Proxyless && is_weighted && weight == 0 {
                return Ok(());
            }
            priorities.insert(group.priority);
            let sum = sums.entry(group.priority).or_default();
            *sum += u64::from(weight);
            if *sum > u64::from(u32::MAX) {
                let reason = "the weights of a priority's localities must be at most 4294967295 \
                              together";
                return walk.refuse("load_balancing_weight", weight, reason);
            }
            let place = group.locality.as_ref().map(place);
            if !places.insert((place.clone(), group.priority)) {
                let shown = place.unwrap_or_default();
                let shown = format!("{}/{}/{}", shown.region, shown.zone, shown.sub_zone);
                return walk.refuse("locality", shown, "is listed twice at this priority");
            }
            walk.note_if(group.proximity.is_some(), "proximity", IGNORED);
            walk.note_if(
                group.metadata.as_ref().is_some_and(|it| *it != Metadata::default()),
                "metadata",
                IGNORED,
            );
            let list = match &group.lb_config {
                None => &group.lb_endpoints,
                Some(LbConfig::LoadBalancerEndpoints(list)) if group.lb_endpoints.is_empty() => {
                    &list.lb_endpoints
                }
                Some(LbConfig::LoadBalancerEndpoints(_)) => {
                    return walk.refuse(
                        "load_balancer_endpoints",
                        "given",
                        "is beside `lb_endpoints`",
                    );
                }
                Some(LbConfig::LedsClusterLocalityConfig(_)) => {
                    return walk.refuse(
                        "leds_cluster_locality_config",
                        "given",
                        "not supported yet",
                    );
                }
            };
            let first = read.len();
            of_locality(walk, dialect, list, &mut addresses, &mut read)?;
            for endpoint in &mut read[first..] {
                endpoint.priority = group.priority;
                endpoint.locality = place.clone().map(Box::new);
            }
            if weight > 0 {
                weights.push(LocalityWeight {
                    locality: place.unwrap_or_default(),
                    priority: group.priority,
                    weight,
                    proximity: None,
                });
            }
            Ok(())
        })?;
    }
    //= gRFC A27: priorities begin at 0, and none is left out
    for (wanted, priority) in priorities.iter().enumerate() {
        if usize::try_from(*priority).ok() != Some(wanted) {
            let reason = format!("there is no priority {wanted}: none may be left out");
            return walk.refuse("endpoints.priority", priority, reason);
        }
    }
    scale(walk, &mut read);
    Ok(read.into_iter().collect())
}

fn place(locality: &PbLocality) -> Locality {
    let PbLocality { region, zone, sub_zone } = locality;
    Locality { region: region.clone(), zone: zone.clone(), sub_zone: sub_zone.clone() }
}

fn of_locality(
    walk: &mut Walk,
    dialect: Dialect,
    list: &[LbEndpoint],
    addresses: &mut HashSet<Address>,
    read: &mut Vec<Endpoint>,
) -> Result<()> {
    read.reserve(list.len());
    addresses.reserve(list.len());
    let mut sum = 0_u64;
    for (index, item) in list.iter().enumerate() {
        walk.at("lb_endpoints", index, |walk| {
            if is_inside(item) {
                walk.note("endpoint.address.envoy_internal_address", INSIDE);
                return Ok(());
            }
            let endpoint = one(walk, item)?;
            sum += u64::from(endpoint.weight);
            if sum > u64::from(u32::MAX) {
                let reason = "the weights of a locality's endpoints must be at most 4294967295 \
                              together";
                return walk.refuse("load_balancing_weight", endpoint.weight, reason);
            }
            let mut all = std::iter::once(&endpoint.address).chain(&endpoint.more_addresses);
            if let Some(twice) = all.find(|address| !addresses.insert((*address).clone())) {
                let reason = "is the address of another endpoint, too";
                if dialect == Dialect::Proxyless {
                    return walk.refuse("endpoint.address", twice, reason);
                }
                walk.note("endpoint.address", format!("{twice} {reason}: the first counts"));
                return Ok(());
            }
            read.push(endpoint);
            Ok(())
        })?;
    }
    Ok(())
}

/// Brings the weights of each priority into the model's range: over its localities, for where these do not share
/// by weights of their own, their endpoints do.
fn scale(walk: &mut Walk, endpoints: &mut [Endpoint]) {
    let mut heaviest: BTreeMap<u32, u32> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|it| it.weight > HEAVIEST) {
        let most = heaviest.entry(endpoint.priority).or_default();
        *most = endpoint.weight.max(*most);
    }
    if heaviest.is_empty() {
        return;
    }
    let field = "endpoints.lb_endpoints.load_balancing_weight";
    walk.note(field, "weights over 65535 are scaled down with all of their priority, none below 1");
    for endpoint in endpoints {
        if let Some(most) = heaviest.get(&endpoint.priority) {
            let scaled = u64::from(endpoint.weight) * u64::from(HEAVIEST) / u64::from(*most);
            endpoint.weight = u32::try_from(scaled).unwrap_or(HEAVIEST).max(1);
        }
    }
}

fn one(walk: &mut Walk, item: &LbEndpoint) -> Result<Endpoint> {
    let LbEndpoint { health_status, metadata, load_balancing_weight, host_identifier } = item;
    let it = match host_identifier {
        Some(HostIdentifier::Endpoint(it)) => it,
        Some(HostIdentifier::EndpointName(name)) => {
            return walk.refuse("endpoint_name", name, "not supported yet: give `endpoint`");
        }
        None => return walk.refuse("endpoint", "none", "must be given"),
    };
    let mut read = walk.within("endpoint", |walk| address_of(walk, it))?;
    read.health = match HealthStatus::try_from(*health_status) {
        Ok(HealthStatus::Unknown) => Health::Unknown,
        Ok(HealthStatus::Healthy) => Health::Healthy,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        Ok(HealthStatus::Draining) => Health::Draining,
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) | Err(_) => Health::Unhealthy,
    };
    read.metadata = walk.metadata("metadata", metadata.as_ref())?;
    if let Some(metadata) = metadata {
        walk.within("metadata", |walk| {
            let labels = metadata.filter_metadata.get(LABELS);
            read.labels = walk.labels(LABELS, labels)?;
            //= gRFC A76; Envoy `envoy.lb.hash_key`
            read.hash_key = read.labels.get("hash_key").filter(|it| !it.is_empty()).cloned();
            for (name, _) in in_order(&metadata.typed_filter_metadata) {
                walk.note(&format!("typed_filter_metadata.{name}"), IGNORED);
            }
            Ok(())
        })?;
    }
    walk.checked("", read.validate("endpoint"))?;
    // Brought into the model's range beside all of its priority.
    read.weight = match u32s(load_balancing_weight.as_ref()) {
        Some(0) => return walk.refuse("load_balancing_weight", 0, "must be at least 1"),
        weight => weight.unwrap_or(1),
    };
    Ok(read)
}

fn address_of(walk: &mut Walk, it: &endpoint::Endpoint) -> Result<Endpoint> {
    let endpoint::Endpoint {
        address,
        health_check_config,
        hostname,
        additional_addresses,
        observability_name: _,
    } = it;
    let mut read = Endpoint::new(walk.address("address", address.as_ref())?);
    if additional_addresses.len() > MOST_ADDRESSES {
        let reason = format!("must be at most {MOST_ADDRESSES}");
        return walk.refuse("additional_addresses", additional_addresses.len(), reason);
    }
    read.more_addresses = walk.each("additional_addresses", additional_addresses, |walk, it| {
        walk.address("address", it.address.as_ref())
    })?;
    read.hostname = said(hostname);
    let is_checked = health_check_config.as_ref().is_some_and(|it| *it != Default::default());
    walk.note_if(is_checked, "health_check_config", "not supported yet: probes go to its address");
    Ok(read)
}
