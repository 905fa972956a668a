//! By what endpoints have said of themselves: Prequal, and peak EWMA where too little was said.

use std::sync::Arc;

use super::{Drawn, Mode, Picked, Picker, Plain, Rank, Signal};
use crate::{
    balance::{
        endpoint::{Endpoint, Live, Upstream},
        prequal::Prequal,
        set::Set,
    },
    core::Random,
};

/// What the fallback forgets by: the default of peak EWMA.
pub(in crate::balance) const DECAY: u64 = 10_000_000_000;
const FALLBACK: Signal = Signal::PeakEwma { decay: DECAY, first: 0 };
/// Of so many calls one looks beyond the pool: a pool that responses fill hears otherwise of nobody
/// but those that it has chosen.
const EXPLORES: u64 = 32;

impl<'a, X: Upstream> Picker<'a, X> {
    /// In parts: the other policies need no picker in memory for it.
    #[inline(always)]
    pub(in crate::balance) fn prequal(self, prequal: &Prequal) -> Plain<'a, X> {
        by_pool((self.set, self.now, self.random), (self.tried, self.mode), prequal)
    }

    #[inline(always)]
    fn by_pool(self, prequal: &Prequal) -> Plain<'a, X> {
        // Its low bits say whether it explores, the upper half decides between equals, and what
        // is between them how often a report is used.
        let word = self.random.next();
        if self.tried.is_empty()
            && !word.is_multiple_of(EXPLORES)
            && let Some(picked) = self.by_reports(prequal, word, Self::good_one)
        {
            return Ok(picked);
        }
        self.p2c(FALLBACK)
    }

    pub(in crate::balance) fn prequal_ranked(
        self,
        drawn: Drawn<'a, X>,
        prequal: &Prequal,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        // What was drawn has been so for want of reports; a call that has met others has not looked
        // for any yet.
        let picked = if self.tried.is_empty() {
            None
        } else {
            self.by_reports(prequal, self.random.next(), Self::ranks_good)
        };
        picked.map(|(endpoint, _)| endpoint).or_else(|| self.p2c_ranked(drawn, FALLBACK))
    }

    /// The whole of a pick of which a plan asks more, so that who is good is a matter of rank.
    pub(in crate::balance) fn prequal_by_rank(
        self,
        prequal: &Prequal,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let word = self.random.next();
        let explores = self.tried.is_empty() && word.is_multiple_of(EXPLORES);
        if !explores && let Some((endpoint, _)) = self.by_reports(prequal, word, Self::ranks_good) {
            return Some(endpoint);
        }
        let drawn = self.p2c(FALLBACK).err().flatten()?;
        self.p2c_ranked(drawn, FALLBACK)
    }

    fn ranks_good(self, endpoint: &'a Arc<Endpoint<X>>) -> Option<&'a Live<X>> {
        if self.rank(endpoint) == Rank::Good { endpoint.live() } else { None }
    }

    fn good_one(self, endpoint: &'a Arc<Endpoint<X>>) -> Option<&'a Live<X>> {
        self.good(endpoint)
    }

    /// The endpoint of the best report that is there and `good`.
    #[inline]
    fn by_reports(
        self,
        prequal: &Prequal,
        mut word: u64,
        good: impl Fn(Self, &'a Arc<Endpoint<X>>) -> Option<&'a Live<X>>,
    ) -> Option<Picked<'a, X>> {
        let Prequal { pool, settings, .. } = prequal;
        let (len, mut skip) = (self.set.len(), 0);
        // Where groups share the pool, the best of it may be others'.
        for _ in 0..settings.pool_size {
            let choice = pool.choose(self.now, settings, len, (skip, word))?;
            // A place may be another's by now, whom the report does not concern; and in a part of the
            // cluster it is.
            let is_whose = |live: &&'a Live<X>| live.who() == choice.who;
            let at = |endpoint| Some((endpoint, good(self, endpoint).filter(is_whose)?));
            let picked = self.set.get(choice.place as usize).and_then(at);
            if let Some(picked) = picked.or_else(|| self.set.of_whole(choice.place).and_then(at)) {
                if !self.random.is_dry() {
                    pool.take(choice, settings, len, word << 32);
                }
                return Some(picked);
            }
            skip |= pool.skipping(choice);
            word = self.random.next();
        }
        None
    }
}

/// A call of its own: the other policies need its registers.
#[inline(never)]
fn by_pool<'a, X: Upstream>(
    (set, now, random): (&'a Set<X>, u64, &'a Random),
    (tried, mode): (&'a [Arc<Endpoint<X>>], Option<&'a Mode<'a, X>>),
    prequal: &Prequal,
) -> Plain<'a, X> {
    Picker { set, now, random, tried, mode }.by_pool(prequal)
}
