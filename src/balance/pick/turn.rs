//! One endpoint after the other; with unequal weights by static stride.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Picker, Plain, Ranked, SCAN, scale};
use crate::balance::endpoint::{Endpoint, Upstream};

impl<'a, X: Upstream> Picker<'a, X> {
    /// One after the other; with unequal weights by static stride (gRPC's scheduler).
    #[inline]
    pub(in crate::balance) fn round_robin(self, cursor: &AtomicU64) -> Plain<'a, X> {
        self.plain(self.in_turn(cursor))
    }

    pub(in crate::balance) fn round_robin_ranked(
        self,
        mut endpoint: &'a Arc<Endpoint<X>>,
        cursor: &AtomicU64,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let mut best: Option<Ranked<'a, X>> = None;
        for looked in 0..SCAN.min(self.set.len()) {
            if looked > 0 {
                endpoint = self.in_turn(cursor)?;
            }
            if self.consider(endpoint, &mut best) {
                return Some(endpoint);
            }
        }
        // The strides may have met the same heavy endpoints again and again.
        self.scan(scale(self.random.next(), self.set.len()), best)
    }

    /// The endpoint whose turn it is.
    #[inline]
    fn in_turn(self, cursor: &AtomicU64) -> Option<&'a Arc<Endpoint<X>>> {
        let len = self.set.len() as u64;
        if len == 0 {
            return None;
        }
        // A stride passes the largest weight at each round, so this ends.
        loop {
            let at = cursor.fetch_add(1, Relaxed);
            let (round, place) = (at / len, at % len);
            let endpoint = self.set.get(usize::try_from(place).ok()?)?;
            if self.set.uniform {
                return Some(endpoint);
            }
            // Of as many rounds as the largest weight has, each endpoint takes as many as its own
            // weight: those in which its steps pass the end of a circle of 2^64.
            let weight = endpoint.spec().weight();
            let stride = u64::from(weight).wrapping_mul(self.set.stride);
            let start = place.wrapping_mul(u64::MAX / 2);
            let step = stride.wrapping_mul(round).wrapping_add(start);
            if weight == self.set.max_weight || step.checked_add(stride).is_none() {
                return Some(endpoint);
            }
        }
    }
}
