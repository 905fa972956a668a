//! Least request in full: the least busy of so many random endpoints or of all of them, or turns by
//! weight and calls in flight.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Best, EFFORT, Picker, Rank, SCAN, scale, share_of, turn::first_turn};
use crate::{
    balance::endpoint::{Endpoint, Upstream},
    config,
};

/// So many turns are looked at before a draw by weight among them ends the search.
const TURNS: std::ops::RangeInclusive<usize> = SCAN..=512;

/// What least request compares, where that is not the plain form: the better of two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::balance) struct Choices {
    /// Random endpoints that are compared; as many as there are, or more: all.
    count: usize,
    /// How much calls in flight weigh against unequal weights. None: an endpoint is drawn by its
    /// weight, and may have calls in flight in proportion to it.
    bias: Option<f64>,
}

/// The best of those that were looked at.
struct Least<'a, X> {
    best: Option<(Rank, f64, &'a Arc<Endpoint<X>>)>,
    /// How much those that are as good count together.
    tied: u64,
    /// So many are looked at.
    looks: usize,
}

// === impl Choices ===

impl Choices {
    /// None: the plain form.
    pub(in crate::balance) fn of(settings: Option<&config::LeastRequest>) -> Option<Self> {
        let settings = settings?;
        let choices = usize::try_from(settings.choices()).unwrap_or(usize::MAX);
        let count = if settings.is_full_scan() { usize::MAX } else { choices };
        let bias = settings.active_bias;
        (count != 2 || bias.is_some()).then_some(Self { count, bias })
    }
}

impl Choices {
    /// Whether endpoints take turns.
    pub(in crate::balance) fn is_by_turns(&self, is_uniform: bool) -> bool {
        self.bias.is_some() && !is_uniform
    }

    /// In words, over so many endpoints.
    pub(in crate::balance) fn rule(&self, endpoints: usize, is_uniform: bool) -> String {
        match self.bias {
            Some(bias) if !is_uniform => {
                format!("in turns by weight / (calls in flight + 1)^{bias}")
            }
            _ if self.count >= endpoints => {
                "of all the one with the fewest calls in flight for its weight".to_owned()
            }
            _ => format!("of {} at random the one with the fewest calls in flight", self.count),
        }
    }
}

/// The part of the turns that an endpoint takes, of those of an idle one of weight 1.
//= Envoy LeastRequestLoadBalancer::hostWeight: weight / (active requests + 1)^active_request_bias
fn weight_of(weight: u16, in_flight: u32, bias: f64) -> f64 {
    // To the powers of 0 and 1 it is exact.
    f64::from(weight) / (f64::from(in_flight) + 1.0).powf(bias)
}

impl<'a, X: Upstream> Picker<'a, X> {
    pub(in crate::balance) fn choices(
        self,
        choices: &Choices,
        turn: &AtomicU64,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let len = self.set.len();
        //= Envoy: where weights differ, they are scaled by the calls in flight, and the turns are by
        //= them; neither choices nor a full scan count then
        if let Some(bias) = choices.bias
            && !self.set.uniform
        {
            return self.by_bias(bias, turn);
        }
        let mut least = Least { best: None, tied: 0, looks: choices.count.min(len) };
        if choices.count >= len {
            for endpoint in self.set.iter() {
                if least.look(self, endpoint, u64::from(endpoint.spec().weight())) {
                    return Some(endpoint);
                }
            }
            // Nobody is left to be looked for.
            return least.best.filter(|best| best.0 <= self.worst()).map(|best| best.2);
        }
        for _ in 0..EFFORT {
            for _ in 0..choices.count {
                //= Envoy unweightedHostPickNChoices: any endpoint each time, be it the same
                let endpoint = self.sample()?;
                if least.look(self, endpoint, 1) {
                    return Some(endpoint);
                }
            }
            if let Some((Rank::Good, _, endpoint)) = least.best {
                return Some(endpoint);
            }
        }
        let mut best = Best::default();
        if let Some((rank, _, endpoint)) = least.best {
            best.note(rank, endpoint);
        }
        self.scan(scale(self.random.next(), len), best)
    }

