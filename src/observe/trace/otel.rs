//! Spans through the OpenTelemetry API. The SDK, its samplers and exporters stay with the
//! application.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use http::{HeaderValue, Request};
use opentelemetry::{
    Context, InstrumentationScope, Key, KeyValue, StringValue,
    baggage::BaggageExt,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
        TraceId, TraceState, TracerProvider,
    },
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{
    CallStart, TraceContext, lists,
    recorder::{Parent, Started, Tracer},
    recording::{self, CallSpan, Kind, Name, Recording, Span, Value, Why},
    traceparent::Ids,
};
use crate::{core::Outgoing, observe::SCHEMA};

/// A tracer of the application's provider.
pub(super) struct Otel<T> {
    tracer: Arc<T>,
}

struct OtelCall<T: opentelemetry::trace::Tracer> {
    span: OtelSpan<T::Span>,
    tracer: Arc<T>,
    /// What attempts are children of.
    context: Context,
    baggage: Option<HeaderValue>,
}

struct OtelSpan<S>(S);

/// Erases a provider of the application.
pub(crate) fn tracer<P>(provider: &P) -> Arc<dyn Tracer>
where
    P: TracerProvider,
    P::Tracer: Send + Sync + 'static,
    <P::Tracer as opentelemetry::trace::Tracer>::Span: Send + Sync + 'static,
{
    let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA)
        .build();
    Arc::new(Otel { tracer: Arc::new(provider.tracer_with_scope(scope)) })
}

// === impl Otel ===

impl<T> Tracer for Otel<T>
where
    T: opentelemetry::trace::Tracer + Send + Sync + 'static,
    T::Span: Send + Sync + 'static,
{
    fn current(&self, extensions: &http::Extensions) -> Option<TraceContext> {
        with_context(extensions, |context| {
            let span = context.span();
            let context_of = carried(span.span_context())?;
            Some(context_of.with_baggage(baggage_of(context)))
        })
    }

    fn start(
        &self,
        call: &CallStart<'_>,
        request: &Request<Outgoing>,
        parent: Parent<'_>,
    ) -> Started {
        let context = with_context(request.extensions(), |context| match parent {
            Parent::Remote(remote) => context.with_remote_span_context(span_context(remote)),
            Parent::Current | Parent::Nobody => context.clone(),
        });
        let kind = match recording::kind(call) {
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        };
        let mut builder =
            SpanBuilder::from_name(recording::first_name(call, request.method())).with_kind(kind);
        if !call.waited.is_zero() {
            builder.start_time = SystemTime::now().checked_sub(call.waited);
        }
        let span = self.tracer.build_with_context(builder, &context);
        let baggage = match parent {
            Parent::Remote(remote) => remote.baggage().cloned(),
            Parent::Current | Parent::Nobody => baggage_of(&context),
        };
        if !span.is_recording() {
            return Started::Unsampled(
                carried(span.span_context()).map(|context| context.with_baggage(baggage)),
            );
        }
        let context = context.with_remote_span_context(span.span_context().clone());
        let span =
            OtelCall { span: OtelSpan(span), tracer: Arc::clone(&self.tracer), context, baggage };
        Started::Recorded(Box::new(Recording::new(span, call, request)))
    }
}

impl<T> CallSpan for OtelCall<T>
where
    T: opentelemetry::trace::Tracer + Send + Sync + 'static,
    T::Span: Send + Sync + 'static,
{
    type Attempt = OtelSpan<T::Span>;

    fn attempt(&mut self, name: &Name) -> Self::Attempt {
        let mut builder = SpanBuilder::from_name(name.text()).with_kind(SpanKind::Client);
        builder.attributes = Some(Vec::with_capacity(16));
        OtelSpan(self.tracer.build_with_context(builder, &self.context))
    }

    fn context(&self, attempt: &Self::Attempt) -> Option<TraceContext> {
        Some(carried(attempt.0.span_context())?.with_baggage(self.baggage.clone()))
    }
}

