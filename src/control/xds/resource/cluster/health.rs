//! Active checks.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::{
    config::core::v3::{
        HeaderValueOption, HealthCheck as Pb, RequestMethod,
        health_check::{
            GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload as PbPayload, TcpHealthCheck,
            TlsOptions, payload::Payload,
        },
    },
    r#type::v3::{CodecClientType, Int64Range},
};

use super::super::{
    Dialect,
    read::{bools, said, u32s},
    text,
    walk::{IGNORED, Result, Walk},
};
use crate::config::{GrpcProbe, HealthCheck, HttpProbe, IntegerRange, Probe, Protocol, TcpProbe};

pub(super) fn checks(walk: &mut Walk, dialect: Dialect, list: &[Pb]) -> Result<Vec<HealthCheck>> {
    //= gRFC A27: gRPC makes no checks; the control plane does
    if dialect == Dialect::Proxyless {
        walk.note_if(!list.is_empty(), "health_checks", "are the control plane's: none are made");
        return Ok(Vec::new());
    }
    let read = walk.each("health_checks", list, check)?;
    Ok(read.into_iter().flatten().collect())
}

/// None: it is a check of another system.
fn check(walk: &mut Walk, pb: &Pb) -> Result<Option<HealthCheck>> {
    let probe = match &pb.health_checker {
        Some(HealthChecker::HttpHealthCheck(it)) => {
            Probe::Http(Box::new(walk.within("http_health_check", |walk| http(walk, it))?))
        }
        Some(HealthChecker::TcpHealthCheck(it)) => {
            Probe::Tcp(walk.within("tcp_health_check", |walk| tcp(walk, it)))
        }
        Some(HealthChecker::GrpcHealthCheck(it)) => {
            Probe::Grpc(walk.within("grpc_health_check", |walk| grpc(walk, it))?)
        }
        Some(HealthChecker::CustomHealthCheck(it)) => {
            walk.note(
                "custom_health_check",
                format!("{} is not supported yet: is left out", it.name),
            );
            return Ok(None);
        }
        None => return walk.refuse("health_checker", "none", "must be given"),
    };
    let mut read = HealthCheck::new(probe);
    read.timeout = walk.positive("timeout", pb.timeout.as_ref())?;
    read.interval = walk.positive("interval", pb.interval.as_ref())?;
    read.initial_jitter = walk.bound("initial_jitter", pb.initial_jitter.as_ref())?;
    read.interval_jitter = walk.bound("interval_jitter", pb.interval_jitter.as_ref())?;
    read.interval_jitter_percent =
        Some(pb.interval_jitter_percent.min(100)).filter(|percent| *percent > 0);
    read.unhealthy_threshold = u32s(pb.unhealthy_threshold.as_ref());
    read.healthy_threshold = u32s(pb.healthy_threshold.as_ref());
    read.no_traffic_interval =
        walk.bound("no_traffic_interval", pb.no_traffic_interval.as_ref())?;
    read.no_traffic_healthy_interval =
        walk.bound("no_traffic_healthy_interval", pb.no_traffic_healthy_interval.as_ref())?;
    read.unhealthy_interval = walk.bound("unhealthy_interval", pb.unhealthy_interval.as_ref())?;
    read.unhealthy_edge_interval =
        walk.bound("unhealthy_edge_interval", pb.unhealthy_edge_interval.as_ref())?;
    read.healthy_edge_interval =
        walk.bound("healthy_edge_interval", pb.healthy_edge_interval.as_ref())?;
    read.reuse_connection = bools(pb.reuse_connection.as_ref());
    if let Some(port) = u32s(pb.alt_port.as_ref()) {
        match u16::try_from(port) {
            Ok(port) if port > 0 => read.port = Some(port),
            _ => return walk.refuse("alt_port", port, "must be in 1..=65535"),
        }
    }
    let has_alpn = pb
        .tls_options
        .as_ref()
        .is_some_and(|TlsOptions { alpn_protocols }| !alpn_protocols.is_empty());
    walk.note_if(has_alpn, "tls_options.alpn_protocols", "not supported yet: the cluster's count");
    walk.note_if(
        pb.transport_socket_match_criteria.is_some(),
        "transport_socket_match_criteria",
        "not supported yet: probes are secured as calls are",
    );
    walk.note_if(!pb.event_logger.is_empty(), "event_logger", IGNORED);
    Ok(Some(read))
}

