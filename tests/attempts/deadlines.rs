//! The remaining time travels to the server, and bounds everything on the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use tower_mesh::{Body, Call, ErrorKind, Event, Mesh, Origin, Phase, Retry, config};

use crate::support::{
    GreeterClient, HelloRequest, Leaves, RawServer, Recorder, SERVICE, Server, VERSIONS, get,
    hello,
    leaf::{answer, grpc, ok},
    over, patience, post, reply,
    server::full,
};

const GRPC: &str = "grpc-timeout";
const HTTP: &str = "x-envoy-expected-rq-timeout-ms";

/// What the servers saw, oldest first.
type Seen = Arc<Mutex<Vec<HeaderMap>>>;

fn millis(seen: &Seen, number: usize) -> Option<u64> {
    let seen = seen.lock().unwrap();
    Some(seen[number].get(HTTP)?.to_str().unwrap().parse().unwrap())
}

fn recording(builder_of: &Leaves, seen: &Seen, status: u16) -> tower_mesh::MeshBuilder {
    let seen = Arc::clone(seen);
    builder_of.mesh(move |_, request: http::Request<Body>| {
        seen.lock().unwrap().push(request.headers().clone());
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(answer(status))
        }
    })
}

#[tokio::test]
async fn a_grpc_server_sees_the_remaining_time() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let server = Server::grpc(hello(move |request: tonic::Request<_>| {
        sink.lock().unwrap().push(request.metadata().clone().into_headers());
        async { Ok("hello".into()) }
    }))
    .await;
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [server.address()])
        .service("greeter.prod", |s| s.timeout(Duration::from_secs(2)).whole_response(true))
        .build()
        .unwrap();
    let mut client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    client.say_hello(HelloRequest::default()).await.unwrap();
    let mut request = tonic::Request::new(HelloRequest::default());
    request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(500)));
    client.say_hello(request).await.unwrap();

    let micros = |number: usize| {
        let seen: &Vec<HeaderMap> = &seen.lock().unwrap();
        let value = seen[number][GRPC].to_str().unwrap().to_owned();
        assert_eq!(seen[number].get_all(GRPC).iter().count(), 1);
        value.strip_suffix('u').unwrap().parse::<u64>().unwrap()
    };
    assert!((1_000_000..=2_000_000).contains(&micros(0)), "{} µs", micros(0));
    assert!((100_000..=500_000).contains(&micros(1)), "{} µs", micros(1));
}

#[tokio::test]
async fn a_timeout_that_ends_at_the_head_does_not_end_a_stream_at_a_grpc_server() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let server = Server::grpc(hello(move |request: tonic::Request<_>| {
        sink.lock().unwrap().push(request.metadata().clone().into_headers());
        async { Ok("hello".into()) }
    }))
    .await;
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [server.address()])
        .service("greeter.prod", |s| s.timeout(Duration::from_secs(2)))
        .build()
        .unwrap();
    let mut client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    client.say_hello(HelloRequest::default()).await.unwrap();
    let seen: &Vec<HeaderMap> = &seen.lock().unwrap();
    // A server that honours it would end the stream, whose body the timeout does not bound.
    assert_eq!(seen[0].get(GRPC), None);
}

#[tokio::test(start_paused = true)]
async fn an_http_server_sees_the_attempt_timeout_when_it_is_the_shorter_one() {
    let seen: Seen = Arc::default();
    let mesh = recording(&Leaves::new(1), &seen, 200)
        .service(SERVICE, |s| {
            s.timeout(Duration::from_secs(2)).attempt_timeout(Duration::from_millis(300))
        })
        .build()
        .unwrap();
    mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    assert_eq!(millis(&seen, 0), Some(300));
}

#[tokio::test]
async fn an_http_server_sees_the_remaining_time() {
    let seen: Seen = Arc::default();
    let sink = Arc::clone(&seen);
    let server = Server::start(move |request| {
        sink.lock().unwrap().push(request.headers().clone());
        async { reply("hello") }
    })
    .await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [server.address()])
        .service("users.prod", |s| s.timeout(Duration::from_secs(2)))
        .endpoints("unbounded.prod", [server.address()])
        .build()
        .unwrap();
    mesh.client("users.prod").unwrap().send(get("/")).await.unwrap();
    mesh.client("unbounded.prod").unwrap().send(get("/")).await.unwrap();
    assert!((1000..=2000).contains(&millis(&seen, 0).unwrap()), "{:?}", millis(&seen, 0));
    assert_eq!(millis(&seen, 1), None, "no timeout, no header");
}

