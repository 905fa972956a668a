//! A user's layers at the four stages, real tower layers among them, and a user's own leaf.
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
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use tower::{
    Layer, Service,
    limit::ConcurrencyLimitLayer,
    timeout::TimeoutLayer,
    util::{MapRequestLayer, MapResponseLayer},
};
use tower_mesh::{Body, ErrorKind, LeafEndpoint, Mesh, Origin, Retry};

use crate::support::{
    BoxError, GreeterClient, HelloRequest, Leaves, SERVICE, Server, dead_address, fetch, get,
    hello,
    leaf::{answer, ok},
    patience, post, reply, storm,
};

/// A layer that counts how often it was built and called, whatever it is around.
#[derive(Clone, Default)]
struct Probe {
    built: Arc<AtomicUsize>,
    called: Arc<AtomicUsize>,
}

impl Probe {
    fn counts(&self) -> (usize, usize) {
        (self.built.load(Ordering::SeqCst), self.called.load(Ordering::SeqCst))
    }
}

impl<S> Layer<S> for Probe {
    type Service = Probed<S>;

    fn layer(&self, inner: S) -> Probed<S> {
        self.built.fetch_add(1, Ordering::SeqCst);
        Probed { inner, called: Arc::clone(&self.called) }
    }
}

#[derive(Clone)]
struct Probed<S> {
    inner: S,
    called: Arc<AtomicUsize>,
}

impl<S: Service<R>, R> Service<R> for Probed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.called.fetch_add(1, Ordering::SeqCst);
        self.inner.call(request)
    }
}

fn tag(name: &'static str) -> impl Fn(Request<Body>) -> Request<Body> + Clone + Send + Sync {
    move |mut request| {
        request.headers_mut().append("x-way", HeaderValue::from_static(name));
        request
    }
}

#[tokio::test]
async fn each_stage_is_met_in_its_order_and_its_number() {
    let failures = Arc::new(AtomicUsize::new(1));
    let ways = Arc::new(Mutex::new(Vec::new()));
    let handler = |failures: Arc<AtomicUsize>, ways: Arc<Mutex<Vec<String>>>| {
        move |request: Request<hyper::body::Incoming>| {
            let way = request.headers().get_all("x-way").iter();
            let way = way.map(|part| part.to_str().unwrap_or("?")).collect::<Vec<_>>().join(">");
            ways.lock().unwrap().push(way);
            let fail = failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            async move {
                if fail {
                    crate::support::status(http::StatusCode::SERVICE_UNAVAILABLE)
                } else {
                    reply("hello")
                }
            }
        }
    };
    let first = Server::start(handler(Arc::clone(&failures), Arc::clone(&ways))).await;
    let second = Server::start(handler(Arc::clone(&failures), Arc::clone(&ways))).await;
    let [call, attempt, endpoint, connect] = [(); 4].map(|()| Probe::default());
    let mesh = Mesh::builder()
        .endpoints("users.prod", [first.address(), second.address()])
        .service("users.prod", |s| s.retry(Retry::standard().attempts(2)))
        .call_layer(call.clone())
        .call_layer(MapRequestLayer::new(tag("call")))
        .attempt_layer(attempt.clone())
        .attempt_layer(MapRequestLayer::new(tag("attempt")))
        .endpoint_layer(endpoint.clone())
        .endpoint_layer(MapRequestLayer::new(tag("endpoint")))
        .connect_layer(connect.clone())
        .build()
        .unwrap();
    let client = mesh.client("users.prod").unwrap();
    let answer = client.send(get("/")).await.unwrap();
    assert_eq!(answer.into_body().text().await.unwrap(), "hello");

    assert_eq!(call.counts().1, 1, "once per call");
    assert_eq!(attempt.counts().1, 2, "once per attempt");
    assert_eq!(endpoint.counts(), (2, 2), "built at an endpoint's first pick");
    assert_eq!(connect.counts().1, 2, "once per connection");
    assert_eq!(*ways.lock().unwrap(), ["call>attempt>endpoint", "call>attempt>endpoint"]);

    for _ in 0..10 {
        client.send(get("/")).await.unwrap().into_body().bytes().await.unwrap();
    }
    assert_eq!(call.counts().1, 11);
    assert_eq!(endpoint.counts().0, 2, "long-lived");
    assert_eq!(connect.counts().1, 2, "connections are kept");
}

#[tokio::test]
async fn unpicked_endpoints_build_nothing() {
    let endpoint = Probe::default();
    let mesh = Leaves::new(50)
        .mesh(|_, _| async { Ok(ok("hello")) })
        .endpoint_layer(endpoint.clone())
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    assert_eq!(endpoint.counts(), (0, 0));
    let client = mesh.client(SERVICE).unwrap();
    client.send(get("/")).await.unwrap();
    assert_eq!(endpoint.counts(), (1, 1), "of the one that was picked");
}

