use std::collections::BTreeMap;

use http::Request;
use proptest::prelude::*;

use super::*;
use crate::{
    config::{
        GrpcMatch, HeaderMatch, IntegerRange, PathMatch, QueryMatch, RouteOrder, RuntimeFraction,
        StringMatch,
    },
    core::Random,
    route::Builder,
};

type Said = (Vec<String>, Vec<Match>);

fn table(order: RouteOrder, routes: &[Said]) -> Table<Vec<Match>> {
    let labels = BTreeMap::new();
    let mut builder = Builder::new(order, &labels);
    for (hosts, matches) in routes {
        builder.add(hosts, matches, matches.clone()).unwrap();
    }
    builder.build()
}

fn idle_in(order: RouteOrder, routes: &[Said]) -> Vec<Idle> {
    table(order, routes).idle(|matches| matches)
}

/// Whether the second of two rules is idle.
fn covered(first: Match, second: Match) -> bool {
    let routes = [(Vec::new(), vec![first]), (Vec::new(), vec![second])];
    !idle_in(RouteOrder::Listed, &routes).is_empty()
}

fn path(path: PathMatch) -> Match {
    Match { path: Some(path), ..Match::default() }
}

fn exact(text: &str) -> Match {
    path(PathMatch::Exact(text.into()))
}

fn prefix(text: &str) -> Match {
    path(PathMatch::Prefix(text.into()))
}

fn start(text: &str) -> Match {
    path(PathMatch::StringPrefix(text.into()))
}

fn any_case(rule: Match) -> Match {
    Match { path_ignore_case: true, ..rule }
}

fn header(name: &str, matcher: StringMatch) -> Match {
    Match { headers: vec![HeaderMatch::new(name, matcher)], ..Match::default() }
}

#[test]
fn paths() {
    for (first, second, expected) in [
        (Match::default(), exact("/a"), true),
        (exact("/a"), Match::default(), false),
        (prefix("/"), Match::default(), true),
        (exact("/a"), exact("/a"), true),
        (exact("/a"), exact("/A"), false),
        (any_case(exact("/a")), exact("/A"), true),
        (exact("/a"), any_case(exact("/a")), false),
        (prefix("/a"), exact("/a/b"), true),
        (prefix("/a"), exact("/ab"), false),
        (prefix("/a/"), prefix("/a"), true),
        (prefix("/a"), prefix("/a/b"), true),
        (prefix("/a"), prefix("/ab"), false),
        (prefix("/a"), prefix("/"), false),
        (prefix("/a"), start("/a/"), true),
        (prefix("/a"), start("/a/b"), true),
        // `/ab` begins so, too.
        (prefix("/a"), start("/a"), false),
        (any_case(prefix("/a")), start("/A/b"), true),
        (start("/a"), prefix("/ab"), true),
        (start("/a"), start("/ab"), true),
        (start("/ab"), start("/a"), false),
        (start("/a/"), prefix("/a"), false),
        (exact("/a"), prefix("/a"), false),
        (path(PathMatch::Template("/a/{x}".into())), exact("/a/b"), true),
        (path(PathMatch::Template("/a/{x}".into())), exact("/a/b/c"), false),
        (path(PathMatch::Template("/a/*".into())), path(PathMatch::Template("/a/*".into())), true),
        (prefix("/a"), path(PathMatch::Template("/a/*".into())), false),
    ] {
        assert_eq!(covered(first.clone(), second.clone()), expected, "{first:?} {second:?}");
    }
}

#[cfg(feature = "regex")]
#[test]
fn patterns_of_paths() {
    let regex = |text: &str| path(PathMatch::Regex(text.into()));
    for (first, second, expected) in [
        (regex("/a/[0-9]+"), exact("/a/7"), true),
        (regex("/a/[0-9]+"), exact("/a/b"), false),
        (regex("/a/[0-9]+"), regex("/a/[0-9]+"), true),
        (regex("/a/[0-9]+"), any_case(regex("/a/[0-9]+")), false),
        (any_case(regex("/a/b")), exact("/A/B"), true),
        (regex("/a/.*"), prefix("/a/b"), false),
        (regex(".*"), prefix("/a/b"), true),
        (regex(".*"), Match::default(), true),
    ] {
        assert_eq!(covered(first.clone(), second.clone()), expected, "{first:?} {second:?}");
    }
}

