//! Why rules did not take a request.

use super::types::PassedRule;
use crate::{
    config::Match,
    mesh::{
        service::{Route, Service},
        spelled,
    },
    route::{Mismatch, Rule},
};

/// So many of them are told in a text.
pub(super) const TOLD: usize = 20;

pub(super) fn passed(service: &Service, rule: &Rule, mismatch: Mismatch) -> PassedRule {
    let route = service.table.get(rule.route);
    let said = route.and_then(|route| route.matches.get(rule.place));
    PassedRule {
        route: rule.route,
        name: route.and_then(|route| route.name.as_deref()).map(str::to_owned),
        asks: said.map_or_else(|| "any request".to_owned(), spelled::of_match),
        unmet: unmet(mismatch, said),
        is_drawn: mismatch == Mismatch::Fraction,
    }
}

/// The share of the requests like this one that a rule takes, where it does not take all of them.
pub(super) fn share(route: &Route, rule: &Rule) -> Option<f64> {
    let share = route.matches.get(rule.place)?.fraction.as_ref()?.percent / 100.0;
    (share < 1.0).then_some(share)
}

fn unmet(mismatch: Mismatch, said: Option<&Match>) -> String {
    let named = |what: &str, name: Option<&String>| match name {
        Some(name) => format!("{what} {name}"),
        None => what.to_owned(),
    };
    match mismatch {
        Mismatch::Host => "host".to_owned(),
        Mismatch::Caller => "labels of the caller".to_owned(),
        Mismatch::Path => "path".to_owned(),
        Mismatch::Method => "method".to_owned(),
        Mismatch::Scheme => "scheme".to_owned(),
        Mismatch::Grpc => "gRPC service or method".to_owned(),
        Mismatch::Header(place) => {
            named("header", said.and_then(|rule| Some(&rule.headers.get(place)?.name)))
        }
        Mismatch::Query(place) => {
            named("query", said.and_then(|rule| Some(&rule.query.get(place)?.name)))
        }
        Mismatch::Cookie(place) => {
            named("cookie", said.and_then(|rule| Some(&rule.cookies.get(place)?.name)))
        }
        Mismatch::Metadata(place) => {
            named("metadata", said.and_then(|rule| Some(&rule.metadata.get(place)?.namespace)))
        }
        Mismatch::Fraction => "its share".to_owned(),
    }
}
