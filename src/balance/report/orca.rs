//! The message of a load report (`xds.data.orca.v3.OrcaLoadReport`), and what its numbers may be.

use std::time::Duration;

use bytes::Bytes;

/// What a number of a report is at most: more says nothing more, and no sum of such overflows.
const MOST: f64 = 1e15;

/// `xds.data.orca.v3.OrcaLoadReport`.
///
/// A protobuf map is a list of its entries on the wire: as a list it is read in place.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Report {
    #[prost(double, tag = "1")]
    pub(crate) cpu_utilization: f64,
    #[prost(double, tag = "2")]
    pub(crate) mem_utilization: f64,
    /// Deprecated; `rps_fractional` says it.
    #[prost(uint64, tag = "3")]
    pub(crate) rps: u64,
    #[prost(message, repeated, tag = "4")]
    pub(crate) request_cost: Vec<Entry>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) utilization: Vec<Entry>,
    #[prost(double, tag = "6")]
    pub(crate) rps_fractional: f64,
    #[prost(double, tag = "7")]
    pub(crate) eps: f64,
    #[prost(message, repeated, tag = "8")]
    pub(crate) named_metrics: Vec<Entry>,
    #[prost(double, tag = "9")]
    pub(crate) application_utilization: f64,
}

/// An entry of one of its maps. The name stays bytes: it is compared and never shown.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) name: Bytes,
    #[prost(double, tag = "2")]
    pub(crate) value: f64,
}

/// `xds.service.orca.v3.OrcaLoadReportRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReportRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) report_interval: Option<Interval>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(crate) request_cost_names: Vec<Bytes>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Interval {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

impl Entry {
    pub(crate) fn new(name: &str, value: f64) -> Self {
        Self { name: Bytes::copy_from_slice(name.as_bytes()), value }
    }

    pub(crate) const fn of(name: &'static str, value: f64) -> Self {
        Self { name: Bytes::from_static(name.as_bytes()), value }
    }
}

impl Report {
    /// Queries per second, however they were said.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub(crate) fn qps(&self) -> Option<f64> {
        usable(self.rps_fractional).or_else(|| usable(self.rps as f64))
    }

    /// A named metric; of several of one name it is the last that counts, as in any protobuf map.
    pub(crate) fn named(&self, name: &str) -> Option<f64> {
        find(&self.named_metrics, name)
    }
}

/// The number of the entry of that name, whatever it is.
pub(super) fn find(entries: &[Entry], name: &str) -> Option<f64> {
    let entry = entries.iter().rev().find(|entry| entry.name == name.as_bytes());
    entry.map(|entry| entry.value)
}

/// A number of a report as it counts: over 0, and bounded. Protobuf cannot tell 0 from nothing,
/// and what is no number, infinite or negative is as good as nothing.
//= gRFC A114 §"Validity and Edge Cases": any value <= 0 is treated as missing and ignored
pub(super) fn usable(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then(|| value.min(MOST))
}

impl Interval {
    pub(crate) fn new(duration: Duration) -> Self {
        Self {
            seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            nanos: duration.subsec_nanos().cast_signed(),
        }
    }

    /// As a duration; a negative one is none.
    pub(crate) fn duration(self) -> Duration {
        let seconds = u64::try_from(self.seconds).unwrap_or(0);
        let nanos = u32::try_from(self.nanos).unwrap_or(0).min(999_999_999);
        Duration::new(seconds, nanos)
    }
}
