//! A rate limit that many callers share, by `envoy.service.ratelimit.v3` over real connections: what
//! is asked, and what becomes of each answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test fails by panicking, and counts are whole"
)]

use std::time::Duration;

use http::{Request, Response};
use tower::{Service as _, ServiceBuilder, ServiceExt as _};
use tower_mesh::{
    Body, Error, ErrorKind, Mesh, Phase, Refusal,
    config::{DescriptorEntry, DescriptorPart, GlobalRateLimit, RateDescriptor},
    discover::Static,
    resilience::{Descriptor, GlobalRateLimitLayer},
};

use crate::{
    rls::{
        AskedDescriptor, Hits, Limit, Limits, OK, OVER_LIMIT, Quota, Seconds, Status, asking,
        builder, client, counted, header, of, pair, says,
    },
    support::{
        GreeterClient, HelloRequest, Server, cluster, dead_address, fetch, get, hello, reply,
    },
};

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
