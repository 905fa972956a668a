//! nginx ends connections: after some requests, after some idle time.

use std::{fs, time::Duration};

use http::Version;
use tower_mesh::{Client, Mesh, config::Retry};

use crate::{
    load::Load,
    nginx::{Nginx, at, call, request},
    program::{folder, seconds},
    tally::Tally,
};

fn mesh(port: u16, retry: Retry) -> (Mesh, Client, Tally) {
    let mesh = Mesh::builder()
        .endpoints("web", [at(port)])
        .service("web", |s| s.retry(retry))
        .build()
        .unwrap();
    let (client, tally) = (mesh.client("web").unwrap(), Tally::of(&mesh));
    (mesh, client, tally)
}

/// Every connection was used at most so often, and it took many of them.
fn assert_connections_ended(load: &Load, uses: usize) {
    let most = load.answers.values().max().unwrap();
    assert!(*most <= uses, "{most} answers on one connection");
    assert!(load.answers.len() >= load.calls() / uses);
}

/// Calls of a service that declares nothing: all kinds of them, or `POST`s alone.
async fn ended_after_requests(
    version: Version,
    posts: bool,
    width: usize,
    uses: usize,
    port: u16,
) -> Tally {
    let (_mesh, client, tally) = mesh(port, Retry::default());
    let make = move |number: usize| {
        let number = if posts { number % 2 + 2 } else { number };
        call(client.clone(), request(number, version))
    };
    let (load, ()) = Load::during(width, make, tokio::time::sleep(seconds(2))).await;
    let what = if posts { "POSTs" } else { "calls" };
    println!(
        "nginx, {version:?}, {uses} requests a connection, {width} callers: {} {what}, {} failed, \
         {} connections; {}",
        load.calls(),
        load.failures.len(),
        load.answers.len(),
        tally.line()
    );
    load.assert_none_failed(150);
    assert_connections_ended(&load, uses);
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_connections_that_nginx_ends_after_five_requests() {
    let nginx = Nginx::start("keepalive_requests 5;").await;
    ended_after_requests(Version::HTTP_11, false, 1, 5, nginx.http1).await;
    ended_after_requests(Version::HTTP_11, false, 32, 5, nginx.http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_connections_that_nginx_ends_after_a_hundred_requests() {
    // One more, so that the last of a connection is each kind of request in turn.
    let nginx = Nginx::start("keepalive_requests 101;").await;
    ended_after_requests(Version::HTTP_2, false, 1, 101, nginx.http2).await;
    ended_after_requests(Version::HTTP_2, false, 32, 101, nginx.http2).await;
}

/// What comes after its GOAWAY nginx refuses: it says so, and nobody has to declare anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undeclared_http_2_posts_that_nginx_refuses_are_sent_again() {
    let nginx = Nginx::start("keepalive_requests 101;").await;
    let tally = ended_after_requests(Version::HTTP_2, true, 32, 101, nginx.http2).await;
    assert!(tally.count("retry, refused") > 0, "{}", tally.line());
}

/// Calls that come around the moment at which nginx closes their idle connection.
async fn taken_at_the_close(what: &str, mesh: &Mesh, posts: bool) -> (Load, Tally) {
    let (client, tally) = (mesh.client("web").unwrap(), Tally::of(mesh));
    let make = move |number: usize| {
        let client = client.clone();
        async move {
            // 18.0, 18.1, … 22.0 ms.
            let pause = Duration::from_micros(18_000 + (number as u64 % 41) * 100);
            tokio::time::sleep(pause).await;
            call(client, request(if posts { 2 } else { 0 }, Version::HTTP_11)).await
        }
    };
    let (load, ()) = Load::during(32, make, tokio::time::sleep(seconds(4))).await;
    println!(
        "nginx, idle connections closed, {what}: {} calls, {} failed, {} connections; {}",
        load.calls(),
        load.failures.len(),
        load.answers.len(),
        tally.line()
    );
    (load, tally)
}

const CLOSES_AFTER_20_MS: &str = "keepalive_timeout 20ms;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_that_nginx_closes_while_a_get_takes_them() {
    let nginx = Nginx::start(CLOSES_AFTER_20_MS).await;
    let mesh = Mesh::builder().endpoints("web", [at(nginx.http1)]).build().unwrap();
    let (load, tally) = taken_at_the_close("GET", &mesh, false).await;
    load.assert_none_failed(500);
    assert!(tally.count("disconnected, closed by peer") > 50, "{}", tally.line());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_that_nginx_closes_while_a_declared_post_takes_them() {
    let nginx = Nginx::start(CLOSES_AFTER_20_MS).await;
    let mesh = Mesh::builder()
        .endpoints("web", [at(nginx.http1)])
        .service("web", |s| s.retry(Retry::idempotent()))
        .build()
        .unwrap();
    let (load, tally) = taken_at_the_close("POST, declared idempotent", &mesh, true).await;
    load.assert_none_failed(500);
    assert!(tally.count("disconnected, closed by peer") > 50, "{}", tally.line());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_that_we_close_before_nginx_does() {
    // How a service of undeclared POSTs is set up: our idle timeout is the shorter one.
    let nginx = Nginx::start("keepalive_timeout 30s;").await;
    let dir = folder();
    let path = dir.path().join("mesh.yaml");
    let text = format!(
        "clusters: {{web: {{transport: {{idle_timeout: 20ms}}, endpoints: [{{address: \"{}\"}}]}}}}",
        at(nginx.http1)
    );
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let (load, tally) = taken_at_the_close("POST, our timeout shorter", &mesh, true).await;
    load.assert_none_failed(500);
    assert!(tally.count("disconnected, idle") > 50, "{}", tally.line());
    assert_eq!(tally.count("disconnected, closed by peer"), 0, "{}", tally.line());
}

/// What no client can know: whether nginx has read a request that it answers with the end of
/// the connection. Such a POST fails, with an error that says so, unless it is declared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_that_cross_the_close_on_the_wire_fail_and_are_few() {
    let nginx = Nginx::start(CLOSES_AFTER_20_MS).await;
    let mesh = Mesh::builder().endpoints("web", [at(nginx.http1)]).build().unwrap();
    let (load, tally) = taken_at_the_close("POST, undeclared", &mesh, true).await;
    assert!(load.calls() > 500 && load.failures.len() * 20 < load.calls(), "{:?}", load.failures);
    for failure in &load.failures {
        assert!(failure.contains("connection failed"), "{failure}");
    }
    assert!(tally.count("disconnected, closed by peer") > 50, "{}", tally.line());
}
