use proptest::prelude::*;

use super::*;
use crate::config::{GrpcMatch, HeaderMatch, Match, PathMatch, QueryMatch, StringMatch};

fn asked(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

fn by_path(path: PathMatch) -> Match {
    let mut rule = Match::default();
    rule.path = Some(path);
    rule
}

fn exact(path: &str) -> Match {
    by_path(PathMatch::Exact(path.into()))
}

fn prefix(path: &str) -> Match {
    by_path(PathMatch::Prefix(path.into()))
}

fn table(order: RouteOrder, routes: &[Vec<Match>]) -> Table<usize> {
    let labels = BTreeMap::new();
    let mut builder = Builder::new(order, &labels);
    for (number, matches) in routes.iter().enumerate() {
        builder.add(&[], matches, number).unwrap();
    }
    builder.build()
}

fn taken(table: &Table<usize>, request: &Request<()>) -> Option<usize> {
    table.find(request, &Random::seeded(1)).map(|found| *found.route)
}

#[test]
fn one_route_for_everything_looks_at_nothing() {
    for routes in [vec![vec![]], vec![vec![Match::default()]], vec![vec![prefix("/")]]] {
        assert!(matches!(table(RouteOrder::Listed, &routes).rules, Rules::Plain));
    }
    assert!(!matches!(table(RouteOrder::Listed, &[vec![prefix("/a")]]).rules, Rules::Plain));
}

#[test]
fn the_order_of_the_list_decides() {
    let routes = [vec![prefix("/a")], vec![exact("/a/b")], vec![]];
    let table = table(RouteOrder::Listed, &routes);
    assert_eq!(taken(&table, &asked("/a/b")), Some(0));
    assert_eq!(taken(&table, &asked("/b")), Some(2));
}

// The order that Gateway API gives HTTPRouteRule.matches.
#[test]
fn the_most_specific_decides() {
    let with = |mut rule: Match, headers: usize, queries: usize, method: bool| {
        for number in 0..headers {
            rule.headers.push(HeaderMatch::new(format!("h{number}"), StringMatch::Present));
        }
        for number in 0..queries {
            rule.query.push(QueryMatch::new(format!("q{number}"), StringMatch::Present));
        }
        rule.method = method.then(|| "GET".to_owned());
        rule
    };
    // From the least specific to the most.
    let routes = [
        vec![],
        vec![with(prefix("/"), 0, 1, false)],
        vec![with(Match::default(), 1, 0, false)],
        vec![prefix("/a")],
        vec![with(prefix("/a"), 0, 1, false)],
        vec![with(prefix("/a"), 0, 2, false)],
        vec![with(prefix("/a"), 1, 0, false)],
        vec![with(prefix("/a"), 2, 0, false)],
        vec![with(prefix("/a"), 0, 0, true)],
        vec![with(prefix("/a"), 1, 0, true)],
        vec![prefix("/a/b")],
        vec![exact("/a/b/c")],
        vec![with(exact("/a/b/c"), 1, 0, false)],
    ];
    let mut request = asked("/a/b/c?q0=1&q1=1");
    for name in ["h0", "h1"] {
        request.headers_mut().insert(name, "x".parse().unwrap());
    }
    for last in 1..=routes.len() {
        let table = table(RouteOrder::Specificity, &routes[..last]);
        assert_eq!(taken(&table, &request), Some(last - 1));
    }
    // Equal ones: the first in the list.
    let equal = [vec![prefix("/a/")], vec![prefix("/a")]];
    assert_eq!(taken(&table(RouteOrder::Specificity, &equal), &asked("/a")), Some(0));
}

#[test]
fn a_catch_all_takes_nothing_from_templates_and_regular_expressions() {
    let template = |text: &str| by_path(PathMatch::Template(text.into()));
    for all in [vec![], vec![prefix("/")], vec![by_path(PathMatch::StringPrefix("/".into()))]] {
        let mut routes = vec![all, vec![template("/users/{id}")]];
        if cfg!(feature = "regex") {
            routes.push(vec![by_path(PathMatch::Regex("/orders/[0-9]+".into()))]);
        }
        let table = table(RouteOrder::Specificity, &routes);
        assert_eq!(taken(&table, &asked("/users/1")), Some(1));
        assert_eq!(taken(&table, &asked("/else")), Some(0));
        if cfg!(feature = "regex") {
            assert_eq!(taken(&table, &asked("/orders/1")), Some(2));
        }
    }
    // What a name is called says nothing of how specific a template is.
    let routes = [vec![template("/users/{a_long_name}/*")], vec![template("/users/{id}/files")]];
    let table = table(RouteOrder::Specificity, &routes);
    assert_eq!(taken(&table, &asked("/users/1/files")), Some(1));
}

#[test]
fn grpc_routes_by_the_characters_of_service_and_method() {
    let rule = |service: Option<&str>, method: Option<&str>| {
        let mut grpc = GrpcMatch::default();
        grpc.service = service.map(|text| StringMatch::Exact(text.into()));
        grpc.method = method.map(|text| StringMatch::Exact(text.into()));
        let mut rule = Match::default();
        rule.grpc = Some(grpc);
        vec![rule]
    };
    let routes = [
        rule(None, None),
        rule(Some("a.B"), None),
        rule(None, Some("Get")),
        rule(Some("a.B"), Some("Get")),
    ];
    let table = table(RouteOrder::Specificity, &routes);
    let call = |path: &str| {
        Request::post(path).header("content-type", "application/grpc").body(()).unwrap()
    };
    assert_eq!(taken(&table, &call("/a.B/Get")), Some(3));
    assert_eq!(taken(&table, &call("/a.B/Set")), Some(1));
    assert_eq!(taken(&table, &call("/c.D/Set")), Some(0));
    assert_eq!(taken(&table, &call("/c.D/Get")), Some(2), "a method alone is more than nothing");
    assert_eq!(taken(&table, &asked("/c.D/Set")), None);
}

#[test]
fn hosts_in_both_orders() {
    let hosts =
        [vec!["*".to_owned()], vec!["*.b".to_owned(), "x.c".to_owned()], vec!["a.b".into()]];
    let labels = BTreeMap::new();
    for (order, expected) in [(RouteOrder::Listed, [0, 0, 0]), (RouteOrder::Specificity, [2, 1, 0])]
    {
        let mut builder = Builder::new(order, &labels);
        for (number, hosts) in hosts.iter().enumerate() {
            builder.add(hosts, &[], number).unwrap();
        }
        let table = builder.build();
        for (host, expected) in ["a.b:80", "c.b", "else"].into_iter().zip(expected) {
            let request = asked(&format!("http://{host}/"));
            assert_eq!(taken(&table, &request), Some(expected), "{order:?} {host}");
        }
    }
}

#[test]
fn why_a_rule_did_not_match() {
    let routes = [vec![exact("/a"), exact("/b")], vec![]];
    let table = table(RouteOrder::Listed, &routes);
    let (request, random) = (asked("/b"), Random::seeded(1));
    let asked = Asked::new(&request, &random);
    let why: Vec<_> =
        table.rules().iter().map(|it| (it.route, it.place, it.mismatch(&asked))).collect();
    assert_eq!(why, [(0, 0, Some(Mismatch::Path)), (0, 1, None), (1, 0, None)]);
}

#[test]
fn a_user_before_the_host_is_no_part_of_it() {
    let labels = BTreeMap::new();
    let mut builder = Builder::new(RouteOrder::Listed, &labels);
    builder.add(&["a.b".to_owned()], &[], 0).unwrap();
    let table = builder.build();
    assert_eq!(taken(&table, &asked("http://user@a.b/")), Some(0));
    assert_eq!(taken(&table, &asked("http://a.b@c.d/")), None);
}

#[test]
fn a_grpc_path_without_a_method_is_the_same_to_the_list_and_the_index() {
    let mut grpc = GrpcMatch::default();
    grpc.service = Some(StringMatch::Exact(String::new()));
    let mut rule = Match::default();
    rule.grpc = Some(grpc);
    let few = vec![vec![rule]];
    let many: Vec<_> = few
        .iter()
        .cloned()
        .chain((0..FEW).map(|number| vec![exact(&format!("/{number}"))]))
        .collect();
    for (path, expected) in [("/Get", None), ("//Get", Some(0))] {
        let call = Request::post(path).header("content-type", "application/grpc").body(()).unwrap();
        for routes in [&few, &many] {
            assert_eq!(taken(&table(RouteOrder::Listed, routes), &call), expected, "{path}");
        }
    }
}

fn paths() -> impl Strategy<Value = String> {
    let element = prop_oneof![Just("a"), Just("b"), Just("ab"), Just("")];
    prop::collection::vec(element, 1..5).prop_map(|elements| format!("/{}", elements.join("/")))
}

fn rules() -> impl Strategy<Value = Match> {
    (paths(), 0..5_u8, any::<bool>()).prop_map(|(path, kind, has_method)| {
        let mut rule = match kind {
            0 => exact(&path),
            1 => prefix(&path),
            2 => by_path(PathMatch::StringPrefix(path)),
            3 => by_path(PathMatch::Template(format!("{}/{{x}}/**", path.trim_end_matches('/')))),
            _ => Match::default(),
        };
        rule.method = has_method.then(|| "PUT".to_owned());
        rule
    })
}

proptest! {
    /// The index leaves nothing out: it finds what asking one after the other finds.
    #[test]
    fn the_index_finds_what_the_list_finds(
        rules in prop::collection::vec(rules(), FEW + 1..40),
        path in paths(),
        is_put: bool,
        is_listed: bool,
    ) {
        let routes: Vec<_> = rules.into_iter().map(|rule| vec![rule]).collect();
        let order = if is_listed { RouteOrder::Listed } else { RouteOrder::Specificity };
        let table = table(order, &routes);
        prop_assert!(matches!(table.rules, Rules::Many(..)));
        let mut request = asked(&path);
        if is_put {
            *request.method_mut() = http::Method::PUT;
        }
        let random = Random::seeded(1);
        let asked = Asked::new(&request, &random);
        let first = table.rules().iter().find(|rule| rule.mismatch(&asked).is_none());
        prop_assert_eq!(taken(&table, &request), first.map(|rule| rule.route));
    }
}

#[cfg(feature = "regex")]
#[test]
fn a_regex_is_compiled_once_whatever_hosts_a_route_has() {
    let rule = by_path(PathMatch::Regex("/a/[0-9]+".into()));
    let labels = BTreeMap::new();
    let mut builder = Builder::new(RouteOrder::Specificity, &labels);
    let hosts: Vec<_> = ["a.b", "c.d", "*.e"].map(str::to_owned).into();
    builder.add(&hosts, &[rule], 0).unwrap();
    let table = builder.build();
    let of = |rule: &Rule| match rule.matcher.path() {
        Some(Path::Regex(regex)) => Arc::as_ptr(regex),
        _ => panic!("it has one"),
    };
    let regexes: Vec<_> = table.rules().iter().map(of).collect();
    assert!(regexes.len() == 3 && regexes.iter().all(|it| *it == regexes[0]));
}

#[cfg(feature = "regex")]
#[test]
fn a_thousand_regex_routes_share_what_is_compiled_and_each_is_asked_once_at_most() {
    // Two routes for each of 500 patterns, told apart by a method.
    let rules = (0..1_000).map(|number| {
        let mut rule = by_path(PathMatch::Regex(format!("/shop{}/[0-9]+", number / 2)));
        rule.method = Some(if number % 2 == 0 { "PUT" } else { "GET" }.to_owned());
        vec![rule]
    });
    let table = table(RouteOrder::Listed, &rules.collect::<Vec<_>>());
    let of = |rule: &Rule| match rule.matcher.path() {
        Some(Path::Regex(regex)) => Arc::as_ptr(regex),
        _ => panic!("it has one"),
    };
    let compiled: std::collections::BTreeSet<_> = table.rules().iter().map(of).collect();
    assert_eq!(compiled.len(), 500);
    let Rules::Many(rules, index) = &table.rules else { panic!("they are many") };
    for (path, expected) in [("/shop0/7", Some(1)), ("/shop499/7", Some(999)), ("/shop500/7", None)]
    {
        let (request, random) = (asked(path), Random::seeded(1));
        let (request, count) = (Asked::new(&request, &random), std::cell::Cell::new(0));
        let found = index.first(request.path(), |number| {
            count.set(count.get() + 1);
            rules[number as usize].mismatch(&request).is_none()
        });
        assert_eq!(found, expected, "{path}");
        assert!(count.get() <= 1_000, "{path}: {} were asked", count.get());
    }
}