#[test]
fn texts() {
    let range = |start, end| StringMatch::Range(IntegerRange { start, end });
    let exact = |text: &str| StringMatch::Exact(text.into());
    let begins = |text: &str| StringMatch::Prefix(text.into());
    let ends = |text: &str| StringMatch::Suffix(text.into());
    let has = |text: &str| StringMatch::Contains(text.into());
    for (first, second, expected) in [
        (StringMatch::Present, exact("a"), true),
        (exact("a"), StringMatch::Present, false),
        (begins("a"), exact("ab"), true),
        (begins("a"), begins("ab"), true),
        (begins("ab"), begins("a"), false),
        (begins("a"), ends("ab"), false),
        (ends("b"), ends("ab"), true),
        (has("b"), ends("abc"), true),
        (has("b"), exact("a"), false),
        (range(0, 10), range(1, 10), true),
        (range(0, 10), range(1, 11), false),
        (range(0, 10), exact("9"), true),
        (range(0, 10), exact("10"), false),
        (exact("9"), range(9, 10), false),
    ] {
        let rules = (header("x", first.clone()), header("X", second.clone()));
        assert_eq!(covered(rules.0, rules.1), expected, "{first:?} {second:?}");
        let query = |matcher: &StringMatch| Match {
            query: vec![QueryMatch::new("x", matcher.clone())],
            ..Match::default()
        };
        assert_eq!(covered(query(&first), query(&second)), expected, "{first:?} {second:?}");
    }
}

#[test]
fn what_is_inverted_or_missing_covers_its_like_alone() {
    let said = |invert, missing_as_empty, matcher| {
        let mut header = HeaderMatch::new("x", matcher);
        (header.invert, header.missing_as_empty) = (invert, missing_as_empty);
        Match { headers: vec![header], ..Match::default() }
    };
    let exact = |text: &str| StringMatch::Exact(text.into());
    assert!(covered(said(true, false, exact("a")), said(true, false, exact("a"))));
    assert!(!covered(said(true, false, exact("a")), said(false, false, exact("b"))));
    assert!(!covered(said(true, false, exact("ab")), said(true, false, exact("a"))));
    let begins = |text: &str| StringMatch::Prefix(text.into());
    assert!(!covered(said(false, false, begins("")), said(false, true, begins(""))));
    assert!(!covered(said(false, false, StringMatch::Present), said(false, true, begins(""))));
    assert!(covered(said(false, true, begins("")), said(false, false, begins("a"))));
}

#[test]
fn every_part_counts_and_a_share_covers_nothing() {
    let both =
        |rule: Match, method: Option<&str>| Match { method: method.map(str::to_owned), ..rule };
    assert!(covered(both(prefix("/a"), None), both(prefix("/a"), Some("GET"))));
    assert!(!covered(both(prefix("/a"), Some("GET")), both(prefix("/a"), None)));
    assert!(!covered(both(prefix("/a"), Some("GET")), both(prefix("/a"), Some("PUT"))));
    let with = |names: &[&str]| Match {
        headers: names.iter().map(|name| HeaderMatch::new(*name, StringMatch::Present)).collect(),
        ..Match::default()
    };
    assert!(covered(with(&["a"]), with(&["b", "a"])));
    assert!(!covered(with(&["a", "c"]), with(&["b", "a"])));
    let share = |percent, key: Option<&str>| {
        let key = key.map(str::to_owned);
        Match { fraction: Some(RuntimeFraction { percent, key }), ..Match::default() }
    };
    assert!(!covered(share(100.0, None), Match::default()));
    assert!(!covered(share(50.0, Some("k")), share(10.0, None)));
    assert!(covered(Match::default(), share(10.0, Some("k"))));
}

