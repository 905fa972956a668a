//! Sources that look names up when they are first asked for. Over real servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Notify;
use tower_mesh::{
    Body, Discover, ErrorKind, Mesh, Publisher,
    config::{Cluster, Endpoint, Service},
    discover::Static,
};

use crate::support::{Server, fetch, get, patience};

/// What is known: a name, and the address that it stands for.
#[derive(Clone, Default)]
struct Directory(Arc<Entries>);

#[derive(Default)]
struct Entries {
    known: Mutex<HashMap<String, String>>,
    asked: Mutex<Vec<String>>,
    publisher: Mutex<Option<Publisher>>,
    asked_for: Notify,
    /// It answers when it is told to.
    silent: bool,
}

impl Directory {
    fn of(name: &str, server: &Server) -> Self {
        let directory = Self::default();
        directory.add(name, server);
        directory
    }

    fn silent() -> Self {
        Self(Arc::new(Entries { silent: true, ..Entries::default() }))
    }

    fn add(&self, name: &str, server: &Server) {
        self.0.known.lock().unwrap().insert(name.to_owned(), server.address().to_string());
    }

    fn asked(&self) -> Vec<String> {
        self.0.asked.lock().unwrap().clone()
    }

    fn publisher(&self) -> Publisher {
        self.0.publisher.lock().unwrap().clone().unwrap()
    }

    /// Says what it knows of a name.
    fn answer(&self, name: &str) {
        let publish = self.publisher();
        let address = self.0.known.lock().unwrap().get(name).cloned();
        let Some(address) = address else { return publish.unknown(name, "no such entry") };
        let cluster = format!("of {name}");
        let mut settings = Cluster::default();
        settings.endpoints = vec![Endpoint::new(address.parse().unwrap())];
        publish.cluster(&cluster, settings).unwrap();
        let mut service = Service::default();
        service.cluster = Some(cluster);
        publish.service(name, service).unwrap();
    }
}

impl Discover for Directory {
    fn name(&self) -> String {
        "directory".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            *self.0.publisher.lock().unwrap() = Some(publish.clone());
            let mut names = publish.asked();
            publish.synced();
            while let Some(name) = names.next().await {
                self.0.asked.lock().unwrap().push(name.clone());
                self.0.asked_for.notify_one();
                if !self.0.silent {
                    self.answer(&name);
                }
            }
        })
    }
}

fn mesh(directory: &Directory) -> Mesh {
    Mesh::builder().source(directory.clone()).build().unwrap()
}

async fn body(mesh: &Mesh, url: &str) -> Result<String, tower_mesh::Error> {
    let request = http::Request::get(url).body(Body::empty()).unwrap();
    let response = patience(fetch(&mesh.http(), request)).await?;
    Ok(String::from_utf8_lossy(response.body().as_ref()).into_owned())
}

#[tokio::test]
async fn a_name_is_looked_up_at_its_first_call_and_once() {
    let server = Server::named("a").await;
    let directory = Directory::of("users.prod:80", &server);
    let mesh = mesh(&directory);
    mesh.ready().await.unwrap();
    assert!(directory.asked().is_empty());
    for _ in 0..3 {
        assert_eq!(body(&mesh, "http://Users.Prod:80/").await.unwrap(), "a");
    }
    assert_eq!(directory.asked(), ["users.prod:80"]);
}

#[tokio::test]
async fn ready_waits_for_the_names_of_the_clients_that_were_made() {
    let server = Server::named("a").await;
    let directory = Directory::of("users", &server);
    let mesh = mesh(&directory);
    let client = mesh.client("users").unwrap();
    patience(mesh.ready()).await.unwrap();
    assert!(mesh.explain(&get("http://users/")).unwrap().to_string().contains("of users"));
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
}

#[tokio::test]
async fn calls_wait_for_the_answer_and_no_longer_than_they_may() {
    let server = Server::named("a").await;
    let directory = Directory::silent();
    let mesh = mesh(&directory);
    let client = mesh.client("users").unwrap();
    let mut short = get("/");
    short.extensions_mut().insert(tower_mesh::Call::new().timeout(Duration::from_millis(50)));
    let error = patience(fetch(&client, short)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let call = tokio::spawn(async move { fetch(&client, get("/")).await });
    patience(directory.0.asked_for.notified()).await;
    directory.add("users", &server);
    directory.answer("users");
    assert_eq!(patience(call).await.unwrap().unwrap().body(), "a");
}

#[tokio::test]
async fn a_name_that_is_not_there_is_refused_at_once_and_found_when_it_comes() {
    let server = Server::named("a").await;
    let directory = Directory::default();
    let mesh = mesh(&directory);
    mesh.ready().await.unwrap();
    let explained = mesh.explain(&get("http://users/")).unwrap_err().to_string();
    assert!(explained.contains("asks the sources that look names up"), "{explained}");
    for _ in 0..2 {
        let error = body(&mesh, "http://users/").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownService, "{error}");
        assert!(error.to_string().contains("(directory); no such entry"), "{error}");
    }
    assert_eq!(directory.asked(), ["users"]);
    directory.add("users", &server);
    directory.answer("users");
    assert_eq!(body(&mesh, "http://users/").await.unwrap(), "a");
}

