//! The configuration model: one superset of what xDS, Gateway API, Consul's discovery chain and
//! Linkerd's policy can say.
//!
//! Plain data: service → routes → clusters → endpoints. Every control plane is a translation
//! into it. Validation names the field, its value and the allowed range; what the model can say
//! and the stack cannot run yet is refused by name.
//!
//! What is not given has the default that its documentation tells; a route's policy is laid over
//! its service's, field by field. The structs are `#[non_exhaustive]`: make one by its
//! constructor or `Default`, and set its fields.
//!
//! ```
//! use tower_mesh::config::{Cluster, Endpoint, Protocol};
//!
//! let mut cluster = Cluster::default();
//! cluster.protocol = Some(Protocol::Http2);
//! cluster.endpoints.push(Endpoint::new("10.0.0.1:50051".parse().unwrap()).weight(2));
//! assert!(cluster.validate("greeter").is_ok());
//!
//! cluster.endpoints[0].weight = 0;
//! let refused = cluster.validate("greeter").unwrap_err().to_string();
//! assert_eq!(refused, "clusters.greeter.endpoints[0].weight = 0: must be in 1..=65535");
//! ```

mod address;
mod cluster;
mod endpoint;
mod error;
mod filter;
mod matching;
mod policy;
mod retry;
#[cfg(feature = "serde")]
mod serde_support;
mod service;
mod transport;
mod validate;

use std::collections::BTreeMap;

pub use self::{
    address::Address,
    cluster::{Balancer, Breakers, Cluster, Discovery, DnsDiscovery, OutlierDetection},
    endpoint::{Endpoint, Health, Http2, Locality, Protocol, Security, Tunnel},
    error::{ConfigError, ConfigErrors},
    filter::{Filter, HeaderEdit},
    matching::{HeaderMatch, Match, PathMatch, QueryMatch, StringMatch},
    policy::{DEFAULT_RESOLVE_TIMEOUT, Hedge, Policy},
    retry::{Budget, Retry},
    service::{Route, Service, WeightedCluster},
    transport::{Transport, TransportSettings},
};

/// Services and clusters by name: what a mesh file holds.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Config {
    /// What applications call.
    pub services: BTreeMap<String, Service>,
    /// Where the calls go.
    pub clusters: BTreeMap<String, Cluster>,
}

/// The JSON Schema of a mesh file.
#[cfg(feature = "schema")]
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(Config);
    serde_json::to_string_pretty(&schema).unwrap_or_default()
}

#[cfg(test)]
mod tests;
