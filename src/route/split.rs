//! The weighted choice among the clusters of a route.

/// Clusters by weight; a weight of 0 gets nothing.
#[derive(Debug)]
pub(crate) struct Split<T> {
    /// Each cluster with the running sum of weights up to and including its own.
    targets: Vec<(u64, T)>,
    total: u64,
}

impl<T> Split<T> {
    pub(crate) fn new(targets: impl IntoIterator<Item = (u32, T)>) -> Self {
        let mut total = 0_u64;
        let targets = targets
            .into_iter()
            .filter(|(weight, _)| *weight > 0)
            .map(|(weight, target)| {
                total += u64::from(weight);
                (total, target)
            })
            .collect();
        Self { targets, total }
    }

    /// Whether the choice needs a random word.
    pub(crate) fn is_single(&self) -> bool {
        self.targets.len() <= 1
    }

    /// The target that a uniform random word falls on.
    #[cfg(test)]
    pub(crate) fn choose(&self, word: u64) -> Option<&T> {
        self.get(self.place(word))
    }

    /// The place of the target that a uniform random word falls on.
    #[inline]
    pub(crate) fn place(&self, word: u64) -> usize {
        if self.is_single() {
            return 0;
        }
        // Multiply-shift: uniform over the total without a division.
        let point = (u128::from(word) * u128::from(self.total)) >> 64;
        self.targets.partition_point(|(upto, _)| u128::from(*upto) <= point)
    }

    /// The place of the target that a hash falls on.
    //= Envoy WeightedClustersConfigEntry::pickWeightedCluster: the remainder by the total weight
    pub(crate) fn place_of_hash(&self, hash: u64) -> usize {
        if self.is_single() {
            return 0;
        }
        let point = hash.checked_rem(self.total).unwrap_or(0);
        self.targets.partition_point(|(upto, _)| *upto <= point)
    }

    /// The target at this place; none, if there is none at all.
    #[inline]
    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        self.targets.get(place).map(|(_, target)| target)
    }

    /// The targets that get anything, each with its weight.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let mut before = 0;
        self.targets
            .iter()
            .map(move |(upto, target)| (upto - std::mem::replace(&mut before, *upto), target))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::Random;

    #[test]
    fn shares_follow_the_weights_and_zero_gets_nothing() {
        let split = Split::new([(70, 'a'), (0, 'b'), (30, 'c')]);
        let random = Random::seeded(7);
        let mut counts = [0_u32; 3];
        for _ in 0..10_000 {
            match split.choose(random.next()) {
                Some('a') => counts[0] += 1,
                Some('c') => counts[2] += 1,
                _ => counts[1] += 1,
            }
        }
        assert_eq!(counts[1], 0);
        assert!((6_800..7_200).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn a_hash_falls_on_its_remainder() {
        let split = Split::new([(2, 'a'), (0, 'b'), (1, 'c')]);
        let chosen = |hash| *split.get(split.place_of_hash(hash)).unwrap();
        assert_eq!([0, 1, 2, 3, 5].map(chosen), ['a', 'a', 'c', 'a', 'c']);
        assert_eq!(chosen(u64::MAX), 'a');
    }

    #[test]
    fn the_ends_of_the_range_are_targets() {
        let split = Split::new([(1, 'a'), (1, 'b')]);
        assert_eq!(split.choose(0), Some(&'a'));
        assert_eq!(split.choose(u64::MAX), Some(&'b'));
        assert_eq!(Split::<char>::new([(0, 'a')]).choose(5), None);
    }

    proptest! {
        #[test]
        fn shares_are_exact_over_all_words(
            weights in prop::collection::vec(prop_oneof![Just(0), 1..5_u32, any::<u32>()], 0..8),
        ) {
            let split = Split::new(weights.iter().copied().zip(0_usize..));
            let total: u64 = weights.iter().copied().map(u64::from).sum();
            // Words at equal distances: each target gets its share, but for rounding.
            let words = 4_096_u64;
            let mut counts = vec![0_u64; weights.len()];
            for word in 0..words {
                match split.choose(word * (u64::MAX / words) + u64::MAX / words / 2) {
                    Some(target) => counts[*target] += 1,
                    None => prop_assert_eq!(total, 0),
                }
            }
            for (weight, count) in weights.iter().zip(counts) {
                if total > 0 {
                    let share = u64::from(*weight) as f64 * words as f64 / total as f64;
                    prop_assert!((count as f64 - share).abs() <= 1.0, "{count} of {share}");
                }
                prop_assert!(*weight > 0 || count == 0, "a weight of 0 got {}", count);
            }
        }
    }
}
