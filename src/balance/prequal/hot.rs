//! Which number of calls in flight is hot: a quantile of what the latest reports said.
//!
//! A report moves the quantile by one place at most. So what was told last is kept with how many are
//! below it and how many are it, and the others are looked through only when it is another number.

/// So many reports are remembered.
pub(super) const MEMORY: usize = 32;
/// In a place that is not filled yet: more than any report says.
const NOTHING: i32 = i32::MAX;

/// The latest reports' calls in flight.
///
/// They are `i32`, of which four are compared at once.
#[derive(Debug)]
pub(super) struct Recent {
    /// As they came.
    ring: [i32; MEMORY],
    len: usize,
    next: usize,
    /// What was told last.
    quantile: i32,
    /// So many of them are less.
    below: u32,
    /// So many of them are it.
    same: u32,
}

impl Recent {
    pub(super) const fn new() -> Self {
        Self { ring: [NOTHING; MEMORY], len: 0, next: 0, quantile: 0, below: 0, same: 0 }
    }

    #[inline]
    pub(super) fn note(&mut self, in_flight: u32) {
        let in_flight = i32::try_from(in_flight).map_or(NOTHING - 1, |it| it.min(NOTHING - 1));
        let Some(place) = self.ring.get_mut(self.next) else { return };
        // What was not filled is neither less nor the same.
        let before = std::mem::replace(place, in_flight);
        self.next = (self.next + 1) % MEMORY;
        self.len = (self.len + 1).min(MEMORY);
        self.below -= u32::from(before < self.quantile);
        self.same -= u32::from(before == self.quantile);
        self.below += u32::from(in_flight < self.quantile);
        self.same += u32::from(in_flight == self.quantile);
    }

    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The one that has this place in the order of their numbers; 0 of nothing.
    #[inline]
    pub(super) fn of_place(&mut self, at: u32) -> u32 {
        if at.wrapping_sub(self.below) >= self.same {
            self.find(at);
        }
        self.quantile.unsigned_abs()
    }

    /// Goes from one number to the next until it is the one that has this place in their order.
    #[inline(never)]
    fn find(&mut self, at: u32) {
        while at >= self.below + self.same {
            let (next, count) = self.or_else(self.quantile + 1, Self::greater);
            if next == NOTHING {
                return;
            }
            self.below += self.same;
            (self.quantile, self.same) = (next, count);
        }
        while at < self.below {
            let (next, count) = self.or_else(self.quantile - 1, Self::less);
            if next < 0 {
                return;
            }
            (self.quantile, self.same) = (next, count);
            self.below -= self.same;
        }
    }

    /// Numbers of calls are seldom far from each other: the neighbour is looked for first.
    fn or_else(&self, neighbour: i32, search: impl Fn(&Self) -> i32) -> (i32, u32) {
        match self.count(neighbour) {
            0 => {
                let next = search(self);
                (next, self.count(next))
            }
            count => (neighbour, count),
        }
    }

    fn count(&self, number: i32) -> u32 {
        self.ring.iter().map(|known| u32::from(*known == number)).sum()
    }

    /// The least that is greater.
    fn greater(&self) -> i32 {
        let greater = |known: i32| if known > self.quantile { known } else { NOTHING };
        self.ring.iter().fold(NOTHING, |least, known| least.min(greater(*known)))
    }

    /// The greatest that is less.
    fn less(&self) -> i32 {
        let less = |known: i32| if known < self.quantile { known } else { -1 };
        self.ring.iter().fold(-1, |most, known| most.max(less(*known)))
    }
}
