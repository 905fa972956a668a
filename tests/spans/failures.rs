//! Retries, callers that leave, failures, and calls that no route takes.

use super::*;

#[tokio::test(start_paused = true)]
async fn why_a_retry_was_made_or_refused_is_told_in_the_words_of_metrics() {
    let traced = Traced::new();
    for (words, kept) in [("retry.reason=status", 64), ("retry.refusal=body_too_large", 8)] {
        let leaves = Leaves::new(2);
        let counter = leaves.clone();
        let builder = leaves.mesh(move |_, request| {
            let first = counter.total() == 1;
            async move {
                request.into_body().bytes().await.unwrap();
                Ok(if first { answer(503) } else { ok("hello") })
            }
        });
        let mesh = builder
            .tracer_provider(&traced.provider)
            .service(SERVICE, |s| s.retry(fast().max_body_bytes(kept)))
            .build()
            .unwrap();
        mesh.ready().await.unwrap();
        let parts = ["one ", "two ", "three"];
        let frames = parts.map(|part| Ok::<_, std::io::Error>(Frame::data(Bytes::from(part))));
        let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        let request = Request::put("http://users.prod/").body(body).unwrap();
        mesh.client(SERVICE).unwrap().send(request).await.unwrap();
        let spans = traced.ended();
        let told = events(&spans[0]).join(" ");
        assert!(format!("{told} ").contains(&format!("mesh.{words} ")), "{told}");
        let (key, word) = words.split_once('=').unwrap();
        let label = format!("mesh_{}=\"{word}\"", key.replace('.', "_"));
        let metrics = mesh.prometheus();
        assert!(metrics.contains(&label), "{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_is_no_error() {
    let traced = Traced::new();
    let leaves = Leaves::new(1);
    let mesh = leaves
        .mesh(|_, _| std::future::pending())
        .tracer_provider(&traced.provider)
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let call = mesh.client(SERVICE).unwrap().send(get("/"));
    let late = tokio::time::timeout(Duration::from_secs(1), call).await;
    assert!(late.is_err());
    let spans = traced.ended();
    assert_eq!(spans.len(), 2);
    for span in &spans {
        assert_eq!(text(span, "mesh.outcome"), "cancelled");
        assert_eq!(text(span, "error.type"), "");
        assert_eq!(span.status, Status::Unset);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_named_by_their_kind() {
    let traced = Traced::new();
    let leaves = Leaves::new(1);
    let mesh = leaves
        .mesh(|_, _| std::future::pending())
        .tracer_provider(&traced.provider)
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    client.send(within(Duration::from_secs(1), get("/"))).await.unwrap_err();
    for span in &traced.ended() {
        assert_eq!(text(span, "error.type"), "timeout");
        assert_eq!(text(span, "mesh.outcome"), "error");
        assert_eq!(span.status, Status::error(""));
    }
    // A retry that is wanted and refused is told.
    let mesh = flaky(&traced, |builder| {
        let none = config::Budget::new(0.0).min_per_second(0);
        builder.service(SERVICE, |s| s.retry(Retry::standard().budget(none)))
    });
    mesh.ready().await.unwrap();
    let response = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let spans = traced.ended();
    assert_eq!(events(&spans[0]), ["mesh.retry_refused mesh.retry.refusal=budget"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_route_is_a_span_all_the_same() {
    let traced = Traced::new();
    let mesh = Mesh::builder().source(Never).tracer_provider(&traced.provider).build().unwrap();
    let error = mesh.client("later.prod").unwrap().send(get("/")).await.unwrap_err();
    assert_eq!(error.kind(), tower_mesh::ErrorKind::Config);
    let spans = traced.ended();
    let [call] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(text(call, "mesh.service"), "later.prod");
    assert_eq!(text(call, "error.type"), "config");
    let lasted = call.end_time.duration_since(call.start_time).unwrap();
    assert!(lasted >= Duration::from_secs(5), "{lasted:?}");
}
