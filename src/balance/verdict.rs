//! Which answers are failures of their endpoint, where a policy says it.

use std::ops::RangeInclusive;

use super::flight::Outcome;
use crate::config::{self, IntegerRange};

/// The compiled word of a policy; what it leaves out is as ever.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Failures {
    statuses: Option<Vec<RangeInclusive<u16>>>,
    codes: Codes,
}

/// gRPC codes, one bit each; none at all: the usual ones.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Codes(pub(crate) Option<u32>);

// === impl Failures ===

impl Failures {
    pub(crate) fn new(config: &config::Failures) -> Self {
        let config::Failures { statuses, grpc } = config;
        let bit = |code: &i32| u32::try_from(*code).ok().and_then(|code| 1_u32.checked_shl(code));
        Self {
            statuses: statuses.as_ref().map(|list| list.iter().filter_map(range).collect()),
            codes: Codes(
                grpc.as_ref().map(|list| list.iter().filter_map(bit).fold(0, |a, b| a | b)),
            ),
        }
    }

    /// What a status of HTTP is for its endpoint.
    pub(crate) fn of_http(&self, status: u16) -> Outcome {
        let usual = Outcome::of_http(status);
        match &self.statuses {
            None => usual,
            Some(list) => said(list.iter().any(|range| range.contains(&status)), usual),
        }
    }

    /// The same of gRPC's statuses, which may come after the head.
    pub(crate) fn codes(&self) -> Codes {
        self.codes
    }
}

// === impl Codes ===

impl Codes {
    /// What a status of gRPC is for its endpoint.
    pub(crate) fn outcome(self, code: i32) -> Outcome {
        let usual = Outcome::of_grpc(code);
        let Some(codes) = self.0 else { return usual };
        let bit = u32::try_from(code).ok().and_then(|code| 1_u32.checked_shl(code)).unwrap_or(0);
        said(codes & bit != 0, usual)
    }
}

/// A failure is as bad as it usually is, or plainly one.
fn said(is_failure: bool, usual: Outcome) -> Outcome {
    match usual {
        _ if !is_failure => Outcome::Success,
        Outcome::Gateway => Outcome::Gateway,
        _ => Outcome::Failure,
    }
}

fn range(range: &IntegerRange) -> Option<RangeInclusive<u16>> {
    let (first, last) = (range.start.max(0), range.end.checked_sub(1)?.min(999));
    if first > last {
        return None;
    }
    Some(u16::try_from(first).ok()?..=u16::try_from(last).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_takes_the_place_of_what_is_usual() {
        let mut config = config::Failures::default();
        config.statuses = Some(vec![IntegerRange { start: 429, end: 430 }]);
        let failures = Failures::new(&config);
        assert_eq!(failures.of_http(429), Outcome::Failure);
        assert_eq!(failures.of_http(503), Outcome::Success);
        assert_eq!(failures.codes().outcome(14), Outcome::Gateway, "nothing is said of gRPC");
        config.statuses = None;
        config.grpc = Some(vec![7, 14]);
        let failures = Failures::new(&config);
        assert_eq!(failures.of_http(500), Outcome::Failure);
        assert_eq!(failures.codes().outcome(7), Outcome::Failure);
        assert_eq!(failures.codes().outcome(14), Outcome::Gateway);
        assert_eq!(failures.codes().outcome(13), Outcome::Success);
        assert_eq!(failures.codes().outcome(99), Outcome::Success);
        assert_eq!(failures.codes().outcome(i32::MIN), Outcome::Success);
    }

    #[test]
    fn an_empty_list_is_no_failure_at_all() {
        let mut config = config::Failures::default();
        (config.statuses, config.grpc) = (Some(Vec::new()), Some(Vec::new()));
        let failures = Failures::new(&config);
        assert_eq!(failures.of_http(503), Outcome::Success);
        assert_eq!(failures.codes().outcome(14), Outcome::Success);
    }
}
