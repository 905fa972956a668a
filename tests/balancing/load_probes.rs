//! Probes of load end to end: what servers answer to them decides who is called, and nobody waits
//! for them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_mesh::{
    Body, Mesh,
    config::{Balancer, Endpoint, Health, Prequal, Protocol},
    server::{LoadReportLayer, ServerLoad},
};

use crate::support::{Leaves, SERVICE, Server, fetch, leaf::ok, post, reply, server::body, storm};

const PATH: &str = "/.well-known/load-report";

fn probing(rate: f64) -> Balancer {
    let mut config = Prequal::default();
    config.probe_rate = Some(rate);
    Balancer::Prequal(config)
}

/// An answer that says that its server is idle and quick.
fn idle(status: StatusCode) -> Response<Body> {
    let mut response = ok("");
    *response.status_mut() = status;
    response.headers_mut().insert("x-prequal-rif", HeaderValue::from_static("0"));
    response.headers_mut().insert("x-prequal-latency-us", HeaderValue::from_static("10"));
    response
}

/// How often each endpoint was called, and how often it was probed.
#[derive(Clone)]
struct Seen(Arc<Vec<[AtomicUsize; 2]>>);

impl Seen {
    fn new(count: usize) -> Self {
        Self(Arc::new((0..count).map(|_| Default::default()).collect()))
    }

    fn note(&self, number: usize, request: &Request<Body>) -> bool {
        let is_probe = request.uri().path() == PATH;
        self.0[number][usize::from(is_probe)].fetch_add(1, SeqCst);
        is_probe
    }

    fn calls(&self) -> Vec<usize> {
        self.0.iter().map(|[calls, _]| calls.load(SeqCst)).collect()
    }

