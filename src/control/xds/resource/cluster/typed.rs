//! The typed list of policies (gRFC A52): the first that is known.

use super::{
    super::{
        Dialect, hash,
        read::{TypedStruct, bools, type_name, u32s},
        walk::{Result, Walk},
    },
    policy, subset,
};
use crate::config::{
    self, Balancer, ClientWeighted, HashFunction, LocalityBalancing, OverrideSource, RandomSubset,
    SlowStart, Subsetting,
};
use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{LoadBalancingPolicy, load_balancing_policy::Policy},
            core::v3::TypedExtensionConfig,
        },
        extensions::load_balancing_policies::{
            client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin,
            common::v3::{
                ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig,
                locality_lb_config::{
                    LocalityConfigSpecifier, ZoneAwareLbConfig,
                    zone_aware_lb_config::{ForceLocalZone, LocalityBasis},
                },
            },
            least_request::v3::{LeastRequest, least_request::SelectionMethod},
            maglev::v3::Maglev,
            override_host::v3::{OverrideHost, override_host::OverrideHostSource},
            pick_first::v3::PickFirst,
            random::v3::Random,
            random_subsetting::v3::RandomSubsetting,
            ring_hash::v3::{RingHash, ring_hash::HashFunction as PbFunction},
            round_robin::v3::RoundRobin,
            subset::v3::Subset,
            wrr_locality::v3::WrrLocality,
        },
    },
    google::protobuf::Any,
};

/// How deep policies may stand in policies. Source: gRFC A52.
const DEEPEST: usize = 16;
const POLICIES: &str = "envoy.extensions.load_balancing_policies.";

pub(super) fn list(
    walk: &mut Walk,
    dialect: Dialect,
    list: &LoadBalancingPolicy,
    config: &mut config::Cluster,
) -> Result<()> {
    let balancer = Lists { dialect }.first(walk, list, config, DEEPEST)?;
    config.balancer = Some(balancer);
    Ok(())
}

#[derive(Clone, Copy)]
struct Lists {
    dialect: Dialect,
}

impl Lists {
    /// The first policy of a list that is known.
    fn first(
        self,
        walk: &mut Walk,
        list: &LoadBalancingPolicy,
        config: &mut config::Cluster,
        deeper: usize,
    ) -> Result<Balancer> {
        let Some(deeper) = deeper.checked_sub(1) else {
            return walk.refuse("policies", list.policies.len(), "is nested more than 16 deep");
        };
        for (index, Policy { typed_extension_config }) in list.policies.iter().enumerate() {
            let field = format!("policies[{index}].typed_extension_config");
            let balancer = walk.within(&field, |walk| match typed_extension_config {
                Some(TypedExtensionConfig { name: _, typed_config: Some(any) }) => {
                    self.one(walk, any, config, deeper)
                }
                _ => Ok(None),
            })?;
            if let Some(balancer) = balancer {
                return Ok(balancer);
            }
        }
        let names: Vec<&str> = list
            .policies
            .iter()
            .filter_map(|policy| policy.typed_extension_config.as_ref()?.typed_config.as_ref())
            .map(|any| type_name(&any.type_url))
            .collect();
        walk.refuse("policies", format!("[{}]", names.join(", ")), "none of them is known")
    }

