//! Listeners of calls that come in. Tests after grpc-go's have its names, in words.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{CidrRange, TransportSocket, transport_socket},
            listener::v3::{
                ApiListener, Filter as ChainFilter, FilterChain, FilterChainMatch, ListenerFilter,
                filter,
            },
            rbac::v3::{permission::Rule, principal::Authenticated, principal::Identifier},
            route::v3::{FilterConfig, NonForwardingAction},
        },
        extensions::{
            filters::{
                http::rbac::v3::RbacPerRoute,
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter as PbFilter,
                    http_connection_manager::RouteSpecifier,
                },
            },
            transport_sockets::tls::v3::{
                CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
                DownstreamTlsContext, UpstreamTlsContext,
                common_tls_context::ValidationContextType,
            },
        },
        r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::{Any, BoolValue},
};

use super::{
    super::sound::comes_in,
    listener::{delay, deny_all, manager, named, router, rules},
    *,
};
use crate::config::{
    Action as Does, Authorization, AuthorizationRule, IdentityMatch, Permission, Principal, Role,
    SecurityMode, StringMatch,
};

const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";

pub(super) fn received(dialect: Dialect) -> Context {
    Context { role: Role::Receiver, ..context(dialect) }
}

pub(super) fn read(dialect: Dialect, pb: &PbListener) -> Result<Inbound, String> {
    let bytes = pb.encode_to_vec();
    comes_in(&bytes);
    inbound(&received(dialect), &bytes).map_err(|refused| refused.reason)
}

fn grpc(pb: &PbListener) -> Result<Inbound, String> {
    read(Dialect::Proxyless, pb)
}

/// A route whose calls are answered here.
pub(super) fn here(path: &str) -> PbRoute {
    PbRoute {
        r#match: Some(prefix(path)),
        action: Some(Action::NonForwardingAction(NonForwardingAction {})),
        ..PbRoute::default()
    }
}

pub(super) fn inline(filters: Vec<PbFilter>, routes: Vec<PbRoute>) -> HttpConnectionManager {
    let routes = configuration(vec![host(&["*"], routes)]);
    HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        ..manager(filters)
    }
}

fn network(name: &str, any: Any) -> ChainFilter {
    ChainFilter { name: name.into(), config_type: Some(filter::ConfigType::TypedConfig(any)) }
}

pub(super) fn of(manager: HttpConnectionManager) -> FilterChain {
    FilterChain { filters: vec![network("manager", pack_any(manager))], ..FilterChain::default() }
}

pub(super) fn listens(chains: Vec<FilterChain>) -> PbListener {
    PbListener {
        name: "server/10.0.0.1:8080".into(),
        address: Some(socket("10.0.0.1", 8080)),
        filter_chains: chains,
        ..PbListener::default()
    }
}

/// A listener of one chain.
pub(super) fn server(filters: Vec<PbFilter>, routes: Vec<PbRoute>) -> PbListener {
    listens(vec![of(inline(filters, routes))])
}

/// Rules, routes that override them, and TLS.
pub(super) fn whole() -> PbListener {
    let mut chain = of(inline(
        vec![named("rbac", pack_any(only(CART))), router()],
        vec![overriding("/open", pack_any(RbacPerRoute { rbac: None })), here("/")],
    ));
    chain.transport_socket = Some(tls(downstream(true)));
    chain.filter_chain_match = Some(FilterChainMatch {
        prefix_ranges: vec![CidrRange {
            address_prefix: "10.0.0.0".into(),
            prefix_len: wrapped(8),
        }],
        source_type: 1,
        ..FilterChainMatch::default()
    });
    PbListener { default_filter_chain: Some(of(manager(vec![router()]))), ..listens(vec![chain]) }
}

/// Only a caller of this name.
fn only(name: &str) -> envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac {
    let name = StringMatcher {
        match_pattern: Some(MatchPattern::Exact(name.into())),
        ..StringMatcher::default()
    };
    let caller = Identifier::Authenticated(Authenticated { principal_name: Some(name) });
    rules(0, Rule::Any(true), caller)
}

fn only_here(name: &str) -> Authorization {
    let mut expected = Authorization::default();
    expected.otherwise = Some(Does::Deny);
    expected.rules = vec![
        AuthorizationRule::allow("p")
            .principal(Principal::Name(StringMatch::Exact(name.into())))
            .permission(Permission::Any),
    ];
    expected
}

