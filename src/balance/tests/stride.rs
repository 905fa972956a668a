//! How far the static stride strays from the shares of the weights at any moment, beside EDF.

use std::collections::BTreeSet;

use super::{Sim, endpoint, healthy};
use crate::config::Balancer;

/// The most that an endpoint is ahead of its share or behind it, in calls, over this order.
fn astray(weights: &[u32], order: impl IntoIterator<Item = usize>) -> f64 {
    let total: u32 = weights.iter().sum();
    let (mut counts, mut most) = (vec![0_u32; weights.len()], 0.0_f64);
    for (calls, place) in (1_u32..).zip(order) {
        counts[place] += 1;
        for (count, weight) in counts.iter().zip(weights) {
            let share = f64::from(calls) * f64::from(*weight) / f64::from(total);
            most = most.max((f64::from(*count) - share).abs());
        }
    }
    most
}

/// The turns of an EDF scheduler: the earliest deadline, which its weight's part of a round follows.
fn edf(weights: &[u32], calls: usize) -> Vec<usize> {
    // Deadlines in parts of a round; the first one is in the middle of a period, as good as at random.
    let period = |weight: u32| 1_000_000_000_000 / u64::from(weight);
    let starts = weights.iter().enumerate().map(|(place, weight)| (period(*weight) / 2, place));
    let mut queue: BTreeSet<(u64, usize)> = starts.collect();
    let mut order = Vec::new();
    for _ in 0..calls {
        let (deadline, place) = queue.pop_first().unwrap();
        order.push(place);
        queue.insert((deadline + period(weights[place]), place));
    }
    order
}

fn stride(weights: &[u32], calls: usize) -> Vec<usize> {
    let list = (1..).zip(weights).map(|(number, weight)| endpoint(number).weight(*weight));
    let mut sim = Sim::new(&Balancer::RoundRobin, list.collect());
    (0..calls)
        .map(|_| {
            let place = usize::from(sim.call(healthy)) - 1;
            sim.pass(super::SECOND);
            place
        })
        .collect()
}

/// The figures of ADR 0029.
#[test]
fn the_stride_stays_as_near_to_the_shares_as_a_round_is_long() {
    let ten: Vec<u32> = (1..=10).collect();
    let mut heavy = vec![1; 20];
    heavy[7] = 100;
    for (weights, by_stride, by_edf) in
        [(vec![1, 2, 3], 0.7, 0.6), (ten, 1.2, 0.9), (heavy, 1.6, 8.0)]
    {
        let calls = 4_000;
        let (own, theirs) =
            (astray(&weights, stride(&weights, calls)), astray(&weights, edf(&weights, calls)));
        println!("{weights:?}: stride {own:.2}, EDF {theirs:.2}");
        assert!(own <= by_stride, "{weights:?}: {own}");
        assert!(theirs <= by_edf, "{weights:?}: {theirs}");
    }
}

/// A pick costs as many looks as there are endpoints to a turn: it is the same in every round, and so
/// for few endpoints and for many.
#[test]
fn every_round_has_as_many_turns_as_every_other() {
    let weights: Vec<u32> = (0..3_000).map(|place| place % 3 + 1).collect();
    let order = stride(&weights, 12_000);
    // Where a place comes after a larger one, a round is over. The first began anywhere.
    let ends = (1..order.len()).filter(|at| order[*at] < order[at - 1]);
    let ends: Vec<usize> = ends.collect();
    for round in ends.windows(2) {
        let turns = round[1] - round[0];
        assert!((1_980..=2_020).contains(&turns), "{turns}");
    }
    assert!(ends.len() > 4);
}
