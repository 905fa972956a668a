//! An endpoint that hangs is left, although nobody waits for it to the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tower_mesh::{Call, Client, Mesh};

use support::{Leaves, SERVICE, fetch, leaf::ok, post, storm};

const CALLS: usize = 2000;

/// Three endpoints of 5 ms; the first hangs once the switch is on.
fn setup() -> (Leaves, Mesh, Arc<AtomicBool>) {
    let hung = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&hung);
    let leaves = Leaves::new(3);
    let mesh = leaves
        .mesh(move |number, _| {
            let hangs = number == 0 && hung.load(Ordering::SeqCst);
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok(ok("hello"))
            }
        })
        .build()
        .unwrap();
    (leaves, mesh, switch)
}

async fn impatient(client: &Client) -> bool {
    let call = fetch(client, post("/", "x"));
    tokio::time::timeout(Duration::from_millis(100), call).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn callers_with_their_own_timeout_leave_it() {
    let (leaves, mesh, hang) = setup();
    let client = mesh.client(SERVICE).unwrap();
    storm(8, CALLS, |_| impatient(&client)).await;
    assert!(leaves.hits(0) > CALLS / 5, "healthy, it takes its share: {:?}", leaves.all_hits());

    hang.store(true, Ordering::SeqCst);
    leaves.reset();
    let answers = storm(8, CALLS, |_| impatient(&client)).await;
    let given_up = answers.iter().filter(|answered| !**answered).count();
    assert_eq!(given_up, leaves.hits(0));
    assert!(given_up <= CALLS / 50, "{given_up} of {CALLS} went to the hung endpoint");
}

#[tokio::test(start_paused = true)]
async fn deadlines_of_ours_leave_it_and_count_as_its_failures() {
    let (leaves, mesh, hang) = setup();
    let client = mesh.client(SERVICE).unwrap();
    let call = || {
        let mut request = post("/", "x");
        request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(100)));
        fetch(&client, request)
    };
    storm(8, CALLS, |_| call()).await;
    hang.store(true, Ordering::SeqCst);
    leaves.reset();
    let answers = storm(8, CALLS, |_| call()).await;
    let failed: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(failed.iter().all(tower_mesh::Error::is_timeout));
    assert!(failed.len() <= CALLS / 100, "{} of {CALLS} met the hung endpoint", failed.len());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_from_its_first_call_is_left_too() {
    let (leaves, mesh, hang) = setup();
    hang.store(true, Ordering::SeqCst);
    let client = mesh.client(SERVICE).unwrap();
    storm(8, CALLS, |_| impatient(&client)).await;
    assert!(leaves.hits(0) <= CALLS / 50, "{:?}", leaves.all_hits());
}
