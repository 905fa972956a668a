//! Where spans and metrics go.

use super::MeshBuilder;
use crate::observe::Propagation;
#[cfg(feature = "otel-033")]
use crate::observe::otel::Exporter;

impl MeshBuilder {
    /// How endpoints learn which trace a request is a part of. Default: W3C Trace Context.
    ///
    /// Without a tracer, a trace context is only passed on: a `traceparent` in the request's
    /// headers, or a [`TraceContext`](crate::TraceContext) in its extensions. Where there is none,
    /// nothing is sent.
    pub fn propagate(mut self, propagation: Propagation) -> Self {
        self.tracing.propagation = Some(propagation);
        self
    }

    /// Records calls and attempts as spans of this OpenTelemetry provider. Default: none.
    ///
    /// A call's parent is, in this order: the `traceparent` of the request's headers, unless
    /// [`Propagation::None`](crate::Propagation::None) is said, a
    /// [`TraceContext`](crate::TraceContext) or an `opentelemetry::Context` in its extensions, the
    /// current `Context` when the call is first polled. Whose parent is not sampled is not
    /// recorded, and the provider not asked; of every other call its sampler decides, by trace id
    /// and name: attributes come after. A call that is not recorded allocates nothing but the
    /// header that says so.
    ///
    /// A call is one span and a child for each attempt, by OpenTelemetry's semantic conventions
    /// 1.44: see `docs/TRACING.md`. HTTP's end with the response head, gRPC's with the status.
    #[cfg(feature = "otel-033")]
    pub fn tracer_provider<P>(mut self, provider: &P) -> Self
    where
        P: opentelemetry::trace::TracerProvider,
        P::Tracer: Send + Sync + 'static,
        <P::Tracer as opentelemetry::trace::Tracer>::Span: Send + Sync + 'static,
    {
        self.tracing.tracer = Some(crate::observe::trace::tracer(provider));
        self
    }

    /// Records calls and attempts as spans of `tracing`, too. Default: no.
    ///
    /// Their target is `tower_mesh`. A call is a span `call` of level INFO, a child of the span
    /// that is current when it is first polled; each attempt is a child `attempt` of level DEBUG.
    /// The fields have the names of OpenTelemetry's attributes. While no subscriber is interested,
    /// a call pays for asking alone.
    ///
    /// These spans have no ids that endpoints could be told: used alone, without a tracer, they send no
    /// trace context. One that the request has, as a `traceparent` header or a
    /// [`TraceContext`](crate::TraceContext) in its extensions, is passed on as it is. For endpoints
    /// that are children of the mesh's spans give a tracer provider; `docs/TRACING.md` has the choices.
    #[cfg(feature = "tracing")]
    pub fn tracing_spans(mut self) -> Self {
        self.tracing.spans = Some(std::sync::Arc::new(crate::observe::trace::Spans));
        self
    }

    /// Whether [`Mesh::metrics`](crate::Mesh::metrics) has samples for every endpoint that was
    /// called, beside those of its cluster. Default: true.
    ///
    /// Each such endpoint has up to five samples; with thousands of them a reader may want none.
    /// Nothing is saved in a call.
    pub fn endpoint_metrics(mut self, wanted: bool) -> Self {
        self.telemetry.endpoint_metrics = Some(wanted);
        self
    }

    /// Takes the metrics to this meter provider as well. Default: none.
    ///
    /// Only the API of `opentelemetry` 0.33 is used: the SDK, its reader and its exporter are the
    /// application's. What that exporter meets, no call waits for or learns of. Each duration is
    /// recorded through it once more: `docs/METRICS.md` tells what that costs.
    #[cfg(feature = "otel-033")]
    pub fn meter_provider(
        mut self,
        provider: &(impl opentelemetry::metrics::MeterProvider + ?Sized),
    ) -> Self {
        self.exporter = Some(Exporter::new(provider));
        self
    }
}
