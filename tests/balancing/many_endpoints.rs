//! A hundred thousand endpoints, all of which are replaced again and again: traffic flows on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it has measured"
)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst},
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

use crate::support::{cluster, fetch, get, published, raw::read_head};

const COUNT: u32 = 100_000;
const ROUNDS: u32 = 20;
/// How often they are replaced where the machine is fast enough; nothing is asserted of it.
const PERIOD: Duration = Duration::from_millis(100);
/// No bound that anybody is promised, but one against what takes for ever: a debug build beside other
/// work on two slow processors keeps it.
const MOST: Duration = Duration::from_secs(20);
/// The first address of round 0.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);

/// One server that every address of 127.0.0.0/8 leads to, and how many connections are open to it. It
/// answers with the round of the address that it was connected to by.
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
    let SocketAddr::V4(address) = stream.local_addr().unwrap() else {
        panic!("IPv6 was asked for")
    };
    let round = ((address.ip().to_bits() - FIRST.to_bits()) / COUNT).to_string();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{round}", round.len());
    while read_head(&mut stream).await {
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The endpoints of a round: none of them is in another one.
fn endpoints(round: u32, port: u16) -> Vec<Address> {
    let first = FIRST.to_bits() + round * COUNT;
    let addresses = (first..first + COUNT).map(Ipv4Addr::from_bits);
    addresses.map(|address| SocketAddr::from((address, port)).into()).collect()
}

async fn replaced_under_load(balancer: Balancer) {
    let (port, open) = server().await;
    let what = format!("{balancer:?}");
    let (mesh, publish) = published(Mesh::builder(), |publish| {
        let mut cluster = cluster(endpoints(0, port));
        cluster.balancer = Some(balancer);
        publish.cluster("users", cluster).unwrap();
    })
    .await;
    let client = mesh.client("users").unwrap();
    let done = Arc::new(AtomicBool::new(false));
    // The round that has been published: its endpoints, and nobody else's, are there.
    let applied = Arc::new(AtomicU32::new(0));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (client, done, applied) = (client.clone(), Arc::clone(&done), Arc::clone(&applied));
            tokio::spawn(async move {
                let mut calls = 0_usize;
                while !done.load(SeqCst) {
                    let known = applied.load(SeqCst);
                    let answer = fetch(&client, get("/")).await.expect("no call fails");
                    assert_eq!(answer.status(), 200);
                    let met: u32 = str::from_utf8(answer.body()).unwrap().parse().unwrap();
                    assert!(met >= known, "an endpoint of round {met} was called in round {known}");
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let whole = tokio::time::Instant::now();
    let publisher = tokio::task::spawn_blocking(move || {
        let mut times = Vec::new();
        for round in 1..=ROUNDS {
            let next = endpoints(round, port);
            let began = tokio::time::Instant::now();
            publish.endpoints("users", next).unwrap();
            applied.store(round, SeqCst);
            times.push(began.elapsed());
            std::thread::park_timeout(PERIOD.saturating_sub(began.elapsed()));
        }
        (publish, times)
    });
    let (publish, times) = publisher.await.unwrap();
    let whole = whole.elapsed();
    done.store(true, SeqCst);
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    let mean = times.iter().sum::<Duration>() / ROUNDS;
    let most = times.into_iter().max().unwrap();
    println!(
        "{what}: {ROUNDS} updates of {COUNT} endpoints in {whole:?}, {mean:?} each and {most:?} at most, \
         beside {calls} calls"
    );
    assert!(calls > 500, "{calls} calls beside {ROUNDS} replacements");
    assert!(most < MOST, "an update took {most:?}");
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
async fn a_hundred_thousand_endpoints_replaced_again_and_again_fail_no_call() {
    replaced_under_load(Balancer::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_do_those_of_a_ring() {
    replaced_under_load(Balancer::RingHash(RingHash::default())).await;
}
