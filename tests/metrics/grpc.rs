//! gRPC calls by their status, wherever it comes.

use super::*;

#[tokio::test]
async fn a_grpc_call_is_counted_by_the_status_in_its_trailers() {
    let server = Server::grpc(hello(|request| async move {
        match &*request.into_inner().name {
            "nobody" => Err(tonic::Status::not_found("no such person")),
            name => Ok(format!("hello {name}")),
        }
    }))
    .await;
    let mesh = Mesh::builder().endpoints("greeter", [server.address()]).build().unwrap();
    mesh.ready().await.unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    for name in ["you", "me", "nobody"] {
        drop(greeter.say_hello(HelloRequest { name: name.into() }).await);
    }
    let metrics = mesh.metrics();
    let service = ("mesh.service", "greeter");
    let code = |code| ("rpc.response.status_code", code);
    assert_eq!(metrics.total(RPC, &[service, code("OK"), ("rpc.system.name", "grpc")]), 2.0);
    // Whatever a caller names, it is one series.
    assert_eq!(metrics.total(RPC, &[("rpc.method", "_OTHER")]), 3.0);
    let missing = [service, code("NOT_FOUND"), ("error.type", "NOT_FOUND")];
    assert_eq!(metrics.total(RPC, &missing), 1.0);
    assert_eq!(metrics.total(RPC_ATTEMPT, &[("grpc.status", "OK")]), 2.0);
    assert_eq!(metrics.total(RPC_ATTEMPT, &[("grpc.status", "NOT_FOUND")]), 1.0);
    assert!(metrics.family(CALL).is_none() && metrics.family(ATTEMPT).is_none());
    check_attributes(&metrics);
}

#[tokio::test]
async fn a_grpc_stream_lasts_to_its_status_and_may_be_left_or_broken_before() {
    let server = Server::grpc(counting(|| {
        Box::pin(futures_util::stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (n < 3).then(|| (Ok(HelloReply::default()), n + 1))
        }))
    }))
    .await;
    let mesh = Mesh::builder().endpoints("greeter", [server.address()]).build().unwrap();
    mesh.ready().await.unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    let mut replies = greeter.count(HelloRequest::default()).await.unwrap().into_inner();
    assert_eq!(mesh.metrics().total(RPC, &[]), 0.0, "its status is still to come");
    while replies.message().await.unwrap().is_some() {}
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(RPC, &[("rpc.response.status_code", "OK")]), 1.0);
    assert_eq!(at_most(&metrics, RPC, 0.05), 0, "its messages take 60 ms");

    drop(greeter.count(HelloRequest::default()).await.unwrap());
    let left = [("rpc.response.status_code", "CANCELLED"), ("error.type", "cancelled")];
    assert_eq!(mesh.metrics().total(RPC, &left), 1.0);

    let mut replies = greeter.count(HelloRequest::default()).await.unwrap().into_inner();
    server.kill().await;
    let broken = patience(async {
        loop {
            match replies.message().await {
                Ok(Some(_)) => {}
                end => break end,
            }
        }
    });
    broken.await.unwrap_err();
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(RPC, &[("error.type", "transport")]), 1.0);
    assert_eq!(metrics.total("mesh.client.bodies.failed", &[("mesh.service", "greeter")]), 1.0);
    assert_eq!(metrics.total(RPC, &[]), metrics.total(RPC_ATTEMPT, &[]));
    check_attributes(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_name_with_a_port_is_told_as_its_address_and_its_port() {
    let leaves = Leaves::new(1);
    let cluster = cluster(["10.0.0.1:80".parse().unwrap()]);
    let named = tower_mesh::discover::Static::default().cluster("users.prod:8080", cluster);
    let builder = Mesh::builder().source(named);
    let mesh = leaves.leaves(builder, |_, _| async { Ok(ok("")) }).build().unwrap();
    mesh.ready().await.unwrap();
    mesh.client("users.prod:8080").unwrap().send(get("/")).await.unwrap();
    let metrics = mesh.metrics();
    let server = [("server.address", "users.prod"), ("server.port", "8080")];
    assert_eq!(metrics.total(ATTEMPT, &server), 1.0);
    assert_eq!(metrics.total("http.client.active_requests", &server), 0.0);
    check_attributes(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_local_failure_of_a_grpc_call_is_the_status_that_the_caller_got() {
    let mesh = one_cluster(cluster([])).build().unwrap();
    mesh.ready().await.unwrap();
    let mut greeter = GreeterClient::new(mesh.client("users").unwrap());
    let status = greeter.say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let labels = [("rpc.response.status_code", "UNAVAILABLE"), ("error.type", "no_endpoints")];
    assert_eq!(mesh.metrics().total(RPC, &labels), 1.0);
}

#[tokio::test]
async fn a_grpc_body_that_a_layer_has_wrapped_is_counted_by_its_status_too() {
    let server = Server::grpc(hello(|_| async { Err(tonic::Status::not_found("nobody")) })).await;
    let wrap = |response: http::Response<Body>| {
        response.map(|body| Body::new(http_body_util::BodyExt::map_frame(body, |frame| frame)))
    };
    let mesh = Mesh::builder()
        .endpoints("greeter", [server.address()])
        .attempt_layer(tower::util::MapResponseLayer::new(wrap))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    // A message comes before the status.
    let reply = patience(greeter.say_hello(HelloRequest::default())).await;
    assert_eq!(reply.unwrap_err().code(), tonic::Code::NotFound);
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(RPC, &[("rpc.response.status_code", "NOT_FOUND")]), 1.0);
    assert_eq!(metrics.total(RPC, &[]), 1.0);
}

/// With a retry armed, the first frame of a response is looked at before it is returned.
#[tokio::test(start_paused = true)]
async fn a_grpc_response_that_was_looked_at_is_counted_once() {
    let leaves = Leaves::new(1);
    let counter = leaves.clone();
    let mesh = leaves
        .mesh(move |_, _| {
            let code = if counter.total() == 1 { "14" } else { "5" };
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", code.parse().unwrap());
            let frames = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(
                http_body::Frame::<bytes::Bytes>::trailers(trailers),
            )]);
            let body = Body::new(http_body_util::StreamBody::new(frames));
            async move { Ok(http::Response::new(body)) }
        })
        .service(SERVICE, |s| s.retry(Retry::idempotent()))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let mut greeter = GreeterClient::new(mesh.client(SERVICE).unwrap());
    let status = greeter.say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(RPC, &[("rpc.response.status_code", "NOT_FOUND")]), 1.0);
    assert_eq!(metrics.total(RPC, &[]), 1.0);
    assert_eq!(metrics.total(RPC_ATTEMPT, &[("grpc.status", "UNAVAILABLE")]), 1.0);
    assert_eq!(metrics.total(RPC_ATTEMPT, &[("grpc.status", "NOT_FOUND")]), 1.0);
    assert_eq!(metrics.total("mesh.client.retries", &[("mesh.retry.reason", "grpc")]), 1.0);
}
