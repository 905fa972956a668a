//! How an endpoint is picked: the old enumeration and its settings. The typed list, which takes its
//! place where it is given, is in `typed`.

use envoy_types::pb::{
    envoy::config::{
        cluster::v3::{
            Cluster as Pb,
            cluster::{
                LbConfig, LbPolicy, SlowStartConfig,
                common_lb_config::{
                    ConsistentHashingLbConfig, LocalityConfigSpecifier, ZoneAwareLbConfig,
                },
                ring_hash_lb_config::HashFunction as PbFunction,
            },
            load_balancing_policy::Policy,
        },
        core::v3::{HealthStatus, HealthStatusSet, RuntimeDouble},
    },
    envoy::r#type::v3::Percent,
    google::protobuf::{Duration as PbDuration, UInt32Value, UInt64Value},
};

use super::{
    super::{
        Dialect, EndpointsFrom,
        read::{type_name, u32s},
        walk::{Result, Walk},
    },
    subset, typed,
};
use crate::config::{
    self, Balancer, HashFunction, Health, LeastRequest, LocalityBalancing, Maglev, OverrideHost,
    RingHash, SlowStart, ZoneAware,
};

/// The largest ring of gRFC A42, and of Envoy.
const LARGEST_RING: u64 = 8_388_608;
/// The largest ring of gRPC: what is said above it counts as so many (gRFC A42).
const RING_OF_GRPC: u32 = 4096;
/// Choices of gRFC A48 at most: more count as so many.
const MOST_CHOICES: u32 = 10;
/// What the list says of a cluster that is made of others.
const CLUSTER_PROVIDED: &str =
    "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided";

pub(super) fn policy(
    walk: &mut Walk,
    dialect: Dialect,
    pb: &Pb,
    endpoints: &EndpointsFrom,
    config: &mut config::Cluster,
) -> Result<()> {
    if matches!(endpoints, EndpointsFrom::Aggregate(_)) {
        of_an_aggregate(walk, pb);
        return Ok(());
    }
    match &pb.load_balancing_policy {
        //= gRFC A52: where the list is given, the enumeration is not read
        Some(list) => {
            walk.within("load_balancing_policy", |walk| typed::list(walk, dialect, list, config))?;
        }
        None => by_name(walk, dialect, pb, config)?,
    }
    if let Some(common) = &pb.common_lb_config {
        walk.within("common_lb_config", |walk| {
            if pb.load_balancing_policy.is_none() {
                hashing(walk, common.consistent_hashing_lb_config.as_ref(), config)?;
                match &common.locality_config_specifier {
                    Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
                        by_weight(config);
                    }
                    Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => {
                        let zone = walk.within("zone_aware_lb_config", |walk| {
                            let ZoneAwareLbConfig {
                                routing_enabled,
                                min_cluster_size,
                                fail_traffic_on_panic,
                            } = zone;
                            zone_aware(
                                walk,
                                routing_enabled.as_ref(),
                                min_cluster_size.as_ref(),
                                *fail_traffic_on_panic,
                            )
                        })?;
                        config.balancing.get_or_insert_default().locality =
                            LocalityBalancing::ZoneAware(zone);
                    }
                    None => {}
                }
            }
            override_status(walk, common.override_host_status.as_ref(), config);
            Ok(())
        })?;
    }
    if let Some(subsets) = &pb.lb_subset_config {
        if pb.load_balancing_policy.is_some() {
            walk.note("lb_subset_config", "`load_balancing_policy` takes its place");
        } else {
            subset::old(walk, subsets, config)?;
        }
    }
    Ok(())
}

