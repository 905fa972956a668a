//! Hedging over real connections: what servers see of it, uploads, gRPC, user layers, updates, spans,
//! and the layer over hyper-util's client.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_mesh::{
    Body, Call, Hedge, Mesh, Retry,
    config::{self, Balancer, Budget, OutlierDetection},
    discover::Static,
    resilience::HedgeLayer,
};

use crate::support::{
    BoxError, GreeterClient, HelloRequest, Leaves, SERVICE, Server, VERSIONS, fetch, get, hello,
    leaf::ok, over, published, reply, storm,
};

const MS: Duration = Duration::from_millis(1);

/// Counts what is dropped before it has answered.
struct Cut {
    count: Arc<AtomicUsize>,
    has_answered: bool,
}

impl Cut {
    fn answer(&mut self) -> crate::support::Reply {
        self.has_answered = true;
        reply("hello")
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if !self.has_answered {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A server of which one request of ten takes `slow`, and how many it has seen cut off.
async fn straggler(slow: Duration) -> (Server, Arc<AtomicUsize>) {
    let (count, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let cuts = Arc::clone(&cut);
    let server = Server::start(move |_| {
        let is_slow = count.fetch_add(1, Ordering::SeqCst) % 10 == 9;
        let mut cut = Cut { count: Arc::clone(&cuts), has_answered: false };
        async move {
            tokio::time::sleep(if is_slow { slow } else { 2 * MS }).await;
            cut.answer()
        }
    });
    (server.await, cut)
}

#[tokio::test]
async fn the_tail_of_a_slow_server_is_cut_and_the_server_is_not_blamed() {
    const CALLS: usize = 400;
    for version in VERSIONS {
        let mut tails = Vec::new();
        for hedge in [None, Some(Hedge::within(10.0))] {
            let is_hedged = hedge.is_some();
            let ((slow, cut), well) = (straggler(300 * MS).await, Server::named("hello").await);
            let mut outliers = OutlierDetection::default();
            outliers.consecutive_5xx = Some(2);
            let mesh = Mesh::builder()
                .endpoints(SERVICE, [slow.address(), well.address()])
                .service(SERVICE, |s| {
                    let retry = Retry::standard().budget(Budget::new(1.0));
                    let s = s.retry(retry).outlier_detection(outliers);
                    let s = s.balancer(Balancer::RoundRobin);
                    match hedge {
                        Some(hedge) => s.hedge(hedge),
                        None => s,
                    }
                })
                .build()
                .unwrap();
            let client = mesh.client(SERVICE).unwrap();
            let call = |_| async {
                let began = tokio::time::Instant::now();
                let answer = fetch(&client, over(version, get("/"))).await.unwrap();
                assert_eq!(answer.body(), "hello");
                began.elapsed()
            };
            storm(4, 300, call).await;
            let before = slow.requests() + well.requests();
            let mut times = storm(4, CALLS, call).await;
            times.sort_unstable();
            let seen = slow.requests() + well.requests() - before;
            // The 300 before may have left a part of their share.
            assert!(seen - CALLS <= (CALLS + 300) / 10, "{seen} {version:?}");
            if is_hedged {
                assert!(seen > CALLS, "it was never hedged");
                // Over HTTP/2 the stream is reset, over HTTP/1.1 the connection is closed.
                for _ in 0..100 {
                    if cut.load(Ordering::SeqCst) > 0 {
                        break;
                    }
                    tokio::time::sleep(10 * MS).await;
                }
                assert!(cut.load(Ordering::SeqCst) > 0, "none is cut off: {version:?}");
            } else {
                assert_eq!(cut.load(Ordering::SeqCst), 0);
            }
            let metrics = mesh.metrics();
            assert_eq!(metrics.total("mesh.client.ejections", &[]) as u64, 0, "{version:?}");
            tails.push(times[CALLS * 98 / 100]);
        }
        // 5 of 100 meet the straggler.
        assert!(tails[0] >= 300 * MS, "{tails:?}");
        assert!(tails[1] < 200 * MS, "{version:?}: {tails:?}");
    }
}

/// A body whose parts come one after the other.
fn trickling(parts: usize, part: &'static [u8], pause: Duration) -> Body {
    let frames = futures_util::stream::unfold(0, move |sent| async move {
        if sent == parts {
            return None;
        }
        tokio::time::sleep(pause).await;
        let frame = Frame::data(Bytes::from_static(part));
        Some((Ok::<_, BoxError>(frame), sent + 1))
    });
    Body::new(StreamBody::new(Box::pin(frames)))
}

#[tokio::test]
async fn two_complete_copies_of_an_upload_arrive() {
    for version in VERSIONS {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = async || {
            let seen = Arc::clone(&seen);
            Server::start(move |request| {
                let seen = Arc::clone(&seen);
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let is_second = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(body);
                        seen.len() == 2
                    };
                    // Whoever has the second copy answers; the other would much later.
                    tokio::time::sleep(if is_second { 50 * MS } else { 5_000 * MS }).await;
                    reply("stored")
                }
            })
            .await
        };
        let (one, two) = (server().await, server().await);
        let mesh = Mesh::builder()
            .endpoints(SERVICE, [one.address(), two.address()])
            .service(SERVICE, |s| s.hedge(Hedge::after(30 * MS)))
            .build()
            .unwrap();
        let client = mesh.client(SERVICE).unwrap();
        // The upload takes 100 ms: the first attempt is in the middle of it when the second begins.
        let request = Request::put("/").body(trickling(10, &[7; 1_000], 10 * MS)).unwrap();
        let answer = fetch(&client, over(version, request)).await.unwrap();
        assert_eq!(answer.body(), "stored");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 2, "{version:?}");
        assert!(seen.iter().all(|body| **body == [7; 10_000][..]), "{version:?}");
        assert_eq!((one.requests(), two.requests()), (1, 1));
    }
}

#[tokio::test]
async fn a_grpc_call_that_is_declared_harmless_is_hedged() {
    let slow = Server::grpc(hello(|_| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok("slow".into())
    }))
    .await;
    let fast = Server::grpc(hello(|_| async { Ok("fast".into()) })).await;
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [slow.address(), fast.address()])
        .service("greeter.prod", |s| {
            s.hedge(Hedge::after(20 * MS)).retry(Retry::idempotent()).balancer(Balancer::RoundRobin)
        })
        .build()
        .unwrap();
    let mut client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    for _ in 0..4 {
        let answer = client.say_hello(HelloRequest::default()).await.unwrap();
        assert_eq!(answer.into_inner().message, "fast");
    }
    assert!(slow.requests() > 0);
}

