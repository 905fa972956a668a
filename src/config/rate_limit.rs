//! Rate limits: a local token bucket, and a service that many callers share.

use std::time::Duration;

use super::{Extension, HeaderEdit, HeaderMatch, QueryMatch};

/// A token bucket.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct TokenBucket {
    /// Tokens at most. Range: from 1.
    pub max_tokens: u32,
    /// Tokens per fill. Default: 1. Range: from 1.
    pub tokens_per_fill: Option<u32>,
    /// The time between fills. Default: 1 s. Range: from 50 ms (Envoy).
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub fill_interval: Option<Duration>,
}

/// Limits the rate of requests of this process. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct RateLimit {
    /// The bucket of requests that no descriptor matches.
    pub bucket: TokenBucket,
    /// Buckets of their own.
    pub descriptors: Vec<LimitedDescriptor>,
    /// What describes a request. Default: nothing: all share one bucket.
    pub describe: Vec<RateDescriptor>,
    /// The share of requests that is counted. Unit: percent. Default: 100. Range: 0..=100.
    pub enabled_percent: Option<f64>,
    /// The share of them that is refused when over. Unit: percent. Default: 100. Range: 0..=100.
    pub enforced_percent: Option<f64>,
    /// The status of a refusal. Default: 429.
    pub status: Option<u16>,
    /// Edits of refusals' headers.
    pub response_headers: HeaderEdit,
    /// Edits of the headers of requests that were over, but not refused.
    pub request_headers: HeaderEdit,
    /// Whether each connection has its own bucket. Default: false.
    pub per_connection: Option<bool>,
    /// Whether `x-ratelimit-*` headers are sent. Default: false.
    pub limit_headers: Option<bool>,
}

/// A bucket of its own for requests that are described so. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct LimitedDescriptor {
    /// What the description must be.
    pub entries: Vec<DescriptorEntry>,
    /// The bucket.
    pub bucket: TokenBucket,
}

/// One key and value of a description.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct DescriptorEntry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Asks a service that many callers share (xDS `ratelimit`). Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct GlobalRateLimit {
    /// The cluster of the service.
    pub cluster: String,
    /// The domain of the limits.
    pub domain: String,
    /// The stage whose descriptions are sent. Default: 0. Range: 0..=10.
    pub stage: Option<u32>,
    /// How long its answer is waited for. Default: 20 ms.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub timeout: Option<Duration>,
    /// Whether requests fail when it does not answer. Default: false.
    pub fail_closed: Option<bool>,
    /// The status of a refusal. Default: 429.
    pub status: Option<u16>,
    /// Edits of refusals' headers.
    pub response_headers: HeaderEdit,
    /// Whether `x-ratelimit-*` headers are sent. Default: false.
    pub limit_headers: Option<bool>,
    /// What describes a request.
    pub describe: Vec<RateDescriptor>,
}

/// One description of a request, made of parts. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct RateDescriptor {
    /// The parts, in order; one that a request lacks drops the whole.
    pub parts: Vec<DescriptorPart>,
    /// The stage. Default: 0. Range: 0..=10.
    pub stage: Option<u32>,
    /// The runtime key that turns it off.
    pub disable_key: Option<String>,
    /// What a request counts for. Default: 1.
    pub hits: Option<u64>,
}

/// One part of a description. Not supported yet.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum DescriptorPart {
    /// The caller's cluster.
    SourceCluster,
    /// The cluster that the request goes to.
    DestinationCluster,
    /// The caller's address.
    RemoteAddress,
    /// The caller's address, shortened to a network.
    MaskedAddress(AddressMask),
    /// The value of a header.
    Header(DescriptorSource),
    /// The value of a query parameter.
    Query(DescriptorSource),
    /// A fixed value.
    Fixed(DescriptorEntry),
    /// A fixed value, if these headers match.
    HeadersMatch(DescriptorHeaders),
    /// A fixed value, if these query parameters match.
    QueryMatch(DescriptorQuery),
    /// What earlier filters have noted.
    Metadata(DescriptorMetadata),
    /// A part of another system.
    Extension(Extension),
}

/// How an address is shortened.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct AddressMask {
    /// Bits of an IPv4 address. Default: 32. Range: 0..=32.
    pub ipv4_bits: Option<u8>,
    /// Bits of an IPv6 address. Default: 128. Range: 0..=128.
    pub ipv6_bits: Option<u8>,
}

/// Where the value of a part comes from.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct DescriptorSource {
    /// The name of the header or query parameter.
    pub name: String,
    /// The key of the part.
    pub key: String,
    /// Whether the part alone is dropped when there is no value. Default: false.
    pub skip_if_absent: bool,
}

/// A part if headers match.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct DescriptorHeaders {
    /// The key. Default: `header_match`.
    pub key: Option<String>,
    /// The value.
    pub value: String,
    /// The headers, all of them.
    pub headers: Vec<HeaderMatch>,
    /// Whether they must match, or must not. Default: must.
    pub invert: bool,
}

/// A part if query parameters match.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct DescriptorQuery {
    /// The key. Default: `query_match`.
    pub key: Option<String>,
    /// The value.
    pub value: String,
    /// The parameters, all of them.
    pub query: Vec<QueryMatch>,
    /// Whether they must match, or must not. Default: must.
    pub invert: bool,
}

/// A part from what earlier filters have noted.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct DescriptorMetadata {
    /// The key.
    pub key: String,
    /// The namespace of the filter.
    pub namespace: String,
    /// The way to the value.
    pub path: Vec<String>,
    /// The value when there is none.
    pub default: Option<String>,
}
