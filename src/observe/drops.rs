//! What the categories of a cluster's drops have dropped, and what of it a control plane has been told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The counts of the categories that a cluster has and had: one that goes away may come back, and what it
/// has dropped is still to be told.
#[derive(Default)]
pub(crate) struct DropCounts {
    categories: BTreeMap<Arc<str>, Category>,
    /// How often a category has been asked for.
    asked: u64,
    /// What those that are forgotten had dropped, and nobody was told of.
    rest: u64,
    /// Who tells a control plane takes all of it.
    #[cfg(feature = "xds")]
    is_told: bool,
    /// How many attempts were refused when that was last told.
    #[cfg(feature = "xds")]
    refused: u64,
}

#[derive(Default)]
struct Category {
    /// Shared with whoever drops.
    count: Arc<AtomicU64>,
    told: u64,
    /// When it was last asked for, by `DropCounts::asked`.
    asked: u64,
}

/// So many categories that a cluster has no more are kept: a control plane may make ever new ones.
const MOST_GONE: usize = 64;

// === impl DropCounts ===

impl DropCounts {
    /// The count of a category, which goes on from what it had before. It is the cluster's as long as that is
    /// held.
    pub(crate) fn of(&mut self, category: &Arc<str>) -> Arc<AtomicU64> {
        self.asked += 1;
        let known = self.categories.entry(Arc::clone(category)).or_default();
        known.asked = self.asked;
        Arc::clone(&known.count)
    }

    /// Forgets what is too much of those that the cluster has no more: first those of which all is told, then
    /// those that are gone for longest. No drop is lost by it.
    pub(crate) fn tidy(&mut self) {
        let mut gone: Vec<(bool, u64, Arc<str>)> = Vec::new();
        for (name, category) in &mut self.categories {
            // What was dropped by whoever held it is seen then.
            if Arc::get_mut(&mut category.count).is_some() {
                gone.push((category.untold() > 0, category.asked, Arc::clone(name)));
            }
        }
        let too_many = gone.len().saturating_sub(MOST_GONE);
        gone.sort_unstable();
        for (_, _, name) in gone.into_iter().take(too_many) {
            if let Some(category) = self.categories.remove(&name) {
                self.rest = self.rest.saturating_add(category.untold());
            }
        }
    }

    /// How many calls each has dropped.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.categories.iter().map(|(name, it)| (name, it.count.load(Relaxed)))
    }
}

// === impl DropCounts: for control planes ===

#[cfg(feature = "xds")]
impl DropCounts {
    /// A control plane will be told of what is dropped from now on, if none is told already. So many attempts
    /// have been refused.
    pub(super) fn await_teller(&mut self, refused: u64) {
        if !std::mem::replace(&mut self.is_told, true) {
            // What was dropped before is told to nobody.
            drop(self.take(refused));
        }
    }

    /// Somebody tells it, or nobody does any more.
    pub(super) fn tell(&mut self, is_told: bool) {
        self.is_told = is_told;
    }

    /// What was not taken yet: by category, and without one. So many attempts have been refused.
    //= gRFC A32: what a limit of the cluster refuses is dropped without a category
    pub(super) fn take(&mut self, refused: u64) -> (BTreeMap<Arc<str>, u64>, u64) {
        let mut news = BTreeMap::new();
        for (name, category) in &mut self.categories {
            let count = category.count.load(Relaxed);
            let before = std::mem::replace(&mut category.told, count);
            if let more @ 1.. = count.saturating_sub(before) {
                news.insert(Arc::clone(name), more);
            }
        }
        let before = std::mem::replace(&mut self.refused, refused);
        let rest = std::mem::take(&mut self.rest);
        (news, rest.saturating_add(refused.saturating_sub(before)))
    }
}

// === impl Category ===

impl Category {
    fn untold(&self) -> u64 {
        self.count.load(Relaxed).saturating_sub(self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(counts: &DropCounts, category: &str) -> Option<u64> {
        counts.all().find(|(name, _)| ***name == *category).map(|(_, count)| count)
    }

    #[test]
    fn a_category_that_comes_back_counts_on() {
        let mut counts = DropCounts::default();
        counts.of(&"lb".into()).fetch_add(3, Relaxed);
        counts.tidy();
        assert_eq!(total(&counts, "lb"), Some(3));
        counts.of(&"lb".into()).fetch_add(1, Relaxed);
        assert_eq!(total(&counts, "lb"), Some(4));
    }

    #[test]
    fn ever_new_categories_are_not_kept_for_ever_but_those_that_the_cluster_has() {
        let mut counts = DropCounts::default();
        let held = counts.of(&"held".into());
        for number in 0..10 * MOST_GONE {
            counts.of(&format!("{number}").into()).fetch_add(1, Relaxed);
            counts.tidy();
        }
        assert_eq!(counts.categories.len(), MOST_GONE + 1);
        held.fetch_add(1, Relaxed);
        assert_eq!(total(&counts, "held"), Some(1));
        // The last ones may come back.
        assert_eq!(total(&counts, &format!("{}", 9 * MOST_GONE - 1)), None);
        assert_eq!(total(&counts, &format!("{}", 9 * MOST_GONE)), Some(1));
    }

    #[cfg(feature = "xds")]
    #[test]
    fn no_drop_of_a_category_that_is_forgotten_is_lost_and_those_that_are_told_go_first() {
        let mut counts = DropCounts::default();
        counts.tell(true);
        let add = |counts: &mut DropCounts, name: String| {
            counts.of(&name.into()).fetch_add(1, Relaxed);
            counts.tidy();
        };
        add(&mut counts, "first".to_owned());
        for number in 0..MOST_GONE - 1 {
            add(&mut counts, format!("told-{number}"));
        }
        let (told, rest) = counts.take(0);
        assert_eq!((told.len(), rest), (MOST_GONE, 0));
        // The first has dropped again since, and was not asked for again by the cluster.
        counts.categories["first"].count.fetch_add(1, Relaxed);
        for number in 0..MOST_GONE - 1 {
            add(&mut counts, format!("untold-{number}"));
        }
        assert_eq!(total(&counts, "first"), Some(2), "there are others that are told");
        for number in 0..5 {
            add(&mut counts, format!("more-{number}"));
        }
        let (told, rest) = counts.take(0);
        assert_eq!((told.len(), rest), (MOST_GONE, 5));
        assert_eq!(counts.take(0), (BTreeMap::new(), 0));
    }

    #[cfg(feature = "xds")]
    #[test]
    fn what_was_dropped_before_anybody_tells_of_it_is_told_to_nobody_and_later_drops_are() {
        let mut counts = DropCounts::default();
        let count = counts.of(&"lb".into());
        count.fetch_add(1, Relaxed);
        counts.await_teller(7);
        count.fetch_add(2, Relaxed);
        // It is asked for what is reported again, meanwhile.
        counts.await_teller(8);
        counts.tell(true);
        assert_eq!(counts.take(9), (BTreeMap::from([("lb".into(), 2)]), 2));
        counts.tell(false);
        count.fetch_add(4, Relaxed);
        counts.await_teller(9);
        assert_eq!(counts.take(9), (BTreeMap::new(), 0));
    }
}
