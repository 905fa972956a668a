//! No field of the model is silently ignored: each one is said on its own, and must either be in
//! a list of what runs or be refused by its name.
//!
//! The lists stand in `leaves/`, one per subject. What a route may say as its service does, its policy
//! and its filters, is listed of the service.

mod balancer;
mod cluster;
mod filters;
mod guards;
mod health;
mod policy;
mod routes;
mod service;

use serde::de::DeserializeOwned;

use super::{
    Cluster, ConfigErrors, Service,
    instances::{Leaf, Model},
};

/// What runs.
const RUNS: [&[&str]; 8] = [
    balancer::RUNS,
    cluster::RUNS,
    filters::RUNS,
    guards::RUNS,
    health::RUNS,
    policy::RUNS,
    routes::RUNS,
    service::RUNS,
];

/// What is carried and described, and changes nothing.
const CARRIED: &[&str] = &[
    "services.a.policy.retry.host_selection_attempts",
    "clusters.a.endpoints[0].metadata.k",
    "clusters.a.endpoints[0].metadata.k.k",
    "clusters.a.endpoints[0].metadata.k[0]",
    "clusters.a.labels.k",
    "clusters.a.metadata.k",
    "clusters.a.metadata.k.k",
    "clusters.a.metadata.k[0]",
    "services.a.labels.k",
    "services.a.routes[0].labels.k",
];

/// What runs only beside something else, which a leaf alone does not say.
const BESIDE: &[&str] = &[
    "services.a.policy.retry.on_status_ranges[0]",
    "services.a.policy.retry.on_status_ranges[0].end",
    "services.a.policy.retry.reset_headers[0]",
    "services.a.policy.retry.reset_headers[0].format=seconds",
    "services.a.policy.retry.reset_headers[0].format=unix_timestamp",
    "services.a.policy.retry.throttle",
    "services.a.policy.retry.throttle.max_tokens",
    "services.a.policy.retry.throttle.token_ratio",
    "clusters.a.drops[0]",
    "clusters.a.drops[0].percent",
    "services.a.filters[0].redirect.path.template",
    "services.a.filters[0].rewrite.path.template",
];

/// Where it is listed: what a route or one of its clusters says as its service does stands at the service.
fn listed(path: &str) -> String {
    let path = path.replacen(".routes[0].clusters[0].filters", ".filters", 1);
    path.replacen(".routes[0].policy.", ".policy.", 1).replacen(".routes[0].filters", ".filters", 1)
}

fn is_supported(path: &str) -> bool {
    let has = |path: &str| RUNS.iter().any(|list| list.contains(&path)) || CARRIED.contains(&path);
    !routes::is_of_whole_route(path) && (has(path) || has(&listed(path)))
}

fn is_beside(path: &str) -> bool {
    let lists = [BESIDE, guards::BESIDE];
    let has = |path: &str| lists.iter().any(|list| list.contains(&path));
    routes::is_beside(path)
        || (!routes::is_of_whole_route(path) && (has(path) || has(&listed(path))))
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
    let is_not_yet = |error: &super::ConfigError| error.reason.starts_with("not supported yet");
    if is_beside(path) {
        let is_refused = !errors.is_empty() && !errors.iter().any(is_not_yet);
        return (!is_refused).then(|| format!("{path}: {errors:?}"));
    }
    if is_supported(path) {
        return (!errors.is_empty())
            .then(|| format!("{path}: is listed as supported, but {}", ConfigErrors(errors)));
    }
    let is_refused = |error: &super::ConfigError| {
        is_not_yet(error) || error.reason.starts_with("means nothing here")
    };
    let named = errors.iter().any(|error| {
        is_refused(error)
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
    for path in RUNS.into_iter().flatten().chain(CARRIED) {
        let known = services.iter().chain(&clusters).any(|leaf| leaf.path == *path);
        assert!(known, "{path} is no field");
    }
}
