//! A hundred thousand endpoints, all of which are replaced again and again: traffic flows on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tower_mesh::{
    Mesh,
    config::{Address, Balancer, RingHash},
};

use support::{cluster, fetch, get, published, raw::read_head};

const COUNT: u32 = 100_000;
const ROUNDS: u32 = 20;
const PERIOD: Duration = Duration::from_millis(100);

/// One server that every address of 127.0.0.0/8 leads to, and how many connections are open to it.
async fn server() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let (port, open) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&open);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                count.fetch_add(1, SeqCst);
                answer(stream).await;
                count.fetch_sub(1, SeqCst);
            });
        }
    });
    (port, open)
}

async fn answer(mut stream: TcpStream) {
    while read_head(&mut stream).await {
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

/// The endpoints of a round: none of them is in another one.
fn endpoints(round: u32, port: u16) -> Vec<Address> {
    let first = u32::from(Ipv4Addr::new(127, 1, 0, 0)) + round * COUNT;
    let addresses = (first..first + COUNT).map(Ipv4Addr::from_bits);
    addresses.map(|address| SocketAddr::from((address, port)).into()).collect()
}

async fn replaced_under_load(balancer: Balancer) {
    let (port, open) = server().await;
    let (mesh, publish) = published(Mesh::builder(), |publish| {
        let mut cluster = cluster(endpoints(0, port));
        cluster.balancer = Some(balancer);
        publish.cluster("users", cluster).unwrap();
    })
    .await;
    let client = mesh.client("users").unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (client, done) = (client.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut calls = 0_usize;
                while !done.load(SeqCst) {
                    let answer = fetch(&client, get("/")).await.expect("no call fails");
                    assert_eq!(answer.status(), 200);
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let publisher = tokio::task::spawn_blocking(move || {
        for round in 1..=ROUNDS {
            let began = tokio::time::Instant::now();
            publish.endpoints("users", endpoints(round, port)).unwrap();
            std::thread::park_timeout(PERIOD.saturating_sub(began.elapsed()));
        }
        publish
    });
    let publish = publisher.await.unwrap();
    done.store(true, SeqCst);
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    assert!(calls > 500, "{calls} calls beside {ROUNDS} replacements");
    // What was called of those that are gone is closed.
    publish.endpoints("users", endpoints(ROUNDS + 1, port).into_iter().take(1)).unwrap();
    fetch(&client, get("/")).await.unwrap();
    for _ in 0..100 {
        if open.load(SeqCst) <= 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} connections are open to endpoints that are gone", open.load(SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_endpoints_replaced_ten_times_a_second_fail_no_call() {
    replaced_under_load(Balancer::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_do_those_of_a_ring() {
    replaced_under_load(Balancer::RingHash(RingHash::default())).await;
}
