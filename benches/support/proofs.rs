//! Shows that the configuration that is measured works: each part of it does what it is told.

use std::time::Duration;

use http::Method;
use tower_mesh::{Body, Call, ErrorKind, Event, Refusal};

use super::{
    calls::{patiently, request},
    subjects::{LIMIT, Meshed, TIMEOUT, Work, limited},
};

/// What a description tells of a mesh in which all of it is configured.
const IDLE: [&str; 9] = [
    "authorize",
    "rate_limit",
    "fault",
    "throttle.window",
    "admission_control.window",
    "adaptive_concurrency.min_concurrency",
    "hedge.delay",
    "retry.throttle.max_tokens",
    "breakers.max_pending",
];

/// Panics where a part of what a mesh is asked to do has no effect.
pub(crate) fn prove(work: Work) {
    if work == Work::Balance {
        return;
    }
    if work == Work::Idle {
        describes();
    }
    times_out(work);
    routes(work);
    retries_when_armed(work);
    ejects(work);
    // The breaker of the cluster is lower than the limit of the service.
    assert!(refuses(&warm(work), LIMIT, Refusal::MaxRequests), "the breaker refused nothing");
    let above = Meshed::of(limited(work, TIMEOUT, 8 * LIMIT));
    above.run(1, 9);
    assert!(refuses(&above, 2 * LIMIT, Refusal::Concurrency), "the service refused nothing");
}

fn warm(work: Work) -> Meshed {
    let meshed = Meshed::build(work, TIMEOUT);
    meshed.run(1, 9);
    meshed
}

fn post() -> http::Request<Body> {
    request(Method::POST)
}

fn describes() {
    let meshed = Meshed::build(Work::Idle, TIMEOUT);
    let described = meshed.mesh.describe().to_string();
    for part in IDLE {
        assert!(described.contains(part), "{part} in {described}");
    }
    assert!(meshed.mesh.describe().refused.is_empty(), "{described}");
}

/// A call that is not answered ends by the configured timeout.
fn times_out(work: Work) {
    let meshed = Meshed::build(work, Duration::from_secs(1));
    meshed.run(1, 9);
    meshed.script.silence();
    let error = meshed.send(post()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

/// A request that no route takes goes nowhere.
fn routes(work: Work) {
    let mut request = post();
    *request.uri_mut() = "http://users.prod/v3/users/7".parse().unwrap();
    let error = warm(work).send(request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRoute, "{error}");
}

/// A 503 is survived when and only when a retry is armed.
fn retries_when_armed(work: Work) {
    let meshed = warm(work);
    meshed.script.fail_once();
    let status = meshed.send(post()).unwrap();
    assert!(meshed.script.is_plain(), "the failure was not delivered");
    let is_armed = matches!(work, Work::Armed | Work::Idle);
    assert_eq!(status.is_success(), is_armed, "{status}");
}

/// An endpoint that fails again and again is ejected.
fn ejects(work: Work) {
    let meshed = warm(work);
    let mut events = meshed.mesh.events();
    meshed.script.fail();
    for _ in 0..60 {
        drop(meshed.send(post()));
    }
    let ejected = async {
        while let Some(event) = events.recv().await {
            if matches!(event, Event::EndpointEjected { .. }) {
                return;
            }
        }
    };
    meshed.runtime.block_on(patiently(ejected));
}

/// Whether of one call more than that in flight some are refused, for this reason alone.
fn refuses(meshed: &Meshed, limit: u32, reason: Refusal) -> bool {
    meshed.script.silence();
    meshed.runtime.block_on(async {
        let calls: Vec<_> = (0..=limit)
            .map(|_| {
                let mut request = post();
                request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(200)));
                tokio::spawn(meshed.client().send(request))
            })
            .collect();
        let mut refused = false;
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            if error.kind() == ErrorKind::Overloaded {
                assert_eq!(error.refusal(), Some(reason), "{error}");
                refused = true;
            }
        }
        refused
    })
}
