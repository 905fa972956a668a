//! Bounded load: no member takes more than a multiple of its share of what is in flight.

/// How full a member is: over 1, its hashes go elsewhere.
///
/// `active` of the cluster's `total` calls in flight are its own; `percent` is the multiple.
//= Envoy hostOverloadFactor (arXiv 1608.01350): the calls in flight and one more, times the
//= factor, are the slots; a member has its share of them, rounded up, and one at least
pub(in crate::balance) fn overload(active: u32, total: u32, percent: u32, share: f64) -> f64 {
    let slots = ((u64::from(total) + 1) * u64::from(percent)).div_ceil(100);
    #[expect(clippy::cast_precision_loss, reason = "calls in flight")]
    let slots = (slots as f64 * share).ceil().max(1.0);
    f64::from(active) / slots
}
