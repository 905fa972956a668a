//! Hedging, breakers and outlier detection of Envoy and of the mesh: `traffic/attempts.envoy.yaml` and
//! `traffic/attempts.mesh.yaml`.

use std::time::Duration;

use http::Method;

use crate::twin::{Ask, Otherwise, Seen, Twin, alike, otherwise};

async fn twin() -> Twin {
    let theirs = include_str!("traffic/attempts.envoy.yaml");
    Twin::new(theirs, include_str!("traffic/attempts.mesh.yaml"), &[]).await
}

#[tokio::test]
async fn an_attempt_that_is_late_goes_on_beside_its_successor_as_in_envoy() {
    let twin = twin().await;
    let doing = |path, what| Ask::get(path).with("x-do", what);
    // Alone the timeout ends the attempt.
    alike(
        &twin,
        [
            doing("/unhedged", "stumble=2000"),
            doing("/unhedged", "sleep=450"),
            doing("/hedged", "sleep=10"),
            doing("/hedged", "fail=1"),
            doing("/hedged", "fail=2"),
        ]
        .map(Ask::without_place),
    )
    .await;
    for (what, took) in [("stumble=5000", 290..4900), ("sleep=450", 440..4900)] {
        let ask = doing("/hedged", what);
        let [(envoy, theirs), (mesh, ours)] = twin.timed(&ask).await;
        assert_eq!(([envoy.status, mesh.status], twin.tries(&ask)), ([200; 2], [2, 2]), "{what}");
        for took_by in [theirs, ours].map(|took| took.as_millis()) {
            assert!(took.contains(&took_by), "{what}: {took_by} ms");
        }
    }
}

#[tokio::test]
async fn what_is_over_a_breaker_is_refused_as_in_envoy() {
    let twin = twin().await;
    for (path, let_in) in [("/requests", 2), ("/pending", 2)] {
        // With a connection that is there.
        alike(&twin, [Ask::get(path).time(9)]).await;
        let asks: Vec<_> =
            (0..6).map(|time| Ask::get(path).with("x-do", "sleep=600").time(time)).collect();
        for seen in twin.together(&asks).await {
            let refused = |seen: &Seen| (seen.status, &*seen.flag) == (503, "UO");
            let served = seen.iter().filter(|(seen, _)| seen.status == 200).count();
            let refused = seen.iter().filter(|(seen, _)| refused(seen)).count();
            assert_eq!((served, refused), (let_in, 6 - let_in), "{path}: {seen:?}");
        }
        let tries = asks.iter().map(|ask| twin.tries(ask));
        let tries = tries.fold([0, 0], |[a, b], [c, d]| [a + c, b + d]);
        assert_eq!(tries, [let_in; 2], "{path}");
    }
    // They are all served once there is room.
    alike(&twin, ["/requests", "/pending"].map(Ask::get)).await;
}

#[tokio::test]
async fn an_outlier_is_ejected_as_in_envoy() {
    let twin = twin().await;
    let asks: Vec<_> =
        (0..40).map(|time| Ask::get("/sick").with("x-do", "ill").time(time)).collect();
    let mut failed = [Vec::new(), Vec::new()];
    for (time, ask) in asks.iter().enumerate() {
        for (seen, failed) in twin.ask(ask).await.iter().zip(&mut failed) {
            if seen.status == 500 {
                failed.push(time);
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    println!("failed: {failed:?}");
    // Envoy takes turns until the third failure; here one that fails is avoided before it is ejected.
    // Another thread ejects it there.
    assert!((3..=5).contains(&failed[0].len()), "{failed:?}");
    assert!((1..=3).contains(&failed[1].len()), "{failed:?}");
    assert!(failed.iter().flatten().all(|time| *time < 16), "{failed:?}");
}

#[tokio::test]
async fn what_hedging_does_otherwise_than_in_envoy_is_what_the_document_says() {
    let twin = twin().await;
    let status = |seen: &Seen| seen.status.to_string();
    let stumbling = |path| Ask::get(path).with("x-do", "stumble=1500");
    // Nothing is sent twice that may have been worked on.
    let post = stumbling("/hedged").method(Method::POST);
    // Where there is no other endpoint, an attempt that is late is ended, and made again.
    let alone = Ask::get("/hedged-alone").with("x-do", "sleep=450");
    // The timeout of the last attempt ends them all; in Envoy it ends none while the call lasts.
    let all = Ask::get("/hedged").with("x-do", "sleep=1500");
    let rows: [Otherwise; 3] = [
        (post.clone(), status, ["200", "504"]),
        (alone.clone(), status, ["200", "504"]),
        (all.clone(), status, ["200", "504"]),
    ];
    otherwise(&twin, rows).await;
    assert_eq!([post, alone, all].map(|ask| twin.tries(&ask)), [[2, 1], [2, 2], [2, 2]]);
}
