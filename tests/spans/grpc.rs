//! Spans of gRPC calls: their status, wherever it comes.

use std::{convert::Infallible, task::Poll};

use super::*;
use tower_mesh::{Client, ServiceSettings};

/// A traced mesh over one greeter, and a client of it.
fn greeter(
    traced: &Traced,
    server: &Server,
    settings: impl FnOnce(ServiceSettings) -> ServiceSettings,
) -> (Mesh, GreeterClient<Client>) {
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [server.address()])
        .service("greeter.prod", settings)
        .tracer_provider(&traced.provider)
        .build()
        .unwrap();
    let client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    (mesh, client)
}

#[tokio::test]
async fn a_grpc_call_ends_with_the_status_in_its_trailers() {
    let traced = Traced::new();
    let server = Server::grpc(hello(|request| async move {
        match request.into_inner().name.as_str() {
            "nobody" => Err(tonic::Status::not_found("nobody")),
            name => Ok(format!("hello {name}")),
        }
    }))
    .await;
    let (mesh, mut greeter) = greeter(&traced, &server, |s| s);
    let ask = |name: &str| HelloRequest { name: name.into() };
    patience(greeter.say_hello(ask("you"))).await.unwrap();
    let spans = traced.ended();
    let [call, attempt] = &spans[..] else { panic!("{spans:#?}") };
    assert!(is_child(attempt, call));
    for span in &spans {
        assert_eq!(span.name, "helloworld.Greeter/SayHello");
        assert_eq!(span.span_kind, SpanKind::Client);
        assert_eq!(text(span, "rpc.system.name"), "grpc");
        assert_eq!(text(span, "rpc.method"), "helloworld.Greeter/SayHello");
        assert_eq!(text(span, "rpc.response.status_code"), "OK");
        assert_eq!(text(span, "server.address"), "greeter.prod");
        assert_eq!(text(span, "error.type"), "");
        assert_eq!(text(span, "network.peer.address"), "127.0.0.1");
        assert_eq!(span.status, Status::Unset);
    }
    let failed = patience(greeter.say_hello(ask("nobody"))).await.unwrap_err();
    assert_eq!(failed.code(), Code::NotFound);
    for span in &traced.ended() {
        assert_eq!(text(span, "rpc.response.status_code"), "NOT_FOUND");
        assert_eq!(text(span, "error.type"), "NOT_FOUND");
        assert_eq!(span.status, Status::error(""));
    }
    // A span that waits for the trailers takes nothing from what is counted.
    for status in ["OK", "NOT_FOUND"] {
        let of = [("rpc.response.status_code", status)];
        let calls = mesh.metrics().total("rpc.client.call.duration", &of);
        assert!((calls - 1.0).abs() < f64::EPSILON, "{calls} calls with {status}");
    }
}

#[tokio::test]
async fn a_grpc_stream_that_is_let_go_of_is_cancelled() {
    let traced = Traced::new();
    let server = Server::grpc(counting(|| {
        Box::pin(futures_util::stream::repeat_with(|| Ok(HelloReply { message: "more".into() })))
    }))
    .await;
    let (_mesh, mut greeter) = greeter(&traced, &server, |s| s);
    let mut replies = patience(greeter.count(HelloRequest::default())).await.unwrap().into_inner();
    patience(replies.message()).await.unwrap().unwrap();
    assert_eq!(traced.ended().len(), 0, "a stream is no answer yet");
    drop(replies);
    let spans = traced.ended();
    assert_eq!(spans.len(), 2);
    for span in &spans {
        assert_eq!(text(span, "rpc.response.status_code"), "CANCELLED");
        assert_eq!(text(span, "mesh.outcome"), "cancelled");
    }
}

