//! Pick first: one endpoint takes all calls, the first of an order that can be connected to.
//!
//! It stays until it is lost: its connections are all closed, one could not be made, or something
//! else speaks against it. Then the order is gone through from its beginning; one that has a
//! connection comes before those that have none.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use twox_hash::XxHash64;

use super::{Best, Picker, Rank, SCAN};
use crate::{
    balance::{
        endpoint::{Endpoint, Upstream},
        health::Link,
        set::Set,
    },
    config,
    transport::race,
};

/// Its place has been seen with a connection.
const SEEN: u64 = 1 << 32;

/// How the order is made.
#[derive(Clone, Copy, Debug)]
pub(in crate::balance) struct First {
    /// What it is shuffled by; None: as the source lists them.
    shuffle: Option<u64>,
}

/// The order of a group's endpoints, and which of them is in use.
#[derive(Debug)]
pub(in crate::balance) struct Sequence {
    /// Places in the set.
    order: Box<[u32]>,
    /// 1 + the place of the endpoint in use, and [`SEEN`]; 0 before the first pick.
    chosen: AtomicU64,
}

// === impl First ===

impl First {
    /// `seed` is drawn once, and only where the order is shuffled.
    pub(in crate::balance) fn of(settings: &config::PickFirst, seed: impl FnOnce() -> u64) -> Self {
        Self { shuffle: settings.is_shuffled().then(seed) }
    }

    pub(in crate::balance) fn seed(self) -> Option<u64> {
        self.shuffle
    }
}

// === impl Sequence ===

impl Sequence {
    /// The order of these endpoints. The one in use stays so, if it is among them.
    pub(in crate::balance) fn of<X>(
        first: First,
        set: &Set<X>,
        before: Option<(&Self, &Set<X>)>,
    ) -> Self {
        let chosen = before.and_then(|(before, set)| {
            let word = before.chosen.load(Relaxed);
            let endpoint = set.get(place_of(word)?)?;
            Some((endpoint.spec().address(), word & SEEN))
        });
        let mut listed: Vec<_> = (0_u32..).zip(set.iter()).collect();
        match first.shuffle {
            None => listed.sort_by_key(|(_, endpoint)| endpoint.listed()),
            // Of ratios in (0, 1], which are at least 0: their bits are in their order.
            Some(seed) => listed.sort_by_cached_key(|(_, it)| {
                let (address, weight) = (it.spec().address(), it.spec().weight());
                (key(seed, address, weight).abs().to_bits(), address.clone())
            }),
        }
        //= gRFC A61: after that the families take turns
        let order = race::in_turns(listed, |(_, it)| race::is_v6(it.spec().address()));
        let chosen = chosen.and_then(|(address, seen)| {
            let (place, _) = order.iter().find(|(_, it)| it.spec().address() == address)?;
            Some((u64::from(*place) + 1) | seen)
        });
        Self {
            order: order.into_iter().map(|(place, _)| place).collect(),
            chosen: AtomicU64::new(chosen.unwrap_or(0)),
        }
    }

    /// Those that are tried while this one is still being connected to: the ones behind it, then
    /// those before it.
    pub(in crate::balance) fn behind<'a, X>(
        &'a self,
        set: &'a Set<X>,
        endpoint: &Endpoint<X>,
    ) -> impl Iterator<Item = &'a Arc<Endpoint<X>>> {
        let at = |place: &u32| set.get(*place as usize);
        let is_it = |place: &u32| at(place).is_some_and(|found| found.is(endpoint));
        let own = self.order.iter().position(is_it).unwrap_or(0);
        let (before, behind) = self.order.split_at(own);
        behind.iter().skip(1).chain(before).filter_map(at)
    }

    /// The same order, with an endpoint in use of its own.
    pub(in crate::balance) fn copied(&self) -> Self {
        let chosen = AtomicU64::new(self.chosen.load(Relaxed));
        Self { order: self.order.clone(), chosen }
    }

    fn choose(&self, word: u64) {
        if self.chosen.load(Relaxed) != word {
            self.chosen.store(word, Relaxed);
        }
    }
}

/// Where an endpoint is in the shuffled order: the heavier, the earlier. It is the endpoint's own: one
/// that comes or goes changes nothing for the others.
//= gRFC A113: ordered by u^(1/weight), with u at random
fn key(seed: u64, address: &config::Address, weight: u16) -> f64 {
    let word = XxHash64::oneshot(seed, address.to_string().as_bytes());
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let ratio = ((word >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -ratio.ln() / f64::from(weight)
}

fn place_of(word: u64) -> Option<usize> {
    usize::try_from(word & !SEEN).ok()?.checked_sub(1)
}

fn link<X: Upstream>(endpoint: &Endpoint<X>, now: u64) -> Link {
    endpoint.extra().map_or(Link::Idle, |extra| extra.link(now))
}

impl<'a, X: Upstream> Picker<'a, X> {
    pub(in crate::balance) fn first(self, sequence: &Sequence) -> Option<&'a Arc<Endpoint<X>>> {
        let word = sequence.chosen.load(Relaxed);
        let own = place_of(word).and_then(|place| self.set.get(place));
        let own = own.filter(|own| self.rank_of_first(own) == Rank::Good);
        // What this call has met says nothing to the others.
        let choose = |word| {
            if self.tried.is_empty() && !self.random.is_dry() {
                sequence.choose(word);
            }
        };
        if let Some(own) = own
            && link(own, self.now) == Link::Ready
        {
            choose(word | SEEN);
            return Some(own);
        }
        let walk = || {
            let at = |place: &u32| Some((u64::from(*place) + 1, self.set.get(*place as usize)?));
            sequence.order.iter().filter_map(at)
        };
        let ready = walk().take(SCAN).find(|(_, endpoint)| {
            link(endpoint, self.now) == Link::Ready && self.rank_of_first(endpoint) == Rank::Good
        });
        if let Some((word, endpoint)) = ready {
            choose(word | SEEN);
            return Some(endpoint);
        }
        // It has not had a connection yet, as far as is known.
        if let Some(own) = own.filter(|_| word & SEEN == 0) {
            return Some(own);
        }
        let worst = self.worst();
        let mut best = Best::default();
        for (looked, (word, endpoint)) in walk().enumerate() {
            if looked >= SCAN && best.reaches(worst) {
                break;
            }
            let rank = self.rank_of_first(endpoint);
            if rank == Rank::Good {
                choose(word);
                return Some(endpoint);
            }
            if self.is_probe(rank, endpoint) {
                return Some(endpoint);
            }
            best.note(rank, endpoint);
        }
        best.of(worst)
    }

    /// One that takes a part of its calls alone takes all or none here.
    fn rank_of_first(self, endpoint: &Arc<Endpoint<X>>) -> Rank {
        match self.rank(endpoint) {
            Rank::Young => Rank::Good,
            rank => rank,
        }
    }
}
