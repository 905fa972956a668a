//! What a cluster counts for its control plane: all of it, and once.

use super::{address, mesh};
use crate::{
    Body, Client, Refusal,
    config::{Cluster, DropOverload},
    observe::MetricValue,
};

/// A cluster that drops all calls, by this category; or none.
fn dropping(category: Option<&str>) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.endpoints = vec![address().into()];
    cluster.drops = category.map(|name| DropOverload::new(name, 100.0)).into_iter().collect();
    cluster
}

/// Calls that are dropped.
async fn calls(client: &Client, count: usize) {
    for _ in 0..count {
        let error = client.send(http::Request::new(Body::empty())).await.unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::Dropped), "{error}");
    }
}

#[tokio::test]
async fn no_drop_is_lost_before_the_count_begins_nor_when_other_metrics_are_wanted() {
    let (mesh, publish) = mesh().await;
    publish.cluster("users", dropping(Some("lb"))).unwrap();
    publish.synced();
    let client = mesh.client("users").unwrap();
    calls(&client, 1).await;
    let loads = publish.loads("users").unwrap();
    // Of those before that nobody is told.
    calls(&client, 1).await;
    loads.begin(&[]);
    assert_eq!(loads.take().drops["lb"], 1);
    calls(&client, 1).await;
    loads.begin(&["cpu_utilization".to_owned()]);
    calls(&client, 1).await;
    assert_eq!(loads.take().drops["lb"], 2);
    assert!(loads.take().drops.is_empty());
}

#[tokio::test]
async fn no_drop_is_lost_when_its_category_goes_away_and_comes_back() {
    let (mesh, publish) = mesh().await;
    let publish_dropping = |category| publish.cluster("users", dropping(category)).unwrap();
    publish_dropping(Some("lb"));
    publish.synced();
    let client = mesh.client("users").unwrap();
    let loads = publish.loads("users").unwrap();
    loads.begin(&[]);
    calls(&client, 5).await;
    assert_eq!(loads.take().drops["lb"], 5);
    // It goes away before these are told, with all there is of drops.
    calls(&client, 3).await;
    publish_dropping(None);
    assert_eq!(loads.take().drops["lb"], 3);
    // And comes back, to be followed by another.
    publish_dropping(Some("lb"));
    calls(&client, 2).await;
    publish_dropping(Some("throttle"));
    calls(&client, 1).await;
    let drops = loads.take().drops;
    assert_eq!((drops["lb"], drops["throttle"], drops.len()), (2, 1, 2));
    assert!(loads.take().drops.is_empty());
}

/// What is asked for what it has counted does not take it from who tells of it.
#[tokio::test]
async fn no_drop_is_lost_when_a_cluster_is_published_again_nor_told_twice() {
    let (mesh, publish) = mesh().await;
    publish.cluster("users", dropping(Some("lb"))).unwrap();
    publish.synced();
    let client = mesh.client("users").unwrap();
    let loads = publish.loads("users").unwrap();
    loads.begin(&[]);
    calls(&client, 2).await;
    let again = publish.loads("users").unwrap();
    calls(&client, 1).await;
    assert_eq!(loads.take().drops["lb"], 3);
    assert!(again.take().drops.is_empty());
}

#[tokio::test]
async fn a_counter_of_drops_does_not_begin_again_when_its_category_comes_back() {
    let (mesh, publish) = mesh().await;
    let publish_dropping = |category| publish.cluster("users", dropping(category)).unwrap();
    publish_dropping(Some("lb"));
    publish.synced();
    let client = mesh.client("users").unwrap();
    let counted = || {
        let metrics = mesh.metrics();
        let family = metrics.family("mesh.client.drops").unwrap();
        family.samples.iter().map(|sample| sample.value().clone()).collect::<Vec<_>>()
    };
    calls(&client, 4).await;
    publish_dropping(None);
    assert_eq!(counted(), [MetricValue::Count(4)]);
    publish_dropping(Some("lb"));
    calls(&client, 1).await;
    assert_eq!(counted(), [MetricValue::Count(5)]);
}
