//! Settings laid over each other: laws that hold for any, and what each kind of field does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::{ProptestConfig, any, proptest};

use super::*;
use crate::config::{
    Balancer, Budget, Cluster, ClusterSecurity, FailureAccrual, HashPolicy, Maglev,
    OutlierDetection, Policy, Protocol, Retry, RingHash, SecurityMode,
    tests::instances::{Dice, Model},
};

std::thread_local! {
    static MODEL: Model = Model::new();
}

/// Any value of the model.
fn any_of<T: serde::de::DeserializeOwned>(name: &str, seed: u64) -> T {
    let mut dice = Dice::new(seed, false);
    dice.fuel = 60;
    let value = MODEL.with(|model| model.any(name, &mut dice));
    serde_json::from_value(value).unwrap()
}

fn laid<T: Overlay>(parts: &[T]) -> T {
    parts.iter().fold(T::default(), |whole, part| whole.laid_over(part))
}

/// The endpoints are no setting.
fn cluster(seed: u64) -> Cluster {
    any_of("Cluster", seed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn nothing_is_lost_or_made_where_one_layer_is_silent(seed in any::<u64>()) {
        let said = cluster(seed);
        assert_eq!(said.laid_over(&Cluster::default()), said);
        assert_eq!(Cluster::default().laid_over(&said), said);
        let said: Policy = any_of("Policy", seed);
        assert_eq!(said.laid_over(&Policy::default()), said);
        assert_eq!(Policy::default().laid_over(&said), said);
    }

    #[test]
    fn the_parts_are_the_whole(seed in any::<u64>()) {
        let said = cluster(seed);
        assert_eq!(laid(&said.parts()), said);
        let said: Policy = any_of("Policy", seed);
        assert_eq!(laid(&said.parts()), said);
    }

    #[test]
    fn what_is_nearer_decides_each_field(near in any::<u64>(), far in any::<u64>()) {
        let (near, far): (Policy, Policy) = (any_of("Policy", near), any_of("Policy", far));
        let merged = near.laid_over(&far);
        let told = |of: &Policy| {
            let mut told = Vec::new();
            of.told("", &mut told);
            told
        };
        let (told_near, told_far, told_merged) = (told(&near), told(&far), told(&merged));
        let value = |told: &[(String, String)], path: &str| {
            told.iter().find(|it| it.0 == path).map(|it| it.1.clone())
        };
        for (path, said) in &told_merged {
            let wanted = value(&told_near, path).or_else(|| value(&told_far, path));
            // A block that says nothing is told only while it is alone.
            if said != "{}" {
                assert_eq!(wanted.as_ref(), Some(said), "{path}");
            }
        }
        for (path, _) in told_near.iter().chain(&told_far).filter(|it| it.1 != "{}") {
            assert!(value(&told_merged, path).is_some(), "{path} is lost");
        }
    }

    #[test]
    fn three_layers_are_the_same_from_either_end(a in any::<u64>(), b in any::<u64>(), c in any::<u64>()) {
        let (a, b, c): (Policy, Policy, Policy) =
            (any_of("Policy", a), any_of("Policy", b), any_of("Policy", c));
        assert_eq!(a.laid_over(&b).laid_over(&c), a.laid_over(&b.laid_over(&c)));
    }
}

#[test]
fn the_block_of_a_choice_is_merged_within_the_same_choice_alone() {
    let mut near = RingHash::default();
    near.minimum_ring_size = Some(64);
    let mut far = RingHash::default();
    (far.minimum_ring_size, far.maximum_ring_size) = (Some(8), Some(128));
    far.hash = vec![HashPolicy::header("x-user")];
    let of = |balancer| Cluster { balancer: Some(balancer), ..Cluster::default() };
    let near = of(Balancer::RingHash(near));
    let merged = near.laid_over(&of(Balancer::RingHash(far.clone())));
    let Some(Balancer::RingHash(ring)) = merged.balancer else { panic!() };
    assert_eq!((ring.minimum_ring_size, ring.maximum_ring_size), (Some(64), Some(128)));
    assert_eq!(ring.hash, far.hash);
    let mut maglev = Maglev::default();
    maglev.hash = vec![HashPolicy::header("x-user")];
    assert_eq!(near.laid_over(&of(Balancer::Maglev(maglev))), near);
}

#[test]
fn lists_and_budgets_are_one_value() {
    let near = Retry::standard().on_status([503]).budget(Budget::new(0.1));
    let far = Retry::standard()
        .on_status([502, 504])
        .attempts(7)
        .budget(Budget::new(0.5).ttl(Duration::from_secs(60)));
    let merged = near.over(&far);
    assert_eq!(merged.on_status, Some(vec![503]));
    assert_eq!(merged.attempts, Some(7));
    assert_eq!(merged.budget, Some(Budget::new(0.1)));
}

#[test]
fn blocks_are_merged_field_by_field() {
    let mut near = Cluster::default();
    let mut outliers = OutlierDetection::default();
    outliers.consecutive_5xx = Some(3);
    outliers.accrual = Some(FailureAccrual::default());
    near.outlier_detection = Some(outliers);
    near.transport.max_age = Some(Duration::from_secs(60));
    let mut far = Cluster::default();
    let mut outliers = OutlierDetection::default();
    (outliers.consecutive_5xx, outliers.max_ejection_percent) = (Some(9), Some(50.0));
    let mut accrual = FailureAccrual::default();
    accrual.jitter = Some(0.0);
    outliers.accrual = Some(accrual);
    far.outlier_detection = Some(outliers);
    far.transport.idle_timeout = Some(Duration::from_secs(9));
    far.protocol = Some(Protocol::Http2);
    let merged = near.laid_over(&far);
    let outliers = merged.outlier_detection.clone().unwrap();
    assert_eq!((outliers.consecutive_5xx, outliers.max_ejection_percent), (Some(3), Some(50.0)));
    assert_eq!(outliers.accrual.unwrap().jitter, Some(0.0));
    assert_eq!(merged.transport.max_age, Some(Duration::from_secs(60)));
    assert_eq!(merged.transport.idle_timeout, Some(Duration::from_secs(9)));
    assert_eq!(merged.protocol, Some(Protocol::Http2));
}

#[test]
fn nobody_adds_to_whom_is_trusted() {
    let mut near = ClusterSecurity::tls();
    near.bundles = Some(crate::config::CertificateRef::default());
    let mut far = ClusterSecurity::off();
    (far.system_roots, far.sni) = (Some(true), Some("a".into()));
    let of = |security| Cluster { security: Some(security), ..Cluster::default() };
    let merged = of(near).laid_over(&of(far)).security.unwrap();
    assert_eq!((merged.mode, merged.system_roots), (Some(SecurityMode::Tls), None));
    assert_eq!(merged.sni.as_deref(), Some("a"));
}
