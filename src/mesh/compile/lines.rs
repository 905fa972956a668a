//! The filters that calls meet, in order, with what overrides those that have a name.

use std::collections::BTreeMap;

use crate::{
    config::{Filter, FilterOverride, NamedFilter},
    mesh::{guard::Place, overlay::Whose, spelled},
};

/// What a filter does and who says it, for `describe()`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::mesh) struct Told {
    pub(in crate::mesh) name: String,
    pub(in crate::mesh) value: String,
    pub(in crate::mesh) whose: Whose,
}

/// A filter in its place.
#[derive(Clone, Copy)]
pub(in crate::mesh) struct Line<'a> {
    /// Where it is said, and by whom.
    pub(in crate::mesh) place: &'a Place,
    pub(in crate::mesh) whose: Whose,
    pub(in crate::mesh) filter: &'a Filter,
    name: Option<&'a str>,
    disabled: bool,
}

// === impl Line ===

impl<'a> Line<'a> {
    pub(in crate::mesh) fn new(filter: &'a Filter, place: &'a Place, whose: Whose) -> Self {
        match filter {
            Filter::Named(named) => {
                let NamedFilter { name, disabled, filter } = &**named;
                Self { place, whose, filter, name: Some(name), disabled: *disabled }
            }
            filter => Self { place, whose, filter, name: None, disabled: false },
        }
    }

    /// As `describe()` shows it.
    pub(in crate::mesh) fn told(&self) -> String {
        match self.name {
            Some(name) => format!("{} ({name})", self.filter.name()),
            None => self.filter.name().to_owned(),
        }
    }

    /// What it does, and whose it is; nothing of guards, which tell of themselves while they run.
    pub(in crate::mesh) fn says(&self) -> Option<Told> {
        let off = self.disabled.then(|| "off".to_owned());
        let value = off.or_else(|| spelled::of_filter(self.filter))?;
        Some(Told { name: self.told(), value, whose: self.whose })
    }
}

/// Those that run.
pub(in crate::mesh) fn running<'l, 'a>(
    lines: &'l [Line<'a>],
) -> impl Iterator<Item = &'a Filter> + Clone + use<'l, 'a> {
    lines.iter().filter(|line| !line.disabled).map(|line| line.filter)
}

/// The same, with their places.
pub(in crate::mesh) fn running_lines<'l, 'a>(
    lines: &'l [Line<'a>],
) -> impl Iterator<Item = Line<'a>> + use<'l, 'a> {
    lines.iter().filter(|line| !line.disabled).copied()
}

/// The lines as they are where this is said: nobody overrides what another has said.
//= Envoy typed_per_filter_config: the most specific one decides, a filter that is off is turned on
//= by one that configures it
pub(in crate::mesh) fn overridden<'a>(
    lines: &mut [Line<'a>],
    overrides: &'a BTreeMap<String, FilterOverride>,
    place: &'a Place,
    whose: Whose,
) {
    if overrides.is_empty() {
        return;
    }
    for line in lines.iter_mut().filter(|line| line.whose == whose) {
        let Some(said) = line.name.and_then(|name| overrides.get(name)) else { continue };
        let FilterOverride { disabled, filter } = said;
        line.disabled = match (disabled, filter) {
            (Some(disabled), _) => *disabled,
            (None, Some(_)) => false,
            (None, None) => line.disabled,
        };
        if let Some(filter) = filter {
            (line.filter, line.place) = (filter, place);
        }
    }
}

/// Every filter of a service, wherever it is said, whether it runs or not.
pub(in crate::mesh) fn all<'a>(
    service: &'a crate::config::Service,
    routes: &'a [crate::config::Route],
) -> impl Iterator<Item = &'a Filter> + Clone {
    fn of(overrides: &BTreeMap<String, FilterOverride>) -> impl Iterator<Item = &Filter> + Clone {
        overrides.values().filter_map(|said| said.filter.as_deref())
    }
    let of_routes = routes.iter().flat_map(|route| {
        let of_targets = route.clusters.iter();
        let of_targets =
            of_targets.flat_map(|target| target.filters.iter().chain(of(&target.overrides)));
        route.filters.iter().chain(of(&route.overrides)).chain(of_targets)
    });
    let all = service.filters.iter().chain(of(&service.overrides)).chain(of_routes);
    all.map(Filter::inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{HeaderEdit, HeaderPair},
        discover::SourceId,
    };

    fn edit(value: &str) -> Filter {
        let mut edit = HeaderEdit::default();
        let mut pair = HeaderPair::default();
        (pair.name, pair.value) = ("x".into(), value.into());
        edit.add = vec![pair];
        Filter::RequestHeaders(edit)
    }

    fn values(lines: &[Line<'_>]) -> Vec<String> {
        let value = |filter: &Filter| match filter {
            Filter::RequestHeaders(edit) => edit.add[0].value.clone(),
            _ => panic!("an edit"),
        };
        running(lines).map(value).collect()
    }

    fn said(disabled: Option<bool>, filter: Option<&str>) -> FilterOverride {
        FilterOverride { disabled, filter: filter.map(|value| Box::new(edit(value))) }
    }

    #[test]
    fn the_most_specific_word_decides() {
        let on = Filter::Named(Box::new(NamedFilter::new("on", edit("on"))));
        let mut off = NamedFilter::new("off", edit("off"));
        off.disabled = true;
        let off = Filter::Named(Box::new(off));
        let whose = Whose::Source(SourceId::new(0));
        let (service, route) = (Place::Service, Place::Numbered(0));
        let plain = edit("plain");
        let lines = || [&plain, &on, &off].map(|filter| Line::new(filter, &service, whose));
        assert_eq!(values(&lines()), ["plain", "on"]);
        for (of_route, of_cluster, expected) in [
            (vec![("on", said(Some(true), None))], vec![], vec!["plain"]),
            (vec![("off", said(Some(false), None))], vec![], vec!["plain", "on", "off"]),
            (vec![("off", said(None, Some("new")))], vec![], vec!["plain", "on", "new"]),
            (vec![("off", said(Some(true), Some("new")))], vec![], vec!["plain", "on"]),
            (
                vec![("on", said(None, Some("r")))],
                vec![("on", said(None, Some("c")))],
                vec!["plain", "c"],
            ),
            (
                vec![("on", said(Some(true), None))],
                vec![("on", said(Some(false), None))],
                vec!["plain", "on"],
            ),
            (
                vec![("on", said(None, Some("r")))],
                vec![("on", said(Some(true), None))],
                vec!["plain"],
            ),
        ] {
            let map = |list: Vec<(&str, FilterOverride)>| -> BTreeMap<String, FilterOverride> {
                list.into_iter().map(|(name, said)| (name.to_owned(), said)).collect()
            };
            let (of_route, of_cluster) = (map(of_route), map(of_cluster));
            let mut lines = lines();
            overridden(&mut lines, &of_route, &route, whose);
            overridden(&mut lines, &of_cluster, &route, whose);
            assert_eq!(values(&lines), expected, "{of_route:?} {of_cluster:?}");
        }
    }

    #[test]
    fn nobody_overrides_what_another_has_said() {
        let named = Filter::Named(Box::new(NamedFilter::new("on", edit("on"))));
        let overrides = [("on".to_owned(), said(Some(true), None))].into();
        let place = Place::Service;
        for whose in [Whose::Code, Whose::Source(SourceId::new(1))] {
            let mut lines = [Line::new(&named, &place, whose)];
            overridden(&mut lines, &overrides, &place, Whose::Source(SourceId::new(0)));
            assert_eq!(values(&lines), ["on"]);
        }
    }
}
