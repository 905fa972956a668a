//! Spans of a call, of its attempts and of three hops.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_call_and_its_attempts_by_the_conventions() {
    let traced = Traced::new();
    let mesh = flaky(&traced, |builder| {
        builder.service(SERVICE, |s| {
            s.retry(fast().backoff(Duration::from_millis(10), Duration::from_millis(10)))
        })
    });
    mesh.ready().await.unwrap();
    let request = get("http://me:secret@users.prod:8080/1?token=secret");
    mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    let spans = traced.ended();
    let [call, first, second] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(call.parent_span_id, SpanId::INVALID);
    assert!(is_child(first, call) && is_child(second, call));
    for span in &spans {
        assert_eq!(span.name, "GET");
        assert_eq!(span.instrumentation_scope.name(), "tower-mesh");
        assert_eq!(span.instrumentation_scope.schema_url(), Some(SCHEMA));
    }
    // An HTTP client span is an attempt; the call around them is none.
    assert_eq!(call.span_kind, SpanKind::Internal);
    assert_eq!(first.span_kind, SpanKind::Client);
    let url = "url.full=http://REDACTED:REDACTED@users.prod:8080/1?token=REDACTED";
    assert_eq!(
        attributes(call),
        [
            "http.request.method=GET",
            "http.response.status_code=200",
            "mesh.attempts=2",
            "mesh.cluster=users.prod",
            "mesh.outcome=response",
            "mesh.service=users.prod",
            "server.address=users.prod",
            "server.port=8080",
            url,
        ]
    );
    let [event] = &events(call)[..] else { panic!("{:?}", events(call)) };
    assert!(
        event.starts_with(
            "mesh.retry mesh.retry.reason=status mesh.retry.status=503 mesh.retry.backoff=0.0"
        ),
        "{event}"
    );
    assert_eq!(
        attributes(first),
        [
            "error.type=503",
            "http.request.method=GET",
            "http.response.status_code=503",
            "mesh.attempt=1",
            "mesh.outcome=response",
            "network.protocol.version=1.1",
            "server.address=users.prod",
            "server.port=8080",
            url,
        ]
    );
    assert_eq!(first.status, Status::error(""));
    assert_eq!(call.status, Status::Unset);
    let list = attributes(second);
    assert!(list.contains(&"http.request.resend_count=1".to_owned()), "{list:?}");
    assert!(list.contains(&"mesh.attempt=2".to_owned()), "{list:?}");
    assert!(list.contains(&"mesh.retry.reason=status".to_owned()), "{list:?}");
    assert!(list.contains(&"mesh.retry.status=503".to_owned()), "{list:?}");
    assert!(!text(second, "mesh.retry.backoff").is_empty());
    // The other of the two endpoints was taken.
    assert!(text(first, "mesh.endpoint").ends_with(":80"));
    assert_ne!(text(first, "mesh.endpoint"), text(second, "mesh.endpoint"));
    assert!(text(first, "network.peer.address").starts_with("10.0.0."));
    assert_eq!(text(first, "network.peer.port"), "80");
}

/// A mesh whose one endpoint has a dead address first, and then this one.
async fn at_two_addresses(traced: &Traced, server: &Server, edit: Edit) -> (Mesh, String) {
    let (dead, _socket) = dead_address();
    let mut endpoint = config::Endpoint::new(dead.clone());
    endpoint.more_addresses = vec![server.address()];
    let builder = Mesh::builder().endpoints(SERVICE, [endpoint]);
    let mesh = edit(builder.tracer_provider(&traced.provider)).build().unwrap();
    mesh.ready().await.unwrap();
    (mesh, dead.to_string())
}

type Edit = fn(MeshBuilder) -> MeshBuilder;

#[tokio::test]
async fn of_several_addresses_spans_tell_the_one_that_the_connection_leads_to() {
    let edits: [(Edit, &str); 3] = [
        (|builder| builder, "1.1"),
        (|builder| builder.service(SERVICE, |s| s.protocol(Protocol::Http2)), "2"),
        (
            |builder| {
                // Each attempt is one of several that may be under way.
                let hedge = tower_mesh::Hedge::after(Duration::from_secs(60));
                builder.service(SERVICE, |s| s.protocol(Protocol::Http2).hedge(hedge))
            },
            "2",
        ),
    ];
    for (edit, version) in edits {
        let (traced, server) = (Traced::new(), Server::named("second").await);
        let (mesh, endpoint) = at_two_addresses(&traced, &server, edit).await;
        let client = mesh.client(SERVICE).unwrap();
        // The first waits for its connection, the second finds one.
        for call in ["waits", "finds"] {
            let response = patience(client.send(get("/"))).await.unwrap();
            response.into_body().text().await.unwrap();
            let spans = traced.ended();
            let [whole, attempt] = &spans[..] else { panic!("{spans:#?}") };
            assert_eq!(text(attempt, "network.protocol.version"), version, "{call}");
            assert_eq!(text(attempt, "mesh.endpoint"), endpoint, "{call}");
            let socket = server.socket();
            assert_eq!(text(attempt, "network.peer.address"), socket.ip().to_string(), "{call}");
            assert_eq!(text(attempt, "network.peer.port"), socket.port().to_string(), "{call}");
            assert_eq!(text(whole, "network.peer.port"), "", "of gRPC's alone");
        }
    }
}

