//! A bad part leaves the good ones, and is never run on defaults.

use std::{fs, time::Duration};

use tower_mesh::{ErrorKind, Event, Mesh, Remark};

use crate::{
    answered, cluster, mended, over, rename_over,
    support::{Recorder, Server, get, patience},
};

#[tokio::test]
async fn a_bad_part_leaves_the_good_ones() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let text = format!(
        "clusters:\n  {}\n  orders: {{endpoints: [{{address: nowhere at all}}]}}\n",
        cluster(&server)
    );
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let mut events = Recorder::of(&mesh);
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    assert_eq!(answered(&mesh).await, "hello");
    let report = events.refused().remove(0);
    assert!(report.contains("orders") && report.contains("nowhere at all"), "{report}");
}

#[tokio::test]
async fn what_is_refused_fails_ready_and_is_returned_by_loaded_while_the_rest_works() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let bad = "orders: {endpoints: [{address: \"10.0.0.1:80\", weight: 0}]}";
    fs::write(&path, format!("clusters: {{{}, {bad}}}", cluster(&server))).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let refused = patience(mesh.loaded()).await.unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    let Remark { part, text, .. } = &refused[0];
    assert!(part == "cluster orders" && text.contains("weight = 0"), "{refused:?}");
    let failed = patience(mesh.ready()).await.unwrap_err().to_string();
    assert!(failed.contains(text), "{failed}");
    assert_eq!(answered(&mesh).await, "hello");

    rename_over(&path, &format!("clusters: {{{}}}", cluster(&server)));
    patience(mended(&mesh)).await;
    assert_eq!(mesh.loaded().await.unwrap(), []);
    mesh.shutdown(Duration::ZERO).await;
    assert_eq!(mesh.loaded().await.unwrap_err().kind(), ErrorKind::Shutdown);
}

#[tokio::test]
async fn a_service_refused_at_its_first_load_is_not_run_on_defaults() {
    let server = Server::named("hello").await;
    for bad in ["{timeuot: 1s}", "{timeout: 400d}"] {
        let services = format!("services: {{users: {{policy: {bad}}}}}\n");
        let good = format!("clusters: {{{}}}\n", cluster(&server));
        let (_dir, path, mesh, _) = over(&format!("{services}{good}")).await;
        let error = patience(mesh.http().send(get("http://users/"))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("service users was refused: "), "{error}");
        // Not by its name with a port either.
        let error = mesh.client("users:80").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");

        rename_over(&path, &good);
        patience(mended(&mesh)).await;
        assert_eq!(answered(&mesh).await, "hello");
    }
}

#[tokio::test]
async fn a_cluster_refused_at_its_first_load_is_not_run_on_defaults() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let bad = "services: {api: {cluster: users}}\nclusters: {users: {queue: {capacity: 0}}}";
    fs::write(&path, bad).unwrap();
    let mesh =
        Mesh::builder().config_file(&path).endpoints("users", [server.address()]).build().unwrap();
    drop(patience(mesh.ready()).await);
    for uri in ["http://users/", "http://api/"] {
        let error = patience(mesh.http().send(get(uri))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{uri}: {error}");
        assert!(error.to_string().contains("queue.capacity = 0"), "{error}");
    }
    rename_over(&path, &bad.replace("capacity: 0", "capacity: 9"));
    patience(mended(&mesh)).await;
    assert_eq!(answered(&mesh).await, "hello");
}

#[tokio::test]
async fn a_service_that_names_no_ones_cluster_is_reported_until_the_cluster_comes() {
    let server = Server::named("hello").await;
    let service = "services: {users: {cluster: V2}}\n";
    let (_dir, path, mesh, mut events) = over(service).await;
    let error = mesh.ready().await.unwrap_err().to_string();
    assert!(
        error.contains("service users: names cluster `v2`, which no source defines"),
        "{error}"
    );
    assert!(mesh.describe().refused.iter().any(|it| it.part == "service users"));
    assert_eq!(events.refused().len(), 1, "{:?}", events.refused());

    let v2 = cluster(&server).replace("users", "v2");
    rename_over(&path, &format!("{service}clusters: {{{v2}}}\n"));
    patience(mended(&mesh)).await;
    assert_eq!(answered(&mesh).await, "hello");
    let applied = |event: &Event| matches!(event, Event::ConfigApplied { part, .. } if &**part == "service users");
    assert!(events.count(applied) > 0);

    rename_over(&path, service);
    events.until(|event| matches!(event, Event::EndpointRemoved { .. })).await;
    assert!(mesh.ready().await.unwrap_err().to_string().contains("`v2`"));
}

#[tokio::test]
async fn settings_in_code_for_a_service_that_no_source_defines_are_reported() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .service("usres", |s| s.timeout(Duration::from_secs(1)))
        .build()
        .unwrap();
    let error = patience(mesh.ready()).await.unwrap_err().to_string();
    assert!(error.contains("service usres") && error.contains("no source defines"), "{error}");
    assert!(mesh.describe().to_string().contains("refused: service usres"), "{}", mesh.describe());
    assert_eq!(answered(&mesh).await, "hello");
}
