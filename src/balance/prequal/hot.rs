//! Which number of calls in flight is hot: a quantile of what the latest reports said.

/// So many reports are remembered.
const MEMORY: usize = 32;

/// The latest reports' calls in flight.
#[derive(Debug)]
pub(super) struct Recent {
    /// As they came.
    ring: [u32; MEMORY],
    /// The same from the least to the most.
    sorted: [u32; MEMORY],
    len: usize,
    next: usize,
}

impl Recent {
    pub(super) const fn new() -> Self {
        Self { ring: [0; MEMORY], sorted: [0; MEMORY], len: 0, next: 0 }
    }

    pub(super) fn note(&mut self, in_flight: u32) {
        let Some(slot) = self.ring.get_mut(self.next) else { return };
        let before = std::mem::replace(slot, in_flight);
        self.next = (self.next + 1) % MEMORY;
        let Some(sorted) = self.sorted.get_mut(..self.len) else { return };
        if sorted.len() < MEMORY {
            let at = sorted.partition_point(|known| *known <= in_flight);
            self.sorted.copy_within(at..self.len, at + 1);
            self.len += 1;
            if let Some(place) = self.sorted.get_mut(at) {
                *place = in_flight;
            }
            return;
        }
        if before == in_flight {
            return;
        }
        // The one that leaves and the one that comes: what lies between them moves by one.
        let from = sorted.partition_point(|known| *known < before);
        let to = sorted.partition_point(|known| *known < in_flight);
        let to = if from < to {
            sorted.copy_within(from + 1..to, from);
            to - 1
        } else {
            sorted.copy_within(to..from, to + 1);
            to
        };
        if let Some(place) = sorted.get_mut(to) {
            *place = in_flight;
        }
    }

    /// The quantile.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a few"
    )]
    pub(super) fn quantile(&self, quantile: f32) -> u32 {
        let at = ((self.len as f32 * quantile) as usize).min(self.len.saturating_sub(1));
        self.sorted.get(at).copied().unwrap_or(0)
    }
}
