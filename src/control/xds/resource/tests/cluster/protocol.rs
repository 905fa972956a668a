//! What endpoints speak, and how long connections and calls last.

use std::time::Duration;

use envoy_types::pb::envoy::{
    config::core::v3::{Http2ProtocolOptions, HttpProtocolOptions as Common},
    extensions::upstreams::http::v3::{
        HttpProtocolOptions,
        http_protocol_options::{
            ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
        },
    },
    r#type::v3::Percent,
};

use super::*;
use crate::config::Protocol;

#[test]
fn what_the_endpoints_speak() {
    let options = |config: ProtocolConfig| {
        let typed = HttpProtocolOptions {
            upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
                ExplicitHttpConfig { protocol_config: Some(config) },
            )),
            ..HttpProtocolOptions::default()
        };
        let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
        PbCluster { typed_extension_protocol_options: [(name, pack_any(typed))].into(), ..eds("c") }
    };
    let h2 = Http2ProtocolOptions { max_concurrent_streams: wrapped(7), ..Default::default() };
    let read = sidecar().cluster(&options(ProtocolConfig::Http2ProtocolOptions(h2))).unwrap();
    assert_eq!(read.config.protocol, Some(Protocol::Http2));
    assert_eq!(read.config.transport.http2_streams_per_connection, Some(7));
    let h1 = ProtocolConfig::HttpProtocolOptions(Default::default());
    assert_eq!(sidecar().cluster(&options(h1)).unwrap().config.protocol, Some(Protocol::Http1));
    let h3 = ProtocolConfig::Http3ProtocolOptions(Default::default());
    refuses(sidecar().cluster(&options(h3)), "HTTP/3 is not spoken");
    assert_eq!(sidecar().cluster(&eds("c")).unwrap().config.protocol, None);
}

#[test]
fn how_long_connections_and_calls_last_by_the_common_options() {
    let read = |older: Option<u32>, change: &dyn Fn(&mut Common)| {
        let mut common = Common::default();
        change(&mut common);
        let older = older.and_then(wrapped);
        let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
        let typed = HttpProtocolOptions {
            common_http_protocol_options: Some(common),
            ..HttpProtocolOptions::default()
        };
        let typed = PbCluster {
            typed_extension_protocol_options: [(name, pack_any(typed))].into(),
            max_requests_per_connection: older,
            ..eds("c")
        };
        let older = PbCluster {
            common_http_protocol_options: Some(common),
            max_requests_per_connection: older,
            ..eds("c")
        };
        let [typed, older] = [typed, older].map(|pb| sidecar().cluster(&pb).unwrap());
        assert_eq!(typed.config, older.config);
        assert_eq!(typed.notes, Vec::<String>::new());
        typed
    };
    let all = read(None, &|it| {
        it.max_requests_per_connection = wrapped(7);
        it.max_connection_duration = seconds(60);
        it.max_connection_duration_jitter = Some(Percent { value: 20.0 });
        it.max_stream_duration = seconds(5);
    });
    let transport = &all.config.transport;
    assert_eq!(transport.max_requests_per_connection, Some(7));
    assert_eq!(transport.max_age, Some(Duration::from_secs(60)));
    assert_eq!(transport.max_age_jitter, Some(20.0));
    assert_eq!(all.config.max_stream_duration, Some(Duration::from_secs(5)));
    let requests = |older, said: Option<u32>| {
        let read = read(older, &|it| it.max_requests_per_connection = said.and_then(wrapped));
        read.config.transport.max_requests_per_connection
    };
    // What the options say goes before the older field, and 0 is any number.
    assert_eq!((requests(Some(3), None), requests(Some(0), None)), (Some(3), None));
    assert_eq!((requests(Some(3), Some(4)), requests(Some(3), Some(0))), (Some(4), None));
    let endless = read(None, &|it| it.max_stream_duration = seconds(0));
    assert_eq!(endless.config.max_stream_duration, Some(Duration::ZERO));
}
