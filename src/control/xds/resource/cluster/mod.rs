//! Clusters (CDS).

mod discovery;
mod health;
mod http;
mod join;
mod limits;
mod policy;
mod received;
mod secrets;
mod socket_matches;
mod sockets;
mod subset;
mod tls;
mod typed;

use envoy_types::pb::{
    envoy::config::cluster::v3::{self as cluster, Cluster as Pb, UpstreamConnectionOptions},
    envoy::config::core::v3::{ConfigSource, TcpKeepalive, config_source::ConfigSourceSpecifier},
};

pub(super) use self::discovery::from_the_stream;
pub(super) use self::received::received;
pub(super) use self::secrets::secret;
use self::tls::Own;
pub(crate) use self::{
    secrets::{Recipe, Secret},
    socket_matches::Sockets,
};
use super::{
    Cluster, Context, Dialect,
    read::{in_order, said, u32s},
    walk::{IGNORED, Result, Walk},
};
use crate::config::{self, Balancing};

/// Reads a cluster.
pub(super) fn cluster(walk: &mut Walk, context: &Context, pb: &Pb) -> Result<Cluster> {
    if pb.name.is_empty() {
        return walk.refuse("name", "", "must not be empty");
    }
    let mut config = config::Cluster::default();
    let mut own = Own::default();
    let endpoints = discovery::discovery(walk, context, pb, &mut config)?;
    policy::policy(walk, context.dialect, pb, &endpoints, &mut config)?;
    common(walk, context.dialect, pb, &mut config)?;
    limits::breakers(walk, context.dialect, pb.circuit_breakers.as_ref(), &mut config)?;
    if let Some(breakers) = &mut config.breakers {
        breakers.shared = Some(limits::count(context, &pb.name, &endpoints));
    }
    if let Some(outliers) = &pb.outlier_detection {
        config.outlier_detection = Some(walk.within("outlier_detection", |walk| {
            limits::outliers(walk, context.dialect, outliers)
        })?);
    }
    config.health_checks = health::checks(walk, context.dialect, &pb.health_checks)?;
    let auto = http::options(walk, pb, &mut config)?;
    transport(walk, pb, &mut config)?;
    let sockets = sockets::sockets(walk, context, pb, auto, &mut config, &mut own)?;
    config.metadata = walk.metadata("metadata", pb.metadata.as_ref())?;
    let load_report = load_report(walk, pb)?;
    ignored(walk, pb);
    walk.checked("", config.validate(&pb.name))?;
    let weighs_localities =
        context.dialect == Dialect::Proxyless && pb.load_balancing_policy.is_none();
    // An aggregate has no connections of its own.
    let is_silent = pb.transport_socket.is_none()
        && pb.transport_socket_matches.is_empty()
        && !matches!(endpoints, super::EndpointsFrom::Aggregate(_));
    Ok(Cluster {
        name: pb.name.as_str().into(),
        config,
        endpoints,
        load_report,
        sockets,
        identities: own.files,
        secrets: Recipe::of(context, pb, &own.secrets),
        is_silent_on_tls: is_silent,
        weighs_localities,
        notes: Vec::new(),
    })
}

/// What comes before the pick.
fn common(walk: &mut Walk, dialect: Dialect, pb: &Pb, config: &mut config::Cluster) -> Result<()> {
    if dialect == Dialect::Proxyless {
        //= gRFC A56: a priority is left when nothing of it works; there is no panic
        config.panic_threshold = Some(0.0);
        let balancing = config.balancing.get_or_insert_default();
        balancing.overprovisioning_percent = Some(join::ALL_OF_A_PRIORITY);
    }
    let Some(common) = &pb.common_lb_config else { return Ok(()) };
    walk.within("common_lb_config", |walk| {
        let cluster::cluster::CommonLbConfig {
            healthy_panic_threshold,
            update_merge_window,
            ignore_new_hosts_until_first_hc,
            close_connections_on_host_set_change,
            // Read by the policy.
            consistent_hashing_lb_config: _,
            override_host_status: _,
            locality_config_specifier: _,
        } = common;
        if let Some(percent) =
            walk.percent("healthy_panic_threshold", healthy_panic_threshold.as_ref())?
        {
            config.panic_threshold = Some(percent);
        }
        walk.note_if(
            update_merge_window.is_some(),
            "update_merge_window",
            "not supported yet: updates count at once",
        );
        let balancing = config.balancing.get_or_insert_default();
        let is_so = |it: bool| it.then_some(true);
        balancing.wait_for_first_check = is_so(*ignore_new_hosts_until_first_hc);
        balancing.close_on_change = is_so(*close_connections_on_host_set_change);
        if *balancing == Balancing::default() {
            config.balancing = None;
        }
        Ok(())
    })?;
    Ok(())
}

