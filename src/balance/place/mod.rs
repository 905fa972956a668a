//! Where to pick: what comes before the picking policy.
//!
//! `settings`, `plan` and `count` put it together for the endpoints of a cluster. The other files are
//! arithmetic without endpoints, each with the vectors of the system that it is taken from:
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

mod copied;
mod count;
pub(super) mod locality;
pub(super) mod nearness;
mod panic;
pub(super) mod plan;
pub(super) mod priority;
pub(super) mod rings;
pub(super) mod settings;
pub(super) mod slow_start;
pub(super) mod zone;

pub(crate) use self::count::{Callers, Shift};
pub(super) use self::{
    count::{Count, Counting, name_of},
    plan::{Level, Making, Part, Plan, locality_of},
    settings::{Placing, Sharing},
};