#[tokio::test(start_paused = true)]
async fn attempt_layers_see_each_attempt() {
    let (leaves, seen) = (Leaves::new(2), Arc::new(AtomicUsize::new(0)));
    let counter = leaves.clone();
    let count = Arc::clone(&seen);
    let layer = tower::util::MapRequestLayer::new(move |request: Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        request
    });
    let mesh = leaves
        .mesh(move |_, _| {
            let is_first = counter.total() == 1;
            async move {
                tokio::time::sleep(if is_first { 1_000 * MS } else { MS }).await;
                Ok(ok("hello"))
            }
        })
        .service(SERVICE, |s| s.hedge(Hedge::after(10 * MS)))
        .attempt_layer(layer)
        .build()
        .unwrap();
    let began = tokio::time::Instant::now();
    fetch(&mesh.client(SERVICE).unwrap(), get("/")).await.unwrap();
    assert_eq!(began.elapsed(), 11 * MS);
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    assert_eq!(leaves.all_hits(), [1, 1], "another endpoint");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_survives_an_update_and_is_described_and_explained() {
    let leaves = Leaves::new(2);
    let builder = leaves.leaves(Mesh::builder(), |_, _| async {
        tokio::time::sleep(20 * MS).await;
        Ok(ok("hello"))
    });
    let service = |timeout: u64, hedge: Hedge| {
        let mut service = config::Service::default();
        service.policy.timeout = Some(Duration::from_secs(timeout));
        service.policy.hedge = Some(hedge);
        service
    };
    let (mesh, publisher) = published(builder, |publisher| {
        publisher.cluster(SERVICE, crate::support::cluster(leaves.addresses())).unwrap();
        publisher.service(SERVICE, service(5, Hedge::within(2.0))).unwrap();
    })
    .await;
    let client = mesh.client(SERVICE).unwrap();
    let now = || {
        let described = mesh.describe();
        let settings = &described.services[0].routes[0].settings;
        settings.iter().find(|setting| setting.name == "hedge.now").unwrap().value.clone()
    };
    assert_eq!(now(), "not yet: 0 latencies are known");
    for _ in 0..60 {
        fetch(&client, get("/")).await.unwrap();
    }
    tokio::time::advance(200 * MS).await;
    let known = now();
    assert!(known.starts_with("after 2"), "{known}");
    assert!(known.contains("by 60 latencies"), "{known}");
    publisher.service(SERVICE, service(6, Hedge::within(2.0))).unwrap();
    tokio::time::sleep(MS).await;
    assert_eq!(now(), known);
    let explained = mesh.explain(&get(&format!("http://{SERVICE}/"))).unwrap();
    assert_eq!(explained.hedge.as_ref(), Some(&known));
    assert!(explained.to_string().contains(&format!("hedged {known}")), "{explained}");
    let post = Request::post(format!("http://{SERVICE}/")).body(()).unwrap();
    let explained = mesh.explain(&post).unwrap();
    assert!(explained.hedge.unwrap().starts_with("never"));
    // Another number begins anew.
    publisher.service(SERVICE, service(6, Hedge::within(3.0))).unwrap();
    tokio::time::sleep(MS).await;
    assert_eq!(now(), "not yet: 0 latencies are known");
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let cases: [(Hedge, &str); 9] = [
        (Hedge::within(101.0), "policy.hedge.max_extra_percent"),
        (Hedge::within(f64::NAN), "policy.hedge.max_extra_percent"),
        (Hedge::within(-1.0), "policy.hedge.max_extra_percent"),
        (Hedge::within(1.0).additional_percent(200.0), "policy.hedge.additional_percent"),
        (Hedge::within(1.0).max_attempts(1), "policy.hedge.max_attempts"),
        (Hedge::within(1.0).max_attempts(6), "policy.hedge.max_attempts"),
        (Hedge::within(1.0).initial_attempts(0), "policy.hedge.initial_attempts"),
        (Hedge::within(1.0).non_fatal_grpc([0]), "policy.hedge.non_fatal_grpc"),
        (Hedge::after(Duration::MAX), "policy.hedge.delay"),
    ];
    let refused = |hedge: &Hedge| {
        let mut service = config::Service::default();
        service.policy.hedge = Some(hedge.clone());
        service.validate(SERVICE).unwrap_err().to_string()
    };
    for (hedge, place) in cases {
        let error = refused(&hedge);
        assert!(error.contains(place), "{place}: {error}");
    }
    let silent = refused(&Hedge::default().max_attempts(3));
    assert!(silent.contains("must say when"), "{silent}");
    let many = Hedge::within(1.0).max_attempts(2).initial_attempts(3);
    assert!(refused(&many).contains("must be at most max_attempts (2)"));
    let layer = HedgeLayer::new(&Hedge::default().on_attempt_timeout(true), &Retry::standard());
    assert!(layer.unwrap_err().to_string().contains("on_attempt_timeout"));
}

