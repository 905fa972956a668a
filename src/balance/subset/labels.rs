//! Parts of a cluster by labels (xDS `LbSubsetConfig`): which part an endpoint is in, and which one
//! a route gets that asks for labels.
//!
//! A selector is a list of keys; the endpoints that carry all of them make a part for each
//! combination of values. A route gets the part of exactly the labels that it asks for, else what
//! the selector of those keys, or the cluster, falls back to.

use std::collections::BTreeMap;

use twox_hash::XxHash64;

use crate::config::{SubsetFallback, SubsetSelector, Subsets};

/// Labels by key.
pub(crate) type Labels = BTreeMap<String, String>;

/// The labels that a route asks for, made once with the route.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wanted {
    labels: Labels,
    id: u64,
}

/// What a route gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// The part of this id.
    Part(u64),
    /// Any endpoint.
    Any,
    Nothing,
}

/// One part: its labels, and the places of its endpoints.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Part {
    pub(crate) labels: Labels,
    pub(crate) places: Vec<u32>,
}

// === impl Wanted ===

impl Wanted {
    pub(crate) fn new(labels: Labels) -> Self {
        let id = id(labels.iter().map(|(key, value)| (&**key, &**value)));
        Self { labels, id }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Its labels.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        self.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The id of those of its labels that have these keys.
    fn reduced(&self, keys: &[String]) -> u64 {
        let kept = self.labels.iter().filter(|(key, _)| keys.contains(key));
        id(kept.map(|(key, value)| (&**key, &**value)))
    }

    /// Whether a part of these labels is what was asked for, as far as its keys go.
    fn agrees(&self, part: &Labels) -> bool {
        part.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// What it gets of these parts. Nothing is allocated.
    pub(crate) fn find<'a>(
        &self,
        subsets: &Subsets,
        part: impl Fn(u64) -> Option<&'a Labels>,
    ) -> Found {
        let there = |id: u64| part(id).is_some_and(|labels| self.agrees(labels));
        let default = || {
            let default = id(subsets.default.iter().map(|(key, value)| (&**key, &**value)));
            if part(default).is_some() { Found::Part(default) } else { Found::Nothing }
        };
        if self.is_empty() {
            return match subsets.fallback {
                SubsetFallback::Default => default(),
                _ => Found::Any,
            };
        }
        let (mut id, mut selector) = (self.id, selector(subsets, |keys| self.has_exactly(keys)));
        // A selector falls back to fewer keys than its own, so this ends.
        for _ in 0..=self.labels.len() {
            if selector.is_some() && there(id) {
                return Found::Part(id);
            }
            match selector.and_then(|selector| selector.fallback).unwrap_or(subsets.fallback) {
                SubsetFallback::None => return Found::Nothing,
                SubsetFallback::Any => return Found::Any,
                SubsetFallback::Default => return default(),
                SubsetFallback::Keys => {
                    let Some(keys) = selector.map(|selector| &selector.fallback_keys) else {
                        return Found::Nothing;
                    };
                    id = self.reduced(keys);
                    selector = self::selector(subsets, |other| same(keys, other));
                }
            }
        }
        Found::Nothing
    }

    fn has_exactly(&self, keys: &[String]) -> bool {
        self.labels.len() == keys.len() && keys.iter().all(|key| self.labels.contains_key(key))
    }
}

fn same(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && one.iter().all(|key| other.contains(key))
}

fn selector(subsets: &Subsets, fits: impl Fn(&[String]) -> bool) -> Option<&SubsetSelector> {
    subsets.selectors.iter().find(|selector| fits(&selector.keys))
}

/// The same for the same labels in any order.
fn id<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    labels.fold(0, |sum, (key, value)| {
        let key = XxHash64::oneshot(0, key.as_bytes());
        sum.wrapping_add(XxHash64::oneshot(key, value.as_bytes()))
    })
}

