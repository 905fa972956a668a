//! What the cells held at one moment.

use super::{
    family::{Label, LabelValue, Metric, MetricKind},
    histogram::{BOUNDS, Counts},
    text,
};

/// What a mesh has counted, at one moment.
///
/// ```no_run
/// # fn example(mesh: &tower_mesh::Mesh) {
/// let metrics = mesh.metrics();
/// let lost = metrics.total(
///     "http.client.request.duration",
///     &[("mesh.cluster", "users.prod"), ("error.type", "timeout")],
/// );
/// println!("{lost} attempts timed out");
/// println!("{}", metrics.to_prometheus());
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// Every metric that has a sample, in the order of `docs/METRICS.md`.
    pub families: Vec<MetricFamily>,
}

/// One metric with its samples.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MetricFamily {
    /// Its name with dots, as OpenTelemetry has it: `http.client.request.duration`.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: MetricKind,
    /// Its unit, as UCUM has it: `s`, `{call}`.
    pub unit: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Its samples, sorted by their attributes.
    pub samples: Vec<MetricSample>,
}

/// One sample of a metric.
#[derive(Clone, Debug)]
pub struct MetricSample {
    pub(super) labels: Vec<Label>,
    value: MetricValue,
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricValue {
    /// Of a counter.
    Count(u64),
    /// Of a sum that goes up and down.
    Level(i64),
    /// Of a gauge.
    Number(f64),
    /// Of a histogram.
    #[non_exhaustive]
    Durations {
        /// How many samples were at most so many seconds; the last bound is infinite.
        buckets: Vec<(f64, u64)>,
        /// All of them together, in seconds.
        sum: f64,
        /// How many there were.
        count: u64,
    },
    /// Of a histogram of what are no durations.
    #[non_exhaustive]
    Distribution {
        /// How many samples were at most so much; the last bound is infinite.
        buckets: Vec<(f64, u64)>,
        /// All of them together.
        sum: f64,
        /// How many there were.
        count: u64,
    },
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(families: Vec<MetricFamily>) -> Self {
        Self { families }
    }

    /// A metric, if it has a sample.
    #[must_use]
    pub fn family(&self, name: &str) -> Option<&MetricFamily> {
        self.families.iter().find(|family| family.name == name)
    }

    /// The sum of a metric's samples that have all of these attributes; of a histogram, the number
    /// of what it has measured. 0 if there is none.
    #[must_use]
    pub fn total(&self, name: &str, attributes: &[(&str, &str)]) -> f64 {
        let samples = self.family(name).into_iter().flat_map(|family| &family.samples);
        let fits = |sample: &&MetricSample| {
            attributes.iter().all(|(name, value)| sample.attribute(name).as_deref() == Some(*value))
        };
        samples.filter(fits).map(|sample| sample.value.as_f64()).sum()
    }

    /// The text that Prometheus scrapes, in its format 0.0.4.
    ///
    /// Answer it with the content type [`Metrics::PROMETHEUS`]. Dots become underscores, `_seconds`
    /// stands for the unit `s`, counters end in `_total`.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        text::write(self, text::Format::Prometheus)
    }

    /// The metrics as OpenMetrics text 1.0.
    ///
    /// Answer it with the content type [`Metrics::OPEN_METRICS`].
    #[must_use]
    pub fn to_open_metrics(&self) -> String {
        text::write(self, text::Format::OpenMetrics)
    }

    /// The content type of [`Metrics::to_prometheus`].
    pub const PROMETHEUS: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// The content type of [`Metrics::to_open_metrics`].
    pub const OPEN_METRICS: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

// === impl MetricFamily ===

impl MetricFamily {
    /// The samples of a metric, if there are any.
    pub(crate) fn new(metric: Metric, mut samples: Vec<MetricSample>) -> Option<Self> {
        if samples.is_empty() {
            return None;
        }
        samples.sort_by(|one, other| one.labels.cmp(&other.labels));
        let super::family::Family { name, kind, unit, help } = metric.family();
        Some(Self { name, kind, unit, help, samples })
    }
}

// === impl MetricSample ===

impl MetricSample {
    pub(crate) fn new(labels: Vec<Label>, value: MetricValue) -> Self {
        Self { labels, value }
    }

    /// Its attributes with their values.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.labels.iter().map(|(name, value)| (*name, value.to_string()))
    }

    /// The value of one of its attributes.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        let found = self.labels.iter().find(|(known, _)| *known == name);
        found.map(|(_, value): &(_, LabelValue)| value.to_string())
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> &MetricValue {
        &self.value
    }
}

// === impl MetricValue ===

impl MetricValue {
    pub(super) fn durations(counts: &Counts) -> Self {
        let buckets = at_most(&BOUNDS, &counts.buckets);
        Self::Durations { buckets, sum: counts.seconds(), count: counts.count() }
    }

    /// Samples by the first bound that holds them; the last are those of the infinite one.
    #[cfg(feature = "orca")]
    pub(super) fn distribution(bounds: &[f64], counts: &[u64], sum: f64) -> Self {
        let buckets = at_most(bounds, counts);
        Self::Distribution { buckets, sum, count: counts.iter().sum() }
    }

    /// As one number; of a histogram, how many it has measured.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for reading")]
    pub fn as_f64(&self) -> f64 {
        match self {
            Self::Count(count)
            | Self::Durations { count, .. }
            | Self::Distribution { count, .. } => *count as f64,
            Self::Level(level) => *level as f64,
            Self::Number(number) => *number,
        }
    }
}

/// How many samples each bound holds: those of its bucket, and of all below.
fn at_most(bounds: &[f64], counts: &[u64]) -> Vec<(f64, u64)> {
    let mut sum = 0;
    let each = bounds.iter().copied().chain([f64::INFINITY]).zip(counts).map(|(bound, count)| {
        sum += count;
        (bound, sum)
    });
    each.collect()
}