#[test]
fn grpc_calls_are_under_their_paths() {
    let grpc = |service: Option<&str>, method: Option<&str>| {
        let text = |text: Option<&str>| text.map(|text| StringMatch::Exact(text.into()));
        let grpc = GrpcMatch { service: text(service), method: text(method) };
        Match { grpc: Some(grpc), ..Match::default() }
    };
    let call = || grpc(Some("a.B"), Some("Get"));
    assert!(covered(grpc(None, None), call()));
    assert!(covered(grpc(Some("a.B"), None), call()));
    assert!(!covered(call(), grpc(Some("a.B"), None)));
    assert!(covered(prefix("/a.B"), grpc(Some("a.B"), None)));
    assert!(covered(exact("/a.B/Get"), call()));
    assert!(!covered(call(), exact("/a.B/Get")), "what is no gRPC call has the path, too");
    assert!(!covered(prefix("/a.B"), grpc(None, Some("Get"))));
}

#[test]
fn hosts_and_the_order_in_which_rules_are_asked() {
    let of = |hosts: &[&str], rule: Match| -> Said {
        (hosts.iter().map(|host| (*host).to_owned()).collect(), vec![rule])
    };
    for (first, second, expected) in [
        (&["a.b"][..], &["a.b"][..], true),
        (&["*.b"], &["a.b", "*.c.b"], true),
        (&["*.b"], &["a.b", "b"], false),
        (&["a.b"], &[], false),
        (&[], &["a.b"], true),
        (&["*"], &[], true),
        (&["a.*"], &["a.b.*", "a.c"], true),
        (&["a.b:80"], &["a.b"], false),
    ] {
        let routes = [of(first, prefix("/")), of(second, prefix("/a"))];
        let found = idle_in(RouteOrder::Listed, &routes);
        assert_eq!(!found.is_empty(), expected, "{first:?} {second:?}");
        // The more specific one is asked first, wherever it stands.
        assert_eq!(idle_in(RouteOrder::Specificity, &routes), []);
    }
    let same = [of(&["a.b", "c.d"], exact("/a")), of(&["c.d", "a.b"], exact("/a"))];
    let found = Idle { route: 1, place: None, by: (0, 0), is_same: true };
    assert_eq!(idle_in(RouteOrder::Specificity, &same), [found]);
    let more = [of(&["a.b"], exact("/a")), of(&["c.d", "a.b"], exact("/a"))];
    assert_eq!(idle_in(RouteOrder::Specificity, &more), [], "one of its hosts is its own");
}

#[test]
fn a_route_is_idle_with_all_of_its_matches_and_else_they_are() {
    let routes = [
        (Vec::new(), vec![prefix("/a"), prefix("/b")]),
        (Vec::new(), vec![exact("/b/x"), exact("/c")]),
        (Vec::new(), vec![exact("/a"), prefix("/b")]),
        // Twice the same of one route is none's loss.
        (Vec::new(), vec![exact("/d"), exact("/d")]),
        (Vec::new(), vec![]),
        (Vec::new(), vec![]),
    ];
    let found = [
        Idle { route: 1, place: Some(0), by: (0, 1), is_same: false },
        Idle { route: 2, place: None, by: (0, 0), is_same: false },
        Idle { route: 5, place: None, by: (4, 0), is_same: true },
    ];
    assert_eq!(idle_in(RouteOrder::Listed, &routes), found);
}

#[test]
fn what_is_compared_is_bounded() {
    let one = |number: usize| header(&format!("x-{number}"), StringMatch::Present);
    let mut routes: Vec<_> = (0..3_000).map(|number| (Vec::new(), vec![one(number)])).collect();
    routes.push((Vec::new(), vec![one(0)]));
    // Each is looked at with all before it; what comes too late goes untold, and nothing takes long.
    assert_eq!(idle_in(RouteOrder::Listed, &routes), []);
    assert_eq!(idle_in(RouteOrder::Listed, &routes[2_999..]), []);
}

