//! Listeners: each filter, and the two places where the manager of connections stands.

use std::collections::HashMap;

use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{
                GrpcService, HttpProtocolOptions, RuntimeDouble, RuntimeFeatureFlag,
                RuntimeFractionalPercent, RuntimePercent, RuntimeUInt32, TypedExtensionConfig,
                grpc_service::{EnvoyGrpc, TargetSpecifier},
            },
            listener::v3::{Filter as ChainFilter, FilterChain, filter},
            ratelimit::v3::RateLimitServiceConfig,
            rbac::v3::{
                Permission, Policy, Principal, Rbac as Rules, permission, permission::Rule,
                principal, principal::Identifier,
            },
            route::v3::{
                HeaderMatcher, RateLimit as PbDescription,
                header_matcher::HeaderMatchSpecifier,
                rate_limit::{
                    Action as PbPart,
                    action::{ActionSpecifier, GenericKey},
                },
            },
        },
        extensions::{
            common::ratelimit::v3::{LocalRateLimitDescriptor, rate_limit_descriptor::Entry},
            filters::{
                common::fault::v3::{
                    FaultRateLimit,
                    fault_rate_limit::{FixedLimit, LimitType},
                },
                http::{
                    adaptive_concurrency::v3::{
                        AdaptiveConcurrency, GradientControllerConfig,
                        adaptive_concurrency::ConcurrencyControllerConfig,
                        gradient_controller_config::{
                            ConcurrencyLimitCalculationParams, MinimumRttCalculationParams,
                        },
                    },
                    admission_control::v3::{
                        AdmissionControl,
                        admission_control::{
                            EvaluationCriteria, SuccessCriteria,
                            success_criteria::{GrpcCriteria, HttpCriteria},
                        },
                    },
                    fault::v3::HttpFault,
                    header_mutation::v3::HeaderMutation,
                    local_ratelimit::v3::LocalRateLimit,
                    ratelimit::v3::RateLimit,
                    rbac::v3::Rbac,
                    stateful_session::v3::StatefulSession,
                },
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter as PbFilter, http_connection_manager,
                },
            },
            http::stateful_session::header::v3::HeaderBasedSessionState,
        },
        r#type::{
            matcher::v3::{PathMatcher, StringMatcher, path_matcher, string_matcher::MatchPattern},
            v3::{HttpStatus, Int32Range, TokenBucket},
        },
    },
    google::protobuf::{Any, BoolValue},
};

use super::{
    super::{actions, listener},
    *,
};

pub(super) fn all() -> Vec<(&'static str, PbListener)> {
    let one = |(name, any): (&'static str, Any)| {
        let filters = vec![listener::named("f", any), listener::router()];
        (name, listener::api(listener::manager(filters)))
    };
    let mut all: Vec<_> = filters().into_iter().map(one).collect();
    all.extend([
        ("inline-routes", listener::api(inline())),
        ("sidecar", sidecars()),
        ("optional-and-off", listener::api(listener::manager(odd()))),
    ]);
    all
}

fn filters() -> Vec<(&'static str, Any)> {
    let edit = HeaderMutation {
        mutations: Some(actions::appends("x-a", "%REQ(x-b)%")),
        ..HeaderMutation::default()
    };
    vec![
        ("fault", pack_any(fault())),
        ("rbac", pack_any(rules())),
        ("session-by-cookie", pack_any(listener::session_by_cookie())),
        ("session-by-header", pack_any(session_by_header())),
        ("local-limit", pack_any(local_limit())),
        ("global-limit", pack_any(global_limit())),
        ("header-edits", pack_any(edit)),
        ("adaptive-concurrency", pack_any(concurrency())),
        ("admission-control", pack_any(admission())),
    ]
}

fn always() -> Option<RuntimeFractionalPercent> {
    Some(RuntimeFractionalPercent { default_value: listener::always(), runtime_key: String::new() })
}

fn on() -> Option<RuntimeFeatureFlag> {
    Some(RuntimeFeatureFlag {
        default_value: Some(BoolValue { value: true }),
        runtime_key: String::new(),
    })
}

