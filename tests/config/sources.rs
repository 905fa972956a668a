//! Several sources in one mesh: who decides, and what happens to one that ends or is too late.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{future::Future, pin::Pin, time::Duration};

use tokio::sync::oneshot;
use tower_mesh::{
    Body, Discover, ErrorKind, Event, Mesh, Publisher, UnknownNames, config, discover::Static,
};

use crate::support::{Leaves, Recorder, SERVICE, Server, fetch, get, leaf::ok, patience};

/// A source in a closure.
struct Own<F>(F);

impl<F, Fut> Discover for Own<F>
where
    F: FnOnce(Publisher) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn name(&self) -> String {
        "own".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin((self.0)(publish))
    }
}

fn breaker() -> config::Cluster {
    let mut cluster = config::Cluster::default();
    let mut breakers = config::Breakers::default();
    breakers.max_requests = Some(1);
    cluster.breakers = Some(breakers);
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_source_of_endpoints_alone_does_not_hide_anothers_settings() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| std::future::pending())
        .source(Static::default().cluster(SERVICE, breaker()))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let _first = tokio::spawn(client.send(get("/")));
    tokio::task::yield_now().await;
    let second = tokio::time::timeout(Duration::from_secs(1), client.send(get("/"))).await;
    assert_eq!(second.unwrap().unwrap_err().kind(), ErrorKind::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn a_removed_sources_settings_go_with_it() {
    let leaves = Leaves::new(1);
    let (give, take) = oneshot::channel::<Publisher>();
    let address = Leaves::address(0);
    let mesh = leaves
        .leaves(Mesh::builder(), |_, _| std::future::pending())
        .source(Own(move |publish: Publisher| async move {
            publish.cluster(SERVICE, breaker()).unwrap();
            publish.synced();
            drop(give.send(publish));
        }))
        .source(Own(move |publish: Publisher| async move {
            publish.endpoints(SERVICE, [address]).unwrap();
            publish.synced();
        }))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    take.await.unwrap().remove_cluster(SERVICE);
    let client = mesh.client(SERVICE).unwrap();
    let _first = tokio::spawn(client.send(get("/")));
    tokio::task::yield_now().await;
    let second = tokio::time::timeout(Duration::from_secs(1), client.send(get("/"))).await;
    assert!(second.is_err(), "still under the removed source's breaker");
}

#[tokio::test]
async fn a_source_cannot_take_anothers_endpoints_away() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .source(Own(|publish: Publisher| async move {
            publish.remove_cluster("users");
            publish.synced();
        }))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let answer = fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap();
    assert_eq!(answer.body(), "hello");
}

#[tokio::test]
async fn sources_keep_the_order_in_which_they_were_added() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder()
        .source(Own(|publish: Publisher| async move { publish.synced() }))
        .endpoints("a", [server.address()])
        .endpoints("b", [server.address()])
        .source(Own(|publish: Publisher| async move { publish.synced() }))
        .endpoints("c", [server.address()])
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    assert_eq!(mesh.describe().sources, ["own", "static", "own", "static"]);
    for name in ["a", "b", "c"] {
        mesh.client(name).unwrap();
    }
}

#[tokio::test]
async fn a_source_that_ends_or_panics_before_its_first_state_is_reported_not_waited_for() {
    let server = Server::named("hello").await;
    for panics in [false, true] {
        let mesh = Mesh::builder()
            .source(Own(move |publish: Publisher| async move {
                assert!(!panics, "as told");
                drop(publish);
            }))
            .endpoints("users", [server.address()])
            // Otherwise it would be what that source might have secured.
            .service("users", |s| s.plaintext())
            .build()
            .unwrap();
        let error = patience(mesh.ready()).await.unwrap_err().to_string();
        let how = if panics { "panicked" } else { "ended" };
        assert!(error.contains(&format!("own: the source {how} before")), "{error}");
        let answer = patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap();
        assert_eq!(answer.body(), "hello");
    }
}

#[tokio::test]
async fn a_source_that_panics_later_is_reported_and_its_last_state_stays() {
    let server = Server::named("hello").await;
    let address = server.address();
    let mesh = Mesh::builder()
        .source(Own(move |publish: Publisher| async move {
            publish.endpoints("users", [address]).unwrap();
            publish.synced();
            tokio::time::sleep(Duration::from_millis(50)).await;
            panic!("as told");
        }))
        .build()
        .unwrap();
    let mut events = Recorder::of(&mesh);
    mesh.ready().await.unwrap();
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    assert!(events.refused()[0].contains("own: the source panicked"), "{:?}", events.refused());
    let answer = fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap();
    assert_eq!(answer.body(), "hello");
}

#[tokio::test]
async fn publishing_after_the_shutdown_is_refused_and_told() {
    let server = Server::named("hello").await;
    let (give, take) = oneshot::channel::<Publisher>();
    let mesh = Mesh::builder()
        .source(Own(move |publish: Publisher| async move {
            publish.synced();
            drop(give.send(publish));
        }))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let publish = take.await.unwrap();
    assert!(!publish.is_closed());
    publish.endpoints("users", [server.address()]).unwrap();
    mesh.shutdown(Duration::from_secs(1)).await;
    assert!(publish.is_closed());
    let error = publish.endpoints("users", [server.address()]).unwrap_err();
    assert!(error.to_string().contains("shut down"), "{error}");
    drop(mesh);
    assert!(publish.is_closed());
}

#[tokio::test]
async fn a_mesh_without_sources_is_refused_unless_dns_may_answer() {
    let error = Mesh::builder().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(
        text.contains("no source")
            && text.ends_with("check that the builder has `config_file`, `endpoints` or `source`"),
        "{text}"
    );
    Mesh::builder().unknown_names(UnknownNames::Dns).build().unwrap();
}

#[tokio::test]
async fn refusals_of_builder_and_client_say_what_to_check() {
    let leaves = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) });
    let error = leaves.service(SERVICE, |s| s.max_requests(0)).build().unwrap_err().to_string();
    assert!(error.ends_with("check the settings that are given to the builder"), "{error}");
    let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    let error = mesh.client("dns:///users").unwrap_err().to_string();
    assert!(error.contains("call `users`"), "{error}");
    assert!(error.ends_with("check the name that is given to `client`"), "{error}");
    let request = http::Request::get("http://a..b/").body(Body::empty()).unwrap();
    let error = mesh.http().send(request).await.unwrap_err().to_string();
    assert!(error.ends_with("check the request's authority"), "{error}");
}

#[tokio::test]
async fn an_ipv6_literal_is_looked_up_without_its_brackets() {
    let mesh = Mesh::builder().unknown_names(UnknownNames::Dns).build().unwrap();
    let error = patience(mesh.http().send(get("http://[::1]:1/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert_eq!(error.endpoint(), Some("[::1]:1"), "{error}");
}
