//! The policy of a service or a route.

use std::time::Duration;

pub use crate::core::Criticality;

use super::{Failures, FollowRedirects, HashPolicy, Hedge, Limits, Overlay, Retry, Tracing};

/// How long a call waits for the first configuration unless told otherwise.
pub const DEFAULT_RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A bound of a policy: one of zero takes away what the levels above say.
pub(crate) fn bound(time: Option<Duration>) -> Option<Duration> {
    time.filter(|time| !time.is_zero())
}

/// What calls on a service or route obey; what is not given comes from the level above.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Policy {
    /// Bounds a call to its response headers, all attempts included. Default: none. Zero: none, too,
    /// whatever the levels above say (Envoy and Gateway API); so it is with the four next bounds. It bounds
    /// no body, and is not told in `grpc-timeout`, unless `whole_response` says so: a body that stalls is
    /// bounded by `idle_timeout` alone.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub timeout: Option<Duration>,
    /// Whether the timeout covers the response body too. Default: false.
    pub whole_response: Option<bool>,
    /// Bounds each attempt to its response headers. Default: none.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub attempt_timeout: Option<Duration>,
    /// Bounds the wait for each frame of a response body. Default: none.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub idle_timeout: Option<Duration>,
    /// Bounds each attempt's wait for response headers, from the end of its request on. Default:
    /// none. Source: Linkerd `Timeouts.response`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub response_timeout: Option<Duration>,
    /// Bounds a whole stream, both directions, all attempts included: from the start of the call to
    /// the end of its trailers. Default: none. Source: xDS
    /// `max_stream_duration`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub max_stream_duration: Option<Duration>,
    /// What the caller's `grpc-timeout` may do. Default: it bounds the call as it stands.
    pub grpc_timeout: Option<GrpcTimeout>,
    /// When an attempt is repeated. Default: [`Retry::standard`].
    pub retry: Option<Retry>,
    /// Calls in flight: of a service all of its calls, of a route those of the route besides. Default: no
    /// limit. Range: from 1.
    pub max_requests: Option<u32>,
    /// Hedged requests. Default: off.
    pub hedge: Option<Hedge>,
    /// Which limits of the cluster count these calls. Default: the ordinary ones.
    pub priority: Option<CallPriority>,
    /// How much these calls matter when load is shed; a call may say it itself
    /// ([`Call::criticality`](crate::Call::criticality)). Default: critical.
    pub criticality: Option<Criticality>,
    /// What a request is hashed by, for balancers that hash. Default: nothing; such a balancer
    /// then picks at random.
    pub hash: Option<Vec<HashPolicy>>,
    /// Sizes. Default: none. Not supported yet.
    pub limits: Option<Limits>,
    /// Which responses count as failures of their endpoint. Default: statuses 500..=599 and the gRPC
    /// codes of server faults.
    pub failures: Option<Failures>,
    /// Redirects that are followed inside of the call. Default: none. Not supported yet.
    pub follow_redirects: Option<FollowRedirects>,
    /// How calls are traced, where a tracer is given to the mesh. Default: as the caller's trace
    /// says.
    pub tracing: Option<Tracing>,
    /// Whether headers of a request may override its timeouts and retries (Linkerd
    /// `allow_l5d_request_headers`, Envoy `x-envoy-*`); they are taken out of it. A request that says
    /// when it is to be sent again is thereby declared to be harmless. Default: false: they are passed
    /// on.
    pub caller_overrides: Option<bool>,
    /// Whether each attempt tells the endpoint its number, 1 for the first, as
    /// `x-envoy-attempt-count` (xDS `include_request_attempt_count`). Default: false.
    pub send_attempt_count: Option<bool>,
    /// Whether the response tells the caller how many attempts there were, as
    /// `x-envoy-attempt-count` (xDS `include_attempt_count_in_response`). Default: false.
    pub report_attempt_count: Option<bool>,
}

/// Which limits of a cluster count a call (xDS `RoutingPriority`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CallPriority {
    /// The ordinary ones.
    #[default]
    Default,
    /// Those of [`Breakers::high`](super::Breakers::high).
    High,
}

/// What the caller's `grpc-timeout` may do (gRFC A31).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct GrpcTimeout {
    /// The longest that is honoured, and the bound of a call that says none; 0 means no limit. It takes
    /// the place of `max_stream_duration`. Default: that one.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub max: Option<Duration>,
    /// Subtracted from what the caller says, unless nothing would be left. Shorter than `max`.
    /// Default: 0.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub offset: Option<Duration>,
}

impl Policy {
    /// What is given here, and the rest from `lower`, field by field; a list is one value, and so is
    /// the budget of retries.
    #[must_use]
    pub fn over(&self, lower: &Self) -> Self {
        self.laid_over(lower)
    }
}
