//! What the benches measure: route tables of many rules. Not part of the API.

#![allow(missing_docs, reason = "for the benches of this crate only")]

use std::collections::BTreeMap;

use http::{Request, header::HeaderValue};

use super::{Builder, Table};
use crate::{
    config::{
        HeaderMatch, Match, PathMatch, Route, RouteOrder, Service, StringMatch, WeightedCluster,
    },
    core::Random,
};

/// A table, and requests that it is asked for in turn.
#[derive(Debug)]
pub struct Bench {
    table: Table<usize>,
    requests: Vec<(Request<()>, Option<usize>)>,
    random: Random,
}

/// What the rules of a table, and its requests, are like.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// Exact paths, prefixes, methods, templates, canaries by header; the last takes the rest.
    Typical,
    /// All of one path, told apart by the value of a header: every rule before it is asked.
    Headers,
    /// Regular expressions of which each has its own path; the last of them takes the request.
    Patterns,
    /// Regular expressions that explode elsewhere, a path of 60,000 characters that just fails them.
    Regexes,
    /// The same table as the typical one, and a path of 30,000 elements.
    Slashes,
}

fn rule(number: usize, kind: Kind) -> Match {
    let mut rule = Match::default();
    if let Kind::Headers = kind {
        let value = StringMatch::Exact(format!("t{number}"));
        rule.headers.push(HeaderMatch::new("x-tenant", value));
        return rule;
    }
    if let Kind::Patterns = kind {
        rule.path = Some(PathMatch::Regex(format!("/shop{number}/users/[0-9]+/orders/.*")));
        return rule;
    }
    if let Kind::Regexes = kind {
        let patterns = ["/(a+)+b", "/(a|a)*b", "/(a|aa)+b", "/a*a*a*a*a*b"];
        rule.path = Some(PathMatch::Regex(patterns[number % patterns.len()].to_owned()));
        return rule;
    }
    let service = number / 5;
    rule.path = Some(match number % 5 {
        0 => PathMatch::Exact(format!("/shop{service}/v1/cart")),
        1 => PathMatch::Template(format!("/shop{service}/users/{{id}}/orders/**")),
        _ => PathMatch::Prefix(format!("/shop{service}/v1")),
    });
    match number % 5 {
        2 => rule.headers.push(HeaderMatch::new("x-canary", StringMatch::Exact("yes".into()))),
        3 => rule.method = Some("POST".into()),
        _ => {}
    }
    rule
}

fn requests(count: usize, kind: Kind) -> Vec<(Request<()>, Option<usize>)> {
    let get = |path: &str, takes| {
        let mut request = Request::new(());
        *request.uri_mut() = path.parse().unwrap_or_default();
        for (name, value) in [("accept", "*/*"), ("user-agent", "bench"), ("x-tenant", "t0")] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        (request, takes)
    };
    match kind {
        Kind::Regexes => vec![get(&format!("/{}!", "a".repeat(60_000)), Some(count))],
        Kind::Patterns => {
            let last = count - 1;
            vec![get(&format!("/shop{last}/users/12/orders/7"), Some(last))]
        }
        Kind::Slashes => vec![get(&format!("/shop7/v1{}", "/a".repeat(30_000)), Some(7 * 5 + 4))],
        Kind::Headers => {
            let mut last = get("/", Some(count - 1));
            if let Ok(value) = HeaderValue::try_from(format!("t{}", count - 1)) {
                last.0.headers_mut().insert("x-tenant", value);
            }
            vec![last]
        }
        Kind::Typical => (0..count / 5)
            .step_by(7)
            .flat_map(|service| {
                let first = service * 5;
                [
                    get(&format!("/shop{service}/v1/cart?a=b"), Some(first)),
                    get(&format!("/shop{service}/users/12/orders/7/lines"), Some(first + 1)),
                    get(&format!("/shop{service}/v1/items/5"), Some(first + 4)),
                    get("/health", Some(count)),
                ]
            })
            .collect(),
    }
}

impl Bench {
    #[must_use]
    pub fn new(count: usize, kind: Kind, order: RouteOrder) -> Self {
        let labels = BTreeMap::new();
        let mut builder = Builder::new(order, &labels);
        for number in 0..count {
            drop(builder.add(&[], &[rule(number, kind)], number));
        }
        drop(builder.add(&[], &[], count));
        Self { table: builder.build(), requests: requests(count, kind), random: Random::seeded(1) }
    }

    /// Asks `times` times, and tells how often something else came than was expected.
    #[must_use]
    pub fn find(&self, times: usize) -> usize {
        let requests = self.requests.iter().cycle().take(times);
        let found = requests.map(|(request, expected)| {
            let found = self.table.find(request, &self.random).map(|found| *found.route);
            usize::from(found != *expected)
        });
        found.sum()
    }
}

/// A service of so many routes, for the whole way of configuration.
#[must_use]
pub fn service(count: usize) -> Service {
    let routes = (0..count).map(|number| {
        let mut route = Route::default();
        route.name = Some(format!("route-{number}"));
        route.matches = vec![rule(number, Kind::Typical)];
        route.clusters = vec![WeightedCluster::new(format!("c{}", number % 10))];
        route
    });
    let mut service = Service::default();
    service.routes = routes.collect();
    service
}
