//! Limits of a cluster: its circuit breakers.

use std::time::Duration;

/// Limits of a cluster (xDS `CircuitBreakers`, Consul `Limits`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Breakers {
    /// Attempts in flight. Default: no limit. Range: from 1.
    pub max_requests: Option<u32>,
    /// Connections. Not supported yet.
    pub max_connections: Option<u32>,
    /// Attempts that wait for a connection. Not supported yet.
    pub max_pending: Option<u32>,
    /// Retries and hedges in flight, from their being granted to their response's head. It takes the
    /// place of the default retry budget of the routes; one that is given has to grant, too. Default:
    /// no limit but the budget.
    pub max_retries: Option<u32>,
    /// Connections to one endpoint. Not supported yet. Source: xDS `per_host_thresholds`.
    pub max_connections_per_endpoint: Option<u32>,
    /// Connection pools. Not supported yet. Source: xDS `max_connection_pools`.
    pub max_pools: Option<u32>,
    /// The same as a share of the attempts in flight; it takes the place of `max_retries`.
    pub retry_budget: Option<Box<InFlightBudget>>,
    /// The limits of calls of high priority. Default: none. Not supported yet.
    pub high: Option<Box<Thresholds>>,
}

/// The limits of one priority. Not supported yet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Thresholds {
    /// Attempts in flight.
    pub max_requests: Option<u32>,
    /// Connections.
    pub max_connections: Option<u32>,
    /// Attempts that wait for a connection.
    pub max_pending: Option<u32>,
    /// Retries in flight.
    pub max_retries: Option<u32>,
    /// Connection pools.
    pub max_pools: Option<u32>,
    /// Retries in flight as a share of the calls in flight.
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