#[tokio::test]
async fn a_grpc_stream_that_breaks_is_named_by_what_broke_it() {
    let traced = Traced::new();
    let server = Server::grpc(counting(|| {
        let one = futures_util::stream::iter([Ok(HelloReply::default())]);
        Box::pin(futures_util::StreamExt::chain(one, futures_util::stream::pending()))
    }))
    .await;
    let (_mesh, mut greeter) = greeter(&traced, &server, |s| s);
    let mut replies = patience(greeter.count(HelloRequest::default())).await.unwrap().into_inner();
    patience(replies.message()).await.unwrap().unwrap();
    server.kill().await;
    let status = patience(replies.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let spans = traced.ended();
    assert_eq!(spans.len(), 2);
    for span in &spans {
        // As metrics have it.
        assert_eq!(text(span, "rpc.response.status_code"), "UNAVAILABLE");
        assert_eq!(text(span, "error.type"), "transport");
        assert_eq!(text(span, "mesh.outcome"), "error");
    }
}

#[tokio::test]
async fn a_grpc_retry_after_trailers_is_a_second_attempt() {
    let traced = Traced::new();
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let server = Server::grpc(hello(move |_| {
        let first = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        async move {
            if first { Err(tonic::Status::unavailable("not yet")) } else { Ok("hello".into()) }
        }
    }))
    .await;
    let (_mesh, mut greeter) = greeter(&traced, &server, |s| {
        let mut retry = fast();
        retry.idempotent = Some(true);
        s.retry(retry)
    });
    patience(greeter.say_hello(HelloRequest::default())).await.unwrap();
    let spans = traced.ended();
    let [call, first, second] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(text(first, "rpc.response.status_code"), "UNAVAILABLE");
    assert_eq!(text(second, "rpc.response.status_code"), "OK");
    assert_eq!(text(second, "mesh.retry.reason"), "grpc");
    assert_eq!(text(second, "mesh.retry.status"), "UNAVAILABLE");
    assert_eq!(text(call, "rpc.response.status_code"), "OK");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_its_server_ends_in_trailers_at_the_deadline_has_their_status() {
    const BOUND: Duration = Duration::from_secs(2);
    const LEFT: Duration = Duration::from_millis(1);
    for (is_of_call, expected) in
        [(false, ["CANCELLED", "CANCELLED"]), (true, ["DEADLINE_EXCEEDED", "timeout"])]
    {
        let traced = Traced::new();
        let mesh = Leaves::new(1).mesh(|_, _| async {
            tokio::time::sleep(BOUND.saturating_sub(LEFT)).await;
            let at = tokio::time::Instant::now() + LEFT;
            // The head says nothing; the timer of the call wakes what follows, and fires at that moment, too.
            let trailers = futures_util::stream::once(async move {
                std::future::poll_fn(|_| {
                    let is_time = tokio::time::Instant::now() >= at;
                    if is_time { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("1"));
                Ok::<_, Infallible>(Frame::<Bytes>::trailers(trailers))
            });
            Ok(http::Response::new(Body::new(StreamBody::new(trailers))))
        });
        let mesh = mesh.tracer_provider(&traced.provider).service(SERVICE, |s| {
            let s = s.retry(Retry::idempotent());
            if is_of_call { s } else { s.timeout(BOUND) }
        });
        let mesh = mesh.build().unwrap();
        let mut client = GreeterClient::new(mesh.client(SERVICE).unwrap());
        let mut request = tonic::Request::new(HelloRequest::default());
        if is_of_call {
            // No body goes on behind it: the endpoint has said nothing.
            request.set_timeout(BOUND);
        }
        let status = client.say_hello(request).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        let spans = traced.ended();
        let [call, attempt] = &spans[..] else { panic!("{spans:#?}") };
        assert!(is_child(attempt, call));
        let of = |span| [text(span, "rpc.response.status_code"), text(span, "error.type")];
        assert_eq!(of(attempt), expected, "{is_of_call}");
        assert_eq!(of(call), ["DEADLINE_EXCEEDED", "timeout"], "{is_of_call}");
    }
}