/// hyper-util's client to one server, hedged.
fn layered(
    hedge: &Hedge,
    retry: &Retry,
) -> impl Service<
    Request<Body>,
    Response = http::Response<hyper::body::Incoming>,
    Error = tower_mesh::BoxError,
    Future: Send,
> + Clone
+ use<> {
    let client: Client<HttpConnector, Body> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    ServiceBuilder::new().layer(HedgeLayer::new(hedge, retry).unwrap()).service(client)
}

#[tokio::test]
async fn the_layer_hedges_over_hypers_client_with_two_copies_of_a_body() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let server = Server::start(move |request| {
        let sink = Arc::clone(&sink);
        async move {
            let (head, body) = request.into_parts();
            let attempt = head.headers.get("x-mesh-attempt").cloned();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let is_first = attempt.is_none();
            sink.lock().unwrap().push((attempt, body));
            if is_first {
                tokio::time::sleep(Duration::from_secs(5)).await;
            } else {
                tokio::time::sleep(100 * MS).await;
            }
            reply("hello")
        }
    })
    .await;
    let retry = Retry::standard();
    let uri = format!("http://{}/", server.socket());
    let client = layered(&Hedge::after(20 * MS), &retry);
    let request = Request::put(&uri).body(trickling(5, b"part ", 10 * MS)).unwrap();
    let answer = client.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    {
        let mut seen = seen.lock().unwrap();
        seen.sort_by_key(|(attempt, _)| attempt.is_some());
        assert_eq!(seen.len(), 2);
        assert_eq!((&seen[0].0, seen[1].0.as_ref().unwrap()), (&None, &"1".parse().unwrap()));
        assert!(seen.iter().all(|(_, body)| body == "part part part part part "), "{seen:?}");
        seen.clear();
    }
    // What may not be repeated is sent once.
    let request = Request::post(&uri).body(Body::from("x")).unwrap();
    let call = tokio::time::timeout(200 * MS, client.clone().oneshot(request));
    assert!(call.await.is_err());
    assert_eq!(seen.lock().unwrap().len(), 1);
    seen.lock().unwrap().clear();
    let request =
        Request::post(&uri).extension(Call::new().idempotent(true)).body(Body::from("x")).unwrap();
    assert_eq!(client.clone().oneshot(request).await.unwrap().version(), Version::HTTP_11);
    assert_eq!(seen.lock().unwrap().len(), 2);
    // An empty budget pays for none.
    let poor = retry.budget(Budget::new(0.0).min_per_second(0));
    seen.lock().unwrap().clear();
    let client = layered(&Hedge::after(20 * MS), &poor);
    let request = Request::get(&uri).body(Body::empty()).unwrap();
    assert!(tokio::time::timeout(200 * MS, client.oneshot(request)).await.is_err());
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_layer_counts_its_extra_load_exactly() {
    let count = Arc::new(AtomicUsize::new(0));
    let (sent, all) = (Arc::clone(&count), Arc::new(AtomicUsize::new(0)));
    let slow = Arc::clone(&all);
    let service = tower::service_fn(move |_: Request<Body>| {
        let number = sent.fetch_add(1, Ordering::SeqCst);
        let is_slow = slow.load(Ordering::SeqCst) > 0 || number % 20 == 0;
        async move {
            tokio::time::sleep(if is_slow { 400 * MS } else { 3 * MS }).await;
            Ok::<_, tower_mesh::BoxError>(http::Response::new(()))
        }
    });
    let retry = Retry::standard().budget(Budget::new(1.0));
    let layer = HedgeLayer::new(&Hedge::within(4.0), &retry).unwrap();
    assert_eq!(layer.delay(), None, "nothing is known yet");
    let fixed = HedgeLayer::new(&Hedge::after(20 * MS), &retry).unwrap();
    assert_eq!(fixed.delay(), Some(20 * MS));
    let client = ServiceBuilder::new().layer(layer.clone()).service(service);
    let mut calls = 0;
    for is_slow in [0, 1] {
        all.store(is_slow, Ordering::SeqCst);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            tasks.spawn(client.clone().oneshot(Request::new(Body::empty())));
            tokio::time::sleep(MS).await;
        }
        calls += 1_000;
        while let Some(answer) = tasks.join_next().await {
            answer.unwrap().unwrap();
        }
        let extra = count.load(Ordering::SeqCst) - calls;
        assert!(extra <= calls * 4 / 100, "{extra} of {calls}: {:?}", layer.delay());
        assert!(extra > 0, "{:?}", layer.delay());
        assert!(layer.delay() >= Some(MS), "{:?}", layer.delay());
    }
}