#[tokio::test(start_paused = true)]
async fn a_layer_may_answer_by_itself() {
    let leaves = Leaves::new(1);
    let stub = tower::layer::layer_fn(|_next| {
        tower::service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(answer(418)) })
    });
    let mesh = leaves.mesh(|_, _| async { Ok(ok("")) }).call_layer(stub).build().unwrap();
    let answer = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    assert_eq!(answer.status(), 418);
    assert_eq!(leaves.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_layers_error_reaches_the_caller_as_its_source() {
    let failing = tower::layer::layer_fn(|_next| {
        tower::service_fn(|_: Request<Body>| async {
            Err::<Response<Body>, BoxError>("no licence".into())
        })
    });
    let builder = || Leaves::new(1).mesh(|_, _| async { Ok(ok("")) });
    let gone = Leaves::new(1).mesh(|_, _| async { Err::<Response<Body>, _>("no licence".into()) });
    for (whose, builder) in [
        ("one of `call_layer`", builder().call_layer(failing)),
        ("one of `attempt_layer`", builder().attempt_layer(failing)),
        ("one of `endpoint_layer`, or the own leaf", builder().endpoint_layer(failing)),
        ("the own leaf", gone),
    ] {
        let mesh = builder.build().unwrap();
        let error = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap_err();
        assert_eq!((error.kind(), error.origin()), (ErrorKind::Layer, Origin::Layer));
        let text = error.to_string();
        assert!(text.contains(&format!("a layer of the application failed: {whose}")), "{text}");
        assert!(error.chain().contains("no licence"), "{}", error.chain());
    }
}

#[tokio::test(start_paused = true)]
async fn towers_own_layers_keep_their_contract_in_every_stage() {
    let mesh = Leaves::new(3)
        .mesh(|_, _| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(ok("hello"))
        })
        .call_layer(ConcurrencyLimitLayer::new(8))
        .call_layer(TimeoutLayer::new(Duration::from_secs(5)))
        .attempt_layer(ConcurrencyLimitLayer::new(4))
        .endpoint_layer(ConcurrencyLimitLayer::new(1))
        .endpoint_layer(MapResponseLayer::new(|mut answer: Response<Body>| {
            answer.headers_mut().insert("x-endpoint", HeaderValue::from_static("yes"));
            answer
        }))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let answers = storm(64, 500, |_| fetch(&client, post("/", "x"))).await;
    for answer in answers {
        assert_eq!(answer.unwrap().headers()["x-endpoint"], "yes");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_layers_readiness_is_bounded_by_the_deadline() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| std::future::pending())
        .attempt_layer(ConcurrencyLimitLayer::new(1))
        .service(SERVICE, |s| s.timeout(Duration::from_secs(3)))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let start = tokio::time::Instant::now();
    let answers = storm(4, 4, |_| fetch(&client, post("/", "x"))).await;
    for answer in answers {
        assert!(answer.unwrap_err().is_timeout());
    }
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_bounds_a_call_bounds_its_call_layers() {
    let stuck = tower::layer::layer_fn(|_next| {
        tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, BoxError>>()
        })
    });
    let mesh = Leaves::new(1)
        .mesh(|_, _| async { Ok(ok("")) })
        .call_layer(stuck)
        .service(SERVICE, |s| {
            let stream = Duration::from_secs(4);
            s.max_stream_duration(stream).max_grpc_timeout(Duration::from_secs(3))
        })
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let start = tokio::time::Instant::now();
    // What gRPC callers say is theirs.
    let mut request = get("/");
    request.headers_mut().insert("grpc-timeout", HeaderValue::from_static("1S"));
    let error = patience(client.send(request)).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let words = "4s, `max_stream_duration` by its policy";
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(start.elapsed().as_secs(), 4);
    for (said, bound) in [("60S", 3), ("2S", 2)] {
        let mut request = get("/");
        *request.method_mut() = http::Method::POST;
        for (name, value) in [("content-type", "application/grpc"), ("grpc-timeout", said)] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let start = tokio::time::Instant::now();
        let answer = patience(client.send(request)).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "4");
        assert_eq!(start.elapsed().as_secs(), bound);
        let text = answer.extensions().get::<tower_mesh::Error>().unwrap().to_string();
        let of_policy = text.contains("`grpc_timeout.max` by its policy");
        assert_eq!(of_policy, bound == 3, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_call_layer_takes_is_taken_from_the_duration_of_the_stream() {
    let slow = tower::layer::layer_fn(|next: tower_mesh::Next| {
        tower::service_fn(move |request: Request<Body>| {
            let mut next = next.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                next.call(request).await
            }
        })
    });
    let endless = |_, _| async {
        let frames = futures_util::stream::pending::<Result<_, BoxError>>();
        Ok(Response::new(Body::new(http_body_util::StreamBody::new(frames))))
    };
    let mesh = Leaves::new(1)
        .mesh(endless)
        .call_layer(slow)
        .service(SERVICE, |s| s.max_stream_duration(Duration::from_secs(2)))
        .build()
        .unwrap();
    let start = tokio::time::Instant::now();
    let answer = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    let body = patience(http_body_util::BodyExt::collect(answer.into_body())).await;
    let error = body.map(drop).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(start.elapsed().as_millis(), 2000);
}

