//! What endpoints are told of the trace, and who is sampled.

use super::*;

/// What the endpoint was told of the trace, and the spans, of one call.
async fn one(
    traced: &Traced,
    request: Request<Body>,
    edit: impl FnOnce(MeshBuilder) -> MeshBuilder,
) -> (Option<TraceContext>, http::HeaderMap, Vec<SpanData>) {
    let leaves = Leaves::new(1);
    let told = Arc::new(std::sync::Mutex::new(http::HeaderMap::new()));
    let seen = Arc::clone(&told);
    let builder = leaves.mesh(move |_, request: Request<Body>| {
        *seen.lock().unwrap() = request.headers().clone();
        async { Ok(ok("hello")) }
    });
    let mesh = edit(builder.tracer_provider(&traced.provider)).build().unwrap();
    mesh.ready().await.unwrap();
    mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    let headers = told.lock().unwrap().clone();
    (TraceContext::from_headers(&headers), headers, traced.ended())
}

fn with_header(value: &'static str) -> Request<Body> {
    let mut request = get("/");
    request.headers_mut().insert("traceparent", HeaderValue::from_static(value));
    request.headers_mut().insert("tracestate", HeaderValue::from_static("congo=1"));
    request
}

#[tokio::test(start_paused = true)]
async fn endpoints_become_children_of_their_attempt() {
    let traced = Traced::new();
    let (told, headers, spans) = one(&traced, with_header(PARENT), |builder| builder).await;
    let [call, attempt] = &spans[..] else { panic!("{spans:#?}") };
    let told = told.unwrap();
    assert_eq!(
        told.trace_id(),
        *b"\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c"
    );
    assert_eq!(told.span_id(), attempt.span_context.span_id().to_bytes());
    assert!(told.is_sampled());
    assert_eq!(headers["tracestate"], "congo=1");
    assert_eq!(call.parent_span_id.to_string(), "b7ad6b7169203331");
    assert!(call.parent_span_is_remote);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_sampled_is_not_recorded_and_passed_on() {
    let traced = Traced::sampled_by(Sampler::AlwaysOn);
    let (_, headers, spans) = one(&traced, with_header(UNSAMPLED), |builder| builder).await;
    assert_eq!(headers["traceparent"], UNSAMPLED);
    assert_eq!(headers["tracestate"], "congo=1");
    assert_eq!(spans.len(), 0);
    // What begins here unsampled is told, so that endpoints begin nothing either.
    let traced = Traced::sampled_by(Sampler::AlwaysOff);
    let (told, _, spans) = one(&traced, get("/"), |builder| builder).await;
    assert_eq!(spans.len(), 0);
    assert!(!told.unwrap().is_sampled());
}

#[tokio::test(start_paused = true)]
async fn an_invalid_parent_begins_a_new_trace() {
    let traced = Traced::new();
    let (told, headers, spans) =
        one(&traced, with_header("00-nonsense-01"), |builder| builder).await;
    assert_eq!(told.unwrap().trace_id(), spans[0].span_context.trace_id().to_bytes());
    assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
    assert!(!headers.contains_key("tracestate"), "a state without its parent");
}

#[tokio::test(start_paused = true)]
async fn opentelemetrys_context_is_a_parent_with_its_baggage() {
    let remote = SpanContext::new(
        TraceId::from(1_u128),
        SpanId::from(2_u64),
        TraceFlags::SAMPLED,
        true,
        TraceState::from_key_value([("rojo", "7")]).unwrap(),
    );
    let context = Context::new()
        .with_remote_span_context(remote)
        .with_baggage([KeyValue::new("user", "a b,c"), KeyValue::new("plan", "free")]);
    let traced = Traced::new();
    let mut request = get("/");
    request.extensions_mut().insert(context.clone());
    let of_extension = one(&traced, request, |builder| builder).await;
    let of_current = one(&traced, get("/"), |builder| builder).with_context(context).await;
    for (told, headers, spans) in [of_extension, of_current] {
        assert_eq!(spans[0].parent_span_id, SpanId::from(2_u64));
        assert_eq!(told.unwrap().trace_id()[15], 1);
        assert_eq!(headers["tracestate"], "rojo=7");
        let mut baggage: Vec<&str> = headers["baggage"].to_str().unwrap().split(',').collect();
        baggage.sort_unstable();
        assert_eq!(baggage, ["plan=free", "user=a%20b%2Cc"]);
    }
}

#[tokio::test(start_paused = true)]
async fn routes_say_how_much_is_traced_and_under_which_name() {
    let tracing = |edit: fn(&mut config::Tracing)| {
        let mut tracing = config::Tracing::default();
        edit(&mut tracing);
        move |builder: MeshBuilder| builder.service(SERVICE, |s| s.tracing(tracing))
    };
    let traced = Traced::new();
    let none = tracing(|it| it.random_percent = Some(0.0));
    let (told, _, spans) = one(&traced, get("/"), none).await;
    assert_eq!(spans.len(), 0);
    assert!(!told.unwrap().is_sampled());
    // A caller's trace is of the others.
    let none = tracing(|it| it.random_percent = Some(0.0));
    assert_eq!(one(&traced, with_header(PARENT), none).await.2.len(), 2);
    let none = tracing(|it| it.client_percent = Some(0.0));
    let (told, headers, spans) = one(&traced, with_header(PARENT), none).await;
    let told = told.unwrap();
    assert_eq!(spans.len(), 0);
    assert!(!told.is_sampled() && told.span_id() != *b"\xb7\xad\x6b\x71\x69\x20\x33\x31");
    assert_eq!(&headers["traceparent"].to_str().unwrap()[..35], &PARENT[..35]);
    let named = tracing(|it| {
        it.operation = Some("checkout".into());
        it.tags.insert("team".into(), "users".into());
        it.header_tags.insert("tenant".into(), "x-tenant".into());
    });
    let mut request = get("/");
    request.headers_mut().insert("x-tenant", HeaderValue::from_static("acme"));
    let (_, _, spans) = one(&traced, request, named).await;
    assert_eq!((&*spans[0].name, &*spans[1].name), ("checkout", "GET"));
    assert_eq!(
        (text(&spans[0], "team"), text(&spans[0], "tenant")),
        ("users".into(), "acme".into())
    );
}

#[tokio::test(start_paused = true)]
async fn without_propagation_spans_are_recorded_and_nothing_is_told() {
    let traced = Traced::new();
    let off = |builder: MeshBuilder| builder.propagate(Propagation::None);
    let (told, _, spans) = one(&traced, get("/"), off).await;
    assert_eq!((told, spans.len()), (None, 2));
}

#[tokio::test(start_paused = true)]
async fn without_propagation_a_header_is_no_parent_and_goes_out_as_it_is() {
    let off = |builder: MeshBuilder| builder.propagate(Propagation::None);
    for header in [PARENT, UNSAMPLED] {
        let traced = Traced::new();
        let (_, headers, spans) = one(&traced, with_header(header), off).await;
        let [call, _] = &spans[..] else { panic!("{header}: {spans:#?}") };
        assert_eq!(call.parent_span_id, SpanId::INVALID, "{header}");
        assert_ne!(call.span_context.trace_id().to_string(), &PARENT[3..35], "{header}");
        assert_eq!(headers["traceparent"], header);
        assert_eq!(headers["tracestate"], "congo=1");
    }
    // What the application itself has put beside the request is a parent all the same.
    let traced = Traced::new();
    let mut request = get("/");
    let given = TraceContext::from_headers(with_header(PARENT).headers()).unwrap();
    request.extensions_mut().insert(given);
    let (told, _, spans) = one(&traced, request, off).await;
    assert_eq!((told, spans[0].parent_span_id.to_string()), (None, PARENT[36..52].to_owned()));
}

#[tokio::test(start_paused = true)]
async fn behind_attempt_layers_an_attempt_has_its_endpoint_too() {
    let traced = Traced::new();
    let mesh = flaky(&traced, |builder| {
        builder
            .attempt_layer(tower::util::MapRequestLayer::new(|request: Request<Body>| {
                assert!(request.headers().contains_key("traceparent"));
                request
            }))
            .service(SERVICE, |s| s.retry(fast()))
    });
    mesh.ready().await.unwrap();
    mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    let spans = traced.ended();
    assert_eq!(spans.len(), 3);
    for attempt in &spans[1..] {
        assert!(text(attempt, "mesh.endpoint").starts_with("10.0.0."), "{attempt:#?}");
    }
}

#[tokio::test]
async fn a_real_server_over_both_protocols() {
    let traced = Traced::new();
    let server = Server::start(|_| async { status(StatusCode::NOT_FOUND) }).await;
    for (protocol, version) in [(Protocol::Http1, "1.1"), (Protocol::Http2, "2")] {
        let mesh = Mesh::builder()
            .endpoints("users", [server.address()])
            .service("users", |s| s.protocol(protocol))
            .tracer_provider(&traced.provider)
            .build()
            .unwrap();
        patience(mesh.http().send(get("http://users/"))).await.unwrap();
        let spans = traced.ended();
        assert_eq!(text(&spans[1], "network.protocol.version"), version);
        assert_eq!(text(&spans[1], "error.type"), "404");
        assert_eq!(text(&spans[1], "server.port"), "80");
        assert_eq!(text(&spans[1], "network.peer.port"), server.socket().port().to_string());
    }
}
