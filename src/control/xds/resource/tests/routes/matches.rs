//! What a request must be like to take a route.

use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::RuntimeFractionalPercent,
            route::v3::{
                HeaderMatcher, QueryParameterMatcher, header_matcher::HeaderMatchSpecifier,
            },
        },
        r#type::v3::{FractionalPercent, Int64Range},
    },
    google::protobuf::BoolValue,
};

use super::*;
use crate::config::{PathMatch, StringMatch};

#[test]
fn paths_of_every_kind() {
    let path = |path: PathSpecifier| {
        let read = one_route(&sidecar(), route(by(path), to("c"))).unwrap();
        read.matches.first().and_then(|rule| rule.path.clone())
    };
    assert_eq!(path(PathSpecifier::Prefix("/".into())), None);
    assert_eq!(path(PathSpecifier::Prefix(String::new())), None);
    let prefix = path(PathSpecifier::Prefix("/a".into()));
    assert_eq!(prefix, Some(PathMatch::StringPrefix("/a".into())));
    let exact = path(PathSpecifier::Path("/a/b".into()));
    assert_eq!(exact, Some(PathMatch::Exact("/a/b".into())));
    let elements = path(PathSpecifier::PathSeparatedPrefix("/a".into()));
    assert_eq!(elements, Some(PathMatch::Prefix("/a".into())));
    let pattern = path(PathSpecifier::SafeRegex(regex("/[a-z]+")));
    assert_eq!(pattern, Some(PathMatch::Regex("/[a-z]+".into())));
}

