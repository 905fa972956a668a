//! Routes: every way to match, to lead and to change, retries, hedging, hashes.

use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{
                DataSource, HeaderValue, HeaderValueOption, RuntimeFractionalPercent,
                TypedExtensionConfig, data_source::Specifier,
                header_value_option::HeaderAppendAction,
            },
            route::v3::{
                CookieMatcher, DirectResponseAction, HeaderMatcher, HedgePolicy,
                NonForwardingAction, QueryParameterMatcher, RateLimit as PbDescription,
                RedirectAction, RetryPolicy,
                header_matcher::HeaderMatchSpecifier,
                query_parameter_matcher::QueryParameterMatchSpecifier,
                rate_limit::{
                    Action as PbPart,
                    action::{
                        ActionSpecifier, DestinationCluster, GenericKey, HeaderValueMatch,
                        RequestHeaders,
                    },
                },
                redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier},
                retry_policy::{
                    RateLimitedRetryBackOff, ResetHeader, RetryBackOff, RetryHostPredicate,
                    RetryPriority, retry_host_predicate, retry_priority,
                },
                route_action::{
                    HashPolicy, HostRewriteSpecifier, MaxStreamDuration, RequestMirrorPolicy,
                    UpgradeConfig,
                    hash_policy::{Cookie, FilterState, Header, PolicySpecifier, QueryParameter},
                },
                route_match::GrpcRouteMatchOptions,
                weighted_cluster::{
                    RandomValueSpecifier, cluster_weight::HostRewriteSpecifier as ClusterHost,
                },
            },
        },
        extensions::{
            path::r#match::uri_template::v3::UriTemplateMatchConfig,
            retry::{
                host::previous_hosts::v3::PreviousHostsPredicate,
                priority::previous_priorities::v3::PreviousPrioritiesConfig,
            },
        },
        r#type::{
            matcher::v3::{
                MetadataMatcher, RegexMatchAndSubstitute, RegexMatcher, StringMatcher,
                ValueMatcher,
                metadata_matcher::{PathSegment, path_segment::Segment},
                string_matcher::MatchPattern,
                value_matcher,
            },
            v3::{FractionalPercent, Int64Range},
        },
    },
    google::protobuf::BoolValue,
};

use super::{
    super::{actions, routes},
    *,
};

pub(super) fn all() -> Vec<(&'static str, RouteConfiguration)> {
    let of = |list: Vec<PbRoute>| configuration(vec![host(&["*"], list)]);
    let one = |action: RouteAction| of(vec![route(prefix("/"), action)]);
    vec![
        ("paths", of(paths())),
        ("matchers", of(vec![route(matchers(), to("c"))])),
        ("header-matchers", of(vec![route(header_matchers(), to("c"))])),
        ("weighted", one(weighted())),
        ("mirrors-and-rewrites", of(vec![edited()])),
        ("retry", one(RouteAction { retry_policy: Some(retry()), ..to("c") })),
        ("hedge", one(RouteAction { hedge_policy: Some(hedge()), ..to("c") })),
        ("hashes", one(RouteAction { hash_policy: hash_policies(), ..to("c") })),
        ("times", one(times())),
        ("upgrades-and-limits", one(upgrades_and_limits())),
        ("answers", of(answers())),
        ("hosts", hosts()),
    ]
}

fn regex(regex: &str) -> RegexMatcher {
    RegexMatcher { regex: regex.into(), ..RegexMatcher::default() }
}

fn text(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { ignore_case: true, match_pattern: Some(pattern) }
}

fn share(numerator: u32) -> Option<RuntimeFractionalPercent> {
    Some(RuntimeFractionalPercent {
        default_value: Some(FractionalPercent { numerator, denominator: 1 }),
        runtime_key: "share".into(),
    })
}

// === matches ===

