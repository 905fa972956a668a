use std::{collections::HashMap, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{
                GrpcService, HttpProtocolOptions, RuntimeFractionalPercent, TypedExtensionConfig,
                grpc_service::{EnvoyGrpc, TargetSpecifier},
            },
            listener::v3::{ApiListener, Filter as ChainFilter, FilterChain, filter},
            ratelimit::v3::RateLimitServiceConfig,
            rbac::v3::{
                Permission as PbPermission, Policy as PbPolicy, Principal as PbPrincipal,
                Rbac as Rules, permission::Rule, principal::Identifier,
            },
            route::v3::{
                FilterConfig, RateLimit as PbDescription,
                rate_limit::{
                    Action as PbPart,
                    action::{ActionSpecifier, DestinationCluster},
                },
            },
        },
        extensions::filters::{
            common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier},
            http::{
                adaptive_concurrency::v3::{
                    AdaptiveConcurrency, GradientControllerConfig,
                    adaptive_concurrency::ConcurrencyControllerConfig,
                },
                fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType},
                local_ratelimit::v3::LocalRateLimit,
                ratelimit::v3::{RateLimit as PbRateLimit, RateLimitPerRoute},
                rbac::v3::{Rbac, RbacPerRoute},
                router::v3::Router,
                stateful_session::v3::StatefulSession,
            },
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter as PbFilter, Rds, ScopedRoutes,
                http_connection_manager::RouteSpecifier, http_filter,
            },
        },
        extensions::http::stateful_session::cookie::v3::CookieBasedSessionState,
        r#type::{
            http::v3::Cookie,
            v3::{FractionalPercent, TokenBucket},
        },
    },
    google::protobuf::Any,
};

use super::*;
use crate::config::{Action as Does, Filter, Permission, Principal};

pub(super) fn named(name: &str, any: Any) -> PbFilter {
    PbFilter {
        name: name.into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any)),
        ..PbFilter::default()
    }
}

pub(super) fn router() -> PbFilter {
    named("router", pack_any(Router::default()))
}

fn rds() -> RouteSpecifier {
    RouteSpecifier::Rds(Rds { config_source: Some(ads()), route_config_name: "routes".into() })
}

pub(super) fn manager(filters: Vec<PbFilter>) -> HttpConnectionManager {
    HttpConnectionManager {
        http_filters: filters,
        route_specifier: Some(rds()),
        ..HttpConnectionManager::default()
    }
}

pub(super) fn api(manager: HttpConnectionManager) -> PbListener {
    PbListener {
        name: "l".into(),
        api_listener: Some(ApiListener { api_listener: Some(pack_any(manager)) }),
        ..PbListener::default()
    }
}

pub(super) fn with(filters: Vec<PbFilter>) -> Result<Arc<Listener>, String> {
    proxyless().listener(&api(manager(filters)))
}

pub(super) fn always() -> Option<FractionalPercent> {
    Some(FractionalPercent { numerator: 100, denominator: 0 })
}

pub(super) fn delay() -> HttpFault {
    HttpFault {
        delay: Some(FaultDelay {
            percentage: always(),
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(protobuf::Duration {
                seconds: 1,
                nanos: 0,
            })),
        }),
        ..HttpFault::default()
    }
}

fn unknown(name: &str) -> PbFilter {
    named(name, Any { type_url: "type.googleapis.com/x.Y".into(), value: vec![0xff] })
}

#[test]
fn unmarshal_listener_client_side() {
    let read = with(vec![router()]).unwrap();
    assert_eq!(read.routes, RoutesFrom::Named("routes".into()));
    assert_eq!(read.filters, []);
    let mut inline = manager(vec![router()]);
    inline.route_specifier = Some(RouteSpecifier::RouteConfig(configuration(vec![host(
        &["*"],
        vec![route(prefix("/"), to("c"))],
    )])));
    let read = proxyless().listener(&api(inline)).unwrap();
    let RoutesFrom::Inline(routes) = &read.routes else { panic!("they are inline") };
    assert_eq!(routes.host("a").unwrap().clusters(), ["c"].into());
}

