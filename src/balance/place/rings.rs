//! Rings of endpoints by the round-trip time to them: the nearest ring takes the calls until its
//! endpoints are too busy, then the next one opens (the locality rings of Meta's `ServiceRouter`).
//!
//! Of the calls, `within(i)` stay within the rings up to `i`. At every count it is what would have
//! brought the mean load of those rings to their threshold:
//!
//! ```text
//! load(i)   = Σ load of the endpoints of rings ≤ i / their number
//! within(i) = clamp(within(i) before · clamp(threshold(i) / load(i), 1/2, 2), 1/64, 1)
//! share(i)  = within(i) - within(i - 1)
//! ```
//!
//! So ring `i + 1` is closed while `load(i) ≤ threshold(i)`, and once it is open the nearer rings are
//! held at their threshold, neither above nor below: calls do not swing between the rings. When
//! all rings together are over the threshold of the last one, there is nowhere to go: the calls are
//! shared by the number of endpoints.

use std::time::Duration;

/// Calls within a ring at least: what it has to do stays known.
const LEAST: f64 = 1.0 / 64.0;

/// One ring.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Ring {
    pub(crate) endpoints: u64,
    /// The sum of their loads; 1 is an endpoint that has as much to do as it can.
    pub(crate) load: f64,
}

/// The rings, as far as they are open.
#[derive(Clone, Debug)]
pub(crate) struct Rings {
    /// Mean loads above which the next ring opens, of each ring but the last.
    thresholds: Vec<f64>,
    /// The part of the calls within each ring and the nearer ones.
    within: Vec<f64>,
}

// === impl Rings ===

impl Rings {
    /// Rings with these thresholds, nearest first. Of the last ring only the threshold counts that
    /// tells when all are too busy.
    pub(crate) fn new(thresholds: Vec<f64>) -> Self {
        let within = vec![1.0; thresholds.len()];
        Self { thresholds, within }
    }

    /// Notes what the rings have to do, and gives the part of the calls that each gets from now on.
    /// The parts sum to 1, if there are endpoints.
    #[expect(clippy::cast_precision_loss, reason = "means and shares")]
    pub(crate) fn shares(&mut self, rings: &[Ring]) -> Vec<f64> {
        let all: u64 = rings.iter().map(|ring| ring.endpoints).sum();
        let (mut endpoints, mut load, mut before) = (0, 0.0, 0.0);
        let mut shares = Vec::with_capacity(rings.len());
        for (ring, (threshold, within)) in
            rings.iter().zip(self.thresholds.iter().zip(&mut self.within))
        {
            if ring.endpoints == 0 {
                shares.push(0.0);
                continue;
            }
            endpoints += ring.endpoints;
            load += if ring.load.is_finite() { ring.load.max(0.0) } else { 0.0 };
            let mean = load / endpoints as f64;
            if endpoints == all {
                // There is nothing further away.
                if mean > *threshold {
                    return rings.iter().map(|ring| ring.endpoints as f64 / all as f64).collect();
                }
                shares.push(1.0 - before);
                before = 1.0;
                continue;
            }
            let step = if mean > 0.0 { (threshold / mean).clamp(0.5, 2.0) } else { 2.0 };
            *within = (*within * step).clamp(LEAST, 1.0);
            let reaches = within.max(before);
            shares.push(reaches - before);
            before = reaches;
        }
        shares
    }
}