    fn probes(&self) -> Vec<usize> {
        self.0.iter().map(|[_, probes]| probes.load(SeqCst)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_to_the_last_probe_and_without_calls_there_are_none() {
    for (rate, expected) in [(0.0, 0), (0.3, 300), (1.0, 1_000), (2.5, 2_500)] {
        let (all, seen) = (Leaves::new(16), Seen::new(16));
        let noted = seen.clone();
        let mesh = all
            .mesh(move |number, request| {
                let is_probe = noted.note(number, &request);
                async move {
                    if !is_probe {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Ok(idle(StatusCode::OK))
                }
            })
            .service(SERVICE, |service| service.balancer(probing(rate)))
            .build()
            .unwrap();
        let client = mesh.client(SERVICE).unwrap();
        for _ in 0..1_000 {
            fetch(&client, post("/", "x")).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let probes = seen.probes();
        assert_eq!(probes.iter().sum::<usize>(), expected, "{rate}: {probes:?}");
        // Of random endpoints.
        let mean = expected / 16;
        assert!(probes.iter().all(|probes| (mean / 2..=mean * 2).contains(probes)), "{probes:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(seen.probes(), probes, "nothing is called, and something is probed");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_believed_and_no_other() {
    // How the first two of eight answer probes; the others say nothing of themselves.
    let cases = [(0, StatusCode::OK), (20, StatusCode::OK), (0, StatusCode::SERVICE_UNAVAILABLE)];
    let mut shares = Vec::new();
    for (delay, status) in cases {
        let (all, seen) = (Leaves::new(8), Seen::new(8));
        let noted = seen.clone();
        let mesh = all
            .mesh(move |number, request| {
                let is_probe = noted.note(number, &request);
                async move {
                    if !is_probe {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        return Ok(ok("hello"));
                    }
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                    Ok(if number < 2 { idle(status) } else { ok("") })
                }
            })
            .service(SERVICE, |service| service.balancer(probing(3.0)))
            .build()
            .unwrap();
        let client = mesh.client(SERVICE).unwrap();
        storm(4, 4_000, |_| fetch(&client, post("/", "x"))).await;
        let calls = seen.calls();
        shares.push((calls[0] + calls[1]) * 100 / 4_000);
    }
    let [in_time, late, failed] = shares[..] else { panic!("{shares:?}") };
    assert!(in_time >= 90, "{shares:?}");
    assert!((20..=30).contains(&late) && (20..=30).contains(&failed), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn no_call_waits_for_probes_and_one_endpoint_has_one_at_a_time() {
    let (all, asked) = (Leaves::new(8), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&asked);
    let mesh = all
        .mesh(move |_, request: Request<Body>| {
            let counted = Arc::clone(&counted);
            async move {
                if request.uri().path() == PATH {
                    counted.fetch_add(1, SeqCst);
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(ok("hello"))
            }
        })
        .service(SERVICE, |service| service.balancer(probing(16.0)))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let began = tokio::time::Instant::now();
    for _ in 0..500 {
        fetch(&client, post("/", "x")).await.unwrap();
    }
    assert!(began.elapsed() <= Duration::from_millis(1_001), "{:?}", began.elapsed());
    assert_eq!(asked.load(SeqCst), 8);
    // Who hangs for ever is left, and asked again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(asked.load(SeqCst), 8);
    fetch(&client, post("/", "x")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(asked.load(SeqCst) > 8);
}

#[tokio::test(start_paused = true)]
async fn who_drains_or_fails_is_not_probed() {
    let (all, seen) = (Leaves::new(6), Seen::new(6));
    let noted = seen.clone();
    let endpoints = (0..6).map(|number| {
        let endpoint = Endpoint::from(Leaves::address(number));
        if number == 0 { endpoint.health(Health::Draining) } else { endpoint }
    });
    let mesh = all
        .leaves(Mesh::builder(), move |number, request| {
            let is_probe = noted.note(number, &request);
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if number == 1 && !is_probe {
                    return Ok(crate::support::leaf::answer(500));
                }
                Ok(idle(StatusCode::OK))
            }
        })
        .endpoints(SERVICE, endpoints)
        .seed(7)
        .service(SERVICE, |service| service.balancer(probing(3.0)))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    storm(1, 400, |_| fetch(&client, post("/", "x"))).await;
    let (calls, probes) = (seen.calls(), seen.probes());
    assert_eq!((calls[0], probes[0]), (0, 0), "{calls:?} {probes:?}");
    // It says that it is idle, and whoever calls it sees that it fails.
    assert!(calls[1] <= 8 && probes[1] < probes[2] / 4, "{calls:?} {probes:?}");
}

/// A server whose responses say nothing of its load: only probes do. It is in the midst of so many
/// calls of others.
async fn server(busy: usize) -> Server {
    let service =
        LoadReportLayer::new(ServerLoad::default()).probes().layer(service_fn(move |request| {
            let request: Request<hyper::body::Incoming> = request;
            async move {
                if request.uri().path() == "/hang" {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                Ok::<_, Infallible>(reply(if busy > 0 { "busy" } else { "idle" }))
            }
        }));
    let server = Server::start(move |request| {
        let service = service.clone();
        async move {
            let is_probe = request.uri().path() == PATH;
            let mut answer = service.oneshot(request).await.unwrap();
            if !is_probe {
                answer.headers_mut().remove("endpoint-load-metrics");
            }
            answer.map(body)
        }
    })
    .await;
    let others = Mesh::builder().endpoints(SERVICE, [server.address()]).build().unwrap();
    for _ in 0..busy {
        let client = others.client(SERVICE).unwrap();
        tokio::spawn(async move { fetch(&client, post("/hang", "x")).await });
    }
    while server.requests() < busy {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server
}

#[tokio::test]
async fn probes_of_our_layer_find_the_busy_ones() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut servers = Vec::new();
        for number in 0..6 {
            servers.push(server(if number < 2 { 40 } else { 0 }).await);
        }
        let mut config = Prequal::default();
        config.probe_rate = Some(3.0);
        // Real time, on a machine that may be busy.
        config.probe_timeout = Some(Duration::from_millis(200));
        let mut shares = Vec::new();
        for balancer in [Balancer::Prequal(config), Balancer::Prequal(Prequal::default())] {
            let endpoints = servers.iter().map(|server| {
                let mut endpoint = Endpoint::from(server.address());
                endpoint.protocol = Some(protocol);
                endpoint
            });
            let mesh = Mesh::builder()
                .endpoints(SERVICE, endpoints)
                .service(SERVICE, |service| service.balancer(balancer))
                .seed(5)
                .build()
                .unwrap();
            let client = mesh.client(SERVICE).unwrap();
            let answers = storm(4, 400, |_| fetch(&client, post("/", "x"))).await;
            let busy = answers
                .into_iter()
                .filter(|answer| answer.as_ref().unwrap().body() == "busy")
                .count();
            shares.push(busy * 100 / 400);
        }
        // Two of six. Without probes nobody knows.
        assert!(shares[0] <= 10 && shares[1] >= 20, "{protocol:?}: {shares:?}");
    }
}