#[tokio::test]
async fn a_refused_name_says_why() {
    let directory = Directory::silent();
    let mesh = mesh(&directory);
    let client = mesh.client("users").unwrap();
    let call = tokio::spawn(async move { fetch(&client, get("/")).await });
    patience(directory.0.asked_for.notified()).await;
    directory.publisher().refused("service users", "the listener has no routes");
    let error = patience(call).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("the listener has no routes"), "{error}");
}

#[tokio::test]
async fn a_name_that_was_forgotten_is_asked_for_again() {
    let server = Server::named("a").await;
    let directory = Directory::of("users", &server);
    let mesh = mesh(&directory);
    let client = mesh.client("users").unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
    let publish = directory.publisher();
    assert!(publish.idle("users").unwrap() < Duration::from_secs(60));
    publish.forget("users");
    publish.remove_cluster("of users");
    assert_eq!(publish.idle("users"), None);
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
    assert_eq!(directory.asked(), ["users", "users"]);
}

#[tokio::test]
async fn a_cluster_of_such_a_source_is_no_name_to_call() {
    let server = Server::named("a").await;
    let directory = Directory::of("users", &server);
    let mesh = mesh(&directory);
    assert_eq!(body(&mesh, "http://users/").await.unwrap(), "a");
    let mut settings = Cluster::default();
    settings.endpoints = vec![Endpoint::new(server.address().to_string().parse().unwrap())];
    directory.publisher().cluster("blue", settings).unwrap();
    let error = body(&mesh, "http://blue/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownService, "{error}");
    assert_eq!(directory.asked(), ["users", "blue"]);
}

#[tokio::test]
async fn what_another_source_defines_is_not_looked_up() {
    let (server, other) = (Server::named("a").await, Server::named("b").await);
    let directory = Directory::of("users", &server);
    let listed = Static::default().endpoints("orders", [other.address()]);
    let mesh = Mesh::builder().source(directory.clone()).source(listed).build().unwrap();
    let orders = mesh.client("orders").unwrap();
    patience(mesh.ready()).await.unwrap();
    assert_eq!(patience(fetch(&orders, get("/"))).await.unwrap().body(), "b");
    assert_eq!(body(&mesh, "http://users/").await.unwrap(), "a");
    assert_eq!(directory.asked(), ["users"]);
}

#[tokio::test]
async fn calls_do_not_wait_for_a_source_that_another_one_has_forgotten_for() {
    let (a, b) = (Directory::default(), Directory::default());
    let mesh = Mesh::builder().source(a.clone()).source(b.clone()).build().unwrap();
    let error = body(&mesh, "http://users/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownService, "{error}");
    for forgetful in [&a, &b, &a] {
        forgetful.publisher().forget("users");
        let began = std::time::SystemTime::now();
        let error = body(&mesh, "http://users/").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownService, "{error}");
        assert!(began.elapsed().unwrap() < Duration::from_secs(4), "it waited");
        patience(mesh.ready()).await.unwrap();
    }
    assert_eq!((a.asked().len(), b.asked().len()), (3, 2));
}

#[tokio::test]
async fn each_port_of_a_name_is_looked_up_whichever_is_called_first() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let directory = Directory::of("users", &a);
    directory.add("users:9080", &b);
    let mesh = mesh(&directory);
    for (url, answer) in
        [("http://users/", "a"), ("http://users:9080/", "b"), ("http://users/", "a")]
    {
        assert_eq!(body(&mesh, url).await.unwrap(), answer, "{url}");
    }
    assert_eq!(directory.asked(), ["users", "users:9080"]);
}

#[tokio::test]
async fn a_source_that_cannot_ask_keeps_nothing_of_another_from_its_calls() {
    let server = Server::named("a").await;
    let (away, directory) = (Directory::silent(), Directory::of("users", &server));
    let mesh = Mesh::builder().source(away.clone()).source(directory).build().unwrap();
    let client = mesh.client("users").unwrap();
    patience(away.0.asked_for.notified()).await;
    away.publisher().unavailable("users", "whom it asks is away");
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
    patience(mesh.ready()).await.unwrap();
}
