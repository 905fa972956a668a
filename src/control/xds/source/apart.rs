//! Clusters whose names differ in case only: to the mesh they are one, and to xDS they are not.
//!
//! The first that comes has the name. Another is refused, and what leads to it is told of a cluster
//! of a name of its own, which is refused for that reason: its calls fail and say so, and go to nobody else's
//! endpoints.

use crate::config::{self, Filter};

/// What the mesh calls a cluster whose name another one has.
pub(super) fn apart(name: &str) -> String {
    let mut apart = String::with_capacity(name.len() + 4);
    // One in small letters, too, has a name of its own.
    apart.push('^');
    for letter in name.chars() {
        if letter == '^' || letter.is_ascii_uppercase() {
            apart.push('^');
        }
        apart.push(letter.to_ascii_lowercase());
    }
    apart
}

/// Lets a service name clusters as `called` says, where it says anything; whether it did.
pub(super) fn in_service(
    service: &mut config::Service,
    called: &dyn Fn(&str) -> Option<String>,
) -> bool {
    let mut is_any = false;
    let mut name = |name: &mut String| {
        if let Some(other) = called(name) {
            *name = other;
            is_any = true;
        }
    };
    service.cluster.iter_mut().for_each(&mut name);
    service.filters.iter_mut().for_each(|filter| in_filter(filter, &mut name));
    for route in &mut service.routes {
        route.filters.iter_mut().for_each(|filter| in_filter(filter, &mut name));
        for target in &mut route.clusters {
            name(&mut target.name);
            target.filters.iter_mut().for_each(|filter| in_filter(filter, &mut name));
            let changed = target.overrides.values_mut().filter_map(|it| it.filter.as_mut());
            changed.for_each(|filter| in_filter(filter, &mut name));
        }
    }
    is_any
}

fn in_filter(filter: &mut Filter, name: &mut dyn FnMut(&mut String)) {
    match filter {
        Filter::Mirror(mirror) => mirror.cluster.iter_mut().for_each(name),
        Filter::GlobalRateLimit(limit) => name(&mut limit.cluster),
        Filter::Named(named) => in_filter(&mut named.filter, name),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_spellings_are_called_the_same() {
        let all = ["foo", "Foo", "fOo", "FOO", "^foo", "^Foo", "^^foo"];
        let names: BTreeSet<String> = all.map(apart).into();
        assert_eq!(names.len(), all.len(), "{names:?}");
        assert!(!names.contains("foo"), "that is what whoever comes first is called: {names:?}");
        assert!(names.iter().all(|name| *name == name.to_ascii_lowercase()));
    }

    #[test]
    fn every_place_that_names_a_cluster_is_renamed() {
        let mut mirror = config::Mirror::default();
        mirror.cluster = Some("Foo".to_owned());
        let mut limit = config::GlobalRateLimit::default();
        limit.cluster = "Foo".to_owned();
        let named = config::NamedFilter::new("n", Filter::GlobalRateLimit(Box::new(limit)));
        let filters = vec![Filter::Mirror(mirror), Filter::Named(Box::new(named))];
        let mut target = config::WeightedCluster::new("Foo");
        target.filters.clone_from(&filters);
        let mut route = config::Route::default();
        route.clusters = vec![target, config::WeightedCluster::new("foo")];
        route.filters.clone_from(&filters);
        let mut service = config::Service::default();
        service.routes = vec![route];
        service.filters = filters;
        let is_it = |name: &str| (name == "Foo").then(|| "other".to_owned());
        assert!(in_service(&mut service, &is_it));
        let text = format!("{service:?}");
        assert!(!text.contains("\"Foo\"") && text.contains("\"foo\""), "{text}");
        assert!(!in_service(&mut service, &is_it));
    }
}
