//! What a response head is for its endpoint.

use http::StatusCode;

use crate::balance::{Outcome, verdict::Failures};

/// The outcome for the endpoint, when the response head decides it, by what its policy says are
/// failures.
#[inline]
pub(super) fn outcome(
    said: Option<&Failures>,
    is_grpc: bool,
    status: StatusCode,
    code: Option<i32>,
) -> Option<Outcome> {
    let Some(said) = said else { return usual(is_grpc, status, code) };
    if is_grpc && status.is_success() {
        return code.map(|code| said.codes().outcome(code));
    }
    Some(said.of_http(status.as_u16()))
}

fn usual(is_grpc: bool, status: StatusCode, code: Option<i32>) -> Option<Outcome> {
    if !is_grpc || !status.is_success() {
        return Some(Outcome::of_http(status.as_u16()));
    }
    code.map(Outcome::of_grpc)
}
