//! When the file is written.

use std::time::Duration;

use crate::core::{Instant, earliest};

/// Changes that come together are written together.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// Of the time, writing takes no more than one part in so many, however much there is to write.
const SHARE: u32 = 20;
/// After so long at most a change is written, however long the last writing took.
const LATEST: Duration = Duration::from_secs(60);
/// What failed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(10);
/// Without a change it is written so often: that all is still so.
const REFRESH: Duration = Duration::from_secs(10 * 60);

/// What is on disk, and what is to be.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// How many changes there were when it was last written.
    written: u64,
    /// It is being written, with this many.
    writing: Option<(u64, Instant)>,
    /// A change waits since then.
    since: Option<Instant>,
    not_before: Option<Instant>,
    refresh_at: Option<Instant>,
}

// === impl Schedule ===

impl Schedule {
    /// There have been so many changes. Whether it is to be written now.
    pub(super) fn take_due(&mut self, now: Instant, changes: u64) -> bool {
        if changes != self.written && self.since.is_none() {
            self.since = Some(now);
        }
        self.writing.is_none() && self.wake_at().is_some_and(|at| at <= now)
    }

    /// It is being written, with so many changes.
    pub(super) fn begun(&mut self, now: Instant, changes: u64) {
        self.writing = Some((changes, now));
        self.since = None;
        self.refresh_at = None;
    }

    /// There was nothing worth writing.
    pub(super) fn skipped(&mut self, changes: u64) {
        self.written = changes;
        self.since = None;
        self.refresh_at = None;
    }

    /// It has been written, or could not be.
    pub(super) fn ended(&mut self, now: Instant, is_written: bool) {
        let Some((changes, began)) = self.writing.take() else { return };
        let took = now.saturating_duration_since(began);
        let pause = if is_written { (took * SHARE).min(LATEST) } else { AGAIN };
        self.not_before = now.checked_add(pause);
        self.refresh_at = now.checked_add(REFRESH);
        if is_written {
            self.written = changes;
        } else {
            self.since = Some(now);
        }
    }

    /// When to look again.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        if self.writing.is_some() {
            return None;
        }
        let change = self.since.and_then(|since| since.checked_add(DEBOUNCE));
        let change = change.map(|at| self.not_before.map_or(at, |not_before| at.max(not_before)));
        earliest(change, self.refresh_at)
    }
}
