//! Shares of requests, as places below which a random word falls.

/// Where a share ends; none: it is all of them.
pub(crate) fn below(percent: f64) -> Option<u64> {
    if percent >= 100.0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of 2^64, and the cast of a float saturates"
    )]
    Some((percent / 100.0 * u64::MAX as f64) as u64)
}
