//! By what endpoints have said of themselves: Prequal, and peak EWMA where too little was said.

use std::sync::Arc;

use super::{Drawn, Picked, Picker, Plain, Rank, Signal};
use crate::{
    balance::{
        endpoint::{Endpoint, Live, Upstream},
        prequal::{Choice, Prequal},
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
    /// In parts, whose results fit registers: the other policies need no memory for it.
    #[inline(always)]
    pub(in crate::balance) fn prequal(self, prequal: &Prequal) -> Plain<'a, X> {
        let is_usual = self.tried.is_empty() && self.mode.is_none();
        if is_usual && let Some(picked) = by_pool(self.set, self.now, self.random, prequal) {
            return Ok(picked);
        }
        let (first, second) = fallback(self.set, self.now, self.random).ok_or(None)?;
        if is_usual
            && let Some(live) = self.good(first)
            && self.good(second).is_some()
        {
            return Ok((first, live));
        }
        Err(Some((first, second)))
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
    #[inline(always)]
    fn by_reports(
        self,
        prequal: &Prequal,
        word: u64,
        good: impl Fn(Self, &'a Arc<Endpoint<X>>) -> Option<&'a Live<X>> + Copy,
    ) -> Option<Picked<'a, X>> {
        let (pool, len) = (&prequal.pool, self.set.len());
        let choice = pool.choose(self.now, &prequal.settings, len, (0, word))?;
        if let Some(picked) = self.whose(choice.who, choice.place, good) {
            self.take(prequal, choice, word);
            return Some(picked);
        }
        self.by_other_reports(prequal, pool.skipping(choice), good)
    }

    /// Where groups share the pool, the best of it may be others'.
    #[cold]
    #[inline(never)]
    fn by_other_reports(
        self,
        prequal: &Prequal,
        mut skip: u64,
        good: impl Fn(Self, &'a Arc<Endpoint<X>>) -> Option<&'a Live<X>> + Copy,
    ) -> Option<Picked<'a, X>> {
        let Prequal { pool, settings, .. } = prequal;
        for _ in 1..settings.pool_size {
            let word = self.random.next();
            let choice = pool.choose(self.now, settings, self.set.len(), (skip, word))?;
            if let Some(picked) = self.whose(choice.who, choice.place, good) {
                self.take(prequal, choice, word);
                return Some(picked);
            }
            skip |= pool.skipping(choice);
        }
        None
    }

    #[inline(always)]
    fn take(self, prequal: &Prequal, choice: Choice<'_>, word: u64) {
        if !self.random.is_dry() {
            prequal.pool.take(choice, &prequal.settings, self.set.len(), word << 32);
        }
    }

    /// Whose report it is, if that is `good`.
    #[inline(always)]
    fn whose(
        self,
        who: usize,
        place: u32,
        good: impl Fn(Self, &'a Arc<Endpoint<X>>) -> Option<&'a Live<X>> + Copy,
    ) -> Option<Picked<'a, X>> {
        // A place may be another's by now, whom the report does not concern; and in a part of the
        // cluster it is.
        if let Some(endpoint) = self.set.get(place as usize)
            && let Some(live) = good(self, endpoint)
            && live.who() == who
        {
            return Some((endpoint, live));
        }
        let endpoint = self.set.of_whole(place)?;
        let live = good(self, endpoint).filter(|live| live.who() == who)?;
        Some((endpoint, live))
    }
}

/// By a report, unless this is a call that looks beyond them. A call of its own: the other policies need
/// its registers.
#[inline(never)]
fn by_pool<'a, X: Upstream>(
    set: &'a Set<X>,
    now: u64,
    random: &'a Random,
    prequal: &Prequal,
) -> Option<Picked<'a, X>> {
    // Its low bits say whether it explores, the upper half decides between equals, and what is between
    // them how often a report is used.
    let word = random.next();
    if word.is_multiple_of(EXPLORES) {
        return None;
    }
    let picker = Picker::untried(set, now, random);
    picker.by_reports(prequal, word, Picker::good_one)
}

/// Two endpoints, the better one first where both are good.
#[inline(never)]
fn fallback<'a, X: Upstream>(
    set: &'a Set<X>,
    now: u64,
    random: &'a Random,
) -> Option<Drawn<'a, X>> {
    Picker::untried(set, now, random).better_first(FALLBACK)
}
