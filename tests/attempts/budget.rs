//! A retry budget grants what it says. (tower's grants 50 % for 40 %, and 100 % for 70 %.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use tower_mesh::{Retry, config::Budget};

use crate::support::{Leaves, Recorder, SERVICE, get, leaf::answer};

async fn retries_of_a_thousand(ratio: f64) -> usize {
    let leaves = Leaves::new(3);
    let mesh = leaves
        .mesh(|_, _| async { Ok(answer(503)) })
        .service(SERVICE, |s| {
            s.retry(
                Retry::standard()
                    .attempts(2)
                    .backoff(Duration::from_millis(1), Duration::from_millis(1))
                    .budget(Budget::new(ratio).min_per_second(0)),
            )
        })
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let mut events = Recorder::of(&mesh);
    for _ in 0..1000 {
        assert_eq!(client.send(get("/")).await.unwrap().status(), 503);
        events.events();
    }
    let retries = leaves.total() - 1000;
    assert_eq!(events.retries().len(), retries);
    assert_eq!(events.refusals().iter().filter(|why| **why == "budget").count(), 1000 - retries);
    retries
}

#[tokio::test(start_paused = true)]
async fn a_ratio_is_granted_exactly() {
    for (ratio, expected) in [(0.2, 200), (0.3, 300), (0.4, 400), (0.7, 700), (0.9, 900)] {
        let granted = retries_of_a_thousand(ratio).await;
        assert!(granted.abs_diff(expected) <= 1, "{ratio} granted {granted} of 1000");
    }
}

#[tokio::test(start_paused = true)]
async fn the_reserve_serves_rare_calls() {
    let leaves = Leaves::new(3);
    let mesh = leaves
        .mesh(|_, _| async { Ok(answer(503)) })
        .service(SERVICE, |s| {
            s.retry(Retry::standard().attempts(2).budget(Budget::new(0.0).min_per_second(1)))
        })
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..30 {
        client.send(get("/")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(leaves.total(), 60, "one call in two seconds may always be retried");
}