fn http(walk: &mut Walk, pb: &HttpHealthCheck) -> Result<HttpProbe> {
    let mut read = HttpProbe::default();
    read.path.clone_from(&pb.path);
    read.host = said(&pb.host);
    read.method = match RequestMethod::try_from(pb.method) {
        Ok(RequestMethod::MethodUnspecified | RequestMethod::Get) => None,
        Ok(method) => Some(method.as_str_name().to_owned()),
        Err(_) => return walk.refuse("method", pb.method, "is no method"),
    };
    read.protocol = match CodecClientType::try_from(pb.codec_client_type) {
        Ok(CodecClientType::Http1) => Some(Protocol::Http1),
        Ok(CodecClientType::Http2) => Some(Protocol::Http2),
        Ok(CodecClientType::Http3) | Err(_) => {
            return walk.refuse(
                "codec_client_type",
                pb.codec_client_type,
                "must be HTTP1 or HTTP2",
            );
        }
    };
    read.headers = headers(walk, "request_headers_to_add", &pb.request_headers_to_add)?;
    read.remove_headers.clone_from(&pb.request_headers_to_remove);
    read.body = pb.send.as_ref().and_then(hexadecimal);
    read.receive = pb.receive.iter().filter_map(hexadecimal).collect();
    read.response_buffer_bytes = pb.response_buffer_size.as_ref().map(|it| it.value);
    read.expected = ranges(&pb.expected_statuses);
    read.retriable = ranges(&pb.retriable_statuses);
    if let Some(matcher) = &pb.service_name_matcher {
        let (matcher, ignore_case) = text::text(walk, "service_name_matcher", matcher)?;
        walk.note_if(ignore_case, "service_name_matcher.ignore_case", IGNORED);
        read.service = Some(matcher);
    }
    Ok(read)
}

fn ranges(list: &[Int64Range]) -> Vec<IntegerRange> {
    let range = |it: &Int64Range| {
        let mut range = IntegerRange::default();
        (range.start, range.end) = (it.start, it.end);
        range
    };
    list.iter().map(range).collect()
}

fn tcp(walk: &mut Walk, pb: &TcpHealthCheck) -> TcpProbe {
    let mut read = TcpProbe::default();
    read.send = pb.send.as_ref().and_then(hexadecimal);
    read.receive = pb.receive.iter().filter_map(hexadecimal).collect();
    walk.note_if(pb.proxy_protocol_config.is_some(), "proxy_protocol_config", "not supported yet");
    read
}

fn grpc(walk: &mut Walk, pb: &GrpcHealthCheck) -> Result<GrpcProbe> {
    let mut read = GrpcProbe::default();
    read.service = said(&pb.service_name);
    read.authority = said(&pb.authority);
    read.metadata = headers(walk, "initial_metadata", &pb.initial_metadata)?;
    Ok(read)
}

fn headers(
    walk: &mut Walk,
    field: &str,
    list: &[HeaderValueOption],
) -> Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    for it in list.iter().filter_map(|it| it.header.as_ref()) {
        let _before = headers.insert(it.key.to_ascii_lowercase(), it.value.clone());
        walk.note_if(!it.raw_value.is_empty(), &format!("{field}.raw_value"), IGNORED);
    }
    Ok(headers)
}

fn hexadecimal(payload: &PbPayload) -> Option<String> {
    match payload.payload.as_ref()? {
        Payload::Text(text) => Some(text.clone()),
        Payload::Binary(bytes) => {
            Some(bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
        }
    }
}
