//! No field of the model is silently ignored: each one is said on its own, and must either be in
//! the list of what runs or be refused by its name.

use serde::de::DeserializeOwned;

use super::{
    Cluster, ConfigErrors, Service,
    instances::{Leaf, Model},
};

/// What runs. A route may say of its policy what a service says, but for `max_requests`.
const RUNS: &[&str] = &[
    "clusters.a",
    "clusters.a.balancer.client_weighted",
    "clusters.a.balancer.client_weighted.blackout",
    "clusters.a.balancer.client_weighted.error_penalty",
    "clusters.a.balancer.client_weighted.expiration",
    "clusters.a.balancer.client_weighted.metrics[0]",
    "clusters.a.balancer.client_weighted.update",
    "clusters.a.balancer.prequal",
    "clusters.a.balancer.prequal.delta",
    "clusters.a.balancer.prequal.hot_quantile",
    "clusters.a.balancer.prequal.max_age",
    "clusters.a.balancer.prequal.pool_size",
    "clusters.a.balancer.prequal.remove_rate",
    "clusters.a.balancer.maglev",
    "clusters.a.balancer.maglev.balance_percent",
    "clusters.a.balancer.maglev.hash[0]",
    "clusters.a.balancer.maglev.hash[0].on.cookie",
    "clusters.a.balancer.maglev.hash[0].on.cookie.attributes.k",
    "clusters.a.balancer.maglev.hash[0].on.cookie.generate",
    "clusters.a.balancer.maglev.hash[0].on.cookie.name",
    "clusters.a.balancer.maglev.hash[0].on.cookie.path",
    "clusters.a.balancer.maglev.hash[0].on.cookie.ttl",
    "clusters.a.balancer.maglev.hash[0].on.filter_state",
    "clusters.a.balancer.maglev.hash[0].on.header",
    "clusters.a.balancer.maglev.hash[0].on.header.name",
    "clusters.a.balancer.maglev.hash[0].on.path_segment",
    "clusters.a.balancer.maglev.hash[0].on.query",
    "clusters.a.balancer.maglev.hash[0].on=call_key",
    "clusters.a.balancer.maglev.hash[0].terminal",
    "clusters.a.balancer.maglev.table_size",
    "clusters.a.balancer.maglev.use_hostname",
    "clusters.a.balancer.peak_ewma",
    "clusters.a.balancer.peak_ewma.decay",
    "clusters.a.balancer.ring_hash",
    "clusters.a.balancer.ring_hash.balance_percent",
    "clusters.a.balancer.ring_hash.function=murmur_hash2",
    "clusters.a.balancer.ring_hash.function=xx_hash",
    "clusters.a.balancer.ring_hash.hash[0]",
    "clusters.a.balancer.ring_hash.hash[0].on.cookie",
    "clusters.a.balancer.ring_hash.hash[0].on.cookie.attributes.k",
    "clusters.a.balancer.ring_hash.hash[0].on.cookie.generate",
    "clusters.a.balancer.ring_hash.hash[0].on.cookie.name",
    "clusters.a.balancer.ring_hash.hash[0].on.cookie.path",
    "clusters.a.balancer.ring_hash.hash[0].on.cookie.ttl",
    "clusters.a.balancer.ring_hash.hash[0].on.filter_state",
    "clusters.a.balancer.ring_hash.hash[0].on.header",
    "clusters.a.balancer.ring_hash.hash[0].on.header.name",
    "clusters.a.balancer.ring_hash.hash[0].on.path_segment",
    "clusters.a.balancer.ring_hash.hash[0].on.query",
    "clusters.a.balancer.ring_hash.hash[0].on=call_key",
    "clusters.a.balancer.ring_hash.hash[0].terminal",
    "clusters.a.balancer.ring_hash.maximum_ring_size",
    "clusters.a.balancer.ring_hash.minimum_ring_size",
    "clusters.a.balancer.ring_hash.request_header",
    "clusters.a.balancer.ring_hash.use_hostname",
    "clusters.a.balancer=least_request",
    "clusters.a.balancer=random",
    "clusters.a.balancer=round_robin",
    "clusters.a.breakers",
    "clusters.a.breakers.max_requests",
    "clusters.a.discovery.dns",
    "clusters.a.discovery.dns.failure_refresh",
    "clusters.a.discovery.dns.failure_refresh_max",
    "clusters.a.discovery.dns.family=all",
    "clusters.a.discovery.dns.family=auto",
    "clusters.a.discovery.dns.family=v4_only",
    "clusters.a.discovery.dns.family=v4_preferred",
    "clusters.a.discovery.dns.family=v6_only",
    "clusters.a.discovery.dns.jitter",
    "clusters.a.discovery.dns.kind=logical",
    "clusters.a.discovery.dns.kind=srv",
    "clusters.a.discovery.dns.kind=strict",
    "clusters.a.discovery.dns.name",
    "clusters.a.discovery.dns.ndots",
    "clusters.a.discovery.dns.refresh",
    "clusters.a.discovery.dns.resolvers[0]",
    "clusters.a.discovery.dns.respect_ttl",
    "clusters.a.discovery.dns.search[0]",
    "clusters.a.discovery.dns.stale_limit",
    "clusters.a.discovery.dns.use_tcp",
    "clusters.a.discovery=static",
    "clusters.a.endpoints[0]",
    "clusters.a.endpoints[0].address",
    "clusters.a.endpoints[0].authority",
    "clusters.a.endpoints[0].hash_key",
    "clusters.a.endpoints[0].health=draining",
    "clusters.a.endpoints[0].health=healthy",
    "clusters.a.endpoints[0].health=unhealthy",
    "clusters.a.endpoints[0].health=unknown",
    "clusters.a.endpoints[0].hostname",
    "clusters.a.endpoints[0].more_addresses[0]",
    "clusters.a.endpoints[0].protocol=http1",
    "clusters.a.endpoints[0].protocol=http2",
    "clusters.a.endpoints[0].security.tls",
    "clusters.a.endpoints[0].security.tls.alpn[0]",
    "clusters.a.endpoints[0].security.tls.identities[0].exact",
    "clusters.a.endpoints[0].security.tls.identities[0].prefix",
    "clusters.a.endpoints[0].security.tls.identities[0].san",
    "clusters.a.endpoints[0].security.tls.identities[0].san.ignore_case",
    "clusters.a.endpoints[0].security.tls.identities[0].san.kind=dns",
    "clusters.a.endpoints[0].security.tls.identities[0].san.kind=email",
    "clusters.a.endpoints[0].security.tls.identities[0].san.kind=ip",
    "clusters.a.endpoints[0].security.tls.identities[0].san.kind=uri",
    "clusters.a.endpoints[0].security.tls.identities[0].san.matcher.contains",
    "clusters.a.endpoints[0].security.tls.identities[0].san.matcher.exact",
    "clusters.a.endpoints[0].security.tls.identities[0].san.matcher.prefix",
    "clusters.a.endpoints[0].security.tls.identities[0].san.matcher.suffix",
    "clusters.a.endpoints[0].security.tls.identities[0].trust_domain",
    "clusters.a.endpoints[0].security.tls.sni",
    "clusters.a.endpoints[0].security=plain",
    "clusters.a.endpoints[0].tunnel=none",
    "clusters.a.endpoints[0].weight",
    "clusters.a.protocol=http1",
    "clusters.a.protocol=http2",
    "clusters.a.security",
    "clusters.a.security.alpn[0]",
    "clusters.a.security.bundles",
    "clusters.a.security.bundles.name",
    "clusters.a.security.bundles.provider",
    "clusters.a.security.certificate",
    "clusters.a.security.certificate.name",
    "clusters.a.security.certificate.provider",
    "clusters.a.security.ciphers[0]",
    "clusters.a.security.groups[0]",
    "clusters.a.security.identities[0].exact",
    "clusters.a.security.identities[0].prefix",
    "clusters.a.security.identities[0].san",
    "clusters.a.security.identities[0].san.ignore_case",
    "clusters.a.security.identities[0].san.kind=dns",
    "clusters.a.security.identities[0].san.kind=email",
    "clusters.a.security.identities[0].san.kind=ip",
    "clusters.a.security.identities[0].san.kind=uri",
    "clusters.a.security.identities[0].san.matcher.contains",
    "clusters.a.security.identities[0].san.matcher.exact",
    "clusters.a.security.identities[0].san.matcher.prefix",
    "clusters.a.security.identities[0].san.matcher.suffix",
    "clusters.a.security.identities[0].trust_domain",
    "clusters.a.security.max_verify_depth",
    "clusters.a.security.max_version=1.2",
    "clusters.a.security.max_version=1.3",
    "clusters.a.security.min_version=1.2",
    "clusters.a.security.min_version=1.3",
    "clusters.a.security.mode=mutual",
    "clusters.a.security.mode=off",
    "clusters.a.security.mode=tls",
    "clusters.a.security.roots",
    "clusters.a.security.roots.name",
    "clusters.a.security.roots.provider",
    "clusters.a.security.sni",
    "clusters.a.security.system_roots",
    "clusters.a.transport",
    "clusters.a.transport.connect_backoff_base",
    "clusters.a.transport.connect_backoff_max",
    "clusters.a.transport.connect_timeout",
    "clusters.a.transport.happy_eyeballs_delay",
    "clusters.a.transport.http1_max_connections",
    "clusters.a.transport.http2_connection_window_bytes",
    "clusters.a.transport.http2_ping_interval",
    "clusters.a.transport.http2_ping_timeout",
    "clusters.a.transport.http2_stream_window_bytes",
    "clusters.a.transport.http2_streams_per_connection",
    "clusters.a.transport.idle_timeout",
    "clusters.a.transport.max_age",
    "clusters.a.transport.max_http2_connections",
    "clusters.a.transport.tcp_keepalive",
    "clusters.a.transport.tunnel=none",
    "services.a",
    "services.a.cluster",
    "services.a.order=listed",
    "services.a.policy",
    "services.a.policy.attempt_timeout",
    "services.a.policy.hash[0]",
    "services.a.policy.hash[0].on.cookie",
    "services.a.policy.hash[0].on.cookie.attributes.k",
    "services.a.policy.hash[0].on.cookie.generate",
    "services.a.policy.hash[0].on.cookie.name",
    "services.a.policy.hash[0].on.cookie.path",
    "services.a.policy.hash[0].on.cookie.ttl",
    "services.a.policy.hash[0].on.filter_state",
    "services.a.policy.hash[0].on.header",
    "services.a.policy.hash[0].on.header.name",
    "services.a.policy.hash[0].on.path_segment",
    "services.a.policy.hash[0].on.query",
    "services.a.policy.hash[0].on=call_key",
    "services.a.policy.hash[0].terminal",
    "services.a.policy.idle_timeout",
    "services.a.policy.max_requests",
    "services.a.policy.retry",
    "services.a.policy.retry.attempts",
    "services.a.policy.retry.backoff_base",
    "services.a.policy.retry.backoff_max",
    "services.a.policy.retry.budget",
    "services.a.policy.retry.budget.min_per_second",
    "services.a.policy.retry.budget.ratio",
    "services.a.policy.retry.budget.ttl",
    "services.a.policy.retry.idempotent",
    "services.a.policy.retry.max_body_bytes",
    "services.a.policy.retry.on_grpc[0]",
    "services.a.policy.retry.on_reset",
    "services.a.policy.retry.on_status[0]",
    "services.a.policy.retry.on_timeout",
    "services.a.policy.retry.respect_retry_after",
    "services.a.policy.retry.retry_after_max",
    "services.a.policy.timeout",
    "services.a.policy.tracing",
    "services.a.policy.tracing.client_percent",
    "services.a.policy.tracing.header_tags.k",
    "services.a.policy.tracing.operation",
    "services.a.policy.tracing.overall_percent",
    "services.a.policy.tracing.random_percent",
    "services.a.policy.tracing.tags.k",
    "services.a.policy.whole_response",
    "services.a.protocol=http",
    "services.a.routes[0]",
    "services.a.routes[0].choice=weighted",
    "services.a.routes[0].clusters[0]",
    "services.a.routes[0].clusters[0].name",
    "services.a.routes[0].clusters[0].weight",
    "services.a.routes[0].matches[0]",
    "services.a.routes[0].matches[0].headers[0]",
    "services.a.routes[0].matches[0].headers[0].invert",
    "services.a.routes[0].matches[0].headers[0].matcher.contains",
    "services.a.routes[0].matches[0].headers[0].matcher.exact",
    "services.a.routes[0].matches[0].headers[0].matcher.prefix",
    "services.a.routes[0].matches[0].headers[0].matcher.suffix",
    "services.a.routes[0].matches[0].headers[0].matcher=present",
    "services.a.routes[0].matches[0].headers[0].name",
    "services.a.routes[0].matches[0].method",
    "services.a.routes[0].matches[0].path.exact",
    "services.a.routes[0].matches[0].path.prefix",
    "services.a.routes[0].matches[0].query[0]",
    "services.a.routes[0].matches[0].query[0].matcher.contains",
    "services.a.routes[0].matches[0].query[0].matcher.exact",
    "services.a.routes[0].matches[0].query[0].matcher.prefix",
    "services.a.routes[0].matches[0].query[0].matcher.suffix",
    "services.a.routes[0].matches[0].query[0].matcher=present",
    "services.a.routes[0].matches[0].query[0].name",
    "services.a.routes[0].name",
    "services.a.routes[0].policy",
];

