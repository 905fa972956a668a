//! How instructions are counted.

use gungraun::{Callgrind, LibraryBenchmarkConfig};

/// What every bench of instructions runs under.
pub(crate) fn config() -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::with_args(["--cache-sim=no"]));
    config
}
