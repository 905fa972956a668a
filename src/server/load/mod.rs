//! Load reports: measured around a service, attached to its responses, streamed beside them.

pub mod bench;
mod body;
mod future;
mod latency;
mod layer;
mod measure;
mod rate;
mod stream;
#[cfg(test)]
mod tests;

pub use self::{
    body::LoadReportBody,
    future::LoadReportFuture,
    layer::{LoadReport, LoadReportLayer},
    measure::{ServerLoad, ServerLoadBuilder},
    stream::{OutOfBand, OutOfBandFuture},
};
pub use crate::balance::report::Format as ReportFormat;
