//! What endpoints say of their own load: ORCA's message and its encodings, and the weights that
//! follow from it.

mod metrics;
#[cfg(test)]
mod model;
mod orca;
mod read;
#[cfg(test)]
mod tests;
mod weight;
mod weights;
mod write;

pub use self::write::Format;
pub(crate) use self::{
    metrics::{LATENCY_US, Metric, RIF},
    orca::{Entry, Interval, Report, ReportRequest},
    read::{ANY, BINARY, Signal, message, read, signal_of},
    weight::{Unusable, Weight},
    weights::{Rules, Scale},
};
use super::atomic;
