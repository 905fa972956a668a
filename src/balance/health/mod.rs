//! The health of endpoints: what is counted of their outcomes, when that takes one out, and how
//! it comes back.
//!
//! | file | what |
//! |---|---|
//! | `phase.rs` | where an endpoint stands, and what is said of it |
//! | `state.rs` | the state machine of an endpoint, atomics only |
//! | `rules.rs` | what the configuration asks for, with every default |
//! | `outlier.rs` | Envoy's outlier detection: rows, windows, how long |
//! | `accrual.rs` | Finagle's and Linkerd's failure accrual |
//! | `floor.rs` | how many may be out |
//! | `watch.rs` | outcomes of an endpoint in, its ejections and returns out |
//! | `cluster.rs` | its cluster: the rules, and the windows that are compared |
//! | `check.rs` | active checks: what a result makes of an endpoint, and when the next is due |
//!
//! **How one comes back.** When the time of an ejection is over, one call is sent to the
//! endpoint, whatever has ejected it. If it succeeds, the endpoint takes calls as before; if not,
//! it stays out for longer. Envoy and gRPC let all traffic in at once; that is what this does not
//! do, for a server that is down fails a burst of calls then. A call that is the probe is a call
//! like every other: it may be retried elsewhere.
//!
//! **When all are out**, or so many that nothing better is found, the ones that are out are called
//! all the same: a cluster that fails as a whole is still called.

mod accrual;
pub(crate) mod check;
mod cluster;
mod floor;
#[cfg(test)]
mod model;
mod outlier;
pub(super) mod phase;
mod rules;
pub(super) mod state;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use self::{
    cluster::Health,
    phase::{Checked, Link, Phase},
    rules::Rules,
};
pub(super) use self::{cluster::Roll, phase::Said, state::State, watch::Watch};
use super::atomic;
use crate::core::EjectReason;

/// Whose failure an outcome is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// An answer that is a failure.
    Server,
    /// One that says of itself that it comes from somebody in between: 502, 503, 504.
    Gateway,
    /// There was no answer: it could not be reached, was lost, or took too long.
    LocalOrigin,
}

impl Fault {
    const ALL: [Self; 3] = [Self::Server, Self::Gateway, Self::LocalOrigin];

    /// Why an endpoint goes out for many of these in a row.
    fn reason(self) -> EjectReason {
        match self {
            Self::Server => EjectReason::ConsecutiveFailures,
            Self::Gateway => EjectReason::ConsecutiveGatewayFailures,
            Self::LocalOrigin => EjectReason::ConsecutiveLocalOriginFailures,
        }
    }
}
