//! The local limit as a decision: which buckets a request is asked of, and what they say.

use std::{borrow::Cow, fmt::Write as _};

use super::{
    bucket::{Bucket, Rate, Taken},
    descriptor::Descriptor,
    table::Table,
};
use crate::{
    config::{self, TokenBucket},
    core::{Random, nanos},
};

/// A compiled local rate limit. Its buckets begin full.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    /// That of all requests, or of those that nothing else counts.
    whole: Option<(Rate, Bucket)>,
    described: Box<[Described]>,
    always: bool,
    enabled_percent: f64,
    enforced_percent: f64,
}

/// Buckets of requests that are described so.
#[derive(Debug)]
struct Described {
    /// The place in the configuration's list.
    place: usize,
    /// Keys and values; no value stands for any.
    entries: Vec<(String, Option<String>)>,
    rate: Rate,
    /// Of the description itself, or of those that found no place in the table.
    bucket: Bucket,
    table: Option<Table>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Pass,
    /// It is over the limit, which is not enforced for it.
    Over(Over),
    Refused(Over),
}

/// The bucket that has too few tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Over {
    /// The place of the descriptor; none: the bucket of all.
    pub(crate) descriptor: Option<usize>,
    pub(crate) max: u32,
    pub(crate) left: u64,
    /// When there are enough, in nanoseconds; none: never.
    pub(crate) wait: Option<u64>,
}

/// A bucket as it is now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Level {
    pub(crate) descriptor: Option<usize>,
    pub(crate) max: u32,
    pub(crate) left: u64,
    pub(crate) hits: u64,
}

// === impl RateLimiter ===

impl RateLimiter {
    /// Compiles a validated limit.
    pub(crate) fn new(limit: &config::RateLimit) -> Self {
        let described = limit.descriptors.iter().enumerate().map(|(place, descriptor)| {
            let value = |value: &String| (!value.is_empty()).then(|| value.clone());
            let entries: Vec<_> =
                descriptor.entries.iter().map(|it| (it.key.clone(), value(&it.value))).collect();
            let is_wild = entries.iter().any(|(_, value)| value.is_none());
            Described {
                place,
                entries,
                rate: rate(&descriptor.bucket),
                bucket: Bucket::new(),
                table: is_wild.then(|| Table::new(limit.buckets_at_most())),
            }
        });
        let mut described: Box<[_]> = described.collect();
        // What names all values comes before what does not.
        described.sort_by_key(|it| it.table.is_some());
        Self {
            whole: limit.has_bucket().then(|| (rate(&limit.bucket), Bucket::new())),
            described,
            always: limit.always_bucket.unwrap_or(false),
            enabled_percent: limit.enabled_percent.unwrap_or(100.0),
            enforced_percent: limit.enforced_percent.unwrap_or(100.0),
        }
    }

    /// Whether its requests need to be described.
    pub(crate) fn describes(&self) -> bool {
        !self.described.is_empty()
    }

    /// Counts a request that is described so. Several buckets are asked in the order of their
    /// rates, the slowest first; what was taken before one refuses is not given back.
    //= Envoy LocalRateLimiterImpl::requestAllowed
    pub(crate) fn check(&self, said: &[Descriptor], now: u64, random: &Random) -> Verdict {
        if !is_of(self.enabled_percent, random) {
            return Verdict::Pass;
        }
        match self.over(said, now) {
            None => Verdict::Pass,
            Some(over) if is_of(self.enforced_percent, random) => Verdict::Refused(over),
            Some(over) => Verdict::Over(over),
        }
    }

    fn over(&self, said: &[Descriptor], now: u64) -> Option<Over> {
        let mut matched: Vec<_> = said.iter().filter_map(|it| Some((self.of(it)?, it))).collect();
        matched.sort_by_key(|(described, _)| std::cmp::Reverse(described.rate.slowness()));
        let over = matched.iter().find_map(|(described, it)| described.over(it, now));
        if over.is_some() || !(matched.is_empty() || self.always) {
            return over;
        }
        let (rate, bucket) = self.whole.as_ref()?;
        denied(bucket.take(*rate, 1, now), None, *rate, bucket.tokens(*rate, now))
    }