fn overriding(path: &str, any: Any) -> PbRoute {
    PbRoute { typed_per_filter_config: [("rbac".to_owned(), any)].into(), ..here(path) }
}

pub(super) fn downstream(requires: bool) -> DownstreamTlsContext {
    let instance = |name: &str| CertificateProviderPluginInstance {
        instance_name: name.into(),
        certificate_name: String::new(),
    };
    let validation = CertificateValidationContext {
        ca_certificate_provider_instance: Some(instance("default")),
        ..CertificateValidationContext::default()
    };
    DownstreamTlsContext {
        require_client_certificate: Some(BoolValue { value: requires }),
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_provider_instance: Some(instance("default")),
            validation_context_type: requires
                .then_some(ValidationContextType::ValidationContext(validation)),
            ..CommonTlsContext::default()
        }),
        ..DownstreamTlsContext::default()
    }
}

pub(super) fn tls(context: DownstreamTlsContext) -> TransportSocket {
    TransportSocket {
        name: "tls".into(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack_any(context))),
    }
}

fn http(chain: &InboundChain) -> &InboundHttp {
    chain.http.as_ref().unwrap()
}

pub(super) fn routes_of(chain: &InboundChain) -> &[InboundRoute] {
    match &http(chain).routes {
        InboundRoutes::Hosts(hosts) => &hosts[0].routes,
        InboundRoutes::Named(name) => panic!("they are {name}"),
    }
}

/// What `tests/peers/xds/mtls.rs` tells C-core's server.
#[test]
fn the_listener_that_c_core_serves_by() {
    let mut chain = of(inline(vec![named("rbac", pack_any(only(CART))), router()], vec![here("")]));
    chain.transport_socket = Some(tls(downstream(true)));
    let read = grpc(&listens(vec![chain])).unwrap();
    assert_eq!(read.name, "server/10.0.0.1:8080");
    assert_eq!(read.address, "10.0.0.1:8080".parse().unwrap());
    assert_eq!(read.notes, [""; 0]);
    let [chain] = read.chains.as_slice() else { panic!("{read:?}") };
    let security = chain.security.as_ref().unwrap();
    assert!(security.requires_certificate);
    assert_eq!(security.tls.mode, Some(SecurityMode::Mutual));
    assert_eq!(security.tls.certificate.as_ref().unwrap().provider, "default");
    assert_eq!(security.tls.roots.as_ref().unwrap().provider, "default");
    let [route] = routes_of(chain) else { panic!("{chain:?}") };
    assert!(route.served && route.matches.is_empty());
    assert_eq!(route.authorization, [Arc::new(only_here(CART))]);
}

#[test]
fn routes_override_the_rules_and_turn_them_off() {
    let off = FilterConfig { disabled: true, ..FilterConfig::default() };
    let others = pack_any(RbacPerRoute { rbac: Some(only("urn:other")) });
    let pb = server(
        vec![named("rbac", pack_any(only(CART))), router()],
        vec![
            overriding("/open", pack_any(RbacPerRoute { rbac: None })),
            overriding("/off", pack_any(off)),
            overriding("/other", others.clone()),
            here("/"),
        ],
    );
    let read = grpc(&pb).unwrap();
    let asked: Vec<_> = routes_of(&read.chains[0]).iter().map(|it| &*it.authorization).collect();
    let own = [Arc::new(only_here(CART))];
    let other = [Arc::new(only_here("urn:other"))];
    assert_eq!(asked, [&[][..], &[], &other, &own]);
    // What a host says holds for its routes, and the nearest says how.
    let mut level = host(&["*"], vec![overriding("/a", others), here("/")]);
    let denies = pack_any(RbacPerRoute { rbac: Some(deny_all()) });
    level.typed_per_filter_config = [("rbac".to_owned(), denies)].into();
    let mut manager = inline(vec![named("rbac", pack_any(only(CART))), router()], Vec::new());
    manager.route_specifier = Some(RouteSpecifier::RouteConfig(configuration(vec![level])));
    let read = grpc(&listens(vec![of(manager)])).unwrap();
    let routes = routes_of(&read.chains[0]);
    assert_eq!(*routes[0].authorization, other);
    assert_eq!(routes[1].authorization[0].rules[0].action, Does::Deny);
}

