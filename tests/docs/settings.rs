//! Every setting of the mesh file has a row in docs/DEFAULTS.md, or is known to have no default.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;

use crate::documents::{read, rows, spans, squeezed};
use serde_json::Value;

/// What the rows call the settings of a part that are not called as the part is.
const CALLED: &[(&str, &str)] = &[
    ("AimdController", "aimd"),
    ("Authorization", "authorize"),
    ("AuthorizationRule", "authorize.rules"),
    ("ClusterSecurity", "security"),
    ("CookieMatch", "matches.cookies"),
    ("DescriptorHeaders", "describe.parts.headers"),
    ("DescriptorQuery", "describe.parts.query"),
    ("DescriptorSource", "describe.parts"),
    ("DeterministicSubset", "subsetting.deterministic"),
    ("DnsDiscovery", "discovery.dns"),
    ("DropOverload", "drops"),
    ("FailureAccrual", "accrual"),
    ("FaultAbort", "fault.abort"),
    ("FaultDelay", "fault.delay"),
    ("FaultRate", "fault.response_rate"),
    ("Gradient2Controller", "gradient2"),
    ("GradientController", "gradient"),
    ("HashCookie", "hash.cookie"),
    ("HashHeader", "hash.header"),
    ("HashPolicy", "hash"),
    ("HeaderMatch", "matches.headers"),
    ("HealthCheck", "health_checks"),
    ("HttpProbe", "http"),
    ("IdentityFiles", "identities"),
    ("InFlightBudget", "retry_budget"),
    ("LocalityWeight", "localities"),
    ("Match", "matches"),
    ("NamedFilter", "filters"),
    ("QueryMatch", "matches.query"),
    ("RandomSubset", "subsetting.random"),
    ("RateDescriptor", "describe"),
    ("ResetHeader", "reset_headers"),
    ("RetryPriority", "priority"),
    ("RetryThrottle", "throttle"),
    ("SanMatch", "security.identities"),
    ("SessionCookie", "session.cookie"),
    ("Shard", "sharded.shards"),
    ("SubsetSelector", "subsets.selectors"),
    ("Thresholds", "breakers"),
    ("TokenBucket", "rate_limit.bucket"),
    ("VegasController", "vegas"),
    ("WeightedCluster", "route.clusters"),
];

/// Settings without a default: they have to be given, or there is nothing of theirs unless they are (no
/// list, no part, any value, what another part says).
const WITHOUT: &[(&str, &str)] = &[
    ("Authorization", "rules"),
    ("AuthorizationRule", "permissions principals"),
    ("CertificateRef", "name provider"),
    (
        "Cluster",
        "balancing breakers discovery drops endpoints failover health_checks labels least_request localities metadata outlier_detection security slow_start subsets subsetting transport",
    ),
    ("ClusterSecurity", "bundles certificate ciphers groups matches roots"),
    ("CookieMatch", "invert"),
    ("DescriptorEntry", "key value"),
    ("DescriptorHeaders", "headers value"),
    ("DescriptorQuery", "query value"),
    ("DescriptorSource", "key name"),
    ("DeterministicSubset", "process processes"),
    ("DirectResponse", "body grpc headers status"),
    ("DnsDiscovery", "ndots resolvers search use_tcp"),
    ("DropOverload", "category"),
    (
        "Endpoint",
        "authority hash_key hostname labels locality metadata more_addresses node protocol security tunnel",
    ),
    ("EndpointTls", "alpn identities mode rule sni"),
    ("Extension", "settings"),
    ("Failover", "clusters mode"),
    ("Fault", "abort callers cluster delay headers response_rate"),
    ("FaultAbort", "grpc status"),
    ("FaultDelay", "fixed"),
    ("FaultRate", "bytes_per_second"),
    ("FilterOverride", "disabled filter"),
    ("GlobalRateLimit", "cluster describe domain response_headers"),
    ("GrpcMatch", "method service"),
    ("GrpcProbe", "authority metadata service"),
    ("HashCookie", "attributes name path"),
    ("HashHeader", "name"),
    ("HeaderEdit", "add add_if_absent remove remove_matching set set_if_present"),
    ("HeaderMatch", "invert"),
    ("HeaderPair", "name value"),
    ("HttpProbe", "body headers host receive remove_headers retriable service"),
    ("IdentityFiles", "bundle_map bundles certificate crl key roots"),
    ("IntegerRange", "end start"),
    ("LimitedDescriptor", "bucket entries"),
    ("Locality", "region sub_zone zone"),
    ("LocalityWeight", "locality"),
    ("Match", "caller cookies fraction grpc headers metadata method path query scheme"),
    ("MetadataMatch", "invert namespace path value"),
    ("Mirror", "cluster key request_headers"),
    ("NumberRange", "end start"),
    ("OutlierDetection", "accrual failure_percentage success_rate"),
    ("PortRange", "end start"),
    ("QueryMatch", "invert"),
    ("RateDescriptor", "parts"),
    ("RateLimit", "bucket describe descriptors request_headers response_headers"),
    ("Redirect", "host path port scheme"),
    ("RegexRewrite", "pattern substitution"),
    ("ResetHeader", "name"),
    ("Rewrite", "host path"),
    ("RingHash", "request_header"),
    (
        "Route",
        "choice_header cluster_header clusters filters hosts labels matches name overrides policy subset upgrades",
    ),
    ("RuntimeFraction", "key percent"),
    ("SanMatch", "kind oid"),
    ("Service", "cluster filters labels overrides policy protocol routes"),
    ("Session", "cookie header name"),
    ("SessionCookie", "attributes name ttl"),
    ("Shard", "keys name replicas"),
    ("Sharded", "hash shards"),
    ("SlotRange", "first last"),
    ("SubsetSelector", "fallback fallback_keys keys"),
    ("Subsets", "default selectors"),
    ("TcpProbe", "receive send"),
    ("TokenBucket", "max_tokens"),
    ("Tracing", "header_tags tags"),
    ("Upgrade", "disabled protocol"),
    ("WeightedCluster", "filters invalid overrides subset"),
    ("ZoneAware", "own_cluster"),
];

