//! What a map of shards may say.

use super::{
    super::{Balancer, Cluster, Shard, Sharded, SlotRange},
    message,
};

fn refused(fill: impl FnOnce(&mut Sharded)) -> String {
    let mut sharded = Sharded::default();
    let (mut a, mut b) = (Shard::default(), Shard::default());
    (a.name, b.name) = ("a".into(), "b".into());
    sharded.shards = vec![a, b];
    fill(&mut sharded);
    let mut cluster = Cluster::default();
    cluster.balancer = Some(Balancer::Sharded(sharded));
    message(cluster.validate("a"))
}

#[test]
fn a_map_of_shards_that_cannot_be_is_refused() {
    let slots = |first, last| vec![SlotRange::new(first, last)];
    let address = || "10.0.0.1:80".parse().unwrap();
    for (text, reason) in [
        (refused(|map| map.shards.clear()), "shards = 0: there must be 1..=16384 of them"),
        (refused(|map| map.shards[1].name = "a".into()), "shards[1].name = a: is used twice"),
        (refused(|map| map.shards[0].name = "x,y".into()), "shards[0].name = x,y: must be a name"),
        (refused(|map| map.shards[0].name.clear()), "shards[0].name = : must be a name"),
        (
            refused(|map| map.shards[0].slots = slots(5, 4)),
            "shards[0].slots = 5..=4: must be in 0..=16383, the first before the last",
        ),
        (
            refused(|map| map.shards[0].slots = slots(0, 16_384)),
            "shards[0].slots = 0..=16384: must be in 0..=16383",
        ),
        (
            refused(|map| map.shards[0].slots = slots(u32::MAX, u32::MAX)),
            "shards[0].slots = 4294967295..=4294967295: must be in 0..=16383",
        ),
        (
            refused(|map| {
                map.shards[0].slots = slots(0, 10);
                map.shards[1].slots = slots(10, 20);
            }),
            "shards[1].slots = 10..=20: a slot is taken twice",
        ),
        (
            refused(|map| {
                map.shards[0].keys = vec!["k".into()];
                map.shards[1].keys = vec!["k".into()];
            }),
            "shards[1].keys = k: is listed twice",
        ),
        (
            refused(|map| map.shards[0].replicas = vec![address(), address()]),
            "shards[0].replicas = 10.0.0.1:80: is listed twice",
        ),
        (refused(|map| map.label = Some(String::new())), "label = \"\": must not be empty"),
    ] {
        assert!(text.starts_with(&format!("clusters.a.balancer.sharded.{reason}")), "{text}");
    }
}