/// The parts that these endpoints make, by id; the default part among them.
pub(crate) fn parts<'a>(
    subsets: &Subsets,
    endpoints: impl Iterator<Item = &'a Labels>,
) -> BTreeMap<u64, Part> {
    let mut parts = BTreeMap::<u64, Part>::new();
    let default = (subsets.fallback == SubsetFallback::Default
        || subsets.selectors.iter().any(|it| it.fallback == Some(SubsetFallback::Default)))
    .then(|| Wanted::new(subsets.default.clone()));
    for (place, labels) in (0..).zip(endpoints) {
        let mut join = |part: Labels, single: bool| {
            let id = Wanted::new(part.clone()).id;
            let known =
                parts.entry(id).or_insert_with(|| Part { labels: part, places: Vec::new() });
            if known.places.last() != Some(&place) && (!single || known.places.is_empty()) {
                known.places.push(place);
            }
        };
        for selector in &subsets.selectors {
            let of = |key: &String| Some((key.clone(), labels.get(key)?.clone()));
            let part: Option<Labels> = selector.keys.iter().map(of).collect();
            if let Some(part) = part {
                join(part, selector.single == Some(true));
            }
        }
        if let Some(default) = &default
            && default.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        {
            join(default.labels.clone(), false);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    fn selector(keys: &[&str]) -> SubsetSelector {
        SubsetSelector {
            keys: keys.iter().map(|key| (*key).into()).collect(),
            ..SubsetSelector::default()
        }
    }

    /// The endpoints of Envoy's documentation of subsets.
    fn endpoints() -> Vec<Labels> {
        vec![
            labels(&[("stage", "prod"), ("version", "1.0"), ("type", "std")]),
            labels(&[("stage", "prod"), ("version", "1.0"), ("type", "std")]),
            labels(&[("stage", "prod"), ("version", "1.1"), ("type", "std")]),
            labels(&[("stage", "prod"), ("version", "1.1"), ("type", "std")]),
            labels(&[("stage", "prod"), ("version", "1.0"), ("type", "bigmem")]),
            labels(&[("stage", "prod"), ("version", "1.1"), ("type", "bigmem")]),
            labels(&[("stage", "dev"), ("version", "1.2-pre"), ("type", "std")]),
        ]
    }

    fn of_docs() -> Subsets {
        Subsets {
            selectors: vec![
                selector(&["stage", "type"]),
                selector(&["stage", "version"]),
                selector(&["version"]),
                selector(&["version", "xlarge"]),
            ],
            fallback: SubsetFallback::Default,
            default: labels(&[("stage", "prod"), ("version", "1.0"), ("type", "std")]),
            ..Subsets::default()
        }
    }

    /// The places that a route gets; all of them as None.
    fn get(subsets: &Subsets, wanted: &[(&str, &str)]) -> Result<Vec<u32>, Found> {
        let endpoints = endpoints();
        let parts = parts(subsets, endpoints.iter());
        let find = |id| parts.get(&id).map(|part| &part.labels);
        match Wanted::new(labels(wanted)).find(subsets, find) {
            Found::Part(id) => Ok(parts[&id].places.clone()),
            other => Err(other),
        }
    }

    //= Envoy docs, subsets.rst: the table of subsets and of matches
    #[test]
    fn parts_are_those_of_envoys_documentation() {
        let subsets = of_docs();
        assert_eq!(get(&subsets, &[("stage", "prod"), ("type", "std")]), Ok(vec![0, 1, 2, 3]));
        assert_eq!(get(&subsets, &[("stage", "prod"), ("type", "bigmem")]), Ok(vec![4, 5]));
        assert_eq!(get(&subsets, &[("stage", "dev"), ("type", "std")]), Ok(vec![6]));
        assert_eq!(get(&subsets, &[("stage", "prod"), ("version", "1.0")]), Ok(vec![0, 1, 4]));
        assert_eq!(get(&subsets, &[("version", "1.1")]), Ok(vec![2, 3, 5]));
        // No selector, or no endpoint: the default part.
        assert_eq!(get(&subsets, &[("stage", "prod")]), Ok(vec![0, 1]));
        assert_eq!(get(&subsets, &[("version", "9")]), Ok(vec![0, 1]));
        assert_eq!(get(&subsets, &[("version", "1.0"), ("xlarge", "true")]), Ok(vec![0, 1]));
        assert_eq!(get(&subsets, &[]), Ok(vec![0, 1]));
    }

    #[test]
    fn what_is_not_there_is_what_the_fallback_says() {
        let mut subsets = Subsets { selectors: vec![selector(&["version"])], ..Subsets::default() };
        assert_eq!(get(&subsets, &[("version", "9")]), Err(Found::Nothing));
        assert_eq!(get(&subsets, &[]), Err(Found::Any), "a route that asks for nothing");
        subsets.fallback = SubsetFallback::Any;
        assert_eq!(get(&subsets, &[("version", "9")]), Err(Found::Any));
        subsets.selectors[0].fallback = Some(SubsetFallback::None);
        assert_eq!(
            get(&subsets, &[("version", "9")]),
            Err(Found::Nothing),
            "the nearer one decides"
        );
        subsets.fallback = SubsetFallback::Default;
        subsets.default = labels(&[("stage", "gone")]);
        assert_eq!(get(&subsets, &[("other", "9")]), Err(Found::Nothing), "it is empty");
    }

    #[test]
    fn fewer_keys_are_looked_for() {
        let mut first = selector(&["stage", "version"]);
        first.fallback = Some(SubsetFallback::Keys);
        first.fallback_keys = vec!["stage".into()];
        let mut second = selector(&["stage"]);
        second.fallback = Some(SubsetFallback::Any);
        let subsets = Subsets { selectors: vec![first, second], ..Subsets::default() };
        assert_eq!(get(&subsets, &[("stage", "dev"), ("version", "1.0")]), Ok(vec![6]));
        assert_eq!(get(&subsets, &[("stage", "x"), ("version", "1.0")]), Err(Found::Any));
    }

    #[test]
    fn a_circle_of_fallbacks_ends() {
        let mut only = selector(&["stage"]);
        only.fallback = Some(SubsetFallback::Keys);
        only.fallback_keys = vec!["stage".into()];
        let subsets = Subsets { selectors: vec![only], ..Subsets::default() };
        assert_eq!(get(&subsets, &[("stage", "x")]), Err(Found::Nothing));
        let subsets = Subsets { fallback: SubsetFallback::Keys, ..Subsets::default() };
        assert_eq!(get(&subsets, &[("stage", "x")]), Err(Found::Nothing));
    }

    #[test]
    fn a_part_may_be_one_endpoint() {
        let mut single = selector(&["type"]);
        single.single = Some(true);
        let subsets = Subsets { selectors: vec![single], ..Subsets::default() };
        assert_eq!(get(&subsets, &[("type", "bigmem")]), Ok(vec![4]));
    }

    #[test]
    fn the_order_of_labels_does_not_matter_and_their_values_do() {
        let id = |pairs| Wanted::new(labels(pairs)).id;
        assert_eq!(id(&[("a", "1"), ("b", "2")]), id(&[("b", "2"), ("a", "1")]));
        assert_ne!(id(&[("a", "1"), ("b", "2")]), id(&[("a", "2"), ("b", "1")]));
    }
}
