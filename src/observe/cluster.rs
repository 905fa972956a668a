//! What is counted of the attempts on a cluster, of its endpoints and of its connections.

#[cfg(feature = "xds")]
mod reported;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use super::{
    drops::DropCounts,
    durations::{Durations, Sink},
    end::{End, Key, Verb},
    family::{Label, Metric, server},
    histogram::Counts,
    hub::Hub,
    snapshot::{MetricSample, MetricValue},
    trace::Peer,
};
use crate::core::{
    DisconnectReason, EjectReason, ErrorKind, Event, Refusal, ReturnReason, SourceHealth, nanos,
};

/// A cluster: its connections, and the cells of its endpoints.
pub(crate) struct ClusterMeter {
    pub(crate) name: Arc<str>,
    hub: Arc<Hub>,
    /// Connections that were made, by how long it took; all under one key.
    made: Durations,
    failed: AtomicU64,
    /// Ejections, by their reasons.
    ejected: [AtomicU64; EjectReason::ALL.len()],
    /// Times that an endpoint became suspect.
    suspected: AtomicU64,
    /// Times that a source said something else of an endpoint's health, by what.
    marked: [AtomicU64; SourceHealth::ALL.len()],
    /// Active checks that failed, and that passed.
    checks: [AtomicU64; 2],
    closed: [AtomicU64; DisconnectReason::ALL.len()],
    /// Attempts that were not made, by why.
    refused: [AtomicU64; Refusal::ALL.len()],
    /// Locked when the cluster's categories of drops change, and to read.
    drops: Mutex<DropCounts>,
    #[cfg(feature = "orca")]
    weights: super::weights::Weights,
    /// Locked when an endpoint is picked for the first time, when one is gone, and to read.
    members: Mutex<Members>,
}

/// The cells of those endpoints that were picked, and what those that are gone had counted.
#[derive(Default)]
struct Members {
    here: HashMap<usize, Arc<Cells>>,
    gone: BTreeMap<Key, Counts>,
    #[cfg(feature = "xds")]
    loads: super::loads::Loads,
}

/// The cells of one endpoint: no other endpoint's attempts write them.
pub(super) struct Cells {
    pub(super) name: Arc<str>,
    pub(super) durations: Durations,
    /// What is counted for a control plane, once one has asked.
    #[cfg(feature = "xds")]
    pub(super) tally: std::sync::OnceLock<Box<super::tally::Tally>>,
    #[cfg(feature = "xds")]
    pub(super) at: Mutex<crate::core::At>,
}

/// An endpoint, from its first pick until nothing holds it any more: what it has counted is its
/// cluster's then.
pub(crate) struct EndpointMeter {
    cells: Arc<Cells>,
    cluster: Arc<ClusterMeter>,
}

/// A connection, from when it was made.
pub(crate) struct Connection {
    cluster: Arc<ClusterMeter>,
    endpoint: Arc<str>,
    reason: Option<DisconnectReason>,
    at: Option<Arc<Peer>>,
}

/// How an attempt ended, to its response head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptEnd {
    /// The number of its call.
    pub(crate) call: u64,
    pub(crate) verb: Verb,
    /// 1 for the first attempt.
    pub(crate) number: u32,
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<ErrorKind>,
    /// What it is counted as; nothing while a gRPC status is still to come.
    pub(crate) end: Option<End>,
    pub(crate) nanos: u64,
}

/// How a connection was made.
pub(crate) struct Made {
    pub(crate) protocol: http::Version,
    pub(crate) secured: bool,
    pub(crate) peer: Proved,
    /// Which of several addresses it leads to, where that was noted.
    pub(crate) at: Option<Arc<Peer>>,
}

/// Who the endpoint of a connection has proved to be: nobody in clear.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proved {
    /// The expected name; nothing if verification is skipped.
    pub(crate) identity: Option<Arc<str>>,
    /// All names of its certificate.
    pub(crate) names: Arc<[String]>,
    /// When the first certificate of its chain ends.
    pub(crate) not_after: Option<SystemTime>,
}

