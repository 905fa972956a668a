//! Names of services: `mesh.client(name)`, and `mesh.http()` by the request's authority.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::pin::Pin;

use http::Request;
use tower_mesh::{Body, Discover, ErrorKind, Mesh, Phase, Publisher, UnknownNames};

use crate::support::{Server, fetch, get, patience};

async fn two() -> (Server, Server, Mesh) {
    let users = Server::named("users").await;
    let orders = Server::named("orders").await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [users.address()])
        .endpoints("orders.prod", [orders.address()])
        .build()
        .unwrap();
    (users, orders, mesh)
}

async fn said(mesh: &Mesh, uri: &str) -> String {
    mesh.http().send(get(uri)).await.unwrap().into_body().text().await.unwrap()
}

#[tokio::test]
async fn one_client_for_many_services() {
    let (_users, _orders, mesh) = two().await;
    assert_eq!(said(&mesh, "http://users.prod/1").await, "users");
    assert_eq!(said(&mesh, "http://orders.prod/1?q=2").await, "orders");
    assert_eq!(said(&mesh, "http://USERS.prod/1").await, "users", "names have no case");
}

#[tokio::test]
async fn a_named_client_takes_relative_and_absolute_uris() {
    let (_users, _orders, mesh) = two().await;
    let client = mesh.client("users.prod").unwrap();
    for uri in ["/1", "http://users.prod/1", "http://anything.else/1"] {
        let answer = client.send(get(uri)).await.unwrap();
        assert_eq!(answer.into_body().text().await.unwrap(), "users", "{uri}");
    }
}

#[tokio::test]
async fn a_scheme_has_no_case() {
    let (_users, _orders, mesh) = two().await;
    for name in ["HTTP://users.prod", "http://USERS.prod", "Http://users.prod."] {
        let answer = mesh.client(name).unwrap().send(get("/")).await.unwrap();
        assert_eq!(answer.into_body().text().await.unwrap(), "users", "{name}");
    }
    assert_eq!(said(&mesh, "HTTP://users.prod/1").await, "users");
}

#[tokio::test]
async fn the_server_sees_the_services_name_as_its_host() {
    let server = Server::start(|request| async move {
        let authority = request.uri().authority().map(ToString::to_string);
        let host = request.headers().get("host").map(|host| host.to_str().unwrap_or("").to_owned());
        crate::support::reply(authority.or(host).unwrap_or_default())
    })
    .await;
    let mesh = Mesh::builder().endpoints("users.prod", [server.address()]).build().unwrap();
    let client = mesh.client("users.prod").unwrap();
    for version in [http::Version::HTTP_11, http::Version::HTTP_2] {
        let request = Request::get("/1").version(version).body(Body::empty()).unwrap();
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.into_body().text().await.unwrap(), "users.prod", "{version:?}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_refused() {
    let (_users, _orders, mesh) = two().await;
    mesh.ready().await.unwrap();
    let error = mesh.http().send(get("http://usres.prod/1")).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::UnknownService, Phase::Resolve));
    let text = error.to_string();
    assert!(text.contains("usres.prod") && text.contains("spelling"), "{text}");
}

#[tokio::test]
async fn plain_dns_for_unknown_names_is_a_setting() {
    let server = Server::named("outside").await;
    let mesh = Mesh::builder().unknown_names(UnknownNames::Dns).build().unwrap();
    let uri = format!("http://localhost:{}/", server.socket().port());
    assert_eq!(said(&mesh, &uri).await, "outside");
}

#[cfg(feature = "dns")]
#[tokio::test]
async fn a_name_that_dns_cannot_have_is_refused_each_time_and_leaves_nothing_behind() {
    let mesh = Mesh::builder().unknown_names(UnknownNames::Dns).build().unwrap();
    let uri = format!("http://{}.test/", "a".repeat(64));
    for _ in 0..2 {
        let error = mesh.http().send(get(&uri)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownService, "{error}");
        assert!(error.to_string().contains("1 to 63"), "{error}");
    }
    mesh.ready().await.unwrap();
}

