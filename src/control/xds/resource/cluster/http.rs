//! What the endpoints speak (`HttpProtocolOptions`), and how.

use envoy_types::pb::envoy::{
    config::{
        cluster::v3::Cluster as Pb,
        core::v3::{
            Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions, KeepaliveSettings,
            UpstreamHttpProtocolOptions,
        },
    },
    extensions::upstreams::http::v3::{
        HttpProtocolOptions as Typed,
        http_protocol_options::{
            AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
            explicit_http_config::ProtocolConfig,
        },
    },
};

use super::super::{
    read::{YEAR, type_name, u32s},
    walk::{IGNORED, Result, Walk},
};
use crate::config::{self, Protocol};

/// The name under which a cluster has them.
pub(super) const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const CODEC: &str = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";

/// What the name that a handshake asks for comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Auto {
    /// The request's authority.
    pub(super) sni: bool,
    /// And it is what is expected.
    pub(super) san: bool,
}

pub(super) fn options(walk: &mut Walk, pb: &Pb, config: &mut config::Cluster) -> Result<Auto> {
    let mut auto = Auto::default();
    // Of before there were options, which say it, too (Envoy).
    if let Some(most) = u32s(pb.max_requests_per_connection.as_ref()) {
        config.transport.max_requests_per_connection = (most > 0).then_some(most);
    }
    match pb.typed_extension_protocol_options.get(OPTIONS) {
        Some(any) => {
            let typed: Typed = walk.unpack("typed_extension_protocol_options", any)?;
            walk.within(OPTIONS, |walk| typed_options(walk, &typed, config, &mut auto))?;
        }
        None => old(walk, pb, config, &mut auto)?,
    }
    Ok(auto)
}

/// The fields of before there were typed options.
fn old(walk: &mut Walk, pb: &Pb, config: &mut config::Cluster, auto: &mut Auto) -> Result<()> {
    if let Some(common) = &pb.common_http_protocol_options {
        walk.within("common_http_protocol_options", |walk| shared(walk, common, config))?;
    }
    if let Some(options) = &pb.http2_protocol_options {
        walk.within("http2_protocol_options", |walk| http2(walk, options, config))?;
        // Envoy: its presence means HTTP/2, unless the request's version is used.
        config.protocol = (pb.protocol_selection == 0).then_some(Protocol::Http2);
    } else if let Some(options) = &pb.http_protocol_options {
        walk.within("http_protocol_options", |walk| http1(walk, options));
        config.protocol = (pb.protocol_selection == 0).then_some(Protocol::Http1);
    }
    if let Some(upstream) = &pb.upstream_http_protocol_options {
        walk.within("upstream_http_protocol_options", |walk| names(walk, upstream, auto));
    }
    Ok(())
}

fn typed_options(
    walk: &mut Walk,
    typed: &Typed,
    config: &mut config::Cluster,
    auto: &mut Auto,
) -> Result<()> {
    let Typed {
        common_http_protocol_options,
        upstream_http_protocol_options,
        http_filters,
        header_validation_config,
        outlier_detection,
        request_mirror_policies,
        hash_policy,
        retry_policy,
        upstream_protocol_options,
    } = typed;
    if let Some(common) = common_http_protocol_options {
        walk.within("common_http_protocol_options", |walk| shared(walk, common, config))?;
    }
    if let Some(upstream) = upstream_http_protocol_options {
        walk.within("upstream_http_protocol_options", |walk| names(walk, upstream, auto));
    }
    for (index, filter) in http_filters.iter().enumerate() {
        use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
        let field = format!("http_filters[{index}]");
        let url = match &filter.config_type {
            Some(ConfigType::TypedConfig(any)) => type_name(&any.type_url),
            _ => "",
        };
        if url == CODEC {
            continue;
        }
        if !filter.is_optional && !filter.disabled {
            let reason = "not supported yet: a filter of attempts that is not optional";
            return walk.refuse(&field, &filter.name, reason);
        }
        walk.note(&field, format!("{} is not supported yet: is left out", filter.name));
    }
    for (is_said, field) in [
        (header_validation_config.is_some(), "header_validation_config"),
        (outlier_detection.is_some(), "outlier_detection"),
        (!request_mirror_policies.is_empty(), "request_mirror_policies"),
        (!hash_policy.is_empty(), "hash_policy"),
        (retry_policy.is_some(), "retry_policy"),
    ] {
        walk.note_if(is_said, field, "not supported yet for a cluster");
    }
    match upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config,
        })) => match protocol_config {
            Some(ProtocolConfig::HttpProtocolOptions(it)) => {
                http1(walk, it);
                config.protocol = Some(Protocol::Http1);
            }
            Some(ProtocolConfig::Http2ProtocolOptions(it)) => {
                http2(walk, it, config)?;
                config.protocol = Some(Protocol::Http2);
            }
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                let field = "explicit_http_config.http3_protocol_options";
                return walk.refuse(field, "given", "not supported yet: HTTP/3 is not spoken");
            }
            None => {
                let field = "explicit_http_config.protocol_config";
                return walk.refuse(field, "none", "must be given");
            }
        },
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(it)) => {
            let UseDownstreamHttpConfig {
                http_protocol_options,
                http2_protocol_options,
                http3_protocol_options,
            } = it;
            if let Some(it) = http_protocol_options {
                http1(walk, it);
            }
            if let Some(it) = http2_protocol_options {
                http2(walk, it, config)?;
            }
            walk.note_if(http3_protocol_options.is_some(), "http3_protocol_options", IGNORED);
        }
        Some(UpstreamProtocolOptions::AutoConfig(it)) => {
            let AutoHttpConfig {
                http_protocol_options,
                http2_protocol_options,
                http3_protocol_options,
                alternate_protocols_cache_options,
            } = it;
            if let Some(it) = http_protocol_options {
                http1(walk, it);
            }
            if let Some(it) = http2_protocol_options {
                http2(walk, it, config)?;
            }
            let is_3 =
                http3_protocol_options.is_some() || alternate_protocols_cache_options.is_some();
            walk.note_if(is_3, "http3_protocol_options", "not supported yet: HTTP/3 is not spoken");
        }
        // Without any of it Envoy speaks HTTP/1.1, and gRPC HTTP/2: the request's version is both.
        None => {}
    }
    Ok(())
}

