//! Shards: a request goes to a replica of the shard that its key belongs to, and nowhere else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::Request;
use tower_mesh::{
    Body, Call, Client, ErrorKind, Mesh, Publisher, Retry,
    config::{Balancer, Cluster, Endpoint, HashPolicy, Service, Shard, Sharded, SlotRange},
};

use crate::support::{
    Leaves, SERVICE, get,
    leaf::{answer, ok},
    published,
};

fn shard(name: &str) -> Shard {
    let mut shard = Shard::default();
    shard.name = name.into();
    shard
}

/// An endpoint that holds these shards, by its label.
fn holder(number: usize, shards: &str) -> Endpoint {
    let mut endpoint = Endpoint::new(Leaves::address(number));
    endpoint.labels.insert("shard".into(), shards.into());
    endpoint
}

fn cluster(shards: Vec<Shard>, endpoints: Vec<Endpoint>) -> Cluster {
    let mut sharded = Sharded::default();
    sharded.shards = shards;
    sharded.hash = vec![HashPolicy::header("x-key")];
    let mut cluster = Cluster::default();
    (cluster.balancer, cluster.endpoints) = (Some(Balancer::Sharded(sharded)), endpoints);
    cluster
}

/// Endpoints that say who they are, in a mesh whose cluster the test says.
async fn mesh(leaves: &Leaves, cluster: Cluster) -> (Mesh, Publisher) {
    let answers = |number: usize, _| async move { Ok(ok(number.to_string())) };
    let builder = leaves.leaves(Mesh::builder().seed(7), answers);
    published(builder, |publisher| {
        publisher.service(SERVICE, Service::default()).unwrap();
        publisher.cluster(SERVICE, cluster).unwrap();
    })
    .await
}

fn of_key(key: &str) -> Request<Body> {
    Request::get("/").header("x-key", key).body(Body::empty()).unwrap()
}

