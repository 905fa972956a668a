//! Endpoints that are Unix sockets: every protocol, in clear and over TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Version;
use tokio::net::{TcpStream, UnixListener};
use tower_mesh::{ErrorKind, Mesh, config::Address};

use crate::support::{GreeterClient, HelloRequest, Server, fetch, get, hello, over, patience};

/// A Unix socket that leads to a server, and how many have come by it.
struct Socket {
    _dir: tempfile::TempDir,
    address: Address,
    came: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Socket {
    fn to(server: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let came = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&came);
        let task = tokio::spawn(async move {
            loop {
                let (mut from, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut to = TcpStream::connect(server).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut from, &mut to).await);
                });
            }
        });
        let address = format!("unix:{}", path.display()).parse().unwrap();
        Self { _dir: dir, address, came, task }
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn both_versions_of_http_and_grpc_go_through_one() {
    let server = Server::named("hello").await;
    let socket = Socket::to(server.socket());
    let mesh = Mesh::builder().endpoints("users", [socket.address.clone()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for _ in 0..10 {
            let answer = patience(fetch(&client, over(version, get("/")))).await.unwrap();
            assert_eq!(&answer.body()[..], b"hello");
            assert_eq!(answer.version(), version);
        }
    }
    assert_eq!(socket.came(), 2, "one connection of each version");

    let greeter = Server::grpc(hello(|_| async { Ok("unix".into()) })).await;
    let socket = Socket::to(greeter.socket());
    let mesh = Mesh::builder().endpoints("greeter", [socket.address.clone()]).build().unwrap();
    let mut client = GreeterClient::new(mesh.client("greeter").unwrap());
    for _ in 0..20 {
        let answer = patience(client.say_hello(HelloRequest::default())).await.unwrap();
        assert_eq!(answer.into_inner().message, "unix");
    }
    assert_eq!(socket.came(), 1);
}

#[cfg(feature = "tls-aws-lc-rs")]
#[tokio::test]
async fn mutual_tls_goes_through_one_and_names_the_service() {
    use crate::support::{Ca, Tls};
    use tower_mesh::security::{KeyPair, Trust};

    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).clients_of(&ca).start().await;
    let Address::Socket(behind) = server.address() else { panic!("a TLS server is a socket") };
    let socket = Socket::to(behind);
    let own = ca.issue(&["spiffe://prod.example/caller"]);
    let mesh = Mesh::builder()
        .endpoints("users", [socket.address.clone()])
        .identity(KeyPair::pem(own.chain_pem.clone(), own.key_pem.clone()))
        .trust(Trust::pem(ca.pem()))
        .service("users", |s| s.mutual_tls())
        .build()
        .unwrap();
    let client = mesh.client("users").unwrap();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let answer = patience(fetch(&client, over(version, get("/")))).await.unwrap();
        assert_eq!(&answer.body()[..], b"hello");
    }
    let met = server.met();
    assert!(socket.came() > 0 && met.len() == socket.came());
    for met in met {
        assert_eq!((met.sni.as_deref(), met.certificates), (Some("users"), 1));
    }
    assert_eq!(server.in_clear(), Vec::<Vec<u8>>::new());

    // Another service's certificate is refused there as anywhere.
    let other = Tls::new(ca.issue(&["orders"])).start().await;
    let Address::Socket(behind) = other.address() else { panic!("a TLS server is a socket") };
    let socket = Socket::to(behind);
    let mesh = Mesh::builder()
        .endpoints("users", [socket.address.clone()])
        .trust(Trust::pem(ca.pem()))
        .service("users", |s| s.tls())
        .build()
        .unwrap();
    let call = fetch(&mesh.client("users").unwrap(), get("/"));
    let error = patience(call).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Identity, "{error}");
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn one_that_is_not_there_fails_to_connect() {
    for path in ["/nonexistent/socket".to_owned(), format!("/tmp/{}", "x".repeat(300))] {
        // An overlong path may be refused at once.
        let Ok(address) = format!("unix:{path}").parse::<Address>() else { continue };
        let mesh = Mesh::builder().endpoints("users", [address]).build().unwrap();
        let call = fetch(&mesh.client("users").unwrap(), get("/"));
        let error = patience(call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    }
}
