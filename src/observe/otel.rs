//! To OpenTelemetry, through the application's own meter provider.
//!
//! Counters and gauges are observable instruments that read the cells when the SDK collects.
//! There is no observable histogram: a duration is recorded once per call and once per attempt, a weight
//! when it is computed, with attributes that were made when the first of their kind came. The SDK keeps it in memory;
//! whatever becomes of its exporter, no call waits for it or learns of it.

use std::sync::Arc;

use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    metrics::{Histogram, Meter, MeterProvider},
};

use super::{
    durations::{Sink, Sinks},
    family::{Label, LabelValue, Metric, MetricKind},
    histogram::{BOUNDS, WEIGHTS},
    snapshot::{MetricSample, MetricValue},
};

/// The mesh's meter of the application's provider.
#[derive(Clone)]
pub(crate) struct Exporter(Meter);

/// One histogram for each metric of that kind.
struct Histograms(Vec<(Metric, Histogram<f64>)>);

/// A histogram, with the attributes of one cell.
struct Recorded {
    histogram: Histogram<f64>,
    attributes: Box<[KeyValue]>,
}

// === impl Exporter ===

impl Exporter {
    pub(crate) fn new(provider: &(impl MeterProvider + ?Sized)) -> Self {
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(super::SCHEMA)
            .build();
        Self(provider.meter_with_scope(scope))
    }

    /// What the cells of histograms record into as well.
    pub(crate) fn sinks(&self) -> Arc<dyn Sinks> {
        let all = Metric::ALL.into_iter();
        let measured = all.filter(|metric| metric.family().kind == MetricKind::Histogram);
        let histograms = measured.map(|metric| {
            let family = metric.family();
            let bounds = if metric == Metric::Weights { WEIGHTS.to_vec() } else { BOUNDS.to_vec() };
            let builder = self.0.f64_histogram(family.name).with_description(family.help);
            (metric, builder.with_unit(family.unit).with_boundaries(bounds).build())
        });
        Arc::new(Histograms(histograms.collect()))
    }

    /// Lets the SDK read everything else when it collects.
    ///
    /// The API has no way to take an instrument back: `read` gives nothing once the mesh is gone.
    pub(crate) fn observe(
        &self,
        read: impl Fn(Metric) -> Vec<MetricSample> + Clone + Send + Sync + 'static,
    ) {
        for metric in Metric::ALL {
            let (family, read) = (metric.family(), read.clone());
            match family.kind {
                MetricKind::Counter => {
                    let builder = self.0.u64_observable_counter(family.name);
                    let builder = builder.with_description(family.help).with_unit(family.unit);
                    let built = builder.with_callback(move |observer| {
                        for sample in read(metric) {
                            if let MetricValue::Count(count) = sample.value() {
                                observer.observe(*count, &attributes(&sample.labels));
                            }
                        }
                    });
                    built.build();
                }
                MetricKind::UpDownCounter => {
                    let builder = self.0.i64_observable_up_down_counter(family.name);
                    let builder = builder.with_description(family.help).with_unit(family.unit);
                    let built = builder.with_callback(move |observer| {
                        for sample in read(metric) {
                            if let MetricValue::Level(level) = sample.value() {
                                observer.observe(*level, &attributes(&sample.labels));
                            }
                        }
                    });
                    built.build();
                }
                MetricKind::Gauge => {
                    let builder = self.0.f64_observable_gauge(family.name);
                    let builder = builder.with_description(family.help).with_unit(family.unit);
                    let built = builder.with_callback(move |observer| {
                        for sample in read(metric) {
                            if let MetricValue::Number(number) = sample.value() {
                                observer.observe(*number, &attributes(&sample.labels));
                            }
                        }
                    });
                    built.build();
                }
                MetricKind::Histogram => {}
            }
        }
    }
}

impl Sinks for Histograms {
    fn sink(&self, metric: Metric, labels: &[Label]) -> Option<Box<dyn Sink>> {
        let (_, histogram) = self.0.iter().find(|(known, _)| *known == metric)?;
        let attributes = attributes(labels).into();
        Some(Box::new(Recorded { histogram: histogram.clone(), attributes }))
    }
}

impl Sink for Recorded {
    fn record(&self, value: f64) {
        self.histogram.record(value, &self.attributes);
    }
}

fn attributes(labels: &[Label]) -> Vec<KeyValue> {
    let attribute = |(name, value): &Label| {
        let value = match value {
            LabelValue::Static(text) => Value::from(*text),
            LabelValue::Shared(text) => Value::from(Arc::clone(text)),
            LabelValue::Number(number) => Value::from(*number),
        };
        KeyValue::new(*name, value)
    };
    labels.iter().map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::{
        metrics::SdkMeterProvider,
        trace::{SdkTracer, SdkTracerProvider},
    };

    use super::*;

    /// Keeps the scopes that it is asked for.
    #[derive(Default)]
    struct Scopes(Mutex<Vec<InstrumentationScope>>);

    impl MeterProvider for Scopes {
        fn meter_with_scope(&self, scope: InstrumentationScope) -> Meter {
            self.0.lock().unwrap().push(scope.clone());
            SdkMeterProvider::default().meter_with_scope(scope)
        }
    }

    impl TracerProvider for Scopes {
        type Tracer = SdkTracer;

        fn tracer_with_scope(&self, scope: InstrumentationScope) -> SdkTracer {
            self.0.lock().unwrap().push(scope.clone());
            SdkTracerProvider::default().tracer_with_scope(scope)
        }
    }

    #[test]
    fn metrics_and_spans_are_of_one_scope_and_one_schema() {
        let scopes = Scopes::default();
        Exporter::new(&scopes);
        drop(crate::observe::trace::tracer(&scopes));
        let scopes = scopes.0.into_inner().unwrap();
        assert_eq!(scopes.len(), 2);
        assert!(scopes[0].schema_url().is_some());
        assert_eq!(scopes[0].name(), scopes[1].name());
        assert_eq!(scopes[0].schema_url(), scopes[1].schema_url());
    }
}
