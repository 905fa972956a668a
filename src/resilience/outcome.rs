//! What a call has come to, as far as protection asks.

use std::error::Error as StdError;

use http::{HeaderMap, StatusCode};

use crate::{
    config::IntegerRange,
    core::{BodyEnd, Error, ErrorKind, Phase, Refusal, grpc},
    resilience::exchange::sealed::Answer,
};

/// What it has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It was answered with this HTTP status.
    Status(u16),
    /// With this gRPC code.
    Grpc(i32),
    /// It was not answered, or not in time.
    Failed,
    /// It failed on this side, which says nothing of the service.
    Local,
}

/// Statuses and codes that a setting names.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    statuses: Vec<IntegerRange>,
    /// A bit for each code.
    codes: u32,
}

// === impl Outcome ===

impl Outcome {
    pub(crate) fn of_head(status: StatusCode, headers: &HeaderMap) -> Self {
        match grpc::status_of(headers) {
            Some(code) => Self::Grpc(code),
            None => Self::Status(status.as_u16()),
        }
    }

    /// What another client's answer comes to. One that was made on this side says nothing of the service: an
    /// injected fault, or a failure of a mesh as its gRPC callers get it.
    pub(crate) fn of_answer(response: &impl Answer) -> Self {
        let made = response.extensions();
        if made.get::<Refusal>().is_some() {
            return Self::Local;
        }
        match made.get::<Error>() {
            Some(error) => Self::of_error(error),
            None => Self::of_head(response.status(), response.headers()),
        }
    }

    pub(crate) fn of_error(error: &Error) -> Self {
        // What ends before an endpoint is called has not met the service, a wait for a guard among it.
        let is_early = matches!(
            error.phase(),
            Phase::Resolve | Phase::Route | Phase::Authorize | Phase::Admission | Phase::Pick
        );
        if is_early || error.refusal().is_some() {
            return Self::Local;
        }
        match error.kind() {
            ErrorKind::Timeout
            | ErrorKind::Connect
            | ErrorKind::Identity
            | ErrorKind::Refused
            | ErrorKind::Transport => Self::Failed,
            _ => Self::Local,
        }
    }

    /// What another client's error comes to: a failure, unless it is known to be one of this side.
    pub(crate) fn of_foreign(error: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<Error>() {
                return Self::of_error(error);
            }
            next = error.source();
        }
        Self::Failed
    }

    /// How a gRPC call has ended whose status was to come in its trailers.
    pub(crate) fn of_body(end: BodyEnd) -> Self {
        match end {
            BodyEnd::Complete(Some(code)) => Self::Grpc(code),
            BodyEnd::Failed | BodyEnd::Stalled | BodyEnd::Expired => Self::Failed,
            // What was read of it was good; a stream without a status is nobody's refusal.
            BodyEnd::Complete(None) | BodyEnd::Dropped => Self::Grpc(0),
        }
    }
}

// === impl Named ===

impl Named {
    /// The ranges are half open, the codes 0 to 16; what is not said is as usual.
    pub(crate) fn new(
        statuses: Option<&[IntegerRange]>,
        usual: &[(i64, i64)],
        codes: Option<&[i32]>,
        usual_codes: &[i32],
    ) -> Self {
        let usual = usual.iter().map(|(start, end)| IntegerRange { start: *start, end: *end });
        let statuses = statuses.map_or_else(|| usual.collect(), <[IntegerRange]>::to_vec);
        let bit = |code: &i32| u32::try_from(*code).ok().and_then(|code| 1_u32.checked_shl(code));
        let codes = codes.unwrap_or(usual_codes).iter().filter_map(bit);
        Self { statuses, codes: codes.fold(0, |codes, bit| codes | bit) }
    }

    /// Whether an answer is among them; none where there was no answer.
    pub(crate) fn has(&self, outcome: Outcome) -> Option<bool> {
        match outcome {
            Outcome::Status(status) => {
                let status = i64::from(status);
                let is_in = |range: &IntegerRange| (range.start..range.end).contains(&status);
                Some(self.statuses.iter().any(is_in))
            }
            Outcome::Grpc(code) => {
                let bit = u32::try_from(code).ok().and_then(|code| 1_u32.checked_shl(code));
                Some(bit.is_some_and(|bit| self.codes & bit != 0))
            }
            Outcome::Failed | Outcome::Local => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_here_says_nothing_of_the_service() {
        let error = Error::new(ErrorKind::Overloaded, Phase::Admission);
        assert_eq!(Outcome::of_error(&error), Outcome::Local);
        let error = Error::new(ErrorKind::Timeout, Phase::Headers);
        assert_eq!(Outcome::of_error(&error), Outcome::Failed);
        assert_eq!(Outcome::of_error(&error.refused(Refusal::Fault)), Outcome::Local);
        let error = Error::new(ErrorKind::Timeout, Phase::Admission);
        assert_eq!(Outcome::of_error(&error), Outcome::Local, "it was not sent");
    }

    #[test]
    fn ranges_are_half_open_and_codes_are_single() {
        let named = Named::new(None, &[(429, 430), (503, 504)], None, &[8, 14]);
        let has = |outcome| named.has(outcome);
        assert_eq!(has(Outcome::Status(429)), Some(true));
        assert_eq!(has(Outcome::Status(430)), Some(false));
        assert_eq!(has(Outcome::Status(503)), Some(true));
        assert_eq!(has(Outcome::Grpc(14)), Some(true));
        assert_eq!(has(Outcome::Grpc(0)), Some(false));
        assert_eq!(has(Outcome::Grpc(99)), Some(false));
        assert_eq!(has(Outcome::Grpc(-1)), Some(false));
        assert_eq!(has(Outcome::Failed), None);
        let said = [IntegerRange { start: 500, end: 600 }];
        let named = Named::new(Some(&said), &[], Some(&[]), &[8]);
        assert_eq!(named.has(Outcome::Status(429)), Some(false));
        assert_eq!(named.has(Outcome::Status(599)), Some(true));
        assert_eq!(named.has(Outcome::Grpc(8)), Some(false));
    }
}
