//! The lock-free token bucket: one word, which says when the bucket will be full.
//!
//! Tokens come evenly, `tokens_per_fill` of them in each `fill_interval`. Time is counted in parts
//! of a nanosecond, so that the time of one token is a whole number of parts: then no rounding adds
//! up, however long the bucket lives. A bucket that lacks `n` tokens is full in `n` times that
//! time; taking a token moves that moment by the time of one token, and is refused where it would
//! move beyond the time of all of them.
//!
//= Envoy AtomicTokenBucketImpl: filled evenly, not once per interval

use super::atomic::{AtomicU64, Ordering};

/// Parts of a nanosecond at most: 64 bits of them last for 36 years.
const MOST_PARTS: u64 = 16;

/// Where a bucket has been given up.
const GONE: u64 = u64::MAX;

/// How many tokens a bucket has, and how fast they come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rate {
    max: u32,
    /// Parts of a nanosecond.
    parts: u64,
    /// The time of one token, and of all of them. Unit: parts of a nanosecond.
    token: u64,
    room: u64,
}

/// The word, in parts of a nanosecond since the epoch.
#[derive(Debug)]
pub(super) struct Bucket {
    full_at: AtomicU64,
}

/// What came of asking for tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    Yes,
    /// They are there after so many nanoseconds; never, if the bucket has not so many.
    No(Option<u64>),
    /// The bucket has been given up: another one is in its place.
    Gone,
}

// === impl Rate ===

impl Rate {
    /// `per_fill` tokens in `interval` nanoseconds, at most `max` of them kept.
    ///
    /// It is exact where the time of a token has a denominator up to 16 (every rate up to 16 per
    /// second, and every divisor of a thousand million); else a token takes up to a sixteenth of a
    /// nanosecond longer.
    pub(super) fn new(max: u32, per_fill: u32, interval: u64) -> Self {
        let (per_fill, interval) = (u64::from(per_fill.max(1)), interval.max(1));
        let common = gcd(per_fill, interval);
        let (parts, token) = if per_fill / common <= MOST_PARTS {
            (per_fill / common, interval / common)
        } else {
            (MOST_PARTS, interval.saturating_mul(MOST_PARTS).div_ceil(per_fill))
        };
        Self { max, parts, token, room: token.saturating_mul(u64::from(max)) }
    }

    /// Tokens at most.
    pub(super) fn max(self) -> u32 {
        self.max
    }

    /// The time of one token, comparable between rates. Unit: sixteenths of a nanosecond.
    pub(super) fn slowness(self) -> u64 {
        self.token.saturating_mul(MOST_PARTS) / self.parts
    }

    fn time(self, nanos: u64) -> u64 {
        nanos.saturating_mul(self.parts).min(GONE - 1)
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

// === impl Bucket ===

impl Bucket {
    /// A full one.
    pub(super) fn new() -> Self {
        Self { full_at: AtomicU64::new(0) }
    }

    /// Takes so many tokens, or none of them.
    pub(super) fn take(&self, rate: Rate, hits: u64, now: u64) -> Taken {
        let now = rate.time(now);
        let Some(need) = hits.checked_mul(rate.token).filter(|need| *need <= rate.room) else {
            return if self.full_at.load(Ordering::Acquire) == GONE {
                Taken::Gone
            } else {
                Taken::No(None)
            };
        };
        let taken = self.full_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full_at| {
            // Another thread may have read the clock later.
            let next = full_at.max(now).checked_add(need).filter(|next| *next < GONE)?;
            (next - now <= rate.room).then_some(next)
        });
        match taken {
            Ok(_) => Taken::Yes,
            Err(GONE) => Taken::Gone,
            Err(full_at) => {
                let lacking = (full_at.max(now) - now).saturating_add(need);
                let over = lacking.saturating_sub(rate.room);
                Taken::No(Some(over.div_ceil(rate.parts)))
            }
        }
    }

    /// Whole tokens that are there.
    pub(super) fn tokens(&self, rate: Rate, now: u64) -> u64 {
        let now = rate.time(now);
        let lacking = self.full_at.load(Ordering::Acquire).saturating_sub(now);
        rate.room.saturating_sub(lacking) / rate.token
    }

    /// Gives it up if it is full: then nobody will miss it, a new one is as full. Whoever still
    /// asks it is told.
    pub(super) fn retire(&self, rate: Rate, now: u64) -> bool {
        let now = rate.time(now);
        let seen = self.full_at.load(Ordering::Acquire);
        seen <= now
            && self
                .full_at
                .compare_exchange(seen, GONE, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }
}