#[tokio::test(start_paused = true)]
async fn each_attempt_states_what_is_left() {
    let seen: Seen = Arc::default();
    let mesh = recording(&Leaves::new(3), &seen, 503)
        .service(SERVICE, |s| {
            s.timeout(Duration::from_secs(2)).retry(
                Retry::standard()
                    .attempts(3)
                    .backoff(Duration::from_millis(1), Duration::from_millis(1)),
            )
        })
        .build()
        .unwrap();
    mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    let left: Vec<_> = (0..3).map(|n| millis(&seen, n).unwrap()).collect();
    assert_eq!(left[0], 2000);
    assert!((1890..=1900).contains(&left[1]), "{left:?}");
    assert!((1780..=1800).contains(&left[2]), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_has_left_is_passed_on() {
    let seen: Seen = Arc::default();
    let mesh = recording(&Leaves::new(1), &seen, 200)
        .service(SERVICE, |s| s.timeout(Duration::from_secs(60)))
        .build()
        .unwrap();
    let mut inbound = HeaderMap::new();
    inbound.insert(GRPC, HeaderValue::from_static("800m"));
    let call = Call::new().inherit(&inbound);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut request = get("/");
    request.extensions_mut().insert(call);
    mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    assert_eq!(millis(&seen, 0), Some(500));
}

#[tokio::test(start_paused = true)]
async fn no_time_left_is_a_timeout_before_anything_is_sent() {
    let leaves = Leaves::new(1);
    let mesh = leaves.mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    mesh.ready().await.unwrap();
    let mut inbound = HeaderMap::new();
    inbound.insert(GRPC, HeaderValue::from_static("10m"));
    let call = Call::new().inherit(&inbound);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut request = get("/");
    request.extensions_mut().insert(call);
    assert!(mesh.client(SERVICE).unwrap().send(request).await.unwrap_err().is_timeout());
    assert_eq!(leaves.total(), 0);
}

/// What a server that goes by `grpc-timeout` answers so long after its request came: the timer of the call
/// wakes it, and fires at that moment, too.
async fn at_once_after(time: Duration) {
    let at = tokio::time::Instant::now() + time;
    std::future::poll_fn(|_| {
        if tokio::time::Instant::now() >= at { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// What a call with 2 s comes to whose endpoint ends it with this code at its deadline, or before.
async fn ended_with(code: i32, is_late: bool) -> tonic::Status {
    let leaves = Leaves::new(1);
    let mesh = leaves.mesh(move |_, _| async move {
        if is_late {
            at_once_after(Duration::from_secs(2)).await;
        }
        Ok(grpc(code))
    });
    let mesh = mesh.build().unwrap();
    let mut client = GreeterClient::new(mesh.client(SERVICE).unwrap());
    let mut request = tonic::Request::new(HelloRequest::default());
    request.extensions_mut().insert(Call::new().timeout(Duration::from_secs(2)));
    let start = tokio::time::Instant::now();
    let status = client.say_hello(request).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), if is_late { 2 } else { 0 }, "{status}");
    assert_eq!(leaves.total(), 1);
    status
}

#[tokio::test(start_paused = true)]
async fn what_a_server_ends_at_the_deadline_has_met_the_deadline() {
    for (code, name) in [(1, "CANCELLED"), (4, "DEADLINE_EXCEEDED")] {
        let status = ended_with(code, true).await;
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
        let text = status.message();
        assert!(text.contains("the deadline of the call passed: 2s"), "{text}");
        assert!(text.contains(&format!("the endpoint ended it with {name}")), "{text}");
    }
    // Before it, or with another word, it is the server's.
    for (code, is_late) in [(1, false), (4, false), (5, true), (14, true)] {
        let status = ended_with(code, is_late).await;
        assert_eq!((status.code() as i32, status.message()), (code, ""), "{is_late}");
    }
}

/// Who bounds a call by 2 s.
#[derive(Clone, Copy)]
enum Bound {
    /// Its caller, to the end of its trailers.
    Call,
    /// The same on the wire.
    Wire,
    /// Its service, to its head.
    Service,
}

/// What such a call comes to that may be retried: its head has come, says nothing, and is held back for the
/// trailers, by which the endpoint ends it with this code at its deadline, or before.
async fn trailed_with(code: i32, bound: Bound, is_late: bool) -> tonic::Status {
    const BOUND: Duration = Duration::from_secs(2);
    const LEFT: Duration = Duration::from_millis(1);
    let leaves = Leaves::new(1);
    let mesh = leaves.mesh(move |_, _| async move {
        if is_late {
            tokio::time::sleep(BOUND.saturating_sub(LEFT)).await;
        }
        let trailers = futures_util::stream::once(async move {
            if is_late {
                at_once_after(LEFT).await;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", code.into());
            Ok::<_, Infallible>(Frame::<Bytes>::trailers(trailers))
        });
        Ok(http::Response::new(Body::new(StreamBody::new(trailers))))
    });
    let mesh = mesh.service(SERVICE, |s| {
        let s = s.retry(Retry::idempotent());
        if matches!(bound, Bound::Service) { s.timeout(BOUND) } else { s }
    });
    let mesh = mesh.build().unwrap();
    let mut client = GreeterClient::new(mesh.client(SERVICE).unwrap());
    let mut request = tonic::Request::new(HelloRequest::default());
    match bound {
        Bound::Call => {
            request.extensions_mut().insert(Call::new().timeout(BOUND));
        }
        Bound::Wire => request.set_timeout(BOUND),
        Bound::Service => {}
    }
    let start = tokio::time::Instant::now();
    let status = client.say_hello(request).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), if is_late { 2 } else { 0 }, "{status}");
    assert_eq!(leaves.total(), 1);
    status
}

#[tokio::test(start_paused = true)]
async fn what_a_server_ends_in_trailers_at_the_deadline_has_met_the_deadline() {
    for (code, name) in [(1, "CANCELLED"), (4, "DEADLINE_EXCEEDED")] {
        let status = trailed_with(code, Bound::Service, true).await;
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
        let text = status.message();
        assert!(text.contains("the deadline of the call passed: 2s"), "{text}");
        assert!(text.contains(&format!("the endpoint ended it with {name}")), "{text}");
        // No body goes on behind the bound of the call: it ends here, and its endpoint has said nothing.
        for bound in [Bound::Call, Bound::Wire] {
            let status = trailed_with(code, bound, true).await;
            assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
            let text = status.message();
            assert!(text.contains("the deadline of the call passed: 2s"), "{text}");
            assert!(!text.contains("ended it with"), "{text}");
        }
    }
    // Before it, or with another word, it is the server's.
    for (code, bound, is_late) in [
        (1, Bound::Service, false),
        (4, Bound::Service, false),
        (1, Bound::Call, false),
        (4, Bound::Call, false),
        (5, Bound::Service, true),
        (14, Bound::Service, true),
    ] {
        let status = trailed_with(code, bound, is_late).await;
        assert_eq!((status.code() as i32, status.message()), (code, ""), "{is_late}");
    }
}

/// What a stream ends with that its peer resets by this code.
async fn reset_with(reason: h2::Reason) -> h2::Error {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = async {
        let mut connection = h2::server::handshake(far).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_reset(reason);
        drop(connection.accept().await);
        std::future::pending().await
    };
    let client = async {
        let (sender, connection) = h2::client::handshake(near).await.unwrap();
        let called = async {
            let mut sender = sender.ready().await.unwrap();
            let request = http::Request::get("http://a/").body(()).unwrap();
            let (response, _) = sender.send_request(request, true).unwrap();
            response.await.unwrap_err()
        };
        tokio::select! {
            error = called => error,
            ended = connection => panic!("{ended:?}"),
        }
    };
    tokio::select! {
        error = client => error,
        never = server => never,
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_a_server_cancels_at_the_deadline_has_met_the_deadline() {
    for (reason, is_late, kind) in [
        (h2::Reason::CANCEL, true, ErrorKind::Timeout),
        (h2::Reason::CANCEL, false, ErrorKind::Layer),
        (h2::Reason::INTERNAL_ERROR, true, ErrorKind::Layer),
    ] {
        let mesh = Leaves::new(1).mesh(move |_, _| async move {
            let error = reset_with(reason).await;
            if is_late {
                at_once_after(Duration::from_secs(2)).await;
            }
            Err(error.into())
        });
        let mesh = mesh.build().unwrap();
        let mut request = post("/", "x");
        request.extensions_mut().insert(Call::new().timeout(Duration::from_secs(2)));
        let error = mesh.client(SERVICE).unwrap().send(request).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{reason:?} {is_late}: {error}");
        assert!(error.chain().contains("stream error"), "{}", error.chain());
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_leaves_time_for_another_attempt() {
    let leaves = Leaves::new(2);
    let slow = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mesh = leaves
        .mesh(move |_, _| {
            let slow = slow.swap(false, std::sync::atomic::Ordering::SeqCst);
            async move {
                if slow {
                    std::future::pending::<()>().await;
                }
                Ok(ok("hello"))
            }
        })
        .service(SERVICE, |s| {
            s.timeout(Duration::from_secs(10))
                .attempt_timeout(Duration::from_secs(1))
                .retry(Retry::standard())
        })
        .build()
        .unwrap();
    let start = tokio::time::Instant::now();
    let answer = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!((1000..1100).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(leaves.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_first_configuration_is_bounded() {
    struct Silent;
    impl tower_mesh::Discover for Silent {
        fn name(&self) -> String {
            "silent".into()
        }
        fn run(
            self: Box<Self>,
            publish: tower_mesh::Publisher,
        ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(publish);
            })
        }
    }
    let mesh = Mesh::builder().source(Silent).build().unwrap();
    let start = tokio::time::Instant::now();
    let error = mesh.http().send(get("http://users.prod/")).await.unwrap_err();
    // No deadline of the caller's has passed.
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Config, Phase::Resolve), "{error}");
    assert_eq!(error.origin(), Origin::Control, "{error}");
    assert_eq!((error.grpc_code(), error.http_status().as_u16()), (14, 503), "{error}");
    let said = "no source delivered the service within 5s (`resolve_timeout`)";
    assert!(error.to_string().contains(said), "{error}");
    assert_eq!(start.elapsed().as_secs(), 5, "the default bound");
}

#[tokio::test]
async fn a_connection_that_is_never_accepted_ends_with_the_deadline() {
    // Accepts and never answers the HTTP/2 preface.
    let server = RawServer::start(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [server.address()])
        .service("greeter.prod", |s| s.timeout(Duration::from_millis(200)))
        .build()
        .unwrap();
    let mut client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    let status = patience(client.say_hello(HelloRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("(connect phase"), "{status}");
}

#[tokio::test]
async fn a_connection_that_is_not_made_ends_with_the_connect_timeout() {
    let (address, _full) = full("127.0.0.1:0".parse().unwrap()).await;
    // Nobody has a deadline, and a second is the default.
    let mesh = Mesh::builder()
        .endpoints("users", [address])
        .service("users", |s| s.retry(Retry::standard().attempts(1)))
        .build()
        .unwrap();
    let client = mesh.client("users").unwrap();
    let ask = async |version| {
        let began = tokio::time::Instant::now();
        let error = patience(client.send(over(version, get("/")))).await.unwrap_err();
        let took = began.elapsed().as_millis();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Connect), "{error}");
        assert!(error.chain().contains("connect timeout"), "{}", error.chain());
        assert!((990..9_000).contains(&took), "{version:?}: {took} ms");
    };
    tokio::join!(ask(VERSIONS[0]), ask(VERSIONS[1]));
}

#[tokio::test]
async fn an_endpoint_that_is_not_connected_to_in_time_costs_no_call_and_is_avoided_after_that() {
    let (address, _full) = full("127.0.0.1:0".parse().unwrap()).await;
    let good = Server::named("good").await;
    let mut cluster = crate::support::cluster([address.into(), good.address()]);
    cluster.balancer = Some(config::Balancer::RoundRobin);
    cluster.transport.connect_timeout = Some(Duration::from_millis(300));
    cluster.transport.connect_backoff_base = Some(Duration::from_secs(30));
    let mesh = crate::support::one_cluster(cluster).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    let began = tokio::time::Instant::now();
    while events.count(|event| matches!(event, Event::ConnectFailed { .. })) == 0 {
        assert_eq!(patience(client.send(get("/"))).await.unwrap().status(), 200);
    }
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    let is_late = |event: &Event| match event {
        Event::ConnectFailed { cause, backoff, .. } => {
            cause.contains("connect timeout") && *backoff >= Duration::from_millis(500)
        }
        _ => false,
    };
    assert_eq!(events.count(is_late), 1, "{:?}", events.events());
    // Its turn does not come until the back-off is over.
    for _ in 0..20 {
        assert_eq!(patience(client.send(get("/"))).await.unwrap().status(), 200);
    }
    assert_eq!(events.count(is_late), 1, "{:?}", events.events());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_greets_ends_with_the_connect_timeout_too() {
    let pipes = crate::support::Pipes::to(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let mesh = crate::support::one_cluster(crate::support::cluster([Leaves::address(0)]))
        .connect_layer(pipes)
        .service("users", |s| s.retry(Retry::standard().attempts(1)))
        .build()
        .unwrap();
    let began = tokio::time::Instant::now();
    let call = mesh.client("users").unwrap().send(over(http::Version::HTTP_2, get("/")));
    let error = call.await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Connect), "{error}");
    assert_eq!(began.elapsed().as_millis(), 1_000, "{}", error.chain());
}