    /// None: it is not known.
    fn one(
        self,
        walk: &mut Walk,
        any: &Any,
        config: &mut config::Cluster,
        deeper: usize,
    ) -> Result<Option<Balancer>> {
        let name = type_name(&any.type_url);
        if TypedStruct::is_type(name) {
            let typed: TypedStruct = walk.unpack("typed_config", any)?;
            return walk.within("typed_config", |walk| own(walk, &typed));
        }
        let Some(name) = name.strip_prefix(POLICIES) else { return Ok(None) };
        walk.within(name, |walk| {
            Ok(Some(match name {
                "round_robin.v3.RoundRobin" => {
                    let it: RoundRobin = walk.unpack("", any)?;
                    localities(walk, it.locality_lb_config.as_ref(), config)?;
                    config.slow_start = slow_start(walk, it.slow_start_config.as_ref())?;
                    Balancer::RoundRobin
                }
                "random.v3.Random" => {
                    let it: Random = walk.unpack("", any)?;
                    localities(walk, it.locality_lb_config.as_ref(), config)?;
                    Balancer::Random
                }
                "least_request.v3.LeastRequest" => {
                    let it: LeastRequest = walk.unpack("", any)?;
                    self.least_request(walk, &it, config)?
                }
                "ring_hash.v3.RingHash" => {
                    let it: RingHash = walk.unpack("", any)?;
                    self.ring(walk, &it, config)?
                }
                "maglev.v3.Maglev" => {
                    let it: Maglev = walk.unpack("", any)?;
                    maglev(walk, &it, config)?
                }
                "pick_first.v3.PickFirst" => {
                    let it: PickFirst = walk.unpack("", any)?;
                    let mut first = config::PickFirst::default();
                    first.shuffle = it.shuffle_address_list.then_some(true);
                    Balancer::PickFirst(first)
                }
                "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin" => {
                    let it: ClientSideWeightedRoundRobin = walk.unpack("", any)?;
                    config.slow_start = slow_start(walk, it.slow_start_config.as_ref())?;
                    Balancer::ClientWeighted(client_weighted(walk, &it)?)
                }
                "wrr_locality.v3.WrrLocality" => {
                    let it: WrrLocality = walk.unpack("", any)?;
                    policy::by_weight(config);
                    let list = it.endpoint_picking_policy.unwrap_or_default();
                    walk.within("endpoint_picking_policy", |walk| {
                        self.first(walk, &list, config, deeper)
                    })?
                }
                "random_subsetting.v3.RandomSubsetting" => {
                    let it: RandomSubsetting = walk.unpack("", any)?;
                    let mut random = RandomSubset::default();
                    //= gRFC A68: it must be said, and not 0
                    random.size = match u32s(it.subset_size.as_ref()) {
                        None | Some(0) => {
                            return walk.refuse("subset_size", 0, "must be at least 1");
                        }
                        size => size,
                    };
                    random.above = Some(0);
                    config.subsetting = Some(Subsetting::Random(random));
                    let list = it.child_policy.unwrap_or_default();
                    walk.within("child_policy", |walk| self.first(walk, &list, config, deeper))?
                }
                "override_host.v3.OverrideHost" => {
                    let it: OverrideHost = walk.unpack("", any)?;
                    self.override_host(walk, &it, config, deeper)?
                }
                "subset.v3.Subset" => {
                    let it: Subset = walk.unpack("", any)?;
                    subset::typed(walk, &it, config)?;
                    let list = it.subset_lb_policy.unwrap_or_default();
                    walk.within("subset_lb_policy", |walk| self.first(walk, &list, config, deeper))?
                }
                _ => return Ok(None),
            }))
        })
    }

    fn least_request(
        self,
        walk: &mut Walk,
        it: &LeastRequest,
        config: &mut config::Cluster,
    ) -> Result<Balancer> {
        let LeastRequest {
            choice_count,
            active_request_bias,
            slow_start_config,
            locality_lb_config,
            enable_full_scan,
            selection_method,
        } = it;
        let (choices, bias) = (choice_count.as_ref(), active_request_bias.as_ref());
        let mut read = policy::least_request(walk, self.dialect, choices, bias)?;
        let is_full = bools(enable_full_scan.as_ref()).unwrap_or(false)
            || SelectionMethod::try_from(*selection_method) == Ok(SelectionMethod::FullScan);
        read.full_scan = is_full.then_some(true);
        config.least_request = Some(read);
        localities(walk, locality_lb_config.as_ref(), config)?;
        config.slow_start = slow_start(walk, slow_start_config.as_ref())?;
        Ok(Balancer::LeastRequest)
    }

    fn ring(
        self,
        walk: &mut Walk,
        it: &RingHash,
        config: &mut config::Cluster,
    ) -> Result<Balancer> {
        let RingHash {
            hash_function,
            minimum_ring_size,
            maximum_ring_size,
            use_hostname_for_hashing,
            hash_balance_factor,
            consistent_hashing_lb_config,
            locality_weighted_lb_config,
        } = it;
        let mut ring = config::RingHash::default();
        ring.function = match PbFunction::try_from(*hash_function) {
            Ok(PbFunction::DefaultHash | PbFunction::XxHash) => HashFunction::XxHash,
            Ok(PbFunction::MurmurHash2) => policy::murmur(walk, self.dialect)?,
            Err(_) => return walk.refuse("hash_function", hash_function, "is no hash"),
        };
        let (least, most) = (minimum_ring_size.as_ref(), maximum_ring_size.as_ref());
        policy::sizes(walk, self.dialect, least, most, &mut ring)?;
        ring.use_hostname = use_hostname_for_hashing.then_some(true);
        ring.balance_percent = policy::balance_factor(walk, hash_balance_factor.as_ref())?;
        if let Some(it) = consistent_hashing_lb_config {
            let (by_name, factor, hash) = hashing(walk, it)?;
            (ring.use_hostname, ring.balance_percent, ring.hash) = (by_name, factor, hash);
        }
        if locality_weighted_lb_config.is_some() {
            policy::by_weight(config);
        }
        Ok(Balancer::RingHash(ring))
    }

