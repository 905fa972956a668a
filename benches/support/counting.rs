//! An allocator that counts, for the benches that gate allocations.
#![expect(unsafe_code, reason = "`GlobalAlloc` is an unsafe trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicI64, Ordering::Relaxed},
};

static CALLS: AtomicI64 = AtomicI64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, counted.
pub(crate) struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        live(layout.size(), 1);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        live(layout.size(), -1);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        live(layout.size(), -1);
        live(size, 1);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count(bytes: usize) {
    CALLS.fetch_add(1, Relaxed);
    BYTES.fetch_add(signed(bytes), Relaxed);
}

fn live(bytes: usize, sign: i64) {
    LIVE.fetch_add(sign * signed(bytes), Relaxed);
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(0)
}

/// What was allocated while something ran.
#[allow(dead_code, reason = "each bench uses a part")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) allocations: i64,
    pub(crate) bytes: i64,
    /// Bytes that are still allocated.
    pub(crate) live: i64,
}

/// Counts what `run` allocates; what it returns is still allocated then.
pub(crate) fn counted<T>(run: impl FnOnce() -> T) -> (T, Counted) {
    let before = (CALLS.load(Relaxed), BYTES.load(Relaxed), LIVE.load(Relaxed));
    let kept = run();
    let counted = Counted {
        allocations: CALLS.load(Relaxed) - before.0,
        bytes: BYTES.load(Relaxed) - before.1,
        live: LIVE.load(Relaxed) - before.2,
    };
    (kept, counted)
}
