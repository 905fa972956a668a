//! A rate limit that many callers share, by `envoy.service.ratelimit.v3` over real connections: what
//! is asked, what becomes of each answer, and of none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test fails by panicking, and counts are whole"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message;
use tokio::time::Instant;
use tower::{Service as _, ServiceBuilder, ServiceExt as _};
use tower_mesh::{
    Body, Client, Error, ErrorKind, Event, Mesh, MeshBuilder, Phase, Refusal,
    config::{
        self, DescriptorEntry, DescriptorPart, DescriptorSource, Filter, GlobalRateLimit,
        RateDescriptor,
    },
    discover::Static,
    resilience::{Descriptor, GlobalRateLimitLayer},
};

use crate::support::{
    GreeterClient, HelloRequest, Server, cluster, dead_address, fetch, get, hello, patience,
    published, reply, server::body, within,
};

#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<AskedDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct AskedDescriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Pair>,
    #[prost(message, optional, tag = "3")]
    hits: Option<Hits>,
}

#[derive(Clone, PartialEq, Message)]
struct Hits {
    #[prost(uint64, tag = "1")]
    value: u64,
}

/// An entry, and a header: they look alike.
#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(message, repeated, tag = "2")]
    statuses: Vec<Status>,
    #[prost(message, repeated, tag = "3")]
    response_headers: Vec<Pair>,
    #[prost(message, repeated, tag = "4")]
    request_headers: Vec<Pair>,
    #[prost(string, tag = "5")]
    body: String,
    #[prost(message, optional, tag = "7")]
    quota: Option<Quota>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(message, optional, tag = "2")]
    limit: Option<Limit>,
    #[prost(uint32, tag = "3")]
    remaining: u32,
    #[prost(message, optional, tag = "4")]
    reset: Option<Seconds>,
}

