//! The client: it calls, counts, and can be asked and told.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    transport::{Server as Grpc, server::TcpIncoming},
};
use tower_mesh::{
    BoxError, Client as Channel, Mesh,
    control::xds::{self, Bootstrap, Xds},
};

use crate::{
    interop::{
        ACCUMULATED_STATS, BoxFuture, CLIENT_STATS, CONFIGURE, EMPTY_CALL, Methods, Served, Told,
        UNARY_CALL, called,
        messages::{
            ClientConfigureRequest, ClientConfigureResponse, Empty,
            LoadBalancerAccumulatedStatsRequest, LoadBalancerAccumulatedStatsResponse,
            LoadBalancerStatsRequest, LoadBalancerStatsResponse, MetadataKind, Payload, RpcType,
            SimpleRequest, SimpleResponse,
        },
        unary, unimplemented,
    },
    ledger::{Ledger, Outcome, Turn, entries},
    options::{Calls, Options},
};

/// A client that runs; its drop ends it.
#[derive(Debug)]
pub(crate) struct Client {
    /// Where it is asked and told.
    pub(crate) stats: SocketAddr,
    failed: watch::Receiver<Option<String>>,
    tasks: [AbortHandle; 2],
    _meshes: Vec<Mesh>,
}

/// What its parts share.
#[derive(Debug)]
struct Shared {
    options: Options,
    ledger: Ledger,
    calls: Mutex<Arc<Calls>>,
    has_succeeded: AtomicBool,
    failed: watch::Sender<Option<String>>,
}

/// `grpc.testing.LoadBalancerStatsService`.
struct Stats(Arc<Shared>);

/// `grpc.testing.XdsUpdateClientConfigureService`.
struct Configure(Arc<Shared>);

// === impl Client ===

impl Client {
    /// Begins to call. The bootstrap is needed where the server is named `xds:///`.
    pub(crate) async fn start(
        host: [u8; 4],
        options: Options,
        bootstrap: Option<Bootstrap>,
    ) -> Result<Self, BoxError> {
        let listener = TcpListener::bind(SocketAddr::from((host, options.stats_port))).await?;
        let stats = listener.local_addr()?;
        // A channel has connections and turns of its own, as gRPC's have. They share one stream.
        let (mut meshes, mut channels) = (Vec::new(), Vec::new());
        for _ in 0..options.channels {
            let (mesh, channel) = connect(&options.server, bootstrap.clone())?;
            meshes.push(mesh);
            channels.push(channel);
        }
        let shared = Arc::new(Shared {
            calls: Mutex::new(Arc::new(options.calls.clone())),
            options,
            ledger: Ledger::default(),
            has_succeeded: AtomicBool::new(false),
            failed: watch::Sender::new(None),
        });
        let server = Grpc::builder()
            .add_service(Served::new(Stats(Arc::clone(&shared))))
            .add_service(Served::new(Configure(Arc::clone(&shared))))
            .add_service(xds::Status::service())
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        let failed = shared.failed.subscribe();
        let tasks = [
            tokio::spawn(server).abort_handle(),
            tokio::spawn(call(shared, channels)).abort_handle(),
        ];
        Ok(Self { stats, failed, tasks, _meshes: meshes })
    }

