//! Where the endpoints of a cluster come from, and how they are connected to.

use std::time::Duration;

use super::{Layers, chosen, name_of, text, time};
use crate::{
    config::{self, Transport},
    mesh::describe::Setting,
};

/// The settings of a cluster that DNS fills.
pub(super) fn of_dns(dns: &Layers<'_, config::DnsDiscovery>) -> Vec<Setting> {
    let list = |list: &[String]| (!list.is_empty()).then(|| list.join(" "));
    let shown = |addresses: &[config::Address]| {
        list(&addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    vec![
        dns.setting("discovery.dns.name", "", |dns| {
            let all: Vec<_> = dns.targets.iter().map(|target| target.name.as_str()).collect();
            Some(if all.is_empty() { dns.name.clone() } else { all.join(" ") })
        }),
        dns.setting("discovery.dns.kind", "strict", |dns| chosen(&dns.kind)),
        dns.setting("discovery.dns.family", "all", |dns| dns.family.as_ref().map(name_of)),
        dns.setting("discovery.dns.refresh", "60s", |dns| dns.refresh.map(time)),
        dns.setting("discovery.dns.respect_ttl", "true", |dns| text(dns.respect_ttl)),
        dns.setting("discovery.dns.failure_refresh", "1s", |dns| dns.failure_refresh.map(time)),
        dns.setting("discovery.dns.failure_refresh_max", "60s", |dns| {
            dns.failure_refresh_max.map(time)
        }),
        dns.setting("discovery.dns.jitter", "10 %", |dns| dns.jitter.map(time)),
        dns.setting("discovery.dns.stale_limit", "3600s", |dns| dns.stale_limit.map(time)),
        dns.setting("discovery.dns.use_tcp", "when UDP does not suffice", |dns| text(dns.use_tcp)),
        dns.setting("discovery.dns.resolvers", "the system's", |dns| shown(&dns.resolvers)),
        dns.setting("discovery.dns.search", "the resolver's", |dns| list(&dns.search)),
        dns.setting("discovery.dns.ndots", "the resolver's", |dns| text(dns.ndots)),
    ]
}

pub(super) fn of_transport(transport: &Layers<'_, Transport>) -> Vec<Setting> {
    let usual = config::TransportSettings::default();
    let times: [(_, _, fn(&Transport) -> Option<Duration>); 9] = [
        ("transport.connect_timeout", usual.connect_timeout, |t| t.connect_timeout),
        ("transport.connect_backoff_base", usual.connect_backoff_base, |t| t.connect_backoff_base),
        ("transport.connect_backoff_max", usual.connect_backoff_max, |t| t.connect_backoff_max),
        ("transport.idle_timeout", usual.idle_timeout, |t| t.idle_timeout),
        ("transport.max_age", usual.max_age, |t| t.max_age),
        ("transport.tcp_keepalive", usual.tcp_keepalive, |t| t.tcp_keepalive),
        ("transport.http2_ping_interval", usual.http2_ping_interval, |t| t.http2_ping_interval),
        ("transport.http2_ping_timeout", usual.http2_ping_timeout, |t| t.http2_ping_timeout),
        ("transport.happy_eyeballs_delay", usual.happy_eyeballs_delay, |t| t.happy_eyeballs_delay),
    ];
    let counts: [(_, _, fn(&Transport) -> Option<u32>); 5] = [
        ("transport.max_http2_connections", usual.max_http2_connections, |t| {
            t.max_http2_connections
        }),
        ("transport.http2_streams_per_connection", usual.http2_streams_per_connection, |t| {
            t.http2_streams_per_connection
        }),
        ("transport.http1_max_connections", usual.http1_max_connections, |t| {
            t.http1_max_connections
        }),
        ("transport.http2_stream_window_bytes", usual.http2_stream_window_bytes, |t| {
            t.http2_stream_window_bytes
        }),
        ("transport.http2_connection_window_bytes", usual.http2_connection_window_bytes, |t| {
            t.http2_connection_window_bytes
        }),
    ];
    let times = times.into_iter().map(|(name, usual, of)| {
        transport.setting(name, &time(usual), |transport| of(transport).map(time))
    });
    let counts = counts.into_iter().map(|(name, usual, of)| {
        transport.setting(name, &usual.to_string(), |transport| text(of(transport)))
    });
    let more = [
        transport.setting("transport.max_age_jitter", "10 % more or less", |t: &Transport| {
            t.max_age_jitter.map(|percent| format!("{percent} % more"))
        }),
        transport.setting("transport.max_requests_per_connection", "none", |t| {
            text(t.max_requests_per_connection)
        }),
    ];
    times.chain(counts).chain(more).collect()
}
