//! Spans for users of `tracing`: the same as OpenTelemetry's, under the same field names.

use std::sync::Arc;

use http::Request;
use tracing::field::Empty;

use super::{
    CallStart, TraceContext,
    recorder::{Parent, Started, Tracer},
    recording::{self, CallSpan, Kind, Name, Recording, Span, Value, Why},
};
use crate::core::Outgoing;

/// The current subscriber.
pub(crate) struct Spans;

struct CallFields(tracing::Span);

struct AttemptFields(tracing::Span);

impl Tracer for Spans {
    fn current(&self, _extensions: &http::Extensions) -> Option<TraceContext> {
        None
    }

    fn start(
        &self,
        call: &CallStart<'_>,
        request: &Request<Outgoing>,
        _parent: Parent<'_>,
    ) -> Started {
        let kind = match recording::kind(call) {
            Kind::Client => "client",
            Kind::Internal => "internal",
        };
        let span = tracing::info_span!(
            target: "tower_mesh",
            "call",
            otel.name = recording::first_name(call, request.method()),
            otel.kind = kind,
            otel.status_code = Empty,
            error.type = Empty,
            http.request.method = Empty,
            http.request.method_original = Empty,
            http.response.status_code = Empty,
            rpc.system.name = Empty,
            rpc.method = Empty,
            rpc.response.status_code = Empty,
            server.address = Empty,
            server.port = Empty,
            network.peer.address = Empty,
            network.peer.port = Empty,
            url.full = Empty,
            mesh.service = Empty,
            mesh.route = Empty,
            mesh.cluster = Empty,
            mesh.attempts = Empty,
            mesh.outcome = Empty,
        );
        if span.is_disabled() {
            return Started::Unsampled(None);
        }
        Started::Recorded(Box::new(Recording::new(CallFields(span), call, request)))
    }
}

impl CallSpan for CallFields {
    type Attempt = AttemptFields;

    fn attempt(&mut self, name: &Name) -> AttemptFields {
        let name = match name {
            Name::Static(name) => name,
            Name::Shared(name) => &**name,
        };
        AttemptFields(tracing::debug_span!(
            target: "tower_mesh",
            parent: &self.0,
            "attempt",
            otel.name = name,
            otel.kind = "client",
            otel.status_code = Empty,
            error.type = Empty,
            http.request.method = Empty,
            http.request.resend_count = Empty,
            http.response.status_code = Empty,
            rpc.system.name = Empty,
            rpc.method = Empty,
            rpc.response.status_code = Empty,
            server.address = Empty,
            server.port = Empty,
            network.peer.address = Empty,
            network.peer.port = Empty,
            network.protocol.version = Empty,
            url.full = Empty,
            mesh.endpoint = Empty,
            mesh.attempt = Empty,
            mesh.hedge.after = Empty,
            mesh.retry.reason = Empty,
            mesh.retry.status = Empty,
            mesh.retry.backoff = Empty,
            mesh.outcome = Empty,
        ))
    }

    fn context(&self, _attempt: &AttemptFields) -> Option<TraceContext> {
        None
    }
}

/// Both kinds of spans record alike.
macro_rules! fields {
    ($($span:ty),+) => {$(
        impl Span for $span {
            fn set(&mut self, key: &'static str, value: Value) {
                record(&self.0, key, value);
            }

            /// Fields of `tracing` are fixed when it is compiled: tags are for OpenTelemetry.
            fn tag(&mut self, _key: &Arc<str>, _value: Arc<str>) {}

            fn rename(&mut self, name: Arc<str>) {
                self.0.record("otel.name", &*name);
            }

            fn set_error(&mut self) {
                self.0.record("otel.status_code", "ERROR");
            }

            fn retry(&mut self, why: &Why) {
                tracing::event!(
                    target: "tower_mesh",
                    parent: &self.0,
                    tracing::Level::DEBUG,
                    {
                        mesh.retry.reason = why.reason,
                        mesh.retry.status = why.status.as_deref(),
                        mesh.retry.backoff = why.backoff,
                    },
                    "mesh.retry"
                );
            }

            fn retry_refused(&mut self, reason: &'static str) {
                tracing::event!(
                    target: "tower_mesh",
                    parent: &self.0,
                    tracing::Level::DEBUG,
                    { mesh.retry.refusal = reason },
                    "mesh.retry_refused"
                );
            }

            fn end(&mut self) {
                self.0 = tracing::Span::none();
            }
        }
    )+};
}

fields!(CallFields, AttemptFields);

fn record(span: &tracing::Span, key: &'static str, value: Value) {
    match value {
        Value::Int(value) => span.record(key, value),
        Value::Seconds(value) => span.record(key, value),
        Value::Static(value) => span.record(key, value),
        Value::Shared(value) => span.record(key, &*value),
    };
}