#[test]
fn what_a_listener_must_have() {
    let refused = |change: &dyn Fn(&mut HttpConnectionManager), text: &str| {
        let mut pb = manager(vec![router()]);
        change(&mut pb);
        refuses(proxyless().listener(&api(pb)), text);
    };
    refused(&|it| it.route_specifier = None, "api_listener.route_specifier = none");
    refused(
        &|it| it.route_specifier = Some(RouteSpecifier::ScopedRoutes(ScopedRoutes::default())),
        "scoped_routes = given",
    );
    refused(
        &|it| it.route_specifier = Some(RouteSpecifier::Rds(Rds::default())),
        "rds.route_config_name = \"\"",
    );
    let no_source = || Rds { config_source: None, route_config_name: "r".into() };
    refused(&|it| it.route_specifier = Some(RouteSpecifier::Rds(no_source())), "rds.config_source");
    refused(&|it| it.xff_num_trusted_hops = 1, "xff_num_trusted_hops = 1: must be 0");
    refused(
        &|it| it.original_ip_detection_extensions = vec![TypedExtensionConfig::default()],
        "original_ip_detection_extensions = 1",
    );
    refused(&|it| it.http_filters.clear(), "http_filters = []: must end with the router");
    let mut pb = api(manager(vec![router()]));
    pb.name.clear();
    refuses(proxyless().listener(&pb), "name = \"\"");
    pb.name = "l".into();
    pb.api_listener = Some(ApiListener { api_listener: None });
    refuses(proxyless().listener(&pb), "api_listener.api_listener = none");
    pb.api_listener = None;
    refuses(
        proxyless().listener(&pb),
        "filter_chains = 0: must have an HttpConnectionManager: TCP, and TLS that is passed through",
    );
}

#[test]
fn the_router_is_the_last_filter() {
    let fault = || named("fault", pack_any(delay()));
    refuses(
        with(vec![router(), fault()]),
        "http_filters[0].typed_config = router: the router must be",
    );
    refuses(with(vec![fault()]), "the last filter must be the router");
    refuses(with(vec![fault(), fault(), router()]), "http_filters[1].name = fault: is used twice");
    refuses(with(vec![named("", pack_any(delay())), router()]), "http_filters[0].name = \"\"");
}

#[test]
fn unsupported_filters_are_refused_unless_optional() {
    let text =
        "http_filters[0].typed_config = x.Y: not supported yet, and the filter is not optional";
    refuses(with(vec![unknown("u"), router()]), text);
    let optional = PbFilter { is_optional: true, ..unknown("u") };
    let read = with(vec![optional, router()]).unwrap();
    assert_eq!(read.filters, []);
    assert!(read.notes[0].contains("x.Y is not supported yet"), "{:?}", read.notes);
    // What sidecars have besides is left out of sidecars.
    let stats = Any { type_url: "type.googleapis.com/stats.PluginConfig".into(), value: vec![] };
    let pb = api(manager(vec![named("istio.stats", stats), router()]));
    assert!(sidecar().listener(&pb).is_ok());
    refuses(proxyless().listener(&pb), "stats.PluginConfig");
    let authz = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
    let authz = Any { type_url: authz.into(), value: vec![] };
    let pb = api(manager(vec![named("authz", authz), router()]));
    refuses(sidecar().listener(&pb), "ext_authz");
}