// === impl ClusterMeter ===

impl ClusterMeter {
    pub(crate) fn new(name: &Arc<str>, hub: &Arc<Hub>) -> Arc<Self> {
        Arc::new(Self {
            name: Arc::clone(name),
            hub: Arc::clone(hub),
            made: Durations::default(),
            failed: AtomicU64::new(0),
            ejected: Default::default(),
            suspected: AtomicU64::new(0),
            marked: Default::default(),
            checks: Default::default(),
            closed: Default::default(),
            refused: Default::default(),
            drops: Mutex::default(),
            #[cfg(feature = "orca")]
            weights: Default::default(),
            members: Mutex::default(),
        })
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An endpoint has joined the cluster.
    pub(crate) fn endpoint_added(&self, endpoint: &dyn std::fmt::Display) {
        self.hub.events.emit(|| Event::EndpointAdded {
            cluster: Arc::clone(&self.name),
            endpoint: endpoint.to_string().into(),
        });
    }

    /// A source says this of an endpoint's health from now on.
    pub(crate) fn endpoint_marked(&self, endpoint: &dyn std::fmt::Display, health: SourceHealth) {
        self.marked[health.index()].fetch_add(1, Relaxed);
        self.hub.events.emit(|| Event::EndpointMarked {
            cluster: Arc::clone(&self.name),
            endpoint: endpoint.to_string().into(),
            health,
        });
    }

    /// An endpoint has left the cluster.
    pub(crate) fn endpoint_removed(&self, endpoint: &dyn std::fmt::Display) {
        self.hub.events.emit(|| Event::EndpointRemoved {
            cluster: Arc::clone(&self.name),
            endpoint: endpoint.to_string().into(),
        });
    }

    /// An endpoint is picked for the first time.
    pub(crate) fn endpoint(self: &Arc<Self>, name: &Arc<str>) -> EndpointMeter {
        let cells = Arc::new(Cells {
            name: Arc::clone(name),
            durations: Durations::default(),
            #[cfg(feature = "xds")]
            tally: std::sync::OnceLock::new(),
            #[cfg(feature = "xds")]
            at: Mutex::default(),
        });
        let mut members = self.members();
        #[cfg(feature = "xds")]
        members.loads.joined(&cells);
        members.here.insert(key_of(&cells), Arc::clone(&cells));
        drop(members);
        EndpointMeter { cells, cluster: Arc::clone(self) }
    }

    /// A connection was made.
    pub(crate) fn connected(
        self: &Arc<Self>,
        endpoint: &Arc<str>,
        made: Made,
        elapsed: Duration,
    ) -> Connection {
        self.made.record(Key::REST, nanos(elapsed), |_| {
            self.hub.sink(Metric::ConnectDuration, &self.labels())
        });
        self.hub.events.emit(|| Event::Connected {
            cluster: Arc::clone(&self.name),
            endpoint: Arc::clone(endpoint),
            protocol: made.protocol,
            secured: made.secured,
            peer: made.peer.identity,
            peer_names: made.peer.names,
            peer_not_after: made.peer.not_after,
            elapsed,
        });
        Connection {
            cluster: Arc::clone(self),
            endpoint: Arc::clone(endpoint),
            reason: None,
            at: made.at,
        }
    }

    /// A connection could not be made, or was closed before its first answer.
    pub(crate) fn connect_failed(
        &self,
        endpoint: &Arc<str>,
        cause: &dyn std::fmt::Display,
        backoff: Duration,
    ) {
        self.failed.fetch_add(1, Relaxed);
        self.hub.events.emit(|| Event::ConnectFailed {
            cluster: Arc::clone(&self.name),
            endpoint: Arc::clone(endpoint),
            cause: cause.to_string().into(),
            backoff,
        });
    }

    /// An attempt was refused before it was made.
    pub(crate) fn refused(&self, why: Refusal) {
        self.refused[why.index()].fetch_add(1, Relaxed);
    }

    /// What its categories of drops have dropped.
    pub(crate) fn drops(&self) -> MutexGuard<'_, DropCounts> {
        self.drops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An active check has passed.
    pub(crate) fn check_passed(&self, endpoint: &Arc<str>, healthy: bool) {
        self.checks[1].fetch_add(1, Relaxed);
        self.hub.events.emit(|| Event::CheckPassed {
            cluster: Arc::clone(&self.name),
            endpoint: Arc::clone(endpoint),
            healthy,
        });
    }

    /// An active check has failed.
    pub(crate) fn check_failed(
        &self,
        endpoint: &Arc<str>,
        cause: &dyn std::fmt::Display,
        healthy: bool,
    ) {
        self.checks[0].fetch_add(1, Relaxed);
        self.hub.events.emit(|| Event::CheckFailed {
            cluster: Arc::clone(&self.name),
            endpoint: Arc::clone(endpoint),
            cause: cause.to_string().into(),
            healthy,
        });
    }

    /// A priority starts or stops to get calls, or to call endpoints whatever their health.
    pub(crate) fn shifted(&self, priority: u32, distance: u32, percent: u32, panic: bool) {
        self.hub.events.emit(|| Event::PriorityShifted {
            cluster: Arc::clone(&self.name),
            priority,
            distance,
            percent,
            panic,
        });
    }

    /// Its endpoints were weighed by what they report.
    #[cfg(feature = "orca")]
    pub(crate) fn weighed(&self, weighed: &crate::core::Weighed) {
        self.weights.add(weighed, || self.hub.sink(Metric::Weights, &self.labels()));
    }

    fn labels(&self) -> Vec<Label> {
        vec![("mesh.cluster", (&self.name).into())]
    }

    fn attempt_labels(&self, key: Key) -> Vec<Label> {
        let mut labels = self.labels();
        if key.is_grpc() {
            labels.push(("grpc.target", (&self.name).into()));
            labels.push(("grpc.method", "other".into()));
            key.grpc("grpc.status", &mut labels);
        } else {
            server(&self.name, &mut labels);
            key.http(&mut labels);
        }
        labels
    }

    fn sink(&self, key: Key) -> Option<Box<dyn Sink>> {
        let metric = if key.is_grpc() { Metric::GrpcAttempt } else { Metric::HttpAttempt };
        self.hub.sink(metric, &self.attempt_labels(key))
    }

    /// Connections that are open now.
    fn open(&self) -> i64 {
        let made: u64 = self.made.read().map(|(_, counts)| counts.count()).sum();
        let closed: u64 = self.closed.iter().map(|count| count.load(Relaxed)).sum();
        i64::try_from(made.saturating_sub(closed)).unwrap_or(i64::MAX)
    }

    /// Attempts by how they ended: of all endpoints that there are and were.
    fn attempts(&self) -> BTreeMap<Key, Counts> {
        let members = self.members();
        let mut all = members.gone.clone();
        for (key, counts) in members.here.values().flat_map(|cells| cells.durations.read()) {
            *all.entry(key).or_default() += counts;
        }
        all
    }

    /// Attempts of each endpoint that was picked, by whether they got an answer that is no failure.
    fn by_endpoint(&self) -> BTreeMap<(Arc<str>, &'static str), u64> {
        let mut all = BTreeMap::new();
        for cells in self.members().here.values() {
            for (key, counts) in cells.durations.read() {
                let name = (Arc::clone(&cells.name), key.result());
                *all.entry(name).or_default() += counts.count();
            }
        }
        all
    }

    /// Tells what is counted here.
    pub(crate) fn collect(&self, metric: Metric, samples: &mut Vec<MetricSample>) {
        let mut count = |counted: &AtomicU64, label: Option<(&'static str, &'static str)>| {
            if let count @ 1.. = counted.load(Relaxed) {
                let mut labels = self.labels();
                if let Some((name, value)) = label {
                    labels.push((name, value.into()));
                }
                samples.push(MetricSample::new(labels, MetricValue::Count(count)));
            }
        };
        match metric {
            Metric::HttpAttempt | Metric::GrpcAttempt => {
                for (key, counts) in self.attempts() {
                    if key.is_grpc() == (metric == Metric::GrpcAttempt) {
                        let value = MetricValue::durations(&counts);
                        samples.push(MetricSample::new(self.attempt_labels(key), value));
                    }
                }
            }
            Metric::EndpointAttempts => {
                for ((endpoint, result), count) in self.by_endpoint() {
                    let mut labels = self.labels();
                    labels.push(("mesh.endpoint", (&endpoint).into()));
                    labels.push(("mesh.result", result.into()));
                    samples.push(MetricSample::new(labels, MetricValue::Count(count)));
                }
            }
            Metric::ConnectDuration => {
                for (_, counts) in self.made.read() {
                    let value = MetricValue::durations(&counts);
                    samples.push(MetricSample::new(self.labels(), value));
                }
            }
            Metric::ConnectionsOpen => {
                samples.push(MetricSample::new(self.labels(), MetricValue::Level(self.open())));
            }
            Metric::ConnectionsFailed => {
                let failed = MetricValue::Count(self.failed.load(Relaxed));
                samples.push(MetricSample::new(self.labels(), failed));
            }
            Metric::ConnectionsClosed => {
                for (counted, reason) in self.closed.iter().zip(DisconnectReason::ALL) {
                    count(counted, Some(("mesh.disconnect.reason", reason.code())));
                }
            }
            Metric::Ejections => {
                for (counted, reason) in self.ejected.iter().zip(EjectReason::ALL) {
                    count(counted, Some(("mesh.eject.reason", reason.code())));
                }
            }
            Metric::Suspected => count(&self.suspected, None),
            Metric::Marked => {
                for (counted, health) in self.marked.iter().zip(SourceHealth::ALL) {
                    count(counted, Some(("mesh.endpoint.health", health.as_str())));
                }
            }
            Metric::AttemptsRefused => {
                for (counted, why) in self.refused.iter().zip(Refusal::ALL) {
                    count(counted, Some(("mesh.refusal", why.code())));
                }
            }
            Metric::Drops => {
                for (category, count) in self.drops().all() {
                    let mut labels = self.labels();
                    labels.push(("mesh.drop.category", category.into()));
                    samples.push(MetricSample::new(labels, MetricValue::Count(count)));
                }
            }
            Metric::Checks => {
                for (counted, result) in self.checks.iter().zip(["failed", "passed"]) {
                    count(counted, Some(("mesh.result", result)));
                }
            }
            #[cfg(feature = "orca")]
            Metric::Weights
            | Metric::WeightFallbacks
            | Metric::WeightsNotYetUsable
            | Metric::WeightsStale => self.weights.collect(metric, || self.labels(), samples),
            _ => {}
        }
    }

    /// How many endpoints have cells, and how many ends those that are gone have left.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let members = self.members();
        (members.here.len(), members.gone.len())
    }
}

