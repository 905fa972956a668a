//! The server.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    body::Body,
    metadata::{MetadataMap, MetadataValue},
    transport::{Server as Grpc, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower_mesh::{BoxError, control::xds};

use crate::{
    behaviour::{self, End},
    interop::{
        BoxFuture, EMPTY_CALL, Flags, Methods, SET_NOT_SERVING, SET_SERVING, Served, UNARY_CALL,
        messages::{Empty, Payload, SimpleRequest, SimpleResponse},
        unary, unimplemented,
    },
};

/// The flags that there are.
pub(crate) const FLAGS: &[&str] = &[
    "port",
    "maintenance_port",
    "server_id",
    "host_name_override",
    "secure_mode?",
    "enable_csm_observability?",
    "address_type",
];

/// How it runs.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) port: u16,
    /// Where health is asked and told, and CSDS; the same port without one.
    pub(crate) maintenance_port: Option<u16>,
    pub(crate) server_id: String,
    pub(crate) hostname: String,
}

/// A server that runs. Its drop ends it: nobody is let in any more, and connections end with the calls on them.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it is called.
    pub(crate) address: SocketAddr,
    /// Where its health is told.
    pub(crate) maintenance: SocketAddr,
    stop: watch::Sender<()>,
    tasks: Vec<JoinHandle<()>>,
}

/// `grpc.testing.TestService`.
struct Tests {
    hostname: String,
    server_id: String,
}

/// `grpc.testing.XdsUpdateHealthService`.
struct Health(HealthReporter);

// === impl Options ===

impl Options {
    /// As the flags say.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let flags = Flags::parse(arguments, FLAGS)?;
        if flags.switch("secure_mode")? {
            return Err("--secure_mode: this server takes nothing from a control plane; it is \
                        a plain server of tonic"
                .to_owned());
        }
        if flags.switch("enable_csm_observability")? {
            return Err("--enable_csm_observability: it has no exporter of its own".to_owned());
        }
        if let Some(other) = flags.get("address_type").filter(|&it| it != "IPV4") {
            return Err(format!("--address_type={other}: it listens on IPv4 alone"));
        }
        let maintenance = flags.get("maintenance_port").is_some();
        Ok(Self {
            port: flags.value("port", 8080)?,
            maintenance_port: maintenance
                .then(|| flags.value("maintenance_port", 0))
                .transpose()?,
            server_id: flags.value("server_id", "tower_mesh_server".to_owned())?,
            hostname: flags.value("host_name_override", own_name())?,
        })
    }
}

