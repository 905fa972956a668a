//! Minutes of random faults over real servers: no idempotent call fails while one endpoint is
//! well, and nothing grows.
//!
//! Not part of `cargo test`: `cargo test --release --all-features --test soak -- --nocapture`.
//! `SOAK_SECONDS` (default 60) and `SOAK_SEED` (default 1) are read from the environment.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it saw"
)]

mod callers;
mod faults;
mod footprint;
mod replica;
#[path = "../support/mod.rs"]
mod support;

use std::{env, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet, time::Instant};
use tower_mesh::Mesh;

use self::{callers::Tally, faults::Chaos, footprint::Footprint, support::Recorder};

/// Callers of each kind.
const WIDTH: usize = 4;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_and_nothing_grows() {
    let (seconds, seed) = (setting("SOAK_SECONDS", 60), setting("SOAK_SEED", 1));
    let dir = tempfile::tempdir().unwrap();
    let mut chaos = Chaos::new(dir.path().join("mesh.yaml"), seed).await;
    let before = Footprint::now();
    let mesh = Mesh::builder().config_file(chaos.file()).build().unwrap();
    mesh.ready().await.unwrap();

    let tally = Arc::new(Tally::default());
    let stop = watch::Sender::new(false);
    let mut tasks = JoinSet::new();
    for number in 0..WIDTH {
        callers::spawn(&mut tasks, &mesh, &tally, &stop, number);
    }
    let retries = tokio::spawn(count_retries(Recorder::of(&mesh), stop.subscribe()));

    let end = Instant::now() + Duration::from_secs(seconds);
    // What grows in the first quarter is warming up.
    let warm = Instant::now() + Duration::from_secs(seconds) / 4;
    let mut memory = None;
    while Instant::now() < end {
        chaos.strike().await;
        if memory.is_none() && Instant::now() > warm {
            memory = Some(Footprint::now().memory_kib);
        }
    }
    let during = Footprint::now();
    stop.send_replace(true);
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    chaos.calm().await;
    let retries = retries.await.unwrap();
    mesh.shutdown(Duration::from_secs(5)).await;
    drop(mesh);
    let after = Footprint::settled(&before).await;
    let grown = during.memory_kib.saturating_sub(memory.unwrap_or(during.memory_kib));

    println!(
        "soak: {seconds} s, seed {seed}: {tally}, {retries} retries, {chaos}; tasks {} before and \
         {} after, descriptors {} and {} ({} under load), memory grew by {grown} KiB",
        before.tasks, after.tasks, before.descriptors, after.descriptors, during.descriptors,
    );
    tally.assert_none_failed();
    assert!(after.tasks <= before.tasks, "tasks stay behind");
    assert!(after.descriptors <= before.descriptors, "descriptors stay behind");
    assert!(grown < 24 * 1024, "memory grew by {grown} KiB");
}

async fn count_retries(mut recorder: Recorder, mut stop: watch::Receiver<bool>) -> usize {
    let mut retries = 0;
    while !*stop.borrow_and_update() {
        let pause = tokio::time::sleep(Duration::from_millis(50));
        drop(tokio::select! { () = pause => Ok(()), changed = stop.changed() => changed });
        retries += recorder.take_retries();
    }
    retries
}
