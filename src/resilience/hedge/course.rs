//! How far one call has come: when its next attempt is sent beside those under way.
//!
//! Times are nanoseconds since an epoch of the caller's.

use std::time::Duration;

use crate::core::nanos;

/// The hedging of one call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Course {
    /// Attempts so far.
    sent: u32,
    most: u32,
    /// Attempts that are still to be sent at once.
    upfront: u32,
    /// From one attempt to the next. None: the next is not sent by itself.
    wait: Option<u64>,
    /// An attempt that fails is replaced at once.
    replaces: bool,
    /// When the next is sent.
    next: Option<u64>,
}

/// What an answer that is not final says of further attempts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    Nothing,
    /// The next, then.
    After(Duration),
    /// No more.
    Stop,
}

impl Course {
    /// The first attempt is sent at `now`, and `upfront` more with it.
    pub(super) fn new(
        now: u64,
        most: u32,
        upfront: u32,
        wait: Option<u64>,
        replaces: bool,
    ) -> Self {
        let upfront = upfront.min(most.saturating_sub(1));
        let mut course = Self { sent: 1, most, upfront, wait, replaces, next: None };
        course.plan(now);
        course
    }

    /// When the next attempt is due, if one is.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next
    }

    pub(crate) fn is_due(&self, now: u64) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// Attempts so far.
    pub(crate) fn sent(&self) -> u32 {
        self.sent
    }

    /// The attempt that was due is under way.
    pub(crate) fn send(&mut self, now: u64) {
        self.sent += 1;
        self.upfront = self.upfront.saturating_sub(1);
        self.plan(now);
    }

    /// It is not sent: nor is any other, until something happens.
    pub(crate) fn refused(&mut self) {
        self.upfront = 0;
        self.next = None;
    }

    //= gRFC A6 §"Hedging Policy": a non-fatal status sends the next hedged request at once; §"Pushback":
    //= the delay that a server asks for replaces the policy's, and a negative one ends the hedging
    /// An attempt has ended, and not for good; whether another is sent in its place.
    pub(crate) fn failed(&mut self, now: u64, word: Word) -> bool {
        match word {
            Word::Stop => {
                self.most = self.sent;
                self.next = None;
            }
            Word::After(after) => self.set(now.saturating_add(nanos(after))),
            Word::Nothing if self.replaces => self.set(now),
            Word::Nothing => return false,
        }
        self.next.is_some()
    }

    //= Envoy HedgePolicy.hedge_on_per_try_timeout: the attempt goes on beside its retry
    /// An attempt is over its time; whether another is sent beside it.
    pub(crate) fn outlived(&mut self, now: u64) -> bool {
        self.set(now);
        self.next.is_some()
    }

    fn plan(&mut self, now: u64) {
        let wait = if self.upfront > 0 { Some(0) } else { self.wait };
        let next = wait.map(|wait| now.saturating_add(wait));
        self.next = next.filter(|_| self.sent < self.most);
    }

    fn set(&mut self, at: u64) {
        self.next = (self.sent < self.most).then_some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_next_is_sent_after_the_wait_and_no_more_than_allowed() {
        let mut course = Course::new(0, 3, 0, Some(10 * MS), false);
        assert!(!course.is_due(10 * MS - 1));
        assert!(course.is_due(10 * MS));
        course.send(12 * MS);
        assert_eq!(course.next(), Some(22 * MS));
        course.send(22 * MS);
        assert_eq!((course.next(), course.sent()), (None, 3));
    }

    #[test]
    fn those_that_begin_together_are_due_at_once() {
        let mut course = Course::new(5, 4, 2, Some(10 * MS), false);
        for sent in 2..=3 {
            assert!(course.is_due(5));
            course.send(5);
            assert_eq!(course.sent(), sent);
        }
        assert_eq!(course.next(), Some(5 + 10 * MS));
    }

    #[test]
    fn no_more_begin_together_than_are_allowed() {
        let mut course = Course::new(0, 2, 7, None, false);
        course.send(0);
        assert_eq!(course.next(), None);
    }

    #[test]
    fn a_failure_is_replaced_at_once_where_the_policy_says_so() {
        let mut course = Course::new(0, 3, 0, Some(10 * MS), true);
        assert!(course.failed(3 * MS, Word::Nothing));
        assert!(course.is_due(3 * MS));
        let mut course = Course::new(0, 3, 0, Some(10 * MS), false);
        assert!(!course.failed(3 * MS, Word::Nothing));
        assert_eq!(course.next(), Some(10 * MS));
    }

    #[test]
    fn a_server_puts_the_next_off_or_ends_it() {
        let mut course = Course::new(0, 4, 0, Some(10 * MS), true);
        course.failed(3 * MS, Word::After(Duration::from_millis(50)));
        assert_eq!(course.next(), Some(53 * MS));
        assert!(!course.failed(4 * MS, Word::Stop));
        assert_eq!(course.next(), None);
        course.failed(5 * MS, Word::Nothing);
        assert!(!course.outlived(6 * MS));
        assert_eq!(course.next(), None, "for good");
    }

    #[test]
    fn one_that_was_refused_is_not_asked_for_again_until_something_happens() {
        let mut course = Course::new(0, 3, 2, Some(MS), true);
        course.refused();
        assert_eq!(course.next(), None);
        course.failed(2 * MS, Word::Nothing);
        assert!(course.is_due(2 * MS));
    }

    #[test]
    fn one_that_outlives_its_time_gets_company() {
        let mut course = Course::new(0, 2, 0, None, false);
        assert!(course.outlived(7 * MS));
        assert!(course.is_due(7 * MS));
        course.send(7 * MS);
        assert!(!course.outlived(14 * MS));
    }

    #[test]
    fn the_largest_times_do_not_wrap() {
        let mut course = Course::new(u64::MAX - 1, 5, 0, Some(u64::MAX), true);
        assert_eq!(course.next(), Some(u64::MAX));
        course.failed(u64::MAX, Word::After(Duration::MAX));
        assert_eq!(course.next(), Some(u64::MAX));
    }
}
