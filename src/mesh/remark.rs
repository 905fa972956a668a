//! What is said of a part of the configuration.

use std::{fmt, time::Duration};

/// What is said of one part of the configuration, such as why it is refused. Its `Display` is
/// `part: text`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Remark {
    /// The part: `service users`, `cluster users`, `identity default`, a source's name, …
    pub part: String,
    /// What is said of it.
    pub text: String,
}

/// A source that uses what an earlier process has left on disk, because nobody can be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CacheInUse {
    /// The source's name.
    pub source: String,
    /// How long ago the oldest of it was last known to be so.
    pub age: Duration,
    /// Why it is used.
    pub reason: String,
}

// === impl Remark ===

impl Remark {
    pub(super) fn new(part: &str, text: &str) -> Self {
        Self { part: part.to_owned(), text: text.to_owned() }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.text)
    }
}

// === impl CacheInUse ===

impl fmt::Display for CacheInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0?} old: {}: {}", self.age, self.source, self.reason)
    }
}
