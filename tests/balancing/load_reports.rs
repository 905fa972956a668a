//! Load reports end to end: what servers report decides who is called.
#![allow(clippy::float_cmp, reason = "counts are whole")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use tower::{
    Layer as _, Service as _, ServiceBuilder, ServiceExt as _, service_fn,
    util::BoxCloneSyncService,
};
use tower_mesh::{
    Body, Mesh, MeshBuilder,
    config::{Balancer, ClientWeighted, Prequal},
    observe::MetricValue,
    server::{LoadReportBody, LoadReportLayer, OutOfBand, ReportFormat, ServerLoad},
};

use crate::support::{
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

/// A service that panics when it is called without having been made ready; its clones are not.
struct Strict {
    ready: bool,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        let (under_way, most) = (Arc::clone(&self.under_way), Arc::clone(&self.most));
        Self { ready: false, under_way, most, calls: Arc::clone(&self.calls) }
    }
}

impl tower::Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        self.calls.fetch_add(1, Relaxed);
        let (under_way, most) = (Arc::clone(&self.under_way), Arc::clone(&self.most));
        Box::pin(async move {
            most.fetch_max(under_way.fetch_add(1, Relaxed) + 1, Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
            under_way.fetch_sub(1, Relaxed);
            Ok(ok("hello"))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_layer_keeps_towers_contract() {
    let strict = Strict {
        ready: false,
        under_way: Arc::default(),
        most: Arc::default(),
        calls: Arc::default(),
    };
    let (most, calls) = (Arc::clone(&strict.most), Arc::clone(&strict.calls));
    let layer = LoadReportLayer::new(ServerLoad::default()).out_of_band().probes();
    // Tower's own limit on either side of it.
    let outer = ServiceBuilder::new().concurrency_limit(1).layer(layer.clone());
    let outer = outer.service(strict.clone());
    let inner = ServiceBuilder::new().layer(layer).concurrency_limit(1).service(strict);
    type Boxed = BoxCloneSyncService<Request<Body>, Response<LoadReportBody<Body>>, Infallible>;
    let user = async |mut service: Boxed| {
        for _ in 0..5 {
            let answer = service.ready().await.unwrap().call(post("/", "x")).await.unwrap();
            assert!(answer.headers().contains_key("endpoint-load-metrics"));
        }
        // One that is ready and never called, and a call that is given up, keep no place.
        drop(service.ready().await.unwrap().call(post("/", "x")));
        drop(service);
    };
    for service in [BoxCloneSyncService::new(outer), BoxCloneSyncService::new(inner)] {
        most.store(0, Relaxed);
        calls.store(0, Relaxed);
        let mut reserved = service.clone();
        reserved.ready().await.unwrap();
        // It holds the one place.
        let mut other = service.clone();
        assert!(tokio::time::timeout(Duration::from_secs(1), other.ready()).await.is_err());
        drop((reserved, other));
        let users = (0..8).map(|_| user(service.clone()));
        let all = futures_util::future::join_all(users);
        tokio::time::timeout(Duration::from_secs(5), all).await.expect("a clone waits for ever");
        assert_eq!((calls.load(Relaxed), most.load(Relaxed)), (8 * 6, 1));
    }
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

/// What is counted where weights are computed.
struct Weighed {
    fallbacks: f64,
    not_yet_usable: f64,
    stale: f64,
    /// Weights, those that are 0 included, and their sum.
    all: f64,
    sum: f64,
}

impl Weighed {
    fn of(mesh: &Mesh) -> Self {
        let (metrics, of) = (mesh.metrics(), [("mesh.cluster", SERVICE)]);
        let total = |name: &str| metrics.total(&format!("mesh.client.weights{name}"), &of);
        let weights = metrics.family("mesh.client.weights").map(|it| it.samples[0].value());
        let Some(MetricValue::Distribution { sum, .. }) = weights else { panic!("{weights:?}") };
        Self {
            fallbacks: total(".fallbacks"),
            not_yet_usable: total(".not_yet_usable"),
            stale: total(".stale"),
            all: total(""),
            sum: *sum,
        }
    }

    /// What has been counted since.
    fn since(&self, before: &Self) -> [f64; 5] {
        let each = |it: &Self| [it.fallbacks, it.not_yet_usable, it.stale, it.all, it.sum];
        let before = each(before);
        std::array::from_fn(|n| each(self)[n] - before[n])
    }
}

#[tokio::test(start_paused = true)]
async fn weights_are_counted_by_whether_they_are_usable_each_time_they_are_computed() {
    let (all, is_silent) = (Leaves::new(3), Arc::new(AtomicBool::new(false)));
    let silent = Arc::clone(&is_silent);
    // The last one never reports.
    let mesh = all.mesh(move |number, _| {
        let silent = Arc::clone(&silent);
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let utilization = match number {
                0 => 0.25,
                1 => 0.5,
                _ => return Ok(ok("hello")),
            };
            if silent.load(Relaxed) {
                return Ok(ok("hello"));
            }
            let report = format!("TEXT application_utilization:{utilization},rps_fractional:100");
            Ok(reporting("endpoint-load-metrics", &report))
        }
    });
    let mut config = ClientWeighted::default();
    config.blackout = Some(Duration::from_millis(500));
    config.expiration = Some(Duration::from_secs(1));
    config.update = Some(Duration::from_millis(100));
    let balancer = Balancer::ClientWeighted(config);
    let mesh = mesh.service(SERVICE, |service| service.balancer(balancer)).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    // A call takes a millisecond.
    let calls = async |count: usize| {
        storm(1, count, |_| fetch(&client, post("/", "x"))).await;
    };

    calls(400).await;
    let early = Weighed::of(&mesh);
    assert!(early.fallbacks >= 3.0, "{} computations in 400 ms", early.fallbacks);
    assert_eq!((early.not_yet_usable, early.stale), (3.0 * early.fallbacks, 0.0));
    assert_eq!((early.all, early.sum), (early.not_yet_usable, 0.0));

    calls(600).await;
    let before = Weighed::of(&mesh);
    calls(500).await;
    let [fallbacks, times, stale, weights, sum] = Weighed::of(&mesh).since(&before);
    assert!(times >= 3.0, "{times} computations in 500 ms");
    assert_eq!((fallbacks, stale), (0.0, 0.0));
    assert_eq!((weights, sum), (3.0 * times, 600.0 * times));

    is_silent.store(true, Relaxed);
    calls(1_300).await;
    let before = Weighed::of(&mesh);
    calls(500).await;
    let [fallbacks, times, stale, weights, sum] = Weighed::of(&mesh).since(&before);
    assert!(times >= 3.0, "{times} computations in 500 ms");
    assert_eq!((fallbacks, stale), (times, 2.0 * times));
    assert_eq!((weights, sum), (3.0 * times, 0.0));
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
    let servers = [grpc_server(0.05).await, grpc_server(0.9).await, grpc_server(0.9).await];
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
    // What the others get is little, and their rates are measured in real time.
    assert!(after[0] > after[1] && after[0] > after[2], "{after:?}");
    assert!(after[0] * 100 >= 202 * 50, "{after:?}");
}

#[tokio::test]
async fn http1_headers_of_our_layer_steer_prequal() {
    let start = async |delay: u64, format| {
        let service = LoadReportLayer::new(ServerLoad::default()).format(format).layer(service_fn(
            move |_| async move {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                Ok::<_, Infallible>(reply("hello"))
            },
        ));
        Server::start(move |request| {
            let service = service.clone();
            async move { service.oneshot(request).await.unwrap().map(body) }
        })
        .await
    };
    let servers = [
        start(5, ReportFormat::Text).await,
        start(5, ReportFormat::Json).await,
        start(5, ReportFormat::Binary).await,
        start(400, ReportFormat::Text).await,
        start(400, ReportFormat::Binary).await,
    ];
    let mesh = Mesh::builder()
        .endpoints(SERVICE, servers.iter().map(Server::address))
        .service(SERVICE, |service| service.balancer(prequal()))
        .seed(3)
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let answers = storm(8, 800, |_| fetch(&client, post("/", "x"))).await;
    assert!(answers.iter().all(Result::is_ok));
    let slow = servers[3].requests() + servers[4].requests();
    // Two of five. Real time: on a busy machine the fast ones are not always fast.
    assert!(slow * 5 <= 800, "{:?}", servers.iter().map(Server::requests).collect::<Vec<_>>());
}

/// A gRPC server that streams its load, and says nothing of it with its responses.
async fn streaming_server(utilization: f64, streams: Arc<AtomicUsize>) -> Server {
    let load = ServerLoad::builder().application_utilization(move || utilization).build();
    let stream = OutOfBand::new(load.clone()).min_interval(Duration::from_millis(20));
    let greeter = GreeterServer::new(hello(|_| async { Ok("hello".into()) }));
    let counted = LoadReportLayer::new(load).layer(greeter);
    Server::start(move |request| {
        let (stream, counted, streams) = (stream.clone(), counted.clone(), Arc::clone(&streams));
        async move {
            if request.uri().path().ends_with("/StreamCoreMetrics") {
                streams.fetch_add(1, Relaxed);
                return stream.oneshot(request).await.unwrap().map(body);
            }
            let reply = counted.oneshot(request).await.unwrap();
            // Without the report that the layer has attached.
            reply.map(|reply| {
                body(reply.map_frame(|frame| match frame.into_trailers() {
                    Ok(mut trailers) => {
                        trailers.remove("endpoint-load-metrics-bin");
                        http_body::Frame::trailers(trailers)
                    }
                    Err(frame) => frame,
                }))
            })
        }
    })
    .await
}

#[tokio::test]
async fn streams_beside_the_traffic_steer_our_weights_one_per_endpoint() {
    let counts: Vec<Arc<AtomicUsize>> = (0..3).map(|_| Arc::default()).collect();
    let mut servers = Vec::new();
    for (number, count) in counts.iter().enumerate() {
        let utilization = [0.2, 0.4, 0.8][number];
        servers.push(streaming_server(utilization, Arc::clone(count)).await);
    }
    let mut config = ClientWeighted::default();
    (config.blackout, config.update) = (Some(Duration::ZERO), Some(Duration::from_millis(100)));
    (config.out_of_band, config.out_of_band_period) = (Some(true), Some(Duration::from_millis(50)));
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", servers.iter().map(Server::address))
        .service("greeter.prod", |service| service.balancer(Balancer::ClientWeighted(config)))
        .build()
        .unwrap();
    let mut client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    for _ in 0..8 {
        for _ in 0..30 {
            client.say_hello(HelloRequest::default()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let before: Vec<_> = servers.iter().map(Server::requests).collect();
    for _ in 0..200 {
        client.say_hello(HelloRequest::default()).await.unwrap();
    }
    let after: Vec<_> =
        servers.iter().zip(before).map(|(it, before)| it.requests() - before).collect();
    assert!(after[0] > after[1] && after[1] > after[2] && after[0] >= 100, "{after:?}");
    let streams: Vec<_> = counts.iter().map(|count| count.load(Relaxed)).collect();
    assert_eq!(streams, [1, 1, 1]);
}

#[tokio::test]
async fn a_server_without_the_method_is_asked_once_and_one_that_ends_it_again() {
    let (refused, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let start = async |counts: &Arc<AtomicUsize>, code: &'static str| {
        let counts = Arc::clone(counts);
        Server::start(move |request| {
            let counts = Arc::clone(&counts);
            async move {
                let mut answer = reply(bytes::Bytes::new());
                let headers = answer.headers_mut();
                headers.insert("content-type", HeaderValue::from_static("application/grpc"));
                let stream = request.uri().path().ends_with("/StreamCoreMetrics");
                counts.fetch_add(usize::from(stream), Relaxed);
                let code = if stream { code } else { "0" };
                headers.insert("grpc-status", HeaderValue::from_static(code));
                answer
            }
        })
        .await
    };
    let servers = [start(&refused, "12").await, start(&ended, "14").await];
    let mut config = ClientWeighted::default();
    (config.update, config.out_of_band) = (Some(Duration::from_millis(100)), Some(true));
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", servers.iter().map(Server::address))
        .service("greeter.prod", |service| service.balancer(Balancer::ClientWeighted(config)))
        .build()
        .unwrap();
    let client = mesh.client("greeter.prod").unwrap();
    for _ in 0..30 {
        let mut request = post("/helloworld.Greeter/SayHello", "");
        *request.version_mut() = http::Version::HTTP_2;
        client.send(request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(refused.load(Relaxed), 1);
    // At once, then after 1 s and 2 s.
    assert!((2..=3).contains(&ended.load(Relaxed)), "{ended:?}");
}