fn key_of(cells: &Arc<Cells>) -> usize {
    Arc::as_ptr(cells).addr()
}

// === impl EndpointMeter ===

impl EndpointMeter {
    /// The name of its cluster.
    pub(crate) fn cluster(&self) -> &str {
        &self.cluster.name
    }

    /// An attempt is on its way.
    #[inline]
    pub(crate) fn attempt_started(&self, (service, call): (&Arc<str>, u64), number: u32) {
        #[cfg(feature = "xds")]
        if let Some(tally) = self.cells.tally.get() {
            tally.issued();
        }
        self.cluster.hub.events.emit(|| Event::AttemptStarted {
            service: Arc::clone(service),
            call,
            endpoint: Arc::clone(&self.cells.name),
            number,
        });
    }

    /// An attempt has met its response head, or what it got instead.
    #[inline]
    pub(crate) fn attempt_ended(&self, service: &Arc<str>, ended: AttemptEnd) {
        if let Some(end) = ended.end {
            self.record(ended.verb, end, ended.nanos);
        }
        self.cluster.hub.events.emit(|| Event::AttemptEnded {
            service: Arc::clone(service),
            call: ended.call,
            endpoint: Arc::clone(&self.cells.name),
            number: ended.number,
            status: ended.status,
            error: ended.error,
            elapsed: Duration::from_nanos(ended.nanos),
        });
    }

