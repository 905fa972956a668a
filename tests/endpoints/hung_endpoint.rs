//! An endpoint that hangs is left, although nobody waits for it to the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower_mesh::{Call, Client, Mesh};

use crate::support::{
    Leaves, Pipes, SERVICE, VERSIONS, cluster, fetch, leaf::ok, one_cluster, over, post, reply,
    storm, within,
};

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

/// The same endpoints behind the mesh's own connections.
#[tokio::test(start_paused = true)]
async fn over_connections_of_either_protocol_it_is_left_too() {
    for version in VERSIONS {
        for own_timeout in [true, false] {
            let hung = Arc::new(AtomicBool::new(false));
            let hits = Arc::new(AtomicUsize::new(0));
            let (switch, counter) = (Arc::clone(&hung), Arc::clone(&hits));
            let first = Leaves::address(0);
            let pipes = Pipes::http(move |address, _| {
                let is_first = address == first;
                let hangs = is_first && hung.load(Ordering::SeqCst);
                counter.fetch_add(is_first.into(), Ordering::SeqCst);
                async move {
                    if hangs {
                        std::future::pending::<()>().await;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    reply("hello")
                }
            });
            let mesh = one_cluster(cluster((0..3).map(Leaves::address)))
                .connect_layer(pipes)
                .seed(7)
                .build()
                .unwrap();
            let client = mesh.client("users").unwrap();
            let call = || {
                let (patience, request) =
                    (Duration::from_millis(100), over(version, post("/", "x")));
                let call = if own_timeout {
                    fetch(&client, request)
                } else {
                    fetch(&client, within(patience, request))
                };
                async move {
                    tokio::time::timeout(if own_timeout { patience } else { 2 * patience }, call)
                        .await
                        .is_ok_and(|answer| answer.is_ok())
                }
            };
            let healthy = storm(8, CALLS, |_| call()).await;
            assert!(healthy.iter().all(|answered| *answered), "{version:?}");
            let share = hits.swap(0, Ordering::SeqCst);
            assert!(share > CALLS / 5, "{version:?}: healthy, it takes its share: {share}");
            switch.store(true, Ordering::SeqCst);
            let answers = storm(8, CALLS, |_| call()).await;
            let failed = answers.iter().filter(|answered| !**answered).count();
            let hits = hits.load(Ordering::SeqCst);
            assert_eq!(failed, hits, "{version:?}, the caller's own timeout: {own_timeout}");
            let most = if own_timeout { CALLS / 50 } else { CALLS / 100 };
            assert!((1..=most).contains(&hits), "{version:?}: {hits} of {CALLS} met it");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_from_its_first_call_is_left_too() {
    let (leaves, mesh, hang) = setup();
    hang.store(true, Ordering::SeqCst);
    let client = mesh.client(SERVICE).unwrap();
    storm(8, CALLS, |_| impatient(&client)).await;
    assert!(leaves.hits(0) <= CALLS / 50, "{:?}", leaves.all_hits());
}