#[test]
fn unrecognized_path_specifier_and_bad_regex() {
    let refused = |rule: RouteMatch, text: &str| {
        refuses(one_route(&proxyless(), route(rule, to("c"))), text);
    };
    refused(RouteMatch::default(), "match.path_specifier = none");
    refused(by(PathSpecifier::SafeRegex(regex("??"))), "match.safe_regex.regex = ??");
    refused(by(PathSpecifier::SafeRegex(regex(""))), "must not be empty");
    let headers = vec![HeaderMatcher {
        name: "h".into(),
        header_match_specifier: Some(HeaderMatchSpecifier::SafeRegexMatch(regex("("))),
        ..HeaderMatcher::default()
    }];
    refused(RouteMatch { headers, ..prefix("/a") }, "match.headers[0].safe_regex_match.regex = (");
    refuses(
        one_route(&proxyless(), PbRoute { r#match: None, ..route(prefix("/"), to("c")) }),
        "virtual_hosts[0].routes[0].match = none",
    );
}

#[test]
fn a_prefix_without_a_slash_takes_nothing() {
    let read = proxyless()
        .routes(&configuration(vec![host(
            &["*"],
            vec![route(prefix("a"), to("a")), route(prefix(""), to("b"))],
        )]))
        .unwrap();
    assert_eq!(read.hosts[0].clusters(), ["b"].into());
    assert!(read.notes[0].contains("the route is left out"), "{:?}", read.notes);
}

#[test]
fn headers_of_every_kind() {
    let read = |specifier: Option<HeaderMatchSpecifier>, invert: bool| {
        let headers = vec![HeaderMatcher {
            name: "h".into(),
            invert_match: invert,
            header_match_specifier: specifier,
            ..HeaderMatcher::default()
        }];
        let rule = RouteMatch { headers, ..prefix("/") };
        let read = one_route(&proxyless(), route(rule, to("c"))).unwrap();
        let header = read.matches[0].headers[0].clone();
        (header.matcher, header.invert)
    };
    let exact = Some(HeaderMatchSpecifier::ExactMatch("x".into()));
    assert_eq!(read(exact, true), (StringMatch::Exact("x".into()), true));
    assert_eq!(read(None, false), (StringMatch::Present, false));
    assert_eq!(
        read(Some(HeaderMatchSpecifier::PresentMatch(true)), false),
        (StringMatch::Present, false)
    );
    assert_eq!(
        read(Some(HeaderMatchSpecifier::PresentMatch(false)), false),
        (StringMatch::Present, true)
    );
    assert_eq!(
        read(Some(HeaderMatchSpecifier::PresentMatch(false)), true),
        (StringMatch::Present, false)
    );
    let range = Some(HeaderMatchSpecifier::RangeMatch(Int64Range { start: 1, end: 9 }));
    assert!(matches!(read(range, false).0, StringMatch::Range(_)));
}

#[test]
fn pseudo_headers_match_as_any_header() {
    let read = |name: &str, specifier: HeaderMatchSpecifier, invert: bool| {
        let headers = vec![HeaderMatcher {
            name: name.into(),
            invert_match: invert,
            header_match_specifier: Some(specifier),
            ..HeaderMatcher::default()
        }];
        one_route(&proxyless(), route(RouteMatch { headers, ..prefix("/") }, to("c"))).unwrap()
    };
    let exact = |text: &str| HeaderMatchSpecifier::ExactMatch(text.into());
    // What other fields of the model say is said there.
    let plain = |name: &str, value: &str| read(name, exact(value), false);
    assert_eq!(plain(":method", "PUT").matches[0].method.as_deref(), Some("PUT"));
    assert_eq!(plain(":scheme", "http").matches[0].scheme.as_deref(), Some("http"));
    assert_eq!(plain(":authority", "a.b").hosts, ["a.b"]);
    assert_eq!(plain("Host", "a.b").hosts, ["a.b"]);
    let suffix = read(":authority", HeaderMatchSpecifier::SuffixMatch(".b".into()), false);
    assert_eq!(suffix.hosts, ["*.b"]);
    let pattern = || HeaderMatchSpecifier::SafeRegexMatch(regex("P.*"));
    for name in [":method", ":scheme", ":authority", ":path"] {
        for invert in [false, true] {
            let rule = &read(name, pattern(), invert).matches[0];
            let wanted = StringMatch::Regex("P.*".into());
            let header = &rule.headers[0];
            assert_eq!((&*header.name, &header.matcher, header.invert), (name, &wanted, invert));
        }
    }
    // The path is compared with its query, and what no request has meets none.
    for (name, value) in [(":path", "/x"), (":method", "GET POST"), (":scheme", "ws")] {
        let rule = &plain(name, value).matches[0];
        assert_eq!((&rule.path, &rule.method, &rule.scheme), (&None, &None, &None));
        assert_eq!(&*rule.headers[0].name, name);
    }
    // The star of a host stands for one character at least, and for no port.
    let prefix = || HeaderMatchSpecifier::PrefixMatch("a.b".into());
    let suffix = || HeaderMatchSpecifier::SuffixMatch("b".into());
    for specifier in [prefix(), suffix(), exact("*"), exact("*.b")] {
        let read = read(":authority", specifier, false);
        assert_eq!((read.hosts.len(), &*read.matches[0].headers[0].name), (0, ":authority"));
    }
    let inverted = read("host", exact("a.b"), true);
    assert_eq!((inverted.hosts.len(), &*inverted.matches[0].headers[0].name), (0, ":authority"));
}

#[test]
fn query_and_fraction() {
    let fraction = RuntimeFractionalPercent {
        default_value: Some(FractionalPercent { numerator: 25, denominator: 1 }),
        runtime_key: "k".into(),
    };
    let rule = RouteMatch {
        query_parameters: vec![QueryParameterMatcher { name: "q".into(), ..Default::default() }],
        runtime_fraction: Some(fraction),
        grpc: Some(Default::default()),
        case_sensitive: Some(BoolValue { value: false }),
        ..prefix("/a")
    };
    let read = one_route(&sidecar(), route(rule, to("c"))).unwrap();
    let rule = &read.matches[0];
    assert_eq!(rule.query[0].name, "q");
    let fraction = rule.fraction.as_ref().unwrap();
    assert_eq!((fraction.percent, fraction.key.as_deref()), (0.25, Some("k")));
    assert!(rule.path_ignore_case);
    assert_eq!(rule.headers[0].name, "content-type");
}
