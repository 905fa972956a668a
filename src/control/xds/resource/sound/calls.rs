//! The way of calls by routes that were read, as far as it is decided before anybody is called: what takes a
//! request, what becomes of it, where it goes, what it is hashed by, whom its session names, what is done after
//! each way in which an attempt may end.

use std::{collections::BTreeMap, net::SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};

use crate::{
    config::{self, Address, Filter, PathMatch, Service, StringMatch},
    core::Random,
    resilience::{
        Budget,
        retry::{Decision, Met, Policy},
    },
    route::{Around, Builder, Found, Hashing, Seen, Session, Split, Steps, hash::Beside},
};

/// So many routes are asked for by requests of their own, and a split is asked so often.
const ROUTES: usize = 16;
const CHOICES: usize = 8;
/// Seconds since 1970.
const NOW: u64 = 1_700_000_000;

/// A route, and what a call needs of it.
struct Compiled<'a> {
    said: &'a config::Route,
    steps: Vec<Steps>,
    split: Split<usize>,
    hashing: Hashing,
    session: Option<Session>,
    retry: Option<(Policy, Option<Budget>)>,
}

/// Sends requests, of which none leaves.
///
/// # Panics
///
/// If what is valid cannot be compiled, or anything of a call is not as it must be.
pub(super) fn calls(service: &Service, seed: u64) {
    let (random, labels) = (Random::seeded(seed), BTreeMap::new());
    let mut table = Builder::new(service.order, &labels);
    for said in &service.routes {
        let added = table.add(&said.hosts, &said.matches, Compiled::of(service, said));
        assert_eq!(added, Ok(()), "what is valid compiles");
    }
    let table = table.build();
    for (number, request) in requests(service).into_iter().enumerate() {
        let (_passed, explained) = table.explain(&request, &Random::seeded(seed));
        let found = table.find(&request, &Random::seeded(seed));
        let (place, told) = (found.as_ref().map(|it| it.place), explained.map(|it| it.place));
        assert_eq!(place, told, "it is explained as it is found");
        if let Some(found) = found {
            found.route.call(request, &found, &random, number % 2 == 1);
        }
    }
}

/// A request for each route as it asks, as far as that can be said, and some that nobody has asked for.
fn requests(service: &Service) -> Vec<Request<()>> {
    let mut requests: Vec<_> = ["/", "/a", "/a/b?c=d&e", "/v1/users/17?q=1"]
        .iter()
        .filter_map(|path| Request::get(format!("http://a.b{path}")).body(()).ok())
        .collect();
    for route in service.routes.iter().take(ROUTES) {
        let host = route.hosts.first().map_or("a.b", |host| host.trim_start_matches("*."));
        for rule in route.matches.iter().take(2) {
            let path = match &rule.path {
                Some(PathMatch::Exact(path)) => path.clone(),
                Some(PathMatch::Prefix(path) | PathMatch::StringPrefix(path)) => format!("{path}x"),
                Some(PathMatch::Template(path)) => path.replace('*', "x"),
                _ => "/".to_owned(),
            };
            let method = rule.method.as_deref().unwrap_or("POST");
            let uri = format!("http://{host}{path}?a=1&b=2");
            let Ok(mut request) = Request::builder().method(method).uri(uri).body(()) else {
                continue;
            };
            for wanted in &rule.headers {
                let value = match &wanted.matcher {
                    StringMatch::Exact(text)
                    | StringMatch::Prefix(text)
                    | StringMatch::Suffix(text)
                    | StringMatch::Contains(text) => text.as_str(),
                    _ => "7",
                };
                let name = HeaderName::try_from(&wanted.name);
                if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                    request.headers_mut().append(name, value);
                }
            }
            let cookie = HeaderValue::from_static("user=1; at=MTI3LjAuMC4xOjgw");
            request.headers_mut().insert(header::COOKIE, cookie);
            request.headers_mut().insert("x-user", HeaderValue::from_static("17"));
            requests.push(request);
        }
    }
    requests
}

/// Who answers.
fn endpoint() -> Address {
    SocketAddr::from(([127, 0, 0, 1], 80)).into()
}

fn unnamed(filter: &Filter) -> &Filter {
    match filter {
        Filter::Named(named) => &named.filter,
        other => other,
    }
}

