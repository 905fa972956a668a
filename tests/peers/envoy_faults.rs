//! The same faults in Envoy and in the mesh: `traffic/faults.envoy.yaml` and `traffic/faults.mesh.yaml`.

use std::{ops::Range, time::Duration};

use http::Method;

use crate::twin::{Ask, Otherwise, Seen, Twin, alike, compare, otherwise};

async fn twin() -> Twin {
    let theirs = include_str!("traffic/faults.envoy.yaml");
    Twin::new(theirs, include_str!("traffic/faults.mesh.yaml"), &[]).await
}

fn milliseconds(range: Range<u64>) -> Range<Duration> {
    Duration::from_millis(range.start)..Duration::from_millis(range.end)
}

/// Asks both, compares, and looks how long each took.
async fn alike_within(twin: &Twin, rows: impl IntoIterator<Item = (Ask, Range<u64>)>) {
    let mut unlike = Vec::new();
    for (ask, range) in rows {
        let range = milliseconds(range);
        let [(envoy, theirs), (mesh, ours)] = twin.timed(&ask).await;
        unlike.extend(compare(twin, &ask, envoy, mesh));
        if !range.contains(&theirs) || !range.contains(&ours) {
            unlike.push(format!("{}: {theirs:?} and {ours:?}, not {range:?}", ask.id("of")));
        }
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
}

#[tokio::test]
async fn delays_are_those_of_envoy() {
    let twin = twin().await;
    let by = |value| Ask::get("/by-header").with("x-envoy-fault-delay-request", value);
    let part = |value| by("300").with("x-envoy-fault-delay-request-percentage", value);
    let slow = || Ask::get("/slow-body").with("x-do", "bytes=8192");
    let limited = |value| {
        let ask = Ask::get("/by-header").with("x-do", "bytes=8192");
        ask.with("x-envoy-fault-throughput-response", value)
    };
    alike_within(
        &twin,
        [
            (Ask::get("/delay"), 290..6000),
            (Ask::get("/delay").method(Method::POST), 290..6000),
            (Ask::get("/delay-never"), 0..300),
            (Ask::get("/delay-abort"), 290..6000),
            (by("300"), 290..6000),
            (by("0"), 0..300),
            (by("-300"), 0..300),
            (by("soon"), 0..300),
            (by("300ms"), 0..300),
            (part("100"), 290..6000),
            (part("0"), 0..300),
            (Ask::get("/by-header-none").with("x-envoy-fault-delay-request", "300"), 0..300),
            // 8 KiB at 16 KiB per second.
            (slow(), 350..6000),
            (limited("16"), 350..6000),
            (limited("0"), 0..300),
            (limited("fast"), 0..300),
        ],
    )
    .await;
}

#[tokio::test]
async fn aborts_are_those_of_envoy() {
    let twin = twin().await;
    let by = |name, value| Ask::get("/by-header").with(name, value);
    let http = |value| by("x-envoy-fault-abort-request", value);
    let grpc = |value| by("x-envoy-fault-abort-grpc-request", value);
    let part = |value| http("503").with("x-envoy-fault-abort-request-percentage", value);
    let none = Ask::get("/by-header-none").with("x-envoy-fault-abort-request", "503");
    let wire = |name, value| Ask::grpc("/by-header").with(name, value);
    alike(
        &twin,
        [
            Ask::get("/abort"),
            Ask::get("/abort").method(Method::POST),
            Ask::grpc("/abort"),
            Ask::get("/abort-403"),
            Ask::grpc("/abort-403"),
            Ask::grpc("/abort-grpc"),
            Ask::get("/abort-never"),
            // A fault is met once, outside of retries.
            Ask::get("/abort-retried"),
            Ask::get("/drill"),
            Ask::get("/drill").with("x-drill", "yes"),
            Ask::get("/drill").with("x-drill", "no"),
            Ask::get("/of-a"),
            Ask::get("/of-b"),
            http("503"),
            http("200"),
            http("199"),
            http("600"),
            http("no"),
            grpc("no"),
            part("100"),
            part("0"),
            part("no"),
            none,
            wire("x-envoy-fault-abort-request", "503"),
            wire("x-envoy-fault-abort-grpc-request", "5"),
        ],
    )
    .await;
}

#[tokio::test]
async fn shares_and_the_cap_of_faults_are_those_of_envoy() {
    let twin = twin().await;
    let asks: Vec<_> = (0..500).map(|time| Ask::get("/abort-some").time(time)).collect();
    let mut shares = Vec::new();
    for asks in asks.chunks(50) {
        shares.push(twin.together(asks).await.map(|seen| {
            seen.iter().filter(|(seen, _)| seen.status == 503 && seen.flag == "FI").count()
        }));
    }
    for side in 0..2 {
        let failed: usize = shares.iter().map(|share| share[side]).sum();
        // Envoy's draws have no seed: five standard deviations.
        let tolerance = if side == 0 { 52 } else { 25 };
        assert!(failed.abs_diff(150) <= tolerance, "{failed} of 500, 30 %");
    }
    // Two at a time, however many are due.
    let asks: Vec<_> = (0..6).map(|time| Ask::get("/capped").time(time)).collect();
    let slow = twin.together(&asks).await.map(|seen| {
        assert!(seen.iter().all(|(seen, _)| seen.status == 200));
        seen.iter().filter(|(_, took)| *took >= Duration::from_millis(450)).count()
    });
    assert_eq!(slow, [2, 2]);
}

#[tokio::test]
async fn what_faults_do_otherwise_than_in_envoy_is_what_the_document_says() {
    let twin = twin().await;
    let status = |seen: &Seen| format!("{} {}", seen.status, seen.flag);
    let by = |value| Ask::get("/by-header").with("x-envoy-fault-abort-grpc-request", value);
    let rows: [Otherwise; 5] = [
        // A caller that does not speak gRPC learns of a gRPC code by its status.
        (Ask::get("/abort-grpc"), status, ["200 FI", "403 FI"]),
        (by("5"), status, ["200 FI", "404 FI"]),
        (by("14"), status, ["200 FI", "503 FI"]),
        // A number that is no code is none.
        (by("17"), status, ["200 FI", "200 "]),
        // A call's deadline goes on in a delay.
        (Ask::get("/delay-late"), status, ["200 ", "504 DI"]),
    ];
    otherwise(&twin, rows).await;
}