#[test]
fn a_filter_that_is_off_asks_where_a_route_turns_it_on() {
    let on = FilterConfig {
        config: Some(pack_any(RbacPerRoute { rbac: Some(only("urn:other")) })),
        ..FilterConfig::default()
    };
    let off = PbFilter { disabled: true, ..named("rbac", pack_any(only(CART))) };
    let routes = vec![
        overriding("/other", pack_any(on)),
        overriding("/own", pack_any(FilterConfig::default())),
        here("/"),
    ];
    let read = grpc(&server(vec![off, router()], routes)).unwrap();
    let asked: Vec<_> = routes_of(&read.chains[0]).iter().map(|it| &*it.authorization).collect();
    let (other, own) = ([Arc::new(only_here("urn:other"))], [Arc::new(only_here(CART))]);
    assert_eq!(asked, [&other[..], &own, &[]]);
    // One that is not known cannot be.
    let unknown = |name: &str| named(name, Any { type_url: "x/y.Z".into(), value: Vec::new() });
    let off = || PbFilter { disabled: true, ..unknown("rbac") };
    assert!(grpc(&server(vec![off(), router()], vec![here("/")])).is_ok());
    let turned_on = vec![overriding("/", pack_any(FilterConfig::default()))];
    refuses(grpc(&server(vec![off(), router()], turned_on)), "y.Z");
    // It is the same of routes that come by themselves.
    let read = grpc(&listens(vec![of(manager(vec![off(), router()]))])).unwrap();
    let turned_on = vec![overriding("/", pack_any(FilterConfig::default()))];
    let pb = configuration(vec![host(&["*"], turned_on)]);
    let refused = with_routes(&received(Dialect::Proxyless), &read, &pb.encode_to_vec());
    assert!(refused.unwrap_err().reason.contains("y.Z"));
}

#[test]
fn filters_that_do_more_than_authorise_refuse_the_listener() {
    let fault = || named("fault", pack_any(delay()));
    refuses(grpc(&server(vec![fault(), router()], vec![here("/")])), "HTTPFault");
    let unknown = named("x", Any { type_url: "x/y.Z".into(), value: Vec::new() });
    refuses(grpc(&server(vec![unknown.clone(), router()], vec![here("/")])), "y.Z");
    for filter in [fault(), unknown] {
        let optional = PbFilter { is_optional: true, ..filter };
        let read = grpc(&server(vec![optional, router()], vec![here("/")])).unwrap();
        assert_eq!(http(&read.chains[0]).filters, []);
        assert!(read.notes[0].contains("is left out"), "{:?}", read.notes);
    }
    // An override of another type than the filter's is no rule of it.
    let routes = vec![overriding("/", pack_any(delay()))];
    let rbac = named("rbac", pack_any(only(CART)));
    refuses(grpc(&server(vec![rbac, router()], routes)), "typed_per_filter_config = rbac");
}

#[test]
fn unmarshal_listener_server_side() {
    let server = || server(vec![router()], vec![here("/")]);
    let refused = |change: &dyn Fn(&mut PbListener), text: &str| {
        let mut pb = server();
        change(&mut pb);
        refuses(grpc(&pb), text);
    };
    assert!(grpc(&server()).is_ok());
    refused(&|it| it.name = String::new(), "name");
    refused(&|it| it.address = None, "address");
    refused(&|it| it.address = Some(socket("a.example", 80)), "address");
    refused(&|it| it.filter_chains.clear(), "filter_chains = []");
    refused(&|it| it.api_listener = Some(ApiListener::default()), "api_listener");
    refused(&|it| it.filter_chain_matcher = Some(Default::default()), "filter_chain_matcher");
    refused(&|it| it.use_original_dst = Some(BoolValue { value: true }), "use_original_dst");
    refused(&|it| it.listener_filters = vec![ListenerFilter::default()], "listener_filters[0]");
    refused(&|it| it.filter_chains[0].filters.clear(), "filter_chains[0].filters = 0");
    refused(
        &|it| it.filter_chains[0].use_proxy_proto = Some(BoolValue { value: true }),
        "use_proxy_proto",
    );
    // It is alone: whatever else is asked of a connection would not be.
    let other = || network("rbac", Any { type_url: "x/network.RBAC".into(), value: Vec::new() });
    refused(&|it| it.filter_chains[0].filters.insert(0, other()), "filters[0].typed_config");
    refused(&|it| it.filter_chains[0].filters.push(other()), "filters[1].typed_config");
    let twin = |it: &mut PbListener| it.filter_chains.push(it.filter_chains[0].clone());
    refused(&twin, "filter_chains[1].filter_chain_match");
    let changes: [fn(&mut HttpConnectionManager); 4] = [
        |it| it.xff_num_trusted_hops = 1,
        |it| it.original_ip_detection_extensions = vec![Default::default()],
        |it| it.route_specifier = None,
        |it| drop(it.http_filters.pop()),
    ];
    for change in changes {
        let mut changed = inline(vec![router()], vec![here("/")]);
        change(&mut changed);
        for dialect in [Dialect::Proxyless, Dialect::Sidecar] {
            assert!(read(dialect, &listens(vec![of(changed.clone())])).is_err());
        }
    }
}

