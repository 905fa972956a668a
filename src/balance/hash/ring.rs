//! Ring hash (ketama): every member has entries on a ring of hashes, as many as its share; a hash
//! belongs to the entry that follows it.

use std::io::Write;

use super::{Function, Member, sharing};

/// How many entries a ring has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::balance) struct Sizes {
    pub(in crate::balance) least: u32,
    pub(in crate::balance) most: u32,
}

/// Entries in the order of their hashes.
#[derive(Debug, Default)]
pub(in crate::balance) struct Ring {
    hashes: Box<[u64]>,
    /// By the upper bits of a hash: where the entries with these begin, and at the end how many there
    /// are. About as many parts as entries: a look-up takes as long in a large ring as in a small one.
    starts: Box<[u32]>,
    /// How many lower bits of a hash say nothing of its part.
    shift: u32,
    /// The positions of the members that the entries stand for.
    pub(super) owners: Box<[u32]>,
}

impl Ring {
    /// Entries for the members, in the order given.
    ///
    //= Envoy RingHashLoadBalancer::Ring: the smallest share gets a whole number of entries, unless
    //= that makes more than the most; running sums decide where entries are a fraction, and an
    //= entry's hash is that of `<key>_<number>`
    pub(in crate::balance) fn build(
        members: &[Member<'_>],
        sizes: Sizes,
        function: Function,
    ) -> Self {
        let Some(least) = sharing(members).map(|(_, member)| member.share).reduce(f64::min) else {
            return Self::default();
        };
        let least = least.min(1.0);
        let scale = (least * f64::from(sizes.least)).ceil() / least;
        let scale = scale.min(f64::from(sizes.most));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and at most `most`"
        )]
        let mut entries: Vec<(u64, u32)> = Vec::with_capacity(scale.ceil() as usize);
        let mut text = Vec::new();
        let (mut current, mut target) = (0.0, 0.0);
        for (position, member) in sharing(members) {
            text.clear();
            text.extend_from_slice(member.key);
            text.push(b'_');
            let start = text.len();
            target += scale * member.share;
            for number in 0_u32.. {
                if current >= target {
                    break;
                }
                text.truncate(start);
                // Writing to memory does not fail.
                drop(write!(text, "{number}"));
                entries.push((function.hash(&text), position));
                current += 1.0;
            }
        }
        // Equal hashes are of the first: the same in every client.
        entries.sort_unstable();
        let (hashes, owners): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let (starts, shift) = parts(&hashes);
        Self { hashes: hashes.into(), starts, shift, owners: owners.into() }
    }

    /// The position of the member that this hash belongs to; of the one so many entries later.
    #[inline]
    pub(in crate::balance) fn at(&self, hash: u64, later: u32) -> Option<u32> {
        let mut entry = self.first_from(hash)?;
        if later > 0 && !self.owners.is_empty() {
            if entry == self.owners.len() {
                entry = 0;
            }
            entry = (entry + later as usize) % self.owners.len();
        }
        self.owners.get(entry).or_else(|| self.owners.first()).copied()
    }

    /// The first entry whose hash is not less; the number of entries, if all are less.
    #[inline]
    fn first_from(&self, hash: u64) -> Option<usize> {
        let part = usize::try_from(hash >> self.shift).ok()?;
        let &[from, to, ..] = self.starts.get(part..)? else { return None };
        let part = self.hashes.get(from as usize..to as usize)?;
        Some(from as usize + part.partition_point(|at| *at < hash))
    }

    #[cfg(test)]
    pub(in crate::balance) fn len(&self) -> usize {
        self.owners.len()
    }
}

/// Where the parts of hashes in order begin, and how many bits below those that name a part.
fn parts(hashes: &[u64]) -> (Box<[u32]>, u32) {
    // At least two: a shift of all 64 bits is none.
    let count = hashes.len().next_power_of_two().max(2);
    let shift = u64::BITS - count.trailing_zeros();
    let mut starts = vec![0_u32; count + 1];
    for hash in hashes {
        let part = usize::try_from(hash >> shift).unwrap_or(0);
        if let Some(behind) = starts.get_mut(part + 1) {
            *behind += 1;
        }
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    (starts.into(), shift)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(mut hashes: Vec<u64>) -> Ring {
        hashes.sort_unstable();
        let (starts, shift) = parts(&hashes);
        let owners = (0..).take(hashes.len()).collect();
        Ring { hashes: hashes.into(), starts, shift, owners }
    }

    proptest! {
        /// The parts say where to look, and nothing else: crowded, empty and at both ends.
        #[test]
        fn a_look_up_by_parts_finds_what_a_search_of_all_finds(
            spread in prop::collection::vec(any::<u64>(), 0..300),
            crowded in prop::collection::vec(0_u64..64, 0..20),
            top in prop::collection::vec(u64::MAX - 3..=u64::MAX, 0..4),
            asked in prop::collection::vec(any::<u64>(), 0..50),
        ) {
            let hashes: Vec<_> = [spread, crowded, top].concat();
            let ring = ring(hashes.clone());
            let near = hashes.iter().flat_map(|it| [*it, it.wrapping_sub(1), it.wrapping_add(1)]);
            for hash in near.chain(asked).chain([0, u64::MAX]) {
                let searched = ring.hashes.partition_point(|at| *at < hash);
                prop_assert_eq!(ring.first_from(hash), Some(searched));
                let owner = if searched < ring.len() { searched } else { 0 };
                let owner = (ring.len() > 0).then(|| u32::try_from(owner).unwrap());
                prop_assert_eq!(ring.at(hash, 0), owner);
            }
        }
    }

    #[test]
    fn a_ring_of_nobody_has_nobody() {
        assert_eq!(Ring::default().at(1, 0), None);
        let none = Ring::build(&[], Sizes { least: 1024, most: 4096 }, Function::XxHash);
        assert_eq!((none.at(1, 0), none.at(u64::MAX, 3)), (None, None));
    }
}
