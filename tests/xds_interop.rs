//! The programs of gRPC's interop tests of xDS (`examples/xds_interop_client`, `examples/xds_interop_server`) under the test
//! kit's control plane: the cases of gRPC's `doc/xds-test-descriptions.md` by their names, over real sockets.
#![cfg(feature = "xds")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../examples/xds_interop_server/behaviour.rs"]
mod behaviour;
#[path = "../examples/xds_interop_client/client.rs"]
mod client;
#[path = "../examples/support/interop/mod.rs"]
mod interop;
#[path = "../examples/xds_interop_client/ledger.rs"]
mod ledger;
#[path = "../examples/xds_interop_client/options.rs"]
mod options;
#[path = "../examples/xds_interop_server/server.rs"]
mod server;

use std::{collections::BTreeMap, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{CircuitBreakers, Cluster, circuit_breakers::Thresholds, cluster},
            core::v3::{
                AggregatedConfigSource, ConfigSource, config_source::ConfigSourceSpecifier,
            },
            route::v3::{
                HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
                header_matcher::HeaderMatchSpecifier, route, route_action,
                route_match::PathSpecifier,
            },
        },
        r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::{BoolValue, UInt32Value},
};
use prost::Message;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower_mesh::{
    control::xds::{Bootstrap, Server as Plane},
    testing::xds::{AdsServer, CDS, RDS, Resource},
};

use behaviour::{End, asked};
use client::Client;
use interop::{
    ACCUMULATED_STATS, CLIENT_STATS, CONFIGURE, EMPTY_CALL, Flags, SET_NOT_SERVING, SET_SERVING,
    Told, UNARY_CALL, called,
    messages::{
        CallMetadata, ClientConfigureRequest, ClientConfigureResponse, EchoStatus, Empty,
        LoadBalancerAccumulatedStatsRequest, LoadBalancerAccumulatedStatsResponse,
        LoadBalancerStatsRequest, LoadBalancerStatsResponse, MetadataKind, MethodStats, RpcType,
        SimpleRequest, SimpleResponse,
    },
};
use options::Options;
use server::Server;

fn words(line: &str) -> impl Iterator<Item = String> {
    line.split_whitespace().map(str::to_owned)
}

async fn backend(name: &str, port: u16) -> Server {
    let line = format!("--port={port} --host_name_override={name} --server_id=id-{name}");
    Server::start([127, 0, 0, 1], server::Options::parse(words(&line)).unwrap()).await.unwrap()
}

async fn channel(at: std::net::SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{at}")).unwrap().connect().await.unwrap()
}

/// The plane, and a client of it that a driver asks and tells.
struct Bed {
    plane: AdsServer,
    client: Client,
    driver: Channel,
}

impl Bed {
    async fn start(line: &str, resources: Vec<Resource>) -> Self {
        let plane = AdsServer::start().await.unwrap();
        plane.set(resources);
        let bootstrap =
            Bootstrap::builder().node_id("client").server(Plane::insecure(plane.uri())).build();
        let line = format!("--server=xds:///test --stats_port=0 {line}");
        let options = Options::parse(words(&line)).unwrap();
        let client = Client::start([127, 0, 0, 1], options, Some(bootstrap.unwrap())).await;
        let client = client.unwrap();
        let driver = channel(client.stats).await;
        Self { plane, client, driver }
    }

    async fn next(&self, num_rpcs: i32) -> LoadBalancerStatsResponse {
        self.next_with(num_rpcs, &[]).await
    }

    async fn next_with(&self, num_rpcs: i32, keys: &[&str]) -> LoadBalancerStatsResponse {
        let metadata_keys = keys.iter().map(|&key| key.to_owned()).collect();
        let asked = LoadBalancerStatsRequest { num_rpcs, timeout_sec: 60, metadata_keys };
        called(self.driver.clone(), CLIENT_STATS, Request::new(asked)).await.unwrap().message
    }

    /// All of a kind so far.
    async fn all(&self, kind: &str) -> MethodStats {
        let asked = Request::new(LoadBalancerAccumulatedStatsRequest {});
        let told: Told<LoadBalancerAccumulatedStatsResponse> =
            called(self.driver.clone(), ACCUMULATED_STATS, asked).await.unwrap();
        told.message.stats_per_method.get(kind).cloned().unwrap_or_default()
    }

