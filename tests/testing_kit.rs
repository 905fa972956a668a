//! The test kit: each fault does what it says, on new connections and on those that are there.
#![cfg(feature = "testing")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, Version, header::CONTENT_LENGTH};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower_mesh::{
    Body, Client, Error, ErrorKind, Mesh, Retry,
    config::Protocol,
    testing::{Endpoint, Fault, Network},
};

use support::{SERVICE, VERSIONS, fetch, patience, post};

const TEN_MINUTES: Duration = Duration::from_secs(600);

/// An endpoint and its caller, who sends nothing twice.
struct World {
    network: Network,
    endpoint: Endpoint,
    client: Client,
}

impl World {
    fn new(version: Version) -> Self {
        let network = Network::new();
        let endpoint = network.endpoint("10.0.0.1:80").body("hello, world");
        let http2 = version == Version::HTTP_2;
        let protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
        let mesh = Mesh::builder()
            .endpoints(SERVICE, [endpoint.address()])
            .service(SERVICE, |s| s.retry(Retry::standard().attempts(1)).protocol(protocol))
            .connect_layer(network.clone())
            .build()
            .unwrap();
        let client = mesh.client(SERVICE).unwrap();
        Self { network, endpoint, client }
    }

    /// The endpoint does these, one each.
    fn script(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        let _same = self.endpoint.clone().script(faults);
    }

    async fn ask(&self) -> Result<Response<Bytes>, Error> {
        patience(fetch(&self.client, post("/", "question"))).await
    }

