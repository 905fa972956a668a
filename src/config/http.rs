//! Options of HTTP towards the endpoints of a cluster.

use std::time::Duration;

use super::Extension;

/// Options of HTTP (xDS `HttpProtocolOptions`). Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct HttpOptions {
    /// Options of HTTP/1.
    pub http1: Option<Http1Options>,
    /// Options of HTTP/2.
    pub http2: Option<Http2>,
    /// Whether HTTP/3 is used. Default: false.
    pub http3: Option<bool>,
    /// Whether alternative services are remembered. Default: false.
    pub alternate_protocols: Option<bool>,
    /// Headers of a response. Default: 100.
    pub max_response_headers: Option<u32>,
    /// All headers of a response. Unit: bytes. Default: 60 KiB.
    pub max_response_header_bytes: Option<u32>,
    /// Names with underscores. Default: they are allowed.
    pub underscores: HeaderUnderscores,
    /// The way headers are checked, of another system.
    pub header_validation: Option<Extension>,
}

/// What happens to header names with underscores.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum HeaderUnderscores {
    /// They are allowed.
    #[default]
    Allow,
    /// The request fails.
    Reject,
    /// They are dropped.
    Drop,
}

/// Options of HTTP/1. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Http1Options {
    /// Whether HTTP/1.0 is accepted. Default: false.
    pub accept_http_10: Option<bool>,
    /// How header names are written. Default: in small letters.
    pub header_case: HeaderCase,
    /// Whether trailers are sent. Default: false.
    pub enable_trailers: Option<bool>,
    /// Whether a response may have both `content-length` and chunks. Default: false.
    pub allow_chunked_length: Option<bool>,
    /// Whether a malformed message ends only its stream. Default: false.
    pub stream_error_on_invalid: Option<bool>,
    /// Whether absolute URLs are sent. Default: false. Source: xDS `send_fully_qualified_url`.
    pub absolute_url: Option<bool>,
}

/// How header names are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum HeaderCase {
    /// In small letters.
    #[default]
    Lower,
    /// `Content-Type`.
    ProperCase,
    /// As they came.
    Preserve,
}

/// Parameters of HTTP/2. Not supported yet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Http2 {
    /// The initial window of a stream. Unit: bytes. Range: 65535..=2147483647.
    pub stream_window_bytes: Option<u32>,
    /// The initial window of a connection. Unit: bytes. Range: 65535..=2147483647.
    pub connection_window_bytes: Option<u32>,
    /// Whether windows follow the bandwidth. Default: false. Source: Linkerd
    /// `adaptive_flow_control`.
    pub adaptive_window: Option<bool>,
    /// The idle time before a ping. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub ping_interval: Option<Duration>,
    /// The wait for its answer. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub ping_timeout: Option<Duration>,
    /// Whether idle connections are pinged. Default: false. Source: Linkerd `while_idle`.
    pub ping_while_idle: Option<bool>,
    /// The most that is added to the interval. Unit: percent. Default: 15 (Envoy).
    pub ping_jitter_percent: Option<u32>,
    /// Streams in flight. Default: 100.
    pub max_concurrent_streams: Option<u32>,
    /// Streams that were reset and are remembered. Default: 10.
    pub max_reset_streams: Option<u32>,
    /// The largest frame. Unit: bytes. Default: 16384. Range: 16384..=16777215.
    pub max_frame_bytes: Option<u32>,
    /// What waits to be sent on a stream. Unit: bytes. Default: 409600.
    pub max_send_buffer_bytes: Option<u32>,
    /// The table of header compression. Unit: bytes. Default: 4096.
    pub header_table_bytes: Option<u32>,
    /// Whether CONNECT may carry a protocol. Default: false.
    pub allow_connect: Option<bool>,
}
