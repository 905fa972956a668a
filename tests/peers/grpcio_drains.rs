//! C-core replicas that leave, age and limit their streams, under load.

use std::{fs, time::Duration};

use tower_mesh::{Client, Mesh, config::Retry};

use crate::{
    grpcio::{Grpcio, count, say},
    load::Load,
    nginx::at,
    program::{folder, scale, seconds},
    tally::Tally,
};

/// Unary calls, a tenth of them slow, and streams.
async fn mixed(client: Client, number: usize) -> Result<String, String> {
    match number % 10 {
        0 => count(client, 20, 1).await,
        1 => say(client, "sleep 20".into()).await,
        _ => say(client, "who".into()).await,
    }
}

fn report(what: &str, load: &Load, tally: &Tally) {
    println!(
        "C-core, {what}: {} calls, {} failed, by {:?}; {}",
        load.calls(),
        load.failures.len(),
        load.answers,
        tally.line()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_stop_and_come_back() {
    let mut replicas = vec![Grpcio::start("a", &[]).await, Grpcio::start("b", &[]).await];
    let ports: Vec<u16> = replicas.iter().map(|replica| replica.port).collect();
    let mesh = Mesh::builder()
        .endpoints("greeter", ports.iter().map(|port| at(*port)))
        // A C-core server answers CANCELLED to what it has accepted a moment before it stops.
        .service("greeter", |s| s.retry(Retry::idempotent().on_grpc([1, 14])))
        .build()
        .unwrap();
    let (client, tally) = (mesh.client("greeter").unwrap(), Tally::of(&mesh));
    let stops = async {
        for round in 0..3 * scale() {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let leaving = replicas.remove(0);
            let port = leaving.port;
            leaving.stop().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            replicas.push(Grpcio::start_at(port, &format!("again-{round}"), &[]).await);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let (load, ()) = Load::during(8, move |n| mixed(client.clone(), n), stops).await;
    report("replicas stop and come back", &load, &tally);
    load.assert_none_failed(100);
    assert!(tally.count("disconnected") >= 3, "{}", tally.line());
    assert!(load.answers.keys().any(|name| name.starts_with("again")), "{:?}", load.answers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_a_file_takes_out_and_in() {
    let (a, b) = (Grpcio::start("a", &[]).await, Grpcio::start("b", &[]).await);
    let dir = folder();
    let path = dir.path().join("mesh.yaml");
    let write = |ports: &[u16]| {
        let endpoints: Vec<_> =
            ports.iter().map(|port| format!("{{address: \"127.0.0.1:{port}\"}}")).collect();
        let text = format!("clusters: {{greeter: {{endpoints: [{}]}}}}\n", endpoints.join(", "));
        let next = path.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, &path).unwrap();
    };
    write(&[a.port]);
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let (client, tally) = (mesh.client("greeter").unwrap(), Tally::of(&mesh));
    let (mut a, mut b) = (Some(a), b);
    let edits = async {
        for round in 0..4 * scale() {
            // Out of the file, then stopped; another one started, then into the file.
            write(&[b.port]);
            tokio::time::sleep(Duration::from_millis(200)).await;
            if let Some(a) = a.take() {
                a.stop().await;
            }
            let next = Grpcio::start(&format!("{round}"), &[]).await;
            write(&[b.port, next.port]);
            tokio::time::sleep(Duration::from_millis(300)).await;
            a = Some(std::mem::replace(&mut b, next));
        }
    };
    let (load, ()) = Load::during(8, move |n| mixed(client.clone(), n), edits).await;
    report("a file takes them out and in", &load, &tally);
    load.assert_none_failed(300);
    let rounds = usize::try_from(4 * scale()).unwrap();
    assert!(load.answers.len() >= rounds, "each answered: {:?}", load.answers);
    assert!(tally.count("disconnected, draining") + 1 >= rounds, "{}", tally.line());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_reach_their_greatest_age() {
    let options = ["grpc.max_connection_age_ms=150", "grpc.max_connection_age_grace_ms=5000"];
    let server = Grpcio::start("aging", &options).await;
    let mesh = Mesh::builder().endpoints("greeter", [at(server.port)]).build().unwrap();
    let (client, tally) = (mesh.client("greeter").unwrap(), Tally::of(&mesh));
    let wait = tokio::time::sleep(seconds(4));
    let (load, ()) = Load::during(8, move |n| mixed(client.clone(), n), wait).await;
    report("connections of 150 ms", &load, &tally);
    load.assert_none_failed(100);
    assert!(tally.count("disconnected, closed by peer") >= 4, "{}", tally.line());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_stream_limit_opens_more_connections() {
    let server = Grpcio::start("small", &["grpc.max_concurrent_streams=4"]).await;
    // The server counts a stream a moment longer than we do, and refuses the next: that is sent again.
    let mesh = Mesh::builder().endpoints("greeter", [at(server.port)]).build().unwrap();
    let (client, tally) = (mesh.client("greeter").unwrap(), Tally::of(&mesh));
    let make = move |_| say(client.clone(), "sleep 20".into());
    let (load, ()) = Load::during(24, make, tokio::time::sleep(seconds(2))).await;
    report("four streams a connection, 24 callers", &load, &tally);
    load.assert_none_failed(100);
    assert!(tally.count("connected") >= 4, "{}", tally.line());
}