#[derive(Clone, PartialEq, Message)]
struct Limit {
    #[prost(uint32, tag = "1")]
    requests: u32,
    #[prost(int32, tag = "2")]
    unit: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Seconds {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Quota {
    #[prost(uint32, tag = "1")]
    requests: u32,
    #[prost(message, optional, tag = "2")]
    until: Option<Seconds>,
}

const OK: i32 = 1;
const OVER_LIMIT: i32 = 2;

fn says(code: i32) -> Answer {
    Answer { code, ..Answer::default() }
}

fn pair(key: &str, value: &str) -> Pair {
    Pair { key: key.into(), value: value.into() }
}

/// A service of rate limits, with what it was asked.
struct Limits {
    server: Server,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Limits {
    /// One that says what the closure makes of a question; none: it never answers.
    async fn start(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Self {
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

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// A gRPC answer: a message, and its status in trailers.
fn framed(message: &[u8], status: i32) -> crate::support::Reply {
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

fn header(name: &str, key: &str) -> DescriptorPart {
    let mut source = DescriptorSource::new(name);
    source.key = key.into();
    DescriptorPart::Header(source)
}

/// Asks cluster `limits` about requests with a tenant.
fn asking(edit: impl FnOnce(&mut GlobalRateLimit)) -> config::Service {
    let mut limit = GlobalRateLimit::new("limits", "shop");
    // Long enough for a busy machine, unless a test says otherwise.
    limit.timeout = Some(Duration::from_secs(5));
    limit.describe = vec![RateDescriptor::new([header("x-tenant", "tenant")])];
    edit(&mut limit);
    let mut service = config::Service::default();
    service.filters = vec![Filter::GlobalRateLimit(Box::new(limit))];
    service
}

fn builder(users: &Server, limits: config::Address, service: config::Service) -> MeshBuilder {
    let source = Static::default()
        .cluster("users", cluster([users.address()]))
        .cluster("limits", cluster([limits]))
        .service("users", service);
    Mesh::builder().source(source).seed(3)
}

fn client(users: &Server, limits: &Limits, service: config::Service) -> (Mesh, Client) {
    let mesh = builder(users, limits.server.address(), service).build().unwrap();
    let client = mesh.client("users").unwrap();
    (mesh, client)
}

fn of(tenant: &str) -> Request<Body> {
    Request::get("/").header("x-tenant", tenant).body(Body::empty()).unwrap()
}

fn counted(mesh: &Mesh, result: &str) -> f64 {
    mesh.metrics().total("mesh.client.rate_limits", &[("mesh.rate_limit.result", result)])
}

#[tokio::test]
async fn what_the_service_adds_reaches_the_endpoint_and_the_caller() {
    let users = Server::start(|request| async move {
        let headers = request.headers();
        reply(
            headers.get("x-tier").map(|tier| tier.to_str().unwrap().to_owned()).unwrap_or_default(),
        )
    })
    .await;
    let limits = Limits::start(|_| {
        let mut answer = says(OK);
        answer.request_headers = vec![pair("x-tier", "gold"), pair("host", "evil")];
        answer.response_headers = vec![pair("x-note", "near the limit")];
        // Near the limit: one of ten in a minute is left.
        answer.statuses = vec![Status {
            code: OK,
            limit: Some(Limit { requests: 10, unit: 2 }),
            remaining: 1,
            reset: Some(Seconds { seconds: 42 }),
        }];
        Some(answer)
    })
    .await;
    let (mesh, client) = client(&users, &limits, asking(|it| it.limit_headers = Some(true)));
    let response = fetch(&client, of("a")).await.unwrap();
    assert_eq!(response.body(), "gold");
    let headers = response.headers();
    assert_eq!(headers["x-note"], "near the limit");
    assert_eq!(headers["x-ratelimit-limit"], "10, 10;w=60");
    assert_eq!(
        (&headers["x-ratelimit-remaining"], &headers["x-ratelimit-reset"]),
        (&"1".parse().unwrap(), &"42".parse().unwrap())
    );
    assert_eq!((limits.count(), counted(&mesh, "service_ok")), (1, 1.0));
}

#[tokio::test]
async fn over_the_limit_a_call_is_refused_as_the_service_says() {
    let users = Server::named("users").await;
    let limits = Limits::start(|asked| {
        if asked.descriptors[0].entries[0].value != "greedy" {
            return Some(says(OK));
        }
        let mut answer = says(OVER_LIMIT);
        answer.body = "slow down".into();
        answer.response_headers = vec![pair("x-note", "over")];
        answer.statuses = vec![Status {
            code: OVER_LIMIT,
            limit: None,
            remaining: 0,
            reset: Some(Seconds { seconds: 7 }),
        }];
        Some(answer)
    })
    .await;
    let edit = |it: &mut GlobalRateLimit| {
        it.response_headers.set = [("x-ours".to_owned(), "1".to_owned())].into();
    };
    let (mesh, client) = client(&users, &limits, asking(edit));
    fetch(&client, of("modest")).await.unwrap();
    let error = fetch(&client, of("greedy")).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Overloaded, Phase::Admission));
    assert_eq!((error.refusal(), error.response_flag()), (Some(Refusal::GlobalRateLimited), "RL"));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    let response = error.http_response();
    assert_eq!(response.status(), 429);
    for (name, value) in
        [("x-envoy-ratelimited", "true"), ("x-note", "over"), ("x-ours", "1"), ("retry-after", "7")]
    {
        assert_eq!(response.headers()[name], value, "{name}");
    }
    assert_eq!(response.into_body().text().await.unwrap(), "slow down");
    assert_eq!((users.requests(), limits.count()), (1, 2));
    assert_eq!(counted(&mesh, "service_over_limit"), 1.0);
}

#[tokio::test]
async fn a_grpc_caller_gets_resource_exhausted_or_unavailable() {
    let users = Server::grpc(hello(|_| async { Ok("hi".to_owned()) })).await;
    let limits = Limits::start(|_| Some(says(OVER_LIMIT))).await;
    let fixed = |it: &mut GlobalRateLimit| {
        let fixed = DescriptorPart::Fixed(DescriptorEntry::new("", "all"));
        it.describe = vec![RateDescriptor::new([fixed])];
        it.fail_closed = Some(true);
    };
    let (_mesh, over) = client(&users, &limits, asking(fixed));
    let status = GreeterClient::new(over).say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
    assert_eq!(status.metadata().get("x-envoy-ratelimited").unwrap(), "true");
    let (dead, _socket) = dead_address();
    let mesh = builder(&users, dead, asking(fixed)).build().unwrap();
    let mut client = GreeterClient::new(mesh.client("users").unwrap());
    let status = client.say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
    assert_eq!(users.requests(), 0);
}

#[tokio::test]
async fn only_whole_descriptions_are_sent_and_without_any_nobody_is_asked() {
    let users = Server::named("users").await;
    let limits = Limits::start(|_| Some(says(OK))).await;
    let edit = |it: &mut GlobalRateLimit| {
        let mut path = RateDescriptor::new([
            DescriptorPart::SourceCluster,
            DescriptorPart::DestinationCluster,
            header("x-user", "user"),
        ]);
        path.hits = Some(3);
        it.describe.push(path);
        // Of another stage.
        let mut other = RateDescriptor::new([DescriptorPart::DestinationCluster]);
        other.stage = Some(1);
        it.describe.push(other);
    };
    let mesh = builder(&users, limits.server.address(), asking(edit));
    let mesh = mesh.label("cluster", "front").build().unwrap();
    let client = mesh.client("users").unwrap();
    fetch(&client, get("/")).await.unwrap();
    assert_eq!(limits.count(), 0);
    fetch(&client, of("a")).await.unwrap();
    let mut both = of("b");
    both.headers_mut().insert("x-user", "ann".parse().unwrap());
    fetch(&client, both).await.unwrap();
    let asked = limits.asked.lock().unwrap();
    let tenant = |value| AskedDescriptor { entries: vec![pair("tenant", value)], hits: None };
    assert_eq!((asked[0].domain.as_str(), &asked[0].descriptors), ("shop", &vec![tenant("a")]));
    let entries = vec![
        pair("source_cluster", "front"),
        pair("destination_cluster", "users"),
        pair("user", "ann"),
    ];
    let user = AskedDescriptor { entries, hits: Some(Hits { value: 3 }) };
    assert_eq!(asked[1].descriptors, [tenant("b"), user]);
}

#[tokio::test]
async fn a_service_that_hangs_delays_a_call_by_its_timeout_at_most() {
    let users = Server::named("users").await;
    let limits = Limits::start(|_| None).await;
    let edit = |it: &mut GlobalRateLimit| it.timeout = Some(Duration::from_millis(50));
    let (mesh, open) = client(&users, &limits, asking(edit));
    let began = Instant::now();
    assert_eq!(patience(fetch(&open, of("a"))).await.unwrap().status(), 200);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(50) && took < Duration::from_secs(1), "{took:?}");
    assert_eq!((limits.count(), counted(&mesh, "service_error")), (1, 1.0));
    let (_mesh, closed) = client(
        &users,
        &limits,
        asking(|it| {
            edit(it);
            (it.fail_closed, it.error_status) = (Some(true), Some(503));
        }),
    );
    let began = Instant::now();
    let error = patience(fetch(&closed, of("a"))).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(
        (error.refusal(), error.response_flag()),
        (Some(Refusal::RateLimitUnavailable), "RLSE")
    );
    assert_eq!(error.http_status(), 503);
    assert!(error.to_string().contains("has not answered within 50ms"), "{error}");
    assert_eq!(users.requests(), 1);
}

#[tokio::test]
async fn the_deadline_of_the_call_ends_the_question_too() {
    let users = Server::named("users").await;
    let limits = Limits::start(|_| None).await;
    let (_mesh, client) = client(&users, &limits, asking(|_| {}));
    let began = Instant::now();
    let request = within(Duration::from_millis(60), of("a"));
    let error = patience(fetch(&client, request)).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Admission), "{error}");
    assert_eq!(users.requests(), 0);
}

#[tokio::test]
async fn a_service_that_is_down_or_talks_nonsense_lets_calls_on_unless_that_is_closed() {
    let users = Server::named("users").await;
    let (dead, _socket) = dead_address();
    let nonsense = Server::start(|_| async { framed(&[0xff; 7], 0) }).await;
    let unknown = Server::start(|_| async { framed(&[], 0) }).await;
    let failing = Server::start(|_| async { framed(&[8, 1], 13) }).await;
    let plain = Server::start(|_| async { reply("hello") }).await;
    for (address, expected) in [
        (dead, "cannot be asked"),
        (nonsense.address(), "cannot be read"),
        (unknown.address(), "does not know"),
        (failing.address(), "gRPC status INTERNAL"),
        (plain.address(), "without a gRPC status"),
    ] {
        let open = builder(&users, address.clone(), asking(|_| {})).build().unwrap();
        let before = users.requests();
        patience(fetch(&open.client("users").unwrap(), of("a"))).await.unwrap();
        assert_eq!((users.requests(), counted(&open, "service_error")), (before + 1, 1.0));
        let closed = asking(|it| it.fail_closed = Some(true));
        let closed = builder(&users, address, closed).build().unwrap();
        let error = patience(fetch(&closed.client("users").unwrap(), of("a"))).await.unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::RateLimitUnavailable));
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(users.requests(), before + 1);
    }
}

