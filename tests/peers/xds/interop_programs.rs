//! The cases of gRPC's interop tests of xDS (`doc/xds-test-descriptions.md`, psm-interop) as others run them: the two
//! programs are processes with flags, the control plane and the driver are gRPC C-core's.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};

use super::{
    interop::interop,
    interop_scene::{Backend, Driver, Scene, Sums, Told, example, script},
    mtls::{keys, with},
    resources::{
        abort, at, cluster, cluster_with, endpoint, listener, localities, routes, split, to,
        upstream,
    },
};
use crate::{
    interop::messages::RpcType::{EmptyCall, UnaryCall},
    program::{Program, folder, free_port, python},
    support::Ca,
};

const EMPTY: &str = "EMPTY_CALL";
const UNARY: &str = "UNARY_CALL";
const BOTH: &str = "--qps=100 --num_channels=1 --rpc=EmptyCall,UnaryCall";

/// A cluster of these.
fn backends(name: &str, backends: &[&Backend]) -> [Value; 2] {
    let places: Vec<_> = backends.iter().map(|it| it.at()).collect();
    [cluster(name), at(name, &places)]
}

/// These routes before one of everything else to the cluster `one`; and the cluster `two`.
fn two(first: &[Value], filters: &[Value], one: &Backend, other: &Backend) -> Vec<Value> {
    let mut all = vec![listener("test", "routes", filters)];
    all.push(routes("routes", &[first, &[to("one")][..]].concat()));
    all.extend(backends("one", &[one]));
    all.extend(backends("two", &[other]));
    all
}

/// Everything to a cluster with these endpoints.
fn all_to(name: &str, endpoints: Value) -> Vec<Value> {
    vec![listener("test", "routes", &[]), routes("routes", &[to(name)]), cluster(name), endpoints]
}

fn healthy(backends: &[&Backend]) -> Vec<Value> {
    backends.iter().map(|it| endpoint(it.at(), "HEALTHY")).collect()
}

/// Localities of one priority, by weight.
fn weighted(name: &str, parts: &[(u32, Vec<Value>)]) -> Value {
    let apart: Vec<(u32, Vec<Value>)> =
        (0..).zip(parts).map(|(number, (_, endpoints))| (number, endpoints.clone())).collect();
    let mut all = localities(name, &apart);
    for (number, (weight, _)) in parts.iter().enumerate() {
        all["endpoints"][number]["priority"] = 0.into();
        all["endpoints"][number]["loadBalancingWeight"] = (*weight).into();
    }
    all
}

