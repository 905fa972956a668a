//! Bounded load: no member takes more than a multiple of its share of what is in flight.

/// How full a member is: over 1, its hashes go elsewhere.
///
/// `active` of the cluster's `total` calls in flight are its own; `percent` is the multiple.
pub(in crate::balance) fn overload(active: u32, total: u32, percent: u32, share: f64) -> f64 {
    f64::from(active) / slots(total, percent, share)
}

/// Whether it is over 1, without the division.
#[inline]
pub(in crate::balance) fn is_full(active: u32, total: u32, percent: u32, share: f64) -> bool {
    f64::from(active) > slots(total, percent, share)
}

/// How many calls in flight a member may have.
//= Envoy hostOverloadFactor (arXiv 1608.01350): the calls in flight and one more, times the
//= factor, are the slots; a member has its share of them, rounded up, and one at least
#[inline]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "calls in flight, below 2^58"
)]
fn slots(total: u32, percent: u32, share: f64) -> f64 {
    let slots = ((u64::from(total) + 1) * u64::from(percent)).div_ceil(100).cast_signed();
    let own = slots as f64 * share;
    // What `ceil` does, which many processors have no instruction for.
    let whole = own as i64;
    let whole = whole + i64::from((whole as f64) < own);
    (whole as f64).max(1.0)
}
