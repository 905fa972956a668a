//! The lock-free count of further attempts in flight.

use super::atomic::{AtomicU32, Ordering};

#[derive(Debug)]
pub(super) struct Places(AtomicU32);

impl Places {
    /// Takes a place, unless as many are taken as there are.
    pub(super) fn take(&self, there_are: u32) -> bool {
        let next = |taken: u32| (taken < there_are).then(|| taken + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }

    /// Gives one back.
    pub(super) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// Those that are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

impl Default for Places {
    fn default() -> Self {
        Self(AtomicU32::new(0))
    }
}