/// A cluster that is made of others has no policy of its own.
fn of_an_aggregate(walk: &mut Walk, pb: &Pb) {
    const OTHERS: &str = "each of the clusters that it is made of goes by its own";
    // What Envoy asks for, and what is meant where nothing is said.
    let is_said = !matches!(
        LbPolicy::try_from(pb.lb_policy),
        Ok(LbPolicy::ClusterProvided | LbPolicy::RoundRobin | LbPolicy::LoadBalancingPolicyConfig)
    );
    walk.note_if(is_said, "lb_policy", OTHERS);
    let policies = pb.load_balancing_policy.iter().flat_map(|list| &list.policies);
    let is_own = |policy: &Policy| {
        let any = policy.typed_extension_config.as_ref().and_then(|it| it.typed_config.as_ref());
        any.is_none_or(|any| type_name(&any.type_url) != CLUSTER_PROVIDED)
    };
    walk.note_if(policies.into_iter().any(is_own), "load_balancing_policy", OTHERS);
    walk.note_if(pb.common_lb_config.is_some(), "common_lb_config", OTHERS);
    walk.note_if(pb.lb_subset_config.is_some(), "lb_subset_config", OTHERS);
}

fn by_name(walk: &mut Walk, dialect: Dialect, pb: &Pb, config: &mut config::Cluster) -> Result<()> {
    config.balancer = Some(match LbPolicy::try_from(pb.lb_policy) {
        Ok(LbPolicy::RoundRobin) => {
            if let Some(LbConfig::RoundRobinLbConfig(it)) = &pb.lb_config {
                let field = "round_robin_lb_config";
                config.slow_start =
                    walk.within(field, |walk| slow_start(walk, it.slow_start_config.as_ref()))?;
            }
            Balancer::RoundRobin
        }
        Ok(LbPolicy::LeastRequest) => {
            if let Some(LbConfig::LeastRequestLbConfig(it)) = &pb.lb_config {
                walk.within("least_request_lb_config", |walk| {
                    let choices = it.choice_count.as_ref();
                    let bias = it.active_request_bias.as_ref();
                    config.least_request = Some(least_request(walk, dialect, choices, bias)?);
                    config.slow_start = slow_start(walk, it.slow_start_config.as_ref())?;
                    Ok(())
                })?;
            }
            Balancer::LeastRequest
        }
        Ok(LbPolicy::RingHash) => {
            let mut ring = RingHash::default();
            let (mut least, mut most) = (None, None);
            if let Some(LbConfig::RingHashLbConfig(it)) = &pb.lb_config {
                ring.function = match PbFunction::try_from(it.hash_function) {
                    Ok(PbFunction::XxHash) => HashFunction::XxHash,
                    Ok(PbFunction::MurmurHash2) => murmur(walk, dialect)?,
                    Err(_) => return walk.refuse("hash_function", it.hash_function, "is no hash"),
                };
                (least, most) = (it.minimum_ring_size.as_ref(), it.maximum_ring_size.as_ref());
            }
            let field = "ring_hash_lb_config";
            walk.within(field, |walk| sizes(walk, dialect, least, most, &mut ring))?;
            Balancer::RingHash(ring)
        }
        Ok(LbPolicy::Random) => Balancer::Random,
        Ok(LbPolicy::Maglev) => {
            let mut maglev = Maglev::default();
            if let Some(LbConfig::MaglevLbConfig(it)) = &pb.lb_config {
                let size = it.table_size.as_ref();
                maglev.table_size =
                    walk.within("maglev_lb_config", |walk| table_size(walk, size))?;
            }
            Balancer::Maglev(maglev)
        }
        Ok(LbPolicy::ClusterProvided) => {
            return walk.refuse(
                "lb_policy",
                "CLUSTER_PROVIDED",
                "is for clusters that are made of others",
            );
        }
        Ok(LbPolicy::LoadBalancingPolicyConfig) => {
            return walk.refuse(
                "lb_policy",
                "LOAD_BALANCING_POLICY_CONFIG",
                "needs `load_balancing_policy`",
            );
        }
        Err(_) => return walk.refuse("lb_policy", pb.lb_policy, "is no policy"),
    });
    Ok(())
}

/// Localities share by their weights.
pub(super) fn by_weight(config: &mut config::Cluster) {
    config.balancing.get_or_insert_default().locality = LocalityBalancing::Weighted;
}

