//! The names of metrics: those of ORCA's fields, and those by which Prequal's signals travel.

use super::orca::{Report, find, usable};

/// The named metric of the calls that a server has in flight. Unit: calls.
///
/// It is `x-prequal-rif` of envoy-prequal in another place.
pub(crate) const RIF: &str = "prequal_rif";
/// The named metric of the latency that a server expects of the next call. Unit: microseconds.
///
/// It is `x-prequal-latency-us` of envoy-prequal in another place.
pub(crate) const LATENCY_US: &str = "prequal_latency_us";

pub(super) const CPU: &str = "cpu_utilization";
pub(super) const MEM: &str = "mem_utilization";
pub(super) const APPLICATION: &str = "application_utilization";
pub(super) const EPS: &str = "eps";
pub(super) const RPS: &str = "rps_fractional";
pub(super) const NAMED: &str = "named_metrics.";
pub(super) const UTILIZATION: &str = "utilization.";
pub(super) const COST: &str = "request_cost.";

/// A metric that may stand for utilisation.
//= gRFC A114 §"Weight Calculation Logic"; Envoy knows `utilization.` besides
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Metric {
    Application,
    Cpu,
    Memory,
    /// A key of `named_metrics`.
    Named(Box<str>),
    /// A key of `utilization`.
    Utilization(Box<str>),
}

impl Metric {
    /// Reads a name; nothing for one that stands for no utilisation.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let key = |prefix| name.strip_prefix(prefix).filter(|key| !key.is_empty());
        Some(match name {
            APPLICATION => Self::Application,
            CPU => Self::Cpu,
            MEM => Self::Memory,
            _ => match (key(NAMED), key(UTILIZATION)) {
                (Some(key), _) => Self::Named(key.into()),
                (None, Some(key)) => Self::Utilization(key.into()),
                (None, None) => return None,
            },
        })
    }

    /// What the report says of it, if that is anything.
    pub(super) fn of(&self, report: &Report) -> Option<f64> {
        usable(match self {
            Self::Application => report.application_utilization,
            Self::Cpu => report.cpu_utilization,
            Self::Memory => report.mem_utilization,
            Self::Named(key) => report.named(key)?,
            Self::Utilization(key) => find(&report.utilization, key)?,
        })
    }
}
