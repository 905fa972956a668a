//! Calls and attempts: how they end, how long they take, what is refused.

use super::*;

#[tokio::test(start_paused = true)]
async fn calls_and_attempts_are_counted_by_how_they_end() {
    let leaves = Leaves::new(2);
    let counter = leaves.clone();
    let mesh = leaves
        .mesh(move |_, _| {
            let first = counter.total() == 1;
            async move { Ok(if first { answer(503) } else { ok("hello") }) }
        })
        .service(SERVICE, |s| s.retry(Retry::standard()))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    fetch(&client, get("/")).await.unwrap();
    fetch(&client, post("/", "x")).await.unwrap();

    let metrics = mesh.metrics();
    let service = ("mesh.service", SERVICE);
    for (method, calls) in [("GET", 1.0), ("POST", 1.0)] {
        let method = ("http.request.method", method);
        let answered = ("http.response.status_code", "200");
        assert_eq!(metrics.total(CALL, &[service, method, answered]), calls);
        assert_eq!(metrics.total(ATTEMPT, &[method, answered]), calls);
    }
    assert_eq!(metrics.total(CALL, &[]), 2.0);
    assert_eq!(metrics.total(CALL, &[("error.type", "503")]), 0.0, "the caller saw none");
    let failed = [("http.response.status_code", "503"), ("error.type", "503")];
    assert_eq!(metrics.total(ATTEMPT, &failed), 1.0);
    assert_eq!(metrics.total("mesh.client.retries", &[("mesh.retry.reason", "status")]), 1.0);
    assert_eq!(metrics.total("mesh.client.retries", &[]), 1.0);
    assert_eq!(metrics.total("mesh.client.endpoint.attempts", &[("mesh.result", "ok")]), 2.0);
    assert_eq!(metrics.total("mesh.client.endpoint.attempts", &[("mesh.result", "failed")]), 1.0);
    check_attributes(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_duration_is_in_its_bucket_and_in_the_sum() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(ok("hello"))
        })
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..10 {
        fetch(&client, get("/")).await.unwrap();
    }
    let metrics = mesh.metrics();
    for name in [CALL, ATTEMPT] {
        assert_eq!(at_most(&metrics, name, 0.025), 0);
        assert_eq!(at_most(&metrics, name, 0.05), 10);
        assert_eq!(at_most(&metrics, name, f64::INFINITY), 10, "{name}");
        let MetricValue::Durations { sum, .. } = metrics.family(name).unwrap().samples[0].value()
        else {
            panic!("{name}")
        };
        assert!((0.3..0.35).contains(sum), "{sum}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_told_and_a_caller_that_leaves_is_told_apart() {
    let mesh = Leaves::new(1).mesh(|_, _| std::future::pending()).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let calls: Vec<_> = (0..3).map(|_| tokio::spawn(client.send(get("/")))).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let metrics = mesh.metrics();
    for name in
        ["mesh.client.calls.active", "http.client.active_requests", "mesh.client.endpoint.active"]
    {
        assert_eq!(metrics.total(name, &[]), 3.0, "{name}");
    }
    assert_eq!(metrics.total(CALL, &[]), 0.0);
    for call in &calls {
        call.abort();
    }
    for call in calls {
        call.await.unwrap_err();
    }
    let metrics = mesh.metrics();
    for name in
        ["mesh.client.calls.active", "http.client.active_requests", "mesh.client.endpoint.active"]
    {
        assert_eq!(metrics.total(name, &[]), 0.0, "{name}");
    }
    for name in [CALL, ATTEMPT] {
        assert_eq!(metrics.total(name, &[("error.type", "cancelled")]), 3.0, "{name}");
        assert_eq!(metrics.total(name, &[]), 3.0, "{name}");
    }
    check_attributes(&metrics);
}

#[tokio::test(start_paused = true)]
async fn timeouts_and_refused_retries_are_counted_with_their_reasons() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| std::future::pending())
        .service(SERVICE, |s| {
            s.attempt_timeout(Duration::from_millis(50)).retry(Retry::standard().attempts(2))
        })
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let error = client.send(get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    client.send(within(Duration::from_millis(10), get("/"))).await.unwrap_err();

    let metrics = mesh.metrics();
    assert_eq!(metrics.total(CALL, &[("error.type", "timeout")]), 2.0);
    assert_eq!(metrics.total(ATTEMPT, &[("error.type", "timeout")]), 3.0);
    let timeout = [("mesh.retry.reason", "attempt_timeout")];
    assert_eq!(metrics.total("mesh.client.retries", &timeout), 1.0);
    let refused = "mesh.client.retries.refused";
    assert_eq!(metrics.total(refused, &[("mesh.retry.refusal", "attempts")]), 1.0);
    assert_eq!(metrics.total(refused, &[]), 1.0);
    check_attributes(&metrics);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_told_as_it_is_spent() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| async { Ok(answer(503)) })
        .service(SERVICE, |s| {
            let budget = config::Budget::default().ratio(0.0).min_per_second(1);
            s.retry(Retry::standard().attempts(100).budget(budget))
        })
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let balance = "mesh.client.retry_budget.balance";
    // One a second, for ten seconds.
    assert_eq!(mesh.metrics().total(balance, &[("mesh.service", SERVICE)]), 10.0);
    let client = mesh.client(SERVICE).unwrap();
    client.send(get("/")).await.unwrap();
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(balance, &[]), 0.0);
    let refused = [("mesh.retry.refusal", "budget")];
    assert_eq!(metrics.total("mesh.client.retries.refused", &refused), 1.0);
}

#[tokio::test(start_paused = true)]
async fn calls_without_an_attempt_are_counted_too() {
    let leaves = Leaves::new(1);
    let mesh = leaves
        .mesh(|_, _| std::future::pending())
        .service(SERVICE, |s| s.max_requests(1))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let held = tokio::spawn(client.send(get("/")));
    tokio::task::yield_now().await;
    client.send(get("/")).await.unwrap_err();
    mesh.http().send(get("http://nobody/")).await.unwrap_err();
    mesh.http().send(get("http://nobody/")).await.unwrap_err();
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(CALL, &[("error.type", "overloaded")]), 1.0);
    assert_eq!(metrics.total(ATTEMPT, &[]), 0.0);
    let unknown = [("error.type", "unknown_service")];
    assert_eq!(metrics.total("mesh.client.calls.unresolved", &unknown), 2.0);
    assert_eq!(metrics.total("mesh.client.calls.active", &[]), 1.0);
    check_attributes(&metrics);
    held.abort();
}