#[test]
fn routes_that_only_proxies_can_tell_apart_refuse_the_listener() {
    let changes: [(fn(&mut RouteMatch), &str); 4] = [
        (|it| it.tls_context = Some(Default::default()), "tls_context"),
        (|it| it.filter_state = vec![Default::default()], "filter_state"),
        (
            |it| it.path_specifier = Some(PathSpecifier::ConnectMatcher(Default::default())),
            "connect_matcher",
        ),
        (|it| it.path_specifier = None, "path_specifier"),
    ];
    for (change, text) in changes {
        let mut strict = overriding("/", pack_any(RbacPerRoute { rbac: Some(deny_all()) }));
        change(strict.r#match.as_mut().unwrap());
        refuses(grpc(&server(vec![router()], vec![strict, here("/")])), text);
    }
}

#[test]
fn calls_are_answered_on_routes_that_lead_here_alone() {
    let routes = || {
        vec![
            here("/a"),
            route(prefix("/b"), to("inbound|8080||")),
            PbRoute { action: None, ..here("/c") },
        ]
    };
    let pb = server(vec![router()], routes());
    let served = |dialect| {
        let read = read(dialect, &pb).unwrap();
        routes_of(&read.chains[0]).iter().map(|it| it.served).collect::<Vec<_>>()
    };
    assert_eq!(served(Dialect::Proxyless), [true, false, false]);
    // A sidecar forwards to this process.
    assert_eq!(served(Dialect::Sidecar), [true, true, false]);
}

#[test]
fn routes_of_a_resource_of_their_own() {
    let filters = vec![named("rbac", pack_any(only(CART))), router()];
    let read = grpc(&listens(vec![of(manager(filters))])).unwrap();
    assert_eq!(http(&read.chains[0]).routes, InboundRoutes::Named("routes".into()));
    assert_eq!(read.awaited(), ["routes"]);
    let pb = configuration(vec![host(&["*"], vec![here("/")])]);
    let whole = with_routes(&received(Dialect::Proxyless), &read, &pb.encode_to_vec()).unwrap();
    assert_eq!(whole.awaited(), [""; 0]);
    assert_eq!(routes_of(&whole.chains[0])[0].authorization, [Arc::new(only_here(CART))]);
}

#[test]
fn how_connections_that_come_in_are_secured() {
    let with = |dialect, socket: TransportSocket| {
        let mut chain = of(inline(vec![router()], vec![here("/")]));
        chain.transport_socket = Some(socket);
        let read = read(dialect, &listens(vec![chain]))?;
        Ok::<_, String>(read.chains[0].security.clone().unwrap())
    };
    let read = |context: DownstreamTlsContext| with(Dialect::Proxyless, tls(context));
    let open = read(downstream(false)).unwrap();
    assert!(!open.requires_certificate && open.tls.mode == Some(SecurityMode::Tls));
    let refused = |change: &dyn Fn(&mut DownstreamTlsContext), text: &str| {
        let mut context = downstream(true);
        change(&mut context);
        refuses(read(context), text);
    };
    refused(&|it| it.common_tls_context = None, "common_tls_context");
    refused(&|it| it.require_sni = Some(BoolValue { value: true }), "require_sni");
    refused(&|it| it.ocsp_staple_policy = 2, "ocsp_staple_policy");
    refused(
        &|it| it.common_tls_context.as_mut().unwrap().tls_certificate_provider_instance = None,
        "tls_certificate_provider_instance",
    );
    // Anybody's certificate would do.
    refused(
        &|it| it.common_tls_context.as_mut().unwrap().validation_context_type = None,
        "must say whom to trust",
    );
    let names = |it: &mut DownstreamTlsContext,
                 narrow: &dyn Fn(&mut CertificateValidationContext)| {
        match &mut it.common_tls_context.as_mut().unwrap().validation_context_type {
            Some(ValidationContextType::ValidationContext(it)) => narrow(it),
            other => panic!("{other:?}"),
        }
    };
    refused(
        &|it| names(it, &|it| it.verify_certificate_hash = vec!["a".into()]),
        "verify_certificate_hash",
    );
    let matcher = StringMatcher {
        match_pattern: Some(MatchPattern::Prefix("spiffe://prod/".into())),
        ..StringMatcher::default()
    };
    let san = |it: &mut DownstreamTlsContext| {
        names(it, &|it| it.match_subject_alt_names = vec![matcher.clone()]);
    };
    refused(&san, "match_subject_alt_names");
    let mut named = downstream(true);
    san(&mut named);
    let read = with(Dialect::Sidecar, tls(named)).unwrap();
    assert!(matches!(&*read.tls.identities, [IdentityMatch::San(_)]), "{read:?}");
    // What is no TLS of a server is not plaintext either.
    let upstream = TransportSocket {
        name: "tls".into(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack_any(
            UpstreamTlsContext::default(),
        ))),
    };
    refuses(with(Dialect::Proxyless, upstream), "transport_socket = ");
}

