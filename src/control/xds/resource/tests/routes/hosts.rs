//! Virtual hosts: which one an authority finds, and what of one takes no other away.

use envoy_types::pb::envoy::{
    config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
    r#type::matcher::v3::{StringMatcher, string_matcher},
};

use super::{
    super::listener::{router, with},
    *,
};

#[test]
fn find_best_matching_virtual_host() {
    let routes = sidecar()
        .routes(&configuration(
            ["foo.bar.com", "*.bar.com", "*", "foo.bar.*", "foo.*", "*.com", "BAZ.example:80"]
                .map(|domain| host(&[domain], Vec::new()))
                .into(),
        ))
        .unwrap();
    for (authority, wanted) in [
        ("foo.bar.com", "foo.bar.com"),
        ("FOO.bar.COM", "foo.bar.com"),
        ("a.bar.com", "*.bar.com"),
        ("a.com", "*.com"),
        ("foo.bar.123", "foo.bar.*"),
        ("foo.a", "foo.*"),
        ("baz.example:80", "BAZ.example:80"),
        ("other", "*"),
        // A star stands for something.
        (".bar.com", "*.com"),
    ] {
        assert_eq!(routes.host(authority).unwrap().name, wanted, "{authority}");
    }
    let few = sidecar().routes(&configuration(vec![host(&["a.b"], Vec::new())])).unwrap();
    assert!(few.host("a.b:80").is_none());
    let mut pb = configuration(vec![host(&["a.b", "[::1]"], Vec::new())]);
    pb.ignore_port_in_host_matching = true;
    let few = sidecar().routes(&pb).unwrap();
    assert!(few.host("a.b:80").is_some() && few.host("[::1]:80").is_some());
}

#[test]
fn domains_that_are_wrong() {
    for domain in ["", "a*b", "**", "*a*", "a b", "a\u{0}b"] {
        let pb = configuration(vec![host(&[domain], Vec::new())]);
        refuses(sidecar().routes(&pb), "virtual_hosts[0].domains[0] = ");
    }
    let pb = configuration(vec![host(&["a.b"], Vec::new()), host(&["A.b"], Vec::new())]);
    refuses(sidecar().routes(&pb), "virtual_hosts[1].domains[0] = A.b: is listed twice");
    let read = proxyless().routes(&pb).unwrap();
    assert!(read.notes[0].contains("the first counts"));
}

/// To a sidecar istiod sends the hosts of all services of a port as one resource.
#[test]
fn a_host_that_asks_for_what_is_not_done_takes_no_other_away() {
    let typed = |url: &str| envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig {
        name: "p".into(),
        typed_config: Some(protobuf::Any { type_url: format!("x/{url}"), value: Vec::new() }),
    };
    let custom = StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Custom(Default::default())),
        ..StringMatcher::default()
    };
    let headers = vec![HeaderMatcher {
        name: "h".into(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(custom)),
        ..HeaderMatcher::default()
    }];
    let by_header = ClusterWeight {
        cluster_header: "x-cluster".into(),
        weight: wrapped(1),
        ..ClusterWeight::default()
    };
    let weighted = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(PbWeighted {
            clusters: vec![by_header],
            ..PbWeighted::default()
        })),
        ..RouteAction::default()
    };
    let rewrite = RouteAction { path_rewrite_policy: Some(typed("x.Rewrite")), ..to("c") };
    let template = by(PathSpecifier::PathMatchPolicy(typed("x.Path")));
    let unknown = |name: &str| {
        let headers = vec![HeaderMatcher { name: name.into(), ..HeaderMatcher::default() }];
        route(RouteMatch { headers, ..prefix("/") }, to("c"))
    };
    for (pb, place) in [
        (
            route(RouteMatch { headers, ..prefix("/") }, to("c")),
            "match.headers[0].string_match.custom",
        ),
        (
            route(prefix("/"), weighted),
            "route.weighted_clusters.clusters[0].cluster_header = x-cluster",
        ),
        (route(prefix("/"), rewrite), "route.path_rewrite_policy = x.Rewrite"),
        (route(template, to("c")), "match.path_match_policy = x.Path"),
        (unknown(":protocol"), "is not a header name"),
    ] {
        for decoder in [sidecar(), proxyless()] {
            let good = || host(&["good"], vec![route(prefix("/"), to("good"))]);
            let bad = host(&["bad"], vec![route(prefix("/a"), to("a")), pb.clone()]);
            let other = host(&["other"], vec![route(prefix("/"), to("other"))]);
            let read = decoder.routes(&configuration(vec![good(), bad, other])).unwrap();
            assert_eq!(read.hosts[0].clusters(), ["good"].into());
            assert_eq!(read.hosts[2].clusters(), ["other"].into());
            // Nothing of it is used, and its calls fail.
            let refused = read.host("bad").unwrap();
            assert!(refused.routes.is_empty());
            let reason = refused.refused.as_deref().unwrap();
            assert!(reason.contains(place), "{reason}\nhas no\n{place}");
            assert!(read.notes.iter().any(|note| note.contains(place)), "{:?}", read.notes);
            let listener = with(vec![router()]).unwrap();
            assert_eq!(listener.lacks(refused).as_deref(), Some(reason));
            assert_eq!(listener.lacks(&read.hosts[0]), None);
        }
    }
    let mut trees = host(&["bad"], Vec::new());
    trees.matcher = Some(Default::default());
    let good = host(&["good"], vec![route(prefix("/"), to("good"))]);
    let read = sidecar().routes(&configuration(vec![trees, good])).unwrap();
    assert!(read.hosts[0].refused.is_some() && read.hosts[1].refused.is_none());
    // What is wrong whoever reads it refuses all, as gRPC and Envoy do.
    let wrong = route(by(PathSpecifier::SafeRegex(regex("("))), to("c"));
    let good = host(&["good"], vec![route(prefix("/"), to("good"))]);
    let read = sidecar().routes(&configuration(vec![good, host(&["bad"], vec![wrong])]));
    refuses(read, "virtual_hosts[1].routes[0].match.safe_regex.regex");
}