#[tokio::test]
async fn a_question_is_not_asked_about() {
    let users = Server::named("users").await;
    let limits = Limits::start(|_| Some(says(OK))).await;
    // The service of the limits has the same filter, for those who call it by its name.
    let fixed = |it: &mut GlobalRateLimit| {
        let fixed = DescriptorPart::Fixed(DescriptorEntry::new("", "all"));
        it.describe = vec![RateDescriptor::new([fixed])];
    };
    let source = Static::default()
        .cluster("users", cluster([users.address()]))
        .cluster("limits", cluster([limits.server.address()]))
        .service("users", asking(fixed))
        .service("limits", asking(fixed));
    let mesh = Mesh::builder().source(source).build().unwrap();
    fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap();
    assert_eq!(limits.count(), 1);
}

#[tokio::test]
async fn a_quota_answers_for_the_service_until_it_is_used_up() {
    let users = Server::start(|request| async move {
        reply(if request.headers().contains_key("x-tier") { "added" } else { "bare" })
    })
    .await;
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seconds = i64::try_from(until.as_secs()).unwrap() + 3_600;
    let limits = Limits::start(move |_| {
        let mut answer = says(OK);
        answer.quota = Some(Quota { requests: 4, until: Some(Seconds { seconds }) });
        answer.request_headers = vec![pair("x-tier", "gold")];
        Some(answer)
    })
    .await;
    let (mesh, client) = client(&users, &limits, asking(|_| {}));
    for _ in 0..8 {
        assert_eq!(fetch(&client, of("a")).await.unwrap().body(), "added");
    }
    assert_eq!(limits.count(), 2, "each answer is good for four");
    fetch(&client, of("b")).await.unwrap();
    assert_eq!((limits.count(), counted(&mesh, "service_quota")), (3, 6.0));
}

