//! Files that cannot be read, or only in part: the last good state stays, and a mended one is told.

use std::{fs, time::Duration};

use tower_mesh::{Event, Mesh};

use crate::{
    answered, cluster, mended, over, refused, rename_over,
    support::{Recorder, Server, patience},
};

#[tokio::test]
async fn a_malformed_file_at_the_start_is_reported_and_may_be_mended() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, "clusters: {users: [").unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let mut events = Recorder::of(&mesh);
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    let report = events.refused().remove(0);
    assert!(report.contains("mesh.yaml") && report.contains("line 1"), "{report}");

    assert!(mesh.ready().await.unwrap_err().to_string().contains("mesh.yaml"));
    rename_over(&path, &format!("clusters: {{{}}}", cluster(&server)));
    patience(mended(&mesh)).await;
    assert_eq!(answered(&mesh).await, "hello");
}

#[tokio::test]
async fn a_missing_file_is_reported_and_may_come_later() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let mut events = Recorder::of(&mesh);
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    assert!(events.refused()[0].contains("mesh.yaml"), "{:?}", events.refused());
    assert!(mesh.ready().await.unwrap_err().to_string().contains("mesh.yaml"));
    rename_over(&path, &format!("clusters: {{{}}}", cluster(&server)));
    patience(mended(&mesh)).await;
    assert_eq!(answered(&mesh).await, "hello");
}

#[tokio::test]
async fn later_nonsense_leaves_the_last_good_state() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let good = format!("clusters: {{{}}}", cluster(&server));
    fs::write(&path, &good).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let mut events = Recorder::of(&mesh);
    patience(mesh.ready()).await.unwrap();
    let half = &good[..good.len() / 2];
    for nonsense in [half, "", "\0\u{1}binary", "- a\n- list", "clusters: 7", "just words"] {
        let reports = events.refused().len();
        rename_over(&path, nonsense);
        for _ in 0..100 {
            if events.refused().len() > reports {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(events.refused().len() > reports, "not reported: {nonsense:?}");
        assert_eq!(answered(&mesh).await, "hello", "lost by {nonsense:?}");
    }
    // And a deleted file takes nothing away either.
    fs::remove_file(&path).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(answered(&mesh).await, "hello");
}

#[tokio::test]
async fn a_file_that_is_cut_in_place_loses_no_call_and_is_reported() {
    let server = Server::named("hello").await;
    let address = server.address().to_string();
    let good = format!(
        "services:\n  users: {{}}\nclusters:\n  users:\n    endpoints:\n      - address: {address}\n"
    );
    let (_dir, path, mesh, mut events) = over(&good).await;
    // Another port, an empty cluster, no cluster at all.
    let port = good.len() - 2;
    let empty = good.find("    endpoints").unwrap();
    let none = good.find("clusters").unwrap();
    for (round, cut) in [port, empty, none + "clusters:\n".len(), none].into_iter().enumerate() {
        fs::write(&path, &good[..cut]).unwrap();
        patience(async {
            while events.refused().len() <= round {
                assert_eq!(answered(&mesh).await, "hello", "cut at {cut}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(answered(&mesh).await, "hello", "cut at {cut}");
        assert!(events.refused()[round].contains("half-written?"), "{:?}", events.refused());
        fs::write(&path, &good).unwrap();
        patience(mended(&mesh)).await;
    }
}

#[tokio::test]
async fn a_reverted_file_is_no_longer_refused_and_says_so() {
    let good = "clusters:\n  users: {endpoints: [{address: \"127.0.0.1:1\"}]}\n";
    let (_dir, path, mesh, mut events) = over(good).await;
    mesh.ready().await.unwrap();
    for bad in ["weight: 0", "wieght: 1"] {
        let refused = events.refused().len();
        let bad = good.replace("\"}", &format!("\", {bad}}}"));
        rename_over(&path, &bad);
        patience(async {
            while events.refused().len() == refused {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert!(mesh.ready().await.is_err(), "{bad}");
        let applied = |event: &Event| matches!(event, Event::ConfigApplied { part, .. } if &**part == "cluster users");
        let before = events.count(applied);
        rename_over(&path, good);
        patience(mended(&mesh)).await;
        assert_eq!(events.count(applied), before + 1, "{bad}");
    }
}

#[tokio::test]
async fn a_part_that_is_deleted_after_a_refusal_is_no_longer_refused() {
    let server = Server::named("hello").await;
    let good = format!("clusters: {{{}}}\n", cluster(&server));
    for bad in ["{timeuot: 1s}", "{timeout: 400d}"] {
        let bad = format!("services: {{other: {{policy: {bad}}}}}\n{good}");
        let (_dir, path, mesh, _) = over(&bad).await;
        assert!(mesh.ready().await.is_err());
        rename_over(&path, &good);
        patience(mended(&mesh)).await;
    }
}

#[tokio::test]
async fn reports_are_one_line_in_the_words_of_the_file() {
    for (text, wanted) in [
        ("clusters: {users: [", "line 1 column 19: unclosed bracket"),
        ("clusters:\n  a: {}\n  a: {}\n", "line 3 column 3: duplicate mapping key: a"),
        ("a: 1\n---\nb: 2\n", "line 3 column 1: multiple YAML documents detected"),
        (
            "services: {u: {policy: {timeout: 2}}}",
            "policy.timeout: `2` is not a duration like `250ms` or `2s`: ",
        ),
        (
            "services: {u: {policy: {retry: 3}}}",
            "services.u.policy.retry: invalid type: integer `3`, expected a map of fields",
        ),
        ("services: {u: [1s]}", "services.u: must be a map of fields"),
        (
            "clusters: {u: {endpoints: [{address: \"localhost:80\"}]}}",
            "clusters.u.endpoints[0].address: `localhost:80`: expected an IP address",
        ),
        (
            "services: {u: {routes: [{clusters: [{name: v, weight: 0}]}]}}",
            "services.u.routes[0].clusters.weight = 0: the weights",
        ),
        ("clusters: {Users: {}, users: {}}", "clusters.users: is given twice"),
    ] {
        let report = refused(text).await.remove(0);
        assert!(report.contains(wanted), "{text}: {report}");
        for leak in ["\n", "<input>", "Option", "struct", "from_str"] {
            assert!(!report.contains(leak), "{text}: {leak} in {report}");
        }
    }
}
