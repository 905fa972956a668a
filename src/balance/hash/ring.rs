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
        Self { hashes: hashes.into(), owners: owners.into() }
    }

    /// The position of the member that this hash belongs to; of the one so many entries later.
    #[inline]
    pub(in crate::balance) fn at(&self, hash: u64, later: u32) -> Option<u32> {
        let mut entry = self.hashes.partition_point(|at| *at < hash);
        if later > 0 && !self.owners.is_empty() {
            if entry == self.owners.len() {
                entry = 0;
            }
            entry = (entry + later as usize) % self.owners.len();
        }
        self.owners.get(entry).or_else(|| self.owners.first()).copied()
    }

    #[cfg(test)]
    pub(in crate::balance) fn len(&self) -> usize {
        self.owners.len()
    }
}
