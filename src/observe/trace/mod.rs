//! The trace that a call is a part of.
//!
//! `traceparent`, `lists` and `context` read and write W3C's headers; `begin` decides for each call
//! what its endpoints are told and whether it is recorded; a [`Recorder`] is what is recorded of
//! one call, fed by the recording points of `mesh/call`. `recording` knows the conventions, `otel`
//! and `spans` are what records.
#![cfg_attr(
    not(feature = "otel-033"),
    allow(dead_code, reason = "a tracer is told more than is there without one")
)]

mod begin;
mod context;
mod facts;
mod lists;
#[cfg(feature = "otel-033")]
mod otel;
mod recorder;
#[cfg(any(feature = "otel-033", feature = "tracing"))]
mod recording;
mod rules;
#[cfg(feature = "tracing")]
mod spans;
mod traceparent;
#[cfg(any(feature = "otel-033", feature = "tracing"))]
mod url;

#[cfg(feature = "otel-033")]
pub(crate) use self::otel::tracer;
#[cfg(feature = "tracing")]
pub(crate) use self::spans::Spans;
pub use self::{
    begin::Propagation,
    context::{InvalidTraceparent, TraceContext},
};
pub(crate) use self::{
    begin::Tracing,
    facts::{Answer, CallStart, Outcome, Peer},
    recorder::{Recorder, finish},
    rules::Rules,
};
#[cfg(fuzzing)]
pub(crate) use self::{
    lists::{baggage, tracestate},
    traceparent::Ids,
};
