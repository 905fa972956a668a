//! Happy eyeballs between endpoints: an attempt on a `pick_first` cluster that waits for a connection
//! tries the next endpoints, too, one after the other, and goes to the first that connects (gRFC A61).

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::Version;

use super::Caller;
use crate::{
    balance::{Balancer, Endpoint, InFlight, Outcome},
    config::{CallPriority, Protocol},
    core::{BoxFuture, Error, ErrorKind, Instant},
    mesh::cluster::Node,
    observe::{AttemptEnd, End},
    transport::{ConnectError, Lease, race},
};

/// What a connection that was not made says of its endpoint.
pub(super) fn outcome_of(error: &ConnectError) -> Outcome {
    // One attempt that fails is one failure, however many hear of it in its back-off.
    if error.is_the_calls() || error.is_old() { Outcome::Ignored } else { Outcome::Connect }
}

/// What is raced for, and by whom.
pub(super) struct Racers {
    pub(super) caller: Caller,
    pub(super) balancer: Arc<Balancer<Node>>,
    /// The one that was picked, which the attempt itself counts, and those behind it.
    pub(super) endpoints: Vec<Arc<Endpoint<Node>>>,
    pub(super) delay: Duration,
    pub(super) version: Version,
    /// The call is not to go where it is not secured.
    pub(super) secured: bool,
    /// Of the attempt.
    pub(super) number: u32,
    pub(super) priority: CallPriority,
}

/// The connection that was made first.
pub(super) struct Won {
    pub(super) lease: Lease,
    pub(super) endpoint: Arc<Endpoint<Node>>,
    /// Of another endpoint than the one that was picked.
    pub(super) flight: Option<InFlight<Node>>,
    /// That one could not be connected to; and what that says of it.
    pub(super) failed: Option<(Outcome, ErrorKind)>,
    /// When the connection was asked for. Nanoseconds since the mesh's epoch.
    pub(super) at: u64,
}

/// An endpoint that is tried beside the one that was picked.
struct Beside<'a> {
    racers: &'a Racers,
    node: &'a Node,
    flight: Option<InFlight<Node>>,
    at: u64,
}

impl Racers {
    /// Waits for the first connection; fails as the endpoint that was picked has.
    pub(super) fn race(self) -> BoxFuture<Result<Won, ConnectError>> {
        let racers = Arc::new(self);
        Box::pin(async move {
            let failed = Arc::<OnceLock<(Outcome, ErrorKind)>>::default();
            let all: Vec<usize> = (0..racers.endpoints.len()).collect();
            let connect = |place| {
                let (racers, failed) = (Arc::clone(&racers), Arc::clone(&failed));
                async move { racers.connect(place, &failed).await }
            };
            match race::first(all, racers.delay, connect).await {
                Ok(won) => Ok(Won { failed: failed.get().copied(), ..won }),
                Err(mut failures) => {
                    failures.sort_by_key(|(place, _)| *place);
                    let first = failures.into_iter().next().map(|(_, error)| error);
                    Err(first.unwrap_or_else(ConnectError::left))
                }
            }
        })
    }

    async fn connect(
        &self,
        place: usize,
        failed: &OnceLock<(Outcome, ErrorKind)>,
    ) -> Result<Won, ConnectError> {
        let Some(endpoint) = self.endpoints.get(place) else { return Err(ConnectError::left()) };
        let at = self.now();
        // Its state is made here, where it is the first pick.
        let flight = (place > 0).then(|| self.balancer.begin_at(endpoint, at));
        let Some(node) = endpoint.extra() else { return Err(ConnectError::left()) };
        if place > 0 && node.is_open && self.secured {
            return Err(ConnectError::new("it is plaintext by default, where the call may not go"));
        }
        let mut beside = flight.map(|flight| Beside::begin(self, node, flight, at));
        let protocol = node.protocol.unwrap_or_else(|| Protocol::of(self.version));
        let lease = match node.pool.try_acquire(protocol, self.caller.grpc, at) {
            Some(lease) => Ok(lease),
            None => node.pool.acquire(protocol, self.caller.grpc, self.priority).await,
        };
        match lease {
            Ok(lease) => {
                let flight = beside.as_mut().and_then(|beside| beside.flight.take());
                Ok(Won { lease, endpoint: Arc::clone(endpoint), flight, failed: None, at })
            }
            Err(error) => {
                match &mut beside {
                    Some(beside) => beside.failed(&error),
                    // Only here: of one attempt there is one first failure.
                    None => {
                        let kind = Error::from(error.clone()).kind();
                        let _known = failed.set((outcome_of(&error), kind));
                    }
                }
                Err(error)
            }
        }
    }

    fn now(&self) -> u64 {
        self.caller.inner.epoch.nanos(Instant::now())
    }
}

impl<'a> Beside<'a> {
    fn begin(racers: &'a Racers, node: &'a Node, flight: InFlight<Node>, at: u64) -> Self {
        let caller = &racers.caller;
        node.meter.attempt_started((&caller.cell.name, caller.number), racers.number);
        Self { racers, node, flight: Some(flight), at }
    }

    fn failed(&mut self, error: &ConnectError) {
        if let Some(flight) = self.flight.take() {
            let (now, kind) = (self.racers.now(), Error::from(error.clone()).kind());
            flight.finish(now, outcome_of(error));
            self.tell(now, Some(kind), End::Error(kind));
        }
    }

    fn tell(&self, now: u64, error: Option<ErrorKind>, end: End) {
        let caller = &self.racers.caller;
        let ended = AttemptEnd {
            call: caller.number,
            verb: caller.verb,
            number: self.racers.number,
            status: None,
            error,
            end: Some(end),
            nanos: now.saturating_sub(self.at),
        };
        self.node.meter.attempt_ended(&caller.cell.name, ended);
    }
}

/// Another has won, or nobody waits any more.
impl Drop for Beside<'_> {
    fn drop(&mut self) {
        if self.flight.take().is_some() {
            self.tell(self.racers.now(), None, End::Left);
        }
    }
}
