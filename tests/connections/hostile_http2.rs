//! HTTP/2 servers that mean harm: cut and random frames, closed windows, resets of each kind.
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
use h2::Reason;
use http::{Request, Response, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_mesh::{Body, Call, Error, ErrorKind, Mesh, ServiceSettings};

use crate::support::{
    GreeterClient, HelloRequest, Leaves, RawServer, Recorder, cluster, fetch, frame,
    frames::{greeting, grpc_head, head},
    h2_server, one_cluster, over, patience,
    pipes::Pipes,
    post,
};

/// A server that has read the request, says these bytes, and closes a little later.
async fn says(bytes: Vec<u8>) -> RawServer {
    RawServer::start(move |mut stream, _| {
        let bytes = bytes.clone();
        async move {
            let mut buffer = vec![0; 4096];
            drop(stream.write_all(&greeting()).await);
            // The client's DATA frame is the last of its request.
            let mut seen = Vec::new();
            while !seen.ends_with(b"x") {
                match stream.read(&mut buffer).await {
                    Ok(length @ 1..) => seen.extend(&buffer[..length]),
                    _ => return,
                }
            }
            drop(stream.write_all(&bytes).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

fn mesh(server: &RawServer, timeout: Duration) -> Mesh {
    let settings = |s: ServiceSettings| s.timeout(timeout).idle_timeout(timeout);
    Mesh::builder()
        .endpoints("users", [server.address()])
        .service("users", settings)
        .build()
        .unwrap()
}

async fn ask(bytes: Vec<u8>) -> Result<Response<Bytes>, Error> {
    let server = says(bytes).await;
    let mesh = mesh(&server, Duration::from_secs(2));
    let request = over(Version::HTTP_2, post("/", "x"));
    patience(fetch(&mesh.client("users").unwrap(), request)).await
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_is_never_taken_for_whole() {
    // `:status 200`, then the end of the stream with its data.
    let whole = [frame(1, 4, 1, &[0x88]), frame(0, 1, 1, b"hello")].concat();
    for cut in 0..whole.len() {
        let answer = ask(whole[..cut].to_vec()).await;
        assert!(answer.is_err(), "{cut} of {} bytes were taken for {answer:?}", whole.len());
    }
    assert_eq!(ask(whole).await.unwrap().body(), "hello");
}

#[tokio::test]
async fn random_frames_never_hang_a_call_or_keep_it_in_flight() {
    let mut state = 1_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    let mut failed = 0;
    for round in 0..100 {
        let mut bytes = Vec::new();
        for _ in 0..random() % 12 {
            let payload: Vec<u8> = (0..random() % 40).map(|_| random()).collect();
            bytes.extend(frame(random() % 11, random() & 0x2d, u32::from(random() % 4), &payload));
        }
        let server = says(bytes).await;
        let mesh = mesh(&server, Duration::from_millis(200));
        let mut request = over(Version::HTTP_2, post("/", "x"));
        if round % 2 == 0 {
            request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        }
        let answer = patience(fetch(&mesh.client("users").unwrap(), request)).await;
        match answer {
            Ok(answer) => drop(answer),
            Err(error) => {
                failed += 1;
                let known = [ErrorKind::Transport, ErrorKind::Timeout, ErrorKind::Refused];
                let told = error.to_string();
                assert!(known.contains(&error.kind()), "round {round}: {}", error.chain());
                assert!(told.contains("users") && told.contains("check"), "round {round}: {told}");
            }
        }
        let told = mesh.describe().to_string();
        assert!(told.contains(" 0 in flight"), "round {round}: {told}");
        patience(mesh.shutdown(Duration::from_millis(200))).await;
    }
    assert!(failed > 10, "{failed} of 100 have failed: the frames are no nonsense");
}

#[tokio::test]
async fn a_window_that_never_opens_ends_with_the_deadline() {
    let server = RawServer::start(|mut stream, _| async move {
        drop(stream.write_all(&greeting()).await);
        let mut buffer = vec![0; 65_536];
        while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    })
    .await;
    let mesh = mesh(&server, Duration::from_millis(300));
    let request = Request::post("/").body(Body::from(vec![0; 1 << 20])).unwrap();
    let call = mesh.client("users").unwrap().send(over(Version::HTTP_2, request));
    let error = patience(call).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

#[tokio::test]
async fn a_frozen_server_is_found_by_pings() {
    let server = RawServer::start(|mut stream, _| async move {
        drop(stream.write_all(&frame(4, 0, 0, &[])).await);
        std::future::pending::<()>().await;
    })
    .await;
    let mut cluster = cluster([server.address()]);
    cluster.transport.http2_ping_interval = Some(Duration::from_millis(100));
    cluster.transport.http2_ping_timeout = Some(Duration::from_millis(100));
    let mesh = one_cluster(cluster).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let began = tokio::time::Instant::now();
    let call = mesh.client("users").unwrap().send(over(Version::HTTP_2, post("/", "x")));
    patience(call).await.unwrap_err();
    events.until(|event| matches!(event, tower_mesh::Event::Disconnected { .. })).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(events.disconnects(), ["keepalive"]);
}

#[tokio::test(start_paused = true)]
async fn by_default_a_frozen_server_is_asked_after_half_a_minute_and_found_ten_seconds_later() {
    let pings = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&pings);
    let pipes = Pipes::to(move |_, mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            drop(stream.write_all(&frame(4, 0, 0, &[])).await);
            // The preface, then frames, of which none is answered.
            let began = tokio::time::Instant::now();
            stream.read_exact(&mut [0; 24]).await.unwrap();
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let length = usize::from(head[1]) << 8 | usize::from(head[2]);
                stream.read_exact(&mut vec![0; length]).await.unwrap();
                // PING
                if head[3] == 6 {
                    seen.lock().unwrap().push(began.elapsed().as_secs());
                }
            }
        }
    });
    // Nothing is set but what would end the call itself.
    let mesh = one_cluster(cluster([Leaves::address(0)]))
        .connect_layer(pipes)
        .service("users", |s| s.timeout(Duration::from_secs(600)))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let began = tokio::time::Instant::now();
    let call = fetch(&mesh.client("users").unwrap(), over(Version::HTTP_2, post("/", "x")));
    let error = call.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport, "{error}");
    assert!((39..=41).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(events.disconnects(), ["keepalive"]);
    let pings = pings.lock().unwrap();
    assert!(matches!(**pings, [29..=31]), "{pings:?}");
}

#[tokio::test]
async fn no_reset_is_an_unknown_grpc_failure() {
    for reason in [
        Reason::NO_ERROR,
        Reason::CANCEL,
        Reason::INTERNAL_ERROR,
        Reason::ENHANCE_YOUR_CALM,
        Reason::HTTP_1_1_REQUIRED,
        Reason::REFUSED_STREAM,
    ] {
        for after_head in [false, true] {
            if after_head && reason == Reason::NO_ERROR {
                // To tonic that is a whole response, which lacks its status.
                continue;
            }
            let server = h2_server(100, move |_, mut respond| async move {
                if after_head {
                    let mut body = respond.send_response(grpc_head(), false).unwrap();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    body.send_reset(reason);
                } else {
                    respond.send_reset(reason);
                }
            })
            .await;
            let mesh = Mesh::builder().endpoints("greeter", [server.address()]).build().unwrap();
            let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
            let status = patience(greeter.say_hello(HelloRequest::default())).await.unwrap_err();
            let told = format!("{reason:?}, after the head: {after_head}: {status}");
            assert_ne!(status.code(), tonic::Code::Unknown, "{told}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_upload_is_over_reaches_its_caller() {
    let server = h2_server(100, |_, mut respond| async move {
        let mut body = respond.send_response(head(), false).unwrap();
        drop(body.send_data("no thanks".into(), true));
        tokio::time::sleep(Duration::from_millis(20)).await;
        //= RFC 9113 §8.1: the server may ask the client to stop sending by RST_STREAM(NO_ERROR)
        body.send_reset(Reason::NO_ERROR);
    })
    .await;
    let mesh = mesh(&server, Duration::from_secs(3));
    for idempotent in [false, true] {
        let request = Request::post("/").body(Body::from(vec![0; 8 << 20])).unwrap();
        let mut request = over(Version::HTTP_2, request);
        request.extensions_mut().insert(Call::new().idempotent(idempotent));
        let answer = patience(fetch(&mesh.client("users").unwrap(), request)).await.unwrap();
        assert_eq!(answer.body(), "no thanks");
    }
}

/// Calls a server that answers nothing but GOAWAY with this last stream; how often it was called.
async fn goaway(last: u32) -> (Error, usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let server = RawServer::start(move |mut stream, _| {
        let calls = Arc::clone(&counter);
        async move {
            drop(stream.write_all(&greeting()).await);
            let (mut buffer, mut seen) = (vec![0; 4096], Vec::new());
            while !seen.ends_with(b"x") {
                match stream.read(&mut buffer).await {
                    Ok(length @ 1..) => seen.extend(&buffer[..length]),
                    _ => return,
                }
            }
            calls.fetch_add(1, Ordering::SeqCst);
            let payload = [last.to_be_bytes(), [0; 4]].concat();
            drop(stream.write_all(&frame(7, 0, 0, &payload)).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mesh = mesh(&server, Duration::from_secs(5));
    let request = over(Version::HTTP_2, post("/", "x"));
    let call = mesh.client("users").unwrap().send(request);
    let error = patience(call).await.unwrap_err();
    (error, calls.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_post_that_goaway_covers_may_have_been_done_and_is_not_sent_again() {
    let (error, calls) = goaway(1).await;
    assert_eq!(calls, 1, "{}", error.chain());
    assert_ne!(error.kind(), ErrorKind::Refused, "{}", error.chain());
}

#[tokio::test]
async fn a_post_above_goaways_last_stream_was_not_done_and_is_sent_again() {
    let (error, calls) = goaway(0).await;
    assert!(calls > 1, "{}", error.chain());
}