#[test]
fn what_every_call_obeys() {
    let pb = HttpConnectionManager {
        common_http_protocol_options: Some(HttpProtocolOptions {
            max_stream_duration: seconds(1),
            ..HttpProtocolOptions::default()
        }),
        ..manager(vec![router()])
    };
    let read = proxyless().listener(&api(pb.clone())).unwrap();
    assert_eq!(read.policy.max_stream_duration, Some(Duration::from_secs(1)));
    assert_eq!(read.policy.idle_timeout, None);
    let read = sidecar().listener(&api(pb.clone())).unwrap();
    assert_eq!(read.policy.idle_timeout, Some(Duration::from_secs(300)));
    // A zero is said.
    let zero = HttpConnectionManager {
        common_http_protocol_options: Some(HttpProtocolOptions {
            max_stream_duration: seconds(0),
            ..HttpProtocolOptions::default()
        }),
        stream_idle_timeout: seconds(0),
        ..pb
    };
    let read = proxyless().listener(&api(zero)).unwrap();
    let none = Some(Duration::ZERO);
    assert_eq!((read.policy.max_stream_duration, read.policy.idle_timeout), (none, none));
}

#[test]
fn a_sidecar_s_listener() {
    let chain = FilterChain {
        filters: vec![ChainFilter {
            name: "hcm".into(),
            config_type: Some(filter::ConfigType::TypedConfig(pack_any(manager(vec![router()])))),
        }],
        ..FilterChain::default()
    };
    let pb = PbListener {
        name: "0.0.0.0_8080".into(),
        address: Some(socket("0.0.0.0", 8080)),
        filter_chains: vec![FilterChain::default(), chain],
        ..PbListener::default()
    };
    let read = sidecar().listener(&pb).unwrap();
    assert_eq!(read.address, Some("0.0.0.0:8080".parse().unwrap()));
    assert_eq!(read.routes, RoutesFrom::Named("routes".into()));
}

#[test]
fn faults() {
    let read = with(vec![named("f", pack_any(delay())), router()]).unwrap();
    let [Step::Filter(Filter::Fault(fault))] = read.filters[0].steps.as_slice() else {
        panic!("a fault")
    };
    assert_eq!(fault.delay.as_ref().unwrap().percent, Some(100.0));
    // A share that is not said is none.
    let abort = |error_type: Option<ErrorType>| HttpFault {
        abort: Some(FaultAbort { error_type, ..FaultAbort::default() }),
        ..HttpFault::default()
    };
    let read = |it: HttpFault| with(vec![named("f", pack_any(it)), router()]);
    let aborts = read(abort(Some(ErrorType::HttpStatus(500)))).unwrap();
    let [Step::Filter(Filter::Fault(fault))] = aborts.filters[0].steps.as_slice() else {
        panic!("a fault")
    };
    assert_eq!(fault.abort.as_ref().unwrap().percent, Some(0.0));
    refuses(read(abort(Some(ErrorType::HttpStatus(100)))), "abort.http_status = 100");
    refuses(read(abort(Some(ErrorType::GrpcStatus(17)))), "abort.grpc_status = 17");
    refuses(read(abort(None)), "abort.error_type = none");
    assert_eq!(read(HttpFault::default()).unwrap().filters[0].steps, []);
}

pub(super) fn rules(action: i32, permission: Rule, principal: Identifier) -> Rbac {
    let policy = PbPolicy {
        permissions: vec![PbPermission { rule: Some(permission) }],
        principals: vec![PbPrincipal { identifier: Some(principal) }],
        ..PbPolicy::default()
    };
    let policies = HashMap::from([("p".to_owned(), policy)]);
    Rbac { rules: Some(Rules { action, policies, ..Rules::default() }), ..Rbac::default() }
}

/// Rules that let nobody call.
pub(super) fn deny_all() -> Rbac {
    rules(1, Rule::Any(true), Identifier::Any(true))
}

pub(super) fn session_by_cookie() -> StatefulSession {
    let state = CookieBasedSessionState {
        cookie: Some(Cookie { name: "s".into(), path: "/".into(), ..Cookie::default() }),
    };
    StatefulSession {
        session_state: Some(TypedExtensionConfig {
            name: "cookie".into(),
            typed_config: Some(pack_any(state)),
        }),
        strict: true,
        ..StatefulSession::default()
    }
}