fn header(name: &str, value: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(HeaderMatchSpecifier::ExactMatch(value.into())),
        ..HeaderMatcher::default()
    }
}

fn fault() -> HttpFault {
    let rate = FaultRateLimit {
        percentage: listener::always(),
        limit_type: Some(LimitType::FixedLimit(FixedLimit { limit_kbps: 64 })),
    };
    HttpFault {
        abort: actions::abort(503).abort,
        response_rate_limit: Some(rate),
        upstream_cluster: "c".into(),
        headers: vec![header("x-test", "1")],
        downstream_nodes: vec!["n".into()],
        max_active_faults: wrapped(10),
        ..listener::delay()
    }
}

/// Rules of every kind that the calling side can judge; one policy, so that the bytes have an order.
fn rules() -> Rbac {
    let may = |rule: Rule| Permission { rule: Some(rule) };
    let is = |identifier: Identifier| Principal { identifier: Some(identifier) };
    let text = |pattern: MatchPattern| StringMatcher {
        match_pattern: Some(pattern),
        ..StringMatcher::default()
    };
    let path = || PathMatcher {
        rule: Some(path_matcher::Rule::Path(text(MatchPattern::Prefix("/admin".into())))),
    };
    let all = permission::Set {
        rules: vec![
            may(Rule::Header(header(":method", "POST"))),
            may(Rule::NotRule(Box::new(may(Rule::UrlPath(path()))))),
        ],
    };
    let any = permission::Set { rules: vec![may(Rule::Any(true)), may(Rule::AndRules(all))] };
    let ids = principal::Set {
        ids: vec![
            is(Identifier::Header(header("x-user", "root"))),
            is(Identifier::NotId(Box::new(is(Identifier::UrlPath(path()))))),
        ],
    };
    let policy = Policy {
        permissions: vec![may(Rule::OrRules(any))],
        principals: vec![is(Identifier::OrIds(ids)), is(Identifier::Any(true))],
        ..Policy::default()
    };
    let rules = Rules {
        action: 1,
        policies: HashMap::from([("admins".to_owned(), policy)]),
        ..Rules::default()
    };
    Rbac { rules: Some(rules.clone()), shadow_rules: Some(rules), ..Rbac::default() }
}

fn session_by_header() -> StatefulSession {
    let state = HeaderBasedSessionState { name: "x-endpoint".into() };
    StatefulSession {
        session_state: Some(TypedExtensionConfig {
            name: "header".into(),
            typed_config: Some(pack_any(state)),
        }),
        ..StatefulSession::default()
    }
}

fn bucket(tokens: u32) -> Option<TokenBucket> {
    Some(TokenBucket {
        max_tokens: tokens,
        tokens_per_fill: wrapped(tokens),
        fill_interval: seconds(1),
    })
}

fn local_limit() -> LocalRateLimit {
    let described = LocalRateLimitDescriptor {
        entries: vec![Entry { key: "user".into(), value: "root".into() }],
        token_bucket: bucket(10),
        shadow_mode: false,
    };
    let user = GenericKey {
        descriptor_key: "user".into(),
        descriptor_value: "root".into(),
        ..GenericKey::default()
    };
    let part = PbPart { action_specifier: Some(ActionSpecifier::GenericKey(user)) };
    LocalRateLimit {
        stat_prefix: "l".into(),
        rate_limits: vec![PbDescription { actions: vec![part], ..PbDescription::default() }],
        status: Some(HttpStatus { code: 429 }),
        token_bucket: bucket(100),
        filter_enabled: always(),
        filter_enforced: always(),
        descriptors: vec![described],
        enable_x_ratelimit_headers: 1,
        max_dynamic_descriptors: wrapped(100),
        ..LocalRateLimit::default()
    }
}

fn global_limit() -> RateLimit {
    let grpc = EnvoyGrpc { cluster_name: "limits".into(), ..EnvoyGrpc::default() };
    let grpc = GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(grpc)),
        ..GrpcService::default()
    };
    let service =
        RateLimitServiceConfig { grpc_service: Some(grpc), ..RateLimitServiceConfig::default() };
    RateLimit {
        domain: "shop".into(),
        stage: 1,
        request_type: "internal".into(),
        timeout: seconds(1),
        failure_mode_deny: true,
        rate_limit_service: Some(service),
        rate_limited_status: Some(HttpStatus { code: 429 }),
        ..RateLimit::default()
    }
}