#[test]
fn which_connections_a_chain_takes() {
    let with = |said: FilterChainMatch| {
        let mut chain = of(inline(vec![router()], vec![here("/")]));
        chain.filter_chain_match = Some(said);
        grpc(&listens(vec![chain])).map(|read| read.chains[0].matches.clone())
    };
    let range = |address: &str, length| CidrRange {
        address_prefix: address.into(),
        prefix_len: wrapped(length),
    };
    let read = with(FilterChainMatch {
        destination_port: wrapped(8080),
        prefix_ranges: vec![range("10.0.0.0", 8)],
        direct_source_prefix_ranges: vec![range("::1", 128)],
        source_type: 2,
        source_prefix_ranges: vec![range("10.1.0.0", 16)],
        source_ports: vec![1],
        server_names: vec!["*.A.example".into()],
        transport_protocol: "tls".into(),
        application_protocols: vec!["h2".into()],
        ..FilterChainMatch::default()
    });
    let read = read.unwrap();
    assert_eq!((read.destination_port, read.source), (Some(8080), InboundSource::External));
    assert_eq!(read.destinations, ["10.0.0.0/8"]);
    assert_eq!(
        (read.direct_sources, read.sources),
        (vec!["::1/128".into()], vec!["10.1.0.0/16".into()])
    );
    assert_eq!((read.source_ports, read.transport.as_deref()), (vec![1], Some("tls")));
    assert_eq!(
        (read.server_names, read.application_protocols),
        (vec!["*.a.example".into()], vec!["h2".into()])
    );
    let refused = |change: &dyn Fn(&mut FilterChainMatch), text: &str| {
        let mut said = FilterChainMatch::default();
        change(&mut said);
        refuses(with(said), text);
    };
    refused(&|it| it.address_suffix = "1".into(), "address_suffix");
    refused(&|it| it.suffix_len = wrapped(1), "suffix_len");
    refused(&|it| it.source_type = 9, "source_type = 9");
    refused(&|it| it.destination_port = wrapped(0), "destination_port = 0");
    refused(&|it| it.source_ports = vec![65_536], "source_ports[0] = 65536");
    refused(&|it| it.server_names = vec!["a.*".into()], "server_names[0]");
    refused(&|it| it.prefix_ranges = vec![range("10.0.0.0", 33)], "prefix_ranges[0]");
}

/// What istiod says to a server of gRPC: it has its rules that deny ahead of those that allow.
#[test]
fn istiod_s_listener_of_a_server() {
    let mut chain = of(inline(
        vec![
            named("envoy.filters.http.rbac.DENY", pack_any(deny_all())),
            named("envoy.filters.http.rbac.ALLOW", pack_any(only(CART))),
            router(),
        ],
        vec![here("/")],
    ));
    chain.name = "inbound-mtls".into();
    chain.transport_socket = Some(tls(downstream(true)));
    let mut pb = listens(vec![chain]);
    pb.name = "xds.istio.io/grpc/lds/inbound/10.0.0.1:8080".into();
    let read = grpc(&pb).unwrap();
    assert_eq!(read.name, pb.name);
    let [route] = routes_of(&read.chains[0]) else { panic!("{read:?}") };
    let first: Vec<Does> = route.authorization.iter().map(|it| it.rules[0].action).collect();
    assert_eq!(first, [Does::Deny, Does::Allow]);
}