async fn who(client: &Client, key: &str) -> usize {
    let response = client.send(of_key(key)).await.unwrap();
    response.into_body().text().await.unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_key_meets_the_replicas_of_its_shard_alone() {
    let leaves = Leaves::new(6);
    let shards = vec![shard("a"), shard("b"), shard("c")];
    let holders =
        ["a", "a, b", "b", "c", "c,a", ""].iter().enumerate().map(|(n, of)| holder(n, of));
    let (mesh, _publisher) = mesh(&leaves, cluster(shards, holders.collect())).await;
    let client = mesh.client(SERVICE).unwrap();
    let replicas: [&[usize]; 3] = [&[0, 1, 4], &[1, 2], &[3, 4]];
    let mut shards = BTreeSet::new();
    for key in 0..60 {
        let mut met = BTreeSet::new();
        for _ in 0..30 {
            met.insert(who(&client, &key.to_string()).await);
        }
        let of = replicas.iter().position(|all| all.iter().copied().eq(met.iter().copied()));
        shards.insert(of.unwrap_or_else(|| panic!("{key} met {met:?}")));
    }
    assert_eq!(shards.len(), 3);
    assert_eq!(leaves.hits(5), 0, "it holds none");
}

#[tokio::test(start_paused = true)]
async fn slots_keys_and_replicas_may_be_said_one_by_one() {
    let (mut a, mut b) = (shard("a"), shard("b"));
    a.slots = vec![SlotRange::new(0, 8191)];
    a.replicas = vec![Leaves::address(0)];
    b.slots = vec![SlotRange::new(8192, 16_383)];
    b.keys = vec!["vip".into()];
    b.replicas = vec![Leaves::address(1)];
    let leaves = Leaves::new(3);
    let endpoints = leaves.addresses().into_iter().map(Endpoint::new).collect();
    let (mesh, _publisher) = mesh(&leaves, cluster(vec![a, b], endpoints)).await;
    let client = mesh.client(SERVICE).unwrap();
    assert_eq!(who(&client, "vip").await, 1);
    let mut counts = [0; 3];
    for key in 0..200 {
        counts[who(&client, &key.to_string()).await] += 1;
    }
    assert!(counts[0] > 60 && counts[1] > 60 && counts[2] == 0, "{counts:?}");
    // The key that the call itself gives is the same as a header of its digits.
    for key in 0..20_u64 {
        let mut request = get("/");
        request.extensions_mut().insert(Call::new().hash_key(key));
        let own = client.send(request).await.unwrap().into_body().text().await.unwrap();
        assert_eq!(own, who(&client, &key.to_string()).await.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_no_shard_fails_and_goes_nowhere() {
    let mut a = shard("a");
    a.slots = vec![SlotRange::new(0, 99)];
    let leaves = Leaves::new(2);
    let (mesh, _publisher) = mesh(&leaves, cluster(vec![a], vec![holder(0, "a")])).await;
    let client = mesh.client(SERVICE).unwrap();
    for request in [get("/"), of_key("somewhere else")] {
        let error = client.send(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoEndpoints);
    }
    assert_eq!(leaves.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_to_another_replica_and_to_no_other_shard() {
    let leaves = Leaves::new(4);
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let millisecond = Duration::from_millis(1);
    let builder = leaves
        .leaves(Mesh::builder().seed(7), move |number, _| {
            counted.fetch_add(1, SeqCst);
            async move { Ok(if number == 0 { answer(503) } else { ok(number.to_string()) }) }
        })
        .service(SERVICE, |s| s.retry(Retry::standard().backoff(millisecond, millisecond)));
    let endpoints = vec![holder(0, "a"), holder(1, "a"), holder(2, "b"), holder(3, "b")];
    let (mesh, _publisher) = published(builder, |publisher| {
        let cluster = cluster(vec![shard("a"), shard("b")], endpoints);
        publisher.cluster(SERVICE, cluster).unwrap();
    })
    .await;
    let client = mesh.client(SERVICE).unwrap();
    for key in 0..60 {
        who(&client, &key.to_string()).await;
    }
    assert!(attempts.load(SeqCst) > 60 && leaves.hits(0) > 0 && leaves.hits(1) > 0);
}

#[tokio::test(start_paused = true)]
async fn shards_move_again_and_again_and_no_call_is_lost() {
    let leaves = Leaves::new(4);
    let listed = |of: [usize; 2]| {
        let with = |name: &str, number| {
            let mut shard = shard(name);
            shard.replicas = vec![Leaves::address(number)];
            shard
        };
        vec![with("a", of[0]), with("b", of[1])]
    };
    let endpoints = |of: &[usize]| of.iter().map(|n| Leaves::address(*n).into()).collect();
    let answers = |number: usize, _| async move {
        tokio::time::sleep(Duration::from_millis(3)).await;
        Ok(ok(number.to_string()))
    };
    let builder = leaves.leaves(Mesh::builder().seed(7), answers);
    let first = cluster(listed([0, 1]), endpoints(&[0, 1]));
    let (mesh, publisher) =
        published(builder, |publisher| publisher.cluster(SERVICE, first).unwrap()).await;
    let client = mesh.client(SERVICE).unwrap();
    let moves = async {
        for round in 0..60 {
            let (from, to) = if round % 2 == 0 { ([0, 1], [2, 3]) } else { ([2, 3], [0, 1]) };
            let both: Vec<usize> = from.into_iter().chain(to).collect();
            match round % 3 {
                // All at once.
                0 => publisher.cluster(SERVICE, cluster(listed(to), endpoints(&to))).unwrap(),
                // The map is ahead of its endpoints.
                1 => {
                    publisher.cluster(SERVICE, cluster(listed(to), endpoints(&from))).unwrap();
                    tokio::time::sleep(Duration::from_millis(4)).await;
                    publisher.endpoints(SERVICE, endpoints(&to)).unwrap();
                }
                // The endpoints are ahead of the map.
                _ => {
                    publisher.endpoints(SERVICE, endpoints(&both)).unwrap();
                    tokio::time::sleep(Duration::from_millis(4)).await;
                    publisher.cluster(SERVICE, cluster(listed(to), endpoints(&both))).unwrap();
                    tokio::time::sleep(Duration::from_millis(4)).await;
                    publisher.endpoints(SERVICE, endpoints(&to)).unwrap();
                }
            }
            tokio::time::sleep(Duration::from_millis(7)).await;
            // Whoever calls now meets the new ones.
            for key in 0..10 {
                assert!(to.contains(&who(&client, &key.to_string()).await), "round {round}");
            }
        }
    };
    let calls = crate::support::storm(8, 3_000, |call| {
        let client = client.clone();
        async move { client.send(of_key(&(call % 50).to_string())).await?.into_body().text().await }
    });
    let ((), answers) = tokio::join!(moves, calls);
    for answer in answers {
        answer.unwrap();
    }
    assert!((0..4).all(|number| leaves.hits(number) > 100), "{:?}", leaves.all_hits());
}

#[tokio::test]
async fn the_map_is_read_from_the_file() {
    let text = r#"
clusters:
  users.prod:
    balancer:
      sharded:
        label: holds
        hash: [{on: {header: {name: x-key}}}]
        shards:
          - {name: low, slots: [{first: 0, last: 8191}]}
          - {name: high, slots: [{first: 8192, last: 16383}], keys: [vip]}
    endpoints:
      - {address: "10.0.0.1:80", labels: {holds: low}}
      - {address: "10.0.0.2:80", labels: {holds: high}}
"#;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    std::fs::write(&path, text).unwrap();
    let leaves = Leaves::new(2);
    let answers = |number: usize, _| async move { Ok(ok(number.to_string())) };
    let mesh = leaves.leaves(Mesh::builder().config_file(&path), answers).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    assert_eq!(who(&client, "vip").await, 1);
    let mut met = BTreeSet::new();
    for key in 0..20 {
        let key = key.to_string();
        let first = who(&client, &key).await;
        assert_eq!(who(&client, &key).await, first);
        met.insert(first);
    }
    assert_eq!(met.len(), 2);
}
