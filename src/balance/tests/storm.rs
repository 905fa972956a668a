//! Many endpoints that are replaced again and again while calls come.

use std::sync::{
    Weak,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::*;
use crate::config::{Balancing, Cluster, Locality, LocalityBalancing, LocalityWeight};

/// Two priorities of four localities that share by weight.
fn planned() -> Cluster {
    let weight = |number: u32| LocalityWeight {
        locality: Locality::new("a", number.to_string()),
        priority: number / 4,
        weight: number + 1,
        ..LocalityWeight::default()
    };
    let locality = LocalityBalancing::Weighted;
    Cluster {
        balancing: Some(Balancing { locality, ..Balancing::default() }),
        localities: (0..8).map(weight).collect(),
        ..Cluster::default()
    }
}

fn numbered(number: u32) -> config::Endpoint {
    let address = SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + number), 80));
    let mut endpoint = config::Endpoint::new(address.into());
    endpoint.priority = number % 8 / 4;
    endpoint.locality = Some(Box::new(Locality::new("a", (number % 8).to_string())));
    endpoint
}

#[test]
fn thousands_of_endpoints_replaced_again_and_again_fail_no_pick_and_leave_nothing_behind() {
    const COUNT: u32 = 5_000;
    let ring = config::Balancer::RingHash(config::RingHash::default());
    for cluster in [planned(), under(&ring)] {
        let balancer = Balancer::<Mock>::new(&cluster, (), Epoch::now());
        let set = |round: u32| (round * COUNT..(round + 1) * COUNT).map(numbered).collect();
        balancer.replace(set(0));
        let done = AtomicBool::new(false);
        let gone: Vec<Weak<Endpoint<Mock>>> = std::thread::scope(|scope| {
            let updates = scope.spawn(|| {
                let mut gone = Vec::new();
                for round in 1..=20 {
                    gone.extend(balancer.endpoints().iter().map(Arc::downgrade));
                    balancer.replace(set(round));
                }
                done.store(true, Relaxed);
                gone
            });
            let (random, mut now, mut picks) = (Random::seeded(9), SECOND, 0_u32);
            while !done.load(Relaxed) {
                now += 10_000;
                let ask = Ask::any(now, &random, &[]).hashed(Some(random.next()));
                let flight = balancer.pick(ask).expect("there are endpoints at any time");
                flight.finish(now + MILLI, Outcome::Success);
                picks += 1;
            }
            assert!(picks > 100, "{picks} picks beside 20 replacements");
            updates.join().unwrap()
        });
        // The last view that a pick has read is let go by the next update.
        balancer.replace(set(30));
        let left = gone.iter().filter(|endpoint| endpoint.strong_count() > 0).count();
        assert_eq!(left, 0, "of {} that are gone", gone.len());
    }
}
