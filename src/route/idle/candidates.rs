//! Which earlier rules may cover a later one: looked up by their paths, for routes are many.

use std::collections::{BTreeSet, HashMap};

use super::cover::{Asks, Reach};

/// Rules by the paths that they take, each list in the order in which they are asked.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Those of any path.
    any: Vec<usize>,
    /// Those of one path, in lower case.
    exact: HashMap<String, Vec<usize>>,
    /// Those of what begins so, in lower case.
    start: HashMap<String, Vec<usize>>,
    lengths: BTreeSet<usize>,
    /// Those by patterns, by their text; and all of them, for one path may match any.
    pattern: HashMap<String, Vec<usize>>,
    patterns: Vec<usize>,
}

impl Candidates {
    pub(super) fn add(&mut self, asks: &Asks<'_>, number: usize) {
        match asks.reach() {
            Reach::Any => self.any.push(number),
            Reach::Exact(path) => self.exact.entry(path).or_default().push(number),
            Reach::Start(path) => {
                self.lengths.insert(path.len());
                self.start.entry(path).or_default().push(number);
            }
            Reach::Pattern(text) => {
                self.pattern.entry(text.to_owned()).or_default().push(number);
                self.patterns.push(number);
            }
        }
    }

    /// Those that may cover one which comes after all of them, the first that is asked first.
    pub(super) fn of(&self, asks: &Asks<'_>) -> impl Iterator<Item = usize> {
        let mut found = self.any.clone();
        let mut add = |list: Option<&Vec<usize>>| found.extend(list.into_iter().flatten());
        match asks.reach() {
            Reach::Any => {}
            Reach::Exact(path) => {
                add(self.exact.get(&path));
                add(Some(&self.patterns));
                self.starts(&path).for_each(|list| add(Some(list)));
            }
            Reach::Start(path) => self.starts(&path).for_each(|list| add(Some(list))),
            Reach::Pattern(text) => add(self.pattern.get(text)),
        }
        found.sort_unstable();
        found.into_iter()
    }

    fn starts<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Vec<usize>> {
        let lengths = self.lengths.range(..=path.len());
        lengths.filter_map(|length| self.start.get(path.get(..*length)?))
    }
}
