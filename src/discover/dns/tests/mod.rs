//! The machine and its loop under paused time, with a server in memory that counts.

mod answers;
mod fake;
mod machine;
mod options;
mod pairs;
#[cfg(feature = "file")]
mod presets;
mod services;
mod stale;
mod system;
mod wakes;
