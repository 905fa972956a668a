//! Rules that no request comes to, since one before them takes all that they would, or they contradict
//! themselves.
//!
//! Only what is certain is found: a rule is covered by one that asks for no more, part by part. What is
//! told of a rule that is none would be worse than what is left untold.

mod candidates;
mod contrary;
mod cover;

use std::collections::BTreeMap;

pub(crate) use self::contrary::{Contrary, Fit};
use self::{candidates::Candidates, cover::Asks};
use super::Table;
use crate::config::Match;

/// So many pairs of rules are compared: with more, rules that come late may go untold.
const MAX_COMPARED: usize = 65_536;

/// A route, or one of its matches, that no request comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Idle {
    /// The route, by its place in the list.
    pub(crate) route: usize,
    /// The match of it; none: all of them.
    pub(crate) place: Option<usize>,
    /// The route that takes what it would, and by which of its matches.
    pub(crate) by: (usize, usize),
    /// Whether it asks for just the same.
    pub(crate) is_same: bool,
}

impl<R> Table<R> {
    /// The routes, and of others the matches, that no request comes to, in the order of the list.
    pub(crate) fn idle(&self, matches: impl Fn(&R) -> &[Match]) -> Vec<Idle> {
        let rules = self.rules();
        if rules.len() < 2 {
            return Vec::new();
        }
        let asks: Vec<_> = rules
            .iter()
            .map(|rule| {
                let said = self.get(rule.route).map(&matches).and_then(|it| it.get(rule.place));
                Asks::new(rule, said)
            })
            .collect();
        let mut candidates = Candidates::default();
        let mut left = MAX_COMPARED;
        // One rule for each of its hosts, where hosts have ranks: it is idle if all of them are.
        let mut found: BTreeMap<(usize, usize), Option<Idle>> = BTreeMap::new();
        for (number, rule) in rules.iter().enumerate() {
            let Some(later) = asks.get(number) else { continue };
            let covering = candidates.of(later).find_map(|earlier| {
                let (by, earlier) = (rules.get(earlier)?, asks.get(earlier)?);
                // A route that asks twice for the same is none the worse for it.
                if by.route == rule.route || left == 0 {
                    return None;
                }
                left -= 1;
                earlier.covers(later).then(|| Idle {
                    route: rule.route,
                    place: Some(rule.place),
                    by: (by.route, by.place),
                    is_same: later.covers(earlier),
                })
            });
            found
                .entry((rule.route, rule.place))
                .and_modify(|known| *known = known.and(covering))
                .or_insert(covering);
            if left == 0 {
                break;
            }
            candidates.add(later, number);
        }
        whole(&found)
    }
}

/// Of a route all of whose matches are idle, it is told as one.
fn whole(found: &BTreeMap<(usize, usize), Option<Idle>>) -> Vec<Idle> {
    let mut told: Vec<Idle> = Vec::new();
    for (&(route, place), idle) in found {
        let Some(idle) = idle else { continue };
        let mut of_route = found.range((route, 0)..(route + 1, 0)).map(|(_, idle)| idle);
        if !of_route.clone().all(Option::is_some) {
            told.push(*idle);
        } else if found.range((route, 0)..).next().is_some_and(|((_, first), _)| *first == place) {
            let is_same = of_route.all(|it| it.is_some_and(|it| it.is_same));
            told.push(Idle { place: None, is_same, ..*idle });
        }
    }
    told
}

#[cfg(test)]
#[path = "idle/tests.rs"]
mod tests;
