//! Copies of requests: who gets them, what they look like, and that nobody waits for them.

use std::time::Duration;

use http::Request;
use tokio::time::Instant;
use tower_mesh::Body;

use crate::{
    echo::{get, world},
    support::{VERSIONS, over},
};

/// A route to echo-v1 with these filters.
fn mirrored(filters: &str) -> String {
    format!(
        "  echo:\n    routes:\n      - clusters: [{{name: echo-v1}}]\n        filters: [{filters}]\n"
    )
}

// HTTPRouteRequestMirror: the caller gets the answer of the backend, the copy is marked.
#[tokio::test]
async fn one_mirror() {
    let world = world(&mirrored("{mirror: {cluster: echo-v2}}")).await;
    for (number, version) in VERSIONS.into_iter().enumerate() {
        let seen = world.ask(over(version, get("/mirror?a=b", &[("x-a", "1")]))).await.unwrap();
        assert_eq!(seen.backend(), "echo-v1");
        let copies = world.received("echo-v2", number + 1).await;
        let copy = copies.last().unwrap();
        assert_eq!((copy["path"].as_str(), copy["query"].as_str()), (Some("/mirror"), Some("a=b")));
        assert_eq!(copy["headers"]["x-a"], "1");
        assert_eq!(copy["host"], "echo-shadow");
    }
}

// HTTPRouteRequestMultipleMirrors, with changes before.
#[tokio::test]
async fn several_mirrors_of_what_is_sent() {
    let filters = "{rewrite: {path: {full: /new}}}, {request_headers: {set: {x-b: \"2\"}}}, \
        {mirror: {cluster: echo-v2, keep_host: true}}, \
        {mirror: {cluster: echo-v3, host: \"other:81\", request_headers: {remove: [x-b]}}}";
    let world = world(&mirrored(filters)).await;
    assert_eq!(world.ask(get("/multi", &[])).await.unwrap().path(), "/new");
    let second = &world.received("echo-v2", 1).await[0];
    let third = &world.received("echo-v3", 1).await[0];
    assert_eq!((&second["path"], &third["path"]), (&"/new".into(), &"/new".into()));
    assert_eq!((&second["host"], &third["host"]), (&"echo".into(), &"other:81".into()));
    assert_eq!(
        (second["headers"]["x-b"].as_str(), third["headers"]["x-b"].as_str()),
        (Some("2"), None)
    );
}

// HTTPRouteRequestPercentageMirror.
#[tokio::test]
async fn a_share_of_the_requests() {
    for percent in [20.0, 50.0] {
        let world =
            world(&mirrored(&format!("{{mirror: {{cluster: echo-v2, percent: {percent}}}}}")))
                .await;
        for _ in 0..500 {
            assert_eq!(world.backend(get("/", &[])).await, "echo-v1");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let copies = world.received("echo-v2", 0).await.len();
        let share = copies as f64 / 5.0;
        assert!((share - percent).abs() <= 5.0, "{share} % of {percent} %");
    }
}

#[tokio::test]
async fn what_asks_for_an_upgrade_or_has_no_time_left_is_not_copied() {
    let world = world(&mirrored("{mirror: {cluster: echo-v2}}")).await;
    let upgrade = get("/", &[("connection", "upgrade"), ("upgrade", "other")]);
    assert_eq!(world.backend(upgrade).await, "echo-v1");
    let mut late = get("/", &[]);
    late.extensions_mut().insert(tower_mesh::Call::new().timeout(Duration::ZERO));
    assert!(world.ask(late).await.is_err());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(world.received("echo-v2", 0).await.is_empty());
}

#[tokio::test]
async fn bodies_are_copied_as_they_are_read() {
    let world = world(&mirrored("{mirror: {cluster: echo-v2}}")).await;
    for version in VERSIONS {
        let chunks = (0..100).map(|number| {
            Ok::<_, std::convert::Infallible>(http_body::Frame::data(format!("{number} ").into()))
        });
        let streamed =
            Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(chunks)));
        for body in [Body::from("whole"), streamed] {
            let before = world.received("echo-v2", 0).await.len();
            let request = over(version, Request::post("/").body(body).unwrap());
            assert_eq!(world.ask(request).await.unwrap().backend(), "echo-v1");
            let original = world.received("echo-v1", before + 1).await.pop().unwrap();
            let copy = world.received("echo-v2", before + 1).await.pop().unwrap();
            assert!(!copy["body"].as_str().unwrap().is_empty());
            assert_eq!(copy["body"], original["body"]);
        }
    }
}

// The mirror hangs: calls take what they take, and no more than its limit are under way.
#[tokio::test]
async fn nobody_waits_for_a_mirror() {
    let filters = "{mirror: {cluster: echo-v2, request_headers: {set: {x-hang: \"yes\"}}}}, \
        {mirror: {cluster: dead}}";
    let services = mirrored(filters);
    let world = world(&services).await;
    let began = Instant::now();
    for _ in 0..300 {
        assert_eq!(world.backend(get("/", &[])).await, "echo-v1");
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.received("echo-v2", 100).await.len(), 100, "as many as a mirror may have");
}
