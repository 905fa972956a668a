//! How much one run of a bench does.

/// Calls that a measured function makes.
pub(crate) const CALLS: u32 = 960;
/// Picks that a measured function makes.
pub(crate) const PICKS: u32 = 1000;
/// Look-ups in a route table that a measured function makes; of a hostile one, one.
pub(crate) const LOOKUPS: u32 = 1000;
/// Handshakes that a measured function makes.
pub(crate) const HANDSHAKES: u32 = 32;