#[test]
fn rules_of_who_may_call() {
    let read = |rbac: Rbac| {
        let read = with(vec![named("rbac", pack_any(rbac)), router()])?;
        match read.filters[0].steps.as_slice() {
            [Step::Filter(Filter::Authorize(rules))] => Ok(rules.clone()),
            other => Err(format!("{other:?}")),
        }
    };
    let allow = read(rules(0, Rule::Any(true), Identifier::Any(true))).unwrap();
    assert_eq!(allow.otherwise, Some(Does::Deny));
    assert_eq!(allow.rules[0].name.as_deref(), Some("p"));
    assert_eq!(allow.rules[0].permissions, [Permission::Any]);
    assert_eq!(allow.rules[0].principals, [Principal::Any]);
    let deny = read(rules(1, Rule::Any(true), Identifier::Any(true))).unwrap();
    assert_eq!((deny.rules[0].action, deny.otherwise), (Does::Deny, Some(Does::Allow)));
    // An allow list without anything allows nothing.
    let nobody = Rbac { rules: Some(Rules::default()), ..Rbac::default() };
    let nobody = read(nobody).unwrap();
    assert_eq!((nobody.rules.len(), nobody.otherwise), (0, Some(Does::Deny)));
    // What only the receiving side knows would never match, and so deny nobody.
    refuses(read(rules(1, Rule::DestinationPort(80), Identifier::Any(true))), "destination_port");
    let ip = Identifier::DirectRemoteIp(Default::default());
    refuses(read(rules(1, Rule::Any(true), ip)), "peer_ip");
    refuses(read(rules(0, Rule::Any(false), Identifier::Any(true))), "any = false: must be true");
    let mut conditional = rules(0, Rule::Any(true), Identifier::Any(true));
    let policies = &mut conditional.rules.as_mut().unwrap().policies;
    policies.get_mut("p").unwrap().condition = Some(Default::default());
    refuses(read(conditional), "policies.p.condition = given");
    let mut matcher = rules(0, Rule::Any(true), Identifier::Any(true));
    matcher.matcher = Some(Default::default());
    refuses(read(matcher), "matcher = given");
}

#[test]
fn a_limit_of_concurrency_grows_as_envoys_which_no_calls_in_flight_bound() {
    let gradient = GradientControllerConfig::default();
    let controller = ConcurrencyControllerConfig::GradientControllerConfig(gradient);
    let pb = AdaptiveConcurrency {
        concurrency_controller_config: Some(controller),
        ..AdaptiveConcurrency::default()
    };
    let listener = with(vec![named("f", pack_any(pb)), router()]).unwrap();
    let pb = host(&["*"], vec![route(prefix("/"), to("c"))]);
    let routes = proxyless().routes(&configuration(vec![pb])).unwrap();
    let service = listener.service(&routes.hosts[0]);
    let [Filter::AdaptiveConcurrency(read)] = service.filters.as_slice() else {
        panic!("{:?}", service.filters)
    };
    assert_eq!(read.max_limit_factor, Some(1e6));
    assert!(service.validate("s").is_ok());
}

