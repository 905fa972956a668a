//! Mesh files that mean harm or nothing: each is refused with a reason, soon, and nothing panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, time::Duration};

use tower_mesh::Mesh;

use crate::support::{Server, fetch, get, patience};

/// What a mesh says to a file of this text: nothing, or why it is refused.
async fn verdict(text: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let verdict = patience(mesh.ready()).await.map_err(|error| error.to_string());
    patience(mesh.shutdown(Duration::ZERO)).await;
    verdict
}

async fn all_refused(texts: &[&str]) {
    for text in texts {
        let beginning = &text[..text.len().min(80)];
        assert!(verdict(text).await.is_err(), "accepted: {beginning}");
    }
}

#[tokio::test]
async fn what_is_said_twice_is_refused_and_not_decided_by_its_order() {
    all_refused(&[
        r#"{"clusters": {"s": {"endpoints": [{"address": "127.0.0.1:1"}]}, "s": {"endpoints": []}}}"#,
        "clusters:\n  s: {endpoints: [{address: \"127.0.0.1:1\"}]}\n  s: {endpoints: []}\n",
        "clusters:\n  s: {endpoints: []}\nclusters:\n  t: {endpoints: []}\n",
        "clusters:\n  s: {protocol: http1, protocol: http2, endpoints: []}\n",
        "clusters:\n  s: {endpoints: []}\n---\nclusters:\n  t: {endpoints: []}\n",
    ])
    .await;
}

#[tokio::test]
async fn depth_and_repetition_are_bounded() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (this, last) in ["b", "c", "d", "e", "f", "g", "h", "i"].into_iter().zip('a'..) {
        let ten = vec![format!("*{last}"); 10].join(", ");
        bomb.push_str(&format!("{this}: &{this} [{ten}]\n"));
    }
    bomb.push_str("clusters: {s: {endpoints: []}}\n");
    all_refused(&[&deep, &format!("{{\"clusters\": {deep}}}"), &bomb]).await;
}

#[tokio::test]
async fn values_of_the_wrong_kind_are_refused() {
    all_refused(&[
        "hello",
        "42",
        "\u{0}\u{1}\u{2}",
        "clusters: {s: {endpoints: [{address: 127.0.0.1}]}}",
        "clusters: {s: {endpoints: [{address: \"127.0.0.1:0\"}]}}",
        "clusters: {s: {endpoints: [{address: \"127.0.0.1:99999\"}]}}",
        "clusters: {s: {endpoints: [{address: \"127.0.0.1:1\", weight: 1.5}]}}",
        "clusters: {s: {endpoints: [{address: \"127.0.0.1:1\", weight: -1}]}}",
        "clusters: {s: {endpoints: [{address: \"127.0.0.1:1\", weight: .nan}]}}",
        "clusters: {s: {endpoints: [{address: \"127.0.0.1:1\", priority: -1}]}}",
        "services: {s: {policy: {timeout: 2}}}",
        "services: {s: {policy: {timeout: 99999999999999999999s}}}",
        "services: {s: {policy: {retry: {backoff_base: 5s, backoff_max: 1s}}}}",
        "services: {s: {policy: {retry: {max_body_bytes: -1}}}}",
        "services: {s: {policy: {retry: {budget: {ratio: .inf}}}}}",
        "services: {s: {cluster: a, routes: [{clusters: [{name: b}]}]}}",
    ])
    .await;
}

#[tokio::test]
async fn a_folder_in_the_files_place_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::builder().config_file(dir.path()).build().unwrap();
    patience(mesh.ready()).await.unwrap_err();
}

#[tokio::test]
async fn nan_in_one_part_leaves_the_others() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let text = format!(
        "services:\n  bad: {{policy: {{retry: {{budget: {{ratio: .nan}}}}}}}}\n\
         clusters:\n  users: {{endpoints: [{{address: \"{}\"}}]}}\n",
        server.address()
    );
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let error = patience(mesh.ready()).await.unwrap_err().to_string();
    assert!(error.contains("ratio"), "{error}");
    assert_eq!(fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap().body(), "hello");
}
