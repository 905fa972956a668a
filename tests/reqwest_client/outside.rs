//! Names that the mesh does not have: refused, or called by the wrapped client where that is
//! allowed, and never a name of the mesh past it.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::{HeaderMap, header};
use reqwest::{ClientBuilder, redirect::Policy};
use tokio::sync::oneshot;
use tower_mesh::{
    Discover, ErrorKind, Mesh, Phase, Publisher,
    adapt::reqwest::{Client, redirect as ours},
    config::Service,
};

use crate::{
    mesh, redirect, seen,
    support::{self, Server, cluster, dead_address, patience, published},
};

/// The wrapped client, with a way to a server for every name.
fn to(server: &Server) -> ClientBuilder {
    let address = server.socket();
    crate::bare()
        .redirect(Policy::none())
        .resolve("api.example", address)
        .resolve("users.prod", address)
        .resolve("users.prod.", address)
        .resolve("a..b", address)
}

fn url(server: &Server, host: &str, path: &str) -> String {
    format!("http://{host}:{}{path}", server.socket().port())
}

fn open(mesh: &Mesh, plain: ClientBuilder) -> Client {
    mesh.reqwest(plain.build().unwrap()).outside(|_| true).no_proxy().build().unwrap()
}

#[tokio::test]
async fn the_wrapped_client_calls_what_it_may_with_its_own_settings() {
    let (users, api) = (Server::named("users").await, echo().await);
    let plain = to(&api).user_agent("plain/1").resolve("other.example", api.socket());
    let http = mesh(&users)
        .reqwest(plain.build().unwrap())
        .outside(|url| url.host_str() == Some("api.example"))
        .user_agent("meshed/1")
        .build()
        .unwrap();
    let response =
        http.get(url(&api, "api.example", "/a")).header("x-a", "1").send().await.unwrap();
    assert_eq!(response.remote_addr(), Some(api.socket()));
    assert_eq!(response.url().path(), "/a");
    assert_eq!(response.text().await.unwrap(), "GET /a\nuser-agent: plain/1\nx-a: 1\n");
    let meshed = http.get("http://users.prod/").send().await.unwrap();
    assert_eq!(meshed.text().await.unwrap(), "users");
    let error = http.get(url(&api, "other.example", "/")).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownService);
    assert_eq!(api.requests(), 1);
}

async fn echo() -> Server {
    Server::start(|request| async move { seen(&request, &["user-agent", "authorization", "x-a"]) })
        .await
}

#[tokio::test]
async fn a_name_of_the_mesh_is_never_called_past_it() {
    let (users, api) = (Server::named("users").await, echo().await);
    let http = open(&mesh(&users), to(&api));
    for host in ["users.prod", "USERS.PROD", "users.prod.", "Users.Prod."] {
        let response = http.get(url(&api, host, "/")).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "users");
    }
    assert_eq!(api.connections(), 0);
}

