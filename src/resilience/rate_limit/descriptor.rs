//! What describes a request to a limit: pairs of keys and values.

use std::borrow::Cow;

/// One description of a request: keys and values in order, and what the request counts for.
///
/// ```
/// use tower_mesh::resilience::Descriptor;
///
/// let descriptor = Descriptor::new().entry("tenant", "acme").entry("path", "/search").hits(2);
/// assert_eq!(descriptor.entries().len(), 2);
/// ```
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Descriptor {
    entries: Vec<(Cow<'static, str>, String)>,
    hits: Option<u64>,
}

// === impl Descriptor ===

impl Descriptor {
    /// A description without parts, which no limit counts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key and its value.
    #[must_use]
    pub fn entry(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.add(key, value);
        self
    }

    /// What the request counts for. Default: 1.
    #[must_use]
    pub fn hits(mut self, hits: u64) -> Self {
        self.hits = Some(hits);
        self
    }

    /// Its keys and values, in order.
    #[must_use]
    pub fn entries(&self) -> &[(Cow<'static, str>, String)] {
        &self.entries
    }

    pub(crate) fn add(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.entries.push((key.into(), value.into()));
    }

    /// What was said of its hits.
    pub(crate) fn said_hits(&self) -> Option<u64> {
        self.hits
    }

    pub(crate) fn set_hits(&mut self, hits: Option<u64>) {
        self.hits = hits;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
