//! What a request and a route say of time and of retries, to Envoy and to the mesh:
//! `traffic/bounds.envoy.yaml` and `traffic/bounds.mesh.yaml`.

use http::Method;

use crate::twin::{Ask, Twin, alike};

const TIMEOUT: &str = "x-envoy-upstream-rq-timeout-ms";
const ATTEMPT: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
const RETRIES: &str = "x-envoy-max-retries";
const RETRY_ON: &str = "x-envoy-retry-on";
const STATUSES: &str = "x-envoy-retriable-status-codes";

async fn twin() -> Twin {
    let theirs = include_str!("traffic/bounds.envoy.yaml");
    Twin::new(theirs, include_str!("traffic/bounds.mesh.yaml"), &[]).await
}

#[tokio::test]
async fn headers_of_a_request_bound_it_as_in_envoy() {
    let twin = twin().await;
    let doing = |path, what| Ask::get(path).with("x-do", what);
    alike(
        &twin,
        [
            doing("/asked", "sleep=1000").with(TIMEOUT, "200"),
            doing("/bounded", "sleep=450").with(TIMEOUT, "5000"),
            doing("/bounded", "sleep=450").with(TIMEOUT, "0"),
            doing("/bounded", "sleep=450").with(TIMEOUT, "soon"),
            doing("/retried", "stumble=1000").with(ATTEMPT, "100"),
            doing("/retried", "sleep=450").with(ATTEMPT, "2000"),
            doing("/retried", "sleep=100").with(ATTEMPT, "0"),
            doing("/retried", "sleep=1000").with(TIMEOUT, "150"),
        ],
    )
    .await;
}

#[tokio::test]
async fn headers_of_a_request_ask_for_retries_as_in_envoy() {
    let twin = twin().await;
    let doing = |path, what| Ask::get(path).with("x-do", what);
    alike(
        &twin,
        [
            doing("/retried", "fail=2").with(RETRIES, "2"),
            doing("/retried", "fail=1").with(RETRIES, "0"),
            doing("/retried", "fail=1").with(RETRIES, "x"),
            doing("/asked", "fail=1"),
            doing("/asked", "fail=1").with(RETRY_ON, "5xx"),
            doing("/asked", "fail=2").with(RETRY_ON, "5xx"),
            doing("/asked", "fail=2").with(RETRY_ON, "5xx").with(RETRIES, "2"),
            doing("/asked", "fail=1").with(RETRY_ON, "nonsense"),
            doing("/asked", "teapot=1").with(RETRY_ON, "gateway-error"),
            doing("/asked", "teapot=1")
                .with(RETRY_ON, "retriable-status-codes")
                .with(STATUSES, "418"),
            // Who asks for it declares it harmless.
            doing("/asked", "fail=1").with(RETRY_ON, "5xx").method(Method::POST),
            // The caller is told how many attempts there were.
            doing("/tries", "fail=0"),
            doing("/tries", "fail=2"),
            doing("/tries", "fail=9"),
        ],
    )
    .await;
    let [_, mesh] = twin.ask(&doing("/tries", "fail=2").time(1)).await;
    assert_eq!(mesh.headers.get("x-envoy-attempt-count").map(String::as_str), Some("3"));
}

#[tokio::test]
async fn retries_in_flight_are_budgeted_and_capped_as_in_envoy() {
    let twin = twin().await;
    for path in ["/budget", "/capped"] {
        // The first attempts fail at once; a retry is in flight for as long as it lasts.
        let asks: Vec<_> =
            (0..6).map(|time| Ask::get(path).with("x-do", "relapse=300").time(time)).collect();
        for seen in twin.together(&asks).await {
            let served = |status| seen.iter().filter(|(seen, _)| seen.status == status).count();
            assert_eq!([served(200), served(503)], [2, 4], "{path}: {seen:?}");
        }
        let tries = asks.iter().map(|ask| twin.tries(ask));
        let tries = tries.fold([0, 0], |[a, b], [c, d]| [a + c, b + d]);
        assert_eq!(tries, [8; 2], "{path}");
    }
    // Places are given back.
    let again = |path| Ask::get(path).with("x-do", "fail=1");
    alike(&twin, ["/budget", "/capped"].map(again)).await;
}

#[tokio::test]
async fn a_retry_leaves_the_endpoint_and_the_priority_that_failed_as_in_envoy() {
    let twin = twin().await;
    let mut met = [0, 0];
    for time in 0..30 {
        let ask = Ask::get("/another").with("x-do", "ill").time(time);
        for seen in twin.ask(&ask).await {
            assert_eq!((seen.status, seen.body.get(..2)), (200, Some("b ")), "{seen:?}");
        }
        for (tries, met) in twin.tries(&ask).into_iter().zip(&mut met) {
            assert!(tries <= 2, "{tries} attempts");
            *met += usize::from(tries == 2);
        }
    }
    // The endpoint that fails was met; here it is avoided from then on.
    assert!(met.iter().all(|met| *met > 0), "{met:?}");
    let levels = "/another-priority";
    alike(&twin, [Ask::get(levels), Ask::get(levels).with("x-do", "ill")]).await;
}

/// A gRPC call that says how long it waits, and one that says nothing.
fn call(path: &'static str, what: &'static str, timeout: &'static str) -> Ask {
    let ask = Ask::grpc(path).with("x-do", what);
    if timeout.is_empty() { ask } else { ask.with("grpc-timeout", timeout) }
}

#[tokio::test]
async fn grpc_timeout_is_bounded_as_in_envoy() {
    let twin = twin().await;
    for (ask, code) in [
        (call("/stream", "sleep=1000", "5S"), Some(4)),
        (call("/stream", "sleep=1000", "100m"), Some(4)),
        (call("/stream", "sleep=10", "5S"), None),
        // Less 700 ms.
        (call("/stream-less", "sleep=1000", "900m"), Some(4)),
        (call("/stream-less", "sleep=10", "5S"), None),
        (call("/stream-any", "sleep=1000", "200m"), Some(4)),
        (call("/stream-any", "sleep=50", ""), None),
        (call("/stream-own", "sleep=1000", ""), Some(4)),
        (call("/stream-own", "sleep=10", ""), None),
    ] {
        let seen = twin.apart(&ask).await;
        assert_eq!(seen.each_ref().map(|seen| seen.grpc), [code; 2], "{}: {seen:?}", ask.id("of"));
    }
}

#[tokio::test]
async fn what_bounds_do_otherwise_than_in_envoy_is_what_the_document_says() {
    let twin = twin().await;
    for (ask, codes) in [
        // The caller's own bound holds whatever the route says.
        (call("/stream-unsaid", "sleep=300", "150m"), [None, Some(4)]),
        (call("/stream-own", "sleep=100", "50m"), [None, Some(4)]),
        // The longest that is honoured bounds who says nothing.
        (call("/stream", "sleep=400", ""), [None, Some(4)]),
        // An offset that would leave nothing is not taken off.
        (call("/stream-less", "sleep=100", "600m"), [Some(4), None]),
    ] {
        let seen = twin.apart(&ask).await;
        assert_eq!(seen.each_ref().map(|seen| seen.grpc), codes, "{}: {seen:?}", ask.id("of"));
    }
    // A retry leaves the priority in which nothing else is, and in Envoy stays there.
    let ask = Ask::get("/any-priority").with("x-do", "ill");
    let statuses = twin.ask(&ask).await.map(|seen| seen.status);
    assert_eq!((statuses, twin.tries(&ask)), ([500, 200], [2, 2]));
}