    /// The buckets that a request would be asked of, without taking anything.
    pub(crate) fn levels(&self, said: &[Descriptor], now: u64) -> Vec<Level> {
        let mut levels: Vec<_> =
            said.iter().filter_map(|it| Some(self.of(it)?.level(it, now))).collect();
        if (levels.is_empty() || self.always)
            && let Some((rate, bucket)) = &self.whole
        {
            let left = bucket.tokens(*rate, now);
            levels.push(Level { descriptor: None, max: rate.max(), left, hits: 1 });
        }
        levels
    }

    fn of(&self, said: &Descriptor) -> Option<&Described> {
        self.described.iter().find(|it| it.matches(said))
    }
}

// === impl Described ===

impl Described {
    fn matches(&self, said: &Descriptor) -> bool {
        let is_met = |((key, value), (said_key, said)): (&(String, Option<String>), _)| {
            let (said_key, said): (&Cow<'_, str>, &String) = (said_key, said);
            key.as_str() == said_key.as_ref() && value.as_ref().is_none_or(|value| value == said)
        };
        let said = said.entries();
        self.entries.len() == said.len()
            && self.entries.iter().zip(said.iter().map(|it| (&it.0, &it.1))).all(is_met)
    }

    fn over(&self, said: &Descriptor, now: u64) -> Option<Over> {
        let hits = said.said_hits().unwrap_or(1);
        let own =
            self.table.as_ref().and_then(|table| table.take(&self.key(said), self.rate, hits, now));
        let (taken, left) = own.unwrap_or_else(|| {
            let taken = self.bucket.take(self.rate, hits, now);
            (taken, self.bucket.tokens(self.rate, now))
        });
        denied(taken, Some(self.place), self.rate, left)
    }

    fn level(&self, said: &Descriptor, now: u64) -> Level {
        let left = match &self.table {
            Some(table) => table.tokens(&self.key(said), self.rate, now),
            None => self.bucket.tokens(self.rate, now),
        };
        let hits = said.said_hits().unwrap_or(1);
        Level { descriptor: Some(self.place), max: self.rate.max(), left, hits }
    }

    /// The values that wildcards stand for.
    fn key<'a>(&self, said: &'a Descriptor) -> Cow<'a, str> {
        let wild =
            self.entries.iter().zip(said.entries()).filter(|((_, value), _)| value.is_none());
        let mut wild = wild.map(|(_, (_, value))| value.as_str());
        match (wild.next(), wild.next()) {
            (Some(only), None) => Cow::Borrowed(only),
            (first, second) => {
                let mut key = String::new();
                for value in first.into_iter().chain(second).chain(wild) {
                    // With its length, so that no two lists look the same.
                    let _ = write!(key, "{}:{value}", value.len());
                }
                Cow::Owned(key)
            }
        }
    }
}

/// One bucket, or one for each key, as the layer has it.
#[derive(Debug)]
pub(super) struct Keyed {
    rate: Rate,
    bucket: Bucket,
    table: Option<Table>,
}

// === impl Keyed ===

impl Keyed {
    pub(super) fn new(bucket: &TokenBucket, max_keys: Option<u32>) -> Self {
        Self { rate: rate(bucket), bucket: Bucket::new(), table: max_keys.map(Table::new) }
    }

    /// Takes a token for the key, or says why there is none.
    pub(super) fn over(&self, key: Option<&str>, now: u64) -> Option<Over> {
        let own = self
            .table
            .as_ref()
            .zip(key)
            .and_then(|(table, key)| table.take(key, self.rate, 1, now));
        let (taken, left) = own.unwrap_or_else(|| {
            (self.bucket.take(self.rate, 1, now), self.bucket.tokens(self.rate, now))
        });
        denied(taken, None, self.rate, left)
    }
}

fn rate(bucket: &TokenBucket) -> Rate {
    Rate::new(bucket.max_tokens, bucket.per_fill(), nanos(bucket.interval()))
}

/// What a bucket says that has too few tokens.
fn denied(taken: Taken, descriptor: Option<usize>, rate: Rate, left: u64) -> Option<Over> {
    match taken {
        Taken::No(wait) => Some(Over { descriptor, max: rate.max(), left, wait }),
        // A bucket of no table is never given up.
        Taken::Yes | Taken::Gone => None,
    }
}

/// Whether a request is of a share, in percent.
fn is_of(percent: f64, random: &Random) -> bool {
    percent >= 100.0 || random.ratio() * 100.0 < percent
}