/// Parts that are read, and refused as a whole where they are named.
const REFUSED: &[&str] = &["ProviderDiscovery"];

fn text(about: &Value) -> String {
    squeezed(about["description"].as_str().unwrap_or(""))
}

/// `PeakEwma` as `peak_ewma`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Whether a description states a value, and not in words that there is none.
fn states_a_value(about: &str) -> bool {
    let value = about.split_once("Default: ").map_or("", |(_, value)| value);
    value.starts_with(|first: char| first.is_ascii_digit() || first == '`')
        || value.starts_with("true")
        || value.starts_with("false")
}

#[test]
fn every_setting_has_its_row() {
    let table = rows(&read("docs/DEFAULTS.md"));
    let names: BTreeSet<&str> = table.iter().flat_map(|cells| spans(&cells[0])).collect();
    let schema: Value = serde_json::from_str(&read("docs/mesh.schema.json")).unwrap();
    let mut allowed: BTreeSet<(&str, &str)> = WITHOUT
        .iter()
        .flat_map(|(part, fields)| fields.split(' ').map(|field| (*part, field)))
        .collect();
    let mut missing = Vec::new();
    for (part, about) in schema["$defs"].as_object().unwrap() {
        let Some(fields) = about["properties"].as_object() else { continue };
        if text(about).contains("Not supported") || REFUSED.contains(&part.as_str()) {
            continue;
        }
        let called = CALLED.iter().find(|(name, _)| name == part);
        let prefix = called.map_or_else(|| snake(part), |(_, prefix)| (*prefix).to_owned());
        let required = about["required"].as_array().into_iter().flatten();
        let required: BTreeSet<&str> = required.filter_map(Value::as_str).collect();
        for (field, about) in fields {
            let about = text(about);
            let is_allowed = allowed.remove(&(part.as_str(), field.as_str()));
            let row = format!("{prefix}.{field}");
            if about.contains("Not supported")
                || required.contains(field.as_str())
                || names.contains(row.as_str())
            {
                assert!(!is_allowed, "{part}.{field} is refused, required or in the table");
            } else if !is_allowed || states_a_value(&about) {
                missing.push(format!("{row} ({part}): {about}"));
            }
        }
    }
    assert!(missing.is_empty(), "docs/DEFAULTS.md has no row of\n{}", missing.join("\n"));
    assert!(allowed.is_empty(), "no such settings: {allowed:?}");
}
