//! Replies that would turn in a circle: a server that sends again what was just answered, as soon as
//! it is answered. gRPC's clients and the Rust ones then send some thousand NACKs a second.
//!
//! What was refused is known by its content, whatever its version and nonce. It is refused at once
//! the first time, and once on each stream; then at most once per backoff, which grows. Refusals of
//! any content come from an allowance, and so do acceptances of what was accepted last.

use std::{collections::VecDeque, time::Duration};

use super::backoff;
use crate::core::Instant;

/// Between refusals, and between acceptances of the same, beyond what may go out at once.
pub(super) const REFUSALS_APART: Duration = Duration::from_secs(1);
pub(super) const REPEATS_APART: Duration = Duration::from_millis(100);

/// Contents that were refused since the last acceptance, and are known again.
const REMEMBERED: usize = 8;

/// So many at once, then one per `per`.
#[derive(Debug)]
struct Allowance {
    left: u32,
    most: u32,
    per: Duration,
    since: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Damp {
    /// Content, and how often it was refused.
    refused: VecDeque<(u64, u32)>,
    accepted: Option<u64>,
    refusals: Allowance,
    repeats: Allowance,
    /// When the last refusal was due.
    last: Option<Instant>,
    /// Something was refused on this stream.
    on_stream: bool,
}

// === impl Allowance ===

impl Allowance {
    fn new(most: u32, per: Duration) -> Self {
        Self { left: most, most, per, since: None }
    }

    /// When one may be used.
    fn take(&mut self, now: Instant) -> Option<Instant> {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        let earned =
            u32::try_from(passed.as_nanos() / self.per.as_nanos().max(1)).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned).min(self.most);
        self.since =
            if self.left == self.most { Some(now) } else { since.checked_add(self.per * earned) };
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return None;
        }
        // The next to be earned is used up, once: a later reply takes the place of one that waits, or
        // goes behind it ([`Type`](super::subscription::Type)).
        if since <= now {
            self.since = self.since.and_then(|since| since.checked_add(self.per));
        }
        self.since
    }
}

// === impl Damp ===

impl Default for Damp {
    fn default() -> Self {
        Self {
            refused: VecDeque::new(),
            accepted: None,
            refusals: Allowance::new(8, REFUSALS_APART),
            repeats: Allowance::new(64, REPEATS_APART),
            last: None,
            on_stream: false,
        }
    }
}

impl Damp {
    pub(super) fn new_stream(&mut self) {
        self.on_stream = false;
    }

    /// When the ACK of this content may go out; `None`: at once.
    pub(super) fn accept(&mut self, now: Instant, content: u64) -> Option<Instant> {
        self.refused.clear();
        let is_repeated = self.accepted.replace(content) == Some(content);
        if is_repeated { self.repeats.take(now) } else { None }
    }

    /// When the NACK of this content may go out; `None`: at once.
    pub(super) fn refuse(&mut self, now: Instant, content: u64) -> Option<Instant> {
        let is_first = !std::mem::replace(&mut self.on_stream, true);
        let times = match self.refused.iter_mut().find(|known| known.0 == content) {
            Some(known) => {
                known.1 = known.1.saturating_add(1);
                Some(known.1)
            }
            None => {
                if self.refused.len() == REMEMBERED {
                    self.refused.pop_front();
                }
                self.refused.push_back((content, 0));
                None
            }
        };
        let at = match times {
            _ if is_first => None,
            None => self.refusals.take(now),
            Some(times) => {
                let wait = backoff::plain(times.saturating_sub(1));
                self.last.and_then(|last| last.checked_add(wait)).filter(|at| *at > now)
            }
        };
        self.last = Some(at.unwrap_or(now));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_is_refused_once_per_growing_backoff() {
        let start = Instant::now();
        let mut damp = Damp::default();
        let mut now = start;
        assert_eq!(damp.refuse(now, 1), None);
        let mut waits = Vec::new();
        for _ in 0..13 {
            let at = damp.refuse(now, 1).unwrap();
            waits.push((at - now).as_secs_f64());
            now = at;
        }
        assert!((waits[0] - 1.0).abs() < 1e-6 && (waits[1] - 1.6).abs() < 1e-6, "{waits:?}");
        assert!((waits[12] - 120.0).abs() < 1e-6, "{waits:?}");
        damp.accept(now, 2);
        assert_eq!(damp.refuse(now, 1), None, "it is new again");
    }

    #[test]
    fn ever_other_contents_come_from_an_allowance() {
        let now = Instant::now();
        let mut damp = Damp::default();
        let at_once = (0..100).filter(|content| damp.refuse(now, *content).is_none()).count();
        assert_eq!(at_once, 9, "one for the stream, and the allowance");
        let later = now + Duration::from_secs(60);
        let at_once = (100..200).filter(|content| damp.refuse(later, *content).is_none()).count();
        assert_eq!(at_once, 8);
    }

    #[test]
    fn the_first_of_a_stream_is_told_at_once() {
        let now = Instant::now();
        let mut damp = Damp::default();
        damp.refuse(now, 1);
        assert!(damp.refuse(now, 1).is_some());
        damp.new_stream();
        assert_eq!(damp.refuse(now, 1), None);
        assert!(damp.refuse(now, 1).is_some());
    }

    #[test]
    fn acceptances_of_the_same_are_bounded_and_of_others_are_not() {
        let now = Instant::now();
        let mut damp = Damp::default();
        assert!((0..1000).all(|content| damp.accept(now, content).is_none()));
        let at_once = (0..1000).filter(|_| damp.accept(now, 7).is_none()).count();
        assert_eq!(at_once, 65);
        let at = damp.accept(now, 7).unwrap();
        assert_eq!(at - now, Duration::from_millis(100));
    }
}
