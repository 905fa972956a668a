//! A service of rate limits, `envoy.service.ratelimit.v3`: its messages, one that says what a test wants, and who
//! asks it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message;
use tower_mesh::{
    Body, Client, Mesh, MeshBuilder,
    config::{self, DescriptorPart, DescriptorSource, Filter, GlobalRateLimit, RateDescriptor},
    discover::Static,
};

use crate::support::{Reply, Server, cluster, server::body};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Asked {
    #[prost(string, tag = "1")]
    pub(crate) domain: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) descriptors: Vec<AskedDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AskedDescriptor {
    #[prost(message, repeated, tag = "1")]
    pub(crate) entries: Vec<Pair>,
    #[prost(message, optional, tag = "3")]
    pub(crate) hits: Option<Hits>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hits {
    #[prost(uint64, tag = "1")]
    pub(crate) value: u64,
}

/// An entry, and a header: they look alike.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pair {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Answer {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) statuses: Vec<Status>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) response_headers: Vec<Pair>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) request_headers: Vec<Pair>,
    #[prost(string, tag = "5")]
    pub(crate) body: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) quota: Option<Quota>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) limit: Option<Limit>,
    #[prost(uint32, tag = "3")]
    pub(crate) remaining: u32,
    #[prost(message, optional, tag = "4")]
    pub(crate) reset: Option<Seconds>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Limit {
    #[prost(uint32, tag = "1")]
    pub(crate) requests: u32,
    #[prost(int32, tag = "2")]
    pub(crate) unit: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Seconds {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Quota {
    #[prost(uint32, tag = "1")]
    pub(crate) requests: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) until: Option<Seconds>,
}

pub(crate) const OK: i32 = 1;
pub(crate) const OVER_LIMIT: i32 = 2;

pub(crate) fn says(code: i32) -> Answer {
    Answer { code, ..Answer::default() }
}

pub(crate) fn pair(key: &str, value: &str) -> Pair {
    Pair { key: key.into(), value: value.into() }
}

/// A service of rate limits, with what it was asked.
pub(crate) struct Limits {
    pub(crate) server: Server,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

impl Limits {
    /// One that says what the closure makes of a question; none: it never answers.
    pub(crate) async fn start(
        answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let (asked, answer) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(answer));
        let kept = Arc::clone(&asked);
        let server = Server::start(move |request| {
            let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
            async move {
                let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
                assert_eq!(
                    (request.uri().path(), &request.headers()["te"]),
                    (path, &"trailers".parse().unwrap())
                );
                let said = request.into_body().collect().await.unwrap().to_bytes();
                let said = Asked::decode(&said[5..]).unwrap();
                let answer = answer(&said);
                kept.lock().unwrap().push(said);
                match answer {
                    Some(answer) => framed(&answer.encode_to_vec(), 0),
                    None => std::future::pending().await,
                }
            }
        })
        .await;
        Self { server, asked }
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// A gRPC answer: a message, and its status in trailers.
pub(crate) fn framed(message: &[u8], status: i32) -> Reply {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    let frames = [
        Ok::<_, std::convert::Infallible>(http_body::Frame::data(Bytes::from(frame))),
        Ok(http_body::Frame::trailers(trailers)),
    ];
    let mut response = Response::new(body(StreamBody::new(futures_util::stream::iter(frames))));
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response
}

pub(crate) fn header(name: &str, key: &str) -> DescriptorPart {
    let mut source = DescriptorSource::new(name);
    source.key = key.into();
    DescriptorPart::Header(source)
}

/// Asks cluster `limits` about requests with a tenant.
pub(crate) fn asking(edit: impl FnOnce(&mut GlobalRateLimit)) -> config::Service {
    let mut limit = GlobalRateLimit::new("limits", "shop");
    // Long enough for a busy machine, unless a test says otherwise.
    limit.timeout = Some(Duration::from_secs(5));
    limit.describe = vec![RateDescriptor::new([header("x-tenant", "tenant")])];
    edit(&mut limit);
    let mut service = config::Service::default();
    service.filters = vec![Filter::GlobalRateLimit(Box::new(limit))];
    service
}

pub(crate) fn builder(
    users: &Server,
    limits: config::Address,
    service: config::Service,
) -> MeshBuilder {
    let source = Static::default()
        .cluster("users", cluster([users.address()]))
        .cluster("limits", cluster([limits]))
        .service("users", service);
    Mesh::builder().source(source).seed(3)
}

pub(crate) fn client(users: &Server, limits: &Limits, service: config::Service) -> (Mesh, Client) {
    let mesh = builder(users, limits.server.address(), service).build().unwrap();
    let client = mesh.client("users").unwrap();
    (mesh, client)
}

pub(crate) fn of(tenant: &str) -> Request<Body> {
    Request::get("/").header("x-tenant", tenant).body(Body::empty()).unwrap()
}

pub(crate) fn counted(mesh: &Mesh, result: &str) -> f64 {
    mesh.metrics().total("mesh.client.rate_limits", &[("mesh.rate_limit.result", result)])
}
