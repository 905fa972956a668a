use std::time::Duration;

use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{
                HeaderValue, HeaderValueOption, RuntimeFractionalPercent,
                header_value_option::HeaderAppendAction,
            },
            route::v3::{
                ClusterSpecifierPlugin, DirectResponseAction, HeaderMatcher, NonForwardingAction,
                QueryParameterMatcher, RedirectAction, RetryPolicy, WeightedCluster as PbWeighted,
                header_matcher::HeaderMatchSpecifier,
                redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier},
                retry_policy::RetryBackOff,
                route_action::{
                    HashPolicy as PbHash, HostRewriteSpecifier, MaxStreamDuration,
                    RequestMirrorPolicy,
                    hash_policy::{FilterState, Header, PolicySpecifier},
                },
                weighted_cluster::ClusterWeight,
            },
        },
        r#type::{
            matcher::v3::{RegexMatchAndSubstitute, RegexMatcher, StringMatcher, string_matcher},
            v3::{FractionalPercent, Int64Range},
        },
    },
    google::protobuf::BoolValue,
};

use super::{
    listener::{router, with},
    *,
};
use crate::config::{Filter, HashOn, HostRewrite, PathMatch, PathRewrite, RetryOn, StringMatch};

fn regex(regex: &str) -> RegexMatcher {
    RegexMatcher { regex: regex.into(), ..RegexMatcher::default() }
}

pub(super) fn by(path: PathSpecifier) -> RouteMatch {
    RouteMatch { path_specifier: Some(path), ..RouteMatch::default() }
}

pub(super) fn weighted(list: &[(&str, u32)]) -> RouteAction {
    let clusters = list
        .iter()
        .map(|(name, weight)| ClusterWeight {
            name: (*name).into(),
            weight: wrapped(*weight),
            ..ClusterWeight::default()
        })
        .collect();
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(PbWeighted {
            clusters,
            ..PbWeighted::default()
        })),
        ..RouteAction::default()
    }
}

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

#[test]
fn weights_of_clusters() {
    let read =
        one_route(&sidecar(), route(prefix("/"), weighted(&[("a", 75), ("b", 25), ("c", 0)])));
    let weights: Vec<u32> = read.unwrap().clusters.iter().map(|it| it.weight).collect();
    assert_eq!(weights, [75, 25, 0]);
    let refused = |list: &[(&str, u32)], text: &str| {
        refuses(one_route(&proxyless(), route(prefix("/"), weighted(list))), text);
    };
    refused(&[], "weighted_clusters.clusters = []");
    refused(&[("a", 0)], "clusters.weight = 0: the sum must be in 1..=4294967295");
    refused(&[("a", u32::MAX), ("b", u32::MAX)], "clusters.weight = 8589934590");
    refused(&[("a", 1), ("", 1)], "clusters[1].name = \"\"");
    let scaled = one_route(&sidecar(), route(prefix("/"), weighted(&[("a", 4_000_000), ("b", 1)])));
    let weights: Vec<u32> = scaled.unwrap().clusters.iter().map(|it| it.weight).collect();
    assert_eq!(weights, [1_000_000, 1]);
}

#[test]
fn actions_that_are_not_known() {
    let header = ClusterSpecifier::ClusterHeader("x".into());
    let of = |specifier: Option<ClusterSpecifier>| {
        route(prefix("/"), RouteAction { cluster_specifier: specifier, ..RouteAction::default() })
    };
    refuses(one_route(&proxyless(), of(Some(header))), "left out: ");
    refuses(one_route(&proxyless(), of(None)), "left out: ");
    let plugin = || ClusterSpecifier::ClusterSpecifierPlugin("p".into());
    refuses(
        one_route(&proxyless(), of(Some(plugin()))),
        "cluster_specifier_plugin = p: is no plugin",
    );
    let extension = envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig {
        name: "p".into(),
        typed_config: None,
    };
    let mut pb = configuration(vec![host(&["*"], vec![of(Some(plugin()))])]);
    pb.cluster_specifier_plugins =
        vec![ClusterSpecifierPlugin { extension: Some(extension), is_optional: true }];
    assert_eq!(proxyless().routes(&pb).unwrap().hosts[0].routes.len(), 0);
    pb.cluster_specifier_plugins[0].is_optional = false;
    refuses(proxyless().routes(&pb), "cluster_specifier_plugins = p: not supported yet");
    let nowhere = PbRoute {
        action: Some(Action::NonForwardingAction(NonForwardingAction {})),
        ..route(prefix("/"), to("c"))
    };
    let read = one_route(&proxyless(), nowhere).unwrap();
    let Filter::DirectResponse(answer) = &read.filters[0] else { panic!("it answers") };
    assert_eq!((answer.status, answer.grpc), (503, Some(14)));
}