    /// In turns by weight and calls in flight: a static stride whose steps follow them.
    fn by_bias(self, bias: f64, turn: &AtomicU64) -> Option<&'a Arc<Endpoint<X>>> {
        let (len, largest) = (self.set.len(), f64::from(self.set.max_weight));
        let mut best = Best::default();
        let (mut sum, mut drawn) = (0.0, None);
        for _ in 0..len.clamp(*TURNS.start(), *TURNS.end()) {
            let mut at = turn.fetch_add(1, Relaxed);
            if at == 0 {
                at = first_turn(turn, self.random, len);
            }
            let (round, place) = (at / len.max(1) as u64, at % len.max(1) as u64);
            let endpoint = self.set.get(usize::try_from(place).ok()?)?;
            let rank = self.rank(endpoint);
            if self.is_probe(rank, endpoint) {
                return Some(endpoint);
            }
            if rank != Rank::Good {
                best.note(rank, endpoint);
                continue;
            }
            let in_flight = endpoint.live().map_or(0, |live| live.load.in_flight());
            let part = weight_of(endpoint.spec().weight(), in_flight, bias) / largest;
            if takes_turn(part, round, place) {
                return Some(endpoint);
            }
            sum += part;
            if self.random.ratio() * sum < part {
                drawn = Some(endpoint);
            }
        }
        // All are that busy: it is no turn that is waited for.
        drawn.or_else(|| self.scan(scale(self.random.next(), len), best))
    }
}

/// Whether an endpoint takes its turn of this round: of as many rounds as the largest weight has,
/// it takes as many as its own.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 2^64")]
fn takes_turn(part: f64, round: u64, place: u64) -> bool {
    if part >= 1.0 {
        return true;
    }
    // Rounded up, so that as many steps do get round a circle of 2^64; each begins elsewhere on it.
    let stride = (part * 18_446_744_073_709_551_616.0) as u64 + 1;
    let start = place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    stride.wrapping_mul(round).wrapping_add(start).checked_add(stride).is_none()
}

// === impl Least ===

impl<'a, X: Upstream> Least<'a, X> {
    /// Whether this one is called whatever the others have to do; else it is noted if it is the best
    /// so far. Of those that are as good it is any, by how much each counts.
    //= Envoy unweightedHostPickFullScan: ties are broken at random
    #[inline]
    fn look(&mut self, picker: Picker<'a, X>, endpoint: &'a Arc<Endpoint<X>>, counts: u64) -> bool {
        // Nearly all are good, and all of a cluster may be looked at.
        let good = if picker.tried.is_empty() { picker.good(endpoint) } else { None };
        let (rank, in_flight) = match good {
            Some(live) => (Rank::Good, live.load.in_flight()),
            None => {
                let rank = picker.rank(endpoint);
                if picker.is_probe_of(rank, endpoint, self.looks) {
                    return true;
                }
                (rank, endpoint.live().map_or(0, |live| live.load.in_flight()))
            }
        };
        let busy = match f64::from(in_flight) {
            // Where weights are equal they say nothing.
            calls if picker.set.uniform => calls,
            calls => calls / f64::from(endpoint.spec().weight()),
        };
        let order = match self.best {
            None => std::cmp::Ordering::Less,
            Some((least, least_busy, _)) => rank.cmp(&least).then(busy.total_cmp(&least_busy)),
        };
        match order {
            std::cmp::Ordering::Greater => return false,
            std::cmp::Ordering::Less => self.tied = counts,
            std::cmp::Ordering::Equal => {
                self.tied += counts;
                if share_of(picker.random.next(), self.tied) >= counts {
                    return false;
                }
            }
        }
        self.best = Some((rank, busy, endpoint));
        false
    }
}

#[cfg(test)]
#[path = "choices/tests.rs"]
mod tests;
