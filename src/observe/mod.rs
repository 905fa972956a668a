//! What is observed of calls: the trace that they are a part of, and the spans that are recorded.

pub(crate) mod trace;

pub use self::trace::{InvalidTraceparent, Propagation, TraceContext};
