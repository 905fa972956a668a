//! Servers that say how loaded they are, and picks that follow: three servers of unequal strength
//! behind `LoadReportLayer`, called in turns, by reported weights, and by Prequal.
//!
//! ```text
//! cargo run --example load_reports --features orca
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example talks and keeps short"
)]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tower::{Layer as _, service_fn};
use tower_mesh::{
    Body, BoxError, Mesh,
    config::{Balancer, ClientWeighted, Prequal},
    server::{LoadReportLayer, ServerLoad},
};

/// How many calls each works on at once.
const WORKERS: [usize; 3] = [8, 4, 1];
const WORK: Duration = Duration::from_millis(4);
const CALLERS: usize = 8;
const CALLS: usize = 1_500;

struct Server {
    address: SocketAddr,
    answered: Arc<AtomicUsize>,
}

/// A server of so many workers: what they cannot take waits for them.
async fn serve(workers: usize) -> Result<Server, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answered = Arc::new(AtomicUsize::new(0));
    let free = Arc::new(Semaphore::new(workers));
    let busy = Arc::clone(&free);
    // The layer measures calls in flight, latency and rates; this is what the application adds.
    let load = ServerLoad::builder()
        .application_utilization(move || {
            (workers - busy.available_permits()) as f64 / workers as f64
        })
        .build();
    let count = Arc::clone(&answered);
    let service = LoadReportLayer::new(load).layer(service_fn(move |_: Request<_>| {
        let (free, count) = (Arc::clone(&free), Arc::clone(&count));
        async move {
            let worker = free.acquire().await.unwrap();
            tokio::time::sleep(WORK).await;
            drop(worker);
            count.fetch_add(1, Relaxed);
            Ok::<_, Infallible>(Response::new(Body::from("done")))
        }
    }));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let io = TokioIo::new(stream);
                let _ended = Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
            });
        }
    });
    Ok(Server { address, answered })
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut weighted = ClientWeighted::default();
    // For production: 10 s, so that a new server is known before it counts.
    weighted.blackout = Some(Duration::ZERO);
    weighted.update = Some(Duration::from_millis(100));
    let policies = [
        ("in turns", Balancer::RoundRobin),
        ("by reported weights", Balancer::ClientWeighted(weighted)),
        ("Prequal", Balancer::Prequal(Prequal::default())),
    ];
    println!("servers of {WORKERS:?} workers, {CALLERS} callers");
    for (name, policy) in policies {
        let mut servers = Vec::new();
        for workers in WORKERS {
            servers.push(serve(workers).await?);
        }
        let mesh = Mesh::builder()
            .endpoints("work.prod", servers.iter().map(|server| server.address))
            .service("work.prod", |service| service.balancer(policy))
            .build()?;
        let client = mesh.client("work.prod")?;
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let client = client.clone();
            callers.spawn(async move {
                let mut took = Vec::new();
                for _ in 0..CALLS / CALLERS {
                    let began = tokio::time::Instant::now();
                    let request = Request::get("/").body(Body::empty()).unwrap();
                    let answer = client.send(request).await.unwrap();
                    answer.into_body().text().await.unwrap();
                    took.push(began.elapsed());
                }
                took
            });
        }
        let mut took: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
        took.sort();
        let answered: Vec<_> =
            servers.iter().map(|server| server.answered.load(Relaxed) * 100 / took.len()).collect();
        println!(
            "{name:20} shares {answered:?} %, p50 {:.1?}, p99 {:.1?}",
            took[took.len() / 2],
            took[took.len() * 99 / 100],
        );
        mesh.shutdown(Duration::from_secs(1)).await;
    }
    Ok(())
}