/// In which ring an endpoint is; `bounds` are the longest round trips of all but the last ring.
pub(crate) fn ring_of(round_trip: Duration, bounds: &[Duration]) -> usize {
    bounds.iter().position(|bound| round_trip <= *bound).unwrap_or(bounds.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(endpoints: u64, load: f64) -> Ring {
        Ring { endpoints, load }
    }

    fn close(shares: &[f64], wanted: &[f64]) -> bool {
        shares.len() == wanted.len()
            && shares.iter().zip(wanted).all(|(share, wanted)| (share - wanted).abs() < 1e-9)
    }

    /// What the rings have to do under a demand, after so many counts.
    fn settle(rings: &mut Rings, endpoints: &[u64], demand: f64, counts: usize) -> Vec<f64> {
        let mut shares =
            rings.shares(&endpoints.iter().map(|it| ring(*it, 0.0)).collect::<Vec<_>>());
        for _ in 0..counts {
            let loads: Vec<_> = endpoints
                .iter()
                .zip(&shares)
                .map(|(it, share)| ring(*it, demand * share))
                .collect();
            shares = rings.shares(&loads);
        }
        shares
    }

    #[test]
    fn the_next_ring_opens_when_the_nearer_ones_pass_their_threshold() {
        let mut rings = Rings::new(vec![0.7, 0.7, 0.7]);
        // 10 endpoints near, a demand of 6: a mean of 0.6.
        assert!(close(&settle(&mut rings, &[10, 10, 10], 6.0, 20), &[1.0, 0.0, 0.0]));
        assert!(close(&settle(&mut rings, &[10, 10, 10], 7.0, 20), &[1.0, 0.0, 0.0]));
        // 8: the near ones are held at 0.7, and 1 goes on.
        assert!(close(&settle(&mut rings, &[10, 10, 10], 8.0, 20), &[0.875, 0.125, 0.0]));
        // 16: two rings are at 0.7 in the mean, and 2 go on.
        assert!(close(&settle(&mut rings, &[10, 10, 10], 16.0, 20), &[0.4375, 0.4375, 0.125]));
    }

    #[test]
    fn it_closes_again() {
        let mut rings = Rings::new(vec![0.5, 0.5]);
        assert!(close(&settle(&mut rings, &[4, 4], 3.0, 20), &[2.0 / 3.0, 1.0 / 3.0]));
        assert!(close(&settle(&mut rings, &[4, 4], 1.0, 20), &[1.0, 0.0]));
    }

    #[test]
    fn when_all_are_too_busy_the_endpoints_share_evenly() {
        let mut rings = Rings::new(vec![0.5, 0.5]);
        assert!(close(&settle(&mut rings, &[2, 6], 80.0, 20), &[0.25, 0.75]));
    }

    #[test]
    fn rings_without_endpoints_are_passed_over() {
        let mut rings = Rings::new(vec![0.5, 0.5, 0.5]);
        assert!(close(&settle(&mut rings, &[0, 4, 0], 1.0, 9), &[0.0, 1.0, 0.0]));
        assert!(close(&settle(&mut rings, &[0, 4, 4], 1.0, 9), &[0.0, 1.0, 0.0]));
        assert!(close(&settle(&mut rings, &[4, 0, 4], 3.0, 9), &[2.0 / 3.0, 0.0, 1.0 / 3.0]));
        // The nearest come back.
        assert!(close(&settle(&mut rings, &[4, 4, 4], 1.0, 20), &[1.0, 0.0, 0.0]));
    }

    #[test]
    fn rings_are_told_by_their_bounds() {
        let bounds = [Duration::from_millis(1), Duration::from_millis(10)];
        let of = |micros| ring_of(Duration::from_micros(micros), &bounds);
        assert_eq!((of(0), of(1_000), of(1_001), of(10_000), of(10_001)), (0, 0, 1, 1, 2));
        assert_eq!(ring_of(Duration::MAX, &[]), 0);
    }

    proptest! {
        #[test]
        fn shares_sum_to_one_whatever_is_measured(
            counts in prop::collection::vec(
                prop::collection::vec((0_u64..9, any::<f64>()), 4), 1..20),
            thresholds in prop::collection::vec(0.01_f64..1.0, 4),
        ) {
            let mut rings = Rings::new(thresholds);
            for count in counts {
                let count: Vec<_> = count.into_iter().map(|(of, load)| ring(of, load)).collect();
                let shares = rings.shares(&count);
                prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
                let sum: f64 = shares.iter().sum();
                let any = count.iter().any(|ring| ring.endpoints > 0);
                prop_assert!(!any || (sum - 1.0).abs() < 1e-9, "{shares:?}");
                for (share, ring) in shares.iter().zip(&count) {
                    prop_assert!(*share < 1e-9 || ring.endpoints > 0 || !any, "{shares:?} {count:?}");
                }
            }
        }
    }
}
