//! When news of endpoints is put to use: the first at once, what follows soon after it together.
//!
//! Endpoints of a large service change many times a second while it is released, and each change may
//! make tables anew. Without I/O: it is told what comes, and says when to look again.

use std::time::Duration;

use crate::core::Instant;

/// The least time between two changes that could as well be one.
const APART: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When something was put to use last.
    last: Option<Instant>,
    /// When what waits is put to use.
    due: Option<Instant>,
}

// === impl Pace ===

impl Pace {
    /// Whether news is put to use now; else it waits. What is pressing never waits.
    pub(super) fn take_now(&mut self, now: Instant, is_pressing: bool) -> bool {
        let due = self.last.and_then(|last| last.checked_add(APART)).filter(|due| *due > now);
        match due {
            Some(due) if !is_pressing => {
                self.due = Some(due);
                false
            }
            _ => true,
        }
    }

    /// Everything was put to use; whether there was anything.
    pub(super) fn done(&mut self, now: Instant, was_any: bool) {
        self.due = None;
        if was_any {
            self.last = Some(now);
        }
    }

    /// Whether what waits has waited for long enough.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn the_first_is_put_to_use_at_once_and_those_soon_after_it_together() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!(pace.take_now(start, false));
        pace.done(start, true);
        let mut times = Vec::new();
        // News each millisecond, for a second.
        for at in 1..=1000 {
            let now = start + at * MS;
            if pace.is_due(now) || pace.take_now(now, false) {
                pace.done(now, true);
                times.push(at);
            }
        }
        assert_eq!(times, (1..=50).map(|n| n * 20).collect::<Vec<_>>());
        // What comes after a while is the first again.
        let now = start + 1100 * MS;
        assert!(pace.take_now(now, false));
        assert_eq!(pace.wake_at(), None);
        // Where there was nothing to do, nothing is put off by it.
        pace.done(now, false);
        assert!(pace.take_now(now + MS, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_due_in_time_and_is_no_more_once_it_is_done() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.done(start, true);
        assert!(!pace.take_now(start + 5 * MS, false));
        assert_eq!(pace.wake_at(), Some(start + APART));
        assert!(!pace.is_due(start + 19 * MS) && pace.is_due(start + 20 * MS));
        // More of it does not put it off.
        assert!(!pace.take_now(start + 19 * MS, false));
        assert_eq!(pace.wake_at(), Some(start + APART));
        // With what is pressing all of it goes.
        assert!(pace.take_now(start + 19 * MS, true));
        pace.done(start + 19 * MS, true);
        assert_eq!(pace.wake_at(), None);
        assert!(!pace.is_due(start + 60 * MS));
    }
}