fn some_paths() -> impl Strategy<Value = String> {
    let element = prop_oneof![Just("a"), Just("A"), Just("ab"), Just("")];
    prop::collection::vec(element, 1..4).prop_map(|elements| format!("/{}", elements.join("/")))
}

fn some_text() -> impl Strategy<Value = StringMatch> {
    let text = prop_oneof![Just("a"), Just("A"), Just("ab"), Just("7"), Just("")];
    (text, 0..6_u8).prop_map(|(text, kind)| match kind {
        0 => StringMatch::Exact(text.into()),
        1 => StringMatch::Prefix(text.into()),
        2 => StringMatch::Suffix(text.into()),
        3 => StringMatch::Contains(text.into()),
        4 => StringMatch::Range(IntegerRange { start: 5, end: 9 }),
        _ => StringMatch::Present,
    })
}

fn some_rule() -> impl Strategy<Value = Match> {
    let header = (some_text(), any::<bool>(), any::<bool>(), any::<bool>());
    let query = (some_text(), any::<bool>(), any::<bool>());
    (
        (some_paths(), 0..6_u8, any::<bool>()),
        prop::option::of(header),
        prop::option::of(query),
        any::<bool>(),
        prop::option::of(prop_oneof![Just("a"), Just("A.b")]),
    )
        .prop_map(|((text, kind, free), header, query, put, service)| {
            let mut rule = match kind {
                0 => exact(&text),
                1 => prefix(&text),
                2 => start(&text),
                3 => path(PathMatch::Template(format!("{}/{{x}}", text.trim_end_matches('/')))),
                4 => Match {
                    grpc: Some(GrpcMatch {
                        service: service.map(|text| StringMatch::Exact(text.into())),
                        method: None,
                    }),
                    ..Match::default()
                },
                _ => Match::default(),
            };
            rule.path_ignore_case = free && kind < 3;
            rule.method = put.then(|| "PUT".to_owned());
            rule.headers.extend(header.map(|(matcher, invert, ignore_case, missing_as_empty)| {
                let header = HeaderMatch::new("x", matcher);
                HeaderMatch { invert, ignore_case, missing_as_empty, ..header }
            }));
            rule.query.extend(query.map(|(matcher, invert, ignore_case)| QueryMatch {
                invert,
                ignore_case,
                ..QueryMatch::new("q", matcher)
            }));
            rule
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What is told to be idle takes no request.
    #[test]
    fn no_request_comes_to_what_is_idle(
        rules in prop::collection::vec(some_rule(), 2..12),
        requests in prop::collection::vec(
            (some_paths(), any::<bool>(), any::<bool>(),
             prop::collection::vec(prop_oneof![Just("a"), Just("AB"), Just("ab"), Just("7"), Just("")], 0..3),
             prop::option::of(prop_oneof![Just("a"), Just("aB"), Just("7"), Just("")])),
            1..20),
        is_listed: bool,
    ) {
        let order = if is_listed { RouteOrder::Listed } else { RouteOrder::Specificity };
        let routes: Vec<Said> = rules.into_iter().map(|rule| (Vec::new(), vec![rule])).collect();
        let table = table(order, &routes);
        let idle: Vec<_> = table.idle(|matches| matches).iter().map(|it| it.route).collect();
        for (path, is_put, is_grpc, headers, query) in requests {
            let query = query.map(|value| format!("?q={value}")).unwrap_or_default();
            let mut request = Request::get(format!("{path}{query}"));
            if is_put {
                request = request.method("PUT");
            }
            if is_grpc {
                request = request.header("content-type", "application/grpc");
            }
            for value in headers {
                request = request.header("x", value);
            }
            let request = request.body(()).unwrap();
            let found = table.find(&request, &Random::seeded(1)).map(|found| found.place);
            prop_assert!(found.is_none_or(|found| !idle.contains(&found)), "{found:?} of {idle:?}");
        }
    }
}