fn paths() -> Vec<PbRoute> {
    let template = UriTemplateMatchConfig { path_template: "/users/{id}".into() };
    let template =
        TypedExtensionConfig { name: "template".into(), typed_config: Some(pack_any(template)) };
    [
        PathSpecifier::Path("/a/b".into()),
        PathSpecifier::Prefix("/a".into()),
        PathSpecifier::PathSeparatedPrefix("/v1".into()),
        PathSpecifier::SafeRegex(regex("/[a-z]+/[0-9]{1,3}")),
        PathSpecifier::PathMatchPolicy(template),
        PathSpecifier::Prefix("/".into()),
    ]
    .into_iter()
    .map(|path| route(routes::by(path), to("c")))
    .collect()
}

fn matchers() -> RouteMatch {
    let query = |name: &str, specifier: QueryParameterMatchSpecifier| QueryParameterMatcher {
        name: name.into(),
        query_parameter_match_specifier: Some(specifier),
    };
    let value = ValueMatcher {
        match_pattern: Some(value_matcher::MatchPattern::StringMatch(StringMatcher {
            ignore_case: false,
            ..text(MatchPattern::Exact("gold".into()))
        })),
    };
    let noted = MetadataMatcher {
        filter: "app".into(),
        path: vec![PathSegment { segment: Some(Segment::Key("tier".into())) }],
        value: Some(value),
        invert: true,
    };
    let cookie = CookieMatcher {
        name: "tier".into(),
        string_match: Some(text(MatchPattern::Prefix("g".into()))),
        invert_match: true,
    };
    RouteMatch {
        case_sensitive: bool_value(false),
        runtime_fraction: share(2_500),
        query_parameters: vec![
            query("a", QueryParameterMatchSpecifier::PresentMatch(false)),
            query(
                "b",
                QueryParameterMatchSpecifier::StringMatch(text(MatchPattern::SafeRegex(regex(
                    "[0-9]+",
                )))),
            ),
        ],
        cookies: vec![cookie],
        grpc: Some(GrpcRouteMatchOptions::default()),
        dynamic_metadata: vec![noted],
        ..prefix("/a")
    }
}

fn header_matchers() -> RouteMatch {
    let header = |name: &str, specifier: HeaderMatchSpecifier| HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(specifier),
        ..HeaderMatcher::default()
    };
    let of_text = |pattern: MatchPattern| HeaderMatchSpecifier::StringMatch(text(pattern));
    let missing = HeaderMatcher {
        invert_match: true,
        treat_missing_header_as_empty: true,
        ..header("x-g", of_text(MatchPattern::Contains("g".into())))
    };
    RouteMatch {
        headers: vec![
            header("x-a", HeaderMatchSpecifier::ExactMatch("a".into())),
            header("x-b", HeaderMatchSpecifier::SafeRegexMatch(regex("b+"))),
            header("x-c", HeaderMatchSpecifier::RangeMatch(Int64Range { start: -1, end: 9 })),
            header("x-d", HeaderMatchSpecifier::PresentMatch(false)),
            header("x-e", HeaderMatchSpecifier::PrefixMatch("e".into())),
            header("x-f", HeaderMatchSpecifier::SuffixMatch("f".into())),
            header("x-h", HeaderMatchSpecifier::ContainsMatch("h".into())),
            missing,
            header(":method", HeaderMatchSpecifier::ExactMatch("GET".into())),
            header(":authority", of_text(MatchPattern::Suffix(".example".into()))),
        ],
        ..prefix("/")
    }
}

// === actions ===

fn weighted() -> RouteAction {
    let mut action = routes::weighted(&[("a", 75), ("b", 25), ("c", 0)]);
    action.hash_policy = hash_policies();
    if let Some(ClusterSpecifier::WeightedClusters(list)) = &mut action.cluster_specifier {
        list.random_value_specifier =
            Some(RandomValueSpecifier::UseHashPolicy(BoolValue { value: true }));
        list.clusters[0].request_headers_to_add = vec![option("x-part", "a")];
        list.clusters[1].host_rewrite_specifier =
            Some(ClusterHost::HostRewriteLiteral("b.example".into()));
        list.clusters[2].typed_per_filter_config =
            [("fault".to_owned(), pack_any(actions::abort(418)))].into();
    }
    action
}

