//! What an endpoint owns from its first pick on, and what its cluster is in, as its balancer knows both.

use std::{sync::Arc, time::Duration};

use super::Spec;
use crate::{
    balance::{
        health::Link,
        place::{Callers, Shift},
    },
    config::Place,
    core::{BodyEnd, EjectReason, Random, ReturnReason},
};

/// What an endpoint owns from its first pick on: its connections.
pub(crate) trait Upstream: Send + Sync + 'static {
    /// What every endpoint of a cluster is built with.
    type Context: Environment;

    fn build(spec: &Spec, cx: &Self::Context) -> Self;

    /// The endpoint's address.
    fn name(&self) -> &Arc<str>;

    /// False while it is known that a call could not be sent.
    fn available(&self, now: u64) -> bool;

    /// What its connections are at.
    fn link(&self, _now: u64) -> Link {
        Link::Idle
    }

    /// Whether it could not be connected to, and has not answered since: the next call is a trial.
    fn is_failing(&self) -> bool {
        false
    }

    /// How often it was connected to again after its connections were lost.
    #[cfg(feature = "orca")]
    fn returns(&self) -> u32 {
        0
    }

    /// How much of the back-off is left after a connection that could not be made. Nanoseconds.
    fn back_off(&self, _now: u64) -> u64 {
        0
    }

    /// The shortest time that a connection to it took to be made.
    fn round_trip(&self) -> Option<Duration> {
        None
    }

    /// Its source says something else of it, under which its connections stay.
    fn respecified(&self, _spec: &Spec) {}

    /// The endpoint has left the cluster; what is in flight goes on.
    fn retire(&self);

    /// Its connections are replaced: idle ones close now, busy ones when they are done.
    fn renew(&self) {}

    /// It is out of use for so many nanoseconds.
    fn ejected(&self, _reason: EjectReason, _nanos: u64) {}

    /// It is suspect: so many of its latest calls have failed.
    fn suspected(&self) {}

    /// It was suspect, and has answered.
    fn trusted(&self) {}

    /// It is in use again.
    fn returned(&self, _reason: ReturnReason) {}

    /// The head or the trailers of an answer have come.
    #[cfg(feature = "xds")]
    #[inline]
    fn overheard(&self, _headers: &http::HeaderMap) {}

    /// An attempt on a gRPC call has ended so long after its start, and only now its outcome is known.
    fn streamed(&self, _end: BodyEnd, _nanos: u64) {}
}

/// What a cluster is in: where it is called from, who draws for it, and who is told of it.
pub(crate) trait Environment: Send + Sync + 'static {
    /// What the whole mesh draws its random words from.
    fn random(&self) -> Arc<Random> {
        Arc::default()
    }

    /// A random word that the cluster keeps.
    fn seed(&self) -> u64 {
        0
    }

    /// Where the caller runs.
    fn place(&self) -> Place {
        Place::default()
    }

    /// Where the callers of the own service are: the endpoints of this cluster.
    fn callers(&self, _cluster: &str) -> Vec<Callers> {
        Vec::new()
    }

    /// An endpoint has joined the cluster.
    fn added(&self, _spec: &Spec) {}

    /// The source says something else of an endpoint's health than before.
    fn marked(&self, _spec: &Spec) {}

    /// An endpoint has left the cluster.
    fn removed(&self, _spec: &Spec) {}

    /// Calls go from one priority to another, or health is not asked for any more.
    fn shifted(&self, _shift: Shift) {}

    /// Who keeps the balancer looks again.
    fn wake(&self) {}

    /// Its endpoints were weighed by what they report.
    #[cfg(feature = "orca")]
    fn weighed(&self, _weighed: &crate::core::Weighed) {}

    /// Whole probes are owed.
    #[cfg(feature = "orca")]
    fn probes_due(&self) {}
}

/// Nowhere, and nobody is told.
impl Environment for () {}