    fn override_host(
        self,
        walk: &mut Walk,
        it: &OverrideHost,
        config: &mut config::Cluster,
        deeper: usize,
    ) -> Result<Balancer> {
        let OverrideHost { override_host_sources, selected_host_key, fallback_policy } = it;
        walk.note_if(selected_host_key.is_some(), "selected_host_key", "not supported yet");
        if override_host_sources.is_empty() {
            return walk.refuse("override_host_sources", "[]", "must not be empty");
        }
        let mut sources = Vec::new();
        for (index, OverrideHostSource { header, metadata }) in
            override_host_sources.iter().enumerate()
        {
            let field = format!("override_host_sources[{index}]");
            match (header.as_str(), metadata) {
                ("", Some(_)) => {
                    walk.note(&format!("{field}.metadata"), "not supported yet: is left out");
                }
                ("", None) => return walk.refuse(&field, "{}", "must name a header"),
                (header, _) => sources.push(OverrideSource::Header(header.to_owned())),
            }
        }
        if sources.is_empty() {
            return walk.refuse(
                "override_host_sources",
                "metadata",
                "not supported yet: no header is named",
            );
        }
        let Some(list) = fallback_policy else {
            return walk.refuse("fallback_policy", "none", "must be given");
        };
        let fallback =
            walk.within("fallback_policy", |walk| self.first(walk, list, config, deeper))?;
        if matches!(fallback, Balancer::OverrideHost(_)) {
            return walk.refuse("fallback_policy", "override_host", "must be another policy");
        }
        let fallback = Box::new(fallback);
        Ok(Balancer::OverrideHost(config::OverrideHost { sources, fallback, health: None }))
    }
}

fn maglev(walk: &mut Walk, it: &Maglev, config: &mut config::Cluster) -> Result<Balancer> {
    let Maglev { table_size, consistent_hashing_lb_config, locality_weighted_lb_config } = it;
    let mut maglev = config::Maglev::default();
    maglev.table_size = policy::table_size(walk, table_size.as_ref())?;
    if let Some(it) = consistent_hashing_lb_config {
        let (by_name, factor, hash) = hashing(walk, it)?;
        (maglev.use_hostname, maglev.balance_percent, maglev.hash) = (by_name, factor, hash);
    }
    if locality_weighted_lb_config.is_some() {
        policy::by_weight(config);
    }
    Ok(Balancer::Maglev(maglev))
}

type Hashing = (Option<bool>, Option<u32>, Vec<config::HashPolicy>);

fn hashing(walk: &mut Walk, it: &ConsistentHashingLbConfig) -> Result<Hashing> {
    walk.within("consistent_hashing_lb_config", |walk| {
        let ConsistentHashingLbConfig {
            use_hostname_for_hashing,
            hash_balance_factor,
            hash_policy,
        } = it;
        let factor = policy::balance_factor(walk, hash_balance_factor.as_ref())?;
        let policies = hash::policies(walk, "hash_policy", hash_policy)?;
        Ok((use_hostname_for_hashing.then_some(true), factor, policies))
    })
}

fn client_weighted(walk: &mut Walk, it: &ClientSideWeightedRoundRobin) -> Result<ClientWeighted> {
    let ClientSideWeightedRoundRobin {
        enable_oob_load_report,
        oob_reporting_period,
        blackout_period,
        weight_expiration_period,
        weight_update_period,
        error_utilization_penalty,
        metric_names_for_computing_utilization,
        slow_start_config: _,
        oob_reporting_config,
    } = it;
    let mut read = ClientWeighted::default();
    read.out_of_band = bools(enable_oob_load_report.as_ref());
    read.out_of_band_period = walk.bound("oob_reporting_period", oob_reporting_period.as_ref())?;
    read.blackout = walk.time("blackout_period", blackout_period.as_ref())?;
    read.expiration = walk.bound("weight_expiration_period", weight_expiration_period.as_ref())?;
    read.update = walk.bound("weight_update_period", weight_update_period.as_ref())?;
    if let Some(penalty) = error_utilization_penalty {
        let penalty = f64::from(penalty.value);
        if !(0.0..=1000.0).contains(&penalty) {
            return walk.refuse("error_utilization_penalty", penalty, "must be in 0..=1000");
        }
        read.error_penalty = Some(penalty);
    }
    read.metrics.clone_from(metric_names_for_computing_utilization);
    let is_elsewhere = oob_reporting_config.is_some();
    walk.note_if(
        is_elsewhere,
        "oob_reporting_config",
        "not supported yet: reports come from the endpoint",
    );
    Ok(read)
}