    /// An attempt on it was refused before it was made.
    pub(crate) fn refused(&self, why: Refusal) {
        self.cluster.refused(why);
    }

    /// It is out of use for so long.
    pub(crate) fn ejected(&self, reason: EjectReason, nanos: u64) {
        self.cluster.ejected[reason.index()].fetch_add(1, Relaxed);
        self.cluster.hub.events.emit(|| Event::EndpointEjected {
            cluster: Arc::clone(&self.cluster.name),
            endpoint: Arc::clone(&self.cells.name),
            reason,
            duration: Duration::from_nanos(nanos),
        });
    }

    /// It is suspect.
    pub(crate) fn suspected(&self) {
        self.cluster.suspected.fetch_add(1, Relaxed);
        self.cluster.hub.events.emit(|| Event::EndpointSuspected {
            cluster: Arc::clone(&self.cluster.name),
            endpoint: Arc::clone(&self.cells.name),
        });
    }

    /// It was suspect, and has answered.
    pub(crate) fn trusted(&self) {
        self.cluster.hub.events.emit(|| Event::EndpointTrusted {
            cluster: Arc::clone(&self.cluster.name),
            endpoint: Arc::clone(&self.cells.name),
        });
    }

    /// It is in use again.
    pub(crate) fn returned(&self, reason: ReturnReason) {
        self.cluster.hub.events.emit(|| Event::EndpointReturned {
            cluster: Arc::clone(&self.cluster.name),
            endpoint: Arc::clone(&self.cells.name),
            reason,
        });
    }

