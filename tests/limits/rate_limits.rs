//! The local rate limit over real servers: per service, route and key, what a refusal says, what an
//! update keeps, and what is refused by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use tokio::time::Instant;

use http::{Request, StatusCode};
use tower::{Service as _, ServiceBuilder, ServiceExt as _};
use tower_mesh::{
    Body, Client, Error, ErrorKind, Mesh, Phase, Refusal,
    config::{
        self, AdaptiveConcurrency, AdmissionControl, DescriptorEntry, DescriptorPart,
        DescriptorSource, Filter, LimitedDescriptor, RateDescriptor, RateLimit, Route, Throttle,
        TokenBucket,
    },
    discover::Static,
    resilience::RateLimitLayer,
};

use crate::support::{
    GreeterClient, HelloRequest, Recorder, Server, cluster, fetch, get, hello, published, storm,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// So many tokens, and the next one in an hour.
fn tokens(count: u32) -> TokenBucket {
    TokenBucket::new(count, 1, HOUR)
}

fn limited(limit: RateLimit) -> config::Service {
    let mut service = config::Service::default();
    service.filters = vec![Filter::RateLimit(Box::new(limit))];
    service
}

fn mesh(server: &Server, service: config::Service) -> Mesh {
    let source = Static::default().cluster("users", cluster([server.address()]));
    Mesh::builder().source(source.service("users", service)).seed(3).build().unwrap()
}

fn of(tenant: &str) -> Request<Body> {
    Request::get("/").header("x-tenant", tenant).body(Body::empty()).unwrap()
}

/// How many of these calls were let in.
async fn let_in(client: &Client, calls: usize, request: impl Fn() -> Request<Body>) -> usize {
    let answers = storm(4, calls, |_| fetch(client, request())).await;
    for answer in &answers {
        if let Err(error) = answer {
            assert_eq!(error.refusal(), Some(Refusal::RateLimited), "{error}");
        }
    }
    answers.iter().filter(|answer| answer.is_ok()).count()
}

#[tokio::test]
async fn over_the_limit_a_call_fails_at_once_and_says_when_to_come_back() {
    let server = Server::named("users").await;
    let mut limit = RateLimit::new(TokenBucket::new(3, 2, HOUR));
    limit.limit_headers = Some(true);
    limit.response_headers.set = [("x-limited-by".to_owned(), "users".to_owned())].into();
    let mesh = mesh(&server, limited(limit));
    let (client, mut recorder) = (mesh.client("users").unwrap(), Recorder::of(&mesh));
    for _ in 0..3 {
        assert_eq!(fetch(&client, get("/")).await.unwrap().status(), 200);
    }
    let error = fetch(&client, get("/")).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Overloaded, Phase::Admission));
    assert_eq!((error.refusal(), error.response_flag()), (Some(Refusal::RateLimited), "RL"));
    assert_eq!(error.http_status(), StatusCode::TOO_MANY_REQUESTS);
    // Half an hour for a token, of which a moment has passed.
    let wait = error.retry_after().unwrap();
    assert!(wait <= HOUR / 2 && wait + Duration::from_secs(10) > HOUR / 2, "{wait:?}");
    let headers = error.headers().unwrap();
    assert_eq!(headers["x-limited-by"], "users");
    assert_eq!(
        (&headers["x-ratelimit-limit"], &headers["x-ratelimit-remaining"]),
        (&"3".parse().unwrap(), &"0".parse().unwrap())
    );
    let reset: u64 = headers["x-ratelimit-reset"].to_str().unwrap().parse().unwrap();
    assert!((1_790..=1_800).contains(&reset), "{reset}");
    let response = error.http_response();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], headers["x-ratelimit-reset"]);
    let text = error.to_string();
    assert!(
        text.contains(
            "users: limit reached: `rate_limit`: the bucket has no token left, of 3 at most"
        ),
        "{text}"
    );
    // It is not sent, not retried, and takes nothing from the budget of those that are.
    assert_eq!((server.requests(), recorder.retries().len()), (3, 0));
    assert!(recorder.refusals().is_empty());
    let refused = [("mesh.rate_limit.result", "refused")];
    assert!((mesh.metrics().total("mesh.client.rate_limits", &refused) - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_grpc_caller_gets_resource_exhausted_and_the_headers() {
    let server = Server::grpc(hello(|_| async { Ok("hi".to_owned()) })).await;
    let mut limit = RateLimit::new(tokens(1));
    limit.limit_headers = Some(true);
    let mesh = mesh(&server, limited(limit));
    let mut client = GreeterClient::new(mesh.client("users").unwrap());
    client.say_hello(HelloRequest::default()).await.unwrap();
    let status = client.say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
    assert_eq!(status.metadata().get("x-ratelimit-limit").unwrap(), "1");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_service_and_each_of_its_routes_have_buckets_of_their_own() {
    let server = Server::named("users").await;
    let route = |prefix: &str, limit| {
        let mut route = Route::default();
        let mut rule = config::Match::default();
        rule.path = Some(config::PathMatch::Prefix(prefix.into()));
        route.matches = vec![rule];
        route.clusters = vec![config::WeightedCluster::new("users")];
        route.filters = vec![Filter::RateLimit(Box::new(RateLimit::new(limit)))];
        route
    };
    let mut service = limited(RateLimit::new(tokens(9)));
    service.routes = vec![route("/a", tokens(5)), route("/b", tokens(7))];
    let mesh = mesh(&server, service);
    let client = mesh.client("users").unwrap();
    assert_eq!(let_in(&client, 20, || get("/a")).await, 5);
    // Of the nine of the service nine were asked for by then: its bucket comes first.
    assert_eq!(let_in(&client, 20, || get("/b")).await, 0);
    assert_eq!(server.requests(), 5);
}

fn per_tenant() -> RateLimit {
    let mut limit = RateLimit::new(tokens(2));
    limit.describe = vec![RateDescriptor::new([DescriptorPart::Header({
        let mut source = DescriptorSource::new("x-tenant");
        source.key = "tenant".into();
        source
    })])];
    limit.descriptors = vec![
        LimitedDescriptor::new([("tenant", "")], tokens(3)),
        LimitedDescriptor::new([("tenant", "gold")], tokens(8)),
    ];
    limit
}

#[tokio::test]
async fn each_key_has_its_own_bucket_and_the_rest_share_one() {
    let server = Server::named("users").await;
    let mesh = mesh(&server, limited(per_tenant()));
    let client = mesh.client("users").unwrap();
    for (tenant, expected) in [("gold", 8), ("a", 3), ("b", 3), ("a", 0), ("gold", 0)] {
        assert_eq!(let_in(&client, 12, || of(tenant)).await, expected, "{tenant}");
    }
    // No header, no description: the bucket of what nothing matches.
    assert_eq!(let_in(&client, 12, || get("/")).await, 2);
}

#[tokio::test]
async fn the_whole_bucket_counts_the_described_too_if_that_is_said() {
    let server = Server::named("users").await;
    let mut limit = per_tenant();
    limit.always_bucket = Some(true);
    limit.bucket = tokens(4);
    let mesh = mesh(&server, limited(limit));
    let client = mesh.client("users").unwrap();
    assert_eq!(let_in(&client, 12, || of("a")).await, 3);
    assert_eq!(let_in(&client, 12, || of("b")).await, 1);
    assert_eq!(let_in(&client, 12, || get("/")).await, 0);
}

#[tokio::test]
async fn no_number_of_keys_gets_more_than_the_places_there_are() {
    let server = Server::named("users").await;
    let mut limit = per_tenant();
    limit.max_buckets = Some(4);
    limit.descriptors[0].bucket = tokens(1);
    let mesh = mesh(&server, limited(limit));
    let client = mesh.client("users").unwrap();
    let mut granted = 0;
    for key in 0..200 {
        granted += let_in(&client, 1, || of(&format!("key {key}"))).await;
    }
    // Four places, and one bucket for all who found none; a set that is full makes it fewer.
    assert!((2..=5).contains(&granted), "{granted}");
}

#[tokio::test]
async fn what_is_not_enforced_goes_on_and_is_marked() {
    let server = Server::start(|request| async move {
        let marked = request.headers().contains_key("x-over");
        crate::support::reply(if marked { "over" } else { "within" })
    })
    .await;
    let mut limit = RateLimit::new(tokens(2));
    limit.enforced_percent = Some(0.0);
    limit.request_headers.set = [("x-over".to_owned(), "1".to_owned())].into();
    let mesh = mesh(&server, limited(limit.clone()));
    let client = mesh.client("users").unwrap();
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(fetch(&client, get("/")).await.unwrap().into_body());
    }
    assert_eq!(said, ["within", "within", "over", "over"]);
    let over = [("mesh.rate_limit.result", "over")];
    assert!((mesh.metrics().total("mesh.client.rate_limits", &over) - 2.0).abs() < 0.1);
    // A half that is enforced, and a half that is counted at all.
    limit.enforced_percent = Some(50.0);
    let half = self::mesh(&server, limited(limit.clone()));
    let granted = let_in(&half.client("users").unwrap(), 400, || get("/")).await;
    assert!((150..=250).contains(&granted), "{granted}");
    (limit.enabled_percent, limit.enforced_percent) = (Some(50.0), None);
    let half = self::mesh(&server, limited(limit));
    let granted = let_in(&half.client("users").unwrap(), 400, || get("/")).await;
    assert!((150..=250).contains(&granted), "{granted}");
}

#[tokio::test]
async fn a_bucket_is_filled_evenly_while_callers_storm_it() {
    let server = Server::named("users").await;
    let bucket = TokenBucket::new(5, 10, Duration::from_millis(200));
    let mesh = mesh(&server, limited(RateLimit::new(bucket)));
    let client = mesh.client("users").unwrap();
    let (began, mut granted) = (Instant::now(), 0);
    // What a full bucket does not take while the machine stands still is nobody's.
    let (mut asked, mut fits) = (began, Duration::ZERO);
    while began.elapsed() < Duration::from_millis(600) {
        granted += let_in(&client, 8, || get("/")).await;
        fits += asked.elapsed().min(Duration::from_millis(60));
        asked = Instant::now();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // One each 20 ms.
    let earned = 5 + began.elapsed().as_millis() / 20;
    assert!(granted as u128 <= earned, "{granted} of {earned}");
    let kept = 5 + fits.as_millis() / 20;
    assert!(granted as u128 >= kept * 7 / 10, "{granted} of {kept}");
}

#[tokio::test]
async fn an_update_keeps_the_tokens_of_what_it_does_not_change() {
    let server = Server::named("users").await;
    let (mesh, publisher) = published(Mesh::builder(), |publisher| {
        publisher.cluster("users", cluster([server.address()])).unwrap();
        publisher.service("users", limited(RateLimit::new(tokens(3)))).unwrap();
    })
    .await;
    let client = mesh.client("users").unwrap();
    assert_eq!(let_in(&client, 2, || get("/")).await, 2);
    let mut service = limited(RateLimit::new(tokens(3)));
    service.policy.timeout = Some(Duration::from_secs(9));
    publisher.service("users", service.clone()).unwrap();
    assert_eq!(let_in(&client, 5, || get("/")).await, 1, "one token is left");
    service.filters = limited(RateLimit::new(tokens(4))).filters;
    publisher.service("users", service.clone()).unwrap();
    assert_eq!(let_in(&client, 9, || get("/")).await, 4, "a new limit begins full");
    service.filters.clear();
    publisher.service("users", service).unwrap();
    assert_eq!(let_in(&client, 9, || get("/")).await, 9);
}

#[tokio::test]
async fn a_runtime_key_turns_a_description_off_and_on_and_no_token_comes_back() {
    let server = Server::named("users").await;
    let mut limit = per_tenant();
    limit.describe[0].disable_key = Some("Tenants".into());
    let mesh = mesh(&server, limited(limit));
    let client = mesh.client("users").unwrap();
    assert_eq!(let_in(&client, 9, || of("a")).await, 3);
    let key = "ratelimit.tenants.http_filter_enabled";
    mesh.set_runtime_key(key, 0.0).unwrap();
    // Nothing describes it: it is counted by the bucket of the rest.
    assert_eq!(let_in(&client, 9, || of("a")).await, 2);
    mesh.clear_runtime_key(key).unwrap();
    assert_eq!(let_in(&client, 9, || of("a")).await, 0, "its bucket is as it was");
    assert_eq!(let_in(&client, 9, || of("b")).await, 3);
    assert!(format!("{:#}", mesh.describe()).contains("rate_limit"));
}

#[tokio::test]
async fn it_is_described_and_explained_and_neither_takes_a_token() {
    let server = Server::named("users").await;
    let mut limit = RateLimit::new(TokenBucket::new(2, 5, HOUR));
    limit.enforced_percent = Some(100.0);
    let mesh = mesh(&server, limited(limit));
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let request = Request::get("http://users/").body(()).unwrap();
    let told = |expected: &str, fails: bool| {
        let explained = mesh.explain(&request).unwrap();
        assert_eq!(explained.guards, [expected]);
        assert_eq!(explained.fails.is_some(), fails, "{explained}");
    };
    told("rate_limit: the bucket has 2 of 2 tokens, of which it takes 1", false);
    assert_eq!(let_in(&client, 9, || get("/")).await, 2);
    told("rate_limit: the bucket has 0 of 2 tokens, of which it takes 1", true);
    let described = mesh.describe().to_string();
    assert!(
        described.contains("rate_limit = 2 tokens, 5 every 3600s; enforced 100 % ("),
        "{described}"
    );
}

#[tokio::test]
async fn a_limit_that_refuses_nobody_is_not_said_to_refuse() {
    let server = Server::named("users").await;
    let request = Request::get("http://users/").body(()).unwrap();
    for (enabled, enforced, shares) in [
        (None, Some(0.0), "; it refuses 0 % of the calls that are over"),
        (
            Some(50.0),
            Some(10.0),
            "; it counts 50 % of the calls; it refuses 10 % of the calls that are over",
        ),
    ] {
        let mut limit = RateLimit::new(TokenBucket::new(1, 1, HOUR));
        (limit.enabled_percent, limit.enforced_percent) = (enabled, enforced);
        let mesh = mesh(&server, limited(limit));
        mesh.ready().await.unwrap();
        let_in(&mesh.client("users").unwrap(), 20, || get("/")).await;
        let told = mesh.explain(&request).unwrap();
        let said = "rate_limit: the bucket has 0 of 1 tokens, of which it takes 1";
        assert_eq!(told.guards, [format!("{said}{shares}")]);
        assert_eq!(told.fails, None, "{told}");
    }
}

#[tokio::test]
async fn what_the_code_says_of_limits_and_protections_acts_and_is_checked() {
    let server = Server::named("users").await;
    let builder = || Mesh::builder().endpoints("users", [server.address()]).seed(3);
    let mut throttle = Throttle::default();
    throttle.per_accept = Some(3.0);
    let mesh = builder()
        .service("users", |it| {
            it.rate_limit(RateLimit::new(tokens(3)))
                .throttle(throttle)
                .adaptive_concurrency(AdaptiveConcurrency::default())
                .admission_control(AdmissionControl::default())
        })
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    assert_eq!(let_in(&mesh.client("users").unwrap(), 9, || get("/")).await, 3);
    let said = mesh.explain(&get("http://users/")).unwrap();
    let all = ["rate_limit", "throttle", "adaptive_concurrency", "admission_control"];
    assert_eq!(said.route.filters, all, "{said}");
    let described = mesh.describe().to_string();
    for name in all {
        assert!(described.contains(name), "{name} in {described}");
    }
    for told in ["throttle.per_accept = 3 (code)", "throttle.window = 120s (default)"] {
        assert!(described.contains(told), "{told} in {described}");
    }
    let error = builder()
        .service("users", |it| it.rate_limit(RateLimit::new(TokenBucket::default())))
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("rate_limit.bucket"), "{error}");
    let mut throttle = Throttle::default();
    throttle.window = Some(Duration::ZERO);
    let error = builder().service("users", |it| it.throttle(throttle)).build().unwrap_err();
    assert!(error.to_string().contains("throttle.window"), "{error}");
}

/// What is refused of a limit, with its place.
async fn refused(limit: RateLimit) -> Vec<String> {
    let source = Static::default().service("users", limited(limit));
    let error: Error = Mesh::builder().source(source).build().unwrap().ready().await.unwrap_err();
    error.to_string().split("; ").map(str::to_owned).collect()
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_by_its_name() {
    let part = |part: DescriptorPart| {
        let mut limit = per_tenant();
        limit.describe[0].parts = vec![part];
        limit
    };
    let edited = |edit: fn(&mut RateLimit)| {
        let mut limit = per_tenant();
        edit(&mut limit);
        limit
    };
    for (limit, expected) in [
        (RateLimit::default(), "bucket.max_tokens"),
        (RateLimit::new(TokenBucket::new(1, 0, HOUR)), "bucket.tokens_per_fill"),
        (RateLimit::new(TokenBucket::new(1, 1, Duration::from_millis(49))), "at least 50ms"),
        (RateLimit::new(TokenBucket::new(u32::MAX, 1, HOUR)), "longer than 365 days"),
        (RateLimit::new(TokenBucket::new(1, 1, Duration::MAX)), "fill_interval"),
        (edited(|it| it.enforced_percent = Some(100.5)), "enforced_percent"),
        (edited(|it| it.enabled_percent = Some(f64::NAN)), "enabled_percent"),
        (edited(|it| it.status = Some(200)), "status"),
        (edited(|it| it.max_buckets = Some(0)), "max_buckets"),
        (edited(|it| it.per_connection = Some(true)), "per_connection"),
        (edited(|it| it.describe.clear()), "descriptors"),
        (edited(|it| it.descriptors.clear()), "describe"),
        (edited(|it| it.descriptors[0].entries.clear()), "descriptors[0].entries"),
        (edited(|it| it.descriptors[1] = it.descriptors[0].clone()), "is there twice"),
        (edited(|it| it.describe[0].disable_key = Some(String::new())), "disable_key"),
        (edited(|it| it.describe[0].stage = Some(1)), "describe[0].stage"),
        (edited(|it| it.describe[0].hits = Some(u64::MAX)), "describe[0].hits"),
        (part(DescriptorPart::RemoteAddress), "no caller with an address"),
        (part(DescriptorPart::MaskedAddress(config::AddressMask::default())), "masked_address"),
        (part(DescriptorPart::Metadata(config::DescriptorMetadata::default())), "metadata"),
        (part(DescriptorPart::Header(DescriptorSource::new("a b"))), "header.name"),
        (part(DescriptorPart::Query(DescriptorSource::new(""))), "query.name"),
        (part(DescriptorPart::Fixed(DescriptorEntry::new("key", ""))), "fixed.value"),
    ] {
        let refused = refused(limit.clone()).await;
        assert!(refused.iter().any(|it| it.contains(expected)), "{expected}: {refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_layer_alone_limits_any_service_by_key() {
    let layer = RateLimitLayer::new(&TokenBucket::new(2, 1, Duration::from_secs(10)))
        .unwrap()
        .key(100, |key: &&str| (!key.is_empty()).then(|| (*key).to_owned()));
    let service = ServiceBuilder::new()
        .layer(layer)
        .service_fn(async |key: &'static str| Ok::<_, std::io::Error>(key));
    let call = async |key: &'static str| {
        // Clones share the buckets.
        let mut service = service.clone();
        service.ready().await.unwrap().call(key).await
    };
    for key in ["a", "b", ""] {
        assert!(call(key).await.is_ok() && call(key).await.is_ok(), "{key}");
        let error = call(key).await.unwrap_err();
        let error = error.downcast_ref::<Error>().unwrap();
        assert_eq!(error.refusal(), Some(Refusal::RateLimited));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(10)));
        assert_eq!(error.headers().unwrap()["x-ratelimit-reset"], "10");
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(call("a").await.is_ok());
    assert!(call("a").await.is_err());
    assert!(RateLimitLayer::new(&TokenBucket::default()).is_err());
}
