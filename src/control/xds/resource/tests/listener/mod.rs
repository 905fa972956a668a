//! Listeners: what any of them must have, and which calls they lead where.

mod filters;
mod limits;
mod overrides;

use std::{collections::HashMap, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{HttpProtocolOptions, TypedExtensionConfig},
            listener::v3::{ApiListener, Filter as ChainFilter, FilterChain, filter},
            rbac::v3::{
                Permission as PbPermission, Policy as PbPolicy, Principal as PbPrincipal,
                Rbac as Rules, permission::Rule, principal::Identifier,
            },
        },
        extensions::{
            filters::{
                common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier},
                http::{
                    fault::v3::HttpFault, rbac::v3::Rbac, router::v3::Router,
                    stateful_session::v3::StatefulSession,
                },
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter as PbFilter, Rds, ScopedRoutes,
                    http_connection_manager::RouteSpecifier, http_filter,
                },
            },
            http::stateful_session::cookie::v3::CookieBasedSessionState,
        },
        r#type::{http::v3::Cookie, v3::FractionalPercent},
    },
    google::protobuf::Any,
};

use super::*;
use crate::config::Filter;

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
