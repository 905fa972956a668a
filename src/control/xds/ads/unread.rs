//! Types whose answers cannot be read here: they are too large, or no messages, and end the stream before anything is
//! known of them.
//!
//! The same would come on each next stream, after answers of other types that can be read: these must not count as a
//! sign that all is well.

use crate::control::xds::kind::Kind;

/// The types of which it may have been.
#[derive(Debug, Default)]
pub(super) struct Unread([bool; Kind::COUNT]);

// === impl Unread ===

impl Unread {
    /// The first of these guesses that names any.
    pub(super) fn one_of(guesses: [[bool; Kind::COUNT]; 3]) -> Self {
        Self(guesses.into_iter().find(|guess| guess.contains(&true)).unwrap_or_default())
    }

    pub(super) fn has(&self, kind: Kind) -> bool {
        self.0[kind as usize]
    }

    /// An answer of this type has been read; whether it was the last of them.
    pub(super) fn read(&mut self, kind: Kind) -> bool {
        std::mem::take(&mut self.0[kind as usize]) && !self.0.contains(&true)
    }
}
