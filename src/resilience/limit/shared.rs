//! Counts that several owners have in common, by name: meshes of one process that are told of the same
//! cluster by the same control plane.
//!
//! A name is looked up when settings are compiled; whoever counts has the count in hand. What is kept by
//! its name is weak: the count goes with the last who has it.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::Counter;
use crate::config::CallPriority;

/// A count of one owner or, by name, of several.
#[derive(Debug)]
pub(crate) struct Count {
    counter: Counter,
    entry: Option<Entry>,
}

/// The name of a count.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Name {
    name: Arc<str>,
    what: What,
    is_high: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum What {
    /// Attempts in flight.
    Requests,
    /// Retries and hedges in flight.
    Retries,
}

/// Forgets its name when the last who has the count is gone.
#[derive(Debug)]
struct Entry(Name);

/// Locked by updates, and at the end of a count.
static COUNTS: Mutex<BTreeMap<Name, Weak<Count>>> = Mutex::new(BTreeMap::new());

// === impl Name ===

impl Name {
    /// Nothing, where no name is said.
    pub(crate) fn of(name: Option<&str>, what: What, priority: CallPriority) -> Option<Self> {
        let is_high = priority == CallPriority::High;
        Some(Self { name: name?.into(), what, is_high })
    }
}

// === impl Count ===

impl Count {
    /// One of its owner's alone.
    pub(crate) fn own() -> Arc<Self> {
        Arc::new(Self { counter: Counter::new(), entry: None })
    }

    /// The one of this name, made if nobody has it.
    pub(crate) fn named(name: Name) -> Arc<Self> {
        let mut counts = counts();
        if let Some(count) = counts.get(&name).and_then(Weak::upgrade) {
            return count;
        }
        let entry = Some(Entry(name.clone()));
        let count = Arc::new(Self { counter: Counter::new(), entry });
        counts.insert(name, Arc::downgrade(&count));
        count
    }

    /// Whether it is the one of this name, or has none either.
    pub(crate) fn is_named(&self, name: Option<&Name>) -> bool {
        self.entry.as_ref().map(|Entry(name)| name) == name
    }
}

impl Deref for Count {
    type Target = Counter;

    #[inline]
    fn deref(&self) -> &Counter {
        &self.counter
    }
}

// === impl Entry ===

impl Drop for Entry {
    fn drop(&mut self) {
        let mut counts = counts();
        // Not one that was made since.
        if counts.get(&self.0).is_some_and(|count| count.strong_count() == 0) {
            counts.remove(&self.0);
        }
    }
}

fn counts() -> MutexGuard<'static, BTreeMap<Name, Weak<Count>>> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::limit::Limiter;

    fn name(name: &str) -> Option<Name> {
        Name::of(Some(name), What::Requests, CallPriority::Default)
    }

    fn is_kept(name: Option<&Name>) -> bool {
        name.is_some_and(|name| counts().contains_key(name))
    }

    #[test]
    fn who_counts_by_one_name_counts_together_each_under_a_limit_of_its_own() {
        let users = name("together");
        let (one, other) = (Limiter::named(None, users.clone(), 2), Limiter::named(None, users, 3));
        let held = [Limiter::hold(&one), Limiter::hold(&other)];
        assert!(held.iter().all(Option::is_some));
        assert!(Limiter::hold(&one).is_none(), "two are in flight");
        let third = Limiter::hold(&other);
        assert!(third.is_some() && Limiter::hold(&other).is_none());
        assert_eq!((one.taken(), other.taken()), (3, 3));
        drop((held, third));
        assert_eq!((one.taken(), other.taken()), (0, 0));
    }

    #[test]
    fn other_names_and_other_things_are_counted_apart() {
        let of = |what, priority| Name::of(Some("apart"), what, priority);
        let names = [
            name("apart, too"),
            of(What::Requests, CallPriority::Default),
            of(What::Requests, CallPriority::High),
            of(What::Retries, CallPriority::Default),
            None,
            None,
        ];
        let limiters = names.map(|name| Limiter::named(None, name, 1));
        let held: Vec<_> = limiters.iter().map(Limiter::hold).collect();
        assert!(held.iter().all(Option::is_some));
    }

    #[test]
    fn a_name_is_forgotten_with_the_last_who_has_its_count() {
        let users = name("forgotten");
        let one = Limiter::named(None, users.clone(), 2);
        let other = Limiter::named(None, users.clone(), 2);
        let held = Limiter::hold(&one);
        drop(one);
        assert_eq!(other.taken(), 1, "a call under way outlives the settings that it began under");
        drop(other);
        assert!(is_kept(users.as_ref()));
        drop(held);
        assert!(!is_kept(users.as_ref()));
        assert_eq!(Limiter::named(None, users, 2).taken(), 0);
    }

    #[test]
    fn a_limit_of_another_name_counts_anew_and_one_of_the_same_counts_on() {
        let (before, after) = (name("before"), name("after"));
        let limiter = Limiter::named(None, before.clone(), 2);
        let _held = Limiter::hold(&limiter);
        let same = Limiter::named(Some(&limiter), before, 5);
        assert!(Arc::ptr_eq(&limiter, &same));
        assert_eq!((same.limit(), same.taken()), (5, 1));
        for other in [after, None] {
            let other = Limiter::named(Some(&limiter), other, 2);
            assert_eq!((other.taken(), limiter.taken()), (0, 1));
        }
    }
}