#[tokio::test]
async fn layers_serve_grpc_callers_too() {
    let server = Server::grpc(hello(|request: tonic::Request<_>| async move {
        let tags = request.metadata().get_all("x-way").iter().count();
        Ok(format!("{tags} tags"))
    }))
    .await;
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [server.address()])
        .call_layer(MapRequestLayer::new(tag("call")))
        .attempt_layer(MapRequestLayer::new(tag("attempt")))
        .build()
        .unwrap();
    let mut client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    let answer = client.say_hello(HelloRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().message, "2 tags");
}

#[tokio::test]
async fn an_own_leaf_takes_the_transports_place() {
    // The user's client: hyper-util's pooled one, told each endpoint's address.
    let first = Server::named("first").await;
    let second = Server::named("second").await;
    let (dead, _socket) = dead_address();
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let mesh = Mesh::builder()
        .endpoints("users.prod", [first.address(), second.address(), dead])
        .service("users.prod", |s| s.retry(Retry::standard()))
        .leaf(move |endpoint: &LeafEndpoint| {
            count.fetch_add(1, Ordering::SeqCst);
            let address = endpoint.address().to_string();
            let client =
                hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                    .build_http::<Body>();
            tower::service_fn(move |mut request: Request<Body>| {
                let client = client.clone();
                let path = request.uri().path().to_owned();
                let uri = format!("http://{address}{path}");
                async move {
                    *request.uri_mut() = uri.parse()?;
                    Ok::<_, BoxError>(client.request(request).await?.map(Body::new))
                }
            })
        })
        .build()
        .unwrap();
    let client = mesh.client("users.prod").unwrap();
    for _ in 0..100 {
        let answer = client.send(get("/")).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().bytes().await.unwrap();
    }
    assert!(first.requests() > 10 && second.requests() > 10);
    assert_eq!(made.load(Ordering::SeqCst), 3, "one client per endpoint");
}

#[tokio::test]
async fn behind_an_endpoint_layer_the_clusters_protocol_still_rules() {
    let server = Server::start(|request: Request<hyper::body::Incoming>| async move {
        reply(format!("{:?}", request.version()))
    })
    .await;
    let mesh = Mesh::builder()
        .endpoints(SERVICE, [server.address()])
        .service(SERVICE, |s| s.protocol(tower_mesh::config::Protocol::Http2))
        .endpoint_layer(Probe::default())
        .build()
        .unwrap();
    let reply = fetch(&mesh.client(SERVICE).unwrap(), get("/")).await.unwrap();
    assert_eq!(reply.body(), "HTTP/2.0");
}

/// 100 calls that are not idempotent, through a mesh of one dead and one live endpoint.
async fn calls_past_a_dead_endpoint(layered: impl FnOnce(tower_mesh::MeshBuilder) -> Mesh) {
    let (dead, _socket) = dead_address();
    let ways = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ways);
    let server = Server::start(move |request: Request<hyper::body::Incoming>| {
        seen.lock().unwrap().push(request.headers().get_all("x-way").iter().count());
        async { reply("hello") }
    })
    .await;
    let mesh = layered(Mesh::builder().endpoints(SERVICE, [dead, server.address()]));
    let client = mesh.client(SERVICE).unwrap();
    let replies = storm(4, 100, |_| fetch(&client, post("/", "once"))).await;
    for reply in replies {
        assert_eq!(reply.unwrap().status(), 200);
    }
    assert_eq!(*ways.lock().unwrap(), vec![1; 100], "each request met the layer once");
}

#[tokio::test]
async fn a_post_gets_past_a_dead_endpoint_behind_endpoint_layers() {
    calls_past_a_dead_endpoint(|mesh| {
        mesh.endpoint_layer(MapRequestLayer::new(tag("endpoint"))).build().unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_post_gets_past_a_dead_endpoint_behind_attempt_layers() {
    calls_past_a_dead_endpoint(|mesh| {
        mesh.attempt_layer(MapRequestLayer::new(tag("attempt"))).build().unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_post_gets_past_a_dead_endpoint_behind_call_layers() {
    calls_past_a_dead_endpoint(|mesh| {
        mesh.call_layer(MapRequestLayer::new(tag("call"))).build().unwrap()
    })
    .await;
}
