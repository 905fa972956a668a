//! Where to pick: what comes before the picking policy. Arithmetic without endpoints, each file
//! with the vectors of the system that it is taken from.
//!
//! | file | what it decides |
//! |---|---|
//! | `priority` | how priorities share, by their health |
//! | `panic` | when health is no longer asked for |
//! | `locality` | how localities share, by given weights |
//! | `zone` | how much stays in the caller's own zone |
//! | `nearness` | which priority an endpoint's distance is |
//! | `rings` | which rings of latency are open, by their load |
//! | `slow_start` | how much of a new endpoint's weight counts |

pub(super) mod locality;
pub(super) mod nearness;
mod panic;
pub(super) mod priority;
pub(super) mod rings;
pub(super) mod slow_start;
pub(super) mod zone;