    /// Waits until a call fails that must not.
    pub(crate) async fn failed(&mut self) -> String {
        match self.failed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "it has ended".to_owned(),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// The mesh of one channel.
fn connect(server: &str, bootstrap: Option<Bootstrap>) -> Result<(Mesh, Channel), BoxError> {
    let mut builder = Mesh::builder();
    let name = if let Some(name) = server.strip_prefix("xds:///") {
        let bootstrap = bootstrap.map_or_else(Bootstrap::from_env, Ok)?;
        builder = builder.source(Xds::new(bootstrap));
        name.to_owned()
    } else if server.contains("://") {
        server.to_owned()
    } else {
        format!("dns:///{server}")
    };
    let mesh = builder.build()?;
    let channel = mesh.client(&name)?;
    Ok((mesh, channel))
}

/// Calls, turn by turn, one channel after the other.
async fn call(shared: Arc<Shared>, channels: Vec<Channel>) {
    let mut turns = interval(shared.options.interval());
    // As gRPC's: turns that a busy machine has missed do not come all at once.
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for channel in channels.iter().cycle() {
        turns.tick().await;
        let turn = shared.ledger.turn();
        let calls = Arc::clone(&shared.calls.lock().unwrap_or_else(PoisonError::into_inner));
        for &kind in calls.kinds.keys() {
            let one =
                one(Arc::clone(&shared), channel.clone(), turn.clone(), Arc::clone(&calls), kind);
            drop(tokio::spawn(one));
        }
    }
}

async fn one(shared: Arc<Shared>, channel: Channel, turn: Turn, calls: Arc<Calls>, kind: RpcType) {
    shared.ledger.begins(kind);
    let outcome = match kind {
        RpcType::EmptyCall => {
            let request = shared.request(&calls, kind, Empty {});
            let told = called::<_, _, Empty>(channel, EMPTY_CALL, request).await;
            told.map(|told| shared.outcome(kind, &told, None))
        }
        RpcType::UnaryCall => {
            let Options { request_size, response_size, .. } = shared.options;
            let payload = Payload { kind: 0, body: vec![0; request_size] };
            let message = SimpleRequest {
                response_size,
                payload: (request_size > 0).then_some(payload),
                fill_server_id: true,
                ..SimpleRequest::default()
            };
            let request = shared.request(&calls, kind, message);
            let told = called::<_, _, SimpleResponse>(channel, UNARY_CALL, request).await;
            told.map(|told| shared.outcome(kind, &told, Some(&told.message.hostname)))
        }
    };
    let (outcome, failure) = match outcome {
        Ok(outcome) => (outcome, None),
        Err(status) => {
            let outcome = Outcome { kind, code: status.code(), peer: None, metadata: Vec::new() };
            (outcome, Some(status))
        }
    };
    if outcome.code == shared.options.expected {
        shared.has_succeeded.store(true, Ordering::Relaxed);
    } else if shared.options.fail_on_failed_rpc && shared.has_succeeded.load(Ordering::Relaxed) {
        let what =
            failure.map_or_else(|| "it was answered".to_owned(), |status| status.to_string());
        shared.failed.send_replace(Some(format!("{kind:?} failed: {what}")));
    }
    shared.ledger.ends(&turn, &outcome);
}

// === impl Shared ===

impl Shared {
    fn request<T>(&self, calls: &Calls, kind: RpcType, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(calls.timeout.unwrap_or(self.options.timeout));
        for (key, value) in calls.kinds.get(&kind).into_iter().flatten() {
            request.metadata_mut().append(key.clone(), value.clone());
        }
        request
    }

    fn outcome<T: std::fmt::Debug>(
        &self,
        kind: RpcType,
        told: &Told<T>,
        hostname: Option<&str>,
    ) -> Outcome {
        let header = told.initial.get("hostname").and_then(|name| name.to_str().ok());
        // Servers that set no header say it in the message.
        let peer = header.or_else(|| hostname.filter(|name| !name.is_empty())).map(str::to_owned);
        if self.options.print_response {
            let peer = peer.as_deref().unwrap_or("nobody");
            #[allow(clippy::print_stdout, reason = "it is asked for")]
            {
                println!("{kind:?} answered by {peer}: {:?}", told.message);
            }
        }
        let metadata = entries(&told.initial, MetadataKind::Initial)
            .chain(entries(&told.trailing, MetadataKind::Trailing));
        Outcome { kind, code: Code::Ok, peer, metadata: metadata.collect() }
    }
}

// === impl Stats ===

impl Stats {
    async fn of_next(
        &self,
        asked: Request<LoadBalancerStatsRequest>,
    ) -> Result<Response<LoadBalancerStatsResponse>, Status> {
        Ok(Response::new(self.0.ledger.watch(asked.get_ref()).await))
    }

    fn of_all(&self) -> Result<Response<LoadBalancerAccumulatedStatsResponse>, Status> {
        Ok(Response::new(self.0.ledger.all()))
    }
}

impl Methods for Stats {
    const NAME: &'static str = "grpc.testing.LoadBalancerStatsService";

    fn call(self: Arc<Self>, request: http::Request<Body>) -> BoxFuture<http::Response<Body>> {
        Box::pin(async move {
            match request.uri().path() {
                CLIENT_STATS => unary(request, |asked| self.of_next(asked)).await,
                ACCUMULATED_STATS => {
                    let all =
                        |_: Request<LoadBalancerAccumulatedStatsRequest>| async { self.of_all() };
                    unary(request, all).await
                }
                _ => unimplemented(),
            }
        })
    }
}

// === impl Configure ===

impl Configure {
    fn configure(
        &self,
        asked: &ClientConfigureRequest,
    ) -> Result<Response<ClientConfigureResponse>, Status> {
        let calls = Arc::new(Calls::told(asked)?);
        *self.0.calls.lock().unwrap_or_else(PoisonError::into_inner) = calls;
        Ok(Response::new(ClientConfigureResponse {}))
    }
}

impl Methods for Configure {
    const NAME: &'static str = "grpc.testing.XdsUpdateClientConfigureService";

    fn call(self: Arc<Self>, request: http::Request<Body>) -> BoxFuture<http::Response<Body>> {
        Box::pin(async move {
            match request.uri().path() {
                CONFIGURE => {
                    let configure = |asked: Request<ClientConfigureRequest>| {
                        let done = self.configure(asked.get_ref());
                        async move { done }
                    };
                    unary(request, configure).await
                }
                _ => unimplemented(),
            }
        })
    }
}
