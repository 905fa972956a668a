//! Prequal (NSDI '24): picks by what servers said of themselves a moment ago.

mod hot;
#[cfg(test)]
mod model;
mod pool;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use self::{
    pool::{Choice, Pool, Reported},
    settings::Settings,
};
use super::probing::Probes;
use crate::config;

/// What the pool is made of outside of models.
mod sync {
    pub(super) use std::sync::{
        Mutex,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    };
}

/// The pool of a cluster's reports.
#[derive(Debug)]
pub(in crate::balance) struct Prequal {
    pub(in crate::balance) pool: Pool,
    pub(in crate::balance) settings: Settings,
    pub(in crate::balance) probes: Option<Arc<Probes>>,
}

impl Prequal {
    pub(in crate::balance) fn new(config: &config::Prequal) -> Self {
        let settings = Settings::new(config);
        Self { pool: Pool::new(settings.pool_size), settings, probes: Probes::of(config) }
    }
}