fn shared(walk: &mut Walk, pb: &HttpProtocolOptions, config: &mut config::Cluster) -> Result<()> {
    let HttpProtocolOptions {
        idle_timeout,
        max_connection_duration,
        max_connection_duration_jitter,
        max_headers_count,
        max_response_headers_kb,
        max_stream_duration,
        headers_with_underscores_action: _,
        max_requests_per_connection,
    } = pb;
    if idle_timeout.is_some() {
        // 0 turns it off.
        let timeout = walk.bound("idle_timeout", idle_timeout.as_ref())?;
        config.transport.idle_timeout = Some(timeout.unwrap_or(YEAR));
    }
    if max_connection_duration.is_some() {
        let age = walk.bound("max_connection_duration", max_connection_duration.as_ref())?;
        config.transport.max_age = Some(age.unwrap_or(YEAR));
    }
    config.transport.max_age_jitter =
        walk.percent("max_connection_duration_jitter", max_connection_duration_jitter.as_ref())?;
    // 0 is no bound.
    let longest = walk.time("max_stream_duration", max_stream_duration.as_ref())?;
    config.max_stream_duration = longest.map(|longest| longest.min(YEAR));
    if let Some(most) = u32s(max_requests_per_connection.as_ref()) {
        // 0 is any number.
        config.transport.max_requests_per_connection = (most > 0).then_some(most);
    }
    for (is_said, field) in [
        (max_headers_count.is_some(), "max_headers_count"),
        (max_response_headers_kb.is_some(), "max_response_headers_kb"),
    ] {
        walk.note_if(is_said, field, "not supported yet for a cluster");
    }
    Ok(())
}

fn http1(walk: &mut Walk, pb: &Http1ProtocolOptions) {
    let is_said = *pb != Http1ProtocolOptions::default();
    walk.note_if(is_said, "http_protocol_options", "options of HTTP/1 are not supported yet");
}

fn http2(walk: &mut Walk, pb: &Http2ProtocolOptions, config: &mut config::Cluster) -> Result<()> {
    let transport = &mut config.transport;
    let Http2ProtocolOptions {
        max_concurrent_streams,
        initial_stream_window_size,
        initial_connection_window_size,
        connection_keepalive,
        ..
    } = pb;
    transport.http2_streams_per_connection = match u32s(max_concurrent_streams.as_ref()) {
        Some(0) => return walk.refuse("max_concurrent_streams", 0, "must be at least 1"),
        streams => streams,
    };
    transport.http2_stream_window_bytes = u32s(initial_stream_window_size.as_ref());
    transport.http2_connection_window_bytes = u32s(initial_connection_window_size.as_ref());
    if let Some(KeepaliveSettings {
        interval,
        timeout,
        interval_jitter: _,
        connection_idle_interval,
    }) = connection_keepalive
    {
        walk.within("connection_keepalive", |walk| {
            transport.http2_ping_interval = walk.bound("interval", interval.as_ref())?;
            transport.http2_ping_timeout = walk.positive("timeout", timeout.as_ref())?;
            walk.note_if(
                connection_idle_interval.is_some(),
                "connection_idle_interval",
                "not supported yet: idle connections are not pinged",
            );
            Ok(())
        })?;
    }
    let rest = Http2ProtocolOptions {
        max_concurrent_streams: None,
        initial_stream_window_size: None,
        initial_connection_window_size: None,
        connection_keepalive: None,
        ..pb.clone()
    };
    let is_more = rest != Http2ProtocolOptions::default();
    walk.note_if(
        is_more,
        "http2_protocol_options",
        "further options of HTTP/2 count for nothing here",
    );
    Ok(())
}

fn names(walk: &mut Walk, pb: &UpstreamHttpProtocolOptions, auto: &mut Auto) {
    let UpstreamHttpProtocolOptions { auto_sni, auto_san_validation, override_auto_sni_header } =
        pb;
    auto.sni = *auto_sni;
    auto.san = *auto_san_validation;
    walk.note_if(
        !override_auto_sni_header.is_empty(),
        "override_auto_sni_header",
        "not supported yet",
    );
}