fn slow_start(walk: &mut Walk, pb: Option<&SlowStartConfig>) -> Result<Option<SlowStart>> {
    let Some(SlowStartConfig { slow_start_window, aggression, min_weight_percent }) = pb else {
        return Ok(None);
    };
    policy::ramp(walk, slow_start_window.as_ref(), aggression.as_ref(), min_weight_percent.as_ref())
}

fn localities(
    walk: &mut Walk,
    pb: Option<&LocalityLbConfig>,
    config: &mut config::Cluster,
) -> Result<()> {
    let Some(specifier) = pb.and_then(|it| it.locality_config_specifier.as_ref()) else {
        return Ok(());
    };
    walk.within("locality_lb_config", |walk| match specifier {
        LocalityConfigSpecifier::LocalityWeightedLbConfig(_) => {
            policy::by_weight(config);
            Ok(())
        }
        LocalityConfigSpecifier::ZoneAwareLbConfig(zone) => {
            walk.within("zone_aware_lb_config", |walk| {
                let ZoneAwareLbConfig {
                    routing_enabled,
                    min_cluster_size,
                    fail_traffic_on_panic,
                    force_locality_direct_routing,
                    force_local_zone,
                    locality_basis,
                } = zone;
                let mut read = policy::zone_aware(
                    walk,
                    routing_enabled.as_ref(),
                    min_cluster_size.as_ref(),
                    *fail_traffic_on_panic,
                )?;
                let force = force_local_zone.as_ref();
                let least = force.and_then(|ForceLocalZone { min_size }| u32s(min_size.as_ref()));
                read.force_local_min_size = match (force, least) {
                    // Envoy: one endpoint is enough.
                    (Some(_), least) => Some(least.unwrap_or(1).max(1)),
                    (None, _) if *force_locality_direct_routing => Some(1),
                    (None, _) => None,
                };
                let by_weight = LocalityBasis::try_from(*locality_basis)
                    == Ok(LocalityBasis::HealthyHostsWeight);
                read.by_weight = by_weight.then_some(true);
                config.balancing.get_or_insert_default().locality =
                    LocalityBalancing::ZoneAware(read);
                Ok(())
            })
        }
    })
}

/// A balancer of the model by its name in a mesh file; none: there is none of the name.
fn own(walk: &mut Walk, typed: &TypedStruct) -> Result<Option<Balancer>> {
    let name = type_name(&typed.type_url);
    let name = name.rsplit_once('.').map_or(name, |(_, name)| name);
    const OWN: [&str; 10] = [
        "peak_ewma",
        "least_request",
        "round_robin",
        "random",
        "ring_hash",
        "maglev",
        "client_weighted",
        "prequal",
        "pick_first",
        "sharded",
    ];
    if !OWN.contains(&name) {
        return Ok(None);
    }
    let value = typed.value.clone().unwrap_or_default();
    let fields = walk.fields("value", &value)?;
    let settings = if matches!(name, "least_request" | "round_robin" | "random") {
        serde_json::Value::String(name.to_owned())
    } else {
        let fields = fields.into_iter().map(|(name, value)| (name, json(value))).collect();
        serde_json::json!({ name: serde_json::Value::Object(fields) })
    };
    match serde_json::from_value::<Balancer>(settings) {
        Ok(balancer) => Ok(Some(balancer)),
        Err(error) => walk.refuse("value", name, error),
    }
}

fn json(value: config::Value) -> serde_json::Value {
    use config::Value;
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(it) => it.into(),
        Value::Integer(number) => number.into(),
        Value::Number(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::List(items) => items.into_iter().map(json).collect(),
        Value::Map(fields) => serde_json::Value::Object(
            fields.into_iter().map(|(name, it)| (name, json(it))).collect(),
        ),
    }
}