impl<'a> Compiled<'a> {
    fn of(service: &'a Service, said: &'a config::Route) -> Self {
        let filters = || service.filters.iter().chain(&said.filters).map(unnamed);
        let of_route = Steps::default().then(filters());
        let of_target = |target: &config::WeightedCluster| {
            of_route.of_cluster(target.filters.iter().map(unnamed), target.invalid.is_some())
        };
        let mut steps: Vec<_> = said.clusters.iter().map(of_target).collect();
        let weights = said.clusters.iter().map(|target| target.weight);
        steps.push(of_route);
        let session = filters().find_map(|filter| match filter {
            Filter::Session(session) => Session::new(session),
            _ => None,
        });
        let retry = said.policy.retry.as_ref().or(service.policy.retry.as_ref());
        let hash = said.policy.hash.as_ref().or(service.policy.hash.as_ref());
        Self {
            said,
            steps,
            split: Split::new(weights.zip(0..)),
            hashing: Hashing::new(hash.map(Vec::as_slice).unwrap_or_default()),
            session,
            retry: retry.map(|it| (Policy::new(it), it.budget.as_ref().map(Budget::new))),
        }
    }

    fn call(
        &self,
        mut request: Request<()>,
        found: &Found<'_, Self>,
        random: &Random,
        is_grpc: bool,
    ) {
        if is_grpc {
            let kind = HeaderValue::from_static("application/grpc");
            request.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        let is_any = self.said.clusters.iter().any(|target| target.weight > 0);
        for _ in 0..CHOICES {
            let places = [self.split.place(random.next()), self.split.place_of_hash(random.next())];
            for place in places {
                assert_eq!(self.split.get(place).is_some(), is_any, "somewhere, if anywhere");
            }
        }
        self.hash(&request);
        self.stay(&request);
        self.retry(&request, random, is_grpc);
        let around = Around { route: self.said.name.as_deref(), cluster: Some("c"), started: None };
        for steps in &self.steps {
            let seen = Seen::of(&request, &around);
            if let Some(Ok(answer)) = steps.answer(&request, found.rule, is_grpc, &around) {
                assert!(answer.status().as_u16() >= 200, "an answer of {}", answer.status());
                continue;
            }
            let mut changed = request.clone();
            if steps.change(&mut changed, found.rule, &around).is_ok() {
                assert!(changed.uri().path().starts_with('/'), "{}", changed.uri());
            }
            steps.respond(&mut Response::new(()), Some(&seen), Some(&endpoint()));
        }
    }

    /// The same request has the same hash, and with the cookie that it was told to keep, too.
    fn hash(&self, request: &Request<()>) {
        let hash = |request: &Request<()>| {
            self.hashing.hash(request, Beside { key: None, channel: 5 }, || 7)
        };
        let first = hash(request);
        assert_eq!(hash(request).hash, first.hash);
        assert!(!self.hashing.is_empty() || first.hash.is_none());
    }

    /// Who is told its endpoint names it, where the path is one of the session.
    fn stay(&self, request: &Request<()>) {
        let Some(session) = &self.session else { return };
        let endpoint = endpoint();
        let named = session.named(request, NOW);
        let mut told = HeaderMap::new();
        session.tell(&mut told, named.as_ref(), (&endpoint, None), NOW);
        let knows = named.is_some_and(|named| named.address == endpoint);
        assert!(knows || !told.is_empty(), "nobody is told");
    }

    /// Whatever an attempt meets, there are no more than the policy has.
    fn retry(&self, request: &Request<()>, random: &Random, is_grpc: bool) {
        let Some((policy, budget)) = &self.retry else { return };
        let _armed = policy.arms(request.method(), is_grpc, None);
        let _allowed: bool = policy.allows(request.headers());
        let (empty, mut headers) = (HeaderMap::new(), HeaderMap::new());
        for (name, value) in [
            ("retry-after", "18446744073709551615"),
            ("x-again", "1"),
            ("grpc-retry-pushback-ms", "4294967295"),
            ("x-envoy-ratelimited", "true"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut all =
            vec![Met::NeverSent, Met::Unreachable, Met::Refused, Met::Reset, Met::AttemptTimeout];
        for headers in [&empty, &headers] {
            all.extend([200, 409, 429, 500, 503, 504].into_iter().filter_map(|status| {
                StatusCode::from_u16(status).ok().map(|status| Met::Response { status, headers })
            }));
            all.extend([0, 1, 4, 8, 13, 14, 99, -1].map(|code| Met::GrpcStatus { code, headers }));
        }
        for attempt in [1, 2, policy.attempts(), u32::MAX] {
            for met in &all {
                let is_repeated =
                    matches!(policy.decide(attempt, *met, random), Decision::Retry { .. });
                let may_be = met.is_safe() || attempt < policy.attempts();
                assert!(may_be || !is_repeated, "attempt {attempt}: {met:?}");
            }
        }
        if let Some(budget) = budget {
            for now in [0, 1, u64::MAX / 2] {
                budget.deposit(now);
                let _granted: bool = budget.withdraw(now);
            }
        }
    }
}
