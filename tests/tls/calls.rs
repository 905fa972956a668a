//! Calls over TLS and mutual TLS: HTTP/1.1, HTTP/2, gRPC; what is agreed on by ALPN.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Version};
use tower::Service;
use tower_mesh::{
    BoxError, Client, ErrorKind, Event, Mesh, MeshBuilder, Phase,
    config::{ClusterSecurity, Protocol},
    security::{KeyPair, Trust},
    transport::{ConnectTarget, Connector},
};

use crate::support::{
    Ca, GreeterClient, HelloRequest, RawServer, Recorder, Tls, TlsServer, VERSIONS, failures,
    fetch, frames::head, get, h2, hello, over, patience, post, reply, storm,
};

/// A mesh of the one service `users` at these servers, which trusts `ca`.
fn mesh_of(ca: &Ca, servers: &[&TlsServer]) -> MeshBuilder {
    Mesh::builder()
        .endpoints("users", servers.iter().map(|server| server.address()))
        .trust(Trust::pem(ca.pem()))
}

/// The version that the server saw of each kind of call.
async fn seen(client: &Client, request: Request<tower_mesh::Body>) -> String {
    let answer = patience(fetch(client, request)).await.unwrap();
    String::from_utf8(answer.into_body().to_vec()).unwrap()
}

#[tokio::test]
async fn both_protocols_go_over_tls_and_no_byte_in_clear() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).start().await;
    let mesh = mesh_of(&ca, &[&server]).service("users", |s| s.tls()).build().unwrap();
    let client = mesh.client("users").unwrap();
    for version in VERSIONS {
        let answer = patience(fetch(&client, over(version, get("/")))).await.unwrap();
        assert_eq!(&answer.body()[..], b"hello");
    }
    assert_eq!(server.requests(), 2);
    assert_eq!(server.in_clear(), Vec::<Vec<u8>>::new());
    let met = server.met();
    assert_eq!(met[0].sni.as_deref(), Some("users"));
    assert_eq!(met[0].certificates, 0);
}

#[tokio::test]
async fn in_mutual_tls_the_server_sees_who_calls() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).clients_of(&ca).start().await;
    let own = ca.issue(&["spiffe://prod.example/caller"]);
    let mesh = mesh_of(&ca, &[&server])
        .identity(KeyPair::pem(own.chain_pem.clone(), own.key_pem.clone()))
        .service("users", |s| s.mutual_tls())
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let answer = patience(fetch(&client, get("/"))).await.unwrap();
    assert_eq!(&answer.body()[..], b"hello");
    assert_eq!(server.met()[0].certificates, 1);
}

#[tokio::test]
async fn a_generated_grpc_client_calls_over_mutual_tls() {
    let ca = Ca::new("ca");
    let greeter = hello(|request: tonic::Request<HelloRequest>| async move {
        Ok(format!("hello {}", request.into_inner().name))
    });
    let server = Tls::new(ca.issue(&["users"])).clients_of(&ca).grpc(greeter).await;
    let own = ca.issue(&["spiffe://prod.example/caller"]);
    let mesh = mesh_of(&ca, &[&server])
        .identity(KeyPair::pem(own.chain_pem.clone(), own.key_pem.clone()))
        .service("users", |s| s.mutual_tls())
        .build()
        .unwrap();
    let client = mesh.client("users").unwrap();
    let request = HelloRequest { name: "you".into() };
    let call = async { GreeterClient::new(client).say_hello(request).await };
    let answer = patience(call).await.unwrap();
    assert_eq!(answer.into_inner().message, "hello you");
    assert_eq!(server.met()[0].alpn.as_deref(), Some("h2"));
}

#[tokio::test]
async fn what_the_server_chooses_is_spoken_whatever_the_request_asks_for() {
    let ca = Ca::new("ca");
    for (alpn, expected) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1", "h2"], Version::HTTP_11),
        (&["h2"], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        // Without the extension nothing is chosen.
        (&[], Version::HTTP_11),
    ] {
        let server = Tls::new(ca.issue(&["users"]))
            .alpn(alpn)
            .serve(|request| async move { reply(format!("{:?}", request.version())) })
            .await;
        let mesh = mesh_of(&ca, &[&server]).service("users", |s| s.tls()).build().unwrap();
        let client = mesh.client("users").unwrap();
        for version in VERSIONS {
            let seen = seen(&client, over(version, get("/"))).await;
            assert_eq!(seen, format!("{expected:?}"), "{alpn:?}");
        }
        assert_eq!(server.connections(), 1, "{alpn:?}: no second dial");
    }
}

