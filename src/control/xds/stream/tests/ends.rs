//! Who ends a stream: the server by its word, nobody when the connection is lost, this side for what cannot be read.

use std::convert::Infallible;

use bytes::Bytes;
use envoy_types::pb::{
    envoy::service::discovery::v3::{
        DeltaDiscoveryResponse, DiscoveryResponse, Resource as Wrapper,
    },
    google::protobuf::Any,
};
use futures_util::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};

use super::*;

/// A plane in a crash loop: what it owes when it dies is asked of the next one that comes up.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_again_and_again_is_blamed_on_no_type() {
    for delta in [false, true] {
        let plane = AdsServer::start_in_memory().await.unwrap();
        plane.set([Resource::cluster("a"), Resource::endpoints("a", [])]);
        plane.silent_about(EDS, true);
        let mut mesh = Mesh::to([plain(&plane).delta(delta)]);
        mesh.watch(Kind::Cluster, "a");
        mesh.watch(Kind::Endpoints, "a");
        mesh.gets(Kind::Cluster, "a").await;
        let is_asked = |plane: &AdsServer, stream: u64| {
            plane.requests_of(EDS).iter().any(|it| it.stream == stream)
        };
        for stream in 1..=3 {
            within(plane.until(|plane| is_asked(plane, stream))).await;
            plane.drop_connections();
        }
        // The pauses between streams are shorter; a type that is blamed is not asked for in 10 s.
        let asked = plane.until(|plane| is_asked(plane, 4));
        let asked = tokio::time::timeout(Duration::from_secs(8), asked).await;
        assert!(asked.is_ok(), "it is not asked for, delta: {delta}");
        plane.silent_about(EDS, false);
        loop {
            match mesh.hears(Kind::Endpoints, "a").await {
                Watched::Resource { .. } => break,
                Watched::Missing(trouble) => {
                    let why = trouble.to_string();
                    assert!(why.contains("code 14"), "no server has said it: {why}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_a_server_says_of_itself_is_not_taken_for_what_is_refused_here() {
    let plane = AdsServer::start().await.unwrap();
    // OUT_OF_RANGE, as tonic says it here of what is too large.
    plane.refuse(Some((11, "the list is too large")));
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Listener, "orders");
    let why = mesh.misses(Kind::Listener, "orders").await;
    assert!(why.contains("code 11: the list is too large"), "{why}");
}

#[tokio::test]
async fn an_answer_that_is_no_message_is_refused_here_and_no_word_of_the_servers() {
    for delta in [false, true] {
        let mut mesh = Mesh::to([babbling(delta).await]);
        mesh.watch(Kind::Cluster, "a");
        mesh.watch(Kind::Endpoints, "a");
        mesh.gets(Kind::Cluster, "a").await;
        let why = mesh.misses(Kind::Endpoints, "a").await;
        assert!(why.contains("code 13: its message is refused"), "{why}");
    }
}

#[tokio::test]
async fn the_next_control_plane_is_asked_where_the_first_sends_what_is_no_message() {
    for delta in [false, true] {
        let second = AdsServer::start().await.unwrap();
        second.set([Resource::cluster("a"), Resource::endpoints("a", [])]);
        let mut mesh = Mesh::to([babbling(delta).await, plain(&second).delta(delta)]);
        mesh.watch(Kind::Cluster, "a");
        mesh.watch(Kind::Endpoints, "a");
        mesh.gets(Kind::Endpoints, "a").await;
        assert!(!second.requests_of(EDS).is_empty());
    }
}

/// A plane that answers each stream with a cluster, then with what is no message, and leaves it open.
async fn babbling(delta: bool) -> Server {
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = port.local_addr().unwrap();
    drop(tokio::spawn(async move {
        while let Ok((connection, _)) = port.accept().await {
            let service = service_fn(move |asked: http::Request<Incoming>| async move {
                let said = [framed(&cluster(delta)), framed(&[0xff; 8])];
                let said = said.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
                let open = stream::once(async move {
                    let _asked = asked;
                    std::future::pending::<Result<Frame<Bytes>, Infallible>>().await
                });
                http::Response::builder()
                    .header("content-type", "application/grpc")
                    .body(StreamBody::new(stream::iter(said).chain(open)))
            });
            drop(tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
                drop(builder.serve_connection(TokioIo::new(connection), service).await);
            }));
        }
    }));
    Server::insecure(address.to_string()).delta(delta)
}

/// An answer with cluster `a`.
fn cluster(delta: bool) -> Vec<u8> {
    let cluster = Cluster { name: "a".to_owned(), ..Cluster::default() };
    let value = prost::Message::encode_to_vec(&cluster);
    let any = Any { type_url: CDS.to_owned(), value };
    if !delta {
        return prost::Message::encode_to_vec(&DiscoveryResponse {
            version_info: "1".to_owned(),
            nonce: "1".to_owned(),
            type_url: CDS.to_owned(),
            resources: vec![any],
            ..DiscoveryResponse::default()
        });
    }
    let wrapper = Wrapper {
        name: "a".to_owned(),
        version: "1".to_owned(),
        resource: Some(any),
        ..Wrapper::default()
    };
    prost::Message::encode_to_vec(&DeltaDiscoveryResponse {
        nonce: "1".to_owned(),
        type_url: CDS.to_owned(),
        resources: vec![wrapper],
        ..DeltaDiscoveryResponse::default()
    })
}

/// A message of gRPC.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap();
    [&[0_u8][..], &length.to_be_bytes(), message].concat().into()
}
