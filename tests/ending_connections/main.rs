//! Servers that end their connections at any moment and in every way: no call waits for ever.
//!
//! A few seconds here; `ENDINGS_SECONDS` makes it longer, and keeps the machine busy beside it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and tells its figures"
)]

mod http1;
mod http2;
#[path = "../support/mod.rs"]
mod support;

use std::{
    env,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use http::{Request, Version};
use tokio::{net::TcpStream, runtime::Builder, task::JoinSet, time::Instant};
use tower_mesh::{Body, Client, Mesh, config::Retry};

use support::{RawServer, cluster, fetch, get, one_cluster, over, post};

/// No call takes so long, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(10);
const WIDTH: usize = 64;
const SERVERS: usize = 3;

/// What calls came to.
#[derive(Debug, Default)]
struct Outcomes {
    answered: AtomicUsize,
    failed: AtomicUsize,
}

fn seconds() -> Option<u64> {
    env::var("ENDINGS_SECONDS").ok().and_then(|text| text.parse().ok())
}

/// A mesh in front of these servers, which neither avoids them nor has connections for all callers.
async fn mesh(servers: &[RawServer]) -> Mesh {
    let mut users = cluster(servers.iter().map(RawServer::address));
    let transport = &mut users.transport;
    transport.connect_backoff_base = Some(Duration::from_millis(1));
    transport.connect_backoff_max = Some(Duration::from_millis(2));
    transport.http1_max_connections = Some(8);
    let builder = one_cluster(users).service("users", |s| s.retry(Retry::idempotent()));
    let mesh = builder.build().unwrap();
    mesh.ready().await.unwrap();
    mesh
}

/// One call after the other, until it is over.
async fn calls(client: Client, version: Version, over_at: Instant, outcomes: Arc<Outcomes>) {
    let mut number = 0;
    while Instant::now() < over_at {
        number += 1;
        let request: Request<Body> = if number % 2 == 0 { get("/") } else { post("/", "hello") };
        let mut call = pin!(fetch(&client, over(version, request)));
        let Ok(ended) = tokio::time::timeout(PATIENCE, call.as_mut()).await else {
            // If one more look finds something, nobody has been woken for it.
            let found = tokio::time::timeout(Duration::from_millis(1), call).await;
            panic!("a call has hung for {PATIENCE:?}; another poll finds {found:?}");
        };
        let counted = if ended.is_ok() { &outcomes.answered } else { &outcomes.failed };
        counted.fetch_add(1, SeqCst);
    }
}

/// Servers of such connections, and callers, on more threads than there are processors.
fn no_call_hangs<F, Fut>(version: Version, script: F)
where
    F: Fn(TcpStream, fastrand::Rng) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let elsewhere = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let servers: Vec<RawServer> = (0..SERVERS)
        .map(|server| {
            elsewhere.block_on(RawServer::start(move |stream, number| {
                let seed = u64::try_from(number * SERVERS + server).unwrap();
                script(stream, fastrand::Rng::with_seed(seed))
            }))
        })
        .collect();
    let processors = thread::available_parallelism().map_or(2, usize::from);
    let busy = Arc::new(AtomicBool::new(seconds().is_some()));
    let mut load = Vec::new();
    for _ in 0..processors {
        let busy = Arc::clone(&busy);
        load.push(thread::spawn(move || while busy.load(SeqCst) {}));
    }
    let outcomes = Arc::<Outcomes>::default();
    let runtime =
        Builder::new_multi_thread().worker_threads(4 * processors).enable_all().build().unwrap();
    runtime.block_on(async {
        let mesh = mesh(&servers).await;
        let over_at = Instant::now() + Duration::from_secs(seconds().unwrap_or(3));
        let mut callers = JoinSet::new();
        for _ in 0..WIDTH {
            let client = mesh.client("users").unwrap();
            callers.spawn(calls(client, version, over_at, Arc::clone(&outcomes)));
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
    });
    busy.store(false, SeqCst);
    load.into_iter().for_each(|busy| busy.join().unwrap());
    let connections: usize = servers.iter().map(RawServer::connections).sum();
    eprintln!("{version:?}: {outcomes:?}, {connections} connections");
    assert!(outcomes.answered.load(SeqCst) > 200, "{outcomes:?}");
    assert!(connections > 200, "{connections} connections");
    elsewhere.shutdown_background();
}

#[test]
fn no_http1_call_hangs_however_its_connection_ends() {
    no_call_hangs(Version::HTTP_11, http1::converse);
}

#[test]
fn no_http2_call_hangs_however_its_connection_ends() {
    no_call_hangs(Version::HTTP_2, http2::converse);
}
