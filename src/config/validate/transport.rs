//! Checks of how connections are made and kept.

use std::{ops::RangeInclusive, time::Duration};

use super::{Checker, not_yet};
use crate::config::Transport;

/// The wait before a further address is tried.
const HAPPY_EYEBALLS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(2);

impl Checker {
    pub(super) fn transport(&mut self, transport: &Transport) {
        let Transport {
            connect_timeout,
            connect_backoff_base,
            connect_backoff_max,
            idle_timeout,
            max_age,
            max_age_jitter,
            max_requests_per_connection,
            tcp_keepalive,
            http2_ping_interval,
            http2_ping_timeout,
            max_http2_connections,
            http2_streams_per_connection,
            http1_max_connections,
            http2_stream_window_bytes,
            http2_connection_window_bytes,
            tcp_keepalive_interval,
            tcp_keepalive_probes,
            tcp_user_timeout,
            bind,
            socket_options,
            buffer_bytes,
            happy_eyeballs_delay,
            preconnect,
            proxy_protocol,
            tunnel,
        } = transport;
        self.time("connect_timeout", *connect_timeout);
        self.time("connect_backoff_base", *connect_backoff_base);
        self.time("connect_backoff_max", *connect_backoff_max);
        self.time("idle_timeout", *idle_timeout);
        self.time("max_age", *max_age);
        self.percent("max_age_jitter", *max_age_jitter);
        self.at_least_one("max_requests_per_connection", *max_requests_per_connection);
        self.time("tcp_keepalive", *tcp_keepalive);
        self.time("http2_ping_interval", *http2_ping_interval);
        self.time("http2_ping_timeout", *http2_ping_timeout);
        self.at_least_one("max_http2_connections", *max_http2_connections);
        self.at_least_one("http2_streams_per_connection", *http2_streams_per_connection);
        self.at_least_one("http1_max_connections", *http1_max_connections);
        if let Some(delay) = happy_eyeballs_delay
            && !HAPPY_EYEBALLS.contains(delay)
        {
            //= RFC 8305 §8: a minimum of 10 ms, and a maximum of 2 s
            self.refuse("happy_eyeballs_delay", format!("{delay:?}"), "must be in 10ms..=2s");
        }
        let settings = transport.settings();
        if settings.connect_backoff_base > settings.connect_backoff_max {
            let reason =
                format!("must be at most connect_backoff_max ({:?})", settings.connect_backoff_max);
            let value = format!("{:?}", settings.connect_backoff_base);
            self.refuse("connect_backoff_base", value, reason);
        }
        for (field, window) in [
            ("http2_stream_window_bytes", http2_stream_window_bytes),
            ("http2_connection_window_bytes", http2_connection_window_bytes),
        ] {
            if let Some(window) = window
                && !(65_535..=0x7fff_ffff).contains(window)
            {
                self.refuse(field, window, "must be in 65535..=2147483647");
            }
        }
        self.only_default("tunnel", tunnel);
        not_yet!(
            self,
            tcp_keepalive_interval,
            tcp_keepalive_probes,
            tcp_user_timeout,
            bind,
            socket_options,
            buffer_bytes,
            preconnect,
            proxy_protocol,
        );
    }
}
