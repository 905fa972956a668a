//! The configuration model: one superset of what xDS, Gateway API, Consul's discovery chain and
//! Linkerd's policy can say.
//!
//! Plain data: service → routes → clusters → priorities → localities → endpoints. An endpoint names
//! its priority and locality; its cluster gives these their weights. Every control plane is a
//! translation into the model, and `docs/CONFIG.md` says field by field what each of them calls it.
//!
//! Validation names the field, its value and the allowed range; what the model can say and the
//! stack cannot run yet is refused by name. Unknown fields are errors, in choices too.
//!
//! What is not given has the default that its documentation tells; a route's policy is laid over
//! its service's, and what the code says over what sources say, field by field. The structs are `#[non_exhaustive]`: make one by its
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
mod admission;
mod authorization;
mod balancer;
mod balancing;
pub(crate) mod block;
mod breakers;
mod cluster;
pub(crate) mod discovery;
#[cfg(feature = "dns")]
pub(crate) mod dns_name;
mod endpoint;
mod error;
mod failover;
mod fault;
mod filter;
mod follow;
pub(crate) mod format;
mod hash;
pub(crate) mod header;
pub(crate) mod headers;
mod health_check;
mod hedge;
mod http;
pub(crate) mod identity;
mod limits;
#[cfg(feature = "schema")]
mod links;
mod locality;
mod matching;
pub(crate) mod name;
mod noted;
mod outlier;
mod overlay;
pub(crate) mod path;
pub(crate) mod pattern;
#[cfg(feature = "regex")]
mod patterns;
mod policy;
mod rate_limit;
#[cfg(feature = "regex")]
mod regex;
mod retry;
mod rewrite;
mod route;
pub(crate) mod security;
#[cfg(feature = "serde")]
mod serde_support;
mod service;
mod session;
mod shard;
pub(crate) mod share;
mod subset;
pub(crate) mod template;
pub(crate) mod text;
mod tracing;
mod transport;
mod tunnel;
mod validate;
mod value;

use std::collections::BTreeMap;

#[cfg(feature = "file")]
pub(crate) use self::address::hint_of_dns;
pub(crate) use self::authorization::Role;
#[cfg(feature = "orca")]
pub(crate) use self::balancer::PROBE_PATH;
pub(crate) use self::health_check::hex;
pub(crate) use self::locality::decoded;
pub(crate) use self::policy::bound;
pub(crate) use self::rate_limit::MOST_BUCKETS;
#[cfg(feature = "regex")]
pub(crate) use self::regex::Rewriter;
pub use self::{
    address::Address,
    admission::{
        AdaptiveConcurrency, AdmissionControl, AimdController, ConcurrencyController,
        Gradient2Controller, GradientController, Throttle, VegasController,
    },
    authorization::{
        Action, Authorization, AuthorizationRule, ClaimMatch, Evaluation, LabelMatch, Permission,
        PortRange, Principal,
    },
    balancer::{
        Balancer, ClientWeighted, HashFunction, LeastRequest, Maglev, OverrideHost, OverrideSource,
        PickFirst, Prequal, RingHash,
    },
    balancing::{Balancing, LocalityBalancing, LocalityScope, Ring, Rings, SlowStart, ZoneAware},
    breakers::{Breakers, InFlightBudget, Thresholds},
    cluster::{Cluster, DropOverload, LoadReport, Queue},
    discovery::{Discovery, DnsDiscovery, DnsFamily, DnsKind, ProviderDiscovery},
    endpoint::{Endpoint, EndpointCheck, EndpointTls, Health, Protocol, Security},
    error::{ConfigError, ConfigErrors},
    failover::{Failover, FailoverMode},
    fault::{Fault, FaultAbort, FaultDelay, FaultRate},
    filter::{Filter, Mirror, NamedFilter},
    follow::FollowRedirects,
    hash::{HashCookie, HashHeader, HashOn, HashPolicy},
    headers::{HeaderEdit, HeaderPair},
    health_check::{GrpcProbe, HealthCheck, HttpProbe, Probe, TcpProbe},
    hedge::Hedge,
    http::{HeaderCase, HeaderUnderscores, Http1Options, Http2, HttpOptions},
    identity::IdentityFiles,
    limits::{Failures, Limits},
    locality::{Locality, LocalityWeight, Place},
    matching::{
        CookieMatch, GrpcMatch, HeaderMatch, IntegerRange, Match, MetadataMatch, NumberRange,
        PathMatch, QueryMatch, RegexRewrite, RuntimeFraction, StringMatch, ValueMatch,
    },
    noted::CallMetadata,
    outlier::{FailureAccrual, FailurePercentage, OutlierDetection, SuccessRate},
    policy::{CallPriority, Criticality, DEFAULT_RESOLVE_TIMEOUT, GrpcTimeout, Policy},
    rate_limit::{
        AddressMask, DescriptorEntry, DescriptorHeaders, DescriptorMetadata, DescriptorPart,
        DescriptorQuery, DescriptorSource, GlobalRateLimit, LimitedDescriptor, RateDescriptor,
        RateLimit, RateRequestType, TokenBucket,
    },
    retry::{
        AvoidEndpoint, Budget, ResetFormat, ResetHeader, Retry, RetryOn, RetryPriority,
        RetryThrottle,
    },
    rewrite::{DirectResponse, HostRewrite, PathRewrite, Redirect, Rewrite},
    route::{ClusterChoice, FilterOverride, Route, Upgrade, WeightedCluster},
    security::{
        CertificateRef, ClusterSecurity, IdentityMatch, SanKind, SanMatch, SecurityMode,
        SecurityRule, TlsVersion,
    },
    service::{RouteOrder, Service, ServiceProtocol},
    session::{Session, SessionCookie},
    shard::{Shard, Sharded, SlotRange},
    subset::{
        DeterministicSubset, RandomSubset, SubsetFallback, SubsetSelector, Subsets, Subsetting,
    },
    tracing::Tracing,
    transport::{
        Preconnect, ProxyProtocol, ProxyProtocolEntry, ProxyProtocolVersion, SocketOption,
        Transport, TransportSettings,
    },
    tunnel::{Hbone, HttpConnect, LinkerdHeader, Tunnel},
    value::{Extension, Value},
};

pub(crate) use self::noted::Noted;
pub(crate) use self::overlay::Overlay;
pub(crate) use self::validate::{NO_TIME, is_time};

/// Services, clusters and identities by name: what a mesh file holds.
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
    /// Who the mesh is and whom it trusts; `default` is what clusters use that name no other.
    pub identities: BTreeMap<String, IdentityFiles>,
    /// Shares by the runtime keys that fractions of matches and of mirrors name. Unit: percent. Range:
    /// 0..=100. One that nobody sets leaves what the field itself says.
    pub runtime: BTreeMap<String, f64>,
    /// Rules that judge all calls, whichever service they call, by names of their own; each list must let a
    /// call go on. One that is refused denies every call
    /// until there is a good one.
    pub authorize: BTreeMap<String, Authorization>,
}

/// The JSON Schema of a mesh file.
#[cfg(feature = "schema")]
#[must_use]
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(Config);
    if let Some(fields) = schema.as_object_mut() {
        // It stays a schema, which writes its fields in the order of reading.
        links::unlink(fields);
    }
    serde_json::to_string_pretty(&schema).unwrap_or_default()
}

#[cfg(test)]
mod tests;
