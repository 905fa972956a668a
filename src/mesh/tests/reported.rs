//! What a cluster counts for its control plane: all of it, and once.

use super::{address, mesh};
use crate::{
    Body, Refusal,
    config::{Cluster, DropOverload},
};

#[tokio::test]
async fn no_drop_is_lost_before_the_count_begins_nor_when_other_metrics_are_wanted() {
    let (mesh, publish) = mesh().await;
    let mut cluster = Cluster::default();
    cluster.endpoints = vec![address().into()];
    cluster.drops = vec![DropOverload::new("lb", 100.0)];
    publish.cluster("users", cluster).unwrap();
    publish.synced();
    let client = mesh.client("users").unwrap();
    let call = async || {
        let request = http::Request::new(Body::empty());
        let error = client.send(request).await.unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::Dropped), "{error}");
    };
    call().await;
    let loads = publish.loads("users").unwrap();
    // Of those before that nobody is told.
    call().await;
    loads.begin(&[]);
    assert_eq!(loads.take().drops["lb"], 1);
    call().await;
    loads.begin(&["cpu_utilization".to_owned()]);
    call().await;
    assert_eq!(loads.take().drops["lb"], 2);
    assert!(loads.take().drops.is_empty());
}
