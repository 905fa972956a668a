//! Keys of calls, and where policies that hash take them.

use std::collections::HashMap;

use tower_mesh::{
    balance::bench::{
        self,
        caller::{Caller, Tried},
    },
    config,
};

use super::{
    model::keys::{KEYS, SHARDS},
    random::Stream,
};

/// Keys by how much they are wanted: the n-th weighs `1 / n^skew`.
pub(crate) struct Zipf {
    /// The sums of the weights.
    sums: Vec<f64>,
}

/// The calls of each key in order, as far as one can say where they went.
#[derive(Default)]
pub(crate) struct Seen {
    last: HashMap<u32, u32>,
}

impl Zipf {
    pub(crate) fn new(skew: f64) -> Self {
        let mut sum = 0.0;
        let weigh = |number: u32| {
            sum += f64::from(number + 1).powf(-skew);
            sum
        };
        Self { sums: (0..KEYS).map(weigh).collect() }
    }

    /// One of them.
    pub(crate) fn draw(&self, random: &mut Stream) -> u32 {
        let all = self.sums.last().copied().unwrap_or(0.0);
        let at = random.ratio() * all;
        self.sums.partition_point(|sum| *sum <= at).min(self.sums.len() - 1) as u32
    }
}

impl Seen {
    /// A call of this key goes there. Whether the one before it did, if there was one.
    pub(crate) fn meets(&mut self, key: u32, server: u32) -> Option<bool> {
        self.last.insert(key, server).map(|last| last == server)
    }
}

/// What a key is hashed to (`SplitMix64`): all bits are as good as each other.
pub(crate) fn hash_of(key: u32) -> u64 {
    let mut word = u64::from(key).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A map of shards, each on as many of these servers as any other.
pub(crate) fn sharded(servers: u32) -> config::Balancer {
    let mut sharded = config::Sharded::default();
    for number in 0..SHARDS {
        let mut shard = config::Shard::default();
        shard.name = format!("shard {number}");
        let replicas = (number..servers).step_by(SHARDS as usize);
        shard.replicas = replicas.map(|server| bench::endpoint(server).address).collect();
        sharded.shards.push(shard);
    }
    config::Balancer::Sharded(sharded)
}

/// Where each key goes, by endpoint number.
fn placed(caller: &Caller) -> Vec<u32> {
    let of = |key: u32| {
        let flight = caller.pick(1, &Tried::default(), Some(hash_of(key)));
        let Some(flight) = flight else { return u32::MAX };
        let endpoint = flight.endpoint();
        flight.succeeded(1);
        endpoint
    };
    (0..KEYS).map(of).collect()
}

/// Of all keys, the parts that move when the endpoints become others, and that move though both the
/// endpoint that they leave and the one that they come to were there before and are there after.
pub(crate) fn moved(
    balancer: &config::Balancer,
    before: &[config::Endpoint],
    after: &[config::Endpoint],
) -> (f64, f64) {
    let mut cluster = config::Cluster::default();
    cluster.balancer = Some(balancer.clone());
    let caller = Caller::new(&cluster, 1);
    caller.replace(before.to_vec());
    let first = placed(&caller);
    caller.replace(after.to_vec());
    let second = placed(&caller);
    let is_in = |number: u32, list: &[config::Endpoint]| {
        let address = bench::endpoint(number).address;
        list.iter().any(|endpoint| endpoint.address == address)
    };
    let (mut moved, mut needless) = (0_u32, 0_u32);
    for (one, other) in first.into_iter().zip(second).filter(|(one, other)| one != other) {
        moved += 1;
        needless += u32::from(is_in(one, after) && is_in(other, before));
    }
    let part = |count: u32| f64::from(count) / f64::from(KEYS);
    (part(moved), part(needless))
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_are_wanted_as_zipf_has_it() {
        use super::{KEYS, Stream, Zipf};

        let (zipf, mut random) = (Zipf::new(1.0), Stream::new(1, 1));
        let mut counts = vec![0_u32; KEYS as usize];
        for _ in 0..200_000 {
            counts[zipf.draw(&mut random) as usize] += 1;
        }
        let share = |key: usize| f64::from(counts[key]) / 200_000.0;
        // 1 / H(10,000), and half and a tenth of it.
        assert!((share(0) - 0.1022).abs() < 0.004, "{}", share(0));
        assert!((share(1) - 0.0511).abs() < 0.003, "{}", share(1));
        assert!((share(9) - 0.0102).abs() < 0.002, "{}", share(9));
    }
}
