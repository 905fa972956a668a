//! What the programs do by their flags, of which every one of grpc-go's is known.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};
use tonic::{
    Request, Response, Status,
    body::Body,
    transport::{Server as Grpc, server::TcpIncoming},
};
use tower_mesh::testing::xds::Resource;

use super::{
    bed::{Bed, UNARY, backend, to, words},
    interop::{
        BoxFuture, Methods, Served,
        messages::{Payload, RpcType, SimpleRequest, SimpleResponse},
        unary,
    },
    options::Options,
    server,
};

/// The flags of grpc-go's client and of the description; `expect_status` is C++'s.
#[test]
fn each_flag_of_grpc_s_clients_is_known() {
    for line in [
        "--fail_on_failed_rpc=true",
        "--fail_on_failed_rpcs=true",
        "--num_channels=1",
        "--print_response=false",
        "--qps=1",
        "--rpc=UnaryCall",
        "--metadata=EmptyCall:key1:value1,UnaryCall:key2:value2",
        "--metadata=",
        "--rpc_timeout=20s",
        "--rpc_timeout_sec=20",
        "--server=localhost:8080",
        "--stats_port=8081",
        "--secure_mode=false",
        "--enable_csm_observability=false",
        "--request_payload_size=1",
        "--response_payload_size=1",
        "--expect_status=DEADLINE_EXCEEDED",
    ] {
        Options::parse(words(line)).expect(line);
    }
    for bad in ["--expect_status=FINE", "--request_payload_size=-1", "--response_payload_size=x"] {
        Options::parse(words(bad)).expect_err(bad);
    }
    let refused = Options::parse(words("--enable_csm_observability")).unwrap_err();
    assert!(refused.contains("--enable_csm_observability"), "{refused}");
}

/// The flags of grpc-go's server and of the description; `address_type` is Java's and C++'s.
#[test]
fn each_flag_of_grpc_s_servers_is_known() {
    for line in [
        "--port=8080",
        "--maintenance_port=8081",
        "--server_id=go_server",
        "--secure_mode=false",
        "--host_name_override=name",
        "--enable_csm_observability=false",
        "--address_type=IPV4",
    ] {
        server::Options::parse(words(line)).expect(line);
    }
    for (line, why) in [
        ("--enable_csm_observability", "no exporter"),
        ("--secure_mode", "control plane"),
        ("--address_type=IPV6", "IPv4 alone"),
        ("--address_type=IPV4_IPV6", "IPv4 alone"),
        ("--stats_port=8081", "not known"),
    ] {
        let refused = server::Options::parse(words(line)).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

/// A server that tells how much it is sent, and how much is asked of it.
struct Sizes(UnboundedSender<(usize, i32)>);

impl Methods for Sizes {
    const NAME: &'static str = "grpc.testing.TestService";

    fn call(self: Arc<Self>, request: http::Request<Body>) -> BoxFuture<http::Response<Body>> {
        Box::pin(async move {
            let answer = |asked: Request<SimpleRequest>| {
                let SimpleRequest { payload, response_size, .. } = asked.into_inner();
                let sent = payload.map_or(0, |payload| payload.body.len());
                let _ = self.0.send((sent, response_size));
                let body = vec![0; usize::try_from(response_size).unwrap()];
                let answer = SimpleResponse {
                    payload: Some(Payload { kind: 0, body }),
                    hostname: "sizes".to_owned(),
                    ..SimpleResponse::default()
                };
                async move { Ok::<_, Status>(Response::new(answer)) }
            };
            unary(request, answer).await
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_as_large_as_the_flags_say() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (tell, mut sizes) = unbounded_channel();
    let serving = Grpc::builder()
        .add_service(Served::new(Sizes(tell)))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    let serving = tokio::spawn(serving);
    // The sizes of psm-interop.
    let line = "--request_payload_size=271828 --response_payload_size=314159";
    for (line, wanted) in [("", (0, 0)), (line, (271_828, 314_159))] {
        let bed = Bed::start(&format!("--qps=50 {line}"), Resource::chain("test", [at])).await;
        bed.until_peers(&["sizes"]).await;
        let mut told = Vec::new();
        sizes.recv_many(&mut told, 20).await;
        assert!(told.iter().all(|it| *it == wanted), "{told:?}");
        drop(bed);
        // What was under way still comes.
        while tokio::time::timeout(Duration::from_millis(300), sizes.recv()).await.is_ok() {}
    }
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ends_otherwise_than_is_expected_has_failed() {
    let a = backend("a", 0).await;
    let line = "--qps=100 --fail_on_failed_rpc --expect_status=DATA_LOSS \
                --metadata=UnaryCall:rpc-behavior:error-code-15";
    let mut bed = Bed::start(line, to("a", &[&a])).await;
    bed.until(async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        bed.ended(UNARY, 15).await >= 20
    })
    .await;
    bed.no_call_has_failed().await;
    bed.configure(&[(RpcType::UnaryCall, "")], 0).await;
    let failed = tokio::time::timeout(Duration::from_secs(20), bed.client.failed()).await.unwrap();
    assert_eq!(failed, "UnaryCall failed: it was answered");
}
