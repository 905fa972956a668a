//! How connections are made and kept.

use std::time::Duration;

use super::{Address, Tunnel};

/// How connections to an endpoint are made and kept; what is not given has its default.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Transport {
    /// Bounds a connection attempt, from an address to a connection that can be used: TCP, the TLS
    /// handshake and the peer's HTTP/2 SETTINGS. Unit: time. Default: 1 s (Linkerd). Range: over 0, at
    /// most 365 days. Over long distances with TLS give it 3 s or more.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub connect_timeout: Option<Duration>,
    /// The wait after a failed connection attempt, doubled each time. Default: 100 ms.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub connect_backoff_base: Option<Duration>,
    /// The longest such wait. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub connect_backoff_max: Option<Duration>,
    /// Closes a connection that has been without requests for so long. Default: 90 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub idle_timeout: Option<Duration>,
    /// Retires a connection at this age. Default: 30 min.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub max_age: Option<Duration>,
    /// Adds up to so much to that age, drawn for each connection. Unit: percent. Range: 0..=100. Default: 10 %
    /// more or less. Source: xDS `max_connection_duration_jitter`.
    pub max_age_jitter: Option<f64>,
    /// Requests that a connection is given before it is retired: of HTTP/1.1 it ends with the last of them,
    /// of HTTP/2 no more streams begin, and it ends with those in flight. Range: from 1. Default: no limit.
    /// Source: xDS `max_requests_per_connection`.
    pub max_requests_per_connection: Option<u32>,
    /// The idle time before TCP probes. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub tcp_keepalive: Option<Duration>,
    /// The idle time before an HTTP/2 ping while requests are in flight. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub http2_ping_interval: Option<Duration>,
    /// The wait for its answer. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub http2_ping_timeout: Option<Duration>,
    /// HTTP/2 connections per endpoint. Default: 4.
    pub max_http2_connections: Option<u32>,
    /// Streams in flight at which another HTTP/2 connection is opened. Default: 100.
    pub http2_streams_per_connection: Option<u32>,
    /// HTTP/1.1 connections per endpoint. Default: 1024.
    pub http1_max_connections: Option<u32>,
    /// The initial window of a stream. Unit: bytes. Default: 2 MiB.
    pub http2_stream_window_bytes: Option<u32>,
    /// The initial window of a connection. Unit: bytes. Default: 5 MiB.
    pub http2_connection_window_bytes: Option<u32>,
    /// The time between TCP probes. Default: the system's. Not supported yet.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub tcp_keepalive_interval: Option<Duration>,
    /// Unanswered TCP probes that end a connection. Default: the system's. Not supported yet.
    pub tcp_keepalive_probes: Option<u32>,
    /// How long sent bytes may stay unacknowledged. Default: the system's. Not supported yet.
    /// Source: Linkerd.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub tcp_user_timeout: Option<Duration>,
    /// The local address that connections come from. Default: the system's choice. Not supported
    /// yet. Source: xDS `upstream_bind_config`.
    pub bind: Option<Address>,
    /// Socket options of the system. Default: none. Not supported yet.
    pub socket_options: Vec<SocketOption>,
    /// Bytes that are buffered per connection. Default: 1 MiB. Not supported yet. Source: xDS
    /// `per_connection_buffer_limit_bytes`.
    pub buffer_bytes: Option<u32>,
    /// The wait before an endpoint's next address is tried too. Default: 250 ms. Range: 10 ms..=2 s.
    /// Source: gRFC A61, RFC 8305.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub happy_eyeballs_delay: Option<Duration>,
    /// Connections that are opened before they are needed. Default: none. Not supported yet.
    pub preconnect: Option<Preconnect>,
    /// Whether the peer is told who calls at the start of a connection. Default: no. Not
    /// supported yet.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What connections pass through, where the endpoint says nothing. Default: nothing. Not
    /// supported yet.
    pub tunnel: Tunnel,
}

/// A socket option of the system. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct SocketOption {
    /// The level.
    pub level: i64,
    /// The name.
    pub name: i64,
    /// The value.
    pub value: i64,
}

/// Connections that are opened before they are needed (xDS `PreconnectPolicy`). Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Preconnect {
    /// Streams opened for, per stream needed, at one endpoint. Default: 1. Range: 1..=3.
    pub per_endpoint_ratio: Option<f64>,
    /// Streams opened for, per stream needed, over all endpoints. Default: 1. Range: from 1.
    pub predictive_ratio: Option<f64>,
}

