//! The subjects under a generated tonic client, over TCP on loopback.
//!
//! `Channel::balance_list` takes no connector, so both subjects speak TCP. The servers are the
//! canned peer in threads of their own: callgrind counts the thread of the measured function only.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use prost::Message;
use tokio::runtime::Runtime;
use tonic::{
    body::Body,
    client::GrpcService,
    codegen::StdError,
    transport::{Channel, Endpoint},
};
use tower_mesh::{Mesh, MeshBuilder, TraceContext};

use super::{
    calls::{self, Caller, WARM_UP, drive},
    greeter::{GreeterClient, HelloReply, HelloRequest},
    peer::{Answer, Peer},
    script::Script,
    subjects::ENDPOINTS,
};

/// What stands under the generated client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Under {
    Mesh,
    BalanceList,
}

/// A subject that can be driven.
pub(crate) trait Run {
    fn run(&self, concurrency: u32, calls: u32);
}

struct Grpc<T> {
    runtime: Runtime,
    caller: GreeterCaller<T>,
}

#[derive(Clone)]
struct GreeterCaller<T> {
    client: GreeterClient<T>,
    /// What the next trace is called, where calls carry one, and who is told of it.
    trace: Option<(Arc<AtomicU64>, Under)>,
}

impl<T> Caller for GreeterCaller<T>
where
    T: GrpcService<Body> + Clone + Send + Sync + 'static,
    T::Error: Into<StdError>,
    T::Future: Send,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
{
    async fn call(&self) {
        let mut request = tonic::Request::new(HelloRequest { name: "x".repeat(1024) });
        let metadata = request.metadata_mut();
        metadata.insert("x-tenant", tonic::metadata::MetadataValue::from_static("tenant-1"));
        metadata.insert("x-region", tonic::metadata::MetadataValue::from_static("eu-central"));
        metadata.insert("x-client", tonic::metadata::MetadataValue::from_static("bench/1"));
        if let Some((next, under)) = &self.trace {
            // A caller that is not sampled: each side gets it in its own form.
            let id = next.fetch_add(1, Relaxed);
            if *under == Under::Mesh {
                let context =
                    TraceContext::new(u128::from(id).to_be_bytes(), id.to_be_bytes(), false);
                request.extensions_mut().insert(context.unwrap());
            } else {
                let text = format!("00-{:032x}-{id:016x}-00", u128::from(id));
                let mut value: tonic::metadata::MetadataValue<_> = text.parse().unwrap();
                // Not to be indexed, for no other call has the same.
                value.set_sensitive(true);
                request.metadata_mut().insert("traceparent", value);
            }
        }
        let reply = self.client.clone().say_hello(request).await.unwrap();
        assert_eq!(reply.into_inner().message, GREETING);
    }
}

impl<T> Run for Grpc<T>
where
    GreeterCaller<T>: Caller,
{
    fn run(&self, concurrency: u32, calls: u32) {
        drive(&self.runtime, concurrency, calls, &self.caller);
    }
}

const GREETING: &str = "hello, hello, hello";

/// A subject whose calls have reached every server.
pub(crate) fn grpc(under: Under) -> Box<dyn Run> {
    subject(under, false, |builder| builder)
}

/// The same, of a mesh that is built further, with a trace context that differs per call.
#[allow(dead_code, reason = "of benches with every feature")]
pub(crate) fn traced(
    under: Under,
    further: impl FnOnce(MeshBuilder) -> MeshBuilder,
) -> Box<dyn Run> {
    subject(under, true, further)
}

fn subject(
    under: Under,
    is_traced: bool,
    further: impl FnOnce(MeshBuilder) -> MeshBuilder,
) -> Box<dyn Run> {
    let trace = is_traced.then(|| (Arc::new(AtomicU64::new(1)), under));
    let connections = Arc::new(AtomicUsize::new(0));
    let ports: Vec<u16> = (0..ENDPOINTS).map(|_| serve(&connections)).collect();
    let runtime = calls::runtime();
    let entered = runtime.handle().clone();
    let _entered = entered.enter();
    let subject: Box<dyn Run> = match under {
        Under::Mesh => {
            let addresses =
                ports.iter().map(|port| std::net::SocketAddr::from(([127, 0, 0, 1], *port)));
            let builder = Mesh::builder().endpoints("greeter.prod", addresses).seed(7);
            let mesh = further(builder).build().unwrap();
            runtime.block_on(mesh.ready()).unwrap();
            let client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
            Box::new(Grpc { runtime, caller: GreeterCaller { client, trace } })
        }
        Under::BalanceList => {
            let endpoints = ports
                .iter()
                .map(|port| Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap());
            let channel = Channel::balance_list(endpoints);
            let client = GreeterClient::new(channel);
            Box::new(Grpc { runtime, caller: GreeterCaller { client, trace } })
        }
    };
    subject.run(1, WARM_UP);
    assert_eq!(connections.load(Relaxed), ENDPOINTS, "not every server is used");
    subject
}

/// A server in threads of its own.
fn serve(connections: &Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::clone(connections);
    let message = HelloReply { message: GREETING.into() }.encode_to_vec();
    let answer = Arc::new(Answer::grpc(&message));
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            connections.fetch_add(1, Relaxed);
            let answer = Arc::clone(&answer);
            thread::spawn(move || answer_all(stream, Peer::new(answer, Script::default())));
        }
    });
    port
}

fn answer_all(mut stream: TcpStream, mut peer: Peer) {
    let mut buffer = vec![0; 64 * 1024];
    let mut open = true;
    while open {
        peer.take(usize::MAX, |bytes| open = stream.write_all(bytes).is_ok());
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => peer.feed(&buffer[..read]),
        }
    }
}
