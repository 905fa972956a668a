//! `Mesh::from_env`: the file that `MESH_CONFIG` names, in a process that has it in its
//! environment from the start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{env, fs};

use tower_mesh::{ErrorKind, Mesh};

use support::{Server, get};

/// In the child it calls through the file's mesh; in a process without the variable it learns so.
#[tokio::test]
async fn the_environment_decides() {
    let mesh = Mesh::from_env();
    if env::var_os("MESH_CONFIG").is_none() {
        let error = mesh.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("MESH_CONFIG"), "{error}");
        return;
    }
    let mesh = mesh.unwrap();
    mesh.ready().await.unwrap();
    let reply = mesh.client("users").unwrap().send(get("/")).await.unwrap();
    println!("answered by {}", reply.into_body().text().await.unwrap());
}

#[tokio::test]
async fn the_file_that_mesh_config_names_is_followed() {
    let server = Server::named("users of the environment").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let endpoint = format!("{{address: \"{}\"}}", server.address());
    fs::write(&path, format!("clusters:\n  users: {{endpoints: [{endpoint}]}}\n")).unwrap();
    let child = tokio::process::Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_environment_decides", "--nocapture"])
        .env("MESH_CONFIG", &path)
        .output();
    let output = child.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("answered by users of the environment"), "{text}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_told_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let child = tokio::process::Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_environment_decides", "--nocapture"])
        .env("MESH_CONFIG", dir.path().join("absent.yaml"))
        .output();
    let output = child.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("absent.yaml"), "{text}");
}
