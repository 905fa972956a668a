//! What a mesh counts as a whole, and what all of its meters share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    calls::{AllCalls, Calls},
    durations::{Sink, Sinks},
    family::{Label, Metric},
    snapshot::{MetricSample, MetricValue},
};
use crate::core::{Epoch, ErrorKind, Event, Events, Instant, MeshEnd};

/// The cells of one mesh, and its events.
pub(crate) struct Hub {
    pub(crate) events: Arc<Events>,
    pub(crate) end: Arc<MeshEnd>,
    calls: AllCalls,
    epoch: Epoch,
    sinks: Option<Arc<dyn Sinks>>,
    unresolved: [AtomicU64; ErrorKind::ALL.len()],
    applied: AtomicU64,
    refused: AtomicU64,
    /// Each source, and when it was last heard of: in nanoseconds since the epoch, and one more;
    /// 0 for one that is not awaited.
    sources: Vec<(Arc<str>, AtomicU64)>,
}

// === impl Hub ===

impl Hub {
    pub(crate) fn new(
        events: Arc<Events>,
        epoch: Epoch,
        sources: &[String],
        sinks: Option<Arc<dyn Sinks>>,
    ) -> Self {
        let sources =
            sources.iter().map(|name| (name.as_str().into(), AtomicU64::new(0))).collect();
        Self {
            events,
            end: Arc::default(),
            calls: AllCalls::default(),
            epoch,
            sinks,
            unresolved: Default::default(),
            applied: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            sources,
        }
    }

    /// Whether the application has given a meter provider.
    pub(crate) fn is_exported(&self) -> bool {
        self.sinks.is_some()
    }

    /// What counts the calls of one more service.
    pub(super) fn calls(&self) -> Arc<Calls> {
        self.calls.of_service()
    }

    /// No call begins any more.
    pub(crate) fn refuse_calls(&self) {
        self.calls.close();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.calls.is_closing()
    }

    /// Waits until those that had begun before are over: their bodies, too, where these come through
    /// what the application has given.
    pub(crate) async fn drained(&self) {
        self.calls.drained().await;
    }

    pub(super) fn sink(&self, metric: Metric, labels: &[Label]) -> Option<Box<dyn Sink>> {
        self.sinks.as_ref().and_then(|sinks| sinks.sink(metric, labels))
    }

    /// A call came to no service.
    pub(crate) fn unresolved(&self, kind: ErrorKind) {
        self.unresolved[kind as usize].fetch_add(1, Relaxed);
    }

    /// A part of the configuration took effect.
    pub(crate) fn applied(&self, part: String) {
        self.applied.fetch_add(1, Relaxed);
        self.events.emit(|| Event::ConfigApplied { part: part.into() });
    }

    /// A part of the configuration was refused.
    pub(crate) fn refused(&self, part: &str, reason: &str) {
        self.refused.fetch_add(1, Relaxed);
        self.events.emit(|| Event::ConfigRefused { part: part.into(), reason: reason.into() });
    }

    /// Something is said of a part of the configuration that is no failure.
    pub(crate) fn noted(&self, part: &str, note: &str) {
        self.events.emit(|| Event::ConfigNoted { part: part.into(), note: note.into() });
    }

    /// Something of a part that is in force does nothing.
    pub(crate) fn doubted(&self, part: &str, reason: &str) {
        self.events.emit(|| Event::ConfigDoubted { part: part.into(), reason: reason.into() });
    }

    /// A source has said, or confirmed, what it knows.
    pub(crate) fn heard(&self, source: usize) {
        if let Some((_, at)) = self.sources.get(source) {
            at.store(self.epoch.nanos(Instant::now()).saturating_add(1), Relaxed);
        }
    }

    /// A source is done: it will never say anything else.
    pub(crate) fn done(&self, source: usize) {
        if let Some((_, at)) = self.sources.get(source) {
            at.store(0, Relaxed);
        }
    }

    /// Tells one of the mesh's own metrics.
    pub(crate) fn collect(&self, metric: Metric, now: Instant, samples: &mut Vec<MetricSample>) {
        let count = |count: &AtomicU64| MetricValue::Count(count.load(Relaxed));
        match metric {
            Metric::Unresolved => {
                for (kind, counted) in ErrorKind::ALL.iter().zip(&self.unresolved) {
                    if counted.load(Relaxed) > 0 {
                        let labels = vec![("error.type", kind.code().into())];
                        samples.push(MetricSample::new(labels, count(counted)));
                    }
                }
            }
            Metric::ConfigApplied => {
                samples.push(MetricSample::new(Vec::new(), count(&self.applied)));
            }
            Metric::ConfigRefused => {
                samples.push(MetricSample::new(Vec::new(), count(&self.refused)));
            }
            Metric::EventsMissed => {
                let missed = MetricValue::Count(self.events.missed());
                samples.push(MetricSample::new(Vec::new(), missed));
            }
            Metric::DiscoveryAge => {
                let now = self.epoch.nanos(now);
                for (source, at) in &self.sources {
                    let Some(at) = at.load(Relaxed).checked_sub(1) else { continue };
                    let age = Duration::from_nanos(now.saturating_sub(at)).as_secs_f64();
                    let labels = vec![("mesh.source", source.into())];
                    samples.push(MetricSample::new(labels, MetricValue::Number(age)));
                }
            }
            _ => {}
        }
    }
}