/// What is carried and described, and changes nothing.
const CARRIED: &[&str] = &[
    "clusters.a.endpoints[0].labels.k",
    "clusters.a.endpoints[0].locality",
    "clusters.a.endpoints[0].locality.region",
    "clusters.a.endpoints[0].locality.sub_zone",
    "clusters.a.endpoints[0].locality.zone",
    "clusters.a.endpoints[0].metadata.k",
    "clusters.a.endpoints[0].metadata.k.k",
    "clusters.a.endpoints[0].metadata.k[0]",
    "clusters.a.endpoints[0].node",
    "clusters.a.labels.k",
    "clusters.a.metadata.k",
    "clusters.a.metadata.k.k",
    "clusters.a.metadata.k[0]",
    "services.a.labels.k",
    "services.a.routes[0].labels.k",
];

fn is_supported(path: &str) -> bool {
    let of_service = path.replacen(".routes[0].policy.", ".policy.", 1);
    let on_route = path != of_service && !path.ends_with(".max_requests");
    RUNS.contains(&path)
        || CARRIED.contains(&path)
        || (on_route && RUNS.contains(&of_service.as_str()))
}

/// What is wrong with a leaf of a service or cluster.
fn fault<T: DeserializeOwned>(
    leaf: &Leaf,
    validate: impl Fn(&T) -> Result<(), ConfigErrors>,
) -> Option<String> {
    let Leaf { path, value } = leaf;
    let part: T = match serde_json::from_value(value.clone()) {
        Ok(part) => part,
        Err(error) => return Some(format!("{path}: {value} cannot be read: {error}")),
    };
    let errors = validate(&part).err().unwrap_or_default().0;
    let plain = path.split('=').next().unwrap_or(path);
    if is_supported(path) {
        return (!errors.is_empty())
            .then(|| format!("{path}: is listed as supported, but {}", ConfigErrors(errors)));
    }
    let named = errors.iter().any(|error| {
        error.reason.starts_with("not supported yet")
            && plain
                .strip_prefix(error.path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    (!named)
        .then(|| format!("{path}: is neither listed as supported nor refused; errors: {errors:?}"))
}

fn leaves() -> (Vec<Leaf>, Vec<Leaf>) {
    let model = Model::new();
    (model.leaves("Service", "services.a"), model.leaves("Cluster", "clusters.a"))
}

#[test]
fn every_field_is_supported_or_refused_by_name() {
    let (services, clusters) = leaves();
    assert!(services.len() > 200 && clusters.len() > 300, "the schema was not walked");
    let services = services.iter().filter_map(|leaf| fault(leaf, |it: &Service| it.validate("a")));
    let faults: Vec<String> = services
        .chain(clusters.iter().filter_map(|leaf| fault(leaf, |it: &Cluster| it.validate("a"))))
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn what_is_listed_as_supported_exists() {
    let (services, clusters) = leaves();
    for path in RUNS.iter().chain(CARRIED) {
        let known = services.iter().chain(&clusters).any(|leaf| leaf.path == *path);
        assert!(known, "{path} is no field");
    }
}
