//! A probe by the gRPC health protocol.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::BodyExt as _;
use prost::Message as _;

use super::probe::Answer;
use crate::{
    config::GrpcProbe,
    core::{Body, framed, grpc},
    mesh::stage::Erased,
};

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

const PATH: &str = "/grpc.health.v1.Health/Check";
/// An answer has a few bytes.
const LONGEST: usize = 4096;

pub(super) async fn ask(
    endpoint: &dyn Erased,
    probe: &GrpcProbe,
    host: &str,
    timeout: Duration,
) -> Answer {
    let request = match request(probe, host, timeout) {
        Ok(request) => request,
        Err(error) => return Answer::silent(format!("the probe cannot be sent: {error}")),
    };
    let response = match endpoint.call(request).await {
        Ok(response) => response,
        Err(error) => return Answer::failed(&*error),
    };
    let (parts, mut body) = response.into_parts();
    if parts.status != 200 {
        return Answer::ill(format!("status {}", parts.status.as_u16()));
    }
    let mut code = grpc::status_of(&parts.headers);
    let mut message = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Answer::failed(&error),
        };
        match frame.into_data() {
            Ok(data) => message.put(data),
            Err(frame) => code = frame.trailers_ref().and_then(grpc::status_of).or(code),
        }
        if message.len() > LONGEST {
            return Answer::silent("its answer is too long");
        }
    }
    match (code, framed::lone(&message).map(HealthCheckResponse::decode)) {
        (None, _) => Answer::silent("its answer has no gRPC status"),
        (Some(0), Some(Ok(answer))) if answer.status() == ServingStatus::Serving => Answer::well(),
        (Some(0), Some(Ok(answer))) => Answer::ill(match answer.status() {
            ServingStatus::NotServing => "NOT_SERVING",
            ServingStatus::ServiceUnknown => "SERVICE_UNKNOWN",
            ServingStatus::Serving | ServingStatus::Unknown => "UNKNOWN",
        }),
        (Some(0), _) => Answer::ill("its answer cannot be read"),
        (Some(code), _) => Answer::ill(format!("gRPC status {code}")),
    }
}

fn request(probe: &GrpcProbe, host: &str, timeout: Duration) -> Result<Request<Body>, http::Error> {
    let host = probe.authority.as_deref().unwrap_or(host);
    let uri = Uri::builder().scheme("http").authority(host).path_and_query(PATH).build()?;
    let message = HealthCheckRequest { service: probe.service.clone().unwrap_or_default() };
    let body = Body::from(framed::framed(&message));
    let mut request = Request::post(uri).version(http::Version::HTTP_2).body(body)?;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("tower-mesh/check"));
    let micros = timeout.as_micros().clamp(1, 99_999_999);
    headers.insert("grpc-timeout", HeaderValue::try_from(format!("{micros}u"))?);
    for (name, value) in &probe.metadata {
        headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(request)
}
