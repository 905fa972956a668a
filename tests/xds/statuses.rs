//! Whatever status a control plane answers its client with, a call ends with none of them (gRFC A54): a caller
//! of gRPC gets UNAVAILABLE, and one of HTTP an error that a gateway would answer with 503. So it is where it
//! answers nothing at all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use http::{HeaderValue, Request, StatusCode};
use tower_mesh::{
    Body, Mesh, MeshBuilder,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource},
};

use crate::support::{Server, fetch, get, patience, post, within};

/// All of gRPC but OK.
const CODES: std::ops::RangeInclusive<i32> = 1..=16;
const TEXT: &str = "as it likes";

async fn plane() -> AdsServer {
    AdsServer::start().await.unwrap()
}

fn builder(plane: &AdsServer, delta: bool) -> MeshBuilder {
    let server = Plane::insecure(plane.uri()).delta(delta);
    let bootstrap = Bootstrap::builder().node_id("statuses").server(server).build().unwrap();
    Mesh::builder().source(Xds::new(bootstrap))
}

fn mesh(plane: &AdsServer, delta: bool) -> Mesh {
    builder(plane, delta).build().unwrap()
}

fn grpc() -> Request<Body> {
    let mut request = post("http://users/helloworld.Greeter/SayHello", "");
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    request
}

/// Says why both kinds of callers fail.
async fn is_unavailable(mesh: &Mesh, case: &str) -> String {
    let failed = patience(fetch(&mesh.http(), get("http://users/"))).await;
    let error = failed.map(|answer| answer.status()).expect_err(case);
    assert_eq!(error.http_status(), StatusCode::SERVICE_UNAVAILABLE, "{case}: {error}");
    assert_eq!(error.grpc_code(), 14, "{case}: {error}");
    assert!(!error.is_denied() && !error.is_timeout(), "{case}: {error}");
    let answer = patience(mesh.http().send(grpc())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{case}");
    assert_eq!(answer.headers()["grpc-status"], "14", "{case}: {:?}", answer.headers());
    error.to_string()
}

#[tokio::test]
async fn a_stream_that_ends_with_any_status_is_unavailable_to_calls() {
    for code in CODES {
        let plane = plane().await;
        plane.refuse(Some((code, TEXT)));
        let case = format!("a stream that is refused with {code}");
        let why = is_unavailable(&mesh(&plane, code % 2 == 0), &case).await;
        // It is of that status that they fail, and they are told of it.
        assert!(why.contains(TEXT) && why.contains(&format!("code {code}")), "{case}: {why}");
    }
}

#[tokio::test]
async fn a_resource_that_is_answered_with_any_status_is_unavailable_to_calls() {
    // It would answer.
    let server = Server::named("a").await;
    for (kind, name) in
        [(LDS, "users"), (RDS, "users-routes"), (CDS, "users-cluster"), (EDS, "users-cluster")]
    {
        for code in CODES {
            let plane = plane().await;
            plane.set(Resource::chain("users", [server.socket()]));
            plane.fail(kind, name, code, TEXT);
            let case = format!("{kind} with {code}");
            let why = is_unavailable(&mesh(&plane, code % 2 == 1), &case).await;
            // Of a cluster without endpoints, `describe` tells it.
            assert!(kind == EDS || why.contains(TEXT), "{case}: {why}");
        }
    }
}

#[tokio::test]
async fn a_plane_that_answers_nothing_is_unavailable_to_calls() {
    // It would answer.
    let server = Server::named("a").await;
    for silent_about in [None, Some(LDS), Some(RDS), Some(CDS), Some(EDS)] {
        for delta in [false, true] {
            let plane = plane().await;
            plane.set(Resource::chain("users", [server.socket()]));
            match silent_about {
                None => plane.silent(true),
                Some(kind) => plane.silent_about(kind, true),
            }
            let builder = builder(&plane, delta).resolve_timeout(Duration::from_millis(100));
            let case = format!("silent about {silent_about:?}, delta: {delta}");
            let why = is_unavailable(&builder.build().unwrap(), &case).await;
            let waited = "within 100ms (`resolve_timeout`)";
            assert!(why.contains("no source delivered") && why.contains(waited), "{case}: {why}");
        }
    }
    assert_eq!(server.requests(), 0);
}

/// It is no trouble of the plane's that its caller tells of.
#[tokio::test]
async fn a_deadline_that_passes_while_a_plane_is_silent_is_exceeded() {
    let plane = plane().await;
    plane.silent(true);
    let mesh = mesh(&plane, true);
    let short = within(Duration::from_millis(50), get("http://users/"));
    let error = patience(fetch(&mesh.http(), short)).await.unwrap_err();
    assert_eq!(error.http_status(), StatusCode::GATEWAY_TIMEOUT, "{error}");
    assert!(error.is_timeout() && error.grpc_code() == 4, "{error}");
    let mut short = grpc();
    short.headers_mut().insert("grpc-timeout", HeaderValue::from_static("50m"));
    let answer = patience(mesh.http().send(short)).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4", "{:?}", answer.headers());
}
