//! What an endpoint behind Envoy and the mesh answers: what it got, or what `x-do` asks for.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;

use crate::support::{Reply, reply, server};

/// Attempts that reached an endpoint, by the `x-id` of their call.
pub(crate) type Tries = Arc<Mutex<HashMap<String, usize>>>;

/// How much is sent at once of what says no length.
const PIECE: usize = 8_192;

/// What an endpoint of this name says to an attempt, of which it `got` so much.
pub(crate) async fn answer(
    name: &str,
    headers: &HeaderMap,
    body: Incoming,
    tried: usize,
    mut got: String,
) -> Reply {
    let what = text(headers, "x-do");
    let (what, argument) = what.split_once('=').unwrap_or((what.as_str(), "0"));
    let argument: u64 = argument.parse().unwrap();
    let count = usize::try_from(argument).unwrap();
    let status_of = |number: u64| StatusCode::from_u16(u16::try_from(number).unwrap()).unwrap();
    let mut status = StatusCode::OK;
    match what {
        "status" => status = status_of(argument),
        // So many attempts fail, then it works.
        "fail" if tried <= count => status = StatusCode::SERVICE_UNAVAILABLE,
        "teapot" if tried <= count => status = StatusCode::IM_A_TEAPOT,
        // One endpoint alone fails.
        "ill" if name == "a" => status = StatusCode::INTERNAL_SERVER_ERROR,
        "sleep" => tokio::time::sleep(Duration::from_millis(argument)).await,
        // The first attempt alone is slow.
        "stumble" if tried == 1 => tokio::time::sleep(Duration::from_millis(argument)).await,
        // The first attempt fails at once, the others work slowly.
        "relapse" if tried == 1 => status = StatusCode::SERVICE_UNAVAILABLE,
        "relapse" => tokio::time::sleep(Duration::from_millis(argument)).await,
        // The first attempt alone: has this status, or this gRPC status, or a header, or breaks off.
        "once" if tried == 1 => status = status_of(argument),
        "grpc" if tried == 1 => {
            let mut reply = reply(String::new());
            let headers = reply.headers_mut();
            headers.insert("content-type", "application/grpc".parse().unwrap());
            headers.insert("grpc-status", argument.into());
            return reply;
        }
        "limited" | "again" if tried == 1 => {
            let named = if what == "limited" { "x-envoy-ratelimited" } else { "x-again" };
            let mut reply = reply(got);
            *reply.status_mut() = status_of(argument);
            reply.headers_mut().insert(named, "true".parse().unwrap());
            return reply;
        }
        "cut" if tried == 1 => panic!("the connection is broken on purpose"),
        "bytes" => got = "x".repeat(count),
        "stream" => return Reply::new(server::body(streamed(count))),
        // What came of the body, to all but the first so many attempts.
        "echo" => {
            let framing = ["content-length", "transfer-encoding"].map(|name| text(headers, name));
            let body = body.collect().await.unwrap().to_bytes();
            assert!(body.iter().all(|byte| *byte == b'x'));
            got = format!("{got} {framing:?} {} bytes", body.len());
            if tried <= count {
                status = StatusCode::SERVICE_UNAVAILABLE;
            }
        }
        // The status in trailers: behind a message, or behind none for the first attempt.
        "trail" => return trailed(argument, got),
        "bare" => {
            return if tried == 1 { trailed(argument, String::new()) } else { trailed(0, got) };
        }
        // What is said of an attempt to who gets it, once the first one has failed.
        "retold" if tried == 1 => status = StatusCode::SERVICE_UNAVAILABLE,
        "retold" => got = text(headers, "x-mesh-attempt"),
        _ => {}
    }
    let mut reply = reply(got);
    *reply.status_mut() = status;
    reply.headers_mut().insert("x-secret", "42".parse().unwrap());
    reply
}

/// A body of so many bytes that says no length.
pub(crate) fn streamed(
    bytes: usize,
) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static {
    let starts = (0..bytes).step_by(PIECE);
    let pieces = starts.map(move |start| Bytes::from("x".repeat(PIECE.min(bytes - start))));
    StreamBody::new(stream::iter(pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)))))
}

/// A gRPC answer whose status is in its trailers.
fn trailed(code: u64, message: String) -> Reply {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    trailers.insert("grpc-message", "it%20said%20so".parse().unwrap());
    trailers.insert("x-sum", "7".parse().unwrap());
    let message = (!message.is_empty()).then(|| Frame::data(Bytes::from(message)));
    let frames = message.into_iter().chain([Frame::trailers(trailers)]);
    let frames: Vec<Result<_, Infallible>> = frames.map(Ok).collect();
    let mut reply = Reply::new(server::body(StreamBody::new(stream::iter(frames))));
    reply.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    reply
}

pub(crate) fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

/// The headers that rules speak of, all values of each, without what each side says of itself.
pub(crate) fn shown(headers: &HeaderMap) -> String {
    let own =
        ["x-id", "x-do", "x-request-id", "x-forwarded-proto", "x-forwarded-for", "x-mesh-attempt"];
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in headers {
        let name = name.as_str();
        let is_said = name == "host" || name.starts_with("x-");
        let is_theirs = name.starts_with("x-envoy-") && !name.starts_with("x-envoy-fault-");
        if is_said && !own.contains(&name) && !is_theirs {
            // Several lines or one with commas: the same list (RFC 9110 §5.3).
            let values = all.entry(name).or_default();
            values.extend(value.to_str().unwrap().split(',').map(str::trim));
        }
    }
    format!("{all:?}")
}
