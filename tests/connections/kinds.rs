//! Connections: how many, which protocol, when they are kept, over which sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use http::{Request, Version};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tower_mesh::{Body, Mesh, config};

use crate::support::{
    Leaves, Pipes, RawServer, Recorder, Server, VERSIONS, cluster, failures, fetch, get, h2,
    one_cluster, over, patience, post, reply, storm,
};

#[tokio::test]
async fn serial_calls_share_one_connection() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    for _ in 0..50 {
        client.send(get("/")).await.unwrap().into_body().bytes().await.unwrap();
    }
    assert_eq!(server.connections(), 1, "HTTP/1.1");
    for _ in 0..50 {
        client.send(h2("/")).await.unwrap().into_body().bytes().await.unwrap();
    }
    assert_eq!(server.connections(), 2, "and one of HTTP/2");
}

#[tokio::test]
async fn parallel_http_2_calls_share_one_connection() {
    let server = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        reply("hello")
    })
    .await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers =
        storm(50, 500, |_| async { client.send(h2("/")).await?.into_body().bytes().await }).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn another_http_2_connection_opens_near_the_peers_stream_limit() {
    // A server that allows four streams a connection.
    let gate = Arc::new(Semaphore::new(0));
    let hold = Arc::clone(&gate);
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let server = RawServer::start(move |stream, _| {
        let (gate, begun) = (Arc::clone(&hold), Arc::clone(&count));
        async move {
            let service = service_fn(move |_| {
                let gate = Arc::clone(&gate);
                begun.fetch_add(1, Ordering::SeqCst);
                async move {
                    let _open = gate.acquire().await;
                    Ok::<_, std::convert::Infallible>(reply("hello"))
                }
            });
            let mut builder =
                hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            drop(
                builder
                    .max_concurrent_streams(4)
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        }
    })
    .await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let mut calls = Vec::new();
    for n in 1..=12 {
        let client = client.clone();
        calls.push(tokio::spawn(async move { client.send(h2("/")).await }));
        patience(async {
            while begun.load(Ordering::SeqCst) < n {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    assert_eq!(server.connections(), 3, "12 streams, 4 a connection");
    gate.add_permits(1000);
    for call in calls {
        assert_eq!(patience(call).await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn the_protocol_follows_the_setting_then_the_request() {
    let server =
        Server::start(|request| async move { reply(format!("{:?}", request.version())) }).await;
    let mesh = Mesh::builder()
        .endpoints("free", [server.address()])
        .endpoints("two", [server.address()])
        .service("two", |s| s.protocol(config::Protocol::Http2))
        .build()
        .unwrap();
    let said = async |service: &str, request: Request<Body>| {
        let answer = mesh.client(service).unwrap().send(request).await.unwrap();
        answer.into_body().text().await.unwrap()
    };
    assert_eq!(said("free", get("/")).await, "HTTP/1.1");
    assert_eq!(said("free", h2("/")).await, "HTTP/2.0");
    assert_eq!(said("two", get("/")).await, "HTTP/2.0");
}

/// The system's own word on the connections to this port: milliseconds until it probes their peer.
#[cfg(target_os = "linux")]
fn probed_in(port: u16) -> Vec<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    // Established, and their timer is that of keepalive. It counts hundredths of a second.
    let rows = rows.filter(|row| row[2].ends_with(&port) && row[3] == "01");
    let timers = rows.filter_map(|row| row[5].strip_prefix("02:").map(str::to_owned));
    timers.map(|left| u64::from_str_radix(&left, 16).unwrap() * 10).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_system_probes_the_peers_of_both_protocols_by_default() {
    for version in VERSIONS {
        let server = Server::named("hello").await;
        // One that nobody asked for probes.
        let _other = std::net::TcpStream::connect(server.socket()).unwrap();
        let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
        let client = mesh.client("users").unwrap();
        client.send(over(version, get("/"))).await.unwrap().into_body().bytes().await.unwrap();
        // Until what was sent is acknowledged, the timer is that of sending it again.
        let probed = async {
            loop {
                let probed = probed_in(server.socket().port());
                if !probed.is_empty() {
                    return probed;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let probed = patience(probed).await;
        assert!(matches!(probed[..], [20_000..=30_100]), "{version:?}: {probed:?}");
    }
}

#[tokio::test]
async fn an_unread_body_does_not_poison_its_connection() {
    let server = Server::start(|_| async { reply(vec![b'x'; 1024 * 1024]) }).await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    for _ in 0..20 {
        drop(client.send(get("/")).await.unwrap());
        let answer = patience(client.send(get("/"))).await.unwrap();
        assert_eq!(answer.into_body().bytes().await.unwrap().len(), 1024 * 1024);
    }
}

#[tokio::test]
async fn cancelled_calls_leave_the_others_alone() {
    let server = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        reply("hello")
    })
    .await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers = storm(20, 400, |n| {
        let request = if n % 4 < 2 { get("/") } else { h2("/") };
        let call = client.send(request);
        async move {
            if n % 2 == 0 {
                drop(tokio::time::timeout(Duration::from_millis(3), call).await);
                return Ok("hello".to_owned());
            }
            call.await?.into_body().text().await
        }
    })
    .await;
    for answer in answers {
        assert_eq!(answer.unwrap(), "hello");
    }
}

#[tokio::test]
async fn a_cancelled_first_call_does_not_lose_the_connection_for_the_next() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    // Polled once, then dropped: the connection that it began is made all the same.
    let mut first = Box::pin(client.send(h2("/")));
    let pending = std::future::poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_pending()));
    assert!(pending.await);
    drop(first);
    assert_eq!(patience(client.send(h2("/"))).await.unwrap().status(), 200);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn bodies_of_any_size_arrive_whole() {
    let server = Server::start(|request| async move {
        use http_body_util::BodyExt;
        reply(request.into_body().collect().await.unwrap().to_bytes())
    })
    .await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for size in [0_usize, 1, 65_535, 65_536, 65_537, 3_000_000] {
            let body: Vec<u8> = (0..=250).cycle().take(size).collect();
            let request =
                Request::post("/").version(version).body(Body::from(body.clone())).unwrap();
            let answer = patience(client.send(request)).await.unwrap();
            let bytes = patience(answer.into_body().bytes()).await.unwrap();
            assert!(bytes == body, "{version:?}, {size} bytes");
        }
    }
}

#[tokio::test]
async fn an_http1_connection_that_was_busy_at_its_age_is_retired_all_the_same() {
    let server = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        reply("hello")
    })
    .await;
    let mut cluster = cluster([server.address()]);
    cluster.transport.max_age = Some(Duration::from_millis(100));
    let mesh = one_cluster(cluster).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    for _ in 0..3 {
        fetch(&client, get("/")).await.unwrap();
    }
    events
        .until(|event| {
            matches!(
                event,
                tower_mesh::Event::Disconnected { reason: tower_mesh::DisconnectReason::Age, .. }
            )
        })
        .await;
    assert!(server.connections() >= 3, "{} connections", server.connections());
}

#[tokio::test]
async fn a_connection_that_was_given_all_its_requests_takes_no_more() {
    for version in VERSIONS {
        let server = Server::named("hello").await;
        let mut cluster = cluster([server.address()]);
        cluster.transport.max_requests_per_connection = Some(3);
        let mesh = one_cluster(cluster).build().unwrap();
        mesh.ready().await.unwrap();
        let mut events = Recorder::of(&mesh);
        let client = mesh.client("users").unwrap();
        for call in 1..=10 {
            // A POST that was begun is not sent again.
            let answer = fetch(&client, over(version, post("/", "x"))).await.unwrap();
            assert_eq!(answer.body(), "hello");
            assert_eq!(server.connections(), (call - 1) / 3 + 1, "{version:?}, call {call}");
        }
        let three_have_ended = async {
            while events.disconnects().len() < 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        patience(three_have_ended).await;
        assert_eq!(events.disconnects(), ["max requests"; 3], "{version:?}");
    }
}

/// Streams that were begun before end on it, and who waits meanwhile has another connection.
#[tokio::test]
async fn an_http2_connection_that_was_given_all_its_requests_ends_with_those_in_flight() {
    let leave = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&leave);
    let server = Server::start(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            reply("hello")
        }
    })
    .await;
    let mut cluster = cluster([server.address()]);
    cluster.transport.max_requests_per_connection = Some(2);
    let mesh = one_cluster(cluster).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    let calls = async {
        let client = client.clone();
        storm(10, 10, |_| fetch(&client, over(Version::HTTP_2, post("/", "x")))).await
    };
    let all_are_there = async {
        while server.requests() < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // None of them has ended, and none took a third.
        assert_eq!((server.connections(), events.disconnects().len()), (5, 0));
        leave.add_permits(10);
    };
    let (answers, ()) = patience(async { tokio::join!(calls, all_are_there) }).await;
    assert_eq!(failures(&answers), Vec::<String>::new());
    let each_has_ended = async {
        while events.disconnects().len() < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    patience(each_has_ended).await;
    assert_eq!(events.disconnects(), ["max requests"; 5]);
}

/// Many at a time, and never one more on a connection than it may have.
#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_given_one_request_more_than_it_may_have() {
    for version in VERSIONS {
        let server = Server::named("hello").await;
        let mut cluster = cluster([server.address()]);
        cluster.transport.max_requests_per_connection = Some(5);
        let mesh = one_cluster(cluster).build().unwrap();
        mesh.ready().await.unwrap();
        let client = mesh.client("users").unwrap();
        let calls = storm(16, 400, |_| fetch(&client, over(version, post("/", "x"))));
        assert_eq!(failures(&patience(calls).await), Vec::<String>::new());
        assert_eq!(server.requests(), 400);
        assert!(server.connections() >= 80, "{version:?}: {}", server.connections());
    }
}

#[tokio::test]
async fn an_http2_connection_of_its_age_ends_with_its_last_stream_and_takes_no_more() {
    let server = Server::start(|request| async move {
        let long = request.uri().path() == "/long";
        tokio::time::sleep(Duration::from_millis(if long { 500 } else { 10 })).await;
        reply("hello")
    })
    .await;
    let mut cluster = cluster([server.address()]);
    cluster.transport.max_age = Some(Duration::from_millis(100));
    let mesh = one_cluster(cluster).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    // A POST that was begun is not sent again: whatever is cut off fails.
    let long = tokio::spawn(fetch(&client, over(Version::HTTP_2, post("/long", "x"))));
    let calls = storm(8, 300, |_| fetch(&client, over(Version::HTTP_2, post("/", "x"))));
    let answers = patience(calls).await;
    assert_eq!(failures(&answers), Vec::<String>::new());
    // It outlives its connection's age by far, and is not alone in that: it has a connection.
    assert!(events.disconnects().len() >= 2, "{:?}", events.disconnects());
    patience(long).await.unwrap().unwrap();
    let each_has_ended = async {
        while events.disconnects().len() < server.connections() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patience(each_has_ended).await;
    let ended = events.disconnects();
    assert!(ended.iter().all(|reason| *reason == "age"), "{ended:?}");
    assert!(server.connections() >= 3, "{} connections", server.connections());
}

#[tokio::test(start_paused = true)]
async fn idle_connections_of_both_protocols_end_at_an_age_that_differs_by_a_tenth() {
    for version in VERSIONS {
        let pipes = Pipes::http(|_, _| async { reply("hello") });
        let mut cluster = cluster((0..20).map(Leaves::address));
        cluster.balancer = Some(config::Balancer::RoundRobin);
        cluster.transport.max_age = Some(Duration::from_secs(100));
        cluster.transport.idle_timeout = Some(Duration::from_secs(3600));
        let mesh = one_cluster(cluster).connect_layer(pipes.clone()).seed(7).build().unwrap();
        mesh.ready().await.unwrap();
        let mut events = mesh.events();
        let client = mesh.client("users").unwrap();
        let began = tokio::time::Instant::now();
        for _ in 0..20 {
            fetch(&client, over(version, get("/"))).await.unwrap();
        }
        assert_eq!(pipes.connections(), 20);
        let mut ages = Vec::new();
        while ages.len() < 20 {
            if let Some(tower_mesh::Event::Disconnected { reason, .. }) = events.recv().await {
                assert_eq!(reason, tower_mesh::DisconnectReason::Age, "{version:?}");
                ages.push(began.elapsed().as_secs());
            }
        }
        assert!(ages.iter().all(|age| (89..=111).contains(age)), "{version:?}: {ages:?}");
        assert!(ages[19] - ages[0] >= 10, "{version:?}: all at once: {ages:?}");
    }
}

#[tokio::test]
async fn idle_connections_of_both_protocols_are_closed() {
    let server = Server::named("hello").await;
    let mut cluster = cluster([server.address()]);
    cluster.transport.idle_timeout = Some(Duration::from_secs(1));
    let mesh = one_cluster(cluster).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let is_idle = |event: &tower_mesh::Event| {
        let idle = tower_mesh::DisconnectReason::Idle;
        matches!(event, tower_mesh::Event::Disconnected { reason, .. } if *reason == idle)
    };
    for (version, request) in [("1.1", get as fn(&str) -> _), ("2", h2)] {
        let mut events = Recorder::of(&mesh);
        let before = server.connections();
        // While it is used it stays.
        for _ in 0..10 {
            patience(fetch(&client, request("/"))).await.unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        assert_eq!(server.connections(), before + 1, "HTTP/{version}");
        let quiet = tokio::time::Instant::now();
        events.until(is_idle).await;
        assert!(quiet.elapsed() < Duration::from_secs(8), "HTTP/{version}: {:?}", quiet.elapsed());
        assert_eq!(events.disconnects(), ["idle"], "HTTP/{version}");
        // The next call makes another.
        patience(fetch(&client, request("/"))).await.unwrap();
        assert_eq!(server.connections(), before + 2, "HTTP/{version}");
        // That ends, too, before the other protocol's turn.
        patience(async {
            while events.disconnects().len() < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert_eq!(events.disconnects(), ["idle", "idle"], "HTTP/{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_idle_time_of_a_connection_runs_from_the_end_of_its_last_call() {
    for version in VERSIONS {
        let pipes = Pipes::http(|_, _| async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            reply("hello")
        });
        let mut cluster = cluster([Leaves::address(0)]);
        cluster.transport.idle_timeout = Some(Duration::from_secs(90));
        let mesh = one_cluster(cluster).connect_layer(pipes.clone()).build().unwrap();
        let mut events = Recorder::of(&mesh);
        fetch(&mesh.client("users").unwrap(), over(version, get("/"))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(85)).await;
        assert_eq!(events.disconnects(), [""; 0], "{version:?}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(events.disconnects(), ["idle"], "{version:?}");
    }
}

#[test]
fn a_mesh_on_its_own_runtime_outlives_those_of_its_callers() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let own = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let own = own.unwrap();
    let server = own.block_on(Server::named("hello"));
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .runtime(own.handle().clone())
        .build()
        .unwrap();
    for _ in 0..3 {
        let call = fetch(&mesh.client("users").unwrap(), get("/"));
        runtime().block_on(async { patience(call).await.unwrap() });
    }
    runtime().block_on(async { patience(mesh.shutdown(Duration::from_secs(1))).await });
}
