//! The one typed stream of what happens to calls, attempts, endpoints, connections and
//! configuration.
//!
//! Tests assert on it and telemetry consumes it. Emitting costs one relaxed load while nobody
//! listens: the event itself is only built for a listener.

mod display;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::Version;
use tokio::sync::broadcast;

use super::{
    AuthorizationVerdict, DisconnectReason, EjectReason, ErrorKind, HedgeRefusal, InjectedFault,
    Phase, Refusal, RetryReason, RetryRefusal, ReturnReason, SourceHealth,
};

/// One thing that happened.
///
/// The events of one call, its attempts and retries among them, have one number `call`: unique in its
/// mesh, from 1. A call that began while nobody listened has 0. Its text (`{}`) is one line for a log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A call entered the mesh.
    #[non_exhaustive]
    CallStarted {
        /// The service that was called.
        service: Arc<str>,
        /// The number of the call, the same in all of its events.
        call: u64,
    },
    /// A call's response head (or error) went back to the caller.
    #[non_exhaustive]
    CallEnded {
        /// The service that was called.
        service: Arc<str>,
        /// The number of the call, the same in all of its events.
        call: u64,
        /// The HTTP status, when there was a response.
        status: Option<u16>,
        /// The failure, when there was none; neither when the caller has left.
        error: Option<ErrorKind>,
        /// Attempts that were made.
        attempts: u32,
        /// From the call's start.
        elapsed: Duration,
    },
    /// A call ends because this client refused it on purpose: a limit, a rule, a fault.
    #[non_exhaustive]
    CallRefused {
        /// The service that was called.
        service: Arc<str>,
        /// The number of the call, the same in all of its events.
        call: u64,
        /// What refused it.
        refusal: Refusal,
    },
    /// An attempt was sent to an endpoint.
    #[non_exhaustive]
    AttemptStarted {
        /// The service that was called.
        service: Arc<str>,
        /// The number of the call, the same in all of its events.
        call: u64,
        /// The endpoint's address.
        endpoint: Arc<str>,
        /// 1 for the first attempt.
        number: u32,
    },
    /// An attempt met its response head or its failure.
    #[non_exhaustive]
    AttemptEnded {
        /// The service that was called.
        service: Arc<str>,
        /// The number of the call, the same in all of its events.
        call: u64,
        /// The endpoint's address.
        endpoint: Arc<str>,
        /// 1 for the first attempt.
        number: u32,
        /// The HTTP status, when there was a response.
        status: Option<u16>,
        /// The failure, when there was none; neither when the caller has left.
        error: Option<ErrorKind>,
        /// From the attempt's start.
        elapsed: Duration,
    },
    /// A retry was decided.
    #[non_exhaustive]
    Retry {
        /// The service that was called.
        service: Arc<str>,
        /// The number of the call, the same in all of its events.
        call: u64,
        /// What the attempt before it met.
        reason: RetryReason,
        /// The wait before the next attempt.
        backoff: Duration,
    },
    /// A retry was wanted and refused.
    #[non_exhaustive]
    RetryRefused {
        /// The service that was called.
        service: Arc<str>,
        /// The number of the call, the same in all of its events.
        call: u64,
        /// What stood against it.
        reason: RetryRefusal,
    },
    /// A further attempt is sent beside those under way.
    #[non_exhaustive]
    Hedge {
        /// The service that was called.
        service: Arc<str>,
        /// The number of the call, the same in all of its events.
        call: u64,
        /// The number of the attempt.
        number: u32,
        /// From the start of the first attempt.
        after: Duration,
    },
    /// A further attempt beside those under way was due, and is not sent.
    #[non_exhaustive]
    HedgeRefused {
        /// The service that was called.
        service: Arc<str>,
        /// The number of the call, the same in all of its events.
        call: u64,
        /// What stood against it.
        reason: HedgeRefusal,
    },
    /// Rules of authorisation have denied a call, or have more to say than that it may be made.
    #[non_exhaustive]
    Authorization {
        /// The service that was called.
        service: Arc<str>,
        /// The number of the call, the same in all of its events.
        call: u64,
        /// What they say.
        verdict: AuthorizationVerdict,
        /// The rule that says so; none, where it is that none does.
        rule: Option<Arc<str>>,
    },
    /// A fault was injected into a call, or was due.
    #[non_exhaustive]
    FaultInjected {
        /// The service that was called.
        service: Arc<str>,
        /// The number of the call, the same in all of its events.
        call: u64,
        /// What it is.
        fault: InjectedFault,
    },
    /// An endpoint joined a cluster.
    #[non_exhaustive]
    EndpointAdded {
        /// The cluster.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
    },
    /// An endpoint left a cluster; calls in flight to it go on.
    #[non_exhaustive]
    EndpointRemoved {
        /// The cluster.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
    },
    /// A priority of a cluster starts or stops to get calls, or to call its endpoints whatever their
    /// health.
    #[non_exhaustive]
    PriorityShifted {
        /// The cluster.
        cluster: Arc<str>,
        /// The priority of its endpoints.
        priority: u32,
        /// How much of the caller's place they differ in, where that is preferred; 0 is nearest.
        distance: u32,
        /// What it gets from now on. Unit: percent of the cluster's calls.
        percent: u32,
        /// Whether so few of its endpoints are well that health is not asked for.
        panic: bool,
    },
    /// A connection was made.
    #[non_exhaustive]
    Connected {
        /// The cluster that the endpoint belongs to.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
        /// What is spoken over it.
        protocol: Version,
        /// Whether it is secured by TLS.
        secured: bool,
        /// Who the endpoint has proved to be: its SPIFFE id, else a name of its certificate.
        peer: Option<Arc<str>>,
        /// All names of the certificate that it has shown: DNS names, URIs, addresses. None in clear.
        peer_names: Arc<[String]>,
        /// When the first certificate of the chain that vouches for it ends; if verification is skipped, its
        /// own. Connections that are there then live on.
        peer_not_after: Option<SystemTime>,
        /// From the start of the connection attempt.
        elapsed: Duration,
    },
    /// A connection could not be made; the endpoint is avoided for the back-off.
    #[non_exhaustive]
    ConnectFailed {
        /// The cluster that the endpoint belongs to.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
        /// What the connection attempt met.
        cause: Arc<str>,
        /// The wait before the next attempt.
        backoff: Duration,
    },
    /// A connection ended, by itself or at the end of a shutdown's grace.
    #[non_exhaustive]
    Disconnected {
        /// The cluster that the endpoint belongs to.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
        /// What ended it.
        reason: DisconnectReason,
    },
    /// An endpoint is out of use for a while: its failures have ejected it, or the call that was to
    /// find out whether it is well has failed.
    #[non_exhaustive]
    EndpointEjected {
        /// The cluster.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
        /// What has ejected it.
        reason: EjectReason,
        /// When one call may find out whether it is well again.
        duration: Duration,
    },
    /// An endpoint that was ejected is in use again.
    #[non_exhaustive]
    EndpointReturned {
        /// The cluster.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
        /// What has brought it back.
        reason: ReturnReason,
    },
    /// So many of an endpoint's latest calls have failed that it is suspect: single calls probe it, and
    /// the others go elsewhere.
    #[non_exhaustive]
    EndpointSuspected {
        /// The cluster.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
    },
    /// An endpoint that was suspect has answered again.
    #[non_exhaustive]
    EndpointTrusted {
        /// The cluster.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
    },
    /// The source of an endpoint says something else of its health than before.
    #[non_exhaustive]
    EndpointMarked {
        /// The cluster.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
        /// What it says from now on.
        health: SourceHealth,
    },
    /// An active check of an endpoint has passed.
    #[non_exhaustive]
    CheckPassed {
        /// The cluster.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
        /// Whether the endpoint counts as healthy now: several may have to pass.
        healthy: bool,
    },
    /// An active check of an endpoint has failed.
    #[non_exhaustive]
    CheckFailed {
        /// The cluster.
        cluster: Arc<str>,
        /// The endpoint's address.
        endpoint: Arc<str>,
        /// What the check met.
        cause: Arc<str>,
        /// Whether the endpoint counts as healthy all the same: several may have to fail.
        healthy: bool,
    },
    /// A part of the configuration took effect.
    #[non_exhaustive]
    ConfigApplied {
        /// The part: `service greeter.prod`, `cluster greeter`.
        part: Arc<str>,
    },
    /// A part of the configuration was refused; its last good state stays.
    #[non_exhaustive]
    ConfigRefused {
        /// The part: `service greeter.prod`, `cluster greeter`, `file mesh.yaml`.
        part: Arc<str>,
        /// Field, value and allowed range.
        reason: Arc<str>,
    },
    /// A source cannot ask its control plane, and uses what an earlier process has left of it.
    #[non_exhaustive]
    CacheUsed {
        /// The source: `xds control.example:18000`.
        source: Arc<str>,
        /// How long ago the oldest of it was last known to be so.
        age: Duration,
    },
    /// A source uses nothing that is left of an earlier process any more.
    #[non_exhaustive]
    CacheLeft {
        /// The source.
        source: Arc<str>,
    },
    /// A source says something of a part of the configuration that is no failure: what of it the mesh
    /// does not do, or does otherwise.
    #[non_exhaustive]
    ConfigNoted {
        /// The part: `CDS resource users`, `security of cluster users`.
        part: Arc<str>,
        /// Fields and what becomes of them.
        note: Arc<str>,
    },
    /// A part of the configuration is in force, and something of it does nothing: a route that can never
    /// match, because an earlier route takes every request that it would, or its match contradicts itself.
    /// Or DNS has answered for a name, and a part of it failed: the rest is in force.
    #[non_exhaustive]
    ConfigDoubted {
        /// The part: `service greeter.prod`.
        part: Arc<str>,
        /// What does nothing, and why.
        reason: Arc<str>,
    },
    /// A body or connection failed after the response head.
    #[non_exhaustive]
    BodyFailed {
        /// The service that was called.
        service: Arc<str>,
        /// What ended it.
        error: ErrorKind,
        /// Where.
        phase: Phase,
    },
}

