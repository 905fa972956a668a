//! `Mesh::from_env`: the file that `MESH_CONFIG` names, in a process that has it in its
//! environment from the start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{env, fs, process::Stdio, time::Duration};

use tokio::io::{AsyncBufReadExt, BufReader};
use tower_mesh::{ErrorKind, Mesh};

use crate::support::{Server, get};

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
    let client = mesh.client("users").unwrap();
    let answer = async || {
        let reply = client.send(get("/")).await.unwrap();
        reply.into_body().text().await.unwrap()
    };
    println!("answered by {}", answer().await);
    // Somebody edits the file.
    if let Ok(expected) = env::var("TEST_UNTIL") {
        crate::support::patience(async {
            while answer().await != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        println!("answered by {expected}");
    }
}

#[tokio::test]
async fn the_file_that_mesh_config_names_is_followed() {
    let (before, after) = (Server::named("the first").await, Server::named("the second").await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let write = |server: &Server| {
        let endpoint = format!("{{address: \"{}\"}}", server.address());
        fs::write(&path, format!("clusters:\n  users: {{endpoints: [{endpoint}]}}\n")).unwrap();
    };
    write(&before);
    let mut child = tokio::process::Command::new(env::current_exe().unwrap())
        .args(["--exact", "from_env::the_environment_decides", "--nocapture"])
        .env("MESH_CONFIG", &path)
        .env("TEST_UNTIL", "the second")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = async |expected: &str| {
        let line = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(expected) {
                    return;
                }
            }
            panic!("the child has not said: {expected}");
        };
        crate::support::patience(line).await;
    };
    until("answered by the first").await;
    write(&after);
    until("answered by the second").await;
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_file_that_is_not_there_is_told_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let child = tokio::process::Command::new(env::current_exe().unwrap())
        .args(["--exact", "from_env::the_environment_decides", "--nocapture"])
        .env("MESH_CONFIG", dir.path().join("absent.yaml"))
        .output();
    let output = child.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("absent.yaml"), "{text}");
}

/// A file whose routes go by the label `kind` of the caller.
fn by_kind(batch: &Server, rest: &Server) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let text = format!(
        "services:
  users:
    routes:
      - {{matches: [{{caller: {{kind: batch, team: 'a,b'}}}}], clusters: [{{name: batch}}]}}
      - {{clusters: [{{name: rest}}]}}
clusters:
  batch: {{endpoints: [{{address: \"{}\"}}]}}
  rest: {{endpoints: [{{address: \"{}\"}}]}}
",
        batch.address(),
        rest.address()
    );
    fs::write(&path, text).unwrap();
    (dir, path)
}

#[tokio::test]
async fn labels_of_the_environment_choose_routes() {
    let (batch, rest) = (Server::named("the batch").await, Server::named("the rest").await);
    let (_dir, path) = by_kind(&batch, &rest);
    for (labels, expected) in [
        (Some("kind=batch,team=a%2Cb"), "answered by the batch"),
        (Some("kind=batch"), "answered by the rest"),
        (Some("kind=web,team=a%2Cb"), "answered by the rest"),
        (None, "answered by the rest"),
    ] {
        let mut child = tokio::process::Command::new(env::current_exe().unwrap());
        child.args(["--exact", "from_env::the_environment_decides", "--nocapture"]);
        child.env("MESH_CONFIG", &path).env_remove("MESH_LABELS");
        child.envs(labels.map(|labels| ("MESH_LABELS", labels)));
        let output = child.output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(expected), "{labels:?}: {text}");
    }
}

#[tokio::test]
async fn labels_that_are_none_fail_the_build() {
    let (batch, rest) = (Server::named("the batch").await, Server::named("the rest").await);
    let (_dir, path) = by_kind(&batch, &rest);
    let child = tokio::process::Command::new(env::current_exe().unwrap())
        .args(["--exact", "from_env::the_environment_decides", "--nocapture"])
        .env("MESH_CONFIG", &path)
        .env("MESH_LABELS", "kind=batch,team")
        .output();
    let output = child.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("MESH_LABELS = team: must be `name=value`"), "{text}");
    let error = Mesh::builder().config_file(&path).label("", "x").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("label = x: a label has a name"), "{error}");
}

#[tokio::test]
async fn labels_of_the_code_choose_routes_and_are_told() {
    let (batch, rest) = (Server::named("the batch").await, Server::named("the rest").await);
    let (_dir, path) = by_kind(&batch, &rest);
    let builder = || Mesh::builder().config_file(&path);
    for (mesh, expected) in [
        (builder().label("kind", "batch").label("team", "a,b"), "the batch"),
        (builder().label("kind", "web").label("team", "a,b"), "the rest"),
    ] {
        let mesh = mesh.build().unwrap();
        let reply = mesh.client("users").unwrap().send(get("/")).await.unwrap();
        assert_eq!(reply.into_body().text().await.unwrap(), expected);
        let told = mesh.describe().to_string();
        assert!(told.contains("label.team = a,b (code)"), "{told}");
    }
}
