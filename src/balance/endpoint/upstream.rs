//! What an endpoint owns from its first pick on, as its balancer knows it.

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
    type Context: Send + Sync;

    fn build(spec: &Spec, cx: &Self::Context) -> Self;

    /// The endpoint's address.
    fn name(&self) -> &Arc<str>;

    /// An endpoint has joined the cluster.
    fn added(spec: &Spec, cx: &Self::Context);

    /// An endpoint has left the cluster.
    fn removed(spec: &Spec, cx: &Self::Context);

    /// False while it is known that a call could not be sent.
    fn available(&self, now: u64) -> bool;

    /// What the whole mesh draws its random words from.
    fn random(_cx: &Self::Context) -> Arc<Random> {
        Arc::default()
    }

    /// What its connections are at.
    fn link(&self, _now: u64) -> Link {
        Link::Idle
    }

    /// It is out of use for so many nanoseconds.
    fn ejected(&self, _reason: EjectReason, _nanos: u64) {}

    /// It is in use again.
    fn returned(&self, _reason: ReturnReason) {}

    /// Its source says something else of it, under which its connections stay.
    fn respecified(&self, spec: &Spec);

    /// The endpoint has left the cluster; what is in flight goes on.
    fn retire(&self);

    /// Its connections are replaced: idle ones close now, busy ones when they are done.
    fn renew(&self) {}

    /// Who keeps the balancer looks again.
    fn wake(_cx: &Self::Context) {}

    /// Whole probes are owed.
    #[cfg(feature = "orca")]
    fn probes_due(_cx: &Self::Context) {}

    /// Whether it could not be connected to, and has not answered since: the next call is a trial.
    fn is_failing(&self) -> bool {
        false
    }

    /// How much of the back-off is left after a connection that could not be made. Nanoseconds.
    fn back_off(&self, _now: u64) -> u64 {
        0
    }

    /// The shortest time that a connection to it took to be made.
    fn round_trip(&self) -> Option<Duration> {
        None
    }

    /// Where the caller runs.
    fn place(_cx: &Self::Context) -> Place {
        Place::default()
    }

    /// Where the callers of the own service are: the endpoints of this cluster.
    fn callers(_cx: &Self::Context, _cluster: &str) -> Vec<Callers> {
        Vec::new()
    }

    /// A random word that the cluster keeps.
    fn seed(_cx: &Self::Context) -> u64 {
        0
    }

    /// Calls go from one priority to another, or health is not asked for any more.
    fn shifted(_cx: &Self::Context, _shift: Shift) {}

    /// An attempt on a gRPC call has ended so long after its start, and only now its outcome is known.
    fn streamed(&self, _end: BodyEnd, _nanos: u64) {}
}