/// What the machine is called.
fn own_name() -> String {
    let told = std::fs::read_to_string("/etc/hostname").ok();
    let told = std::env::var("HOSTNAME").ok().or(told);
    told.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

// === impl Server ===

impl Server {
    /// Listens at this address of the machine.
    pub(crate) async fn start(host: [u8; 4], options: Options) -> Result<Self, BoxError> {
        let listener = TcpListener::bind(SocketAddr::from((host, options.port))).await?;
        let address = listener.local_addr()?;
        let Options { server_id, hostname, .. } = options;
        let tests = Served::new(Tests { hostname, server_id });
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("", ServingStatus::Serving).await;
        let update = Served::new(Health(reporter));
        // It has no control plane of its own to tell of; who asks is answered, as by grpc-go's plain server.
        let csds = xds::Status::service();
        let stop = watch::Sender::new(());
        let grpc = Grpc::builder().add_service(tests);
        let spawn = |grpc: tonic::transport::server::Router, listener| {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let mut stopped = stop.subscribe();
            // It is never told anything but that it has ended.
            let stopped = async move { while stopped.changed().await.is_ok() {} };
            tokio::spawn(async move {
                drop(grpc.serve_with_incoming_shutdown(incoming, stopped).await);
            })
        };
        let mut tasks = Vec::new();
        let maintenance = match options.maintenance_port {
            None => {
                let told = grpc.add_service(health).add_service(update).add_service(csds);
                tasks.push(spawn(told, listener));
                address
            }
            Some(port) => {
                tasks.push(spawn(grpc, listener));
                let listener = TcpListener::bind(SocketAddr::from((host, port))).await?;
                let maintenance = listener.local_addr()?;
                let told = Grpc::builder().add_service(health).add_service(update);
                let told = told.add_service(csds);
                tasks.push(spawn(told, listener));
                maintenance
            }
        };
        Ok(Self { address, maintenance, stop, tasks })
    }

    /// Ends it, and waits so long for the calls on it.
    pub(crate) async fn end(self, patience: Duration) {
        let Self { stop, tasks, .. } = self;
        drop(stop);
        let ended = async {
            for task in tasks {
                drop(task.await);
            }
        };
        drop(tokio::time::timeout(patience, ended).await);
    }
}

// === impl Tests ===

impl Tests {
    /// Does to a call what it asks for.
    async fn behave(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let text = |value: &MetadataValue<_>| value.to_str().ok().map(str::to_owned);
        let values: Vec<String> =
            metadata.get_all("rpc-behavior").iter().filter_map(text).collect();
        let tried = metadata.get("grpc-previous-rpc-attempts").and_then(text);
        let tried = tried.map_or(Ok(0), |number| number.parse());
        let tried = tried.map_err(|_| Status::invalid_argument("grpc-previous-rpc-attempts"))?;
        let asked = behaviour::asked(values.iter().map(String::as_str), &self.hostname, tried)?;
        tokio::time::sleep(asked.sleep).await;
        match asked.end {
            End::Answered => Ok(()),
            // Until the caller has gone, and this with it.
            End::KeptOpen => std::future::pending().await,
            End::Failed(code) => Err(Status::new(code, "as rpc-behavior asks for")),
        }
    }

    /// A response that says whose it is.
    fn respond<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        if let Ok(name) = self.hostname.parse() {
            response.metadata_mut().insert("hostname", name);
        }
        response
    }

    async fn empty_call(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.behave(request.metadata()).await?;
        Ok(self.respond(Empty {}))
    }

    async fn unary_call(
        &self,
        request: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        self.behave(request.metadata()).await?;
        let asked = request.into_inner();
        if let Some(status) = asked.response_status.filter(|status| status.code != 0) {
            return Err(Status::new(status.code.into(), status.message));
        }
        let size = usize::try_from(asked.response_size).unwrap_or_default();
        if size > LARGEST {
            return Err(Status::invalid_argument(format!(
                "more than {LARGEST} bytes are asked for"
            )));
        }
        let payload = (size > 0).then(|| Payload { kind: 0, body: vec![0; size] });
        Ok(self.respond(SimpleResponse {
            payload,
            server_id: self.server_id.clone(),
            hostname: self.hostname.clone(),
        }))
    }
}

impl Methods for Tests {
    const NAME: &'static str = "grpc.testing.TestService";

    fn call(self: Arc<Self>, request: http::Request<Body>) -> BoxFuture<http::Response<Body>> {
        Box::pin(async move {
            match request.uri().path() {
                EMPTY_CALL => unary(request, |asked| self.empty_call(asked)).await,
                UNARY_CALL => unary(request, |asked| self.unary_call(asked)).await,
                _ => unimplemented(),
            }
        })
    }
}

// === impl Health ===

impl Health {
    async fn set(&self, status: ServingStatus) -> Result<Response<Empty>, Status> {
        self.0.set_service_status("", status).await;
        Ok(Response::new(Empty {}))
    }
}

impl Methods for Health {
    const NAME: &'static str = "grpc.testing.XdsUpdateHealthService";

    fn call(self: Arc<Self>, request: http::Request<Body>) -> BoxFuture<http::Response<Body>> {
        Box::pin(async move {
            match request.uri().path() {
                SET_SERVING => {
                    unary(request, |_: Request<Empty>| self.set(ServingStatus::Serving)).await
                }
                SET_NOT_SERVING => {
                    unary(request, |_: Request<Empty>| self.set(ServingStatus::NotServing)).await
                }
                _ => unimplemented(),
            }
        })
    }
}

/// A response may be asked to be so large.
const LARGEST: usize = 16 << 20;
