//! How instructions are counted, and what makes one run count as many as the next.

use std::hint::black_box;

use gungraun::{Callgrind, LibraryBenchmarkConfig};

/// Bytes of the header map of a call, with the mesh or without.
const HEADERS: usize = 1248;

/// What every bench of instructions runs under.
///
/// glibc's allocator keeps a few chunks of each size at hand. What it keeps beyond them is merged and split,
/// for a price that depends on what lies where: here it keeps as many as there are.
pub(crate) fn config() -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config
        .tool(Callgrind::with_args(["--cache-sim=no"]))
        .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=65535");
    config
}

/// Leaves chunks of the size of a header map, each between two that stay.
///
/// Chunks of more than 1,032 bytes are never at hand: what is given back is merged with its neighbours, if
/// those are free, and searched for again. That is up to 600 instructions of a call, by the luck of a run.
pub(crate) fn settle_heap() {
    let mut chunks: Vec<Vec<u8>> =
        (0..512).map(|_| black_box(Vec::with_capacity(HEADERS))).collect();
    for pair in chunks.chunks_exact_mut(2) {
        pair[0] = Vec::new();
    }
    let _stay: &mut [Vec<u8>] = chunks.leak();
}