#[tokio::test]
async fn a_name_whose_definition_was_refused_is_not_outside() {
    let api = echo().await;
    let (mesh, publisher) = late(Duration::from_secs(10)).await;
    let mut service = Service::default();
    service.policy.timeout = Some(Duration::MAX);
    assert!(publisher.service("users.prod", service).is_err());
    publisher.synced();
    let http = open(&mesh, to(&api));
    let error = patience(http.get(url(&api, "users.prod", "/")).send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert_eq!(api.connections(), 0);
}

#[tokio::test]
async fn nothing_is_outside_while_a_source_could_not_be_read() {
    let api = echo().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    std::fs::write(&path, "services: [").unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    assert!(mesh.ready().await.is_err());
    let http = open(&mesh, to(&api));
    let error = patience(http.get(url(&api, "api.example", "/")).send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownService, "{error}");
    assert_eq!(api.connections(), 0);
}

/// A source that has not spoken yet.
struct Late(oneshot::Sender<Publisher>);

impl Discover for Late {
    fn name(&self) -> String {
        "late".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        drop(self.0.send(publish));
        Box::pin(std::future::pending())
    }
}

async fn late(resolve_timeout: Duration) -> (Mesh, Publisher) {
    let (sender, receiver) = oneshot::channel();
    let mesh =
        Mesh::builder().resolve_timeout(resolve_timeout).source(Late(sender)).build().unwrap();
    (mesh, receiver.await.unwrap())
}

#[tokio::test]
async fn nothing_is_outside_before_every_source_has_spoken() {
    let (users, api) = (Server::named("users").await, echo().await);
    let (mesh, publisher) = late(Duration::from_secs(10)).await;
    let http = open(&mesh, to(&api));
    let names = ["users.prod", "api.example"].map(|host| url(&api, host, "/"));
    let sent = names.map(|url| tokio::spawn(http.get(url).send()));
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(api.connections(), 0);
    publisher.cluster("users.prod", cluster([users.address()])).unwrap();
    publisher.synced();
    let [meshed, outside] = sent;
    let meshed = patience(meshed).await.unwrap().unwrap();
    assert_eq!(meshed.text().await.unwrap(), "users");
    let outside = patience(outside).await.unwrap().unwrap();
    assert_eq!(outside.text().await.unwrap(), "GET /\n");
    assert_eq!(api.requests(), 1);
}

#[tokio::test]
async fn the_wait_for_the_sources_is_bounded() {
    let api = echo().await;
    let (mesh, _publisher) = late(Duration::from_millis(50)).await;
    let http = open(&mesh, to(&api));
    let error = patience(http.get(url(&api, "api.example", "/")).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Config, Phase::Resolve), "{error}");
    assert_eq!(error.http_status().as_u16(), 503, "{error}");
    let (mesh, _publisher) = late(Duration::from_secs(60)).await;
    let http = open(&mesh, to(&api));
    let request = http.get(url(&api, "api.example", "/")).timeout(Duration::from_millis(50));
    assert!(patience(request.send()).await.unwrap_err().is_timeout());
    assert_eq!(api.connections(), 0);
}

#[tokio::test]
async fn a_name_that_is_defined_later_is_the_meshs_from_then_on() {
    let (users, api) = (Server::named("users").await, echo().await);
    let (mesh, publisher) = published(Mesh::builder(), |_| {}).await;
    let http = open(&mesh, to(&api));
    let get = || http.get(url(&api, "users.prod", "/")).send();
    assert_eq!(get().await.unwrap().text().await.unwrap(), "GET /\n");
    publisher.cluster("users.prod", cluster([users.address()])).unwrap();
    assert_eq!(get().await.unwrap().text().await.unwrap(), "users");
}

#[tokio::test]
async fn a_client_that_follows_redirects_by_itself_is_refused() {
    let users = Server::named("users").await;
    for policy in [Policy::limited(10), Policy::custom(|attempt| attempt.stop())] {
        let plain = crate::bare().redirect(policy).build().unwrap();
        let builder = mesh(&users).reqwest(plain).outside(|_| true);
        let error = builder.redirect(ours::Policy::none()).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("follows redirects by itself"), "{error}");
    }
}

#[tokio::test]
async fn a_server_outside_does_not_lead_into_the_mesh() {
    let users = Server::named("users").await;
    let api = Server::start(|_| async { redirect(302, "http://users.prod/admin") }).await;
    let http = open(&mesh(&users), to(&api));
    let error = http.get(url(&api, "api.example", "/")).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Redirect);
    assert!(error.to_string().contains("does not lead to `users.prod`"), "{error}");
    assert_eq!((users.connections(), api.requests()), (0, 1));
}

#[tokio::test]
async fn redirects_lead_out_where_that_is_allowed_and_credentials_stay() {
    let api = echo().await;
    let target = url(&api, "api.example", "/a");
    let users = Server::start(move |_| {
        let target = target.clone();
        async move { redirect(302, &target) }
    })
    .await;
    let secret = HeaderMap::from_iter([(header::AUTHORIZATION, "Bearer default".parse().unwrap())]);
    let plain = to(&api).build().unwrap();
    let http = mesh(&users)
        .reqwest(plain)
        .outside(|url| url.host_str() == Some("api.example"))
        .default_headers(secret)
        .build()
        .unwrap();
    for request in [http.get("http://users.prod/"), http.get("http://users.prod/").bearer_auth("x")]
    {
        let response = request.send().await.unwrap();
        assert_eq!(response.url().host_str(), Some("api.example"));
        assert_eq!(response.text().await.unwrap(), "GET /a\n");
    }
}

