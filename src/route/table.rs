//! The route table of one service: which route takes a request.

use std::{collections::BTreeMap, sync::Arc};

use http::Request;

use super::{
    Host, Matcher,
    index::Index,
    matching::{Asked, Mismatch},
    order::{self, Rank},
};
use crate::{
    config::{self, RouteOrder, path::Path, template::Template},
    core::Random,
};

/// So many rules are looked at in order rather than by an index.
const FEW: usize = 8;

/// The routes of one service. Immutable: a call pins it from start to end.
#[derive(Debug)]
pub(crate) struct Table<R> {
    routes: Vec<R>,
    rules: Rules,
}

#[derive(Debug)]
enum Rules {
    /// One route that takes everything: nothing is looked at.
    Plain,
    Few(Vec<Rule>),
    Many(Vec<Rule>, Index),
}

/// One match of one route, in the order in which they are asked.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The route, by its place in the list, and which of its matches this is.
    pub(crate) route: usize,
    pub(crate) place: usize,
    /// Its place in the order in which rules are asked.
    pub(crate) number: usize,
    hosts: Vec<Host>,
    matcher: Matcher,
}

/// What took a request.
#[derive(Debug)]
pub(crate) struct Found<'a, R> {
    /// The route, and its place in the list.
    pub(crate) place: usize,
    pub(crate) route: &'a R,
    /// The match of it; none, where the only route takes everything.
    pub(crate) rule: Option<&'a Rule>,
}

/// Makes a table.
#[derive(Debug)]
pub(crate) struct Builder<'a, R> {
    order: RouteOrder,
    /// The labels of this process.
    labels: &'a BTreeMap<String, String>,
    routes: Vec<R>,
    rules: Vec<(Option<Rank>, Rule)>,
}

// === impl Builder ===

impl<'a, R> Builder<'a, R> {
    pub(crate) fn new(order: RouteOrder, labels: &'a BTreeMap<String, String>) -> Self {
        Self { order, labels, routes: Vec::new(), rules: Vec::new() }
    }

    /// Adds a route behind those that are there; what cannot be compiled is named.
    pub(crate) fn add(
        &mut self,
        hosts: &[String],
        matches: &[config::Match],
        route: R,
    ) -> Result<(), String> {
        let matchers = matches.iter().map(|rule| Matcher::new(rule, self.labels));
        let mut matchers: Vec<_> = matchers.collect::<Result<_, _>>()?;
        if matchers.is_empty() {
            matchers.push(Matcher::default());
        }
        let number = self.routes.len();
        self.routes.push(route);
        for (place, matcher) in matchers.into_iter().enumerate() {
            let rule = Rule { route: number, place, number: 0, hosts: Vec::new(), matcher };
            self.rule(hosts, matches.get(place), rule);
        }
        Ok(())
    }

    /// Its hosts share what is compiled.
    fn rule(&mut self, hosts: &[String], said: Option<&config::Match>, mut rule: Rule) {
        if self.order == RouteOrder::Listed {
            rule.hosts = hosts.iter().map(|host| Host::new(host)).collect();
            self.rules.push((None, rule));
            return;
        }
        // Its hosts have ranks of their own.
        let Some((last, others)) = hosts.split_last() else {
            self.rules.push((Some(order::rank(said, None)), rule));
            return;
        };
        for host in others {
            let copy = Rule { hosts: vec![Host::new(host)], matcher: rule.matcher.clone(), ..rule };
            self.rules.push((Some(order::rank(said, copy.hosts.first())), copy));
        }
        rule.hosts.push(Host::new(last));
        self.rules.push((Some(order::rank(said, rule.hosts.first())), rule));
    }

    pub(crate) fn build(self) -> Table<R> {
        let Self { order, routes, mut rules, .. } = self;
        if order == RouteOrder::Specificity {
            rules.sort_by_key(|(rank, _)| *rank);
        }
        let rules = rules.into_iter().enumerate();
        let rules = rules.map(|(number, (_, rule))| Rule { number, ..rule });
        let rules: Vec<Rule> = rules.collect();
        let rules = match rules.as_slice() {
            [only] if only.takes_all() => Rules::Plain,
            few if few.len() <= FEW => Rules::Few(rules),
            _ => {
                let mut index = Index::new();
                for (number, rule) in (0..).zip(&rules) {
                    index.add(&rule.matcher.anchor(), number);
                }
                Rules::Many(rules, index)
            }
        };
        Table { routes, rules }
    }
}