#[tokio::test]
async fn many_callers_wait_for_the_one_handshake_that_tells_the_protocol() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).start().await;
    let mesh = mesh_of(&ca, &[&server]).service("users", |s| s.tls()).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers = storm(64, 64, |_| fetch(&client, get("/"))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_server_that_changes_its_protocol_is_followed() {
    let ca = Ca::new("ca");
    let issued = ca.issue(&["users"]);
    let version = |request: Request<_>| async move { reply(format!("{:?}", request.version())) };
    let server = Tls::new(issued.clone()).serve(version).await;
    let mesh = mesh_of(&ca, &[&server]).service("users", |s| s.tls()).build().unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(seen(&client, h2("/")).await, "HTTP/2.0");
    let address = server.socket();
    server.close().await;
    for (alpn, expected) in
        [(&["http/1.1"][..], "HTTP/1.1"), (&["h2"], "HTTP/2.0"), (&[], "HTTP/1.1")]
    {
        let server = Tls::new(issued.clone()).alpn(alpn).serve_at(address, version).await;
        let answers = storm(16, 64, |_| seen(&client, h2("/"))).await;
        assert!(answers.iter().all(|seen| seen == expected), "{alpn:?}: {answers:?}");
        server.close().await;
    }
}

#[tokio::test]
async fn http2_that_is_demanded_is_not_replaced() {
    let ca = Ca::new("ca");
    for alpn in [&["http/1.1"][..], &[]] {
        let server = Tls::new(ca.issue(&["users"])).alpn(alpn).start().await;
        let mesh = mesh_of(&ca, &[&server])
            .service("users", |s| s.tls().protocol(Protocol::Http2))
            .build()
            .unwrap();
        let client = mesh.client("users").unwrap();
        let error = patience(fetch(&client, h2("/"))).await.unwrap_err();
        assert_eq!(error.phase(), Phase::Tls, "{error}");
        if alpn.is_empty() {
            assert!(error.to_string().contains("ALPN"), "{error}");
        }
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn a_grpc_call_to_a_server_of_http1_fails_clearly() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).alpn(&["http/1.1"]).start().await;
    let mesh = mesh_of(&ca, &[&server]).service("users", |s| s.tls()).build().unwrap();
    let client = mesh.client("users").unwrap();
    for _ in 0..2 {
        let call = GreeterClient::new(client.clone()).say_hello(HelloRequest::default()).await;
        let status = call.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert!(status.message().contains("gRPC needs HTTP/2"), "{status}");
    }
    assert_eq!(server.requests(), 0);
    // Others are answered.
    assert!(patience(fetch(&client, get("/"))).await.is_ok());
}

/// What the endpoint chose once does not hold for ever.
#[tokio::test]
async fn a_grpc_call_asks_again_what_an_endpoint_speaks_that_chose_http1() {
    let ca = Ca::new("ca");
    let issued = ca.issue(&["users"]);
    let version = |request: Request<_>| async move { reply(format!("{:?}", request.version())) };
    let server = Tls::new(issued.clone()).alpn(&["http/1.1"]).serve(version).await;
    let address = server.socket();
    let mesh = mesh_of(&ca, &[&server]).service("users", |s| s.tls()).build().unwrap();
    let client = mesh.client("users").unwrap();
    let grpc = || {
        let mut request = h2("/a/b");
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        request
    };
    for _ in 0..20 {
        let answer = patience(fetch(&client, grpc())).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "14");
    }
    assert!(server.connections() <= 3, "{} handshakes for 20 calls", server.connections());
    assert_eq!(server.requests(), 0);
    server.close().await;
    let server = Tls::new(issued).serve_at(address, version).await;
    let answered = async {
        while fetch(&client, grpc()).await.unwrap().body() != "HTTP/2.0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patience(answered).await;
    assert_eq!(server.requests(), 1);
}

/// What a connection attempt met says nothing of the one that is under way.
#[tokio::test]
async fn callers_in_a_back_off_wait_for_the_handshake_that_is_under_way() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).start().await;
    let dials = Arc::new(AtomicUsize::new(0));
    let layer = tower::layer::layer_fn(move |connect: Connector| {
        let dials = Arc::clone(&dials);
        tower::service_fn(move |target: ConnectTarget| {
            let mut connect = connect.clone();
            let is_first = dials.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                if is_first {
                    return Err(BoxError::from("not yet"));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                connect.call(target).await
            }
        })
    });
    let builder = mesh_of(&ca, &[&server]).service("users", |s| s.tls()).connect_layer(layer);
    let mesh = builder.build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(16, 16, |_| fetch(&client, get("/")))).await;
    assert_eq!(failures(&answers), [""; 0]);
    assert_eq!(server.connections(), 1);
}