#[test]
fn good_with_retry_policy() {
    let with = |change: &dyn Fn(&mut RetryPolicy)| {
        let mut policy = RetryPolicy {
            retry_on: "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable,x"
                .into(),
            num_retries: wrapped(2),
            retry_back_off: Some(RetryBackOff {
                base_interval: Some(protobuf::Duration { seconds: 0, nanos: 1_000_000 }),
                max_interval: Some(protobuf::Duration { seconds: 0, nanos: 10_000_000 }),
            }),
            ..RetryPolicy::default()
        };
        change(&mut policy);
        let action = RouteAction { retry_policy: Some(policy), ..to("c") };
        one_route(&proxyless(), route(prefix("/"), action)).map(|read| read.policy)
    };
    let retry = with(&|_| {}).unwrap().retry.unwrap();
    assert_eq!(retry.attempts, Some(3));
    assert_eq!(retry.on.len(), 5);
    assert_eq!(retry.idempotent, Some(true));
    assert_eq!(retry.backoff_max, Some(Duration::from_millis(10)));
    let usual =
        with(&|it| (it.num_retries, it.retry_back_off) = (None, None)).unwrap().retry.unwrap();
    assert_eq!(usual.attempts, Some(2));
    assert_eq!(usual.backoff_base, Some(Duration::from_millis(25)));
    assert_eq!(usual.backoff_max, Some(Duration::from_millis(250)));
    let none = with(&|it| it.retry_on = "foo,bar".into()).unwrap().retry.unwrap();
    assert_eq!(none.attempts, Some(1));
    let envoys = with(&|it| {
        it.retry_on = "5xx, retriable-status-codes".into();
        it.retriable_status_codes = vec![429, 200];
        it.per_try_timeout = seconds(1);
    });
    let policy = envoys.unwrap();
    let retry = policy.retry.unwrap();
    assert_eq!(retry.on, [RetryOn::ServerError, RetryOn::RetriableStatusCodes]);
    assert_eq!(retry.on_status, Some(vec![429]));
    assert_eq!(policy.attempt_timeout, Some(Duration::from_secs(1)));
    refuses(with(&|it| it.num_retries = wrapped(0)), "retry_policy.num_retries = 0");
    let back_off = |base: Option<protobuf::Duration>, most: Option<protobuf::Duration>| {
        with(&|it| {
            it.retry_back_off = Some(RetryBackOff { base_interval: base, max_interval: most });
        })
    };
    refuses(back_off(None, None), "retry_back_off.base_interval = none");
    refuses(back_off(seconds(0), None), "base_interval = 0s: must be over 0");
    refuses(back_off(seconds(2), seconds(1)), "must be at least base_interval (2s)");
}

#[test]
fn timeouts_are_by_dialect() {
    let policy = |decoder: &Decoder, change: &dyn Fn(&mut RouteAction)| {
        let mut action = to("c");
        change(&mut action);
        one_route(decoder, route(prefix("/"), action)).unwrap().policy
    };
    assert_eq!(policy(&proxyless(), &|_| {}).timeout, None);
    assert_eq!(policy(&sidecar(), &|_| {}).timeout, Some(Duration::from_secs(15)));
    let read = policy(&proxyless(), &|it| it.timeout = seconds(3));
    assert_eq!((read.timeout, read.whole_response), (Some(Duration::from_secs(3)), Some(true)));
    let read = policy(&proxyless(), &|it| {
        it.max_stream_duration = Some(MaxStreamDuration {
            max_stream_duration: seconds(1),
            grpc_timeout_header_max: seconds(0),
            grpc_timeout_header_offset: None,
        });
    });
    assert_eq!(read.max_stream_duration, Some(Duration::from_secs(1)));
    assert_eq!(read.grpc_timeout.unwrap().max, Some(Duration::ZERO));
    // One that is not shorter than the whole says nothing.
    let read = policy(&sidecar(), &|it| {
        it.timeout = seconds(1);
        it.retry_policy = Some(RetryPolicy { per_try_timeout: seconds(1), ..Default::default() });
    });
    assert_eq!(read.attempt_timeout, None);
}

