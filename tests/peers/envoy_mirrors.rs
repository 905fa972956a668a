//! Mirrors of Envoy and of the mesh: `traffic/mirrors.envoy.yaml` and `traffic/mirrors.mesh.yaml`.

use std::time::Duration;

use http::Method;

use crate::twin::{Ask, Twin, alike};

async fn twin() -> Twin {
    let theirs = include_str!("traffic/mirrors.envoy.yaml");
    Twin::new(theirs, include_str!("traffic/mirrors.mesh.yaml"), &[]).await
}

#[tokio::test]
async fn copies_are_what_envoy_copies() {
    let twin = twin().await;
    for (ask, count) in [
        (Ask::get("/mirrored"), 2),
        (Ask::get("/mirrored?q=1").method(Method::DELETE).with("x-own", "1"), 2),
        (Ask::get("/twice"), 3),
        (Ask::get("/kept"), 2),
        (Ask::get("/v1/x?q=1"), 2),
        (Ask::get("/none"), 1),
        (Ask::get("/dead"), 1),
        // The answer of a copy is nobody's, whatever it says; retries are the original's alone.
        (Ask::get("/mirrored").with("x-do", "status=503"), 2),
        (Ask::get("/mirrored").with("x-do", "sleep=300"), 2),
    ] {
        let seen = twin.ask(&ask).await;
        assert_eq!(seen[0], seen[1], "{}", ask.id("of"));
        let [theirs, ours] = twin.got(&ask, count).await;
        assert_eq!(theirs, ours, "{}", ask.id("of"));
        assert_eq!(ours.len(), count, "{ours:?}");
    }
}

#[tokio::test]
async fn a_copy_delays_nobody_and_is_not_tried_again() {
    let twin = twin().await;
    // The original fails twice, and so would each copy be tried again if it were.
    let ask = Ask::get("/retried").with("x-do", "status=418");
    alike(&twin, [Ask::get("/none")]).await;
    let seen = twin.ask(&ask).await;
    assert_eq!([seen[0].status, seen[1].status], [418, 418]);
    let got = twin.got(&ask, 4).await;
    // Nothing more comes of either.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(got.each_ref().map(Vec::len), [4, 4], "{got:?}");
    assert_eq!(twin.got(&ask, 4).await, got);
    assert_eq!(got[0], got[1]);
    // Nobody waits for one that cannot be sent.
    for (_, took) in twin.timed(&Ask::get("/dead").time(1)).await {
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
}

#[tokio::test]
async fn shares_of_copies_are_those_of_envoy() {
    let twin = twin().await;
    let asks: Vec<_> = (0..500).map(|time| Ask::get("/some").time(time)).collect();
    for ask in &asks {
        twin.ask(ask).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut copies = [0_usize; 2];
    for ask in &asks {
        for (place, got) in twin.got(ask, 1).await.iter().enumerate() {
            copies[place] += got.len() - 1;
        }
    }
    // Envoy's draws have no seed: five standard deviations.
    for (copies, tolerance) in copies.into_iter().zip([52, 25]) {
        assert!(copies.abs_diff(150) <= tolerance, "{copies} of 500, 30 %");
    }
}
