//! haproxy between us and the servers, reloaded while calls go on.

use std::time::Duration;

use http::Version;
use tower_mesh::{Client, Mesh};

use crate::{
    grpcio::{Grpcio, count, say},
    haproxy::Haproxy,
    load::Load,
    nginx::{Nginx, at, call, request},
    program::scale,
    tally::Tally,
};

/// Calls while haproxy is reloaded; none is declared idempotent.
async fn reloads(what: &str, haproxy: &mut Haproxy, port: u16, kind: Kind) -> Load {
    let mesh = Mesh::builder().endpoints("proxied", [at(port)]).build().unwrap();
    let (client, tally) = (mesh.client("proxied").unwrap(), Tally::of(&mesh));
    let rounds = 3 * scale();
    let reload = async {
        for _ in 0..rounds {
            tokio::time::sleep(Duration::from_millis(500)).await;
            haproxy.reload().await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let make = move |number| one(client.clone(), kind, number);
    let (load, ()) = Load::during(8, make, reload).await;
    println!(
        "haproxy, {what}, {rounds} reloads: {} calls, {} failed; {}",
        load.calls(),
        load.failures.len(),
        tally.line()
    );
    load.assert_none_failed(100);
    // Each old process has ended, which it does only without connections.
    assert!(tally.count("disconnected") >= usize::try_from(rounds).unwrap(), "{}", tally.line());
    load
}

#[derive(Clone, Copy)]
enum Kind {
    Web(Version),
    Grpc,
}

async fn one(client: Client, kind: Kind, number: usize) -> Result<String, String> {
    match kind {
        Kind::Web(version) => call(client, request(number, version)).await,
        Kind::Grpc if number.is_multiple_of(10) => count(client, 20, 1).await,
        Kind::Grpc => say(client, "who".into()).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_nginx() {
    let (a, b) = (Nginx::start("keepalive_requests 50;").await, Nginx::start("").await);
    let mut haproxy = Haproxy::start(&[a.http1, b.http1], &[]).await;
    for (what, port, version) in
        [("HTTP/1.1", haproxy.http1, Version::HTTP_11), ("HTTP/2", haproxy.http2, Version::HTTP_2)]
    {
        let load = reloads(what, &mut haproxy, port, Kind::Web(version)).await;
        assert!(load.first_words() >= 2, "both nginx answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_greeters() {
    let (a, b) = (Grpcio::start("a", &[]).await, Grpcio::start("b", &[]).await);
    let mut haproxy = Haproxy::start(&[], &[a.port, b.port]).await;
    let port = haproxy.grpc;
    let load = reloads("gRPC", &mut haproxy, port, Kind::Grpc).await;
    let (a, b) = (load.answers["a"], load.answers["b"]);
    assert!(a.abs_diff(b) * 5 < a + b, "in turn: {a} and {b}");
}
