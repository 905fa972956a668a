//! Bounds of a call beyond its timeout: from the end of the request on, of a whole stream, of gRPC's own
//! header, and those that a request's headers say; each failure names its phase, its bound and who has
//! said it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, sleep};
use tower_mesh::{Body, ErrorKind, Mesh, Phase, Retry, ServiceSettings, config::Service};

use crate::support::{
    BoxError, Leaves, SERVICE, Server, cluster, get, leaf::ok, patience, published, reply,
};

const SECOND: Duration = Duration::from_secs(1);

/// A body of so many frames, one per second.
fn slow_body(frames: u32) -> Body {
    let frames = stream::unfold(0, move |sent| async move {
        if sent == frames {
            return None;
        }
        sleep(SECOND).await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"frame"))), sent + 1))
    });
    Body::new(StreamBody::new(Box::pin(frames)))
}

/// One endpoint that reads the whole request, thinks for so long, and answers with so many frames.
fn thinking(
    think: Duration,
    frames: u32,
    settings: impl FnOnce(ServiceSettings) -> ServiceSettings,
) -> (Mesh, Leaves) {
    let leaves = Leaves::new(2);
    let builder = leaves.mesh(move |_, request: Request<Body>| async move {
        let _read = request.into_body().collect().await?;
        sleep(think).await;
        Ok(if frames == 0 { ok("at once") } else { Response::new(slow_body(frames)) })
    });
    (builder.service(SERVICE, settings).build().unwrap(), leaves)
}

fn put(body: Body) -> Request<Body> {
    Request::put("/").body(body).unwrap()
}

fn once() -> Retry {
    Retry::standard().attempts(1)
}