fn concurrency() -> AdaptiveConcurrency {
    let gradient = GradientControllerConfig {
        sample_aggregate_percentile: percent(90.0),
        concurrency_limit_params: Some(ConcurrencyLimitCalculationParams {
            max_concurrency_limit: wrapped(1000),
            concurrency_update_interval: seconds(1),
            min_concurrency_limit: wrapped(3),
        }),
        min_rtt_calc_params: Some(MinimumRttCalculationParams {
            interval: seconds(60),
            request_count: wrapped(50),
            jitter: percent(10.0),
            buffer: percent(25.0),
            ..MinimumRttCalculationParams::default()
        }),
    };
    let controller = ConcurrencyControllerConfig::GradientControllerConfig(gradient);
    AdaptiveConcurrency {
        enabled: on(),
        concurrency_controller_config: Some(controller),
        ..AdaptiveConcurrency::default()
    }
}

fn admission() -> AdmissionControl {
    let least = RuntimePercent { default_value: percent(95.0), runtime_key: String::new() };
    let most = RuntimePercent { default_value: percent(80.0), runtime_key: String::new() };
    let good = HttpCriteria { http_success_status: vec![Int32Range { start: 200, end: 500 }] };
    let criteria = SuccessCriteria {
        http_criteria: Some(good),
        grpc_criteria: Some(GrpcCriteria { grpc_success_status: vec![0, 5] }),
    };
    AdmissionControl {
        enabled: on(),
        sampling_window: seconds(30),
        aggression: Some(RuntimeDouble { default_value: 1.5, runtime_key: String::new() }),
        sr_threshold: Some(least),
        rps_threshold: Some(RuntimeUInt32 { default_value: 5, runtime_key: String::new() }),
        max_rejection_probability: Some(most),
        evaluation_criteria: Some(EvaluationCriteria::SuccessCriteria(criteria)),
    }
}

// === where it stands ===

fn inline() -> HttpConnectionManager {
    let routes = configuration(vec![host(&["*"], vec![route(prefix("/"), to("c"))])]);
    let upgrade = http_connection_manager::UpgradeConfig {
        upgrade_type: "websocket".into(),
        ..http_connection_manager::UpgradeConfig::default()
    };
    HttpConnectionManager {
        route_specifier: Some(http_connection_manager::RouteSpecifier::RouteConfig(routes)),
        common_http_protocol_options: Some(HttpProtocolOptions {
            max_stream_duration: seconds(60),
            ..HttpProtocolOptions::default()
        }),
        stream_idle_timeout: seconds(30),
        upgrade_configs: vec![upgrade],
        ..listener::manager(vec![
            listener::named("fault", pack_any(fault())),
            listener::named("rbac", pack_any(rules())),
            listener::router(),
        ])
    }
}

fn sidecars() -> PbListener {
    let manager = pack_any(listener::manager(vec![listener::router()]));
    let chain = FilterChain {
        filters: vec![ChainFilter {
            name: "manager".into(),
            config_type: Some(filter::ConfigType::TypedConfig(manager)),
        }],
        ..FilterChain::default()
    };
    PbListener {
        name: "0.0.0.0_8080".into(),
        address: Some(socket("0.0.0.0", 8080)),
        filter_chains: vec![FilterChain::default(), chain],
        ..PbListener::default()
    }
}

/// Filters that are left out, each for a reason of its own.
fn odd() -> Vec<PbFilter> {
    let of = |url: &str| Any { type_url: format!("type.googleapis.com/{url}"), value: vec![1, 2] };
    let optional = PbFilter { is_optional: true, ..listener::named("optional", of("x.Unknown")) };
    let off = PbFilter { disabled: true, ..listener::named("off", of("x.ExtAuthz")) };
    vec![
        optional,
        off,
        listener::named("stats", of("stats.PluginConfig")),
        PbFilter { disabled: true, ..listener::named("fault", pack_any(fault())) },
        listener::router(),
    ]
}
