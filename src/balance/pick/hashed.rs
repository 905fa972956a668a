//! The endpoint that a hash belongs to; the next one where that cannot be called.

use std::sync::Arc;

use super::{Best, Met, Picker, Plain, Rank, SCAN, scale};
use crate::balance::{
    endpoint::{Endpoint, Upstream},
    hash::{Crowd, Spread},
};

/// What a hash is picked by.
pub(in crate::balance) struct Hashed<'a> {
    pub(in crate::balance) spread: &'a Spread,
    /// None: any endpoint will do.
    pub(in crate::balance) hash: Option<u64>,
    pub(in crate::balance) crowd: &'a Crowd,
}

impl Hashed<'_> {
    /// How full an endpoint is: over 1, it takes no more.
    fn overload<X>(&self, endpoint: &Endpoint<X>, share: f64) -> f64 {
        if !self.spread.is_bounded() {
            return 0.0;
        }
        let active = endpoint.live().map_or(0, |live| live.load.in_flight());
        self.spread.overload(active, self.crowd, share)
    }
}

impl<'a, X: Upstream> Picker<'a, X> {
    //= Envoy ThreadAwareLoadBalancerBase::LoadBalancerImpl::chooseHost: a random hash without one
    #[inline(always)]
    pub(in crate::balance) fn hashed(self, by: &Hashed<'a>) -> Plain<'a, X> {
        let hash = by.hash.unwrap_or_else(|| self.random.next());
        // Where nobody is in the table, whoever is there is ranked.
        let (place, share) = by.spread.at(hash, 0).unwrap_or((0, 1.0));
        let endpoint = self.set.get(place);
        let picked = self.plain(endpoint)?;
        if by.spread.is_bounded() && by.spread.is_full(picked.1.load.in_flight(), by.crowd, share) {
            return Err(Some((picked.0, picked.0)));
        }
        Ok(picked)
    }

    /// The next on the ring, or in the table, that is good and has room; then others in an order of
    /// the hash's own, the same in every client.
    ///
    /// Without a hash, the one that was drawn is taken where it is good and idle. One that was never
    /// called is always ranked: to draw again would leave it the square of its share.
    pub(in crate::balance) fn hashed_ranked(
        self,
        by: &Hashed<'a>,
        drawn: &'a Arc<Endpoint<X>>,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let is_idle = || drawn.live().is_none_or(|live| live.load.in_flight() == 0);
        if by.hash.is_none() && is_idle() && self.rank(drawn) == Rank::Good {
            return Some(drawn);
        }
        let hash = by.hash.unwrap_or_else(|| self.random.next());
        let mut best = Best::default();
        // The good one that is the least full.
        let mut full: Option<(f64, &'a Arc<Endpoint<X>>)> = None;
        let walk = (0_u32..).take(SCAN).map_while(|attempt| by.spread.at(hash, attempt));
        //= Envoy BoundedLoadHashingLoadBalancer: past one that is full, it is not the next on the
        //= ring that is looked at, which would be flooded, but others at random by the hash
        for (place, share) in walk {
            let endpoint = self.set.get(place)?;
            let met = self.met(endpoint, &mut best);
            if met == Met::Probe {
                return Some(endpoint);
            }
            if met == Met::Good {
                let overload = by.overload(endpoint, share);
                if overload <= 1.0 {
                    return Some(endpoint);
                }
                full = Some((overload, endpoint));
                break;
            }
        }
        for (place, share) in by.spread.others(hash) {
            let endpoint = self.set.get(place)?;
            let rank = self.rank(endpoint);
            if rank == Rank::Good {
                let overload = by.overload(endpoint, share);
                if overload <= 1.0 {
                    return Some(endpoint);
                }
                if full.is_none_or(|(least, _)| overload < least) {
                    full = Some((overload, endpoint));
                }
            } else {
                best.note(rank, endpoint);
            }
        }
        if let Some((_, endpoint)) = full {
            return Some(endpoint);
        }
        self.scan(scale(hash, self.set.len()), best)
    }
}
