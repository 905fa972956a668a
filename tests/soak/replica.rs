//! One server of HTTP/1.1, HTTP/2 and gRPC, as ill as a test wants it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    time::Duration,
};

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tonic::{Status, codegen::Service};

use crate::support::{
    GreeterServer, Server, hello, reply,
    server::{Reply, body},
    status,
};

/// How it answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Mode {
    Well,
    Slow,
    Failing,
    Hung,
}

pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    mode: Arc<AtomicU8>,
    server: Option<Server>,
}

impl Replica {
    pub(crate) async fn start() -> Self {
        let mode = Arc::new(AtomicU8::new(Mode::Well as u8));
        let server = serve("127.0.0.1:0".parse().unwrap(), Arc::clone(&mode)).await;
        Self { address: server.socket(), mode, server: Some(server) }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, SeqCst);
    }

    /// Breaks all connections and refuses new ones.
    pub(crate) async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
    }

    /// Ends its connections as a deployment does.
    pub(crate) async fn close(&mut self) {
        if let Some(server) = self.server.take() {
            // Hung requests would keep it.
            drop(tokio::time::timeout(Duration::from_millis(300), server.close()).await);
        }
    }

    pub(crate) async fn revive(&mut self) {
        if self.server.is_none() {
            self.server = Some(serve(self.address, Arc::clone(&self.mode)).await);
        }
    }
}

async fn serve(address: SocketAddr, mode: Arc<AtomicU8>) -> Server {
    Server::start_at(address, move |request| answer(request, mode.load(SeqCst))).await
}

async fn answer(request: Request<Incoming>, mode: u8) -> Reply {
    let is_grpc =
        request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
    if mode == Mode::Slow as u8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    } else if mode == Mode::Hung as u8 {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
    }
    let fails = mode == Mode::Failing as u8;
    if is_grpc {
        let mut greeter = GreeterServer::new(hello(move |request| async move {
            if fails { Err(Status::unavailable("ill")) } else { Ok(request.into_inner().name) }
        }));
        match greeter.call(request).await {
            Ok(reply) => reply.map(body),
            Err(never) => match never {},
        }
    } else if fails {
        status(StatusCode::SERVICE_UNAVAILABLE)
    } else {
        // An echo: of the body, or else of the path.
        let path = request.uri().path().to_owned();
        match request.into_body().collect().await.map(http_body_util::Collected::to_bytes) {
            Ok(sent) => reply(if sent.is_empty() { path.into() } else { sent }),
            Err(_) => status(StatusCode::BAD_REQUEST),
        }
    }
}
