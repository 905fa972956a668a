//! A mesh file edited while calls run: atomic renames, Kubernetes' symlink swaps, no failed call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, io::Write, os::unix::fs::symlink, path::Path, time::Duration};

use http::StatusCode;
use tower_mesh::{Client, Event, Mesh};

use crate::support::{Recorder, Server, fetch, get, patience, storm};

fn file(servers: &[&Server]) -> String {
    let endpoints: Vec<_> =
        servers.iter().map(|server| format!("{{address: \"{}\"}}", server.address())).collect();
    format!("clusters:\n  users: {{endpoints: [{}]}}\n", endpoints.join(", "))
}

fn rename_over(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

async fn said(client: &Client) -> String {
    client.send(get("/")).await.unwrap().into_body().text().await.unwrap()
}

/// Asks until this server answers.
async fn until_said(client: &Client, who: &str) {
    let wait = async {
        while said(client).await != who {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    patience(wait).await;
}

#[tokio::test]
async fn an_atomic_rename_takes_effect_without_a_failed_call() {
    let (first, second) = (Server::named("first").await, Server::named("second").await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, file(&[&first])).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(said(&client).await, "first");

    let edits = async {
        for round in 0..10 {
            let servers: &[&Server] = match round % 3 {
                0 => &[&first, &second],
                1 => &[&second],
                _ => &[&first],
            };
            rename_over(&path, &file(servers));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let calls = storm(4, 2000, |_| async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        client.send(get("/")).await?.into_body().text().await
    });
    let ((), answers) = tokio::join!(edits, calls);
    for answer in answers {
        answer.unwrap();
    }
    assert!(first.requests() > 0 && second.requests() > 0);
    rename_over(&path, &file(&[&second]));
    until_said(&client, "second").await;
}

#[tokio::test]
async fn an_edit_in_place_takes_effect() {
    let (first, second) = (Server::named("first").await, Server::named("second").await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, file(&[&first])).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(said(&client).await, "first");
    fs::write(&path, file(&[&second])).unwrap();
    until_said(&client, "second").await;
}

#[tokio::test]
async fn a_file_that_is_written_slowly_in_place_keeps_its_services() {
    let server = Server::named("hello").await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mesh.yaml");
    let line = |name| format!("  {name}: {{endpoints: [{{address: \"{}\"}}]}}\n", server.address());
    fs::write(&path, format!("clusters:\n{}{}", line("first"), line("last"))).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("last").unwrap();
    // A file is taken for whole when nobody writes to it for 50 ms: a pause of the machine's own is
    // no pause of the writer.
    for _ in 0..20 {
        let mut longest = Duration::ZERO;
        let mut failed = 0;
        let mut file = fs::File::create(&path).unwrap();
        write!(file, "clusters:\n{}", line("first")).unwrap();
        for _ in 0..30 {
            let start = tokio::time::Instant::now();
            writeln!(file, "  # it goes on").unwrap();
            failed += usize::from(fetch(&client, get("/")).await.is_err());
            tokio::time::sleep(Duration::from_millis(5)).await;
            longest = longest.max(start.elapsed());
        }
        file.write_all(line("last").as_bytes()).unwrap();
        if longest < Duration::from_millis(40) {
            assert_eq!(failed, 0);
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("this machine pauses too often");
}

#[tokio::test]
async fn a_kubernetes_symlink_swap_takes_effect() {
    // As the kubelet mounts a ConfigMap: mesh.yaml -> ..data/mesh.yaml, ..data -> ..<time>.
    let (first, second) = (Server::named("first").await, Server::named("second").await);
    let dir = tempfile::tempdir().unwrap();
    let version = |name: &str, server: &Server| {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("mesh.yaml"), file(&[server])).unwrap();
    };
    version("..2026_01", &first);
    symlink("..2026_01", dir.path().join("..data")).unwrap();
    symlink("..data/mesh.yaml", dir.path().join("mesh.yaml")).unwrap();

    let mesh = Mesh::builder().config_file(dir.path().join("mesh.yaml")).build().unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(said(&client).await, "first");

    version("..2026_02", &second);
    symlink("..2026_02", dir.path().join("..data_tmp")).unwrap();
    fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    fs::remove_dir_all(dir.path().join("..2026_01")).unwrap();
    until_said(&client, "second").await;
}

#[tokio::test]
async fn what_vanished_is_removed_and_what_stayed_is_not_touched() {
    let (users, orders) = (Server::named("users").await, Server::named("orders").await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let orders_line = format!("  orders: {{endpoints: [{{address: \"{}\"}}]}}\n", orders.address());
    fs::write(&path, file(&[&users]) + &orders_line).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    assert_eq!(said(&client).await, "users");

    rename_over(&path, &file(&[&users]));
    events
        .until(|event| matches!(event, Event::EndpointRemoved { cluster, .. } if &**cluster == "orders"))
        .await;
    assert_eq!(said(&client).await, "users");
    assert_eq!(users.connections(), 1, "an unchanged endpoint keeps its connection");
    let touched = events.count(
        |event| matches!(event, Event::ConfigApplied { part, .. } if part.contains("users")),
    );
    assert_eq!(touched, 0, "an unchanged part is not applied again");
    let error = mesh.http().send(get("http://orders/")).await.unwrap_err();
    assert!(error.to_string().contains("orders"), "{error}");
}

#[tokio::test]
async fn a_policy_edit_reaches_the_next_call() {
    let slow = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        crate::support::reply("slow")
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, file(&[&slow])).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    assert_eq!(said(&client).await, "slow");
    let policy = "services: {users: {policy: {timeout: 50ms}}}\n";
    rename_over(&path, &(file(&[&slow]) + policy));
    events.until(|event| matches!(event, Event::ConfigApplied { .. })).await;
    assert!(client.send(get("/")).await.unwrap_err().is_timeout());
}

/// One edit of two services. `private` is the path whose calls nobody may make.
fn two_services(servers: &[&Server; 2], private: &str, to: &str) -> String {
    let [old, new] = servers.map(Server::address);
    format!(
        "services:\n  users:\n    routes:\n\
         \x20     - matches: [{{path: {private}}}]\n\
         \x20       filters: [{{direct_response: {{status: 403}}}}]\n\
         \x20     - clusters: [{{name: {to}}}]\n\
         \x20 orders: {{routes: [{{clusters: [{{name: {to}}}]}}]}}\n\
         clusters:\n  old: {{endpoints: [{{address: \"{old}\"}}]}}\n\
         \x20 new: {{endpoints: [{{address: \"{new}\"}}]}}\n"
    )
}

/// Without its bad route the service would send that one's calls on to where all others go.
#[tokio::test]
async fn a_bad_route_keeps_its_whole_service_as_it_was_and_no_other() {
    let (old, new) = (Server::named("old").await, Server::named("new").await);
    let servers = [&old, &new];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, two_services(&servers, "{exact: /private}", "old")).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let (users, orders) = (mesh.client("users").unwrap(), mesh.client("orders").unwrap());
    assert_eq!((said(&users).await, said(&orders).await), ("old".into(), "old".into()));

    let text = two_services(&servers, "{regex: \"(private\"}", "new");
    rename_over(&path, &text);
    until_said(&orders, "new").await;
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    assert_eq!(said(&users).await, "old", "its good route is as it was, too");
    let private = users.send(get("/private")).await.unwrap();
    assert_eq!(private.status(), StatusCode::FORBIDDEN, "it falls through to no other route");
    let refused = events.refused();
    let [refused] = &refused[..] else { panic!("{refused:?}") };
    let line = text.lines().position(|line| line.contains("(private")).unwrap() + 1;
    let place = format!("line {line} of {}", path.display());
    assert!(refused.starts_with("service users: ") && refused.contains(&place), "{refused}");
    assert!(refused.contains("routes[0].matches[0].path.regex = (private"), "{refused}");

    rename_over(&path, &two_services(&servers, "{exact: /private}", "new"));
    until_said(&users, "new").await;
    assert_eq!(users.send(get("/private")).await.unwrap().status(), StatusCode::FORBIDDEN);
    mesh.ready().await.unwrap();
}

#[tokio::test]
async fn json_is_read_as_well() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.json");
    let endpoint = serde_json::json!({"address": server.address().to_string(), "weight": 2});
    let text = serde_json::json!({"clusters": {"users": {"endpoints": [endpoint]}}}).to_string();
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    assert_eq!(said(&mesh.client("users").unwrap()).await, "hello");
}

#[tokio::test]
async fn several_sources_make_one_mesh() {
    let (users, orders) = (Server::named("users").await, Server::named("orders").await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, file(&[&users])).unwrap();
    let mesh =
        Mesh::builder().config_file(&path).endpoints("orders", [orders.address()]).build().unwrap();
    assert_eq!(said(&mesh.client("users").unwrap()).await, "users");
    assert_eq!(said(&mesh.client("orders").unwrap()).await, "orders");
}

#[tokio::test]
async fn an_edit_of_endpoints_alone_does_not_touch_their_service() {
    let (first, second) = (Server::named("first").await, Server::named("second").await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, file(&[&first])).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    rename_over(&path, &file(&[&first, &second]));
    let applied = |wanted: &'static str| move |event: &Event| matches!(event, Event::ConfigApplied { part, .. } if &**part == wanted);
    events.until(applied("cluster users")).await;
    assert_eq!(events.count(applied("service users")), 0);
}
