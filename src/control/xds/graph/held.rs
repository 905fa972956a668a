//! How many need each resource, and so which are to be watched.

use std::collections::{BTreeMap, BTreeSet};

use super::Id;

#[derive(Debug, Default)]
pub(super) struct Held {
    counts: BTreeMap<Id, usize>,
    /// Those whose count has changed since changes were last asked for, and whether they were held
    /// then.
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

    /// Those that somebody needs since changes were last asked for, and those that nobody does any
    /// more.
    pub(super) fn changes(&mut self) -> (Vec<Id>, Vec<Id>) {
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        for (id, was_held) in std::mem::take(&mut self.touched) {
            match (was_held, self.has(&id)) {
                (false, true) => begun.push(id),
                (true, false) => ended.push(id),
                _ => {}
            }
        }
        (begun, ended)
    }
}