pub(super) fn murmur(walk: &Walk, dialect: Dialect) -> Result<HashFunction> {
    match dialect {
        Dialect::Sidecar => Ok(HashFunction::MurmurHash2),
        //= gRFC A42: any other hash is refused
        Dialect::Proxyless => walk.refuse("hash_function", "MURMUR_HASH_2", "must be XX_HASH"),
    }
}

pub(super) fn sizes(
    walk: &mut Walk,
    dialect: Dialect,
    minimum: Option<&UInt64Value>,
    maximum: Option<&UInt64Value>,
    ring: &mut RingHash,
) -> Result<()> {
    let size = |walk: &Walk, field: &str, size: Option<&UInt64Value>| match size.map(|it| it.value)
    {
        None => Ok(None),
        Some(size) if (1..=LARGEST_RING).contains(&size) => Ok(u32::try_from(size).ok()),
        Some(size) => walk.refuse(field, size, "must be in 1..=8388608"),
    };
    ring.minimum_ring_size = size(walk, "minimum_ring_size", minimum)?;
    ring.maximum_ring_size = size(walk, "maximum_ring_size", maximum)?;
    let (least, most) = (ring.least(), ring.most());
    // Only one of the two is said: the default of the other gives way.
    match (ring.minimum_ring_size, ring.maximum_ring_size) {
        (None, Some(most)) if least > most => ring.minimum_ring_size = Some(most),
        (Some(_), Some(_)) if least > most => {
            let reason = format!("must be at most maximum_ring_size ({most})");
            return walk.refuse("minimum_ring_size", least, reason);
        }
        _ => {}
    }
    if dialect == Dialect::Proxyless {
        ring.minimum_ring_size = ring.minimum_ring_size.map(|size| size.min(RING_OF_GRPC));
        ring.maximum_ring_size = Some(ring.most().min(RING_OF_GRPC));
    }
    Ok(())
}

pub(super) fn table_size(walk: &Walk, size: Option<&UInt64Value>) -> Result<Option<u32>> {
    let Some(size) = size.map(|it| it.value) else { return Ok(None) };
    match u32::try_from(size) {
        Ok(size) => Ok(Some(size)),
        Err(_) => walk.refuse("table_size", size, "must be a prime in 2..=5000011"),
    }
}

pub(super) fn least_request(
    walk: &mut Walk,
    dialect: Dialect,
    choices: Option<&UInt32Value>,
    bias: Option<&RuntimeDouble>,
) -> Result<LeastRequest> {
    let mut read = LeastRequest::default();
    read.choices = match u32s(choices) {
        Some(few @ 0..=1) => return walk.refuse("choice_count", few, "must be at least 2"),
        //= gRFC A48
        Some(many) if dialect == Dialect::Proxyless => Some(many.min(MOST_CHOICES)),
        choices => choices,
    };
    if let Some(RuntimeDouble { default_value, runtime_key }) = bias {
        walk.no_runtime("active_request_bias.runtime_key", runtime_key);
        if !(0.0..=100.0).contains(default_value) {
            return walk.refuse(
                "active_request_bias.default_value",
                default_value,
                "must be in 0..=100",
            );
        }
        // 1 is how calls in flight weigh where nothing is said.
        read.active_bias = Some(*default_value).filter(|bias| (bias - 1.0).abs() > f64::EPSILON);
    }
    Ok(read)
}

pub(super) fn zone_aware(
    walk: &mut Walk,
    routing_enabled: Option<&Percent>,
    min_cluster_size: Option<&UInt64Value>,
    fail_on_panic: bool,
) -> Result<ZoneAware> {
    let mut zone = ZoneAware::default();
    zone.routing_percent = walk.percent("routing_enabled", routing_enabled)?;
    zone.min_cluster_size = min_cluster_size.map(|it| it.value);
    zone.fail_on_panic = fail_on_panic.then_some(true);
    Ok(zone)
}

