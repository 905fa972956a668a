//! Who is refused first: calls of the lowest criticality.
//!
//! Two rules, one for each kind of protection.
//!
//! **Refusals at random** ([`share`]). A share *p* of all calls is to be refused. The calls of the
//! window are laid out by criticality, the lowest first, and the first *p* of them are those that
//! are refused: with *bᵢ* calls below a level and *nᵢ* at it, of *n* in all, a call of that level is
//! refused with probability min(1, max(0, (*p·n* − *bᵢ*) / *nᵢ*)). No level is refused anything
//! before every lower one is refused whole, and the sum is *p* whatever the mix is. With one level
//! it is *p* itself.
//!
//! **Places under a limit** ([`Reserve`]). Each level leaves a tenth of the limit, at least one
//! place, for each level above it: `SheddablePlus` one tenth, `Sheddable` two. Most calls are `Critical`, so
//! those have the whole limit, unless `CriticalPlus` calls were seen within ten seconds: then every
//! other level leaves one tenth more for these. A limit that is full of one level has room for
//! those above it.
//!
//! Source: Google SRE, "Handling Overload", criticality: a request is refused only if all of
//! lower criticality are; failsafe-go `priority.Prioritizer`. The tenths are an own choice.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::Criticality;

/// How many there are.
pub(crate) const LEVELS: usize = 4;

/// For so long the most critical calls are expected to come again. Unit: nanoseconds.
const SEEN: u64 = 10_000_000_000;
/// It is noted at most so often.
const NOTED: u64 = 1_000_000_000;
/// A level leaves so many parts in a hundred for each level above.
const RESERVED: u32 = 10;

/// From the lowest, 0, to the highest.
pub(crate) fn level(criticality: Criticality) -> usize {
    match criticality {
        Criticality::Sheddable => 0,
        Criticality::SheddablePlus => 1,
        Criticality::Critical => 2,
        Criticality::CriticalPlus => 3,
    }
}

/// The share of a level's calls that is refused, where `p` of all are. `offered` are the calls of
/// the window by level, this one among them.
#[expect(clippy::cast_precision_loss, reason = "calls of one window")]
pub(crate) fn share(p: f64, criticality: Criticality, offered: &[u64]) -> f64 {
    let level = level(criticality);
    let all: u64 = offered.iter().sum();
    let below: u64 = offered.iter().take(level).sum();
    let own = offered.get(level).copied().unwrap_or(0).max(1);
    ((p * all as f64 - below as f64) / own as f64).clamp(0.0, 1.0)
}

/// What calls leave of a limit for others above them.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    /// When a call of the highest level was last seen; 0 if none ever was.
    seen: AtomicU64,
}

// === impl Reserve ===

impl Reserve {
    /// Up to how many in flight a call of this level goes.
    #[inline]
    pub(crate) fn most(&self, limit: u32, criticality: Criticality, now: u64) -> u32 {
        if criticality == Criticality::CriticalPlus {
            let seen = self.seen.load(Relaxed);
            if seen == 0 || now >= seen.saturating_add(NOTED) {
                self.seen.store(now.max(1), Relaxed);
            }
        }
        self.spare(limit, criticality, now)
    }

    /// The same, without noting that it was asked.
    #[inline]
    pub(crate) fn spare(&self, limit: u32, criticality: Criticality, now: u64) -> u32 {
        let left = match criticality {
            Criticality::CriticalPlus => return limit,
            Criticality::Critical => 0,
            Criticality::SheddablePlus => 1,
            Criticality::Sheddable => 2,
        };
        let left = left + u32::from(self.is_expected(now));
        if left == 0 {
            return limit;
        }
        let tenth = (limit / (100 / RESERVED)).max(1);
        limit.saturating_sub(left * tenth).max(limit.min(1))
    }

    /// Whether the highest level was never seen.
    pub(crate) fn is_quiet(&self) -> bool {
        self.seen.load(Relaxed) == 0
    }

    fn is_expected(&self, now: u64) -> bool {
        let seen = self.seen.load(Relaxed);
        seen > 0 && now < seen.saturating_add(SEEN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Criticality; LEVELS] = [
        Criticality::Sheddable,
        Criticality::SheddablePlus,
        Criticality::Critical,
        Criticality::CriticalPlus,
    ];

    #[test]
    fn one_level_alone_is_refused_what_all_are() {
        for (level, criticality) in ALL.into_iter().enumerate() {
            let mut offered = [0; LEVELS];
            offered[level] = 100;
            assert!((share(0.3, criticality, &offered) - 0.3).abs() < 1e-9);
        }
    }

    #[test]
    fn the_lowest_are_refused_whole_before_any_other() {
        let offered = [20, 20, 40, 20];
        let shares = |p| ALL.map(|level| (share(p, level, &offered) * 100.0).round());
        assert_eq!(shares(0.1), [50.0, 0.0, 0.0, 0.0]);
        assert_eq!(shares(0.2), [100.0, 0.0, 0.0, 0.0]);
        assert_eq!(shares(0.3), [100.0, 50.0, 0.0, 0.0]);
        assert_eq!(shares(0.6), [100.0, 100.0, 50.0, 0.0]);
        assert_eq!(shares(0.9), [100.0, 100.0, 100.0, 50.0]);
    }

    #[test]
    fn the_usual_level_has_the_whole_limit_until_a_higher_one_is_seen() {
        let reserve = Reserve::default();
        let now = 5_000_000_000;
        assert_eq!(ALL.map(|level| reserve.most(100, level, now)), [80, 90, 100, 100]);
        assert_eq!(ALL.map(|level| reserve.most(100, level, now)), [70, 80, 90, 100]);
        assert_eq!(reserve.most(100, Criticality::Critical, now + SEEN - 1), 90);
        assert_eq!(reserve.most(100, Criticality::Critical, now + SEEN), 100);
    }

    #[test]
    fn a_place_of_a_tiny_limit_is_everybodys() {
        let reserve = Reserve::default();
        assert_eq!(ALL.map(|level| reserve.most(1, level, 1)), [1, 1, 1, 1]);
        assert_eq!(ALL.map(|level| reserve.most(0, level, 1)), [0, 0, 0, 0]);
        assert_eq!(
            ALL.map(|level| reserve.most(3, level, 2)),
            [1, 1, 2, 3],
            "once the highest were seen"
        );
    }

    proptest! {
        #[test]
        fn what_the_levels_are_refused_sums_up_to_the_whole(
            p in 0.0..=1.0_f64,
            offered in [0..1_000_u64, 0..1_000_u64, 0..1_000_u64, 1..1_000_u64],
        ) {
            let all: u64 = offered.iter().sum();
            let refused: f64 = ALL
                .into_iter()
                .zip(offered)
                .map(|(level, calls)| share(p, level, &offered) * calls as f64)
                .sum();
            prop_assert!((refused - p * all as f64).abs() < 1e-6 * all as f64);
        }

        #[test]
        fn a_level_is_never_refused_more_than_a_lower_one(
            p in 0.0..=1.0_f64,
            offered in [1..1_000_u64, 1..1_000_u64, 1..1_000_u64, 1..1_000_u64],
            limit in 0..100_000_u32,
        ) {
            let shares = ALL.map(|level| share(p, level, &offered));
            prop_assert!(shares.is_sorted_by(|a, b| a >= b));
            let reserve = Reserve::default();
            let most = ALL.map(|level| reserve.most(limit, level, 1));
            prop_assert!(most.is_sorted());
            prop_assert!(most.iter().all(|most| *most <= limit));
        }
    }
}
