//! Picking an endpoint: load signals, health, and policies over an immutable snapshot.
//!
//! The policy of a cluster is its [`config::Balancer`](crate::config::Balancer):
//!
//! | policy | picks | for |
//! |---|---|---|
//! | `peak_ewma`, the default | the better of two by latency, calls in flight, the age of what awaits its head, and success | nearly everything |
//! | `least_request` | the better of two by calls in flight, of more, or of all | calls of very unequal cost |
//! | `round_robin` | one after the other, by weight | equal endpoints and equal calls |
//! | `client_weighted` | one after the other, by weights from load reports (feature `orca`) | gRPC servers that report |
//! | `prequal` | the coldest of a few latest reports, else as `peak_ewma` (feature `orca`) | many clients with little traffic each |
//! | `random` | any, by weight | comparisons |
//! | `pick_first` | the first of an order that can be connected to, and then that one alone | one active endpoint and its stand-ins |
//! | `ring_hash`, `maglev` | the one that the request's hash belongs to; the next one if that cannot be called or is full | caches and sessions |
//! | `override_host` | the one that the call or its session names, else by another policy | sessions that outlive a request |
//! | `sharded` | a replica of the shard that the request's hash belongs to, and no other endpoint | data that is somewhere |
//!
//! Before any load is compared, an endpoint is ranked: good; young; degraded; in a locality that is
//! to be left; suspect (half of its latest calls failed, or its source calls it unhealthy); in
//! connect back-off; ejected; tried by this call. A draining one is never picked. A suspect is
//! probed by single calls at intervals that double from 1 s to 30 s, and of the better of two by no
//! more than 1 % of the calls. When nothing good is found among up to 8 random endpoints and 64 in
//! a row, the best of the others is called: a cluster that fails as a whole is still called.
//!
//! Sans I/O: it takes `now` (nanoseconds since the mesh's epoch) and random words. A pick waits
//! for no lock and allocates nothing but the state of an endpoint that is picked for the first time, and,
//! at the first call that names an endpoint (`pick/pinned.rs`), the index by which such are found.

// | file | what |
// |---|---|
// | `ask.rs`, `balancer.rs` | what a pick is asked for, and the pick |
// | `decide.rs`, `planned.rs`, `apart.rs` | what comes before the policy: whom the call names, the plan, what a retry leaves |
// | `policy.rs`, `pick/` | the policies |
// | `hash/`, `shard/`, `prequal/`, `weighted.rs`, `ordered.rs` | what some of them pick by |
// | `view.rs`, `shelf.rs`, `set.rs`, `update.rs` | what a pick reads, where, and how it changes |
// | `place/`, `subset/` | priorities, localities, rings, parts of a cluster |
// | `endpoint/`, `load.rs`, `flight.rs`, `verdict.rs` | an endpoint, its load, a call in flight, what its outcome is |
// | `health/`, `checked.rs`, `ready.rs` | ejections and checks, and who must stay |
// | `report/`, `sink.rs`, `probing.rs` | load reports, where they go, and the probes that ask for them |
// | `keep.rs`, `parking.rs` | periodic work, and how a call wakes who does it |
// | `census.rs`, `explain/` | what is told of all of it |
// | `exercise.rs` | calls and changes of any kind, for properties and fuzz targets |

mod apart;
mod ask;
mod balancer;
mod bias;
mod census;
mod checked;
mod decide;
mod endpoint;
#[cfg(all(feature = "xds", any(test, fuzzing)))]
mod exercise;
mod explain;
mod flight;
mod hash;
pub(crate) mod health;
mod keep;
mod load;
#[cfg(test)]
mod model;
mod ordered;
mod parking;
mod pick;
mod place;
mod planned;
mod policy;
#[cfg(feature = "orca")]
mod prequal;
#[cfg(feature = "orca")]
mod probing;
mod ready;
#[cfg(feature = "orca")]
pub(crate) mod report;
mod set;
mod shard;
mod shelf;
#[cfg(feature = "orca")]
mod sink;
mod subset;
#[cfg(test)]
mod tests;
mod update;
pub(crate) mod verdict;
mod view;
#[cfg(feature = "orca")]
mod weighted;

#[doc(hidden)]
pub mod bench;

/// What the load signal counts with outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence,
    };
}

#[cfg(all(feature = "xds", any(test, fuzzing)))]
pub(crate) use self::exercise::exercise;
pub use self::explain::{
    Choice, EndpointExplanation, EndpointStanding, LocalityExplanation, NamedExplanation,
    PickExplanation, PickReason, PriorityExplanation,
};
use self::health::state;
#[cfg(feature = "orca")]
pub(crate) use self::probing::Probes;
pub(crate) use self::{
    ask::Ask,
    balancer::{Balancer, PickError},
    census::Standing,
    endpoint::{Endpoint, Environment, Spec, Upstream},
    explain::{Asked, Percent},
    flight::{InFlight, Outcome, Stands},
    pick::{Avoid, HealthSet, Over},
    place::{Callers, Shift},
    set::Diff,
    subset::labels::Wanted,
};
