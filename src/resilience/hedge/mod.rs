//! Hedging: a call that takes long is sent again beside the first, and the first good answer wins.

mod course;
#[cfg(test)]
mod model;
mod policy;
mod recent;
#[cfg(test)]
mod tests;

/// What the window counts with outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

pub(crate) use self::{
    course::{Course, Word},
    policy::{Fate, Hedging},
};
