//! Checks of filters with names, and of what overrides them.

use std::collections::BTreeMap;

use super::{Checker, filter::Level};
use crate::config::{Filter, FilterOverride, Match, NamedFilter};

/// The filters that have a name.
pub(super) fn named(filters: &[Filter]) -> impl Iterator<Item = &NamedFilter> {
    filters.iter().filter_map(|filter| match filter {
        Filter::Named(named) => Some(&**named),
        _ => None,
    })
}

impl Checker {
    /// The names of filters, beside those that are known.
    pub(super) fn names<'a>(&mut self, filters: &'a [Filter], known: &mut Vec<&'a NamedFilter>) {
        for (index, filter) in filters.iter().enumerate() {
            let Filter::Named(named) = filter else { continue };
            if known.iter().any(|other| other.name == named.name) {
                self.refuse(&format!("filters[{index}].named.name"), &named.name, "is used twice");
            }
            known.push(named);
        }
    }

    /// Changes to the filters that are known here.
    pub(super) fn overrides(
        &mut self,
        overrides: &BTreeMap<String, FilterOverride>,
        known: &[&NamedFilter],
        matches: &[Match],
        of: Level,
    ) {
        for (name, said) in overrides {
            let FilterOverride { disabled, filter } = said;
            let field = format!("overrides.{name}");
            let Some(known) = known.iter().find(|known| known.name == *name) else {
                self.refuse(&field, name, "no filter has this name");
                continue;
            };
            if disabled.is_none() && filter.is_none() {
                self.refuse(&field, "{}", "says nothing: give `disabled` or `filter`");
            }
            let Some(filter) = filter else { continue };
            let field = format!("{field}.filter");
            let (kind, other) = (known.filter.name(), filter.name());
            if kind == other {
                self.filter(&field, filter, matches, of);
            } else {
                let reason = format!("must be `{kind}`, as the filter of this name is");
                self.refuse(&field, other, reason);
            }
        }
        if of != Level::Cluster {
            return;
        }
        // What is a route's cannot be left out for one of its clusters either.
        for (name, said) in overrides {
            let kind = known.iter().find(|known| known.name == *name);
            let is_of_route = kind.is_some_and(|known| match &known.filter {
                Filter::Session(_) => true,
                Filter::Fault(fault) => fault.per_attempt == Some(true),
                _ => false,
            });
            if is_of_route && said.filter.is_none() {
                let reason = "is of the whole route: not to be changed for one of its clusters";
                self.refuse(&format!("overrides.{name}"), name, reason);
            }
        }
    }
}