/// How connections are made and kept.
fn transport(walk: &mut Walk, pb: &Pb, config: &mut config::Cluster) -> Result<()> {
    let transport = &mut config.transport;
    if let Some(timeout) = walk.positive("connect_timeout", pb.connect_timeout.as_ref())? {
        transport.connect_timeout = Some(timeout);
    }
    if pb.close_connections_on_host_health_failure {
        config.balancing.get_or_insert_default().close_on_failure = Some(true);
    }
    let Some(options) = &pb.upstream_connection_options else { return Ok(()) };
    walk.within("upstream_connection_options", |walk| {
        let UpstreamConnectionOptions {
            tcp_keepalive,
            set_local_interface_name_on_upstream_connections: _,
            happy_eyeballs_config,
        } = options;
        walk.note_if(happy_eyeballs_config.is_some(), "happy_eyeballs_config", IGNORED);
        let Some(TcpKeepalive { keepalive_probes, keepalive_time, keepalive_interval }) =
            tcp_keepalive
        else {
            return;
        };
        if let Some(seconds) = u32s(keepalive_time.as_ref()).filter(|seconds| *seconds > 0) {
            let time = std::time::Duration::from_secs(u64::from(seconds));
            transport.tcp_keepalive = Some(time.min(super::read::YEAR));
        }
        let is_more = keepalive_probes.is_some() || keepalive_interval.is_some();
        walk.note_if(is_more, "tcp_keepalive", "of it, `keepalive_time` counts");
    });
    Ok(())
}

/// Whether its load is reported.
fn load_report(walk: &mut Walk, pb: &Pb) -> Result<Option<Vec<String>>> {
    match &pb.lrs_server {
        None => Ok(None),
        Some(ConfigSource {
            config_source_specifier: Some(ConfigSourceSpecifier::Self_(_)),
            ..
        }) => Ok(Some(pb.lrs_report_endpoint_metrics.clone())),
        //= gRFC A27: `lrs_server` must be `self`
        Some(_) => walk.refuse("lrs_server", "another source", "must be `self`"),
    }
}

/// What is said and not done, in no other place.
fn ignored(walk: &mut Walk, pb: &Pb) {
    let said_of = [
        ("alt_stat_name", said(&pb.alt_stat_name).is_some(), "metrics have the cluster's name"),
        (
            "upstream_bind_config",
            pb.upstream_bind_config.is_some(),
            "not supported yet: the system chooses",
        ),
        (
            "per_connection_buffer_limit_bytes",
            pb.per_connection_buffer_limit_bytes.is_some(),
            IGNORED,
        ),
        ("preconnect_policy", pb.preconnect_policy.is_some(), "not supported yet"),
        ("upstream_config", pb.upstream_config.is_some(), IGNORED),
        ("queuing_policies", pb.queuing_policies.is_some(), IGNORED),
    ];
    for (field, is_said, reason) in said_of {
        walk.note_if(is_said, field, reason);
    }
    for filter in &pb.filters {
        walk.note(&format!("filters.{}", filter.name), "a filter of connections: is left out");
    }
    for (name, _) in in_order(&pb.typed_extension_protocol_options) {
        if name != http::OPTIONS {
            walk.note(&format!("typed_extension_protocol_options.{name}"), IGNORED);
        }
    }
}
