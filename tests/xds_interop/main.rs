//! The programs of gRPC's interop tests of xDS (`examples/xds_interop_client`, `examples/xds_interop_server`) under the test
//! kit's control plane: the cases of gRPC's `doc/xds-test-descriptions.md` by their names, over real sockets.
#![cfg(feature = "xds")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod admin;
mod backends;
mod bed;
#[path = "../../examples/xds_interop_server/behaviour.rs"]
mod behaviour;
mod bounds;
#[path = "../../examples/xds_interop_client/client.rs"]
mod client;
mod flags;
#[path = "../../examples/support/interop/mod.rs"]
mod interop;
#[path = "../../examples/xds_interop_client/ledger.rs"]
mod ledger;
#[path = "../../examples/xds_interop_client/options.rs"]
mod options;
mod routing;
#[path = "../../examples/xds_interop_server/server.rs"]
mod server;

use std::{collections::BTreeMap, time::Duration};

use tonic::{Code, Request, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use bed::{Bed, backend, channel, to, words};
use behaviour::{End, asked};
use interop::{
    EMPTY_CALL, Flags, SET_NOT_SERVING, SET_SERVING, Told, UNARY_CALL, called,
    messages::{EchoStatus, Empty, MetadataKind, SimpleRequest, SimpleResponse},
};
use options::Options;
use server::Server;

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
    // The description's word, and that of gRPC's programs.
    for word in ["success-on-retry-attempt-2", "succeed-on-retry-attempt-2"] {
        assert_eq!(end(&[word, "error-code-14"], 1), End::Failed(Code::Unavailable), "{word}");
        assert_eq!(end(&[word, "error-code-14"], 2), End::Answered, "{word}");
    }
    assert_eq!(end(&["of-another-server"], 0), End::Answered);
    let wrong = ["success-on-retry-attempt-", "succeed-on-retry-attempt--1"];
    for bad in ["sleep-x", "error-code-", "hostname=a"].into_iter().chain(wrong) {
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