/// A fault of the listener, that routes leave out or make another.
#[test]
fn routes_override_filters_by_name() {
    let listener = with(vec![named("f", pack_any(delay())), router()]).unwrap();
    let off = pack_any(FilterConfig { disabled: true, ..FilterConfig::default() });
    let abort = HttpFault {
        abort: Some(FaultAbort {
            percentage: always(),
            error_type: Some(ErrorType::HttpStatus(418)),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    };
    let over = |any: Any| PbRoute {
        typed_per_filter_config: [("f".to_owned(), any)].into(),
        ..route(prefix("/a"), to("c"))
    };
    let pb = host(&["*"], vec![over(off), over(pack_any(abort)), route(prefix("/"), to("c"))]);
    let routes = proxyless().routes(&configuration(vec![pb])).unwrap();
    let service = listener.service(&routes.hosts[0]);
    assert_eq!(service.filters, []);
    assert_eq!(service.routes[0].filters, []);
    let fault = |route: usize| match service.routes[route].filters.as_slice() {
        [Filter::Fault(fault)] => fault.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(1).abort.unwrap().status, Some(418));
    assert!(fault(2).delay.is_some());
    assert!(service.validate("s").is_ok());
    // Where no route says anything, all of them share it.
    let plain = host(&["*"], vec![route(prefix("/"), to("c"))]);
    let routes = proxyless().routes(&configuration(vec![plain])).unwrap();
    let service = listener.service(&routes.hosts[0]);
    assert_eq!((service.filters.len(), service.routes[0].filters.len()), (1, 0));
}

#[test]
fn a_filter_that_is_off_is_turned_on_by_a_route() {
    let disabled = PbFilter { disabled: true, ..named("f", pack_any(delay())) };
    let listener = with(vec![disabled, router()]).unwrap();
    let on = pack_any(FilterConfig::default());
    let on = PbRoute {
        typed_per_filter_config: [("f".to_owned(), on)].into(),
        ..route(prefix("/a"), to("c"))
    };
    let pb = host(&["*"], vec![on, route(prefix("/"), to("c"))]);
    let routes = proxyless().routes(&configuration(vec![pb])).unwrap();
    let service = listener.service(&routes.hosts[0]);
    let counts: Vec<usize> = service.routes.iter().map(|route| route.filters.len()).collect();
    assert_eq!(counts, [1, 0]);
}

/// What guards calls and is not known here may be off; a route that turns it on is refused with it.
#[test]
fn a_filter_that_is_off_and_not_known_is_not_turned_on_in_vain() {
    let unknown = || Any { type_url: "type.googleapis.com/x.ExtAuthz".into(), value: vec![] };
    let of = |is_optional: bool| {
        let guard = PbFilter { disabled: true, is_optional, ..named("guard", unknown()) };
        with(vec![guard, router()]).unwrap()
    };
    let lacks = |decoder: &Decoder, listener: &Listener, said: &[Any]| {
        let host_says = said.first().map(|it| ("guard".to_owned(), it.clone()));
        let route_says = said.get(1).map(|it| ("guard".to_owned(), it.clone()));
        let pb = PbRoute {
            typed_per_filter_config: route_says.into_iter().collect(),
            ..route(prefix("/admin"), to("c"))
        };
        let mut pb = host(&["*"], vec![pb]);
        pb.typed_per_filter_config = host_says.into_iter().collect();
        let routes = decoder.routes(&configuration(vec![pb])).unwrap();
        listener.lacks(&routes.hosts[0])
    };
    let on = pack_any(FilterConfig::default());
    let off = pack_any(FilterConfig { disabled: true, ..FilterConfig::default() });
    let config = pack_any(FilterConfig { config: Some(unknown()), ..FilterConfig::default() });
    let (required, optional) = (of(false), of(true));
    for decoder in [proxyless(), sidecar()] {
        assert_eq!(lacks(&decoder, &required, &[]), None);
        assert_eq!(lacks(&decoder, &required, std::slice::from_ref(&off)), None);
        assert_eq!(lacks(&decoder, &required, &[on.clone(), off.clone()]), None);
        let reason = lacks(&decoder, &required, &[off.clone(), on.clone()]).unwrap();
        assert!(reason.contains("guard") && reason.contains("x.ExtAuthz"), "{reason}");
        assert!(lacks(&decoder, &required, std::slice::from_ref(&on)).is_some());
        assert_eq!(lacks(&decoder, &optional, std::slice::from_ref(&on)), None);
    }
    // What is said of it is not known either, and turns it on all the same.
    for said in [config, unknown()] {
        assert!(lacks(&sidecar(), &required, &[off.clone(), said.clone()]).is_some());
        assert!(lacks(&sidecar(), &required, &[on.clone(), said]).is_some());
    }
    // Where the routes stand in the listener, it is refused.
    let guard = PbFilter { disabled: true, ..named("guard", unknown()) };
    let pb = PbRoute {
        typed_per_filter_config: [("guard".to_owned(), on)].into(),
        ..route(prefix("/admin"), to("c"))
    };
    let inline = configuration(vec![host(&["*"], vec![pb])]);
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(inline)),
        http_filters: vec![guard, router()],
        ..HttpConnectionManager::default()
    };
    let pb = PbListener {
        name: "l".into(),
        api_listener: Some(ApiListener { api_listener: Some(pack_any(manager)) }),
        ..PbListener::default()
    };
    refuses(proxyless().listener(&pb), "turns the filter guard on");
}

