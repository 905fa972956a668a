//! Sizes of messages, and which responses are failures.

use super::IntegerRange;

/// Sizes of one call. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Limits {
    /// The body of a request. Unit: bytes. Default: none. Source: xDS buffer filter.
    pub max_request_bytes: Option<u64>,
    /// The body of a response. Unit: bytes. Default: none. Source: gRPC
    /// `maxResponseMessageBytes`.
    pub max_response_bytes: Option<u64>,
    /// One gRPC message of a request. Unit: bytes. Default: none. Source: gRPC service config.
    pub max_request_message_bytes: Option<u64>,
    /// One gRPC message of a response. Unit: bytes. Default: 4 MiB. Source: gRPC service config.
    pub max_response_message_bytes: Option<u64>,
    /// The headers of a request. Unit: bytes. Default: 60 KiB. Source: xDS
    /// `max_request_headers_kb`.
    pub max_request_header_bytes: Option<u32>,
}

/// Which responses count as failures of their endpoint: for its success average and, where the cluster's
/// `outlier_detection.statuses` says nothing, for whether it is ejected.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Failures {
    /// Statuses. Default: 500..600. Range: within 100..600. Source: Linkerd `ResponseClass`.
    pub statuses: Option<Vec<IntegerRange>>,
    /// gRPC codes. Default: 2, 4, 8, 13, 14, 15; Linkerd has 2, 4, 7, 13, 14, 15. Range: 1..=16.
    pub grpc: Option<Vec<i32>>,
}