/// What is not said is the usual; a zero is no bound, whatever the levels above and other sources say.
#[test]
fn a_time_of_zero_takes_away_what_others_say() {
    let policy = |decoder: &Decoder, change: &dyn Fn(&mut RouteAction)| {
        let mut action = to("c");
        change(&mut action);
        one_route(decoder, route(prefix("/"), action)).unwrap().policy
    };
    let none = Some(Duration::ZERO);
    //= gRFC A31: gRPC does not read the timeout of a route
    for (decoder, whole) in [(proxyless(), None), (sidecar(), none)] {
        let read = policy(&decoder, &|it| it.timeout = seconds(0));
        assert_eq!((read.timeout, read.whole_response), (whole, None));
        assert_eq!(policy(&decoder, &|it| it.idle_timeout = seconds(0)).idle_timeout, none);
        assert_eq!(policy(&decoder, &|_| {}).idle_timeout, None);
        let read = policy(&decoder, &|it| {
            it.max_stream_duration = Some(MaxStreamDuration {
                max_stream_duration: seconds(0),
                ..MaxStreamDuration::default()
            });
        });
        assert_eq!((read.max_stream_duration, read.grpc_timeout), (none, None));
        // An attempt may take as long as it likes where the whole has no bound, and no longer than its own.
        let read = policy(&decoder, &|it| {
            it.timeout = seconds(0);
            let retry = RetryPolicy { per_try_timeout: seconds(1), ..RetryPolicy::default() };
            it.retry_policy = Some(retry);
        });
        assert_eq!(read.attempt_timeout, Some(Duration::from_secs(1)));
    }
}

#[test]
fn good_with_hash_policies() {
    let header = Header {
        header_name: "x-user".into(),
        regex_rewrite: Some(RegexMatchAndSubstitute {
            pattern: Some(regex("[0-9]+")),
            substitution: "#".into(),
        }),
    };
    let state = |key: &str| PolicySpecifier::FilterState(FilterState { key: key.into() });
    let policies = vec![
        PbHash { terminal: true, policy_specifier: Some(PolicySpecifier::Header(header)) },
        PbHash { terminal: false, policy_specifier: Some(state("io.grpc.channel_id")) },
        PbHash { terminal: false, policy_specifier: Some(state("other")) },
        PbHash::default(),
    ];
    let action = RouteAction { hash_policy: policies, ..to("c") };
    let hash = one_route(&proxyless(), route(prefix("/"), action)).unwrap().policy.hash.unwrap();
    assert_eq!(hash.len(), 2);
    assert!(hash[0].terminal && matches!(hash[0].on, HashOn::Header(_)));
    assert!(matches!(hash[1].on, HashOn::FilterState(_)));
}