fn option(key: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: key.into(),
            value: value.into(),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

fn edited() -> PbRoute {
    let mirror = |cluster: &str| RequestMirrorPolicy {
        cluster: cluster.into(),
        runtime_fraction: share(500),
        ..RequestMirrorPolicy::default()
    };
    let action = RouteAction {
        regex_rewrite: Some(RegexMatchAndSubstitute {
            pattern: Some(regex("^/v1/(.+)$")),
            substitution: "/v2/\\1".into(),
        }),
        host_rewrite_specifier: Some(HostRewriteSpecifier::HostRewriteHeader("x-host".into())),
        append_x_forwarded_host: true,
        request_mirror_policies: vec![mirror("shadow"), mirror("other")],
        metadata_match: Some(metadata("envoy.lb", &[("stage", "canary")])),
        ..to("c")
    };
    PbRoute {
        name: "edited".into(),
        request_headers_to_add: vec![option("x-a", "%REQ(x-b)%"), option("x-c", "100%%")],
        request_headers_to_remove: vec!["x-d".into()],
        response_headers_to_add: vec![option("x-served-by", "%UPSTREAM_CLUSTER%")],
        response_headers_to_remove: vec!["server".into()],
        typed_per_filter_config: [("fault".to_owned(), actions::off())].into(),
        ..route(prefix("/v1/"), action)
    }
}

fn retry() -> RetryPolicy {
    let predicate = RetryHostPredicate {
        name: "hosts".into(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(pack_any(
            PreviousHostsPredicate::default(),
        ))),
    };
    let priority = RetryPriority {
        name: "priorities".into(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(pack_any(
            PreviousPrioritiesConfig { update_frequency: 2 },
        ))),
    };
    let named = |name: &str| HeaderMatcher { name: name.into(), ..HeaderMatcher::default() };
    RetryPolicy {
        retry_on: "5xx,gateway-error,reset,connect-failure,refused-stream,retriable-4xx,\
                   retriable-status-codes,retriable-headers,cancelled,deadline-exceeded,internal,\
                   resource-exhausted,unavailable"
            .into(),
        num_retries: wrapped(3),
        per_try_timeout: seconds(1),
        retry_priority: Some(priority),
        retry_host_predicate: vec![predicate],
        host_selection_retry_max_attempts: 3,
        retriable_status_codes: vec![409, 429],
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(protobuf::Duration { seconds: 0, nanos: 10_000_000 }),
            max_interval: seconds(1),
        }),
        rate_limited_retry_back_off: Some(RateLimitedRetryBackOff {
            reset_headers: vec![ResetHeader { name: "retry-after".into(), format: 0 }],
            max_interval: seconds(60),
        }),
        retriable_headers: vec![named("x-again")],
        retriable_request_headers: vec![named("x-may-repeat")],
        ..RetryPolicy::default()
    }
}

fn hedge() -> HedgePolicy {
    HedgePolicy {
        initial_requests: wrapped(2),
        additional_request_chance: Some(FractionalPercent { numerator: 10, denominator: 0 }),
        hedge_on_per_try_timeout: true,
    }
}

pub(super) fn hash_policies() -> Vec<HashPolicy> {
    let header = Header {
        header_name: "x-user".into(),
        regex_rewrite: Some(RegexMatchAndSubstitute {
            pattern: Some(regex("[0-9]+")),
            substitution: "#".into(),
        }),
    };
    let cookie =
        Cookie { name: "user".into(), ttl: seconds(60), path: "/".into(), ..Cookie::default() };
    let of = |terminal: bool, specifier: PolicySpecifier| HashPolicy {
        terminal,
        policy_specifier: Some(specifier),
    };
    let channel = FilterState { key: "io.grpc.channel_id".into() };
    vec![
        of(true, PolicySpecifier::Header(header)),
        of(false, PolicySpecifier::Cookie(cookie)),
        of(false, PolicySpecifier::QueryParameter(QueryParameter { name: "q".into() })),
        of(false, PolicySpecifier::FilterState(channel)),
    ]
}

