//! A mesh that nobody calls wakes nobody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tower_mesh::Mesh;

use support::{GreeterClient, HelloRequest, Server, get, hello, storm};

const MINUTE: Duration = Duration::from_secs(60);

/// How often the one worker went to sleep again within a minute, and so was woken.
async fn wakes_in_a_minute() -> u64 {
    let metrics = Handle::current().metrics();
    let before = metrics.worker_park_count(0);
    tokio::time::sleep(MINUTE).await;
    metrics.worker_park_count(0) - before
}

#[test]
fn no_wake_ups_while_idle() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let http = Server::named("hello").await;
        let grpc = Server::grpc(hello(|_| async { Ok("hello".into()) })).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            format!("clusters: {{spare: {{endpoints: [{{address: \"{}\"}}]}}}}", http.address()),
        )
        .unwrap();

        tokio::time::pause();
        let baseline = wakes_in_a_minute().await;
        tokio::time::resume();

        let mesh = Mesh::builder()
            .config_file(file.path())
            .endpoints("users.prod", [http.address()])
            .endpoints("greeter.prod", [grpc.address()])
            .build()
            .unwrap();
        mesh.ready().await.unwrap();
        let users = mesh.client("users.prod").unwrap();
        let answers =
            storm(4, 100, |_| async { users.send(get("/")).await?.into_body().bytes().await })
                .await;
        assert!(answers.iter().all(Result::is_ok));
        let mut greeter = GreeterClient::new(mesh.client("greeter.prod").unwrap());
        for _ in 0..100 {
            greeter.say_hello(HelloRequest::default()).await.unwrap();
        }
        // Let the last frames and the watcher's first events pass.
        tokio::time::sleep(Duration::from_millis(300)).await;

        tokio::time::pause();
        let idle = wakes_in_a_minute().await;
        // A timer far away costs a handful of wake-ups of the wheel. A ticker of one second, or a
        // task that wakes itself, costs dozens to thousands.
        assert!(
            idle <= baseline + 24,
            "{idle} wake-ups in an idle minute, {baseline} without a mesh"
        );
    });
}
