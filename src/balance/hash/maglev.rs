//! Maglev: a table of a prime size whose entries the members take in turn, each by a permutation
//! of its own; a hash belongs to the entry at its remainder.

use std::{cmp::Reverse, collections::BinaryHeap};

use twox_hash::XxHash64;

use super::{Member, sharing};

/// An entry that nobody has taken.
const FREE: u32 = u32::MAX;
/// Looks at all members in every round while that is less work than to keep them in order.
const LOOKS: f64 = 8.0;

#[derive(Debug, Default)]
pub(in crate::balance) struct Maglev {
    /// The positions of the members that the entries stand for.
    owners: Box<[u32]>,
}

/// One member while the table is filled.
struct Filler {
    position: u32,
    /// The entry that its permutation is at.
    next: u32,
    skip: u32,
    share: f64,
    /// What the round times the share must reach before it takes an entry.
    target: f64,
}

impl Maglev {
    /// A table of `size` entries, a prime from 2 on, which the members take in the order of their
    /// keys.
    ///
    //= Envoy MaglevTable: offset by xxHash64 with seed 0, skip with seed 1; in a round, members take
    //= an entry each, those of the largest share in every one, the others in as many as their own
    pub(in crate::balance) fn build(members: &[Member<'_>], size: u32) -> Self {
        let mut sorted: Vec<_> = sharing(members).collect();
        sorted.sort_by(|one, other| one.1.key.cmp(other.1.key));
        let mut fillers: Vec<_> = sorted
            .into_iter()
            .map(|(position, member)| Filler::new(position, member, size))
            .collect();
        let Some(largest) = fillers.iter().map(|filler| filler.share).reduce(f64::max) else {
            return Self::default();
        };
        let mut owners = vec![FREE; size as usize];
        #[expect(clippy::cast_precision_loss, reason = "members are counted by a u32")]
        let looks = fillers.len() as f64 * largest;
        if looks <= LOOKS {
            fill_by_rounds(&mut owners, &mut fillers, largest);
        } else {
            fill_by_turns(&mut owners, &mut fillers, largest);
        }
        Self { owners: owners.into() }
    }

    /// The position of the member that this hash belongs to; of another one at each attempt.
    //= Envoy MaglevTable::chooseHost: the hash is changed in its upper bits
    #[inline]
    pub(in crate::balance) fn at(&self, hash: u64, attempt: u32) -> Option<u32> {
        if self.owners.is_empty() {
            return None;
        }
        let hash = if attempt == 0 { hash } else { hash ^ 0_u64.wrapping_sub(attempt.into()) };
        let entry = hash % self.owners.len() as u64;
        self.owners.get(usize::try_from(entry).ok()?).copied()
    }

    #[cfg(test)]
    pub(in crate::balance) fn len(&self) -> usize {
        self.owners.len()
    }
}

/// As the paper has it: round after round over all members.
fn fill_by_rounds(owners: &mut [u32], fillers: &mut [Filler], largest: f64) {
    let mut free = owners.len();
    for round in 1_u32.. {
        for filler in &mut *fillers {
            if free == 0 {
                return;
            }
            if f64::from(round) * filler.share >= filler.target {
                filler.target += largest;
                filler.take(owners);
                free -= 1;
            }
        }
    }
}

/// The same where most members wait in most rounds: those whose turn it is, in order.
fn fill_by_turns(owners: &mut [u32], fillers: &mut [Filler], largest: f64) {
    let mut turns: BinaryHeap<_> = (0..fillers.len()).map(|at| Reverse((1_u32, at))).collect();
    for _ in 0..owners.len() {
        let Some(mut turn) = turns.peek_mut() else { return };
        let Reverse((round, at)) = *turn;
        let Some(filler) = fillers.get_mut(at) else { return };
        filler.target += largest;
        filler.take(owners);
        *turn = Reverse((filler.turn(round.saturating_add(1)), at));
    }
}

impl Filler {
    fn new(position: u32, member: Member<'_>, size: u32) -> Self {
        let remainder = |seed, of: u32| {
            let rest = XxHash64::oneshot(seed, member.key) % u64::from(of.max(1));
            u32::try_from(rest).unwrap_or(0)
        };
        Self {
            position,
            next: remainder(0, size),
            skip: remainder(1, size.saturating_sub(1)) + 1,
            share: member.share,
            target: 0.0,
        }
    }

    /// Takes the next entry of its permutation that is free. There must be one.
    fn take(&mut self, owners: &mut [u32]) {
        let size = owners.len();
        // A prime: the permutation meets every entry.
        for _ in 0..size {
            let at = self.next as usize;
            self.next += self.skip;
            if self.next as usize >= size {
                #[expect(clippy::cast_possible_truncation, reason = "the size is a u32")]
                let size = size as u32;
                self.next -= size;
            }
            match owners.get_mut(at) {
                Some(owner) if *owner == FREE => {
                    *owner = self.position;
                    return;
                }
                _ => {}
            }
        }
    }

    /// The first round from this one on in which it takes an entry.
    fn turn(&self, from: u32) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and a cast saturates"
        )]
        let mut round = ((self.target / self.share).ceil() as u32).max(from);
        // The division has rounded: what decides is the product.
        while round > from && f64::from(round - 1) * self.share >= self.target {
            round -= 1;
        }
        while f64::from(round) * self.share < self.target && round < u32::MAX {
            round += 1;
        }
        round
    }
}

/// The table that one way of filling makes, for comparison.
#[cfg(test)]
fn filled(
    members: &[Member<'_>],
    size: u32,
    fill: impl Fn(&mut [u32], &mut [Filler], f64),
) -> Vec<u32> {
    let mut fillers: Vec<_> =
        sharing(members).map(|(position, member)| Filler::new(position, member, size)).collect();
    let largest = fillers.iter().map(|filler| filler.share).fold(0.0, f64::max);
    let mut owners = vec![FREE; size as usize];
    fill(&mut owners, &mut fillers, largest);
    owners
}

#[cfg(test)]
pub(super) fn by_rounds(members: &[Member<'_>], size: u32) -> Vec<u32> {
    filled(members, size, fill_by_rounds)
}

#[cfg(test)]
pub(super) fn by_turns(members: &[Member<'_>], size: u32) -> Vec<u32> {
    filled(members, size, fill_by_turns)
}
