//! What is counted where weights are computed from load reports (gRFC A78), which no call does.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::{
    durations::Sink,
    family::{Label, Metric},
    histogram::WEIGHTS,
    snapshot::{MetricSample, MetricValue},
};
use crate::core::Weighed;

/// The weights of a cluster: nothing before they are computed for the first time.
#[derive(Default)]
pub(super) struct Weights(OnceLock<Box<Cells>>);

struct Cells {
    /// Locked where weights are computed, and to read.
    counts: Mutex<Counts>,
    sink: Option<Box<dyn Sink>>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    fallbacks: u64,
    not_yet_usable: u64,
    stale: u64,
    /// Weights by the first bound that holds them; the last are those that none does.
    buckets: [u64; WEIGHTS.len() + 1],
    sum: f64,
}

// === impl Weights ===

impl Weights {
    /// They were computed; `sink` is asked at the first time.
    pub(super) fn add(&self, weighed: &Weighed, sink: impl FnOnce() -> Option<Box<dyn Sink>>) {
        let make = || Box::new(Cells { counts: Mutex::default(), sink: sink() });
        let cells = self.0.get_or_init(make);
        if let Some(sink) = &cells.sink {
            weighed.weights.iter().for_each(|weight| sink.record(*weight));
        }
        cells.counts().add(weighed);
    }

    /// Tells what is counted here.
    pub(super) fn collect(
        &self,
        metric: Metric,
        labels: impl FnOnce() -> Vec<Label>,
        samples: &mut Vec<MetricSample>,
    ) {
        let Some(cells) = self.0.get() else { return };
        let counts = *cells.counts();
        let value = match metric {
            Metric::Weights => MetricValue::distribution(&WEIGHTS, &counts.buckets, counts.sum),
            Metric::WeightFallbacks => MetricValue::Count(counts.fallbacks),
            Metric::WeightsNotYetUsable => MetricValue::Count(counts.not_yet_usable),
            Metric::WeightsStale => MetricValue::Count(counts.stale),
            _ => return,
        };
        samples.push(MetricSample::new(labels(), value));
    }
}

// === impl Cells ===

impl Cells {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Counts ===

impl Counts {
    fn add(&mut self, weighed: &Weighed) {
        self.fallbacks += u64::from(weighed.is_fallback);
        self.not_yet_usable += weighed.not_yet_usable;
        self.stale += weighed.stale;
        for weight in &weighed.weights {
            let bucket = WEIGHTS.iter().position(|bound| weight <= bound);
            self.buckets[bucket.unwrap_or(WEIGHTS.len())] += 1;
            self.sum += weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        super::{ClusterMeter, Hub, MetricFamily, Metrics},
        *,
    };
    use crate::core::{Epoch, Events};

    fn told(meter: &ClusterMeter) -> Metrics {
        let families = Metric::ALL.into_iter().filter_map(|metric| {
            let mut samples = Vec::new();
            meter.collect(metric, &mut samples);
            MetricFamily::new(metric, samples)
        });
        Metrics::new(families.filter(|it| it.name.starts_with("mesh.client.weights")).collect())
    }

    #[test]
    fn computations_are_counted_and_each_weight_is_in_its_bucket() {
        let hub = Hub::new(Arc::new(Events::default()), Epoch::now(), &[], None);
        let meter = ClusterMeter::new(&"users".into(), &Arc::new(hub));
        // Of a cluster whose weights nobody computes nothing is told.
        assert_eq!(told(&meter).families.len(), 0);
        let nobody = vec![0.0; 4];
        let first = Weighed { weights: nobody, not_yet_usable: 3, stale: 1, is_fallback: true };
        let weights = vec![0.0, 5.0, 5.5, 20_000.0];
        let second = Weighed { weights, not_yet_usable: 0, stale: 1, is_fallback: false };
        meter.weighed(&first);
        meter.weighed(&second);
        let metrics = told(&meter);
        let of = [("mesh.cluster", "users")];
        let total = |name: &str| metrics.total(&format!("mesh.client.weights{name}"), &of);
        assert_eq!((total(".fallbacks"), total(".not_yet_usable")), (1.0, 3.0));
        assert_eq!((total(".stale"), total("")), (2.0, 8.0));
        let text = metrics.to_prometheus();
        for (bound, count) in [("0", 5), ("5", 6), ("10", 7), ("10000", 7), ("+Inf", 8)] {
            let name = "mesh_client_weights_bucket";
            let line = format!("{name}{{mesh_cluster=\"users\",le=\"{bound}\"}} {count}\n");
            assert!(text.contains(&line), "{line} is not in {text}");
        }
        let MetricValue::Distribution { sum, .. } = metrics.families[0].samples[0].value() else {
            panic!("{metrics:?}")
        };
        assert_eq!(*sum, 20_010.5);
    }
}
