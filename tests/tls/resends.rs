//! What a call asked for, and what its cluster asks for, hold for its resends too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::sync::Notify;
use tower::Service;
use tower_mesh::{
    Body, BoxError, Client, ErrorKind, Mesh, Phase,
    config::{Balancer, ClusterSecurity, Endpoint, Security},
    security::Trust,
    transport::{ConnectTarget, Connector},
};

use crate::support::{
    Ca, Server, Tls, TlsServer, VERSIONS, cluster, fetch, get, one_cluster, over, patience, post,
    published,
};

/// A connection whose close is seen only when it is looked at, as on a busy runtime.
struct Cut<S>(S, Arc<AtomicBool>);

impl<S: Read + Unpin> Read for Cut<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.1.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: Write + Unpin> Write for Cut<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A cluster that does not say how it is secured: one endpoint is, and its connections can be
/// closed; the other is not.
struct Mixed {
    client: Client,
    secure: TlsServer,
    plain: Server,
    made: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
}

impl Mixed {
    async fn start() -> Self {
        let ca = Ca::new("ca");
        let secure = Tls::new(ca.issue(&["users"])).alpn(&["http/1.1"]).start().await;
        let plain = Server::named("plain").await;
        let mut config = cluster([plain.address()]);
        let mut endpoint = Endpoint::new(secure.address());
        endpoint.security = Some(Security::Tls(Box::default()));
        config.endpoints.push(endpoint);
        config.balancer = Some(Balancer::RoundRobin);
        let made = Arc::new(Mutex::new(Vec::new()));
        let (at, all) = (secure.address(), Arc::clone(&made));
        let cut = tower::layer::layer_fn(move |connect: Connector| {
            let (at, all) = (at.clone(), Arc::clone(&all));
            tower::service_fn(move |target: ConnectTarget| {
                let mut connect = connect.clone();
                let closed = Arc::new(AtomicBool::new(false));
                if target.address == at {
                    all.lock().unwrap().push(Arc::clone(&closed));
                }
                async move { Ok::<_, BoxError>(Cut(connect.call(target).await?, closed)) }
            })
        });
        let builder = one_cluster(config).trust(Trust::pem(ca.pem())).connect_layer(cut);
        let client = builder.build().unwrap().client("users").unwrap();
        Self { client, secure, plain, made }
    }

    /// Calls over and over, while every kept connection is closed in front of each call.
    async fn call(&self, uri: &str) -> Vec<Result<(), tower_mesh::Error>> {
        let mut results = Vec::new();
        for _ in 0..60 {
            let call = fetch(&self.client, post(uri, ""));
            results.push(patience(call).await.map(drop));
            tokio::task::yield_now().await;
            for closed in self.made.lock().unwrap().iter() {
                closed.store(true, Ordering::SeqCst);
            }
        }
        assert!(self.made.lock().unwrap().len() > 3, "too few connections were closed");
        results
    }
}

#[tokio::test]
async fn https_is_not_resent_in_clear_after_a_kept_connection_was_closed() {
    let mixed = Mixed::start().await;
    let results = mixed.call("https://users/").await;
    assert_eq!(mixed.plain.requests(), 0);
    assert!(mixed.secure.requests() > 0);
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!((error.kind(), error.phase()), (ErrorKind::InvalidRequest, Phase::Tls));
    }
}

#[tokio::test]
async fn https_stays_https_through_a_layer_that_takes_the_scheme_away() {
    let server = Server::named("plain").await;
    let origin_form = || {
        tower::util::MapRequestLayer::new(|mut request: Request<Body>| {
            *request.uri_mut() = Uri::from_static("/");
            request
        })
    };
    let builder = || Mesh::builder().endpoints("users", [server.address()]);
    for builder in [builder().call_layer(origin_form()), builder().attempt_layer(origin_form())] {
        let mesh = builder.build().unwrap();
        let error = patience(fetch(&mesh.http(), get("https://users/a"))).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::InvalidRequest, Phase::Tls));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_call_that_waited_for_a_plaintext_connection_is_not_sent_in_clear_under_tls() {
    for version in VERSIONS {
        let ca = Ca::new("ca");
        let (secure, plain) =
            (Tls::new(ca.issue(&["users"])).start().await, Server::named("plain").await);
        let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait, at) = (Arc::clone(&began), Arc::clone(&go), plain.address());
        let slow = tower::layer::layer_fn(move |connect: Connector| {
            let (tell, wait, at) = (Arc::clone(&tell), Arc::clone(&wait), at.clone());
            tower::service_fn(move |target: ConnectTarget| {
                let (mut connect, is_first) = (connect.clone(), target.address == at);
                let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
                async move {
                    if is_first {
                        tell.notify_one();
                        wait.notified().await;
                    }
                    connect.call(target).await
                }
            })
        });
        let builder = Mesh::builder().trust(Trust::pem(ca.pem())).connect_layer(slow);
        let (mesh, publish) = published(builder, |publish| {
            publish.cluster("users", cluster([plain.address()])).unwrap();
        })
        .await;
        let client = mesh.client("users").unwrap();
        let call = tokio::spawn(fetch(&client, over(version, post("/", "secret"))));
        patience(began.notified()).await;
        let mut stricter = cluster([secure.address()]);
        stricter.security = Some(ClusterSecurity::tls());
        publish.cluster("users", stricter).unwrap();
        go.notify_one();
        let answer = patience(call).await.unwrap().unwrap();
        assert_eq!(answer.body(), "hello", "{version:?}");
        assert_eq!((plain.requests(), secure.requests()), (0, 1), "{version:?}");
    }
}
