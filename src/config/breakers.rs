//! Limits of a cluster: its circuit breakers.

use std::time::Duration;

/// Limits of a cluster (xDS `CircuitBreakers`, Consul `Limits`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Breakers {
    /// Attempts in flight; 0: none, the cluster is shut. Default: no limit.
    pub max_requests: Option<u32>,
    /// Connections to all endpoints together. An endpoint without one gets one all the same, even of 0; who
    /// waits for one waits as long as its deadline allows. Default: no limit. Source: Envoy.
    pub max_connections: Option<u32>,
    /// Attempts that wait for a connection; over it they fail. 0: none waits, so that none has a connection made.
    /// Default: no limit.
    pub max_pending: Option<u32>,
    /// Retries and hedges in flight, from their being granted to their response's head. It takes the
    /// place of the default retry budget of the routes; one that is given has to grant, too. Default:
    /// no limit but the budget.
    pub max_retries: Option<u32>,
    /// Connections to one endpoint, of every protocol; it gets one even of 0. Default: no limit but that of the
    /// transport. Source: xDS `per_host_thresholds`.
    pub max_connections_per_endpoint: Option<u32>,
    /// Connection pools. Refused: an endpoint has one pool, and `subsetting` bounds how many endpoints
    /// are used. Source: xDS `max_connection_pools`.
    pub max_pools: Option<u32>,
    /// Retries and hedges in flight as a share of the attempts in flight; it takes the place of `max_retries`.
    pub retry_budget: Option<Box<InFlightBudget>>,
    /// The limits of calls of high priority, which are counted for themselves. Default: none.
    pub high: Option<Box<Thresholds>>,
    /// A name by which attempts, and retries and hedges, in flight are counted: together with those of every
    /// cluster of the process that says the same name, each under its own limits. Not empty. Default: those of
    /// the cluster in this mesh are counted alone. Source: gRFC A32, by which clusters of xDS have one.
    pub shared: Option<String>,
}

/// The limits of one priority.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Thresholds {
    /// Attempts in flight; 0: none. Default: no limit.
    pub max_requests: Option<u32>,
    /// Connections that these calls have asked for. Default: no limit.
    pub max_connections: Option<u32>,
    /// Attempts that wait for a connection. Default: no limit.
    pub max_pending: Option<u32>,
    /// Retries and hedges of these calls in flight. Default: no limit but the budget.
    pub max_retries: Option<u32>,
    /// Connection pools. Refused, as [`Breakers::max_pools`] is.
    pub max_pools: Option<u32>,
    /// Retries and hedges of these calls in flight as a share of their attempts in flight; it takes the place of `max_retries`.
    pub retry_budget: Option<Box<InFlightBudget>>,
}

/// Retries in flight as a share of the calls in flight (Envoy's retry budget).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct InFlightBudget {
    /// The share. Unit: percent. Default: 20. Range: 0..=100.
    pub percent: Option<u32>,
    /// Retries that are always allowed. Default: 3.
    pub min_concurrency: Option<u32>,
    /// How far back calls count: those that have begun in it, if they are more than those in flight.
    /// Default: 0: only those in flight. Range: at most 1 h. Source: Istio.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub interval: Option<Duration>,
}
