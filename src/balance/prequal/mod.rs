//! Prequal (NSDI '24): picks by what servers said of themselves a moment ago.

mod hot;
#[cfg(test)]
mod model;
mod pool;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    pool::{Pool, Reported},
    settings::Settings,
};

/// What the pool is made of outside of models.
mod sync {
    pub(super) use std::sync::{
        Mutex,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    };
}
