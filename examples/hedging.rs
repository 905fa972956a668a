//! Hedging by one number: two replicas of which one call in forty takes 200 ms, called without and
//! with 3 % of extra load.
//!
//! ```text
//! cargo run --example hedging
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
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, task::JoinSet};
use tower_mesh::{Body, BoxError, Hedge, Mesh};

const CALLS: u32 = 2_000;
const WIDTH: u32 = 20;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let sent = Arc::new(AtomicU32::new(0));
    let replicas = [replica(&sent).await?, replica(&sent).await?];
    println!("{:>10} {:>8} {:>8} {:>8} {:>11}", "", "p50", "p99", "p99.9", "extra load");
    run(&replicas, &sent, None).await?;
    let extra = run(&replicas, &sent, Some(Hedge::within(3.0))).await?;
    assert!(extra <= 0.03, "no more than was allowed");
    Ok(())
}

/// Calls the replicas; tells the latencies, and gives the extra load.
async fn run(
    replicas: &[SocketAddr],
    sent: &Arc<AtomicU32>,
    hedge: Option<Hedge>,
) -> Result<f64, BoxError> {
    let name = if hedge.is_some() { "hedged" } else { "not hedged" };
    let mesh = Mesh::builder()
        .endpoints("users.prod", replicas.iter().copied())
        .service("users.prod", |s| match hedge {
            Some(hedge) => s.hedge(hedge),
            None => s,
        })
        .build()?;
    let client = mesh.client("users.prod")?;
    let before = sent.load(Ordering::SeqCst);
    let mut callers = JoinSet::new();
    for _ in 0..WIDTH {
        let client = client.clone();
        callers.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..CALLS / WIDTH {
                let began = tokio::time::Instant::now();
                let request = Request::get("/").body(Body::empty())?;
                client.send(request).await?.into_body().bytes().await?;
                times.push(began.elapsed());
            }
            Ok::<_, BoxError>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(caller) = callers.join_next().await {
        times.extend(caller??);
    }
    times.sort_unstable();
    let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
    let extra = f64::from(sent.load(Ordering::SeqCst) - before - CALLS) / f64::from(CALLS);
    println!(
        "{name:>10} {:>8.1?} {:>8.1?} {:>8.1?} {:>10.1}%",
        at(500),
        at(990),
        at(999),
        extra * 100.0
    );
    mesh.shutdown(Duration::ZERO).await;
    Ok(extra)
}

/// A server that takes 200 ms for one request of forty.
async fn replica(sent: &Arc<AtomicU32>) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, sent) = (listener.local_addr()?, Arc::clone(sent));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sent = Arc::clone(&sent);
            let service = hyper::service::service_fn(move |_| {
                let number = sent.fetch_add(1, Ordering::SeqCst);
                async move {
                    let slow = number % 40 == 39;
                    let wait = if slow { 200 } else { 3 + u64::from(number % 5) };
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                    Ok::<_, Infallible>(Response::new(Body::from("hello")))
                }
            });
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                // A connection that breaks is its client's business.
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Ok(address)
}
