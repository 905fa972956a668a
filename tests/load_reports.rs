//! Load reports end to end: what servers report decides who is called.
#![cfg(feature = "orca")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use http::{HeaderValue, Response};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_mesh::{
    Body, Mesh, MeshBuilder,
    config::{Balancer, ClientWeighted, Prequal},
    server::{LoadReportLayer, ReportFormat, ServerLoad},
};

use support::{
    GreeterClient, GreeterServer, HelloRequest, Leaves, SERVICE, Server, fetch, hello, leaf::ok,
    post, reply, server::body, storm,
};

fn weighted() -> Balancer {
    let mut config = ClientWeighted::default();
    config.blackout = Some(Duration::ZERO);
    config.update = Some(Duration::from_millis(100));
    Balancer::ClientWeighted(config)
}

fn prequal() -> Balancer {
    Balancer::Prequal(Prequal::default())
}

/// An answer with this header.
fn reporting(name: &'static str, value: &str) -> Response<Body> {
    let mut response = ok("hello");
    response.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    response
}

/// Leaves that answer after a millisecond with a report of this utilisation at 100 calls a second.
fn leaves(leaves: &Leaves, utilization: fn(usize) -> f64) -> MeshBuilder {
    leaves.mesh(move |number, _| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let value = utilization(number);
        let report = format!("TEXT application_utilization:{value},rps_fractional:100");
        Ok(reporting("endpoint-load-metrics", &report))
    })
}

#[tokio::test(start_paused = true)]
async fn weights_follow_the_reports_of_plain_responses() {
    let all = Leaves::new(3);
    let mesh = leaves(&all, |number| if number == 0 { 0.25 } else { 0.5 })
        .service(SERVICE, |service| service.balancer(weighted()))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    storm(4, 2_000, |_| fetch(&client, post("/", "x"))).await;
    all.reset();
    storm(4, 4_000, |_| fetch(&client, post("/", "x"))).await;
    assert!((1_900..=2_100).contains(&all.hits(0)), "{:?}", all.all_hits());
    assert!((950..=1_050).contains(&all.hits(1)), "{:?}", all.all_hits());
}

#[tokio::test(start_paused = true)]
async fn the_blackout_is_ten_seconds_by_default() {
    let all = Leaves::new(2);
    let mesh = leaves(&all, |number| if number == 0 { 0.1 } else { 0.9 })
        .service(SERVICE, |service| {
            service.balancer(Balancer::ClientWeighted(ClientWeighted::default()))
        })
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    storm(1, 9_000, |_| fetch(&client, post("/", "x"))).await;
    assert!((4_400..=4_600).contains(&all.hits(0)), "{:?}", all.all_hits());
    storm(1, 3_000, |_| fetch(&client, post("/", "x"))).await;
    all.reset();
    storm(1, 1_000, |_| fetch(&client, post("/", "x"))).await;
    assert!((890..=910).contains(&all.hits(0)), "{:?}", all.all_hits());
}

#[tokio::test(start_paused = true)]
async fn a_report_that_cannot_be_read_changes_nothing_and_fails_nothing() {
    let all = Leaves::new(2);
    let mesh = all
        .mesh(|number, _| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let bad = ["TEXT cpu_utilization:nan", "BIN %%%", "JSON {", "x", ""];
            let bad = bad[number % bad.len()];
            let mut response = reporting("endpoint-load-metrics", bad);
            response.headers_mut().insert("x-prequal-rif", HeaderValue::from_static("-7"));
            Ok(response)
        })
        .service(SERVICE, |service| service.balancer(weighted()))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let answers = storm(2, 1_000, |_| fetch(&client, post("/", "x"))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!((450..=550).contains(&all.hits(0)), "{:?}", all.all_hits());
}

#[tokio::test(start_paused = true)]
async fn prequal_follows_what_servers_have_in_flight() {
    // The last two are busy with what others have sent them.
    let all = Leaves::new(8);
    let mesh = all
        .mesh(|number, _| async move {
            let busy = number >= 6;
            tokio::time::sleep(Duration::from_millis(if busy { 40 } else { 5 })).await;
            let (rif, latency) = if busy { ("60", "40000") } else { ("2", "5000") };
            let mut response = reporting("x-prequal-rif", rif);
            response.headers_mut().insert("x-prequal-latency-us", latency.parse().unwrap());
            Ok(response)
        })
        .service(SERVICE, |service| service.balancer(prequal()))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    storm(16, 8_000, |_| fetch(&client, post("/", "x"))).await;
    let busy = all.hits(6) + all.hits(7);
    assert!(busy * 20 <= 8_000, "{:?}", all.all_hits());
}

/// A gRPC server behind the layer, which finds itself so loaded.
async fn grpc_server(utilization: f64) -> Server {
    let load = ServerLoad::builder().application_utilization(move || utilization).build();
    let greeter = GreeterServer::new(hello(|_| async { Ok("hello".into()) }));
    let service = LoadReportLayer::new(load).layer(greeter);
    Server::start(move |request| {
        let service = service.clone();
        async move {
            match service.oneshot(request).await {
                Ok(reply) => reply.map(body),
                Err(never) => match never {},
            }
        }
    })
    .await
}

#[tokio::test]
async fn grpc_trailers_of_our_layer_steer_our_weights() {
    let servers = [grpc_server(0.2).await, grpc_server(0.4).await, grpc_server(0.8).await];
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", servers.iter().map(Server::address))
        .service("greeter.prod", |service| service.balancer(weighted()))
        .build()
        .unwrap();
    let client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    let call = || async {
        let mut client = client.clone();
        client.say_hello(HelloRequest::default()).await.unwrap()
    };
    // The servers measure their rates themselves: weights are rate over utilisation, and settle
    // where the most able gets nearly all. At first they get equal rates.
    for _ in 0..60 {
        call().await;
    }
    tokio::time::sleep(Duration::from_millis(250)).await;
    let before: Vec<_> = servers.iter().map(Server::requests).collect();
    for _ in 0..2 {
        call().await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    for _ in 0..200 {
        call().await;
    }
    let after: Vec<_> =
        servers.iter().zip(before).map(|(it, before)| it.requests() - before).collect();
    assert!(after[0] > after[1] && after[1] > after[2], "{after:?}");
    assert!(after[0] * 100 >= 202 * 50, "{after:?}");
}

#[tokio::test]
async fn http1_headers_of_our_layer_steer_prequal() {
    let start = async |delay: u64, format| {
        let service = LoadReportLayer::new(ServerLoad::default()).format(format).layer(service_fn(
            move |_| async move {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                Ok::<_, std::convert::Infallible>(reply("hello"))
            },
        ));
        Server::start(move |request| {
            let service = service.clone();
            async move { service.oneshot(request).await.unwrap().map(body) }
        })
        .await
    };
    let servers = [
        start(2, ReportFormat::Text).await,
        start(2, ReportFormat::Json).await,
        start(2, ReportFormat::Binary).await,
        start(60, ReportFormat::Text).await,
        start(60, ReportFormat::Binary).await,
    ];
    let mesh = Mesh::builder()
        .endpoints(SERVICE, servers.iter().map(Server::address))
        .service(SERVICE, |service| service.balancer(prequal()))
        .seed(3)
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let answers = storm(8, 1_500, |_| fetch(&client, post("/", "x"))).await;
    assert!(answers.iter().all(Result::is_ok));
    let slow = servers[3].requests() + servers[4].requests();
    assert!(slow * 5 <= 1_500, "{:?}", servers.iter().map(Server::requests).collect::<Vec<_>>());
}