#[test]
fn rewrites_edits_and_mirrors() {
    let option = |key: &str, value: &str, action: HeaderAppendAction| HeaderValueOption {
        header: Some(HeaderValue { key: key.into(), value: value.into(), ..Default::default() }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    };
    let action = RouteAction {
        prefix_rewrite: "/v2".into(),
        host_rewrite_specifier: Some(HostRewriteSpecifier::HostRewriteLiteral("b.example".into())),
        request_mirror_policies: vec![RequestMirrorPolicy {
            cluster: "shadow".into(),
            ..RequestMirrorPolicy::default()
        }],
        ..to("c")
    };
    let pb = PbRoute {
        request_headers_to_add: vec![
            option("x-a", "1", HeaderAppendAction::OverwriteIfExistsOrAdd),
            option("x-b", "100%%", HeaderAppendAction::AppendIfExistsOrAdd),
            option("x-c", "%REQ(x)%", HeaderAppendAction::AppendIfExistsOrAdd),
            option("x-e", "%DOWNSTREAM_REMOTE_ADDRESS%", HeaderAppendAction::AppendIfExistsOrAdd),
            option(":path", "/", HeaderAppendAction::AddIfAbsent),
        ],
        request_headers_to_remove: vec!["x-d".into(), "host".into()],
        ..route(prefix("/v1"), action)
    };
    let read = sidecar().routes(&configuration(vec![host(&["*"], vec![pb])])).unwrap();
    let config = &read.hosts[0].routes[0].config;
    let Filter::RequestHeaders(edit) = &config.filters[0] else { panic!("edits come first") };
    assert_eq!(edit.set["x-a"], "1");
    let added: Vec<_> = edit.add.iter().map(|it| it.value.as_str()).collect();
    assert_eq!(added, ["100%%", "%REQ(x)%"]);
    assert_eq!(edit.remove, ["x-d"]);
    let Filter::Rewrite(rewrite) = &config.filters[1] else { panic!("then rewrites") };
    assert_eq!(rewrite.path, Some(PathRewrite::Prefix("/v2".into())));
    assert_eq!(rewrite.host, Some(HostRewrite::Literal("b.example".into())));
    assert_eq!(read.hosts[0].clusters(), ["c", "shadow"].into());
    assert_eq!(read.notes.len(), 3, "{:?}", read.notes);
}

#[test]
fn redirects_and_answers() {
    let redirect = RedirectAction {
        host_redirect: "b.example".into(),
        port_redirect: 8443,
        response_code: 4,
        scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
        path_rewrite_specifier: Some(PathRewriteSpecifier::PathRedirect("/x".into())),
        ..RedirectAction::default()
    };
    let pb = PbRoute { action: Some(Action::Redirect(redirect)), ..route(prefix("/"), to("c")) };
    let read = one_route(&sidecar(), pb).unwrap();
    let Filter::Redirect(it) = &read.filters[0] else { panic!("it redirects") };
    assert_eq!((it.status, it.scheme.as_deref(), it.port), (Some(308), Some("https"), Some(8443)));
    let answer = |status: u32| {
        let direct = DirectResponseAction { status, ..DirectResponseAction::default() };
        let action = Some(Action::DirectResponse(direct));
        one_route(&sidecar(), PbRoute { action, ..route(prefix("/"), to("c")) })
    };
    assert!(answer(418).is_ok());
    refuses(answer(99), "direct_response.status = 99: must be in 200..=599");
    refuses(answer(u32::MAX), "must be in 200..=599");
}

#[test]
fn a_redirect_to_a_host_with_a_port() {
    for (host, port, expected) in [
        ("other", 0, (Some("other"), None)),
        ("other:8443", 0, (Some("other"), Some(8443))),
        ("[::1]:8443", 0, (Some("[::1]"), Some(8443))),
        ("[::1]", 0, (Some("[::1]"), None)),
        ("other:8443", 9443, (Some("other"), Some(9443))),
        ("", 9443, (None, Some(9443))),
    ] {
        let redirect = RedirectAction {
            host_redirect: host.into(),
            port_redirect: port,
            ..RedirectAction::default()
        };
        let pb =
            PbRoute { action: Some(Action::Redirect(redirect)), ..route(prefix("/"), to("c")) };
        let read = one_route(&sidecar(), pb).unwrap();
        let Filter::Redirect(it) = &read.filters[0] else { panic!("it redirects") };
        assert_eq!((it.host.as_deref(), it.port), expected, "{host} {port}");
    }
}

#[test]
fn names_of_routes_are_made_unique() {
    let named = || PbRoute { name: "r".into(), ..route(prefix("/"), to("c")) };
    let pb = configuration(vec![host(&["*"], vec![named(), named(), named()])]);
    let read = sidecar().routes(&pb).unwrap();
    let names: Vec<_> =
        read.hosts[0].routes.iter().map(|route| route.config.name.clone().unwrap()).collect();
    assert_eq!(names, ["r", "r#1", "r#2"]);
}
