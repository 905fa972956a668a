//! Rate limits: a local token bucket, and a service that many callers share.

use std::time::Duration;

use super::{Extension, HeaderEdit, HeaderMatch, QueryMatch};

/// Buckets of one table at most.
pub(crate) const MOST_BUCKETS: u32 = 1_000_000;

/// A token bucket. It begins full, and its tokens come evenly: 10 in each second are one in each
/// 100 ms.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct TokenBucket {
    /// Tokens at most: so many requests may come at once. Range: from 1.
    pub max_tokens: u32,
    /// Tokens per fill. Default: 1. Range: from 1.
    pub tokens_per_fill: Option<u32>,
    /// The time in which they come. Default: 1 s. Range: from 50 ms (Envoy); the whole bucket
    /// fills within 365 days.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub fill_interval: Option<Duration>,
}

/// Limits the rate of requests of this process. Over the limit a call fails at once, with the
/// kind `Overloaded` and the refusal `RateLimited`.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct RateLimit {
    /// The bucket of requests that no descriptor matches. Default: none, if there are
    /// descriptors.
    pub bucket: TokenBucket,
    /// Buckets of their own. A description is counted by the first that it matches, those
    /// without wildcards before the others.
    pub descriptors: Vec<LimitedDescriptor>,
    /// Whether `bucket` counts the requests too that a descriptor matches. Default: false. Source:
    /// xDS `always_consume_default_token_bucket`, where the default is true.
    pub always_bucket: Option<bool>,
    /// The values that a descriptor with wildcards has buckets for, at most. Default: 1000. Range:
    /// 1..=1000000. Source: xDS `max_dynamic_descriptors`, 20 there.
    pub max_buckets: Option<u32>,
    /// What describes a request. Default: nothing: all share one bucket.
    pub describe: Vec<RateDescriptor>,
    /// The share of requests that is counted. Unit: percent. Default: 100. Range: 0..=100.
    pub enabled_percent: Option<f64>,
    /// The share of those over the limit that is refused. Unit: percent. Default: 100. Range:
    /// 0..=100.
    pub enforced_percent: Option<f64>,
    /// The status of a refusal. Default: 429. Range: 400..=599.
    pub status: Option<u16>,
    /// Edits of refusals' headers.
    pub response_headers: HeaderEdit,
    /// Edits of the headers of requests that were over, but not refused.
    pub request_headers: HeaderEdit,
    /// Whether each connection has its own bucket. Default: false. Not supported: a call is
    /// counted before its connection is chosen.
    pub per_connection: Option<bool>,
    /// Whether refusals have `x-ratelimit-*` headers. Default: false.
    pub limit_headers: Option<bool>,
}

/// A bucket of its own for requests that are described so.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct LimitedDescriptor {
    /// What the description must be, in order. An empty value is a wildcard: each value that it
    /// stands for has a bucket of its own.
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

/// Asks a service that many callers share (xDS `ratelimit`, `envoy.service.ratelimit.v3`). Needs
/// the crate feature `rls`.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct GlobalRateLimit {
    /// The cluster of the service. It is called over HTTP/2, by the cluster's settings and without
    /// filters.
    pub cluster: String,
    /// The domain of the limits.
    pub domain: String,
    /// The stage whose descriptions are sent. Default: 0. Range: 0..=10.
    pub stage: Option<u32>,
    /// How long its answer is waited for; never longer than the call may last. Default: 20 ms.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub timeout: Option<Duration>,
    /// Whether requests fail when it does not answer. Default: false.
    pub fail_closed: Option<bool>,
    /// The status of a call that fails because it does not answer. Default: 500. Range:
    /// 400..=599.
    pub error_status: Option<u16>,
    /// The status of a refusal. Default: 429. Range: 400..=599.
    pub status: Option<u16>,
    /// Edits of refusals' headers.
    pub response_headers: HeaderEdit,
    /// Whether responses and refusals have `x-ratelimit-*` headers. Default: false.
    pub limit_headers: Option<bool>,
    /// Whether refusals have `x-envoy-ratelimited`. Default: true. Source: xDS
    /// `disable_x_envoy_ratelimited_header`, inverted.
    pub limited_header: Option<bool>,
    /// The requests that it is asked about. Default: both.
    pub request_type: Option<RateRequestType>,
    /// What describes a request. One without any description is not asked about.
    pub describe: Vec<RateDescriptor>,
}

/// Requests by where they come from: `x-envoy-internal: true` marks internal ones.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum RateRequestType {
    /// All of them.
    #[default]
    Both,
    /// Internal ones.
    Internal,
    /// All others.
    External,
}

