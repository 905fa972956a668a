//! What the first calls meet: control planes of which the first do not run, and resources that are refused from
//! the start. Over real streams and servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use http::StatusCode;
use tower_mesh::{
    Client, Mesh,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource},
};

use crate::support::{Server, fetch, get, patience};

const MODES: [bool; 2] = [false, true];

fn mesh(planes: &[&AdsServer], node: &str, delta: bool) -> Mesh {
    let mut bootstrap = Bootstrap::builder().node_id(node);
    for plane in planes {
        bootstrap = bootstrap.server(Plane::insecure(plane.uri()).delta(delta));
    }
    Mesh::builder().source(Xds::new(bootstrap.build().unwrap())).build().unwrap()
}

/// A plane that leads `users` to this server.
async fn plane(server: &Server) -> AdsServer {
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    plane
}

/// The text of an answer that is a success.
async fn body(client: &Client) -> String {
    let answer = patience(fetch(client, get("/"))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    String::from_utf8_lossy(answer.body().as_ref()).into_owned()
}

/// Calls until another server answers. None fails.
async fn until(client: &Client, wanted: &str) {
    patience(async {
        while body(client).await != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn until_it_is_left(plane: &AdsServer) {
    patience(plane.until(|plane| plane.streams() == 0 && plane.connections() == 0)).await;
}

/// grpc-go: `TestFallback_OnStartup_RPCSuccess`.
#[tokio::test]
async fn fallback_on_startup_rpc_success() {
    for delta in MODES {
        let (a, b) = (Server::named("a").await, Server::named("b").await);
        let (primary, secondary) = (plane(&a).await, plane(&b).await);
        primary.stop();
        let mesh = mesh(&[&primary, &secondary], "starts", delta);
        let client = mesh.client("users").unwrap();
        assert_eq!(body(&client).await, "b", "the first call");
        primary.resume().await.unwrap();
        until(&client, "a").await;
        until_it_is_left(&secondary).await;
        assert_eq!(body(&client).await, "a");
    }
}

/// grpc-go: `TestFallback_ThreeServerPromotion`.
#[tokio::test]
async fn fallback_three_server_promotion() {
    for delta in MODES {
        let (a, b) = (Server::named("a").await, Server::named("b").await);
        let c = Server::named("c").await;
        let (first, second, third) = (plane(&a).await, plane(&b).await, plane(&c).await);
        first.stop();
        second.stop();
        let mesh = mesh(&[&first, &second, &third], "promotes", delta);
        let client = mesh.client("users").unwrap();
        assert_eq!(body(&client).await, "c");
        second.resume().await.unwrap();
        until(&client, "b").await;
        until_it_is_left(&third).await;
        first.resume().await.unwrap();
        until(&client, "a").await;
        until_it_is_left(&second).await;
        assert_eq!((first.streams(), third.connections()), (1, 0));
    }
}

/// Of another client such errors went unsaid, and the first call waited for half a minute to hear that nothing
/// was ready.
#[tokio::test]
async fn what_is_refused_from_the_start_is_said_to_the_first_call_and_not_waited_for() {
    for delta in MODES {
        for (kind, short, name) in [
            (LDS, "LDS", "users"),
            (RDS, "RDS", "users-routes"),
            (CDS, "CDS", "users-cluster"),
            (EDS, "EDS", "users-cluster"),
        ] {
            let server = Server::named("a").await;
            let plane = plane(&server).await;
            // With wrappers, its name is known of what cannot be read.
            plane.wrapped(true);
            plane.set([Resource::encoded(kind, name, vec![0xff])]);
            let mesh = mesh(&[&plane], "refuses", delta);
            let client = mesh.client("users").unwrap();
            let began = tokio::time::Instant::now();
            let error = patience(fetch(&client, get("/"))).await.unwrap_err().chain();
            assert!(began.elapsed() < Duration::from_secs(15), "{short}: {:?}", began.elapsed());
            let what = format!("{short} resource `{name}`");
            if kind == EDS {
                // The call knows that there are none; why, the mesh does.
                assert!(error.contains(name), "{error}");
                let is_said = || mesh.describe().to_string().contains(&what);
                patience(plane.until(|_| is_said())).await;
            } else {
                for word in [what.as_str(), "refused", "node `refuses`"] {
                    assert!(error.contains(word), "{word}: {error}");
                }
            }
            patience(plane.until(|plane| !plane.nacks(kind).is_empty())).await;
            assert_eq!(server.requests(), 0);
        }
    }
}
