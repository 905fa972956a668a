//! Rules of all services, said by a file: for the services of every source, with their last good state, and
//! closed where there is none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, path::Path, time::Duration};

use crate::support::{Recorder, Server, get, patience};
use http::StatusCode;
use tower_mesh::{Error, Event, Mesh};

async fn called(mesh: &Mesh, path: &str) -> Result<StatusCode, Error> {
    Ok(patience(mesh.http().send(get(path))).await?.status())
}

async fn denied(mesh: &Mesh, path: &str) -> Error {
    called(mesh, path).await.unwrap_err()
}

fn write(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

/// A file of rules of all services, and of the one service `users`.
fn of_all(server: &Server, lists: &str) -> String {
    format!(
        "authorize: {lists}\nclusters: {{users: {{endpoints: [{{address: \"{}\"}}]}}}}\n",
        server.address()
    )
}

#[tokio::test]
async fn a_file_says_rules_of_all_services() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let admin = "{No Admin: {rules: [{name: admin, action: deny, permissions: [{path: {prefix: /admin}}]}]}}";
    write(&path, &of_all(&server, admin));
    // Another source's services are judged as well.
    let mesh =
        Mesh::builder().config_file(&path).endpoints("more", [server.address()]).build().unwrap();
    mesh.ready().await.unwrap();
    for name in ["users", "more"] {
        let error = denied(&mesh, &format!("http://{name}/admin")).await;
        assert!(
            error.is_denied() && error.to_string().contains("rule `admin` denies it"),
            "{error}"
        );
        assert!(called(&mesh, &format!("http://{name}/x")).await.is_ok());
    }
    let said = mesh.explain(&get("http://more/admin")).unwrap();
    assert!(said.fails.is_some(), "{said}");
    let described = format!("{:#}", mesh.describe());
    assert!(described.contains("(file "), "{described}");
    // A bad edit keeps the last good rules, and says its line.
    let mut events = Recorder::of(&mesh);
    write(&path, &of_all(&server, &admin.replace("prefix: /admin", "regex: \"(\"")));
    let is_so = |event: &Event| match event {
        Event::ConfigRefused { part, reason, .. } => {
            &**part == "authorize no admin" && reason.contains("(line 1 of ")
        }
        _ => false,
    };
    events.until(is_so).await;
    assert!(denied(&mesh, "http://more/admin").await.is_denied());
    // Several lists are several locks; one that goes is gone.
    let two = admin.replace(
        "{No Admin",
        "{no x: {rules: [{action: deny, permissions: [{path: {exact: /x}}]}]}, No Admin",
    );
    write(&path, &of_all(&server, &two));
    let applied = |event: &Event| matches!(event, Event::ConfigApplied { part, .. } if &**part == "authorize no x");
    events.until(applied).await;
    assert!(denied(&mesh, "http://users/x").await.is_denied());
    assert!(denied(&mesh, "http://users/admin").await.is_denied());
    write(&path, &of_all(&server, "{}"));
    while called(&mesh, "http://users/admin").await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(called(&mesh, "http://more/x").await.is_ok());
}

#[tokio::test]
async fn rules_of_all_services_that_never_were_good_deny_every_call() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    for bad in ["{a: {rules: []}}", "{a: {rules: [{when: now}]}}", "{a: 7}"] {
        write(&path, &of_all(&server, bad));
        let mesh = Mesh::builder().config_file(&path).build().unwrap();
        assert!(mesh.ready().await.unwrap_err().to_string().contains("authorize.a"), "{bad}");
        let error = denied(&mesh, "http://users/").await;
        assert!(error.is_denied(), "{bad}: {error}");
        assert!(error.to_string().contains("authorize a, which is refused"), "{error}");
        assert_eq!(server.connections(), 0);
    }
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    assert!(mesh.ready().await.is_err());
    write(&path, &of_all(&server, "{a: {otherwise: allow}}"));
    while called(&mesh, "http://users/").await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(mesh.describe().refused, []);
}