fn slow_start(walk: &mut Walk, pb: Option<&SlowStartConfig>) -> Result<Option<SlowStart>> {
    let Some(SlowStartConfig { slow_start_window, aggression, min_weight_percent }) = pb else {
        return Ok(None);
    };
    ramp(walk, slow_start_window.as_ref(), aggression.as_ref(), min_weight_percent.as_ref())
}

pub(super) fn ramp(
    walk: &mut Walk,
    window: Option<&PbDuration>,
    aggression: Option<&RuntimeDouble>,
    least: Option<&Percent>,
) -> Result<Option<SlowStart>> {
    walk.within("slow_start_config", |walk| {
        // A window of 0 turns it off.
        let Some(window) = walk.bound("slow_start_window", window)? else { return Ok(None) };
        let mut read = SlowStart::default();
        read.window = Some(window);
        if let Some(RuntimeDouble { default_value, runtime_key }) = aggression {
            walk.no_runtime("aggression.runtime_key", runtime_key);
            if !(*default_value > 0.0 && default_value.is_finite()) {
                return walk.refuse("aggression.default_value", default_value, "must be over 0");
            }
            read.aggression = Some(*default_value);
        }
        read.min_weight_percent = walk.percent("min_weight_percent", least)?;
        // Envoy gives an endpoint that was ejected its full share at once.
        read.after_ejection = Some(false);
        Ok(Some(read))
    })
}

/// Settings of either balancer that hashes.
fn hashing(
    walk: &mut Walk,
    pb: Option<&ConsistentHashingLbConfig>,
    config: &mut config::Cluster,
) -> Result<()> {
    let Some(ConsistentHashingLbConfig { use_hostname_for_hashing, hash_balance_factor }) = pb
    else {
        return Ok(());
    };
    walk.within("consistent_hashing_lb_config", |walk| {
        let factor = balance_factor(walk, hash_balance_factor.as_ref())?;
        let by_name = use_hostname_for_hashing.then_some(true);
        match &mut config.balancer {
            Some(Balancer::RingHash(ring)) => {
                (ring.use_hostname, ring.balance_percent) = (by_name, factor);
            }
            Some(Balancer::Maglev(maglev)) => {
                (maglev.use_hostname, maglev.balance_percent) = (by_name, factor);
            }
            _ => {}
        }
        Ok(())
    })
}

pub(super) fn balance_factor(walk: &Walk, factor: Option<&UInt32Value>) -> Result<Option<u32>> {
    match u32s(factor) {
        // Envoy: 0 is no bound.
        Some(0) => Ok(None),
        Some(factor) if factor < 100 => {
            walk.refuse("hash_balance_factor", factor, "must be at least 100")
        }
        factor => Ok(factor),
    }
}

/// The health in which an endpoint keeps its sessions (gRFC A55): an empty set, and none does. What is
/// not set is ours, which has draining beside xDS's.
fn override_status(walk: &mut Walk, set: Option<&HealthStatusSet>, config: &mut config::Cluster) {
    let Some(HealthStatusSet { statuses }) = set else { return };
    let mut health = Vec::new();
    for status in statuses {
        let one = match HealthStatus::try_from(*status) {
            Ok(HealthStatus::Unknown) => Health::Unknown,
            Ok(HealthStatus::Healthy) => Health::Healthy,
            Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => Health::Unhealthy,
            Ok(HealthStatus::Draining) => Health::Draining,
            Ok(HealthStatus::Degraded) => Health::Degraded,
            Err(_) => {
                walk.note("override_host_status", format!("{status} is no status: is left out"));
                continue;
            }
        };
        if !health.contains(&one) {
            health.push(one);
        }
    }
    match &mut config.balancer {
        Some(Balancer::OverrideHost(over)) => over.health = Some(health),
        balancer => {
            let fallback = Box::new(balancer.take().unwrap_or(Balancer::RoundRobin));
            *balancer = Some(Balancer::OverrideHost(OverrideHost {
                sources: Vec::new(),
                fallback,
                health: Some(health),
            }));
        }
    }
}
