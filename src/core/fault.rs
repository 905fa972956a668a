//! Faults that were injected on purpose.

use std::{fmt, time::Duration};

/// A fault that was injected into a call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum InjectedFault {
    /// It was delayed so long.
    Delay(Duration),
    /// It was answered with this HTTP status instead of being sent.
    Status(u16),
    /// It was answered with this gRPC code instead of being sent.
    Grpc(i32),
    /// The body of its response is passed on so slowly. Unit: bytes per second.
    ResponseRate(u64),
    /// One was due, and too many are active.
    Overflow,
}

// === impl InjectedFault ===

impl InjectedFault {
    /// The kinds as attribute values, by their index.
    pub(crate) const NAMES: [&'static str; 4] = ["delay", "abort", "response_rate", "overflow"];

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Delay(_) => 0,
            Self::Status(_) | Self::Grpc(_) => 1,
            Self::ResponseRate(_) => 2,
            Self::Overflow => 3,
        }
    }
}

impl fmt::Display for InjectedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delay(time) => write!(f, "delay of {time:?}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Grpc(code) => write!(f, "grpc {code}"),
            Self::ResponseRate(rate) => write!(f, "response at {rate} bytes per second"),
            Self::Overflow => f.write_str("overflow"),
        }
    }
}
