//! What further attempts avoid.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use tower_mesh::{
    Retry,
    config::{AvoidEndpoint, Cluster, RetryPriority},
};

use crate::{
    cluster, fast, of_cluster,
    support::{Leaves, SERVICE, get, leaf::answer},
};

/// Who is met in order by the first calls of many meshes, all of which every endpoint fails: what has
/// failed often is no better than what is avoided.
async fn met(cluster: Cluster, retry: Retry) -> BTreeSet<Vec<usize>> {
    let retry = fast(retry);
    let mut orders = BTreeSet::new();
    for seed in 0..60 {
        let leaves = Leaves::new(cluster.endpoints.len());
        let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
        let sink = Arc::clone(&seen);
        let builder = of_cluster(&leaves, cluster.clone(), move |number, _| {
            sink.lock().unwrap().push(number);
            async move { Ok(answer(503)) }
        });
        let builder = builder.seed(seed).service(SERVICE, |s| s.retry(retry.clone()));
        let mesh = builder.build().unwrap();
        let _answer = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
        orders.insert(std::mem::take(&mut *seen.lock().unwrap()));
    }
    orders
}

fn labelled(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

#[tokio::test(start_paused = true)]
async fn retries_avoid_canaries_and_labels_as_far_as_there_are_others() {
    // The last one is a canary.
    let of = || {
        cluster(3, |number, endpoint| {
            if number == 2 {
                endpoint.labels = labelled("canary", "true");
            }
        })
    };
    for avoid in [AvoidEndpoint::Canaries, AvoidEndpoint::Labels(labelled("canary", "true"))] {
        let orders = met(of(), Retry::standard().attempts(2).avoid([avoid.clone()])).await;
        let firsts: BTreeSet<_> = orders.iter().map(|order| order[0]).collect();
        assert_eq!(firsts, BTreeSet::from([0, 1, 2]), "a first attempt avoids nothing");
        assert!(orders.iter().all(|order| order[1] != 2), "{orders:?}");
        // When nobody else is left, it is the one.
        let orders = met(of(), Retry::standard().attempts(3).avoid([avoid])).await;
        assert!(orders.iter().any(|order| order[2] == 2), "{orders:?}");
    }
    let orders = met(of(), Retry::standard().attempts(2)).await;
    assert!(orders.iter().any(|order| order[1] == 2), "else they are met: {orders:?}");
}

#[tokio::test(start_paused = true)]
async fn retries_leave_the_priorities_that_were_met() {
    // Three of the best priority, two of the next.
    let of = || cluster(5, |number, endpoint| endpoint.priority = u32::from(number >= 3));
    let every = |attempts: u32| {
        let mut retry = Retry::standard().attempts(3);
        let mut priority = RetryPriority::default();
        priority.update_frequency = Some(attempts);
        retry.priority = Some(priority);
        retry
    };
    let level = |order: &Vec<usize>| order.iter().map(|it| it / 3).collect::<Vec<_>>();
    let levels = |orders: BTreeSet<Vec<usize>>| orders.iter().map(level).collect::<BTreeSet<_>>();
    // Looked at after each attempt: then the next one, and when both were met any will do.
    let each = levels(met(of(), every(1)).await);
    assert!(each.iter().all(|it| it[..2] == [0, 1]), "{each:?}");
    // After two: the first two as ever, and then the other one.
    let both = levels(met(of(), every(2)).await);
    assert!(both.contains(&vec![0, 0, 1]) && !both.contains(&vec![0, 0, 0]), "{both:?}");
    // Without, what was not tried of the best priority comes first.
    let usual = levels(met(of(), Retry::standard().attempts(3)).await);
    assert!(usual.contains(&vec![0, 0, 0]), "{usual:?}");
}