    async fn configure(&self, calls: &[(RpcType, &str)], timeout_sec: i32) {
        let types = calls.iter().map(|(kind, _)| (*kind).into()).collect();
        let metadata = calls.iter().filter(|(_, value)| !value.is_empty());
        let metadata = metadata.map(|(kind, value)| CallMetadata {
            kind: (*kind).into(),
            key: "rpc-behavior".into(),
            value: (*value).to_owned(),
        });
        let asked = ClientConfigureRequest { types, metadata: metadata.collect(), timeout_sec };
        let done: Told<ClientConfigureResponse> =
            called(self.driver.clone(), CONFIGURE, Request::new(asked)).await.unwrap();
        drop(done);
    }

    /// Until these, and no others, answer.
    async fn until_peers(&self, peers: &[&str]) {
        self.until(async || {
            let told = self.next(20).await;
            told.num_failures == 0 && told.rpcs_by_peer.keys().eq(peers.iter())
        })
        .await;
    }

    async fn until(&self, mut holds: impl AsyncFnMut() -> bool) {
        let look = async { while !holds().await {} };
        tokio::time::timeout(Duration::from_secs(90), look).await.expect("it comes");
    }
}

fn cluster(name: &str, backends: &[&Server]) -> [Resource; 2] {
    let at = backends.iter().map(|server| server.address);
    [Resource::cluster(name), Resource::endpoints(name, at)]
}

fn to(name: &str, backends: &[&Server]) -> Vec<Resource> {
    let mut all = vec![Resource::listener("test", "routes")];
    all.push(Resource::routes("routes", [("test", name)]));
    all.extend(cluster(name, backends));
    all
}

fn route(matched: RouteMatch, cluster: &str) -> Route {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.into())),
        ..RouteAction::default()
    };
    Route { r#match: Some(matched), action: Some(route::Action::Route(action)), ..Route::default() }
}

fn path(path: PathSpecifier) -> RouteMatch {
    RouteMatch { path_specifier: Some(path), ..RouteMatch::default() }
}