    /// Asks, and is answered.
    async fn answered(&self) -> Response<Bytes> {
        let answer = self.ask().await.unwrap();
        assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"hello, world"[..]));
        answer
    }

    async fn fails(&self, kind: ErrorKind) {
        let error = self.ask().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.chain());
    }

    /// Asks, and is not answered within ten minutes, by whoever may notice that before.
    async fn is_not_answered(&self) {
        let call = fetch(&self.client, post("/", "question"));
        let answer = tokio::time::timeout(TEN_MINUTES, call).await;
        assert!(!matches!(answer, Ok(Ok(_))), "{answer:?}");
    }

    /// Past what an endpoint is spared after it was not reached.
    async fn later(&self) {
        tokio::time::sleep(Duration::from_secs(300)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_meets_an_attempt_to_connect() {
    let world = World::new(Version::HTTP_11);
    // Where there is nobody else, a call tries again.
    world.script([Some(Fault::Refuse), Some(Fault::Refuse)]);
    world.fails(ErrorKind::Connect).await;
    assert_eq!((world.endpoint.connections(), world.endpoint.calls()), (0, 0));
    world.later().await;
    world.answered().await;
    // An address that was never made is refused, too.
    let nobody = Mesh::builder()
        .endpoints(SERVICE, ["10.0.0.9:80".parse::<tower_mesh::config::Address>().unwrap()])
        .connect_layer(world.network.clone())
        .build()
        .unwrap();
    let error = fetch(&nobody.client(SERVICE).unwrap(), post("/", "x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_falls_on_a_request_closes_its_connection() {
    for version in VERSIONS {
        let world = World::new(version);
        world.answered().await;
        world.script([Some(Fault::Refuse)]);
        world.fails(ErrorKind::Transport).await;
        assert_eq!((world.endpoint.connections(), world.endpoint.calls()), (1, 2), "{version:?}");
        world.later().await;
        world.answered().await;
        assert_eq!(world.endpoint.connections(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_killed_answers_nobody_on_any_connection() {
    for version in VERSIONS {
        let world = World::new(version);
        world.answered().await;
        world.endpoint.set_fault(Some(Fault::Hang));
        let mut in_flight = tokio::spawn(fetch(&world.client, post("/", "question")));
        let waited = tokio::time::timeout(Duration::from_secs(1), &mut in_flight).await;
        assert!(waited.is_err(), "{version:?}");
        world.endpoint.set_fault(Some(Fault::Refuse));
        let error = patience(in_flight).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transport, "{}", error.chain());
        for _ in 0..3 {
            world.fails(ErrorKind::Connect).await;
        }
        assert_eq!((world.endpoint.connections(), world.endpoint.calls()), (1, 2), "{version:?}");
        world.endpoint.set_fault(None);
        world.later().await;
        world.answered().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_is_never_connected_to_and_says_nothing_where_it_was() {
    for version in VERSIONS {
        let world = World::new(version);
        world.answered().await;
        // A request: its connection is silent from now on.
        world.script([Some(Fault::Blackhole)]);
        world.is_not_answered().await;
        assert_eq!((world.endpoint.connections(), world.endpoint.calls()), (1, 2), "{version:?}");
        world.answered().await;
        assert_eq!(world.endpoint.connections(), 2, "{version:?}");
    }
    let world = World::new(Version::HTTP_11);
    // Attempts to connect.
    world.script([Some(Fault::Blackhole), Some(Fault::Blackhole)]);
    let started = Instant::now();
    world.fails(ErrorKind::Connect).await;
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!((world.endpoint.connections(), world.endpoint.calls()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_when_an_endpoint_falls_silent_is_never_answered() {
    for version in VERSIONS {
        let world = World::new(version);
        world.answered().await;
        world.endpoint.set_fault(Some(Fault::Delay(Duration::from_secs(5))));
        let mut in_flight = tokio::spawn(fetch(&world.client, post("/", "question")));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.endpoint.calls(), 2);
        world.endpoint.set_fault(Some(Fault::Blackhole));
        let soon = tokio::time::timeout(Duration::from_secs(8), &mut in_flight).await;
        assert!(soon.is_err(), "{version:?}: {soon:?}");
        // Whoever is silent can still be killed.
        world.endpoint.set_fault(Some(Fault::Refuse));
        let answer = tokio::time::timeout(Duration::from_secs(1), in_flight).await;
        assert_eq!(answer.unwrap().unwrap().unwrap_err().kind(), ErrorKind::Transport);
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_comes_from_a_new_connection_or_instead_of_an_answer() {
    for version in VERSIONS {
        let world = World::new(version);
        world.script([Some(Fault::Garbage), Some(Fault::Garbage)]);
        let error = world.ask().await.unwrap_err();
        assert!(world.endpoint.connections() > 0, "{version:?}: {}", error.chain());
        assert_eq!(world.endpoint.calls(), 0);
        let world = World::new(version);
        world.answered().await;
        world.script([Some(Fault::Garbage)]);
        world.fails(ErrorKind::Transport).await;
        assert_eq!((world.endpoint.connections(), world.endpoint.calls()), (1, 2), "{version:?}");
        world.later().await;
        world.answered().await;
        assert_eq!(world.endpoint.connections(), 2, "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_entries_of_a_script_let_a_connection_through_and_wait_for_their_requests() {
    let world = World::new(Version::HTTP_11);
    world.endpoint.set_fault(Some(Fault::Refuse));
    world.script([None, Some(Fault::Status(StatusCode::IM_A_TEAPOT))]);
    world.answered().await;
    assert_eq!(world.ask().await.unwrap().status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(world.endpoint.connections(), 1);
    // Behind the script is what holds always.
    world.fails(ErrorKind::Transport).await;
    world.fails(ErrorKind::Connect).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_and_one_that_never_comes() {
    for version in VERSIONS {
        let world = World::new(version);
        let late = Duration::from_secs(5);
        world.script([Some(Fault::Delay(late)), Some(Fault::Hang), None]);
        let started = Instant::now();
        world.answered().await;
        assert!(started.elapsed() >= late);
        world.is_not_answered().await;
        world.answered().await;
    }
}

#[tokio::test(start_paused = true)]
async fn statuses_in_the_head() {
    for version in VERSIONS {
        let world = World::new(version);
        world.script([
            Some(Fault::Status(StatusCode::SERVICE_UNAVAILABLE)),
            Some(Fault::GrpcStatus(8)),
            None,
        ]);
        assert_eq!(world.ask().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        let rpc = world.ask().await.unwrap();
        assert_eq!(
            (rpc.status(), &rpc.headers()["grpc-status"]),
            (StatusCode::OK, &"8".parse().unwrap())
        );
        assert!(rpc.body().is_empty());
        world.answered().await;
    }
}

/// The message bytes of a gRPC call, and the code in its trailers; none is in its head.
async fn rpc(world: &World) -> (Bytes, i32) {
    let response = patience(world.client.send(post("/pkg.Greeter/Hi", ""))).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert!(!response.headers().contains_key("grpc-status"));
    let body = response.into_body().collect().await.unwrap();
    let code = body.trailers().unwrap()["grpc-status"].to_str().unwrap().parse().unwrap();
    (body.to_bytes(), code)
}

#[tokio::test(start_paused = true)]
async fn a_grpc_success_and_codes_in_trailers() {
    let world = World::new(Version::HTTP_2);
    let _same = world.endpoint.clone().grpc("hi").script([
        None,
        Some(Fault::GrpcTrailers { code: 14, messages: 0 }),
        Some(Fault::GrpcTrailers { code: 8, messages: 2 }),
    ]);
    let hi: &[u8] = b"\0\0\0\0\x02hi";
    assert_eq!(rpc(&world).await, (Bytes::from(hi), 0));
    assert_eq!(rpc(&world).await, (Bytes::new(), 14));
    assert_eq!(rpc(&world).await, (Bytes::from([hi, hi].concat()), 8));
}

#[tokio::test(start_paused = true)]
async fn a_reset_takes_what_is_in_flight_beside_it() {
    for version in VERSIONS {
        let world = World::new(version);
        world.script([None, Some(Fault::Reset)]);
        world.answered().await;
        world.fails(ErrorKind::Transport).await;
        assert_eq!(world.endpoint.connections(), 1);
        world.answered().await;
        assert_eq!(world.endpoint.connections(), 2);
    }
    let world = World::new(Version::HTTP_2);
    world.script([None, Some(Fault::Hang), Some(Fault::Reset)]);
    world.answered().await;
    let beside = tokio::spawn(fetch(&world.client, post("/", "question")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.fails(ErrorKind::Transport).await;
    assert_eq!(patience(beside).await.unwrap().unwrap_err().kind(), ErrorKind::Transport);
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_was_not_worked_on_and_its_connection_lives() {
    let world = World::new(Version::HTTP_2);
    world.script([None, Some(Fault::RefusedStream), None]);
    world.answered().await;
    let error = world.ask().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{}", error.chain());
    assert!(error.is_retryable());
    world.answered().await;
    assert_eq!(world.endpoint.connections(), 1);
    // HTTP/1.1 has no word for it.
    let world = World::new(Version::HTTP_11);
    world.script([Some(Fault::RefusedStream)]);
    world.fails(ErrorKind::Transport).await;
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_costs_no_call() {
    for version in VERSIONS {
        let world = World::new(version);
        world.script([None, Some(Fault::GoAway), None]);
        world.answered().await;
        let last = world.answered().await;
        if version == Version::HTTP_11 {
            assert_eq!(last.headers()["connection"], "close");
        }
        assert_eq!(world.endpoint.connections(), 1);
        world.answered().await;
        assert_eq!(world.endpoint.connections(), 2, "{version:?}");
    }
    // What is in flight is answered.
    let world = World::new(Version::HTTP_2);
    world.script([None, Some(Fault::Delay(Duration::from_secs(5))), Some(Fault::GoAway)]);
    world.answered().await;
    let beside = tokio::spawn(fetch(&world.client, post("/", "question")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.answered().await;
    assert_eq!(patience(beside).await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_and_one_that_is_cut() {
    for version in VERSIONS {
        let world = World::new(version);
        world.script([Some(Fault::StallBody), Some(Fault::CutBody), None]);
        let mut stalled = patience(world.client.send(post("/", ""))).await.unwrap();
        let frame = tokio::time::timeout(TEN_MINUTES, stalled.body_mut().frame());
        assert!(frame.await.is_err(), "{version:?}");
        drop(stalled);
        let mut cut = patience(world.client.send(post("/", ""))).await.unwrap();
        assert_eq!(
            (cut.status(), &cut.headers()[CONTENT_LENGTH]),
            (StatusCode::OK, &"12".parse().unwrap())
        );
        assert_eq!(half(cut.body_mut()).await, "hello,", "{version:?}");
        world.answered().await;
    }
}

/// What comes of a body before its error.
async fn half(body: &mut Body) -> Bytes {
    let mut whole = Vec::new();
    loop {
        match patience(body.frame()).await.expect("it is cut, not ended") {
            Ok(frame) => whole.extend_from_slice(&frame.into_data().unwrap()),
            Err(_) => return whole.into(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_received_is_told() {
    let world = World::new(Version::HTTP_11);
    world.answered().await;
    let received = world.endpoint.received();
    assert_eq!((received[0].method.as_str(), &received[0].body[..]), ("POST", &b"question"[..]));
}
