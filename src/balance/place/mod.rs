//! Where to pick: what comes before the picking policy.
//!
//! `settings`, `plan` and `level` put it together for the endpoints of a cluster, by what they share by
//! (`parts`) and who of them is used (`used`); `count` and `share` write what each gets. The other files
//! are arithmetic without endpoints, each with the vectors of the system that it is taken from:
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
mod level;
pub(super) mod locality;
pub(super) mod nearness;
mod panic;
mod parts;
pub(super) mod plan;
pub(super) mod priority;
pub(super) mod rings;
pub(super) mod settings;
mod share;
pub(super) mod slow_start;
mod used;
mod words;
pub(super) mod zone;

pub(crate) use self::count::{Callers, Shift};
pub(super) use self::{
    count::{Count, Counting},
    level::{Level, Part},
    parts::locality_of,
    plan::{Making, Plan},
    settings::{LocalityWeights, Placing, Sharing},
    words::name_of,
};