/// These routes, and one of everything else to `default`.
fn routes(first: Vec<Route>) -> Resource {
    let mut routes = first;
    routes.push(route(path(PathSpecifier::Prefix(String::new())), "default"));
    let host = VirtualHost {
        name: "test".into(),
        domains: vec!["*".into()],
        routes,
        ..VirtualHost::default()
    };
    let configuration = RouteConfiguration {
        name: "routes".into(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    };
    Resource::encoded(RDS, "routes", configuration.encode_to_vec())
}

/// Two clusters of one backend each, `default` and `second`, and routes between them.
fn two(one: &Server, other: &Server, first: Vec<Route>) -> Vec<Resource> {
    let mut all = vec![Resource::listener("test", "routes"), routes(first)];
    all.extend(cluster("default", &[one]));
    all.extend(cluster("second", &[other]));
    all
}

/// Until calls of each kind have this answerer alone.
async fn until_goes(bed: &Bed, empty: &str, unary: &str) {
    bed.until(async || {
        let told = bed.next(20).await;
        let is_only = |method: &str, peer: &str| {
            let of = told.rpcs_by_method.get(method);
            of.is_some_and(|of| of.rpcs_by_peer.keys().eq([peer]))
        };
        told.num_failures == 0 && is_only("EmptyCall", empty) && is_only("UnaryCall", unary)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_pong_and_round_robin() {
    let (a, b, c, d) =
        tokio::join!(backend("a", 0), backend("b", 0), backend("c", 0), backend("d", 0));
    let bed = Bed::start("--qps=50 --num_channels=2", to("all", &[&a, &b, &c, &d])).await;
    bed.until_peers(&["a", "b", "c", "d"]).await;
    let told = bed.next(100).await;
    assert_eq!(told.num_failures, 0);
    assert!(told.rpcs_by_peer.values().all(|count| (20..=30).contains(count)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_splitting_and_change_backend_service() {
    let (a, b) = tokio::join!(backend("a", 0), backend("b", 0));
    let mut bed = Bed::start("--qps=200 --fail_on_failed_rpc", to("a", &[&a])).await;
    bed.until_peers(&["a"]).await;
    bed.plane.set(cluster("b", &[&b]));
    bed.plane.set([Resource::split("routes", "test", [("a", 20), ("b", 80)])]);
    bed.until_peers(&["a", "b"]).await;
    let told = bed.next(400).await;
    assert!((45..=120).contains(&told.rpcs_by_peer["a"]), "{told:?}");
    bed.plane.set([Resource::routes("routes", [("test", "b")])]);
    bed.until_peers(&["b"]).await;
    let failed = tokio::time::timeout(Duration::from_millis(1), bed.client.failed()).await;
    assert!(failed.is_err(), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_restart_and_fail_on_failed_rpc() {
    let a = backend("a", 0).await;
    let port = a.address.port();
    let resources = to("a", &[&a]);
    let mut bed = Bed::start("--qps=100 --fail_on_failed_rpc", resources).await;
    bed.until_peers(&["a"]).await;
    drop(a);
    bed.until(async || bed.next(20).await.num_failures == 20).await;
    assert!(bed.client.failed().await.contains("UnaryCall failed"));
    let _a = backend("a", port).await;
    bed.until_peers(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn path_matching() {
    let (one, two_) = tokio::join!(backend("one", 0), backend("two", 0));
    let bed = Bed::start("--qps=100 --rpc=EmptyCall,UnaryCall", two(&one, &two_, vec![])).await;
    until_goes(&bed, "one", "one").await;
    let other = |matched| bed.plane.set([routes(vec![route(matched, "second")])]);
    other(path(PathSpecifier::Path(EMPTY_CALL.into())));
    until_goes(&bed, "two", "one").await;
    other(path(PathSpecifier::Prefix("/grpc.testing.TestService/Unary".into())));
    until_goes(&bed, "one", "two").await;
    let regex = RegexMatcher { regex: "^/.*/EmptyCall$".into(), ..RegexMatcher::default() };
    other(path(PathSpecifier::SafeRegex(regex)));
    until_goes(&bed, "two", "one").await;
    let mut any_case = path(PathSpecifier::Path("/gRpC.tEsTinG.tEstseRvice/unaryCall".into()));
    any_case.case_sensitive = Some(BoolValue { value: false });
    other(any_case);
    until_goes(&bed, "one", "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_matching() {
    let (one, two_) = tokio::join!(backend("one", 0), backend("two", 0));
    let line = "--qps=100 --rpc=EmptyCall,UnaryCall \
                --metadata=EmptyCall:xds_md:empty_ytpme,UnaryCall:xds_md:unary_yranu,UnaryCall:xds_md_numeric:159";
    let bed = Bed::start(line, two(&one, &two_, vec![])).await;
    until_goes(&bed, "one", "one").await;
    let other = |name: &str, specifier, invert_match| {
        let header = HeaderMatcher {
            name: name.into(),
            invert_match,
            header_match_specifier: Some(specifier),
            ..HeaderMatcher::default()
        };
        let mut matched = path(PathSpecifier::Prefix(String::new()));
        matched.headers = vec![header];
        bed.plane.set([routes(vec![route(matched, "second")])]);
    };
    let text = |pattern| {
        let text = StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() };
        HeaderMatchSpecifier::StringMatch(text)
    };
    other("xds_md", text(MatchPattern::Exact("empty_ytpme".into())), false);
    until_goes(&bed, "two", "one").await;
    other("xds_md", text(MatchPattern::Prefix("un".into())), false);
    until_goes(&bed, "one", "two").await;
    other("xds_md", text(MatchPattern::Suffix("me".into())), false);
    until_goes(&bed, "two", "one").await;
    other("xds_md_numeric", HeaderMatchSpecifier::PresentMatch(true), false);
    until_goes(&bed, "one", "two").await;
    other("xds_md", text(MatchPattern::Exact("unary_yranu".into())), true);
    until_goes(&bed, "two", "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timeout() {
    let a = backend("a", 0).await;
    let bed = Bed::start("--qps=50", to("a", &[&a])).await;
    bed.until_peers(&["a"]).await;
    // app_timeout_exceeded
    bed.configure(&[(RpcType::UnaryCall, "sleep-2")], 1).await;
    let late = async |least: i32| {
        bed.until(async || {
            tokio::time::sleep(Duration::from_millis(20)).await;
            bed.all("UNARY_CALL").await.result.get(&4).is_some_and(|count| *count >= least)
        })
        .await;
        bed.all("UNARY_CALL").await.result[&0]
    };
    // What was under way when it was told is over when the first is too late.
    let answered = late(1).await;
    assert_eq!(late(20).await, answered, "calls that take too long are answered");
    // timeout_not_exceeded, and calls of another kind
    bed.configure(&[(RpcType::EmptyCall, "")], 0).await;
    bed.until(async || bed.next(20).await.rpcs_by_method.contains_key("EmptyCall")).await;
    let told = bed.next(20).await;
    assert_eq!((told.num_failures, told.rpcs_by_peer["a"]), (0, 20));
    // A call of a kind that there is not changes nothing.
    let asked = ClientConfigureRequest { types: vec![7], ..ClientConfigureRequest::default() };
    let refused: Result<Told<ClientConfigureResponse>, Status> =
        called(bed.driver.clone(), CONFIGURE, Request::new(asked)).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(bed.next(10).await.rpcs_by_method["EmptyCall"].rpcs_by_peer["a"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn circuit_breaking() {
    let a = backend("a", 0).await;
    let limited = |max_requests: u32| {
        let ads = ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
        let eds_config =
            ConfigSource { config_source_specifier: Some(ads), ..ConfigSource::default() };
        let thresholds = Thresholds {
            max_requests: Some(UInt32Value { value: max_requests }),
            ..Thresholds::default()
        };
        let pb = Cluster {
            name: "a".into(),
            cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
                cluster::DiscoveryType::Eds.into(),
            )),
            eds_cluster_config: Some(cluster::EdsClusterConfig {
                eds_config: Some(eds_config),
                ..cluster::EdsClusterConfig::default()
            }),
            circuit_breakers: Some(CircuitBreakers {
                thresholds: vec![thresholds],
                ..CircuitBreakers::default()
            }),
            ..Cluster::default()
        };
        Resource::encoded(CDS, "a", pb.encode_to_vec())
    };
    let mut resources = to("a", &[&a]);
    resources[2] = limited(20);
    let bed = Bed::start("--qps=100", resources).await;
    bed.until_peers(&["a"]).await;
    bed.configure(&[(RpcType::UnaryCall, "keep-open")], 20).await;
    let in_flight = async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let all = bed.all("UNARY_CALL").await;
        all.rpcs_started - all.result.values().sum::<i32>()
    };
    bed.until(async || in_flight().await == 20).await;
    // One that is just being refused has begun, and has no result yet.
    let stays = in_flight().await;
    assert!((20..=21).contains(&stays), "{stays}");
    bed.plane.set([limited(30)]);
    bed.until(async || in_flight().await == 30).await;
    let stays = in_flight().await;
    assert!((30..=31).contains(&stays), "{stays}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_responses_is_told_as_it_is_asked_for() {
    let a = backend("a", 0).await;
    let bed = Bed::start("--qps=50", to("a", &[&a])).await;
    bed.until_peers(&["a"]).await;
    let told = bed.next_with(5, &["HostName", "grpc-status"]).await;
    let of_peer = &told.metadatas_by_peer["a"].rpc_metadata;
    assert_eq!(of_peer.len(), 5);
    for of_call in of_peer {
        let entries: BTreeMap<_, _> =
            of_call.metadata.iter().map(|it| (&*it.key, (&*it.value, it.kind()))).collect();
        assert_eq!(entries["hostname"], ("a", MetadataKind::Initial));
    }
    assert!(bed.next(5).await.metadatas_by_peer.is_empty());
}

#[tokio::test]
async fn a_server_does_to_a_call_what_it_asks_for() {
    let a = backend("a", 0).await;
    let server = channel(a.address).await;
    let call = async |behaviour: &str, message: SimpleRequest| {
        let mut request = Request::new(message);
        request.metadata_mut().insert("rpc-behavior", behaviour.parse().unwrap());
        let told: Result<Told<SimpleResponse>, Status> =
            called(server.clone(), UNARY_CALL, request).await;
        told.map(|told| told.message)
    };
    let asked = SimpleRequest { response_size: 7, ..SimpleRequest::default() };
    let answer = call("", asked).await.unwrap();
    assert_eq!((&*answer.hostname, &*answer.server_id), ("a", "id-a"));
    assert_eq!(answer.payload.unwrap().body.len(), 7);
    let status = EchoStatus { code: 5, message: "as told".into() };
    let asked = SimpleRequest { response_status: Some(status), ..SimpleRequest::default() };
    assert_eq!(call("", asked).await.unwrap_err().code(), Code::NotFound);
    let failed = call("error-code-8", SimpleRequest::default()).await.unwrap_err();
    assert_eq!(failed.code(), Code::ResourceExhausted);
    let huge = SimpleRequest { response_size: i32::MAX, ..SimpleRequest::default() };
    assert_eq!(call("", huge).await.unwrap_err().code(), Code::InvalidArgument);
    let unknown: Result<Told<Empty>, Status> =
        called(server, "/grpc.testing.TestService/Other", Request::new(Empty {})).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_answers_the_calls_on_it_and_waits_for_no_other() {
    for (behaviour, is_answered) in [("sleep-1", true), ("keep-open", false)] {
        let a = backend("a", 0).await;
        let server = channel(a.address).await;
        let mut request = Request::new(Empty {});
        request.metadata_mut().insert("rpc-behavior", behaviour.parse().unwrap());
        let call = tokio::spawn(async move {
            let told: Result<Told<Empty>, Status> = called(server, EMPTY_CALL, request).await;
            told.map(drop)
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let address = a.address;
        let ended = tokio::time::timeout(Duration::from_secs(20), a.end(Duration::from_secs(3)));
        ended.await.unwrap();
        if is_answered {
            call.await.unwrap().unwrap();
            assert!(tokio::net::TcpStream::connect(address).await.is_err(), "somebody is let in");
        } else {
            assert!(!call.is_finished());
            call.abort();
        }
    }
}

#[tokio::test]
async fn a_server_is_told_its_health() {
    let line = "--port=0 --maintenance_port=0 --host_name_override=a";
    let options = server::Options::parse(words(line)).unwrap();
    let server = Server::start([127, 0, 0, 1], options).await.unwrap();
    assert_ne!(server.address, server.maintenance);
    let told = channel(server.maintenance).await;
    let health = async || {
        let asked = HealthCheckRequest { service: String::new() };
        let answer = HealthClient::new(told.clone()).check(asked).await.unwrap();
        answer.into_inner().status()
    };
    assert_eq!(health().await, ServingStatus::Serving);
    for (path, status) in
        [(SET_NOT_SERVING, ServingStatus::NotServing), (SET_SERVING, ServingStatus::Serving)]
    {
        let done: Told<Empty> = called(told.clone(), path, Request::new(Empty {})).await.unwrap();
        drop(done);
        assert_eq!(health().await, status);
    }
}

#[test]
fn what_calls_ask_for_is_read() {
    let read = |values: &[&'static str], tried| asked(values.iter().copied(), "a", tried);
    let end = |values: &[&'static str], tried| read(values, tried).unwrap().end;
    assert_eq!(end(&[], 0), End::Answered);
    assert_eq!(read(&["sleep-2,sleep-1"], 0).unwrap().sleep, Duration::from_secs(3));
    assert_eq!(end(&["keep-open"], 0), End::KeptOpen);
    assert_eq!(end(&["error-code-14"], 0), End::Failed(Code::Unavailable));
    assert_eq!(end(&["hostname=b error-code-14"], 0), End::Answered);
    assert_eq!(end(&["hostname=a error-code-14"], 0), End::Failed(Code::Unavailable));
    let retried = ["succeed-on-retry-attempt-2", "error-code-14"];
    assert_eq!(end(&retried, 1), End::Failed(Code::Unavailable));
    assert_eq!(end(&retried, 2), End::Answered);
    assert_eq!(end(&["of-another-server"], 0), End::Answered);
    for bad in ["sleep-x", "error-code-", "hostname=a", "succeed-on-retry-attempt--1"] {
        assert_eq!(read(&[bad], 0).unwrap_err().code(), Code::InvalidArgument, "{bad}");
    }
}

#[test]
fn flags_are_those_of_grpc_s_programs() {
    let line = "-qps=5 --num_channels 3 --print_response --rpc=EmptyCall --rpc_timeout=500ms \
                --server=xds:///a --stats_port=1 --secure_mode=true --fail_on_failed_rpcs=true";
    let options = Options::parse(words(line)).unwrap();
    assert_eq!((options.qps, options.channels, options.print_response), (5, 3, true));
    assert_eq!(options.timeout, Duration::from_millis(500));
    assert_eq!(options.interval(), Duration::from_secs(1) / 15);
    assert!(options.fail_on_failed_rpc);
    assert_eq!(Options::parse(words("--rpc_timeout_sec=7")).unwrap().timeout.as_secs(), 7);
    for bad in [
        "--unknown=1",
        "qps=1",
        "--qps",
        "--qps=0",
        "--qps=-1",
        "--num_channels=0",
        "--rpc=Other",
        "--metadata=EmptyCall:key",
        "--metadata=EmptyCall:k\u{e4}y:value",
        "--rpc_timeout=x",
        "--rpc_timeout=-1s",
        "--stats_port=70000",
        "--enable_csm_observability",
        "--print_response=perhaps",
    ] {
        Options::parse(words(bad)).expect_err(bad);
    }
    server::Options::parse(words("--secure_mode")).unwrap_err();
    // As a program in Python writes them.
    let line = "--print_response=False --secure_mode=True --fail_on_failed_rpc=1";
    let options = Options::parse(words(line)).unwrap();
    assert_eq!((options.print_response, options.fail_on_failed_rpc), (false, true));
    server::Options::parse(words("--secure_mode=False")).unwrap();
    server::Options::parse(words("--secure_mode=True")).unwrap_err();
    assert_eq!(Flags::parse(words("--a --b=c"), &["a?", "b"]).unwrap().get("a"), Some("true"));
}