fn times() -> RouteAction {
    RouteAction {
        timeout: seconds(15),
        idle_timeout: seconds(60),
        max_stream_duration: Some(MaxStreamDuration {
            max_stream_duration: seconds(120),
            grpc_timeout_header_max: seconds(30),
            grpc_timeout_header_offset: seconds(1),
        }),
        priority: 1,
        ..to("c")
    }
}

fn upgrades_and_limits() -> RouteAction {
    let parts = [
        ActionSpecifier::DestinationCluster(DestinationCluster {}),
        ActionSpecifier::RequestHeaders(RequestHeaders {
            header_name: "x-user".into(),
            descriptor_key: "user".into(),
            skip_if_absent: true,
        }),
        ActionSpecifier::GenericKey(GenericKey {
            descriptor_value: "v".into(),
            descriptor_key: "k".into(),
            ..GenericKey::default()
        }),
        ActionSpecifier::HeaderValueMatch(HeaderValueMatch {
            descriptor_value: "m".into(),
            expect_match: bool_value(false),
            headers: vec![HeaderMatcher { name: "x-a".into(), ..HeaderMatcher::default() }],
            ..HeaderValueMatch::default()
        }),
    ];
    let part = |part: ActionSpecifier| PbPart { action_specifier: Some(part) };
    RouteAction {
        rate_limits: vec![PbDescription {
            stage: wrapped(1),
            disable_key: "off".into(),
            actions: parts.into_iter().map(part).collect(),
            ..PbDescription::default()
        }],
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".into(),
            enabled: bool_value(true),
            connect_config: None,
        }],
        cluster_specifier: Some(ClusterSpecifier::ClusterHeader("x-cluster".into())),
        cluster_not_found_response_code: 1,
        ..RouteAction::default()
    }
}

fn answers() -> Vec<PbRoute> {
    let redirect = RedirectAction {
        host_redirect: "b.example".into(),
        port_redirect: 8443,
        response_code: 4,
        scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
        path_rewrite_specifier: Some(PathRewriteSpecifier::PrefixRewrite("/new".into())),
        strip_query: true,
    };
    let body = DataSource {
        specifier: Some(Specifier::InlineString("gone".into())),
        ..DataSource::default()
    };
    let direct =
        DirectResponseAction { status: 410, body: Some(body), ..DirectResponseAction::default() };
    let of = |path: &str, action: Action| PbRoute {
        r#match: Some(prefix(path)),
        action: Some(action),
        ..PbRoute::default()
    };
    vec![
        of("/old", Action::Redirect(redirect)),
        of("/gone", Action::DirectResponse(direct)),
        of("/nowhere", Action::NonForwardingAction(NonForwardingAction {})),
    ]
}

/// What hosts say for all of their routes.
fn hosts() -> RouteConfiguration {
    let shop = VirtualHost {
        retry_policy: Some(retry()),
        hedge_policy: Some(hedge()),
        include_request_attempt_count: true,
        request_headers_to_add: vec![option("x-host", "shop")],
        typed_per_filter_config: [("fault".to_owned(), pack_any(actions::abort(503)))].into(),
        ..host(&["shop.prod", "*.shop.prod", "shop.prod:8080"], vec![route(prefix("/"), to("c"))])
    };
    let rest = host(&["*"], vec![route(prefix("/"), to("rest"))]);
    RouteConfiguration {
        request_headers_to_add: vec![option("x-all", "1")],
        ignore_port_in_host_matching: true,
        ..configuration(vec![shop, rest])
    }
}