/// One description of a request, made of parts.
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
    /// The runtime key that turns it off, or on for a share of the requests alone: what
    /// `ratelimit.<disable_key>.http_filter_enabled` is set to. Unit of the key: percent. Default: 100.
    /// Source: xDS `RateLimit.disable_key`.
    pub disable_key: Option<String>,
    /// What a request counts for. Default: 1. Range: to 1000000000 (Envoy).
    pub hits: Option<u64>,
}

/// One part of a description.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum DescriptorPart {
    /// The caller's cluster, with the key `source_cluster`: the label `cluster` of this process
    /// ([`MeshBuilder::label`]).
    ///
    /// [`MeshBuilder::label`]: crate::MeshBuilder::label
    SourceCluster,
    /// The cluster that the request goes to, with the key `destination_cluster`.
    DestinationCluster,
    /// The caller's address. Not supported: a client has no caller with an address.
    RemoteAddress,
    /// The caller's address, shortened to a network. Not supported, as that.
    MaskedAddress(AddressMask),
    /// The first value of a header, or of `:path`, `:authority`, `:method` or `:scheme`.
    Header(DescriptorSource),
    /// The first value of a query parameter, percent-decoded.
    Query(DescriptorSource),
    /// A fixed value. An empty key is `generic_key`.
    Fixed(DescriptorEntry),
    /// A fixed value, if these headers match.
    HeadersMatch(DescriptorHeaders),
    /// A fixed value, if these query parameters match.
    QueryMatch(DescriptorQuery),
    /// What earlier filters have noted. Not supported yet.
    Metadata(DescriptorMetadata),
    /// A part of another system. Not supported yet.
    Extension(Extension),
}

/// How an address is shortened. Not supported.
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
    /// The key of the part. An empty one is the name.
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

/// A part from what earlier filters have noted. Not supported yet.
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

impl TokenBucket {
    /// A bucket of so many tokens, of which all come in a second.
    #[must_use]
    pub fn per_second(max_tokens: u32) -> Self {
        Self { max_tokens, tokens_per_fill: Some(max_tokens), fill_interval: None }
    }

    /// A bucket of `max_tokens`, of which `tokens_per_fill` come in each `fill_interval`.
    #[must_use]
    pub fn new(max_tokens: u32, tokens_per_fill: u32, fill_interval: Duration) -> Self {
        Self {
            max_tokens,
            tokens_per_fill: Some(tokens_per_fill),
            fill_interval: Some(fill_interval),
        }
    }

    pub(crate) fn per_fill(&self) -> u32 {
        self.tokens_per_fill.unwrap_or(1)
    }

    pub(crate) fn interval(&self) -> Duration {
        self.fill_interval.unwrap_or(Duration::from_secs(1))
    }
}

impl RateLimit {
    /// All requests share this bucket.
    #[must_use]
    pub fn new(bucket: TokenBucket) -> Self {
        Self { bucket, ..Self::default() }
    }

    /// Whether there is a bucket beside those of the descriptors.
    pub(crate) fn has_bucket(&self) -> bool {
        self.bucket != TokenBucket::default() || self.descriptors.is_empty()
    }

    pub(crate) fn buckets_at_most(&self) -> u32 {
        self.max_buckets.unwrap_or(1_000)
    }

    pub(crate) fn refused_as(&self) -> u16 {
        self.status.unwrap_or(429)
    }
}

impl LimitedDescriptor {
    /// A bucket for requests that are described by these keys and values.
    #[must_use]
    pub fn new<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
        bucket: TokenBucket,
    ) -> Self {
        let entries = entries.into_iter().map(|(key, value)| DescriptorEntry::new(key, value));
        Self { entries: entries.collect(), bucket }
    }
}

impl DescriptorEntry {
    /// A key and its value.
    #[must_use]
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

impl DescriptorSource {
    /// The value of what has this name, under the key of the same name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Whether it names what HTTP/2 has as a header.
    pub(crate) fn is_pseudo(&self) -> bool {
        [":authority", ":method", ":path", ":scheme"].contains(&self.name.as_str())
    }
}

impl RateDescriptor {
    /// A description of these parts.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = DescriptorPart>) -> Self {
        Self { parts: parts.into_iter().collect(), ..Self::default() }
    }
}

impl GlobalRateLimit {
    /// Asks the service of this cluster, in this domain.
    #[must_use]
    pub fn new(cluster: impl Into<String>, domain: impl Into<String>) -> Self {
        Self { cluster: cluster.into(), domain: domain.into(), ..Self::default() }
    }
}

#[cfg(feature = "rls")]
impl GlobalRateLimit {
    pub(crate) fn waits(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_millis(20))
    }

    pub(crate) fn refused_as(&self) -> u16 {
        self.status.unwrap_or(429)
    }

    pub(crate) fn failed_as(&self) -> u16 {
        self.error_status.unwrap_or(500)
    }
}