impl<T> Span for OtelCall<T>
where
    T: opentelemetry::trace::Tracer + Send + Sync + 'static,
    T::Span: Send + Sync + 'static,
{
    fn set(&mut self, key: &'static str, value: Value) {
        self.span.set(key, value);
    }

    fn tag(&mut self, key: &Arc<str>, value: Arc<str>) {
        self.span.tag(key, value);
    }

    fn rename(&mut self, name: Arc<str>) {
        self.span.rename(name);
    }

    fn set_error(&mut self) {
        self.span.set_error();
    }

    fn retry(&mut self, why: &Why) {
        self.span.retry(why);
    }

    fn retry_refused(&mut self, reason: &'static str) {
        self.span.retry_refused(reason);
    }

    fn end(&mut self) {
        self.span.end();
    }
}

impl<S: opentelemetry::trace::Span + Send + Sync + 'static> Span for OtelSpan<S> {
    fn set(&mut self, key: &'static str, value: Value) {
        let value = match value {
            Value::Int(value) => value.into(),
            Value::Seconds(value) => value.into(),
            Value::Static(value) => value.into(),
            Value::Shared(value) => opentelemetry::Value::String(StringValue::from(value)),
        };
        self.0.set_attribute(KeyValue::new(key, value));
    }

    fn tag(&mut self, key: &Arc<str>, value: Arc<str>) {
        self.0.set_attribute(KeyValue::new(Key::from(Arc::clone(key)), value));
    }

    fn rename(&mut self, name: Arc<str>) {
        self.0.update_name(name.to_string());
    }

    fn set_error(&mut self) {
        self.0.set_status(Status::error(""));
    }

    fn retry(&mut self, why: &Why) {
        let mut attributes = vec![KeyValue::new("mesh.retry.reason", why.reason)];
        if let Some(status) = &why.status {
            attributes.push(KeyValue::new("mesh.retry.status", Arc::clone(status)));
        }
        attributes.push(KeyValue::new("mesh.retry.backoff", why.backoff));
        self.0.add_event("mesh.retry", attributes);
    }

    fn retry_refused(&mut self, reason: &'static str) {
        let attributes = vec![KeyValue::new("mesh.retry.refusal", reason)];
        self.0.add_event("mesh.retry_refused", attributes);
    }

    fn end(&mut self) {
        self.0.end();
    }
}

impl Name {
    fn text(&self) -> Cow<'static, str> {
        match self {
            Self::Static(name) => Cow::Borrowed(name),
            Self::Shared(name) => Cow::Owned(name.to_string()),
        }
    }
}

/// The context beside the request, else the current one.
fn with_context<R>(extensions: &http::Extensions, read: impl FnOnce(&Context) -> R) -> R {
    match extensions.get::<Context>() {
        Some(context) => read(context),
        None => Context::map_current(read),
    }
}

/// A span's context as it goes over the wire; nothing for one that is none.
fn carried(context: &SpanContext) -> Option<TraceContext> {
    let flags = context.trace_flags().to_u8();
    let ids = Ids::new(context.trace_id().to_bytes(), context.span_id().to_bytes(), flags)?;
    let state = context.trace_state();
    // The default state has no allocation to look into.
    let state = if *state == TraceState::NONE {
        None
    } else {
        let value = HeaderValue::try_from(state.header()).ok();
        lists::tracestate(value.iter())
    };
    Some(TraceContext::of(ids).with_state(state))
}

fn span_context(context: &TraceContext) -> SpanContext {
    let state = context.tracestate().and_then(|state| state.to_str().ok()?.parse().ok());
    SpanContext::new(
        TraceId::from_bytes(context.trace_id()),
        SpanId::from_bytes(context.span_id()),
        TraceFlags::new(context.ids().flags),
        true,
        state.unwrap_or_default(),
    )
}

//= W3C Baggage §"value": baggage-octet is %x21 / %x23-2B / %x2D-3A / %x3C-5B / %x5D-7E; what is
//= outside of it, and the percent sign, is percent-encoded
const BAGGAGE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\').add(b'%');

/// The baggage of a context as a header; nothing if there is none.
fn baggage_of(context: &Context) -> Option<HeaderValue> {
    let baggage = context.baggage();
    if baggage.is_empty() {
        return None;
    }
    let mut text = String::new();
    for (key, (value, metadata)) in baggage {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(key.as_str());
        text.push('=');
        text.extend(utf8_percent_encode(value.as_str(), BAGGAGE));
        if !metadata.as_str().is_empty() {
            text.push(';');
            text.push_str(metadata.as_str());
        }
    }
    let value = HeaderValue::try_from(text).ok();
    lists::baggage(value.iter())
}