#[tokio::test]
async fn a_connect_layer_that_does_not_say_where_it_leads_is_not_guessed_for() {
    let (traced, server) = (Traced::new(), Server::named("second").await);
    let to = server.socket();
    let (dead, _socket) = dead_address();
    let mut endpoint = config::Endpoint::new(dead);
    endpoint.more_addresses = vec![server.address()];
    let own = tower::layer::layer_fn(move |_: Connector| {
        tower::service_fn(move |_: ConnectTarget| async move {
            tokio::net::TcpStream::connect(to).await.map(hyper_util::rt::TokioIo::new)
        })
    });
    let builder = Mesh::builder().endpoints(SERVICE, [endpoint]).connect_layer(own);
    let mesh = builder.tracer_provider(&traced.provider).build().unwrap();
    mesh.ready().await.unwrap();
    patience(mesh.client(SERVICE).unwrap().send(get("/"))).await.unwrap();
    let spans = traced.ended();
    let [_, attempt] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(text(attempt, "network.peer.address"), "");
    assert_eq!(text(attempt, "network.peer.port"), "");
}

#[tokio::test]
async fn the_graph_of_three_hops_in_order() {
    let traced = Traced::new();
    let mesh: Arc<OnceLock<Mesh>> = Arc::default();
    // Each service calls the next, with the context that it was called in.
    let hop = |next: Option<&'static str>| {
        let mesh = Arc::clone(&mesh);
        move |inbound: Request<hyper::body::Incoming>| {
            let mesh = Arc::clone(&mesh);
            async move {
                let context = TraceContext::from_headers(inbound.headers()).unwrap();
                let Some(next) = next else { return reply(context.to_string()) };
                let mut request = get(&format!("http://{next}/"));
                request.extensions_mut().insert(context);
                let answer = mesh.get().unwrap().http().send(request).await.unwrap();
                reply(answer.into_body().bytes().await.unwrap())
            }
        }
    };
    let (a, b, c) = (
        Server::start(hop(Some("b.prod"))).await,
        Server::start(hop(Some("c.prod"))).await,
        Server::start(hop(None)).await,
    );
    let (dead, _socket) = dead_address();
    let built = Mesh::builder()
        .endpoints("a.prod", [a.address()])
        .endpoints("b.prod", [dead, b.address()])
        .endpoints("c.prod", [c.address()])
        .tracer_provider(&traced.provider)
        // The dead endpoint is met first.
        .seed(1)
        .build()
        .unwrap();
    mesh.set(built.clone()).ok().unwrap();
    let mut missed = false;
    for _ in 0..8 {
        let told = patience(built.http().send(get("http://a.prod/"))).await.unwrap();
        let told: TraceContext = told.into_body().text().await.unwrap().parse().unwrap();
        let spans = traced.ended();
        let of = |service: &str| {
            spans.iter().find(|span| text(span, "mesh.service") == service).unwrap()
        };
        let attempts_of = |call: &SpanData| {
            let mut list: Vec<&SpanData> =
                spans.iter().filter(|span| is_child(span, call)).collect();
            list.sort_by_key(|span| text(span, "mesh.attempt"));
            list.into_iter().cloned().collect::<Vec<_>>()
        };
        let (a, b, c) = (of("a.prod"), of("b.prod"), of("c.prod"));
        assert_eq!(a.parent_span_id, SpanId::INVALID);
        let (of_a, of_b, of_c) = (attempts_of(a), attempts_of(b), attempts_of(c));
        assert_eq!((of_a.len(), of_c.len()), (1, 1));
        assert!(is_child(b, &of_a[0]) && b.parent_span_is_remote);
        assert!(is_child(c, of_b.last().unwrap()) && c.parent_span_is_remote);
        assert_eq!(told.span_id(), of_c[0].span_context.span_id().to_bytes());
        assert_eq!(spans.len(), 5 + of_b.len());
        if let [unsent, sent] = &of_b[..] {
            missed = true;
            assert_eq!(text(unsent, "error.type"), "connect");
            assert_eq!(text(unsent, "http.response.status_code"), "");
            assert_eq!(text(sent, "mesh.retry.reason"), "never_sent");
            assert_eq!(
                (text(unsent, "mesh.attempt"), text(sent, "mesh.attempt")),
                ("1".into(), "2".into())
            );
        }
        if missed {
            break;
        }
    }
    assert!(missed, "the dead endpoint was never met");
}