/// Tells the peer who calls at the start of a connection (the PROXY protocol). Not supported
/// yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct ProxyProtocol {
    /// The version. Default: 1.
    pub version: ProxyProtocolVersion,
    /// Further entries of version 2, by number.
    pub entries: Vec<ProxyProtocolEntry>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ProxyProtocolVersion {
    /// Text.
    #[default]
    V1,
    /// Binary.
    V2,
}

/// A further entry of version 2. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct ProxyProtocolEntry {
    /// Its number.
    pub kind: u8,
    /// Its value. Unit: hexadecimal.
    pub value: String,
}

/// A [`Transport`] with every default filled in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TransportSettings {
    /// Bounds a connection attempt. Default: 1 s.
    pub connect_timeout: Duration,
    /// The wait after a failed connection attempt, doubled each time. Default: 100 ms.
    pub connect_backoff_base: Duration,
    /// The longest such wait. Default: 30 s.
    pub connect_backoff_max: Duration,
    /// Closes a connection that has been without requests for so long. Default: 90 s.
    pub idle_timeout: Duration,
    /// Retires a connection at this age. Default: 30 min.
    pub max_age: Duration,
    /// Adds up to so much to that age. Unit: percent. Default: 10 % more or less.
    pub max_age_jitter: Option<f64>,
    /// Requests that a connection is given before it is retired. Default: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// The idle time before TCP probes. Default: 30 s.
    pub tcp_keepalive: Duration,
    /// The idle time before an HTTP/2 ping while requests are in flight. Default: 30 s.
    pub http2_ping_interval: Duration,
    /// The wait for its answer. Default: 10 s.
    pub http2_ping_timeout: Duration,
    /// HTTP/2 connections per endpoint. Default: 4.
    pub max_http2_connections: u32,
    /// Streams in flight at which another HTTP/2 connection is opened. Default: 100.
    pub http2_streams_per_connection: u32,
    /// HTTP/1.1 connections per endpoint. Default: 1024.
    pub http1_max_connections: u32,
    /// The initial window of a stream. Unit: bytes. Default: 2 MiB.
    pub http2_stream_window_bytes: u32,
    /// The initial window of a connection. Unit: bytes. Default: 5 MiB.
    pub http2_connection_window_bytes: u32,
    /// The wait before an endpoint's next address is tried too. Default: 250 ms.
    pub happy_eyeballs_delay: Duration,
}

impl Transport {
    /// Fills in the defaults.
    #[must_use]
    pub fn settings(&self) -> TransportSettings {
        TransportSettings {
            connect_timeout: self.connect_timeout.unwrap_or(Duration::from_secs(1)),
            connect_backoff_base: self.connect_backoff_base.unwrap_or(Duration::from_millis(100)),
            connect_backoff_max: self.connect_backoff_max.unwrap_or(Duration::from_secs(30)),
            idle_timeout: self.idle_timeout.unwrap_or(Duration::from_secs(90)),
            max_age: self.max_age.unwrap_or(Duration::from_secs(1800)),
            max_age_jitter: self.max_age_jitter,
            max_requests_per_connection: self.max_requests_per_connection,
            tcp_keepalive: self.tcp_keepalive.unwrap_or(Duration::from_secs(30)),
            http2_ping_interval: self.http2_ping_interval.unwrap_or(Duration::from_secs(30)),
            http2_ping_timeout: self.http2_ping_timeout.unwrap_or(Duration::from_secs(10)),
            max_http2_connections: self.max_http2_connections.unwrap_or(4),
            http2_streams_per_connection: self.http2_streams_per_connection.unwrap_or(100),
            http1_max_connections: self.http1_max_connections.unwrap_or(1024),
            http2_stream_window_bytes: self.http2_stream_window_bytes.unwrap_or(2 * 1024 * 1024),
            http2_connection_window_bytes: self
                .http2_connection_window_bytes
                .unwrap_or(5 * 1024 * 1024),
            happy_eyeballs_delay: self.happy_eyeballs_delay.unwrap_or(Duration::from_millis(250)),
        }
    }
}

impl Default for TransportSettings {
    fn default() -> Self {
        Transport::default().settings()
    }
}
