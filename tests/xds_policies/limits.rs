//! Limits of a cluster, and endpoints that are left out for a while.

use std::{sync::Arc, time::Duration};

use envoy_types::pb::envoy::config::cluster::v3::{
    CircuitBreakers, OutlierDetection, circuit_breakers::Thresholds,
};
use http::StatusCode;
use tokio::sync::Semaphore;
use tower_mesh::{EjectReason, Error, Event, Refusal, testing::xds::Resource};

use super::{
    CLUSTER, at, cluster, is_accepted, join, number, start,
    support::{Recorder, Server, fetch, get, patience, status},
    text, time, until, waiting,
};

// === circuit breakers (gRFC A32) ===

fn limited(thresholds: Thresholds) -> Resource {
    cluster(|it| {
        it.circuit_breakers =
            Some(CircuitBreakers { thresholds: vec![thresholds], ..CircuitBreakers::default() });
    })
}

fn is_refused(error: &Error, why: Refusal, words: &str) {
    assert_eq!((error.refusal(), error.response_flag()), (Some(why), "UO"), "{error}");
    let said = error.to_string();
    assert!(said.contains(words) && said.contains(CLUSTER), "{said}");
}

#[tokio::test]
async fn calls_over_the_plane_s_limit_are_refused_by_its_name_and_a_raised_one_lets_more_in() {
    let leave = Arc::new(Semaphore::new(0));
    let server = waiting(&leave).await;
    let requests =
        |most| limited(Thresholds { max_requests: number(most), ..Thresholds::default() });
    let (plane, _mesh, client) = start("requests", [requests(2), at([&server])]).await;
    let mut calls: Vec<_> = (0..2).map(|_| tokio::spawn(fetch(&client, get("/")))).collect();
    until(|| server.requests() == 2).await;
    let error = patience(fetch(&client, get("/"))).await.unwrap_err();
    let words = "maximum of 2 requests in flight (`breakers.max_requests`)";
    is_refused(&error, Refusal::MaxRequests, words);

    plane.set([requests(3)]);
    let again = client.clone();
    calls.push(tokio::spawn(async move {
        loop {
            let answer = fetch(&again, get("/")).await;
            let refusal = answer.as_ref().err().and_then(Error::refusal);
            if refusal != Some(Refusal::MaxRequests) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }));
    until(|| server.requests() == 3).await;
    let error = patience(fetch(&client, get("/"))).await.unwrap_err();
    is_refused(&error, Refusal::MaxRequests, "maximum of 3 requests in flight");
    leave.add_permits(calls.len());
    for call in calls {
        assert_eq!(patience(call).await.unwrap().unwrap().body(), "let go");
    }
    assert_eq!(server.requests(), 3);
    is_accepted(&plane);
}

/// gRFC A32: further channels let no more in.
#[tokio::test]
async fn meshes_of_one_bootstrap_count_the_calls_of_a_cluster_together() {
    let leave = Arc::new(Semaphore::new(0));
    let server = waiting(&leave).await;
    let limit = || limited(Thresholds { max_requests: number(2), ..Thresholds::default() });
    let (plane, first, one) = start("counts", [limit(), at([&server])]).await;
    let (_second, other) = join(&plane, "counts");
    let [of_one, of_other] = [&one, &other].map(|client| tokio::spawn(fetch(client, get("/"))));
    until(|| server.requests() == 2).await;
    for client in [&one, &other] {
        let error = patience(fetch(client, get("/"))).await.unwrap_err();
        is_refused(&error, Refusal::MaxRequests, "maximum of 2 requests in flight");
    }
    // What another control plane calls the same is another cluster; so it is to another node.
    let (apart, _third, elsewhere) = start("counts", [limit(), at([&server])]).await;
    let (_fourth, somebody) = join(&plane, "somebody");
    let mut others: Vec<_> =
        [&elsewhere, &somebody].map(|client| tokio::spawn(fetch(client, get("/")))).into();
    until(|| server.requests() == 4).await;

    // A mesh that goes leaves its places to the others.
    of_one.abort();
    drop(of_one.await);
    drop((first, one));
    others.push(of_other);
    others.push(tokio::spawn(fetch(&other, get("/"))));
    until(|| server.requests() == 5).await;
    let error = patience(fetch(&other, get("/"))).await.unwrap_err();
    is_refused(&error, Refusal::MaxRequests, "maximum of 2 requests in flight");
    // One of the permits may go to who has left.
    leave.add_permits(5);
    for call in others {
        assert_eq!(patience(call).await.unwrap().unwrap().body(), "let go");
    }
    is_accepted(&plane);
    is_accepted(&apart);
}

#[tokio::test]
async fn no_more_calls_wait_for_one_of_the_plane_s_connections_than_it_allows() {
    let leave = Arc::new(Semaphore::new(0));
    let server = waiting(&leave).await;
    let limits = limited(Thresholds {
        max_connections: number(1),
        max_pending_requests: number(1),
        ..Thresholds::default()
    });
    let (plane, mesh, client) = start("pending", [limits, at([&server])]).await;
    let first = tokio::spawn(fetch(&client, get("/")));
    until(|| server.requests() == 1).await;
    let second = tokio::spawn(fetch(&client, get("/")));
    let pending = [("mesh.breaker", "pending")];
    until(|| mesh.metrics().total("mesh.client.breaker.taken", &pending) > 0.5).await;
    let error = patience(fetch(&client, get("/"))).await.unwrap_err();
    let words = "maximum of 1 attempts that wait for one (`breakers.max_pending`)";
    is_refused(&error, Refusal::MaxPending, words);
    leave.add_permits(2);
    for call in [first, second] {
        assert_eq!(patience(call).await.unwrap().unwrap().body(), "let go");
    }
    assert_eq!((server.connections(), server.requests()), (1, 2));
    is_accepted(&plane);
}

// === outliers (gRFC A50) ===

/// Calls until the one of two endpoints that fails is ejected, for this reason; from then on the other one
/// gets all of them.
async fn ejects(node: &str, outliers: OutlierDetection, why: EjectReason) {
    let failing = Server::start(|_| async { status(StatusCode::INTERNAL_SERVER_ERROR) }).await;
    let well = Server::named("well").await;
    let outliers =
        OutlierDetection { base_ejection_time: time(Duration::from_secs(200)), ..outliers };
    let resources = [cluster(|it| it.outlier_detection = Some(outliers)), at([&failing, &well])];
    let (plane, mesh, client) = start(node, resources).await;
    let mut events = Recorder::of(&mesh);
    let is_ejection = |event: &Event| matches!(event, Event::EndpointEjected { .. });
    patience(async {
        while events.count(is_ejection) == 0 {
            drop(fetch(&client, get("/")).await.unwrap());
        }
    })
    .await;
    let ejected = events.events().iter().find_map(|event| match event {
        Event::EndpointEjected { cluster, endpoint, reason, .. } => {
            Some((cluster.to_string(), endpoint.to_string(), *reason))
        }
        _ => None,
    });
    assert_eq!(ejected, Some((CLUSTER.to_owned(), failing.socket().to_string(), why)));
    let failed = failing.requests();
    for _ in 0..100 {
        assert_eq!(text(&client, get("/")).await, "well");
    }
    assert_eq!(failing.requests(), failed, "{}", mesh.describe());
    is_accepted(&plane);
}

#[tokio::test]
async fn an_endpoint_that_fails_so_often_in_a_row_as_the_plane_says_is_left_out() {
    let outliers = OutlierDetection { consecutive_5xx: number(3), ..OutlierDetection::default() };
    ejects("in a row", outliers, EjectReason::ConsecutiveFailures).await;
}

#[tokio::test]
async fn an_endpoint_of_whose_calls_too_many_fail_as_the_plane_says_is_left_out() {
    let outliers = OutlierDetection {
        interval: time(Duration::from_millis(100)),
        enforcing_consecutive_5xx: number(0),
        failure_percentage_threshold: number(50),
        enforcing_failure_percentage: number(100),
        failure_percentage_minimum_hosts: number(1),
        failure_percentage_request_volume: number(1),
        ..OutlierDetection::default()
    };
    ejects("percentage", outliers, EjectReason::FailurePercentage).await;
}
