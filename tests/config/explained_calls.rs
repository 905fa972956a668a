//! What a call says of itself, and what its headers ask for, is told by an explanation as a server sees it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request};
use tower_mesh::{Call, Mesh, MeshBuilder, SettingOrigin, config::Criticality};

use crate::support::{Server, patience};

const BOUNDED: &str = "
services:
  streamed: {cluster: one, policy: {max_stream_duration: 1s}}
  capped: {cluster: one, policy: {grpc_timeout: {max: 5s}}}
  asked: {cluster: one, policy: {timeout: 10s, caller_overrides: true, send_attempt_count: true}}
  deaf: {cluster: one, policy: {timeout: 10s}}
  quiet: {cluster: one, filters: [{request_headers: {remove: [x-mesh-criticality, x-mesh-attempt]}}]}
clusters: {one: {endpoints: [{address: \"ADDRESS\"}]}}
";

/// These services over an endpoint of this address.
async fn bounded(
    address: &str,
    how: impl FnOnce(MeshBuilder) -> MeshBuilder,
) -> (Mesh, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, BOUNDED.replace("ADDRESS", address)).unwrap();
    let mesh = how(Mesh::builder().config_file(&path)).build().unwrap();
    patience(mesh.ready()).await.unwrap();
    (mesh, dir)
}

/// What a call says of itself, and what its policy lets it say in headers, is in the head that is told.
#[tokio::test]
async fn a_server_sees_the_bounds_and_marks_that_are_told() {
    let seen: Arc<Mutex<HeaderMap>> = Arc::default();
    let sink = Arc::clone(&seen);
    let server = Server::start(move |request| {
        *sink.lock().unwrap() = request.headers().clone();
        let mut reply = crate::support::reply("");
        reply.headers_mut().insert("grpc-status", HeaderValue::from_static("0"));
        async move { reply }
    })
    .await;
    let (mesh, _dir) = bounded(&server.address().to_string(), |builder| builder).await;
    let inbound =
        HeaderMap::from_iter([("x-mesh-attempt".parse().unwrap(), HeaderValue::from_static("1"))]);
    let urgent = Call::new().criticality(Criticality::Critical);
    let again = || Call::new().inherit(&inbound);
    let grpc = ("content-type", "application/grpc");
    let asks = [
        ("x-envoy-upstream-rq-timeout-ms", "3000"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "2000"),
        ("x-envoy-max-retries", "4"),
    ];
    let left = "x-envoy-expected-rq-timeout-ms";
    for (service, headers, call, told) in [
        ("streamed", &[grpc][..], Call::new(), &[("grpc-timeout", "1000000u")][..]),
        ("capped", &[grpc, ("grpc-timeout", "60S")], Call::new(), &[("grpc-timeout", "5000000u")]),
        ("asked", &asks, Call::new(), &[(left, "2000"), ("x-envoy-attempt-count", "1")]),
        ("asked", &asks[..1], Call::new(), &[(left, "3000")]),
        ("deaf", &asks, Call::new(), &[asks[0], asks[1], asks[2], (left, "10000")]),
        ("deaf", &[], urgent.clone(), &[("x-mesh-criticality", "critical")]),
        ("deaf", &[], again(), &[("x-mesh-attempt", "1")]),
        ("deaf", &[grpc], again(), &[("grpc-previous-rpc-attempts", "1")]),
        ("quiet", &[], again().criticality(Criticality::Critical), &[]),
    ] {
        let mut request = Request::post(format!("http://{service}/a.B/Get"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.extension(call).body(tower_mesh::Body::empty()).unwrap();
        if headers.contains(&grpc) {
            *request.version_mut() = http::Version::HTTP_2;
        }
        let said = mesh.explain(&request).unwrap();
        let head = said.clusters[0].head.clone().unwrap();
        for (name, value) in told {
            assert_eq!(
                head.headers.get(*name).map(|it| it.to_str().unwrap()),
                Some(*value),
                "{said}"
            );
        }
        let _answer = patience(mesh.http().send(request)).await.unwrap();
        let seen = seen.lock().unwrap().clone();
        for name in [
            "grpc-timeout",
            "x-envoy-upstream-rq-timeout-ms",
            "x-envoy-upstream-rq-per-try-timeout-ms",
            "x-envoy-max-retries",
            "x-envoy-expected-rq-timeout-ms",
            "x-envoy-attempt-count",
            "x-mesh-criticality",
            "x-mesh-attempt",
            "grpc-previous-rpc-attempts",
        ] {
            let is_seen = seen.contains_key(name);
            assert_eq!(head.headers.contains_key(name), is_seen, "{service} {name}: {said}");
        }
    }
}

#[tokio::test]
async fn what_headers_of_a_request_change_is_told_as_the_calls_own() {
    let (mesh, _dir) = bounded("127.0.0.1:1", MeshBuilder::dry_run).await;
    let request = |service: &str| {
        Request::get(format!("http://{service}/"))
            .header("x-envoy-upstream-rq-timeout-ms", "3000")
            .header("x-envoy-upstream-rq-per-try-timeout-ms", "2000")
            .header("l5d-response-timeout", "1s")
            .header("x-envoy-max-retries", "4")
            .body(())
            .unwrap()
    };
    let said = mesh.explain(&request("asked")).unwrap();
    for (name, value) in [
        ("timeout", "3s"),
        ("attempt_timeout", "2s"),
        ("response_timeout", "1s"),
        ("retry.attempts", "5"),
    ] {
        let setting = said.route.settings.iter().find(|it| it.name == name);
        let setting = setting.unwrap_or_else(|| panic!("{name} in {said}"));
        assert_eq!((&*setting.value, setting.origin), (value, SettingOrigin::Call), "{name}");
    }
    // A call's own deadline is the earlier one.
    let mut sooner = request("asked");
    sooner.extensions_mut().insert(Call::new().timeout(Duration::from_secs(1)));
    let said = mesh.explain(&sooner).unwrap();
    let timeout = said.route.settings.iter().find(|it| it.name == "timeout").unwrap();
    assert_eq!((&*timeout.value, timeout.origin), ("1s", SettingOrigin::Call));
    let said = mesh.explain(&request("deaf")).unwrap();
    let timeout = said.route.settings.iter().find(|it| it.name == "timeout").unwrap();
    assert_eq!((&*timeout.value, timeout.origin), ("10s", SettingOrigin::ControlPlane));
}
