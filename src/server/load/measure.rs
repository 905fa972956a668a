//! What a server measures of its load, and what the application says of it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{latency::Latency, rate::Rate};
use crate::{
    balance::report::{Entry, LATENCY_US, RIF, Report},
    core::{Epoch, Instant, nanos},
};

type Gauge = Box<dyn Fn() -> f64 + Send + Sync>;

/// The load of a server: what is measured of its calls, and what the application says of it.
///
/// Clones share it: one is for all layers and streams of a server.
#[derive(Clone)]
pub struct ServerLoad {
    inner: Arc<Inner>,
}

/// Makes a [`ServerLoad`].
///
/// The closures are asked at every report, on the thread that answers the call: they must be quick
/// and never wait. A value that is not over 0, or no number, is not reported.
#[must_use]
pub struct ServerLoadBuilder {
    cpu: Option<Gauge>,
    memory: Option<Gauge>,
    application: Option<Gauge>,
    named: Vec<(Box<str>, Gauge)>,
    max_latency_age: Duration,
}

struct Inner {
    epoch: Epoch,
    in_flight: AtomicU32,
    latency: Latency,
    responses: Rate,
    failures: Rate,
    cpu: Option<Gauge>,
    memory: Option<Gauge>,
    application: Option<Gauge>,
    named: Vec<(Box<str>, Gauge)>,
}

/// A call in flight: counted until it is dropped, wherever that happens.
pub(super) struct Counted {
    load: ServerLoad,
    started: u64,
    /// How many others it met.
    met: u32,
    /// Its end has been counted.
    ended: bool,
}

// === impl ServerLoadBuilder ===

impl ServerLoadBuilder {
    /// How much of its processors the server uses. Unit: 1 is all of them; more is possible.
    /// Default: none is reported.
    pub fn cpu_utilization(mut self, gauge: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.cpu = Some(Box::new(gauge));
        self
    }

    /// How much of its memory the server uses. Unit: 1 is all of it. Default: none is reported.
    pub fn memory_utilization(mut self, gauge: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.memory = Some(Box::new(gauge));
        self
    }

    /// How loaded the application finds itself: it counts before that of the processors. Unit: 1
    /// is as much as it should be. Default: none is reported.
    pub fn application_utilization(
        mut self,
        gauge: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.application = Some(Box::new(gauge));
        self
    }

    /// A number of the application's own (`named_metrics`), by any name. Names with a comma, a
    /// colon or `=` are left out of reports as text.
    pub fn named_metric(
        mut self,
        name: impl Into<Box<str>>,
        gauge: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.named.push((name.into(), Box::new(gauge)));
        self
    }

    /// How old a call may be whose latency counts. Default: 1 s, as long as clients keep a report.
    pub fn max_latency_age(mut self, age: Duration) -> Self {
        self.max_latency_age = age;
        self
    }

    /// The load of a server that has just begun.
    #[must_use]
    pub fn build(self) -> ServerLoad {
        let Self { cpu, memory, application, named, max_latency_age } = self;
        ServerLoad {
            inner: Arc::new(Inner {
                epoch: Epoch::now(),
                in_flight: AtomicU32::new(0),
                latency: Latency::new(nanos(max_latency_age)),
                responses: Rate::default(),
                failures: Rate::default(),
                cpu,
                memory,
                application,
                named,
            }),
        }
    }
}

// === impl ServerLoad ===

impl Default for ServerLoad {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl ServerLoad {
    /// What the application says of its load besides what is measured.
    pub fn builder() -> ServerLoadBuilder {
        ServerLoadBuilder {
            cpu: None,
            memory: None,
            application: None,
            named: Vec::new(),
            max_latency_age: Duration::from_secs(1),
        }
    }

    /// The calls in flight: received, and their responses not yet sent to the end.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.inner.in_flight.load(Relaxed)
    }

    /// The latency that the next call may expect; nothing while nothing is known.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.inner.latency.estimate().map(Duration::from_micros)
    }

    /// Responses and failures per second.
    fn rates(&self) -> (f64, f64) {
        let now = self.now();
        (self.inner.responses.per_second(now), self.inner.failures.per_second(now))
    }

    fn now(&self) -> u64 {
        self.inner.epoch.nanos(Instant::now())
    }

    /// What the server says of itself where so many calls in flight do not count.
    pub(super) fn report(&self, without: u32) -> Report {
        let inner = &self.inner;
        let read = |gauge: &Gauge| Some(gauge()).filter(|value| value.is_finite() && *value > 0.0);
        let ask = |gauge: &Option<Gauge>| gauge.as_ref().and_then(read).unwrap_or(0.0);
        let in_flight = self.in_flight().saturating_sub(without);
        let mut named_metrics = vec![Entry::of(RIF, f64::from(in_flight))];
        #[expect(clippy::cast_precision_loss, reason = "microseconds")]
        if let Some(latency) = inner.latency.estimate() {
            named_metrics.push(Entry::of(LATENCY_US, latency as f64));
        }
        named_metrics.extend(
            inner.named.iter().filter_map(|(name, gauge)| Some(Entry::new(name, read(gauge)?))),
        );
        let (rps_fractional, eps) = self.rates();
        Report {
            cpu_utilization: ask(&inner.cpu),
            mem_utilization: ask(&inner.memory),
            application_utilization: ask(&inner.application),
            rps_fractional,
            eps,
            named_metrics,
            ..Report::default()
        }
    }

    /// A call has come in.
    pub(super) fn begin(&self) -> Counted {
        let met = self.inner.in_flight.fetch_add(1, Relaxed);
        Counted { load: self.clone(), started: self.now(), met, ended: false }
    }
}

impl fmt::Debug for ServerLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLoad")
            .field("in_flight", &self.in_flight())
            .field("latency", &self.latency())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerLoadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLoadBuilder")
            .field("named", &self.named.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("max_latency_age", &self.max_latency_age)
            .finish_non_exhaustive()
    }
}

// === impl Counted ===

impl Counted {
    pub(super) fn load(&self) -> &ServerLoad {
        &self.load
    }

    /// Its response head is there: how long it took is known. A failure says nothing of how long
    /// the others take.
    pub(super) fn answered(&self, failed: bool) {
        if !failed {
            let now = self.load.now();
            let took = now.saturating_sub(self.started);
            let there = self.load.in_flight().saturating_sub(1);
            self.load.inner.latency.record(now, (self.met, there), took);
        }
    }

    /// It has come to its end, well or not.
    pub(super) fn end(&mut self, failed: bool) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = self.load.now();
        self.load.inner.responses.count(now);
        if failed {
            self.load.inner.failures.count(now);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.load.inner.in_flight.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").field("met", &self.met).finish_non_exhaustive()
    }
}