#[cfg(feature = "otel-033")]
#[tokio::test(start_paused = true)]
async fn each_attempt_is_a_span_and_those_beside_others_are_marked() {
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
    let spans = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let leaves = Leaves::new(2);
    let counter = leaves.clone();
    let mesh = leaves
        .mesh(move |_, _| {
            let is_first = counter.total() == 1;
            async move {
                tokio::time::sleep(if is_first { 1_000 * MS } else { MS }).await;
                Ok(ok("hello"))
            }
        })
        .tracer_provider(&provider)
        .service(SERVICE, |s| s.hedge(Hedge::after(10 * MS)))
        .build()
        .unwrap();
    fetch(&mesh.client(SERVICE).unwrap(), get("/")).await.unwrap();
    let mut told: Vec<_> = spans
        .get_finished_spans()
        .unwrap()
        .iter()
        .map(|span| {
            let text = |key: &str| {
                let found = span.attributes.iter().find(|it| it.key.as_str() == key);
                found.map(|it| it.value.to_string()).unwrap_or_default()
            };
            (text("mesh.attempt"), text("mesh.outcome"), text("mesh.hedge.after"))
        })
        .collect();
    told.sort();
    let row = |number: &str, outcome: &str, after: &str| {
        (number.to_owned(), outcome.to_owned(), after.to_owned())
    };
    assert_eq!(
        told,
        [row("", "response", ""), row("1", "cancelled", ""), row("2", "response", "0.01")]
    );
}