#[tokio::test]
async fn requests_that_name_no_service_are_told_so() {
    let (_users, _orders, mesh) = two().await;
    let error = mesh.http().send(get("/1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
    let error = mesh.http().send(get("ftp://users.prod/1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
}

#[tokio::test]
async fn names_that_cannot_be_are_refused_at_once() {
    let (_users, _orders, mesh) = two().await;
    for name in ["", "two words", "http://users.prod/path", "users.prod/path", "a:b:c"] {
        assert!(mesh.client(name).is_err(), "{name:?}");
    }
}

fn again(request: &Request<Body>) -> Request<Body> {
    let mut again = Request::new(Body::empty());
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = request.headers().clone();
    again
}

/// What stands before the `@` of an authority is no part of a name: it takes no call elsewhere, no
/// server is told it, and no error repeats it.
#[tokio::test]
async fn credentials_in_a_uri_are_told_to_nobody() {
    let users = Server::start(|request| async move {
        let host = request.headers().get("host").and_then(|host| host.to_str().ok());
        let authority = request.uri().authority().map(ToString::to_string);
        crate::support::reply(authority.or_else(|| host.map(str::to_owned)).unwrap_or_default())
    })
    .await;
    let orders = Server::named("orders").await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [users.address()])
        .endpoints("orders.prod", [orders.address()])
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let by_name = mesh.client("users.prod").unwrap();
    for version in [http::Version::HTTP_11, http::Version::HTTP_2] {
        for (uri, host) in [
            ("http://orders.prod:secret@users.prod/", "users.prod"),
            ("http://orders.prod:80@users.prod/", "users.prod"),
            ("http://secret@users.prod:8080/", "users.prod:8080"),
        ] {
            for client in [&mesh.http(), &by_name] {
                let call = fetch(client, crate::support::over(version, get(uri)));
                assert_eq!(patience(call).await.unwrap().body(), host, "{uri} {version:?}");
            }
        }
        let mut request = crate::support::over(version, get("/"));
        request.headers_mut().insert("host", "me:secret@users.prod".parse().unwrap());
        for client in [&mesh.http(), &by_name] {
            let call = fetch(client, again(&request));
            assert_eq!(patience(call).await.unwrap().body(), "users.prod", "{version:?}");
        }
    }
    for uri in ["http://me:secret@nobody/", "http://me:secret@a..b/", "http://me:secret@users:0/"] {
        let error = patience(fetch(&mesh.http(), get(uri))).await.unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
    for name in ["me:secret@users.prod", "http://me:secret@users.prod", "ftp://me:secret@users"] {
        let error = mesh.client(name).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_client_made_before_the_sync_calls_the_service_with_its_port() {
    let (plain, port) = (Server::named("plain").await, Server::named("port").await);
    let mesh = Mesh::builder()
        .endpoints("users", [plain.address()])
        .endpoints("users:8080", [port.address()])
        .build()
        .unwrap();
    let early = mesh.client("users:8080").unwrap();
    let other = mesh.client("users:9090").unwrap();
    mesh.ready().await.unwrap();
    let late = mesh.client("users:8080").unwrap();
    for (client, who) in [(late, "port"), (early, "port"), (other, "plain")] {
        assert_eq!(fetch(&client, get("/")).await.unwrap().body(), who);
    }
}

#[tokio::test]
async fn a_call_that_waits_for_a_name_with_a_port_wakes_for_the_plain_name() {
    let users = Server::named("users").await;
    let (give, take) = tokio::sync::oneshot::channel();
    let mesh = Mesh::builder().source(Own(give)).build().unwrap();
    let client = mesh.client("users:8080").unwrap();
    let call = tokio::spawn(async move { fetch(&client, get("/")).await });
    let publish = take.await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    publish.endpoints("users", [users.address()]).unwrap();
    assert_eq!(patience(call).await.unwrap().unwrap().body(), "users");
}

#[tokio::test]
async fn dns_names_work_for_a_client_made_before_the_sync() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder()
        .endpoints("other", [server.address()])
        .unknown_names(UnknownNames::Dns)
        .build()
        .unwrap();
    let client = mesh.client(&format!("localhost:{}", server.socket().port())).unwrap();
    assert_eq!(fetch(&client, get("/")).await.unwrap().body(), "hello");
}

/// A source that hands its publisher out.
struct Own(tokio::sync::oneshot::Sender<Publisher>);

impl Discover for Own {
    fn name(&self) -> String {
        "own".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            drop(self.0.send(publish));
            std::future::pending::<()>().await;
        })
    }
}