/// gRFC A27, Envoy's `strip_any_host_port`: wherever the routes stand.
#[test]
fn a_listener_whose_authorities_have_no_port() {
    let routes = proxyless()
        .routes(&configuration(vec![host(&["users.prod"], vec![route(prefix("/"), to("c"))])]))
        .unwrap();
    let mut listener = Listener::clone(&with(vec![router()]).unwrap());
    assert!(listener.host(&routes, "users.prod:8080").is_none());
    listener.ignore_port = true;
    assert!(listener.host(&routes, "users.prod:8080").is_some());
    assert!(listener.host(&routes, "users.prod").is_some());
    assert!(listener.host(&routes, "orders.prod:8080").is_none());
}

#[test]
fn settings_of_routes_that_are_not_known() {
    let config = |config: Any, is_optional: bool| {
        let wrapped = FilterConfig { config: Some(config), is_optional, disabled: false };
        let pb = PbRoute {
            typed_per_filter_config: [("f".to_owned(), pack_any(wrapped))].into(),
            ..route(prefix("/"), to("c"))
        };
        proxyless().routes(&configuration(vec![host(&["*"], vec![pb])]))
    };
    let unknown = || Any { type_url: "type.googleapis.com/x.Y".into(), value: vec![] };
    refuses(config(unknown(), false), "typed_per_filter_config.f = x.Y: not supported yet");
    assert!(config(unknown(), true).is_ok());
    let rbac = pack_any(RbacPerRoute { rbac: None });
    let read = config(rbac, false).unwrap();
    assert_eq!(read.hosts[0].routes[0].overrides["f"], Override::Disabled);
}

#[test]
fn limits_are_described_by_routes() {
    let service = RateLimitServiceConfig {
        grpc_service: Some(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: "limits".into(),
                ..EnvoyGrpc::default()
            })),
            ..GrpcService::default()
        }),
        ..RateLimitServiceConfig::default()
    };
    let limit = PbRateLimit {
        domain: "d".into(),
        rate_limit_service: Some(service),
        ..PbRateLimit::default()
    };
    let listener = with(vec![named("r", pack_any(limit)), router()]).unwrap();
    assert_eq!(listener.clusters(), ["limits"].into());
    let part = PbPart {
        action_specifier: Some(ActionSpecifier::DestinationCluster(DestinationCluster {})),
    };
    let action = RouteAction {
        rate_limits: vec![PbDescription {
            actions: vec![part],
            disable_key: "k".into(),
            ..PbDescription::default()
        }],
        ..to("c")
    };
    let pb = host(&["*"], vec![route(prefix("/a"), action), route(prefix("/"), to("c"))]);
    let routes = proxyless().routes(&configuration(vec![pb])).unwrap();
    assert_eq!(routes.hosts[0].routes[0].describe[0].disable_key.as_deref(), Some("k"));
    assert_eq!(routes.notes, [""; 0]);
    let service = listener.service(&routes.hosts[0]);
    let counts: Vec<usize> = service.routes.iter().map(|route| route.filters.len()).collect();
    assert_eq!(counts, [1, 0]);
    assert!(service.validate("s").is_ok());
}