#[tokio::test(start_paused = true)]
async fn beside_faults_of_each_attempt_nothing_is_hedged_and_that_is_said() {
    let leaves = Leaves::new(2);
    let mut fault = config::Fault::delay(5 * MS).percent(0.0);
    fault.per_attempt = Some(true);
    let mesh = leaves
        .mesh(|_, _| async {
            tokio::time::sleep(50 * MS).await;
            Ok(ok("hello"))
        })
        .service(SERVICE, |s| s.hedge(Hedge::after(10 * MS)).fault(fault))
        .build()
        .unwrap();
    fetch(&mesh.client(SERVICE).unwrap(), get("/")).await.unwrap();
    assert_eq!(leaves.total(), 1);
    let explained = mesh.explain(&get(&format!("http://{SERVICE}/"))).unwrap();
    assert!(explained.hedge.unwrap().contains("per_attempt"));
}

#[tokio::test]
async fn a_hedge_that_is_refused_after_it_has_begun_costs_nothing() {
    let leave = Arc::new(tokio::sync::Semaphore::new(0));
    let start = || {
        let gate = Arc::clone(&leave);
        Server::start(move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                reply("slow")
            }
        })
    };
    let servers = [start().await, start().await];
    let mut cluster = crate::support::cluster(servers.iter().map(Server::address));
    let mut breakers = config::Breakers::default();
    (breakers.max_connections_per_endpoint, breakers.max_pending) = (Some(1), Some(1));
    cluster.breakers = Some(breakers);
    let mesh = Mesh::builder()
        .source(Static::default().cluster(SERVICE, cluster))
        .service(SERVICE, |s| {
            let retry = Retry::standard().budget(Budget::new(1.0).min_per_second(0));
            s.hedge(Hedge::after(400 * MS)).retry(retry).balancer(Balancer::RoundRobin)
        })
        .build()
        .unwrap();
    let mut events = mesh.events();
    let client = mesh.client(SERVICE).unwrap();
    let until = async |what: &dyn Fn() -> bool| {
        let waiting = async {
            while !what() {
                tokio::time::sleep(MS).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
    };
    // One on each connection, and one that waits: there is no room for a hedge of the first.
    let post = || Request::post("/").body(Body::empty()).unwrap();
    let mut calls = vec![tokio::spawn(fetch(&client, get("/")))];
    until(&|| servers.iter().map(Server::requests).sum::<usize>() == 1).await;
    calls.push(tokio::spawn(fetch(&client, post())));
    until(&|| servers.iter().all(|server| server.requests() == 1)).await;
    calls.push(tokio::spawn(fetch(&client, post())));
    let refused = || {
        let why = [("mesh.hedge.refusal", "limit")];
        mesh.metrics().total("mesh.client.hedges.refused", &why) as u64
    };
    until(&|| refused() == 1).await;
    let left = mesh.metrics().total("mesh.client.retry_budget.balance", &[]);
    assert_eq!(left as u64, 3, "what was not sent costs nothing");
    leave.add_permits(3);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().body(), "slow");
    }
    assert_eq!(servers.iter().map(Server::requests).sum::<usize>(), 3);
    let told = std::iter::from_fn(|| events.try_recv());
    let told = told.filter(|event| matches!(event, tower_mesh::Event::HedgeRefused { .. }));
    assert_eq!(told.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn beside_a_bound_of_one_attempt_alone_it_is_refused_and_of_two_layers_the_nearer_has_its_way()
 {
    let mut service = config::Service::default();
    service.policy.hedge = Some(Hedge::within(1.0));
    service.policy.response_timeout = Some(Duration::from_secs(1));
    let error = service.validate(SERVICE).unwrap_err().to_string();
    assert!(error.contains("policy.hedge") && error.contains("response_timeout"), "{error}");
    // Said by two: the code hedges, the source bounds. The nearer one has its way, and it is told.
    let leaves = Leaves::new(2);
    let builder = leaves.leaves(Mesh::builder(), |_, _| async {
        tokio::time::sleep(50 * MS).await;
        Ok(ok("hello"))
    });
    service.policy.hedge = None;
    let builder = builder.service(SERVICE, |s| s.hedge(Hedge::after(10 * MS)));
    let cluster = crate::support::cluster(leaves.addresses());
    let source = Static::default().cluster(SERVICE, cluster).service(SERVICE, service);
    let mesh = builder.source(source).build().unwrap();
    let told = mesh.ready().await.unwrap_err().to_string();
    assert!(told.contains("hedge") && told.contains("response_timeout"), "{told}");
    fetch(&mesh.client(SERVICE).unwrap(), get("/")).await.unwrap();
    assert_eq!(leaves.total(), 2);
}
