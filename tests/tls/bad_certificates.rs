//! Certificates that must not be believed, keys that cannot be used: a clear error or the last good
//! state, through the whole mesh, and never a request to whom it is not meant for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, time::Duration};

use tower_mesh::{
    Error, ErrorKind, Event, Mesh, Phase,
    security::{KeyPair, Trust},
};

use crate::support::{
    Ca, GreeterClient, HelloRequest, Issued, RawServer, Recorder, Tls, VERSIONS, fetch, get, hello,
    over, patience, storm, swap,
};

const POLL: Duration = Duration::from_millis(100);

/// What a call to a server of this certificate comes to; the server sees no request.
async fn met(ca: &Ca, certificate: Issued) -> Error {
    let server = Tls::new(certificate).start().await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .trust(Trust::pem(ca.pem()))
        .service("users", |s| s.tls())
        .build()
        .unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    let error = patience(fetch(&client, get("/"))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Tls, "{error}");
    assert_eq!(error.endpoint(), Some(&*server.socket().to_string()), "{error}");
    assert_eq!(server.requests(), 0);
    assert!(server.in_clear().is_empty());
    // It counts as a failed connection: the endpoint is avoided, and the event tells why.
    let told = events.events().iter().find_map(|event| match event {
        Event::ConnectFailed { cause, backoff, .. } if !backoff.is_zero() => {
            Some(cause.to_string())
        }
        _ => None,
    });
    let told = told.expect("no ConnectFailed");
    assert!(told.starts_with("TLS handshake failed: "), "{told}");
    assert!(mesh.describe().to_string().contains("no connection could be made, back-off for"));
    error
}

#[tokio::test]
async fn of_a_foreign_ca() {
    let error = met(&Ca::new("ours"), Ca::new("theirs").issue(&["users"])).await;
    assert_eq!(error.kind(), ErrorKind::Identity, "{error}");
}

#[tokio::test]
async fn expired_and_not_yet_valid() {
    let ca = Ca::new("ca");
    let error = met(&ca, ca.issue_between(&["users"], 2020, 2021)).await;
    assert!(error.to_string().contains("expired"), "{error}");
    let error = met(&ca, ca.issue_between(&["users"], 2090, 2100)).await;
    assert!(error.to_string().contains("not valid yet"), "{error}");
}

#[tokio::test]
async fn of_another_service() {
    let ca = Ca::new("ca");
    let error = met(&ca, ca.issue(&["orders", "billing"])).await;
    let text = error.to_string();
    for name in ["orders", "billing", "expected users"] {
        assert!(text.contains(name), "{text}");
    }
}

#[tokio::test]
async fn one_of_several_names_will_do() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["orders", "users", "10.0.0.1"])).start().await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .trust(Trust::pem(ca.pem()))
        .service("users", |s| s.tls())
        .build()
        .unwrap();
    assert!(patience(fetch(&mesh.http(), get("http://users/"))).await.is_ok());
}

#[tokio::test]
async fn an_impostor_among_good_endpoints_is_named_and_costs_no_call() {
    let ca = Ca::new("ca");
    let greeter = || hello(|_| async { Ok("hello".to_owned()) });
    let good = Tls::new(ca.issue(&["users"])).grpc(greeter()).await;
    let bad = Tls::new(ca.issue(&["orders"])).grpc(greeter()).await;
    let mesh = Mesh::builder()
        .endpoints("users", [good.address(), bad.address()])
        .trust(Trust::pem(ca.pem()))
        .service("users", |s| s.tls())
        .build()
        .unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    let answers = storm(8, 200, |_| {
        let mut client = GreeterClient::new(client.clone());
        async move { client.say_hello(HelloRequest::default()).await }
    })
    .await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((good.requests(), bad.requests()), (200, 0));
    let named = bad.socket().to_string();
    let refused = events.count(|event| {
        matches!(event, Event::ConnectFailed { endpoint, cause, .. }
            if **endpoint == *named && cause.contains("orders"))
    });
    assert!(refused > 0);
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_gets_no_byte_in_clear() {
    for answer in ["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "\x00\x00\x00\x04"] {
        let server = RawServer::start(move |mut stream, _| async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut seen = [0; 16];
            let Ok(1..) = stream.read(&mut seen).await else { return };
            assert_eq!(seen[..2], [22, 3], "a handshake record");
            drop(stream.write_all(answer.as_bytes()).await);
        })
        .await;
        let ca = Ca::new("ca");
        let mesh = Mesh::builder()
            .endpoints("users", [server.address()])
            .trust(Trust::pem(ca.pem()))
            .service("users", |s| s.tls())
            .build()
            .unwrap();
        let error = patience(fetch(&mesh.http(), get("http://users/"))).await.unwrap_err();
        assert_eq!(error.phase(), Phase::Tls, "{error}");
    }
}

