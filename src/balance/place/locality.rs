//! How the localities of a priority share its calls, by weights that somebody has given them.
//!
//! A locality keeps its weight until more of it is gone than the reserve that it is taken to have,
//! and then as much of it as is there (Envoy):
//!
//! ```text
//! effective(L) = weight(L) · min(100, factor · available(L) / total(L))
//! share(L)     = effective(L) / Σ effective
//! ```

use super::priority::percent;

/// One locality of a priority.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Weighed {
    pub(crate) weight: u32,
    pub(crate) available: u64,
    pub(crate) total: u64,
}

/// What a locality weighs now; `factor` is the overprovisioning in percent.
pub(crate) fn effective(locality: &Weighed, factor: u64) -> u64 {
    u64::from(locality.weight) * u64::from(percent(locality.available, locality.total, factor))
}

/// What each locality gets; their sum is 1. None when no locality has an effective weight: then
/// their endpoints are as good as of one.
pub(crate) fn shares(localities: &[Weighed], factor: u64) -> Option<Vec<f64>> {
    let effective: Vec<u64> = localities.iter().map(|it| effective(it, factor)).collect();
    proportional(&effective)
}

/// Parts of 1 in proportion to `amounts`, if there is anything.
pub(super) fn proportional(amounts: &[u64]) -> Option<Vec<f64>> {
    let total: u128 = amounts.iter().map(|amount| u128::from(*amount)).sum();
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    (total > 0).then(|| amounts.iter().map(|amount| *amount as f64 / total as f64).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(weight: u32, available: u64, total: u64) -> Weighed {
        Weighed { weight, available, total }
    }

    //= Envoy docs, locality_weight.rst: the table
    #[test]
    fn two_localities_share_as_envoys_table_says() {
        for (healthy, x, y) in
            [(100, 33, 67), (70, 33, 67), (69, 32, 68), (50, 26, 74), (25, 15, 85), (0, 0, 100)]
        {
            let shares = shares(&[of(1, healthy, 100), of(2, 100, 100)], 140).unwrap();
            let percents: Vec<f64> = shares.iter().map(|share| (share * 100.0).round()).collect();
            assert_eq!(percents, [f64::from(x), f64::from(y)], "{healthy} % of X");
        }
    }

    #[test]
    fn a_locality_of_weight_zero_gets_nothing() {
        assert_eq!(shares(&[of(0, 9, 9), of(5, 1, 1)], 140), Some(vec![0.0, 1.0]));
        assert_eq!(shares(&[of(0, 9, 9), of(0, 1, 1)], 140), None);
        assert_eq!(shares(&[of(7, 0, 9), of(7, 0, 0)], 140), None, "nothing is available");
        assert_eq!(shares(&[], 140), None);
    }

    proptest! {
        #[test]
        fn weights_are_shares(
            localities in prop::collection::vec((0_u32.., 1_u64..50, 0_u64..50), 1..20),
        ) {
            let localities: Vec<_> = localities
                .into_iter()
                .map(|(weight, total, down)| of(weight, total.saturating_sub(down), total))
                .collect();
            if let Some(shares) = shares(&localities, 140) {
                prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                let total: f64 =
                    localities.iter().map(|it| effective(it, 140) as f64).sum();
                for (share, locality) in shares.iter().zip(&localities) {
                    prop_assert!((share * total - effective(locality, 140) as f64).abs() <= total * 1e-9);
                }
            }
        }
    }
}