/// Nothing is said of the call: only what its server has refused is sent again.
#[tokio::test]
async fn a_post_that_is_refused_where_http2_was_agreed_on_is_sent_again() {
    let ca = Ca::new("ca");
    let acceptor = Tls::new(ca.issue(&["users"])).acceptor();
    let posts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&posts);
    let server = RawServer::start(move |stream, _| {
        let (acceptor, posts) = (acceptor.clone(), Arc::clone(&count));
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                // The first one of two.
                if request.method() == http::Method::POST
                    && posts.fetch_add(1, Ordering::SeqCst).is_multiple_of(2)
                {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                    continue;
                }
                let mut body = respond.send_response(head(), false).unwrap();
                drop(body.send_data(bytes::Bytes::from_static(b"hello"), true));
            }
        }
    })
    .await;
    let builder = Mesh::builder().endpoints("users", [server.address()]);
    let builder = builder.trust(Trust::pem(ca.pem())).service("users", |s| s.tls());
    let mesh = builder.build().unwrap();
    let client = mesh.client("users").unwrap();
    patience(fetch(&client, get("/"))).await.unwrap();
    for _ in 0..5 {
        patience(fetch(&client, post("/", "once"))).await.unwrap();
    }
    assert_eq!(posts.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn the_endpoint_is_told_https() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"]))
        .serve(|request| async move { reply(request.uri().to_string()) })
        .await;
    let mesh = mesh_of(&ca, &[&server]).service("users", |s| s.tls()).build().unwrap();
    for uri in ["http://users/a", "https://users/a"] {
        let seen = seen(&mesh.http(), h2(uri)).await;
        assert_eq!(seen, "https://users/a");
    }
}

#[tokio::test]
async fn a_connection_tells_who_was_met() {
    let ca = Ca::new("ca");
    let issued = ca.issue_between(&["users", "spiffe://prod.example/users"], 2020, 2050);
    let server = Tls::new(issued).start().await;
    let mesh = mesh_of(&ca, &[&server])
        .service("users", |s| s.tls().server_identity("spiffe://prod.example/users"))
        .build()
        .unwrap();
    let mut events = Recorder::of(&mesh);
    fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap();
    let made = events.events().iter().find_map(|event| match event {
        Event::Connected { protocol, secured, peer, peer_names, peer_not_after, .. } => {
            Some((*protocol, *secured, peer.clone(), peer_names.to_vec(), *peer_not_after))
        }
        _ => None,
    });
    // Whom it was to be, whatever else it is, and until when: the first of January 2050.
    let until = std::time::UNIX_EPOCH + Duration::from_secs(2_524_608_000);
    let names = ["users", "spiffe://prod.example/users"].map(str::to_owned);
    let identity = Some("spiffe://prod.example/users".into());
    assert_eq!(made, Some((Version::HTTP_2, true, identity, names.to_vec(), Some(until))));
}

#[tokio::test]
async fn a_wrong_certificate_is_an_error_of_its_kind() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["orders"])).start().await;
    let mesh = mesh_of(&ca, &[&server]).service("users", |s| s.tls()).build().unwrap();
    let error = patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Identity, Phase::Tls), "{error}");
    let text = error.to_string();
    assert!(text.contains("orders") && text.contains("users"), "{text}");
    assert_eq!(error.endpoint(), Some(&*server.socket().to_string()));
    assert_eq!(server.requests(), 0);
}

#[test]
fn the_settings_have_short_names() {
    assert_eq!(ClusterSecurity::tls().mode, Some(tower_mesh::config::SecurityMode::Tls));
}