#[tokio::test]
async fn a_handshake_that_stalls_ends_with_the_connect_timeout() {
    let server = RawServer::start(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let ca = Ca::new("ca");
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .trust(Trust::pem(ca.pem()))
        .service("users", |s| s.tls())
        .build()
        .unwrap();
    let error = patience(fetch(&mesh.http(), get("http://users/"))).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Tls), "{error}");
    assert!(error.to_string().contains("connect timeout in the TLS handshake"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_know_us_says_so_over_either_protocol() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let server = Tls::new(ca.issue(&["users"])).alpn(alpn).clients_of(&other).start().await;
        let own = ca.issue(&["caller"]);
        let builder =
            || Mesh::builder().endpoints("users", [server.address()]).trust(Trust::pem(ca.pem()));
        // It shows a certificate that the server does not know.
        let mesh = builder()
            .identity(KeyPair::pem(own.chain_pem.clone(), own.key_pem.clone()))
            .service("users", |s| s.mutual_tls())
            .build()
            .unwrap();
        let mut events = Recorder::of(&mesh);
        for version in VERSIONS {
            let request = over(version, get("/"));
            let error = patience(fetch(&mesh.client("users").unwrap(), request)).await;
            let error = error.unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Identity, Phase::Tls), "{error}");
        }
        assert!(events.count(|event| matches!(event, Event::ConnectFailed { .. })) > 0);
        // It shows none.
        let mesh = builder().service("users", |s| s.tls()).build().unwrap();
        let error = patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Identity, Phase::Tls), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_half_rotated_keeps_the_last_good_pair() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).clients_of(&ca).start().await;
    let dir = tempfile::tempdir().unwrap();
    swap(&dir.path().join("ca.crt"), ca.pem());
    let first = ca.issue(&["caller"]);
    let (chain, key) = first.write(dir.path());
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .identity(KeyPair::pem_files(&chain, &key).poll_interval(POLL))
        .trust(Trust::pem_file(dir.path().join("ca.crt")).poll_interval(POLL))
        .service("users", |s| s.mutual_tls())
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    assert!(patience(fetch(&client, get("/"))).await.is_ok());
    // Over a new connection, to which this certificate is shown.
    let shows = async |own: &Issued| {
        let before = server.met().len();
        server.drain();
        let call = || fetch(&client, get("/"));
        patience(async {
            while server.met().len() == before {
                call().await.unwrap();
            }
        })
        .await;
        assert_eq!(server.met().last().unwrap().shown.as_ref(), own.chain.first());
    };
    let mut events = Recorder::of(&mesh);
    let refused = |event: &Event| matches!(event, Event::ConfigRefused { part, .. } if part.starts_with("identity "));

    // The certificate has come, its key has not.
    let next = ca.issue(&["caller"]);
    swap(&chain, &next.chain_pem);
    events.until(refused).await;
    shows(&first).await;
    let text = mesh.describe().to_string();
    assert!(text.contains("refused: identity "), "{text}");

    // The key comes.
    let mut events = Recorder::of(&mesh);
    swap(&key, &next.key_pem);
    events
        .until(|event| {
            matches!(event, Event::ConfigApplied { part, .. } if part.starts_with("identity "))
        })
        .await;
    let text = mesh.describe().to_string();
    assert!(!text.contains("refused: "), "{text}");
    shows(&next).await;

    // Whatever else is there: the last good pair stays.
    for broken in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        swap(&key, broken);
        patience(async {
            while !mesh.describe().to_string().contains("refused: identity ") {
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
        tokio::time::sleep(4 * POLL).await;
        assert!(mesh.describe().to_string().contains("refused: identity "), "{broken}");
        shows(&next).await;
    }
    fs::remove_file(&key).unwrap();
    tokio::time::sleep(4 * POLL).await;
    assert!(mesh.describe().to_string().contains("refused: identity "));
    let mut events = Recorder::of(&mesh);
    swap(&dir.path().join("ca.crt"), "no bundle");
    events
        .until(|event| {
            matches!(event, Event::ConfigRefused { part, .. } if part.starts_with("trust "))
        })
        .await;
    shows(&next).await;
}

#[tokio::test]
async fn a_pair_that_does_not_match_from_the_start_fails_its_calls_clearly() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).clients_of(&ca).start().await;
    let (one, other) = (ca.issue(&["caller"]), ca.issue(&["caller"]));
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .identity(KeyPair::pem(one.chain_pem, other.key_pem))
        .trust(Trust::pem(ca.pem()))
        .service("users", |s| s.mutual_tls())
        .build()
        .unwrap();
    let refused = mesh.ready().await.unwrap_err().to_string();
    assert!(refused.contains("does not belong to the certificate"), "{refused}");
    let error = patience(fetch(&mesh.http(), get("http://users/"))).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Config, Phase::Tls), "{error}");
    assert!(error.to_string().contains("does not belong to the certificate"), "{error}");
    assert_eq!(server.requests(), 0);
}