/// The emitting side, shared by every room.
#[derive(Debug)]
pub(crate) struct Events {
    listeners: AtomicUsize,
    /// What listeners were too slow to see, all together.
    missed: AtomicU64,
    /// Calls that began while somebody listened.
    calls: AtomicU64,
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            listeners: AtomicUsize::new(0),
            missed: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            sender: broadcast::Sender::new(4096),
        }
    }
}

impl Events {
    /// Emits what `event` builds, if anybody listens.
    #[inline]
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        if self.listeners.load(Ordering::Relaxed) > 0 {
            // A send fails only when the last listener has just left.
            drop(self.sender.send(event()));
        }
    }

    /// The number of a call that begins, if anybody listens.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        if self.listeners.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What listeners were too slow to see.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// A stream of the events from now on.
    pub(crate) fn listen(self: &Arc<Self>) -> EventStream {
        let receiver = self.sender.subscribe();
        self.listeners.fetch_add(1, Ordering::Relaxed);
        EventStream { events: Arc::downgrade(self), receiver, missed: 0 }
    }
}

/// The events of one mesh, from the moment of listening.
///
/// It holds the last 4096 events; a listener that falls behind loses the oldest and learns how
/// many from [`EventStream::missed`].
#[derive(Debug)]
pub struct EventStream {
    events: Weak<Events>,
    receiver: broadcast::Receiver<Event>,
    missed: u64,
}

impl EventStream {
    /// The next event; `None` when the mesh is gone.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => self.miss(missed),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// An event that has already happened, if one is waiting.
    pub fn try_recv(&mut self) -> Option<Event> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => self.miss(missed),
                Err(_) => return None,
            }
        }
    }

    fn miss(&mut self, missed: u64) {
        self.missed += missed;
        if let Some(events) = self.events.upgrade() {
            events.missed.fetch_add(missed, Ordering::Relaxed);
        }
    }

    /// Events that this listener was too slow to see.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if let Some(events) = self.events.upgrade() {
            events.listeners.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::BodyFailed {
            service: "users".into(),
            error: ErrorKind::Transport,
            phase: Phase::Body,
        }
    }

    #[test]
    fn nothing_is_built_and_no_call_is_numbered_while_nobody_listens() {
        let events = Arc::new(Events::default());
        let unheard = || events.emit(|| unreachable!("an event is built for nobody"));
        unheard();
        assert_eq!(events.number(), 0);
        let mut listener = events.listen();
        events.emit(event);
        assert_eq!(events.number(), 1);
        assert!(listener.try_recv().is_some());
        drop(listener);
        // The last one has left.
        unheard();
        assert_eq!(events.number(), 0);
    }
}
