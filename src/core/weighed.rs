//! What became of the weights of a cluster's endpoints: the words between who computes them and who counts.

/// The weights as load reports gave them at one moment (gRFC A58).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Weighed {
    /// That of each endpoint; 0 without a usable one.
    pub(crate) weights: Vec<f64>,
    /// Endpoints that have not reported, or not for long enough.
    pub(crate) not_yet_usable: u64,
    /// Endpoints whose last report is too old.
    pub(crate) stale: u64,
    /// Too few have a weight: all take turns alike.
    pub(crate) is_fallback: bool,
}