#[tokio::test]
async fn redirects_outside_are_followed_hop_by_hop() {
    let users = Server::named("users").await;
    let api = Server::start(|request| async move {
        match request.uri().path() {
            "/0" => redirect(302, "/1"),
            "/1" => redirect(307, "/2"),
            _ => seen(&request, &[]),
        }
    })
    .await;
    let http = open(&mesh(&users), to(&api));
    let response = http.get(url(&api, "api.example", "/0")).send().await.unwrap();
    assert_eq!(response.url().path(), "/2");
    assert_eq!(api.requests(), 3);
}

#[tokio::test]
async fn failures_outside_are_the_same_type_of_error() {
    let users = Server::named("users").await;
    let api = Server::start(|_| std::future::pending()).await;
    let http = open(&mesh(&users), to(&api));
    let request = http.get(url(&api, "api.example", "/?secret=1"));
    let error = request.timeout(Duration::from_millis(50)).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(error.service_name(), Some("api.example"));
    assert!(!error.chain().contains("secret"), "{}", error.chain());
    let (dead, _held) = dead_address();
    let error = http.get(format!("http://{dead}/")).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn a_redirect_to_a_name_of_the_mesh_with_a_trailing_dot_stays_in_the_mesh() {
    let api = echo().await;
    let target = url(&api, "users.prod.", "/done");
    let users = Server::start(move |request| {
        let target = target.clone();
        async move {
            match request.uri().path() {
                "/done" => support::reply("users"),
                _ => redirect(302, &target),
            }
        }
    })
    .await;
    let http = open(&mesh(&users), to(&api));
    let response = http.get("http://users.prod/").send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "users");
    assert_eq!(api.connections(), 0);
}

/// What a request comes to, on a thread of its own: a poll that does not return fails the test.
fn outcome(host: &'static str, synced: bool) -> Result<String, ErrorKind> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(async move {
            let (users, api) = (Server::named("users").await, echo().await);
            let (mesh, publisher) = late(Duration::from_secs(10)).await;
            publisher.cluster("users.prod", cluster([users.address()])).unwrap();
            if synced {
                publisher.synced();
            }
            let response = open(&mesh, to(&api)).get(url(&api, host, "/")).send().await;
            assert_eq!(api.connections(), 0, "{host} was called past the mesh");
            match response {
                Ok(response) => Ok(response.text().await.unwrap()),
                Err(error) => Err(error.kind()),
            }
        });
        sender.send(outcome).unwrap();
    });
    receiver.recv_timeout(Duration::from_secs(5)).expect("an answer in time")
}

#[test]
fn a_trailing_dot_neither_spins_nor_leads_past_the_mesh() {
    for synced in [false, true] {
        assert_eq!(outcome("users.prod.", synced), Ok("users".to_owned()), "synced: {synced}");
    }
}

#[test]
fn a_host_that_is_no_name_is_refused_before_and_after_the_sources_have_spoken() {
    for synced in [false, true] {
        let refused = outcome("a..b", synced);
        assert_eq!(refused, Err(ErrorKind::InvalidRequest), "synced: {synced}");
    }
}

#[tokio::test]
async fn a_name_that_comes_to_be_the_meshs_between_two_hops_is_not_led_into_from_outside() {
    let users = Server::named("users").await;
    let api = Server::start(|_| async { redirect(302, "http://users.prod/admin") }).await;
    let (mesh, publisher) = published(Mesh::builder(), |_| {}).await;
    let (asked, address) = (AtomicUsize::new(0), users.address());
    // Asked for the first hop, for the redirect, and when the second hop departs.
    let define = move |_: &reqwest::Url| {
        if asked.fetch_add(1, Ordering::Relaxed) == 2 {
            publisher.cluster("users.prod", cluster([address.clone()])).unwrap();
        }
        true
    };
    let plain = to(&api).build().unwrap();
    let http = mesh.reqwest(plain).outside(define).no_proxy().build().unwrap();
    let error = http.get(url(&api, "api.example", "/")).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Redirect, "{error}");
    assert_eq!((users.connections(), api.requests()), (0, 1));
}
