//! How many need each resource, and so which are to be watched.

use std::collections::{BTreeMap, BTreeSet};

use super::Id;

#[derive(Debug, Default)]
pub(super) struct Held {
    counts: BTreeMap<Id, usize>,
    /// Those whose count has changed since it was last said which have ended, and whether they were held
    /// then or have begun since.
    touched: BTreeMap<Id, bool>,
}

// === impl Held ===

impl Held {
    pub(super) fn has(&self, id: &Id) -> bool {
        self.counts.contains_key(id)
    }

    /// One who needed these needs those instead.
    pub(super) fn replace<'a>(
        &mut self,
        before: impl Iterator<Item = &'a Id>,
        after: impl Iterator<Item = &'a Id>,
    ) {
        let before: BTreeSet<&Id> = before.collect();
        let after: BTreeSet<&Id> = after.collect();
        for id in after.difference(&before) {
            self.touch(id);
            *self.counts.entry((*id).clone()).or_default() += 1;
        }
        for id in before.difference(&after) {
            self.touch(id);
            if let Some(count) = self.counts.get_mut(*id) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(*id);
                }
            }
        }
    }

    fn touch(&mut self, id: &Id) {
        let was_held = self.counts.contains_key(id);
        self.touched.entry(id.clone()).or_insert(was_held);
    }

    /// Those that somebody needs since it was last asked for.
    pub(super) fn begun(&mut self) -> Vec<Id> {
        let new = |(id, was_held): (&Id, &mut bool)| {
            let has_begun = !*was_held && self.counts.contains_key(id);
            *was_held |= has_begun;
            has_begun.then(|| id.clone())
        };
        self.touched.iter_mut().filter_map(new).collect()
    }

    /// Those that nobody needs any more since it was last asked for.
    pub(super) fn ended(&mut self) -> Vec<Id> {
        let touched = std::mem::take(&mut self.touched).into_iter();
        touched.filter(|(id, was_held)| *was_held && !self.has(id)).map(|(id, _)| id).collect()
    }
}