#[test]
fn local_limits() {
    let all =
        || Some(RuntimeFractionalPercent { default_value: always(), runtime_key: String::new() });
    let limit = |bucket: Option<TokenBucket>| LocalRateLimit {
        token_bucket: bucket,
        filter_enabled: all(),
        filter_enforced: all(),
        ..LocalRateLimit::default()
    };
    let read = |it: LocalRateLimit| with(vec![named("l", pack_any(it)), router()]);
    let bucket = |interval: Option<protobuf::Duration>| TokenBucket {
        max_tokens: 10,
        tokens_per_fill: wrapped(10),
        fill_interval: interval,
    };
    let one = read(limit(Some(bucket(seconds(1))))).unwrap();
    let [Step::Filter(Filter::RateLimit(it))] = one.filters[0].steps.as_slice() else {
        panic!("a limit")
    };
    assert_eq!(it.bucket.max_tokens, 10);
    refuses(read(limit(Some(bucket(None)))), "token_bucket.fill_interval = none");
    refuses(read(limit(Some(bucket(seconds(0))))), "must be over 0");
    // Envoy: where no share is said, it counts nobody.
    let off = LocalRateLimit { token_bucket: Some(bucket(seconds(1))), ..Default::default() };
    assert_eq!(read(off).unwrap().filters[0].steps, []);
}

#[test]
fn sessions() {
    let read = with(vec![named("s", pack_any(session_by_cookie())), router()]).unwrap();
    let [Step::Filter(Filter::Session(it))] = read.filters[0].steps.as_slice() else {
        panic!("a session")
    };
    assert_eq!((it.cookie.as_ref().unwrap().name.as_str(), it.strict), ("s", Some(true)));
}

/// A service without routes would lead to the cluster of its name.
#[test]
fn no_route_leads_nowhere() {
    let listener = with(vec![router()]).unwrap();
    let routes = proxyless().routes(&configuration(vec![host(&["*"], Vec::new())])).unwrap();
    for service in [listener.service(&routes.hosts[0]), listener.without_routes()] {
        let Filter::DirectResponse(answer) = &service.routes[0].filters[0] else {
            panic!("it answers")
        };
        assert_eq!((answer.status, answer.grpc), (404, Some(14)));
    }
}

/// Which descriptions of the virtual host count is not left out without a word.
#[test]
fn what_a_limit_says_of_the_descriptions_of_its_host_is_noted() {
    let bucket = TokenBucket { max_tokens: 1, fill_interval: seconds(1), ..TokenBucket::default() };
    for (option, count) in [(0, 0), (1, 1), (2, 1)] {
        let limit = LocalRateLimit {
            stat_prefix: "p".into(),
            token_bucket: Some(bucket),
            vh_rate_limits: option,
            ..LocalRateLimit::default()
        };
        let read = with(vec![named("l", pack_any(limit)), router()]).unwrap();
        let about = |notes: &[String]| {
            notes.iter().filter(|note| note.contains(".vh_rate_limits: INCLUDE")).count()
        };
        assert_eq!(about(&read.notes), count, "{:?}", read.notes);
        let of_route = RateLimitPerRoute { vh_rate_limits: option, ..RateLimitPerRoute::default() };
        let pb = PbRoute {
            typed_per_filter_config: [("l".to_owned(), pack_any(of_route))].into(),
            ..route(prefix("/"), to("c"))
        };
        let read = proxyless().routes(&configuration(vec![host(&["*"], vec![pb])])).unwrap();
        assert_eq!(about(&read.notes), count, "{:?}", read.notes);
    }
    let of_route = RateLimitPerRoute { override_option: 1, ..RateLimitPerRoute::default() };
    let pb = PbRoute {
        typed_per_filter_config: [("l".to_owned(), pack_any(of_route))].into(),
        ..route(prefix("/"), to("c"))
    };
    let read = proxyless().routes(&configuration(vec![host(&["*"], vec![pb])])).unwrap();
    assert!(read.notes[0].contains("override_option"), "{:?}", read.notes);
}
