//! The order in which members are looked at for a hash whose own has no room: random by the hash,
//! so that it is the same at each call and spreads over all (arXiv 1908.08762).

/// So many members are looked at.
const LOOKS: usize = 64;
/// The words of the generator's state.
const STATE: usize = 624;
/// How far apart two of them meet.
const APART: usize = 397;
/// Words that are made before words are made of such: more than the looks need.
const WORDS: usize = STATE - APART;

/// The first positions of a random permutation of `0..len`, seeded by a hash.
//= Envoy BoundedLoadHashingLoadBalancer: Fisher-Yates by std::mt19937, seeded with the lower half
//= of the hash; a number below k is a word over 2^32/k, drawn again where that is not below k
pub(in crate::balance) struct Shuffle {
    words: Twister,
    len: usize,
    given: usize,
    /// Positions that hold another's number by now.
    moved: [(u32, u32); LOOKS],
}

/// The first words of MT19937 (Matsumoto and Nishimura), made one at a time: of its 624, few are
/// needed.
struct Twister {
    state: [u32; STATE],
    /// How much of the state is seeded.
    seeded: usize,
    given: usize,
}

impl Shuffle {
    pub(in crate::balance) fn new(hash: u64, len: usize) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the seed is 32 bits long")]
        let words = Twister::new(hash as u32);
        Self { words, len, given: 0, moved: [(0, 0); LOOKS] }
    }

    /// What is at this position of what is left.
    fn at(&self, position: usize) -> Option<u32> {
        let position = u32::try_from(position).ok()?;
        let moved = self.moved.get(..self.given.min(LOOKS))?.iter().rev();
        Some(moved.copied().find(|(from, _)| *from == position).map_or(position, |(_, to)| to))
    }

    fn below(&mut self, limit: usize) -> Option<usize> {
        let step = (1_u64 << 32) / limit as u64;
        loop {
            let number = u64::from(self.words.next()?) / step;
            if number < limit as u64 {
                return usize::try_from(number).ok();
            }
        }
    }
}

impl Iterator for Shuffle {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.given >= self.len.min(LOOKS) {
            return None;
        }
        let first = self.given;
        let chosen = first + self.below(self.len - first)?;
        let (number, displaced) = (self.at(chosen)?, self.at(first)?);
        *self.moved.get_mut(first)? = (u32::try_from(chosen).ok()?, displaced);
        self.given += 1;
        usize::try_from(number).ok()
    }
}

impl Twister {
    fn new(seed: u32) -> Self {
        let mut state = [0; STATE];
        state[0] = seed;
        Self { state, seeded: 1, given: 0 }
    }

    /// Seeds the state up to this word.
    fn seed(&mut self, upto: usize) -> Option<u32> {
        while self.seeded <= upto {
            let last = *self.state.get(self.seeded - 1)?;
            let number = u32::try_from(self.seeded).ok()?;
            let next = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(number);
            *self.state.get_mut(self.seeded)? = next;
            self.seeded += 1;
        }
        self.state.get(upto).copied()
    }

    fn next(&mut self) -> Option<u32> {
        if self.given == WORDS {
            return None;
        }
        let at = self.given;
        self.given += 1;
        let (first, second, far) = (self.seed(at)?, self.seed(at + 1)?, self.seed(at + APART)?);
        let mixed = (first & 0x8000_0000) | (second & 0x7fff_ffff);
        let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
        let mut word = far ^ (mixed >> 1) ^ odd;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        Some(word ^ (word >> 18))
    }
}
