//! A replica of the shard that a hash belongs to: the one with the fewest calls in flight of two,
//! and no other endpoint.

use std::sync::Arc;

use super::{Best, Met, Picker, SCAN, scale};
use crate::balance::{
    endpoint::{Endpoint, Upstream},
    shard::Replicas,
};

impl<'a, X: Upstream> Picker<'a, X> {
    pub(in crate::balance) fn sharded(
        self,
        replicas: &Replicas,
        hash: Option<u64>,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let places = replicas.at(hash?);
        let word = self.random.next();
        let from = scale(word, places.len());
        let mut best = Best::default();
        let at = |step: usize| {
            let place = places.get((from + step) % places.len().max(1))?;
            self.set.get(*place as usize)
        };
        // Two at random that are good: the one with less to do. Past the first, any other may be
        // the second.
        let second = 1 + scale(word << 32, places.len().saturating_sub(1));
        let steps = [0, second].into_iter().chain(1..places.len().min(SCAN));
        let mut first = None;
        for endpoint in steps.filter_map(at) {
            match self.met(endpoint, &mut best) {
                Met::Good => {}
                Met::Probe => return Some(endpoint),
                Met::Less => continue,
            }
            let load = |of: &Endpoint<X>| of.live().map_or(0, |live| live.load.in_flight());
            match first {
                None => first = Some(endpoint),
                Some(one) if load(endpoint) < load(one) => return Some(endpoint),
                Some(one) => return Some(one),
            }
        }
        first.or_else(|| best.of(self.worst()))
    }
}
