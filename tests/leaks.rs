//! Ten thousand meshes come and go: no task, socket, thread or memory stays behind.
//!
//! One test only, for it measures the whole process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{fs, time::Duration};

use tokio::runtime::Handle;
use tower_mesh::Mesh;

use support::{Server, get};

const CYCLES: usize = 10_000;

fn entries(path: &str) -> usize {
    fs::read_dir(path).unwrap().count()
}

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a mesh could leave behind: tasks, file descriptors, threads.
fn footprint() -> (usize, usize, usize) {
    (
        Handle::current().metrics().num_alive_tasks(),
        entries("/proc/self/fd"),
        entries("/proc/self/task"),
    )
}

/// Waits until nothing of the last mesh is left, for at most five seconds.
async fn settled(before: (usize, usize, usize)) -> (usize, usize, usize) {
    for _ in 0..500 {
        let now = footprint();
        if now.0 <= before.0 && now.1 <= before.1 && now.2 <= before.2 {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    footprint()
}

async fn cycle(server: &Server, n: usize) {
    let mesh = Mesh::builder()
        .endpoints("users.prod", [server.address()])
        .endpoints("orders.prod", [server.address()])
        .build()
        .unwrap();
    let client = mesh.client("users.prod").unwrap();
    // Of those that have made a call, half are shut down.
    if n % 20 < 2 {
        client.send(get("/")).await.unwrap().into_body().bytes().await.unwrap();
    }
    if n.is_multiple_of(2) {
        mesh.shutdown(Duration::from_secs(1)).await;
    }
    // Every other one is only dropped.
}

#[tokio::test]
async fn nothing_stays_behind() {
    let server = Server::named("hello").await;
    for n in 0..1000 {
        cycle(&server, n).await;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "clusters: {a: {endpoints: []}}\n").unwrap();
    let before = footprint();

    let memory = resident_kib();
    for n in 1000..CYCLES {
        cycle(&server, n).await;
    }
    let after = settled(before).await;
    assert!(after.0 <= before.0, "tasks: {} before, {} after", before.0, after.0);
    assert!(after.1 <= before.1, "file descriptors: {} before, {} after", before.1, after.1);
    assert!(after.2 <= before.2, "threads: {} before, {} after", before.2, after.2);
    let grown = resident_kib().saturating_sub(memory);
    assert!(grown <= 8 * 1024, "grew by {grown} KiB in {} cycles", CYCLES - 1000);

    for _ in 0..50 {
        let mesh = Mesh::builder().config_file(file.path()).build().unwrap();
        mesh.ready().await.unwrap();
        mesh.shutdown(Duration::from_secs(1)).await;
    }
    let after = settled(before).await;
    // Tokio keeps the threads of its blocking pool for ten seconds; they are not ours.
    assert!(after.0 <= before.0, "watched files leave tasks: {before:?}, {after:?}");
    assert!(after.1 <= before.1, "watched files leave descriptors: {before:?}, {after:?}");
    assert!(after.2 <= before.2 + 4, "watched files leave threads: {before:?}, {after:?}");
}