#[tokio::test]
async fn a_cluster_that_moves_is_followed_and_one_that_nobody_defines_is_told() {
    let users = Server::named("users").await;
    let (first, second) =
        (Limits::start(|_| Some(says(OK))).await, Limits::start(|_| Some(says(OVER_LIMIT))).await);
    let (mesh, publisher) = published(Mesh::builder(), |publisher| {
        publisher.cluster("users", cluster([users.address()])).unwrap();
        publisher.cluster("limits", cluster([first.server.address()])).unwrap();
        publisher.service("users", asking(|_| {})).unwrap();
    })
    .await;
    let client = mesh.client("users").unwrap();
    fetch(&client, of("a")).await.unwrap();
    publisher.cluster("limits", cluster([second.server.address()])).unwrap();
    fetch(&client, of("a")).await.unwrap_err();
    assert_eq!((first.count(), second.count()), (1, 1));
    let mut events = mesh.events();
    publisher.service("users", asking(|it| it.cluster = "nowhere".into())).unwrap();
    let told = patience(async {
        loop {
            if let Event::ConfigRefused { reason, .. } = events.recv().await.unwrap() {
                return reason.to_string();
            }
        }
    });
    assert!(told.await.contains("`nowhere`, which no source defines"));
    // It cannot be asked, so calls go on.
    fetch(&client, of("a")).await.unwrap();
}

