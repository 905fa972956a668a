//! Picking an endpoint: load signals, health, and policies over an immutable snapshot.
//!
//! Sans I/O: it takes `now` (nanoseconds since the mesh's epoch) and random words. A pick takes
//! no lock and allocates nothing but the state of an endpoint that is picked for the first time.

mod balancer;
mod endpoint;
mod flight;
mod load;
#[cfg(test)]
mod model;
mod pick;
mod set;
#[cfg(test)]
mod tests;

#[doc(hidden)]
pub mod bench;

/// What the load signal counts with outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

pub(crate) use self::{
    balancer::{Balancer, PickError},
    endpoint::{Endpoint, Spec, Upstream},
    flight::{InFlight, Outcome},
};