// === impl Table ===

impl<R> Table<R> {
    /// The route that takes the request.
    #[inline]
    pub(crate) fn find<B>(&self, request: &Request<B>, random: &Random) -> Option<Found<'_, R>> {
        self.find_for(&Asked::new(request, random))
    }

    /// The same for a request that is looked at so.
    #[inline]
    pub(crate) fn find_for<B>(&self, asked: &Asked<'_, B>) -> Option<Found<'_, R>> {
        let rule = match &self.rules {
            Rules::Plain => None,
            Rules::Few(rules) => Some(rules.iter().find(|rule| rule.mismatch(asked).is_none())?),
            Rules::Many(rules, index) => {
                let takes = |number: u32| {
                    let rule = rules.get(number as usize);
                    rule.is_some_and(|rule| rule.mismatch(asked).is_none())
                };
                Some(rules.get(index.first(asked.path(), takes)? as usize)?)
            }
        };
        let place = rule.map_or(0, |rule| rule.route);
        Some(Found { place, route: self.routes.get(place)?, rule })
    }

    /// The same, rule by rule, with the first part of each that the request does not meet.
    pub(crate) fn explain<B>(
        &self,
        request: &Request<B>,
        random: &Random,
    ) -> (Vec<(&Rule, Mismatch)>, Option<Found<'_, R>>) {
        let asked = Asked::new(request, random);
        let mut passed = Vec::new();
        for rule in self.rules() {
            match rule.mismatch(&asked) {
                Some(mismatch) => passed.push((rule, mismatch)),
                None => {
                    let found = self.routes.get(rule.route);
                    let found =
                        found.map(|it| Found { place: rule.route, route: it, rule: Some(rule) });
                    return (passed, found);
                }
            }
        }
        let plain = match self.rules {
            Rules::Plain => self.routes.first(),
            Rules::Few(_) | Rules::Many(..) => None,
        };
        (passed, plain.map(|route| Found { place: 0, route, rule: None }))
    }

    pub(crate) fn get(&self, route: usize) -> Option<&R> {
        self.routes.get(route)
    }

    /// A rule by its place in the order in which rules are asked.
    pub(crate) fn rule(&self, number: usize) -> Option<&Rule> {
        self.rules().get(number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &R> {
        self.routes.iter()
    }

    /// The rules in the order in which they are asked; none: the only route takes everything.
    pub(super) fn rules(&self) -> &[Rule] {
        match &self.rules {
            Rules::Plain => &[],
            Rules::Few(rules) | Rules::Many(rules, _) => rules,
        }
    }
}

// === impl Rule ===

impl Rule {
    /// The first part that the request does not meet; none: the route takes it, unless one before
    /// does.
    pub(crate) fn mismatch<B>(&self, asked: &Asked<'_, B>) -> Option<Mismatch> {
        if !self.hosts.is_empty() {
            let host = asked.host().unwrap_or_default();
            if !self.hosts.iter().any(|pattern| pattern.matches(host)) {
                return Some(Mismatch::Host);
            }
        }
        self.matcher.mismatch(asked)
    }

    /// How much of a path that it takes is the prefix, and whether by whole elements.
    pub(super) fn prefix(&self) -> (usize, bool) {
        self.matcher.path().map_or((0, true), Path::prefix)
    }

    /// The template of its path.
    pub(super) fn template(&self) -> Option<&Arc<Template>> {
        match self.matcher.path()? {
            Path::Template(template) => Some(template),
            _ => None,
        }
    }

    /// The hosts that it is for; none: any.
    pub(super) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// What it asks of the path.
    pub(super) fn path(&self) -> Option<&Path> {
        self.matcher.path()
    }

    fn takes_all(&self) -> bool {
        self.hosts.is_empty() && self.matcher.takes_all()
    }
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
