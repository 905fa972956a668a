//! Picking an endpoint: load signals, health, and policies over an immutable snapshot.
//!
//! Sans I/O: it takes `now` (nanoseconds since the mesh's epoch) and random words. A pick takes
//! no lock and allocates nothing but the state of an endpoint that is picked for the first time.

mod balancer;
mod endpoint;
mod flight;
mod load;
mod pick;
mod set;
#[cfg(test)]
mod tests;

#[doc(hidden)]
pub mod bench;

pub(crate) use self::{
    balancer::{Balancer, PickError},
    endpoint::{Endpoint, Spec, Upstream},
    flight::{InFlight, Outcome},
    set::Diff,
};