/// The recorded one, of which one chain is HTTP.
#[test]
fn the_listener_of_istio_s_sidecar() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/istiod/recorded/tls.sidecar.json");
    let text = std::fs::read_to_string(path).unwrap();
    let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
    let said = whole["steps"][0]["LDS"]["virtualInbound"].as_str().unwrap();
    let bytes = BASE64_STANDARD.decode(said).unwrap();
    comes_in(&bytes);
    let read = inbound(&received(Dialect::Sidecar), &bytes).unwrap();
    assert_eq!((&*read.name, read.address.port()), ("virtualInbound", 15006));
    let is_http: Vec<bool> = read.chains.iter().map(|it| it.http.is_some()).collect();
    assert_eq!(is_http, [false, true, false]);
    let chain = &read.chains[1];
    assert_eq!(chain.matches.transport.as_deref(), Some("tls"));
    let istio = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
    assert_eq!(chain.matches.application_protocols, istio);
    let security = chain.security.as_ref().unwrap();
    assert!(security.requires_certificate && !security.tls.identities.is_empty());
    // Without those that have no forward secrecy.
    let names: Vec<&str> = security.tls.ciphers.iter().map(String::as_str).collect();
    let (ecdsa, rsa) = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384");
    let (ecdsa_128, rsa_128) = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256");
    assert_eq!(names, [ecdsa, rsa, ecdsa_128, rsa_128]);
    assert!(read.notes.iter().any(|it| it.contains("AES256-GCM-SHA384 is not spoken")));
    let [route] = routes_of(chain) else { panic!("{chain:?}") };
    let http = http(chain);
    assert!(http.normalize_path && !http.merge_slashes);
    assert_eq!(http.escaped_slashes, InboundSlashes::Keep);
    assert_eq!((http.port, http.underscores), (InboundPort::Keep, InboundUnderscores::Keep));
    assert!(!http.strip_trailing_dot);
    assert_eq!(route.upgrades, ["websocket"]);
    // It asks nobody anything, and forwards to the process beside it.
    assert!(route.served && route.authorization.is_empty());
    // A server of gRPC is told otherwise.
    assert!(inbound(&received(Dialect::Proxyless), &bytes).is_err());
}

/// What the fuzz target `xds_inbound` begins with.
#[test]
fn the_seeds_of_listeners_of_calls_that_come_in_are_read_to_their_end() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus-seeds/xds_inbound");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(bytes.len() <= 4096, "a longer one is never taken whole");
        comes_in(&bytes);
        let read = inbound(&received(Dialect::Proxyless), &bytes);
        let read = read.unwrap_or_else(|refused| panic!("{}", refused.reason));
        assert!(!routes_of(&read.chains[0])[1].authorization.is_empty());
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn what_is_of_another_type_than_it_says_is_refused() {
    let typed = |url: &str, value: Vec<u8>| Any { type_url: format!("t/{url}"), value };
    let manager =
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    for (filters, text) in [
        (vec![network("m", typed(manager, vec![0xff; 9]))], "cannot be read"),
        (vec![network("m", typed("x.Y", vec![]))], "must have an HttpConnectionManager"),
        (vec![network("m", typed("xds.type.v3.TypedStruct", vec![0xff]))], "cannot be read"),
        (vec![ChainFilter::default()], "must have an HttpConnectionManager"),
    ] {
        let chain = FilterChain { filters, ..FilterChain::default() };
        refuses(grpc(&listens(vec![chain])), text);
    }
    let rbac = "envoy.extensions.filters.http.rbac.v3.RBAC";
    let filters = vec![named("rbac", typed(rbac, vec![0xff])), router()];
    refuses(grpc(&server(filters, vec![here("/")])), "cannot be read");
    // Two thousand chains, and no more.
    let many = vec![of(inline(vec![router()], vec![here("/")])); 2_001];
    refuses(grpc(&listens(many)), "must be at most 2000");
}
