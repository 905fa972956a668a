//! Bad configuration: reported with field, value and range; the last good state stays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod builds;
mod files;
mod names;
mod parts;
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::{fs, path::Path, time::Duration};

use tower_mesh::{Event, Mesh};

use support::{Recorder, Server, get, patience};

/// Replaces a file as editors and tools do.
fn rename_over(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

fn cluster(server: &Server) -> String {
    format!("users: {{endpoints: [{{address: \"{}\"}}]}}", server.address())
}

async fn answered(mesh: &Mesh) -> String {
    let answer = patience(mesh.http().send(get("http://users/"))).await.unwrap();
    answer.into_body().text().await.unwrap()
}

/// Builds a mesh over this file and returns what was refused.
async fn refused(text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let mut events = Recorder::of(&mesh);
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    events.refused()
}

/// Ends when nothing is refused any more.
async fn mended(mesh: &Mesh) {
    while mesh.ready().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A file, a mesh over it that has read it, and its events.
async fn over(text: &str) -> (tempfile::TempDir, std::path::PathBuf, Mesh, Recorder) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let events = Recorder::of(&mesh);
    drop(patience(mesh.ready()).await);
    (dir, path, mesh, events)
}