#[tokio::test]
async fn one_that_is_taken_back_and_comes_again_is_asked_where_it_is_then() {
    let release = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&release);
    let users = Server::start(move |request| {
        let held = Arc::clone(&held);
        async move {
            if request.uri().path() == "/held" {
                held.notified().await;
            }
            reply("users")
        }
    })
    .await;
    let (first, second) =
        (Limits::start(|_| Some(says(OK))).await, Limits::start(|_| Some(says(OVER_LIMIT))).await);
    let (mesh, publisher) = published(Mesh::builder(), |publisher| {
        publisher.cluster("users", cluster([users.address()])).unwrap();
        publisher.cluster("limits", cluster([first.server.address()])).unwrap();
        publisher.service("users", asking(|_| {})).unwrap();
    })
    .await;
    let client = mesh.client("users").unwrap();
    // One call goes on under the first settings.
    let mut under_way = of("a");
    *under_way.uri_mut() = "/held".parse().unwrap();
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { fetch(&client, under_way).await }
    });
    patience(async {
        while first.count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut plain = config::Service::default();
    plain.cluster = Some("users".into());
    publisher.service("users", plain).unwrap();
    publisher.remove_cluster("limits");
    publisher.cluster("limits", cluster([second.server.address()])).unwrap();
    publisher.service("users", asking(|_| {})).unwrap();
    fetch(&client, of("a")).await.unwrap_err();
    assert_eq!((first.count(), second.count()), (1, 1));
    release.notify_one();
    under_way.await.unwrap().unwrap();
}

#[tokio::test]
async fn it_is_described_and_explained_without_a_question() {
    let users = Server::named("users").await;
    let limits = Limits::start(|_| Some(says(OK))).await;
    let (mesh, _client) = client(&users, &limits, asking(|it| it.fail_closed = Some(true)));
    mesh.ready().await.unwrap();
    let request = Request::get("http://users/").header("x-tenant", "a").body(()).unwrap();
    let told = mesh.explain(&request).unwrap().guards;
    assert_eq!(
        told,
        [
            "global_rate_limit: cluster limits is asked about (tenant) in domain `shop`, for at most \
          5s; without an answer the call fails"
        ]
    );
    let request = Request::get("http://users/").body(()).unwrap();
    let told = mesh.explain(&request).unwrap().guards;
    assert_eq!(told, ["global_rate_limit: nothing describes it, so nobody is asked"]);
    let described = mesh.describe().to_string();
    let expected = "global_rate_limit = cluster limits, domain `shop`, timeout 5s, fails closed";
    assert!(described.contains(expected), "{described}");
    assert_eq!(limits.count(), 0);
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_by_its_name() {
    for (edit, expected) in [
        ((|it| it.cluster.clear()) as fn(&mut GlobalRateLimit), "cluster"),
        (|it| it.domain.clear(), "domain"),
        (|it| it.stage = Some(11), "stage"),
        (|it| it.timeout = Some(Duration::ZERO), "timeout"),
        (|it| it.status = Some(302), "status"),
        (|it| it.error_status = Some(99), "error_status"),
        (|it| it.describe.clear(), "nothing describes stage 0"),
        (|it| it.describe[0].parts.clear(), "describe[0].parts"),
        (|it| it.describe[0].parts.push(DescriptorPart::RemoteAddress), "parts[1]"),
    ] {
        let source = Static::default().service("users", asking(edit));
        let error = Mesh::builder().source(source).build().unwrap().ready().await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn the_layer_alone_asks_by_any_client_that_speaks_grpc() {
    let limits = Limits::start(|asked| {
        let over = asked.descriptors[0].entries[0].value == "greedy";
        let mut answer = says(if over { OVER_LIMIT } else { OK });
        answer.request_headers = vec![pair("x-tier", "gold")];
        answer.response_headers = vec![pair("x-note", "asked")];
        Some(answer)
    })
    .await;
    let asks = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http::<Body>();
    let authority = limits.server.socket().to_string().parse().unwrap();
    let describe = |request: &Request<()>| {
        let tenant = request.headers().get("x-tenant").and_then(|tenant| tenant.to_str().ok());
        tenant.map(|tenant| Descriptor::new().entry("tenant", tenant)).into_iter().collect()
    };
    let layer = GlobalRateLimitLayer::new(asks, "shop", describe)
        .authority(authority)
        .timeout(Duration::from_secs(5))
        .fail_closed(true);
    let mut service = ServiceBuilder::new().layer(layer).service_fn(async |request: Request<()>| {
        let tier = request.headers().get("x-tier").cloned();
        Ok::<_, Error>(Response::new(tier.map(|tier| tier.to_str().unwrap().to_owned())))
    });
    let of = |tenant: &str| Request::get("/").header("x-tenant", tenant).body(()).unwrap();
    let response = service.ready().await.unwrap().call(of("modest")).await.unwrap();
    assert_eq!(response.headers()["x-note"], "asked");
    assert_eq!(response.body().as_deref(), Some("gold"));
    let error = service.ready().await.unwrap().call(of("greedy")).await.unwrap_err();
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!((error.refusal(), error.response_flag()), (Some(Refusal::GlobalRateLimited), "RL"));
    let bare = Request::get("/").body(()).unwrap();
    let response = service.ready().await.unwrap().call(bare).await.unwrap();
    assert_eq!((response.body(), limits.count()), (&None, 2));
    drop(limits);
    let error = service.ready().await.unwrap().call(of("modest")).await.unwrap_err();
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!(error.response_flag(), "RLSE", "{error}");
}
