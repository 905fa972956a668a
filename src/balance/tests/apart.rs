//! A retry that leaves the localities of what its call has met.

use std::{collections::BTreeSet, sync::Arc};

use super::{Mock, SECOND, endpoint, number_of, policies, under};
use crate::{
    balance::{Ask, Asked, Balancer, Choice, Endpoint, Outcome},
    config::{self, Balancing, Health, Locality, LocalityBalancing, LocalityWeight},
    core::{Epoch, Random},
};

fn of_zone(number: u16, zone: &str) -> config::Endpoint {
    let locality = Some(Box::new(Locality::new("eu", zone)));
    config::Endpoint { locality, ..endpoint(number) }
}

/// Whom retries meet after an endpoint of this number; none may find nothing.
fn retries(balancer: &Balancer<Mock>, met: u16, apart: bool) -> BTreeSet<u16> {
    let random = Random::seeded(5);
    let tried: [Arc<Endpoint<Mock>>; 1] =
        [balancer.endpoints().into_iter().find(|it| number_of(it) == met).unwrap()];
    let pick = |hash: u64| {
        let ask = Ask { apart, ..Ask::any(SECOND, &random, &tried).hashed(Some(hash)) };
        let flight = balancer.pick(ask).unwrap();
        let number = number_of(flight.endpoint());
        flight.finish(SECOND, Outcome::Ignored);
        number
    };
    (0..400_u64).map(|hash| pick(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
}

/// Under every policy, without a plan and with some.
fn clusters() -> Vec<config::Cluster> {
    let plain = policies().into_iter().map(|policy| under(&policy));
    let weighted = plain.clone().map(|it| {
        let locality = LocalityBalancing::Weighted;
        let weight = |zone: &str, weight| LocalityWeight {
            locality: Locality::new("eu", zone),
            weight,
            ..LocalityWeight::default()
        };
        config::Cluster {
            balancing: Some(Balancing { locality, ..Balancing::default() }),
            // The tried one's locality gets nearly everything.
            localities: vec![weight("a", 100), weight("b", 1)],
            ..it
        }
    });
    let together = plain.clone().map(|it| {
        let balancing = Some(Balancing::default());
        config::Cluster { balancing, ..it }
    });
    plain.chain(weighted).chain(together).collect()
}

#[test]
fn a_retry_goes_to_another_locality_and_to_the_same_one_when_no_other_works() {
    for cluster in clusters() {
        let balancer = Balancer::new(&cluster, (), Epoch::now());
        let two = [of_zone(11, "b"), of_zone(12, "b")];
        balancer.replace((1..=10).map(|it| of_zone(it, "a")).chain(two.clone()).collect());
        assert_eq!(retries(&balancer, 1, true), BTreeSet::from([11, 12]), "{cluster:?}");
        assert_eq!(retries(&balancer, 11, true), (1..=10).collect(), "{cluster:?}");
        assert!(retries(&balancer, 1, false).len() > 2, "{cluster:?}");

        // Nothing there works: the other endpoints of the tried locality are better than that.
        let bad = |it: config::Endpoint| config::Endpoint { health: Health::Unhealthy, ..it };
        balancer.upsert(two.clone().map(bad).into());
        let met = retries(&balancer, 1, true);
        assert!(met.is_subset(&(2..=10).collect()), "{met:?} {cluster:?}");

        // Nobody is there.
        balancer.remove(&two.map(|it| it.address));
        let met = retries(&balancer, 1, true);
        assert!(met.is_subset(&(2..=10).collect()), "{met:?} {cluster:?}");

        // Nobody else at all: the one that was tried is called again.
        balancer.replace(vec![of_zone(1, "a")]);
        assert_eq!(retries(&balancer, 1, true), BTreeSet::from([1]), "{cluster:?}");
    }
}

#[test]
fn a_degraded_one_elsewhere_is_better_than_the_locality_to_be_left() {
    for cluster in clusters() {
        let balancer = Balancer::new(&cluster, (), Epoch::now());
        let degraded = config::Endpoint { health: Health::Degraded, ..of_zone(11, "b") };
        balancer.replace((1..=3).map(|it| of_zone(it, "a")).chain([degraded]).collect());
        let hashes = matches!(
            cluster.balancer,
            Some(config::Balancer::RingHash(_) | config::Balancer::Maglev(_))
        );
        // It is in no table; what is found without one is.
        let met = retries(&balancer, 1, true);
        assert!(met == BTreeSet::from([11]) || hashes && met.contains(&11), "{met:?} {cluster:?}");
    }
}

#[test]
fn an_endpoint_without_a_locality_is_nowhere() {
    for cluster in clusters() {
        let balancer = Balancer::new(&cluster, (), Epoch::now());
        balancer.replace((1..=4).map(endpoint).collect());
        assert_eq!(retries(&balancer, 1, true), BTreeSet::from([2, 3, 4]), "{cluster:?}");
    }
}

#[test]
fn what_is_told_of_retries_leaves_the_localities_that_they_leave() {
    for policy in policies()
        .into_iter()
        .filter(|it| matches!(it, config::Balancer::RingHash(_) | config::Balancer::Maglev(_)))
    {
        for balancing in [None, Some(Balancing::default())] {
            let cluster = config::Cluster { balancing, ..under(&policy) };
            let balancer = Balancer::<Mock>::new(&cluster, (), Epoch::now());
            balancer
                .replace((1..=10).map(|it| of_zone(it, if it < 9 { "a" } else { "b" })).collect());
            for hash in 0..200_u64 {
                let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let asked = Asked { hash: Some(hash), apart: true, ..Asked::default() };
                let told = balancer.explain(&asked, SECOND, |error| format!("{error:?}"));
                let Choice::Endpoint { address: first, then } = told.choice else { panic!() };
                let zone = |text: &str| {
                    let port: u16 = text.rsplit(':').next().unwrap().parse().unwrap();
                    port < 9
                };
                assert_ne!(zone(&first), zone(&then[0]), "{cluster:?}");
            }
        }
    }
}
