//! How connections are made and kept.

use std::time::Duration;

/// How connections to an endpoint are made and kept; what is not given has its default.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Transport {
    /// Bounds a connection attempt. Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub connect_timeout: Option<Duration>,
    /// The wait after a failed connection attempt, doubled each time. Default: 100 ms.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub connect_backoff_base: Option<Duration>,
    /// The longest such wait. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub connect_backoff_max: Option<Duration>,
    /// Closes a connection that is without requests, and has begun none for so long. Default: 90 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub idle_timeout: Option<Duration>,
    /// Retires a connection at this age, 10 % more or less. Default: 30 min.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub max_age: Option<Duration>,
    /// The idle time before TCP probes. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub tcp_keepalive: Option<Duration>,
    /// The idle time before an HTTP/2 ping while requests are in flight. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub http2_ping_interval: Option<Duration>,
    /// The wait for its answer. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
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
}

/// The same with every default filled in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TransportSettings {
    /// Bounds a connection attempt. Default: 1 s.
    pub connect_timeout: Duration,
    /// The wait after a failed connection attempt, doubled each time. Default: 100 ms.
    pub connect_backoff_base: Duration,
    /// The longest such wait. Default: 30 s.
    pub connect_backoff_max: Duration,
    /// Closes a connection that is without requests, and has begun none for so long. Default: 90 s.
    pub idle_timeout: Duration,
    /// Retires a connection at this age, 10 % more or less. Default: 30 min.
    pub max_age: Duration,
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
        }
    }
}

impl Default for TransportSettings {
    fn default() -> Self {
        Transport::default().settings()
    }
}