    /// Counts an attempt, whose status may have come after its head.
    #[inline]
    pub(crate) fn record(&self, verb: Verb, end: End, nanos: u64) {
        self.cells.durations.record(Key::new(verb, end), nanos, |key| self.cluster.sink(key));
    }
}

#[cfg(feature = "xds")]
impl EndpointMeter {
    /// It is there from now on, as its source says.
    pub(crate) fn moved(&self, at: crate::core::At) {
        *self.cells.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// What is counted for a control plane, if one has asked.
    #[inline]
    pub(crate) fn tally(&self) -> Option<&super::tally::Tally> {
        self.cells.tally.get().map(|tally| &**tally)
    }
}

impl Drop for EndpointMeter {
    fn drop(&mut self) {
        let mut members = self.cluster.members();
        // Both under the lock: who reads finds it here or there.
        members.here.remove(&key_of(&self.cells));
        for (key, counts) in self.cells.durations.read() {
            *members.gone.entry(key).or_default() += counts;
        }
        #[cfg(feature = "xds")]
        members.loads.left(&self.cells);
    }
}

// === impl Connection ===

impl Connection {
    /// Which of several addresses it leads to, as spans show it: made once, shared with all of them.
    pub(crate) fn at(&self) -> Option<Arc<Peer>> {
        self.at.clone()
    }

    /// It has ended by itself.
    pub(crate) fn ended(mut self, reason: DisconnectReason) {
        self.reason = Some(reason);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let reason = self.reason.unwrap_or_else(|| {
            // Its task was cut off, or something in it has panicked.
            if std::thread::panicking() {
                DisconnectReason::Error
            } else {
                DisconnectReason::Shutdown
            }
        });
        self.cluster.closed[reason.index()].fetch_add(1, Relaxed);
        self.cluster.hub.events.emit(|| Event::Disconnected {
            cluster: Arc::clone(&self.cluster.name),
            endpoint: Arc::clone(&self.endpoint),
            reason,
        });
    }
}