#[tokio::test(start_paused = true)]
async fn a_response_timeout_begins_at_the_end_of_the_request() {
    let bounded = |s: ServiceSettings| s.retry(once()).response_timeout(2 * SECOND);
    let (mesh, _) = thinking(SECOND, 0, bounded);
    let client = mesh.client(SERVICE).unwrap();
    // Ten seconds of sending count for nothing, nor does a body that comes slowly after its head.
    assert_eq!(client.send(put(slow_body(10))).await.unwrap().status(), 200);
    assert_eq!(client.send(get("/")).await.unwrap().status(), 200);
    let (mesh, _) = thinking(3 * SECOND, 0, bounded);
    let client = mesh.client(SERVICE).unwrap();
    for (request, least) in [(put(slow_body(4)), 6), (get("/"), 2), (put(Body::from("full")), 2)] {
        let start = Instant::now();
        let error = client.send(request).await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), least, "{error}");
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Headers));
        let text = error.to_string();
        assert!(text.contains("2s, `response_timeout` by the code"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_meets_its_response_timeout_is_followed_by_another() {
    let leaves = Leaves::new(2);
    let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let builder = leaves.mesh(move |_, request: Request<Body>| {
        let hangs = first.swap(false, std::sync::atomic::Ordering::SeqCst);
        async move {
            let read = request.into_body().collect().await?.to_bytes();
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok(ok(read))
        }
    });
    let builder = builder.service(SERVICE, |s| s.response_timeout(2 * SECOND));
    let mesh = builder.build().unwrap();
    let start = Instant::now();
    let answer = mesh.client(SERVICE).unwrap().send(put(slow_body(3))).await.unwrap();
    assert_eq!(answer.into_body().bytes().await.unwrap(), "frameframeframe");
    assert_eq!(leaves.total(), 2);
    assert!((5..=6).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_response_timeout_over_real_connections() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let server = Server::start(|request| async move {
            let late = request.headers().contains_key("x-late");
            let _read = request.into_body().collect().await;
            if late {
                std::future::pending::<()>().await;
            }
            reply("well")
        })
        .await;
        let mesh = Mesh::builder()
            .endpoints("users", [server.address()])
            .service("users", |s| s.retry(once()).response_timeout(Duration::from_millis(300)))
            .build()
            .unwrap();
        let client = mesh.client("users").unwrap();
        // The body takes longer than the bound.
        let frames = stream::unfold(0, |sent| async move {
            sleep(Duration::from_millis(100)).await;
            (sent < 6)
                .then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))), sent + 1))
        });
        let slow = Body::new(StreamBody::new(Box::pin(frames)));
        let request = crate::support::over(version, put(slow));
        assert_eq!(patience(client.send(request)).await.unwrap().status(), 200, "{version:?}");
        let mut late = crate::support::over(version, put(Body::from("full")));
        late.headers_mut().insert("x-late", HeaderValue::from_static("1"));
        let error = patience(client.send(late)).await.unwrap_err();
        assert!(error.to_string().contains("`response_timeout`"), "{version:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempts_idle_timeout_bounds_the_head_and_each_frame() {
    let idle = |time| {
        move |s: ServiceSettings| {
            let mut retry = once();
            retry.attempt_idle_timeout = Some(time);
            s.retry(retry)
        }
    };
    let (mesh, _) = thinking(3 * SECOND, 0, idle(2 * SECOND));
    let error = mesh.client(SERVICE).unwrap().send(put(slow_body(4))).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("2s, `retry.attempt_idle_timeout` by the code"), "{text}");
    // Frames that come each second are quick enough for two, and too slow for half of one.
    let (mesh, _) = thinking(Duration::ZERO, 5, idle(2 * SECOND));
    let answer = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    assert_eq!(answer.into_body().bytes().await.unwrap().len(), 25);
    let (mesh, _) = thinking(Duration::ZERO, 5, idle(SECOND / 2));
    let answer = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    let error = answer.into_body().bytes().await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Body));
    assert!(error.to_string().contains("(`retry.attempt_idle_timeout`)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_lasts_no_longer_than_it_may() {
    let bounded = |s: ServiceSettings| s.retry(once()).max_stream_duration(3 * SECOND);
    let (mesh, _) = thinking(Duration::ZERO, 10, bounded);
    let client = mesh.client(SERVICE).unwrap();
    let start = Instant::now();
    let answer = client.send(get("/")).await.unwrap();
    let error = answer.into_body().bytes().await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Body));
    assert!(error.to_string().contains("(`max_stream_duration`)"), "{error}");
    // The same of a request that takes too long, in the other direction.
    let start = Instant::now();
    let error = client.send(put(slow_body(10))).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 3);
    let text = error.to_string();
    assert!(text.contains("3s, `max_stream_duration` by the code"), "{text}");
    // A shorter timeout ends at the head all the same.
    let both = |s: ServiceSettings| bounded(s).timeout(SECOND);
    let (mesh, _) = thinking(2 * SECOND, 0, both);
    let error = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap_err();
    assert!(error.to_string().contains("1s, `timeout` by the code"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_call_lasts_no_longer_than_its_cluster_allows() {
    let leaves = Leaves::new(1);
    let seen = Arc::new(Mutex::new(HeaderMap::new()));
    let sink = Arc::clone(&seen);
    let answering = leaves.leaves(Mesh::builder(), move |_, request: Request<Body>| {
        *sink.lock().unwrap() = request.headers().clone();
        async move {
            let _read = request.into_body().collect().await?;
            Ok(Response::new(slow_body(10)))
        }
    });
    let allowing = |longest: Duration| {
        let mut cluster = cluster(leaves.addresses());
        cluster.max_stream_duration = Some(longest);
        cluster
    };
    let mut service = Service::default();
    service.policy.retry = Some(once());
    let (mesh, publish) = published(answering, |publish| {
        publish.cluster(SERVICE, allowing(3 * SECOND)).unwrap();
        publish.service(SERVICE, service.clone()).unwrap();
    })
    .await;
    let client = mesh.client(SERVICE).unwrap();
    // In the body of its answer, and in that of its request.
    let start = Instant::now();
    let answer = client.send(get("/")).await.unwrap();
    let error = answer.into_body().bytes().await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Body));
    assert!(error.to_string().contains("(`max_stream_duration`)"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 3);
    let error = client.send(put(slow_body(10))).await.unwrap_err();
    let text = error.to_string();
    let words = format!("3s, `max_stream_duration` of cluster {SERVICE}");
    assert!(text.contains(&words), "{text}");
    // A gRPC server is told of it.
    let mut request = get("/");
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    drop(client.send(request).await.unwrap());
    assert_eq!(seen.lock().unwrap()["grpc-timeout"], "3000000u");
    // What the route says counts where it is less, and 0 is no bound.
    service.policy.timeout = Some(SECOND);
    publish.service(SERVICE, service.clone()).unwrap();
    let error = client.send(put(slow_body(10))).await.unwrap_err();
    assert!(error.to_string().contains("1s, `timeout` by source"), "{error}");
    service.policy.timeout = None;
    publish.service(SERVICE, service).unwrap();
    publish.cluster(SERVICE, allowing(Duration::ZERO)).unwrap();
    let answer = client.send(get("/")).await.unwrap();
    assert_eq!(answer.into_body().bytes().await.unwrap().len(), 10 * "frame".len());
}

/// What a gRPC call with this header is told to the endpoint as, in milliseconds.
async fn told(
    said: Option<&'static str>,
    settings: fn(ServiceSettings) -> ServiceSettings,
) -> Option<u64> {
    let leaves = Leaves::new(1);
    let seen: Arc<Mutex<Option<HeaderMap>>> = Arc::default();
    let sink = Arc::clone(&seen);
    let builder = leaves.mesh(move |_, request: Request<Body>| {
        *sink.lock().unwrap() = Some(request.headers().clone());
        async { Ok::<_, BoxError>(crate::support::leaf::grpc(0)) }
    });
    let mesh = builder.service(SERVICE, settings).build().unwrap();
    mesh.ready().await.unwrap();
    let mut request = Request::post("/greeter/hello").body(Body::empty()).unwrap();
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if let Some(said) = said {
        request.headers_mut().insert("grpc-timeout", HeaderValue::from_static(said));
    }
    let _answer = mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    let seen = seen.lock().unwrap().take().unwrap();
    let value = seen.get("grpc-timeout")?.to_str().unwrap().to_owned();
    let (number, unit) = value.split_at(value.len() - 1);
    let number: u64 = number.parse().unwrap();
    Some(match unit {
        "S" => number * 1_000,
        "m" => number,
        "u" => number / 1_000,
        other => panic!("{other}"),
    })
}

//= gRFC A31 and Envoy's `grpc_timeout_header_max`
#[tokio::test(start_paused = true)]
async fn a_grpc_timeout_is_honoured_up_to_its_maximum() {
    let capped = |s: ServiceSettings| s.max_grpc_timeout(5 * SECOND).max_stream_duration(SECOND);
    assert_eq!(told(Some("3S"), capped).await, Some(3_000));
    assert_eq!(told(Some("60S"), capped).await, Some(5_000));
    assert_eq!(told(None, capped).await, Some(5_000));
    assert_eq!(told(Some("60S"), |s| s).await, Some(60_000), "as it stands");
    assert_eq!(told(None, |s| s.max_stream_duration(SECOND)).await, Some(1_000));
}

#[tokio::test(start_paused = true)]
async fn headers_of_a_request_are_its_bounds_where_the_policy_allows_it() {
    let allowed = |s: ServiceSettings| s.timeout(10 * SECOND).retry(once()).caller_overrides(true);
    let (mesh, _) = thinking(20 * SECOND, 0, allowed);
    let client = mesh.client(SERVICE).unwrap();
    for (name, value, seconds, bound) in [
        ("x-envoy-upstream-rq-timeout-ms", "3000", 3, "`timeout` by a header of the request"),
        ("x-envoy-upstream-rq-timeout-ms", "15000", 15, "`timeout` by a header of the request"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "2000", 2, "`attempt_timeout` by a header"),
        ("l5d-timeout", "4s", 4, "`timeout` by a header of the request"),
        ("l5d-response-timeout", "1500ms", 1, "`response_timeout` by a header of the request"),
        ("l5d-timeout", "soon", 10, "`timeout` by the code"),
    ] {
        let mut request = get("/");
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        let start = Instant::now();
        let error = client.send(request).await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), seconds, "{name}: {error}");
        assert!(error.to_string().contains(bound), "{name}: {error}");
    }
    let mut unbounded = get("/");
    unbounded.headers_mut().insert("x-envoy-upstream-rq-timeout-ms", HeaderValue::from_static("0"));
    assert_eq!(client.send(unbounded).await.unwrap().status(), 200);
    // Where it does not, they change nothing.
    let (mesh, _) = thinking(2 * SECOND, 0, |s| s);
    let mut request = get("/");
    request.headers_mut().insert("x-envoy-upstream-rq-timeout-ms", HeaderValue::from_static("1"));
    assert_eq!(mesh.client(SERVICE).unwrap().send(request).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_bound_that_a_source_changes_holds_for_the_next_call() {
    let leaves = Leaves::new(1);
    let bounded = |seconds: u64| {
        let mut service = Service::default();
        service.policy.retry = Some(once());
        service.policy.response_timeout = Some(Duration::from_secs(seconds));
        service
    };
    let answering = leaves.leaves(Mesh::builder(), |_, _| async {
        sleep(2 * SECOND).await;
        Ok(ok("well"))
    });
    let (mesh, publish) = published(answering, |publish| {
        publish.endpoints(SERVICE, leaves.addresses()).unwrap();
        publish.service(SERVICE, bounded(3)).unwrap();
    })
    .await;
    let client = mesh.client(SERVICE).unwrap();
    let under_way = tokio::spawn(client.send(get("/")));
    sleep(SECOND).await;
    publish.service(SERVICE, bounded(1)).unwrap();
    let error = client.send(get("/")).await.unwrap_err();
    assert!(error.to_string().contains("1s, `response_timeout` by source"), "{error}");
    assert_eq!(under_way.await.unwrap().unwrap().status(), 200, "it keeps the bound it began with");
}
