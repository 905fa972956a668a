//! nginx is reloaded gracefully while calls go on.

use std::time::Duration;

use http::Version;
use tower_mesh::{Mesh, config::Retry};

use crate::{
    load::Load,
    nginx::{Nginx, at, call, request},
    program::scale,
    tally::Tally,
};

/// Over HTTP/2 nginx says what it has not worked on, and of undeclared POSTs only that is sent again.
/// Over HTTP/1.1 it closes the connection without a word, so POSTs that may not be repeated are not part of that
/// load: see the README.
async fn reloads(version: Version, retry: Retry) {
    let nginx = Nginx::start("keepalive_requests 1000;").await;
    let port = if version == Version::HTTP_2 { nginx.http2 } else { nginx.http1 };
    let mesh = Mesh::builder()
        .endpoints("web", [at(port)])
        .service("web", |s| s.retry(retry))
        .build()
        .unwrap();
    let (client, tally) = (mesh.client("web").unwrap(), Tally::of(&mesh));
    let rounds = 4 * scale();
    let reload = async {
        for _ in 0..rounds {
            tokio::time::sleep(Duration::from_millis(500)).await;
            nginx.reload().await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let make = move |number| call(client.clone(), request(number, version));
    let (load, ()) = Load::during(16, make, reload).await;
    println!(
        "nginx, {version:?}, {rounds} reloads: {} calls, {} failed, by {} workers; {}",
        load.calls(),
        load.failures.len(),
        load.first_words(),
        tally.line()
    );
    load.assert_none_failed(200);
    let workers = usize::try_from(rounds).unwrap() + 1;
    assert!(load.first_words() >= workers, "{} workers answered", load.first_words());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_calls_do_not_notice() {
    reloads(Version::HTTP_11, Retry::idempotent()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_calls_do_not_notice() {
    reloads(Version::HTTP_2, Retry::default()).await;
}
