//! G14: what a control plane's answers cost, and how soon a cold start gets its first answer.
//!
//! The plane and the server are threads of their own: the processor time is the mesh's thread alone.
//! The memory is the whole process's, which is the plane's too for what it sends.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a bench reports")]

#[path = "support/counting.rs"]
mod counting;
#[path = "support/cpu.rs"]
mod cpu;

use std::{
    convert::Infallible,
    env,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use counting::{Counting, counted};
use cpu::{median, timed};
use http::{Request, Response};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::{Instant, sleep},
};
use tower_mesh::{
    Body, Mesh,
    control::xds::{Bootstrap, Server, Xds},
    testing::xds::{AdsServer, EDS, Resource},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rounds of which the median counts.
const ROUNDS: u32 = 21;
/// After this long without work a change has settled.
const QUIET: Duration = Duration::from_millis(60);
const BIG: usize = 10_000;

fn main() {
    // `pushes`, `clusters`, `starts`; all, if none is named.
    let only: Vec<String> = env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    let is_wanted = |part: &str| only.is_empty() || only.iter().any(|it| it == part);
    let world = World::start();
    for delta in [false, true].into_iter().filter(|_| is_wanted("pushes")) {
        let protocol = if delta { "delta" } else { "sotw" };
        let (first, changed, replaced) = world.pushes(delta);
        println!("xds.push_10k_us.{protocol} {:.1}", micros(first));
        println!("xds.replace_10k_us.{protocol} {:.1}", micros(replaced));
        println!("xds.change_1_of_10k_us.{protocol} {:.1}", micros(changed));
    }
    if is_wanted("clusters") {
        println!("xds.clusters_1k_mb {:.2}", world.clusters(1_000, 10));
    }
    if is_wanted("starts") {
        println!("xds.cold_start_ms {:.2}", world.first_answer(&[world.plane.uri()]) * 1e3);
        let dead = nobody().to_string();
        println!("xds.fallback_ms {:.2}", world.first_answer(&[dead, world.plane.uri()]) * 1e3);
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A control plane and a server, on a thread of their own.
struct World {
    plane: Arc<AdsServer>,
    server: SocketAddr,
    /// Their thread's.
    runtime: Handle,
}

impl World {
    fn start() -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            runtime().block_on(async {
                let plane = Arc::new(AdsServer::start().await.unwrap());
                let server = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                let (address, runtime) = (server.local_addr().unwrap(), Handle::current());
                sender.send(Self { plane, server: address, runtime }).unwrap();
                serve(server).await;
            });
        });
        receiver.recv().unwrap()
    }

    /// Processor time of the first push of 10k endpoints to a name in use, of one endpoint changed among
    /// them, and of all replaced.
    fn pushes(&self, delta: bool) -> (Duration, Duration, Duration) {
        let runtime = runtime();
        let (mut first, mut changed, mut replaced) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let name = format!("big-{delta}-{round}");
            let cluster = format!("{name}-cluster");
            self.plane.set(Resource::chain(&name, [self.server]));
            let mesh = mesh(&runtime, &[self.plane.uri()], &name, delta);
            let client = mesh.client(&name).unwrap();
            runtime.block_on(mesh.ready()).unwrap();
            let push = |from: usize, count: usize, other: usize| {
                let all = (from..from + count - other).chain(2 * BIG..2 * BIG + other);
                let seen = self.plane.acks(EDS).len();
                let resource = Resource::endpoints(cluster.as_str(), all.map(address));
                self.plane.set([resource]);
                let plane = Arc::clone(&self.plane);
                let accepted = self.runtime.spawn(async move {
                    plane.until(|plane| plane.acks(EDS).len() > seen).await;
                });
                let wait = async {
                    accepted.await.unwrap();
                    sleep(QUIET).await;
                };
                let took = timed(|| runtime.block_on(wait)).1;
                let known = mesh.describe().to_string();
                let last = if other == 0 { from + count - 1 } else { 2 * BIG + other - 1 };
                assert!(known.contains(&address(last).to_string()), "it is not in force");
                took
            };
            first.push(push(0, BIG, 0));
            changed.push(push(0, BIG, 1));
            replaced.push(push(BIG, BIG, 0));
            drop((client, mesh));
        }
        (median(first), median(changed), median(replaced))
    }

    /// Megabytes that a mesh holds of one service over so many clusters.
    fn clusters(&self, clusters: usize, each: usize) -> f64 {
        let names = || (0..clusters).map(|n| format!("many-{n}"));
        let mut all = vec![
            Resource::listener("many", "many"),
            Resource::split("many", "*", names().map(|name| (name, 1))),
        ];
        for (n, name) in names().enumerate() {
            all.push(Resource::cluster(name.as_str()));
            all.push(Resource::endpoints(name, (n * each..(n + 1) * each).map(address)));
        }
        self.plane.set(all);
        let runtime = runtime();
        let (kept, counted) = counted(|| {
            let mesh = mesh(&runtime, &[self.plane.uri()], "many", false);
            let client = mesh.client("many").unwrap();
            runtime.block_on(async {
                mesh.ready().await.unwrap();
                sleep(QUIET).await;
            });
            (mesh, client)
        });
        drop(kept);
        #[expect(clippy::cast_precision_loss, reason = "a report")]
        let megabytes = counted.live as f64 / 1e6;
        megabytes
    }

    /// Seconds from the first word of a builder to the answer of its first call.
    fn first_answer(&self, planes: &[String]) -> f64 {
        self.plane.set(Resource::chain("cold", [self.server]));
        let rounds = (0..ROUNDS).map(|round| {
            let runtime = runtime();
            let began = Instant::now();
            let node = format!("cold-{}-{round}", planes.len());
            let mesh = mesh(&runtime, planes, &node, false);
            let request = Request::get("http://cold/").body(Body::empty()).unwrap();
            let answer = runtime.block_on(mesh.http().send(request)).unwrap();
            assert!(answer.status().is_success());
            began.elapsed()
        });
        median(rounds.collect()).as_secs_f64()
    }
}

fn mesh(runtime: &Runtime, planes: &[String], node: &str, delta: bool) -> Mesh {
    let mut bootstrap = Bootstrap::builder().node_id(node);
    for plane in planes {
        bootstrap = bootstrap.server(Server::insecure(plane.as_str()).delta(delta));
    }
    let source = Xds::new(bootstrap.build().unwrap());
    let handle = runtime.handle().clone();
    Mesh::builder().runtime(handle).source(source).build().unwrap()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn address(n: usize) -> SocketAddr {
    let n = u32::try_from(n).unwrap();
    (Ipv4Addr::from_bits(0x0a00_0000 + n), 80).into()
}

/// A port that nobody listens at.
fn nobody() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

async fn serve(server: tokio::net::TcpListener) {
    loop {
        let (stream, _) = server.accept().await.unwrap();
        let answer = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::from("here"))));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}
