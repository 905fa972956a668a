//! The parameters of Prequal, as a pick reads them.

use super::hot::MEMORY;
use crate::{config, core::nanos};

/// Up to so many endpoints a quantile says nothing: the least loaded are cold.
//= shared experience: prequal-rs found Q_RIF useless with 4 replicas or fewer
const FEW: usize = 4;
/// What a report removes of the pool when it comes in, where nothing else is said. A call brings one
/// report, which goes by its age and its uses: removing more leaves a client of little traffic
/// with too few to choose from (`docs/SIMULATOR.md`, "What was tuned").
const REMOVED: f32 = 0.0;

/// The parameters of Prequal, as a pick reads them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) pool_size: usize,
    /// How long a report counts. Nanoseconds.
    pub(crate) max_age: u64,
    /// Probes per call.
    pub(crate) probe_rate: f32,
    /// What a report removes of the pool when it comes in.
    pub(super) removed: f32,
    /// Reports per call, and what of them is removed.
    incoming: f32,
    outgoing: f32,
    /// 1 + δ.
    uses: f32,
    hot_quantile: f32,
    /// The quantile's place among as many reports as are remembered.
    hot_place: u32,
}

impl Settings {
    /// Of a validated configuration.
    #[expect(clippy::cast_possible_truncation, reason = "validated: a few")]
    pub(crate) fn new(config: &config::Prequal) -> Self {
        let probe_rate = config.probe_rate() as f32;
        // Said per call; a call brings its own report and those of its probes.
        let incoming = 1.0 + probe_rate;
        let removed = config.remove_rate.map_or(REMOVED, |rate| rate as f32 / incoming);
        let hot_quantile = config.hot_quantile() as f32;
        Self {
            pool_size: config.pool_size() as usize,
            max_age: nanos(config.max_age()).max(1),
            probe_rate,
            removed,
            incoming,
            outgoing: incoming * removed,
            uses: 1.0 + config.delta() as f32,
            hot_quantile,
            hot_place: place(MEMORY, hot_quantile),
        }
    }

    /// The hot quantile's place among so many.
    #[inline]
    pub(super) fn hot_place(&self, len: usize) -> u32 {
        if len == MEMORY { self.hot_place } else { place(len, self.hot_quantile) }
    }

    /// Whether so few endpoints are compared by their calls in flight alone.
    #[inline]
    pub(super) fn is_few(endpoints: usize) -> bool {
        endpoints <= FEW
    }

    /// Whether a report that has been used so often is used up. `chance` is in `0..1`: what is
    /// fractional is rounded at random.
    //= NSDI '24 §4.2: b = max{1, (1+δ) / ((1 − m/n)·r_probe − r_remove)}; without end where the
    //= denominator is not over 0
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "small, or an estimate"
    )]
    #[inline]
    pub(super) fn is_used_up(&self, uses: u32, endpoints: usize, chance: f32) -> bool {
        if endpoints <= self.pool_size {
            return false;
        }
        // An index is a `u32`, and as a float that is one instruction.
        let (m, n) = (self.pool_size as u32 as f32, endpoints as u32 as f32);
        let surplus = (n - m) * self.incoming - n * self.outgoing;
        // A negative surplus is never over what is on the right.
        (uses as f32 + chance) * surplus >= self.uses * n
    }
}

/// The quantile's place among so many.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index of a few"
)]
pub(super) fn place(len: usize, quantile: f32) -> u32 {
    ((len as f32 * quantile) as u32).min(len.saturating_sub(1) as u32)
}