/// Until the calls of each method have this answerer alone.
async fn until_goes(scene: &mut Scene, empty: &str, unary: &str) {
    let what = format!("EmptyCall to {empty}, UnaryCall to {unary}");
    let goes = |told: &Told| {
        let is_so = told.peers_of("EmptyCall") == [empty] && told.peers_of("UnaryCall") == [unary];
        told.failures() == 0 && is_so
    };
    scene.until(&what, goes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_pong_round_robin_and_backends_that_restart() {
    let names = ["a", "b", "c", "d"];
    let mut all = Vec::new();
    for name in names {
        all.push(Backend::start(name).await);
    }
    let places: Vec<_> = all.iter().map(Backend::at).collect();
    let resources = all_to("all", at("all", &places));
    let mut scene = Scene::start("--qps=100 --num_channels=1", &resources).await;
    for round in 1..=2 {
        scene.until_peers(&names).await;
        let is_even = |told: &Told| names.iter().all(|name| (3..=7).contains(&told.of(name)));
        scene.until("shared alike", is_even).await;
        let told = scene.next(100).await;
        assert!(names.iter().all(|name| (20..=30).contains(&told.of(name))), "{round}: {told:?}");
        if round == 1 {
            for backend in &mut all {
                backend.stop().await;
            }
            scene.until("nobody answers", |told| told.failures() == 20).await;
            for backend in &mut all {
                backend.resume().await;
            }
        }
    }

    let told = scene.next_with(8, &["HostName"]).await;
    let entry = &told.0["metadatasByPeer"]["a"]["rpcMetadata"][0]["metadata"][0];
    assert_eq!(*entry, json!({"key": "hostname", "value": "a", "type": 1}), "{told:?}");
    let csds = "envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus";
    let told = scene.ask(csds, json!({})).await;
    assert_eq!(told["config"][0]["node"]["id"], "ours", "{told}");
    let known = told["config"][0]["genericXdsConfigs"].as_array().unwrap();
    assert_eq!(known.len(), 4, "{told}");
    assert!(known.iter().all(|it| it["clientStatus"] == "ACKED"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failover_between_localities_whole_partial_and_gentle() {
    let (mut p1, mut p2) = (Backend::start("p1").await, Backend::start("p2").await);
    let (s1, s2) = (Backend::start("s1").await, Backend::start("s2").await);
    let by_priority =
        all_to("a", localities("a", &[(0, healthy(&[&p1, &p2])), (1, healthy(&[&s1, &s2]))]));
    let mut scene = Scene::start("--qps=100 --num_channels=1", &by_priority).await;
    scene.until_peers(&["p1", "p2"]).await;

    // secondary_locality_gets_no_requests_on_partial_primary_failure
    p2.stop().await;
    scene.until_peers(&["p1"]).await;
    let told = scene.next(100).await;
    assert_eq!((told.of("p1"), told.failures()), (100, 0), "{told:?}");

    // secondary_locality_gets_requests_on_primary_failure
    p1.stop().await;
    scene.until_peers(&["s1", "s2"]).await;
    p1.resume().await;
    p2.resume().await;
    scene.until_peers(&["p1", "p2"]).await;

    // gentle_failover: the control plane sees who is ill, and moves a share.
    let shared = weighted("a", &[(40, healthy(&[&p1])), (60, healthy(&[&s1, &s2]))]);
    scene.plane.set(&all_to("a", shared));
    scene.until_peers(&["p1", "s1", "s2"]).await;
    let told = scene.next(200).await;
    assert_eq!(told.failures(), 0, "{told:?}");
    assert!((50..=110).contains(&told.of("p1")), "{told:?}");
    scene.plane.set(&by_priority);
    scene.until_peers(&["p1", "p2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_backend_service_remove_neg_and_traffic_splitting_cost_no_call() {
    let (a, b, c) =
        (Backend::start("a").await, Backend::start("b").await, Backend::start("c").await);
    let clusters = [backends("first", &[&a]), backends("second", &[&b, &c])].concat();
    let told = |route: Value, clusters: &[Value]| {
        let first = [listener("test", "routes", &[]), routes("routes", &[route])];
        [&first[..], clusters].concat()
    };
    let flags = "--qps=100 --num_channels=2 --fail_on_failed_rpc=true";
    let mut scene = Scene::start(flags, &told(to("first"), &clusters)).await;
    scene.until_peers(&["a"]).await;
    scene.plane.set(&told(split(&[("first", 20), ("second", 80)]), &clusters));
    scene.until_peers(&["a", "b", "c"]).await;
    let shares = scene.next(400).await;
    assert!((45..=120).contains(&shares.of("a")), "{shares:?}");
    scene.plane.set(&told(to("second"), &clusters));
    scene.until_peers(&["b", "c"]).await;
    // One of its groups is removed.
    let fewer = [backends("first", &[&a]), backends("second", &[&c])].concat();
    scene.plane.set(&told(to("second"), &fewer));
    scene.until_peers(&["c"]).await;
    let sums = scene.all(UNARY).await;
    assert_eq!(sums.0["result"].as_object().unwrap().len(), 1, "{sums:?}");
    assert!(sums.ended(0) > 400, "{sums:?}");

    // It has not ended by itself: it ends as it is asked to.
    scene.client.signal("TERM");
    let status = scene.client.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_ends_the_client_where_it_is_to() {
    let mut a = Backend::start("a").await;
    let resources = all_to("a", at("a", &[a.at()]));
    let mut scene = Scene::start("--qps=100 --fail_on_failed_rpcs=true", &resources).await;
    scene.until_peers(&["a"]).await;
    a.stop().await;
    let status = scene.client.ended().await;
    assert_eq!(status.code(), Some(1), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn path_and_header_matching() {
    let (one, other) = (Backend::start("one").await, Backend::start("two").await);
    let metadata = "--metadata=EmptyCall:xds_md:empty_ytpme,UnaryCall:xds_md:unary_yranu,\
                    UnaryCall:xds_md_numeric:159";
    let flags = format!("{BOTH} {metadata}");
    let mut scene = Scene::start(&flags, &two(&[], &[], &one, &other)).await;
    until_goes(&mut scene, "one", "one").await;
    let header = |header: Value| json!({"prefix": "", "headers": [header]});
    let cases = [
        (json!({"path": "/grpc.testing.TestService/EmptyCall"}), "two", "one"),
        (json!({"prefix": "/grpc.testing.TestService/Unary"}), "one", "two"),
        (json!({"safeRegex": {"regex": "^\\/.*\\/EmptyCall$"}}), "two", "one"),
        (
            json!({"path": "/gRpC.tEsTinG.tEstseRvice/unaryCall", "caseSensitive": false}),
            "one",
            "two",
        ),
        (header(json!({"name": "xds_md", "exactMatch": "empty_ytpme"})), "two", "one"),
        (header(json!({"name": "xds_md", "prefixMatch": "un"})), "one", "two"),
        (header(json!({"name": "xds_md", "suffixMatch": "me"})), "two", "one"),
        (header(json!({"name": "xds_md_numeric", "presentMatch": true})), "one", "two"),
        (
            header(json!({"name": "xds_md", "exactMatch": "unary_yranu", "invertMatch": true})),
            "two",
            "one",
        ),
        (
            header(json!({"name": "xds_md_numeric", "rangeMatch": {"start": "100", "end": "200"}})),
            "one",
            "two",
        ),
        (header(json!({"name": "xds_md", "safeRegexMatch": {"regex": "^em.*me$"}})), "two", "one"),
    ];
    for (matched, empty, unary) in cases {
        let route = json!({"match": matched, "route": {"cluster": "two"}});
        scene.plane.set(&two(&[route], &[], &one, &other));
        until_goes(&mut scene, empty, unary).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_of_routes_and_of_the_application() {
    let (one, other) = (Backend::start("one").await, Backend::start("two").await);
    let bounded = json!({
        "match": {"path": "/grpc.testing.TestService/UnaryCall"},
        "route": {"cluster": "two", "maxStreamDuration": {"maxStreamDuration": "1s"}},
    });
    let mut scene = Scene::start(BOTH, &two(&[bounded], &[], &one, &other)).await;
    until_goes(&mut scene, "one", "two").await;

    scene.configure(&[(EmptyCall, "sleep-2"), (UnaryCall, "sleep-2")], 0).await;
    let late = |least: i64| move |sums: &Sums| sums.ended(4) >= least;
    // What was under way when it was told is over when the first is too late.
    let before = scene.until_all(UNARY, "calls that are too late", late(1)).await;
    let answered = scene.all(EMPTY).await.ended(0);
    let after = scene.until_all(UNARY, "more of them", late(20)).await;
    assert_eq!(before.ended(0), after.ended(0), "calls that take too long are answered");
    // The route of the others has no bound.
    let slow = |sums: &Sums| sums.ended(0) >= answered + 20;
    let slow = scene.until_all(EMPTY, "answers after two seconds", slow).await;
    assert_eq!(slow.ended(4), 0, "{slow:?}");

    // app_timeout_exceeded
    scene.configure(&[(EmptyCall, "sleep-2")], 1).await;
    scene.until_all(EMPTY, "calls that are too late for their caller", late(20)).await;
    // timeout_not_exceeded
    scene.configure(&[(EmptyCall, ""), (UnaryCall, "")], 0).await;
    until_goes(&mut scene, "one", "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn circuit_breaking() {
    let a = Backend::start("a").await;
    let limited = |requests: u32| {
        let limits = json!({"circuitBreakers": {"thresholds": [{"maxRequests": requests}]}});
        let mut all = all_to("a", at("a", &[a.at()]));
        all[2] = cluster_with("a", limits);
        all
    };
    // A mesh each, which count together (gRFC A32).
    let mut scene = Scene::start("--qps=100 --num_channels=2", &limited(20)).await;
    scene.until_peers(&["a"]).await;
    scene.configure(&[(UnaryCall, "keep-open")], 20).await;
    for requests in [20, 30] {
        scene.plane.set(&limited(requests));
        let open = i64::from(requests);
        let held = |sums: &Sums| sums.open() >= open;
        let held = scene.until_all(UNARY, "as many as may be", held).await;
        // One that is just being refused has begun, and has no result yet.
        assert!((open..=open + 2).contains(&held.open()), "{requests}: {held:?}");
        let refused = |sums: &Sums| sums.ended(14) >= held.ended(14) + 20;
        let stays = scene.until_all(UNARY, "the others are refused", refused).await;
        assert!((open..=open + 2).contains(&stays.open()), "{requests}: {stays:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_injection_and_retries() {
    let (one, other) = (Backend::start("one").await, Backend::start("two").await);
    let flags = "--qps=100 --num_channels=1";
    let mut scene = Scene::start(flags, &two(&[], &[abort(100)], &one, &other)).await;
    scene.until("all are aborted", |told| told.failures() == 20).await;
    let aborted = scene.all(UNARY).await;
    assert_eq!(aborted.ended(0), 0, "{aborted:?}");
    assert!(aborted.ended(14) >= 20, "{aborted:?}");
    scene.plane.set(&two(&[], &[abort(50)], &one, &other));
    scene.until("some are answered", |told| told.of("one") > 0).await;
    let told = scene.next(200).await;
    assert!((60..=140).contains(&told.failures()), "{told:?}");

    let retried = |retries: u32| {
        let policy = json!({"retryOn": "unavailable", "numRetries": retries});
        let route =
            json!({"match": {"prefix": ""}, "route": {"cluster": "two", "retryPolicy": policy}});
        two(&[route], &[], &one, &other)
    };
    scene.plane.set(&retried(3));
    scene.configure(&[(UnaryCall, "succeed-on-retry-attempt-2,error-code-14")], 0).await;
    scene.until_peers(&["two"]).await;
    scene.plane.set(&retried(1));
    scene.until("one more attempt is not enough", |told| told.failures() == 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_be_ill_says_so_and_is_left() {
    const CHECK: &str = "grpc.health.v1.Health/Check";
    const UPDATE: &str = "grpc.testing.XdsUpdateHealthService";
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let told = |health: &str| {
        let endpoints = vec![endpoint(a.at(), health), endpoint(b.at(), "HEALTHY")];
        all_to("all", localities("all", &[(0, endpoints)]))
    };
    let mut scene = Scene::start("--qps=100 --num_channels=1", &told("HEALTHY")).await;
    scene.until_peers(&["a", "b"]).await;
    let steps = [
        ("SetNotServing", 2, "UNHEALTHY", &["b"][..]),
        ("SetServing", 1, "HEALTHY", &["a", "b"][..]),
    ];
    for (method, status, health, peers) in steps {
        let done = scene.driver.call(a.maintenance, &format!("{UPDATE}/{method}"), &[]).await;
        assert_eq!(done["answer"], json!({}), "{done}");
        // As a control plane's own checks find it.
        let checked = scene.driver.call(a.maintenance, CHECK, &[]).await;
        assert_eq!(checked["answer"]["status"], status, "{checked}");
        scene.plane.set(&told(health));
        scene.until_peers(peers).await;
    }
    let hook = scene.driver.call(a.maintenance, &format!("{UPDATE}/SendHookRequest"), &[]).await;
    assert_eq!(hook["code"], 12, "{hook}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_asked_to_end_answers_the_call_on_it() {
    let mut a = Backend::start("a").await;
    let (mut driver, port) = (Driver::start().await, a.at().port());
    let behaviour = json!({"rpc-behavior": "sleep-2"});
    let more = [("request", json!({"responseSize": 3})), ("metadata", behaviour)];
    let call = driver.call(port, "grpc.testing.TestService/UnaryCall", &more);
    let end = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        a.stop().await;
    };
    let (told, ()) = tokio::join!(call, end);
    let body = json!({"payload": {"body": "AAAA"}, "serverId": "id-a", "hostname": "a"});
    assert_eq!(told["answer"], body, "{told}");
}

/// The other side is C-core's, which asks for certificates.
#[tokio::test(flavor = "multi_thread")]
async fn secure_mode_is_mutual_tls_as_the_control_plane_says() {
    const SERVER: &str = "spiffe://prod.example/ns/shop/sa/greeter";
    const CALLER: &str = "spiffe://prod.example/ns/shop/sa/cart";
    const STRANGER: &str = "spiffe://prod.example/ns/shop/sa/stranger";
    let ca = Ca::new("ca");
    let (theirs, own, port) = (keys(&ca, &ca, SERVER), keys(&ca, &ca, CALLER), free_port());
    let mut command = Command::new(python());
    command.arg(script("interop_server.py")).arg(port.to_string()).arg("secured");
    command.arg(theirs.path()).env("GRPC_VERBOSITY", "NONE");
    let dir = folder();
    let mut server = Program::start("interop_server", command, dir.path());
    server.listens(port).await;
    let told = |expected: Option<&str>| {
        let mut all = all_to("a", at("a", &[([127, 0, 0, 1], port).into()]));
        if let Some(expected) = expected {
            let tls = upstream("matchSubjectAltNames", expected);
            all[2] = cluster_with("a", json!({"transportSocket": tls}));
        }
        all
    };
    let flags = "--qps=100 --num_channels=1 --secure_mode=true";
    let secured = told(Some(SERVER));
    let mut scene = Scene::start_with(flags, &secured, |port| with(port, own.path())).await;
    scene.until_peers(&["secured"]).await;
    for refused in [told(Some(STRANGER)), told(None)] {
        scene.plane.set(&refused);
        scene.until("nobody is called", |told| told.failures() == 20).await;
        scene.plane.set(&secured);
        scene.until_peers(&["secured"]).await;
    }
}

#[test]
fn what_is_said_wrongly_is_answered_by_how_it_is_said_and_an_error() {
    let cases = [
        ("xds_interop_client", "--unknown=1", "`--unknown` is not known"),
        ("xds_interop_client", "qps=1", "is no flag"),
        ("xds_interop_client", "--qps=0", "at least 1"),
        ("xds_interop_client", "--rpc=Other", "neither EmptyCall nor UnaryCall"),
        ("xds_interop_client", "--enable_csm_observability=true", "no exporter"),
        ("xds_interop_server", "--port=x", "`--port=x`"),
        ("xds_interop_server", "--secure_mode=True", "takes nothing from a control plane"),
    ];
    for (program, flag, why) in cases {
        let output = Command::new(example(program)).arg(flag).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{program} {flag}: {said}");
        assert!(said.contains(why), "{program} {flag}: {said}");
        assert!(said.contains(&format!("usage: {program} [--")), "{program} {flag}: {said}");
    }
    for program in ["xds_interop_client", "xds_interop_server"] {
        let output = Command::new(example(program)).arg("--help").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("_port=VALUE]"), "{program}: {said}");
    }
    let mut lost = Command::new(example("xds_interop_client"));
    lost.args(["--server=xds:///test", "--stats_port=0"]);
    lost.env_remove("GRPC_XDS_BOOTSTRAP").env_remove("GRPC_XDS_BOOTSTRAP_CONFIG");
    let output = lost.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("GRPC_XDS_BOOTSTRAP"), "{said}");
}

/// Its stubs are those that grpc-go ships.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn grpc_go_drives_both_programs() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let resources = all_to("all", at("all", &[a.at(), b.at()]));
    let mut scene = Scene::start(BOTH, &resources).await;
    scene.until_peers(&["a", "b"]).await;
    let called = interop("call", a.at(), &["error-code-7"]).await;
    assert_eq!((&called[0]["code"], &called[1]["code"]), (&7.into(), &7.into()), "{called:?}");

    let client = ([127, 0, 0, 1], scene.stats).into();
    let told = interop("next", client, &["100"]).await.remove(0);
    let of = |peer: &str| told["rpcsByPeer"][peer].as_i64().unwrap_or_default();
    assert_eq!(of("a") + of("b"), 100, "{told}");
    assert!((40..=60).contains(&of("a")), "{told}");
    drop(interop("configure", client, &["rpc-behavior", "error-code-11"]).await);
    let refused = |sums: &Sums| sums.ended(11) >= 10;
    drop(scene.until_all(UNARY, "calls fail as they ask to", refused).await);
    let all = interop("all", client, &[]).await.remove(0);
    assert!(all["statsPerMethod"][UNARY]["result"]["11"].as_i64() >= Some(10), "{all}");
    assert!(all["statsPerMethod"][EMPTY]["result"]["11"].is_null(), "{all}");
}
