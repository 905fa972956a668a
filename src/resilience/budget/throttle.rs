//! gRPC's throttle: retries only while most attempts succeed.
//!
//= gRFC A6 §"Throttling Retry Attempts and Hedged RPCs"

use super::atomic::{AtomicU32, Ordering};

/// Parts of a token: gRPC reads ratios to three decimals.
const TOKEN: u32 = 1_000;

/// A count of tokens between 0 and its maximum. A failure takes one, a success gives a part of one
/// back; further attempts are made while there are more than half of them.
#[derive(Debug)]
pub(super) struct Throttle {
    tokens: AtomicU32,
    most: u32,
    success: u32,
}

impl Throttle {
    /// A full one.
    pub(super) fn new(max_tokens: f64, token_ratio: f64) -> Self {
        let (most, success) = (parts(max_tokens), parts(token_ratio));
        Self { tokens: AtomicU32::new(most), most, success }
    }

    /// Whether one more attempt may be made.
    pub(super) fn allows(&self) -> bool {
        self.tokens.load(Ordering::Acquire) > self.most / 2
    }

    /// An attempt has ended.
    pub(super) fn ended(&self, failed: bool) {
        if !failed && self.tokens.load(Ordering::Acquire) == self.most {
            // Mostly it is full, and nothing is written that all threads read.
            return;
        }
        let step = |tokens: u32| {
            Some(if failed {
                tokens.saturating_sub(TOKEN)
            } else {
                tokens.saturating_add(self.success).min(self.most)
            })
        };
        // It never fails: there is always a next value.
        let _before = self.tokens.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
    }

    /// Thousandths of tokens that are there.
    #[cfg(test)]
    pub(super) fn tokens(&self) -> u32 {
        self.tokens.load(Ordering::Acquire)
    }
}

/// A number in thousandths.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn parts(number: f64) -> u32 {
    if number.is_nan() {
        return 0;
    }
    (number.clamp(0.0, 1_000_000.0) * f64::from(TOKEN)).round() as u32
}
