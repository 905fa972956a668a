//! Where a pick reads its view: on a shelf of its thread's own, under a lock that it never waits for.
//!
//! An `ArcSwap` may be read by anybody at any time, for about seventy instructions. The usual pick takes
//! the lock of a shelf instead, which costs a third of that: two writes to a line that no other thread
//! writes to, as long as there are no more threads than shelves. Who changes the view puts it on one shelf
//! after the other; a pick that comes just then finds a lock taken and reads the `ArcSwap`.
//!
//! While a shelf is read, nothing foreign runs: who reads waits for nobody, and who writes waits for picks
//! alone.

use std::{
    cell::Cell,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, TryLockError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// So many threads write to lines of their own.
const SHELVES: usize = 16;
/// A thread that has not read yet: that is no shelf.
const NONE: usize = SHELVES;

/// The same value on each.
pub(super) struct Shelves<T>([Shelf<T>; SHELVES]);

#[repr(align(64))]
struct Shelf<T>(RwLock<Arc<T>>);

thread_local! {
    static OWN: Cell<usize> = const { Cell::new(NONE) };
}

// === impl Shelves ===

impl<T> Shelves<T> {
    pub(super) fn new(value: &Arc<T>) -> Self {
        Self(std::array::from_fn(|_| Shelf(RwLock::new(Arc::clone(value)))))
    }

    /// The value, unless it is being replaced.
    #[inline(always)]
    pub(super) fn read(&self) -> Option<RwLockReadGuard<'_, Arc<T>>> {
        let shelf = match self.0.get(OWN.get()) {
            Some(own) => own,
            None => self.0.get(next())?,
        };
        match shelf.0.try_read() {
            Ok(guard) => Some(guard),
            // Nobody panics between, and the value is whole at any time.
            Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Who reads after this reads that value.
    pub(super) fn replace(&self, value: &Arc<T>) {
        for shelf in &self.0 {
            let mut guard = shelf.0.write().unwrap_or_else(PoisonError::into_inner);
            let before = std::mem::replace(&mut *guard, Arc::clone(value));
            drop(guard);
            // Not under the lock: it may be the last.
            drop(before);
        }
    }
}

/// Threads take shelves in turn.
#[cold]
#[inline(never)]
fn next() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let own = NEXT.fetch_add(1, Relaxed) % SHELVES;
    OWN.set(own);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_after_a_change_reads_what_it_was_changed_to() {
        let first = Arc::new(1);
        let shelves = Shelves::new(&first);
        assert_eq!(Arc::strong_count(&first), 1 + SHELVES);
        let read = || shelves.read().map(|guard| **guard);
        assert_eq!(read(), Some(1));
        shelves.replace(&Arc::new(2));
        assert_eq!(Arc::strong_count(&first), 1, "nothing of it is kept");
        std::thread::scope(|scope| {
            for _ in 0..2 * SHELVES {
                scope.spawn(|| assert_eq!(read(), Some(2)));
            }
        });
    }

    #[test]
    fn nobody_waits_to_read() {
        let shelves = Shelves::new(&Arc::new(1));
        let held: Vec<_> = shelves.0.iter().map(|shelf| shelf.0.write().unwrap()).collect();
        assert!(shelves.read().is_none());
        drop(held);
        let one = shelves.read();
        assert!(one.is_some() && shelves.read().is_some(), "two may read at once");
    }

    #[test]
    fn values_go_forward_for_every_reader_whoever_changes_them() {
        let shelves = Shelves::new(&Arc::new(0_u32));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 2_000 {
                        if let Some(guard) = shelves.read() {
                            assert!(**guard >= last);
                            last = **guard;
                        }
                        std::thread::yield_now();
                    }
                });
            }
            for value in 1..=2_000 {
                shelves.replace(&Arc::new(value));
            }
        });
    }
}
