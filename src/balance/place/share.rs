//! How the parts of a priority share, as they are counted.

use super::{
    count::{Callers, Count, Counting},
    level::{Level, Part},
    locality::{self, Weighed},
    parts::rings_of,
    plan::Plan,
    rings::Ring,
    settings::{ByRing, Sharing},
    zone::{self, Zone, Zones},
};
use crate::{
    balance::{endpoint::Upstream, view::Group},
    config::Locality,
};

impl<X> Plan<X> {
    /// How the parts of a level share.
    pub(super) fn shares(
        &self,
        index: usize,
        level: &Level<X>,
        counts: &[Count],
        counting: &Counting<'_>,
    ) -> Option<Vec<f64>> {
        match &counting.placing.sharing {
            Sharing::Together => None,
            Sharing::Weighted(weights) => {
                let weigh = |(part, count): (&Part<X>, &Count)| Weighed {
                    weight: weights
                        .get(&(level.priority, part.locality.clone()))
                        .copied()
                        .unwrap_or(0),
                    available: count.census.counted.healthy,
                    total: count.census.counted.total,
                };
                let weighed: Vec<_> = level.parts.iter().zip(counts).map(weigh).collect();
                locality::shares(&weighed, counting.placing.rule.overprovisioning)
            }
            Sharing::Zone { rule, by_weight, .. } => {
                zone::shares(&zones(level, counts, counting, *by_weight), rule)
            }
            Sharing::Rings(by) => {
                let mut rings = vec![Ring::default(); by.len()];
                for (part, count) in level.parts.iter().zip(counts) {
                    if let Some(ring) = part.ring.and_then(|ring| rings.get_mut(ring)) {
                        // Those that are down take nothing over from the others.
                        let well = count.census.counted.healthy + count.census.counted.degraded;
                        *ring = Ring { endpoints: well, load: count.load };
                    }
                }
                let shares = by.with(index, self.id, |open| open.shares(&rings));
                if shares.iter().sum::<f64>() <= 0.0 {
                    return None;
                }
                let of = |part: &Part<X>| {
                    part.ring.and_then(|ring| shares.get(ring)).copied().unwrap_or(0.0)
                };
                Some(level.parts.iter().map(of).collect())
            }
        }
    }
}

fn zones<X>(level: &Level<X>, counts: &[Count], counting: &Counting<'_>, by_weight: bool) -> Zones {
    let mut here = counting.place.locality.clone();
    let coarse = here.sub_zone.is_empty();
    let same = |callers: &Callers, locality: &Locality| {
        let mut theirs = callers.locality.clone();
        if coarse {
            theirs.sub_zone.clear();
        }
        theirs == *locality
    };
    let amount = |callers: &Callers| if by_weight { callers.weight } else { callers.number };
    let in_locality = |locality: &Locality| -> u64 {
        counting.callers.iter().filter(|it| same(it, locality)).map(amount).sum()
    };
    let healthy = |count: &Count| count.census.counted.healthy;
    let own = level.parts.iter().position(|part| part.locality == here);
    // A caller that does not know where it is is nowhere.
    if here == Locality::default() {
        here.zone = "\0".to_owned();
    }
    let mut caller_zones: Vec<_> = counting
        .callers
        .iter()
        .filter(|callers| callers.number > 0)
        .map(|callers| {
            let it = &callers.locality;
            (&it.region, &it.zone, if coarse { "" } else { &*it.sub_zone })
        })
        .collect();
    caller_zones.sort_unstable();
    caller_zones.dedup();
    Zones {
        zones: level
            .parts
            .iter()
            .zip(counts)
            .map(|(part, count)| Zone {
                endpoints: if by_weight { count.census.weighed.healthy } else { healthy(count) },
                callers: in_locality(&part.locality),
            })
            .collect(),
        own: own.filter(|_| here.zone != "\0"),
        healthy: counts.iter().map(healthy).sum(),
        healthy_here: own.and_then(|own| counts.get(own)).map_or(0, healthy),
        callers: counting.callers.iter().map(amount).sum(),
        caller_zones: caller_zones.len(),
        callers_here: in_locality(&here),
    }
}

impl<X: Upstream> Level<X> {
    /// Whether some endpoint is in another ring than when the plan was made.
    pub(super) fn has_moved(&self, whole: &Group<X>, by: &ByRing) -> bool {
        let endpoints: Vec<_> = whole.set.iter().collect();
        let mut now = vec![0_usize; by.len()];
        for ring in rings_of(&endpoints, &by.bounds) {
            if let Some(count) = now.get_mut(ring) {
                *count += 1;
            }
        }
        let mut before = vec![0_usize; by.len()];
        for part in &self.parts {
            if let Some(count) = part.ring.and_then(|ring| before.get_mut(ring)) {
                *count += part.group.set.len();
            }
        }
        if self.parts.is_empty() {
            // All of them were in one ring, whichever that was.
            return now.iter().filter(|count| **count > 0).count() > 1;
        }
        now != before
    }
}
