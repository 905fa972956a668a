//! Listeners of calls that come in: what of them cannot be enforced refuses them, and what comes after it is not lost.

use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{
                CidrRange, HttpProtocolOptions, TypedExtensionConfig,
                http_protocol_options::HeadersWithUnderscoresAction as Underscores,
            },
            listener::v3::{FilterChain, FilterChainMatch},
            route::v3::{Vhds, route_action},
        },
        extensions::filters::{
            http::rbac::v3::{Rbac, RbacPerRoute},
            network::http_connection_manager::v3::{
                HttpConnectionManager,
                http_connection_manager::{
                    PathWithEscapedSlashesAction as Slashes, RouteSpecifier, StripPortMode,
                    UpgradeConfig,
                },
            },
        },
    },
    google::protobuf::Any,
};

use super::{
    listener::{api, deny_all, manager, named, router},
    receiving::{here, inline, listens, of, read, received, routes_of, server},
    routes::weighted,
    *,
};

const BOTH: [Dialect; 2] = [Dialect::Proxyless, Dialect::Sidecar];

/// Reads a listener of one chain with these routes.
fn routed(dialect: Dialect, pb: RouteConfiguration) -> Result<Inbound, String> {
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(pb)),
        ..manager(vec![router()])
    };
    read(dialect, &listens(vec![of(manager)]))
}

#[test]
fn rules_of_a_cluster_refuse_the_listener() {
    let rules = pack_any(RbacPerRoute { rbac: Some(deny_all()) });
    let mut action = weighted(&[("a", 1), ("b", 1)]);
    let pb =
        |action: &RouteAction| server(vec![router()], vec![route(prefix("/"), action.clone())]);
    // Without any, the sidecar's process answers.
    let open = read(Dialect::Sidecar, &pb(&action)).unwrap();
    assert!(routes_of(&open.chains[0])[0].served);
    let Some(ClusterSpecifier::WeightedClusters(it)) = &mut action.cluster_specifier else {
        panic!("it has weights")
    };
    it.clusters[1].typed_per_filter_config = [("rbac".to_owned(), rules)].into();
    for dialect in BOTH {
        let field = "route.weighted_clusters.clusters[1].typed_per_filter_config = 1";
        refuses(read(dialect, &pb(&action)), field);
    }
}

#[test]
fn csrf_keeps_calls_out_and_refuses_the_listener_where_cors_does_not() {
    let filter = |name: &str| {
        let type_url = format!("t/envoy.extensions.filters.http.{name}");
        named("f", Any { type_url, value: Vec::new() })
    };
    let with =
        |name| read(Dialect::Sidecar, &server(vec![filter(name), router()], vec![here("/")]));
    refuses(with("csrf.v3.CsrfPolicy"), "csrf.v3.CsrfPolicy: not supported yet");
    assert!(with("cors.v3.Cors").is_ok());
    // To those who call it is nothing.
    let calls = manager(vec![filter("csrf.v3.CsrfPolicy"), router()]);
    assert!(sidecar().listener(&api(calls)).is_ok());
}

#[test]
fn what_changes_headers_ahead_of_the_rules_refuses_the_listener() {
    let mut manager = inline(vec![router()], vec![here("/")]);
    manager.early_header_mutation_extensions = vec![TypedExtensionConfig::default()];
    for dialect in BOTH {
        let pb = listens(vec![of(manager.clone())]);
        refuses(read(dialect, &pb), "early_header_mutation_extensions = 1");
    }
}

#[test]
fn what_would_choose_other_routes_or_other_connections_refuses_the_listener() {
    let changes: [(fn(&mut RouteConfiguration), &str); 8] = [
        (|it| it.virtual_hosts[0].require_tls = 1, "require_tls = 1"),
        (|it| it.virtual_hosts[0].require_tls = 2, "require_tls = 2"),
        (|it| it.vhds = Some(Vhds::default()), "vhds"),
        (|it| it.internal_only_headers = vec!["x-in".into()], "internal_only_headers"),
        (|it| it.vhost_header = "x-host".into(), "vhost_header"),
        (
            |it| it.ignore_path_parameters_in_path_matching = true,
            "ignore_path_parameters_in_path_matching",
        ),
        (
            |it| it.virtual_hosts[0].route_specifiers = vec![TypedExtensionConfig::default()],
            "virtual_hosts[0].route_specifiers",
        ),
        (
            |it| {
                it.virtual_hosts[0].routes[0].route_specifiers =
                    vec![TypedExtensionConfig::default()];
            },
            "routes[0].route_specifiers",
        ),
    ];
    for dialect in BOTH {
        let pb = || configuration(vec![host(&["*"], vec![here("/")])]);
        assert!(routed(dialect, pb()).is_ok());
        for (change, text) in changes {
            let mut pb = pb();
            change(&mut pb);
            refuses(routed(dialect, pb), text);
        }
    }
}

/// As of the connections of a cluster.
#[cfg(feature = "_tls")]
#[test]
fn what_no_library_could_do_for_connections_that_come_in_refuses_the_listener() {
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
        CommonTlsContext, TlsParameters, common_tls_context::ValidationContextType,
    };

    use super::{
        receiving::{downstream, tls as socket_of},
        tls::regex,
    };

    let secured = |dialect, requires, change: &dyn Fn(&mut CommonTlsContext)| {
        let mut context = downstream(requires);
        change(context.common_tls_context.as_mut().unwrap());
        let mut chain = of(inline(vec![router()], vec![here("/")]));
        chain.transport_socket = Some(socket_of(context));
        read(dialect, &listens(vec![chain]))
    };
    let names = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let params = |ciphers: &[&str], curves: &[&str]| TlsParameters {
        cipher_suites: names(ciphers),
        ecdh_curves: names(curves),
        ..TlsParameters::default()
    };
    let chacha = "ECDHE-RSA-CHACHA20-POLY1305";
    for (dialect, requires) in BOTH.into_iter().flat_map(|it| [(it, true), (it, false)]) {
        let with = |params: TlsParameters| {
            secured(dialect, requires, &|it| it.tls_params = Some(params.clone()))
        };
        let kept = with(params(&["AES128-SHA", chacha], &["P-521", "X25519"])).unwrap();
        let security = &kept.chains[0].security.as_ref().unwrap().tls;
        assert_eq!((&security.ciphers, &security.groups), (&names(&[chacha]), &names(&["X25519"])));
        for told in ["suites: AES128-SHA is not spoken", "curves: P-521 is not spoken"] {
            assert!(kept.notes.iter().any(|it| it.contains(told)), "{:?}", kept.notes);
        }
        refuses(with(params(&["FOO"], &[])), "typed_config.common_tls_context: ciphers = FOO");
        // None is left.
        refuses(with(params(&["AES128-SHA"], &[])), "ciphers = AES128-SHA");
        refuses(with(params(&[], &["P-521"])), "groups = P-521");
        let (low, high) = (3, 4);
        let versions = TlsParameters {
            tls_minimum_protocol_version: high,
            tls_maximum_protocol_version: low,
            ..TlsParameters::default()
        };
        refuses(with(versions), "min_version = 1.3: must be at most max_version");
    }
    // A name that anybody has.
    let anybody = secured(Dialect::Sidecar, true, &|it| {
        let Some(ValidationContextType::ValidationContext(it)) = &mut it.validation_context_type
        else {
            panic!("it has one")
        };
        it.match_subject_alt_names = vec![regex(".*")];
    });
    refuses(anybody, "san.matcher.regex = .*: not supported yet, nor ever");
}

#[test]
fn filters_of_an_upgrade_which_stand_in_the_place_of_the_rules_refuse_the_listener() {
    let filters = vec![named("rbac", pack_any(Rbac::default())), router()];
    let upgrade = UpgradeConfig { upgrade_type: "websocket".into(), ..UpgradeConfig::default() };
    let with = |filters| {
        let plain = UpgradeConfig { upgrade_type: "h2c".into(), ..UpgradeConfig::default() };
        let upgrade = UpgradeConfig { filters, ..upgrade.clone() };
        let rules = named("rbac", pack_any(deny_all()));
        HttpConnectionManager {
            upgrade_configs: vec![plain, upgrade],
            ..inline(vec![rules, router()], vec![here("/")])
        }
    };
    for dialect in BOTH {
        assert!(read(dialect, &listens(vec![of(with(Vec::new()))])).is_ok());
        let pb = listens(vec![of(with(filters.clone()))]);
        refuses(read(dialect, &pb), "upgrade_configs[1].filters = 2");
    }
    // To those who call it is a note.
    let calls = manager(vec![router()]);
    let upgrade_configs = vec![UpgradeConfig { filters, ..upgrade }];
    let pb = api(HttpConnectionManager { upgrade_configs, ..calls });
    let notes = sidecar().listener(&pb).unwrap().notes.clone();
    assert!(notes.iter().any(|it| it.contains("upgrade_configs[0].filters")), "{notes:?}");
}

#[test]
fn what_becomes_of_a_path_before_a_route_is_looked_for_is_told() {
    let told = |dialect, change: &dyn Fn(&mut HttpConnectionManager)| {
        let mut manager = manager(vec![router()]);
        change(&mut manager);
        let read = read(dialect, &listens(vec![of(manager)]))?;
        // Routes that come by themselves change nothing of it.
        let routes = configuration(vec![host(&["*"], vec![here("/")])]).encode_to_vec();
        let routed = with_routes(&received(dialect), &read, &routes).unwrap();
        let of_chain = |read: &Inbound| {
            let http = read.chains[0].http.as_ref().unwrap();
            (http.normalize_path, http.merge_slashes, http.escaped_slashes)
        };
        assert_eq!(of_chain(&read), of_chain(&routed));
        Ok::<_, String>(of_chain(&read))
    };
    let keeps = InboundSlashes::Keep;
    for dialect in BOTH {
        assert_eq!(told(dialect, &|_| {}), Ok((false, false, keeps)));
        assert_eq!(
            told(dialect, &|it| it.normalize_path = bool_value(true)),
            Ok((true, false, keeps))
        );
        let no = told(dialect, &|it| it.normalize_path = bool_value(false));
        assert_eq!(no, Ok((false, false, keeps)));
        assert_eq!(told(dialect, &|it| it.merge_slashes = true), Ok((false, true, keeps)));
        for (action, expected) in [
            (Slashes::ImplementationSpecificDefault, keeps),
            (Slashes::KeepUnchanged, keeps),
            (Slashes::RejectRequest, InboundSlashes::Refuse),
            (Slashes::UnescapeAndRedirect, InboundSlashes::Redirect),
            (Slashes::UnescapeAndForward, InboundSlashes::Decode),
        ] {
            let read = told(dialect, &|it| it.path_with_escaped_slashes_action = action.into());
            assert_eq!(read, Ok((false, false, expected)), "{action:?}");
        }
        let other = told(dialect, &|it| it.path_with_escaped_slashes_action = 9);
        refuses(other, "path_with_escaped_slashes_action = 9");
        // What would say so in another place.
        let options = told(dialect, &|it| it.path_normalization_options = Some(Default::default()));
        refuses(options, "path_normalization_options = given");
        let other = Some(TypedExtensionConfig::default());
        let validated = told(dialect, &|it| it.typed_header_validation_config = other.clone());
        refuses(validated, "typed_header_validation_config = given");
    }
}

#[test]
fn what_becomes_of_an_authority_and_of_headers_before_a_route_is_looked_for_is_told() {
    let told = |dialect, change: &dyn Fn(&mut HttpConnectionManager)| {
        let mut manager = manager(vec![router()]);
        change(&mut manager);
        let read = read(dialect, &listens(vec![of(manager)]))?;
        let of_chain = |read: &Inbound| {
            let http = read.chains[0].http.as_ref().unwrap();
            (http.port, http.strip_trailing_dot, http.underscores)
        };
        // Routes that come by themselves change nothing of it, and their hosts say that no port counts.
        let routes = configuration(vec![host(&["*"], vec![here("/")])]).encode_to_vec();
        let routed = with_routes(&received(dialect), &read, &routes).unwrap();
        assert_eq!(of_chain(&read), of_chain(&routed));
        let InboundRoutes::Hosts(hosts) = &routed.chains[0].http.as_ref().unwrap().routes else {
            panic!("they have come")
        };
        assert_eq!(hosts[0].ignores_port, of_chain(&read).0 == InboundPort::Drop);
        Ok::<_, String>(of_chain(&read))
    };
    let any = |is: bool| Some(StripPortMode::StripAnyHostPort(is));
    let (stays, keeps) = (InboundPort::Keep, InboundUnderscores::Keep);
    for dialect in BOTH {
        assert_eq!(told(dialect, &|_| {}), Ok((stays, false, keeps)));
        let own = told(dialect, &|it| {
            (it.strip_matching_host_port, it.strip_port_mode) = (true, any(false));
        });
        assert_eq!(own, Ok((InboundPort::DropOwn, false, keeps)));
        let all = told(dialect, &|it| it.strip_port_mode = any(true));
        assert_eq!(all, Ok((InboundPort::Drop, false, keeps)));
        let none = told(dialect, &|it| it.strip_port_mode = any(false));
        assert_eq!(none, Ok((stays, false, keeps)));
        let both = told(dialect, &|it| {
            (it.strip_matching_host_port, it.strip_port_mode) = (true, any(true));
        });
        refuses(both, "strip_matching_host_port = true");
        let dot = told(dialect, &|it| it.strip_trailing_host_dot = true);
        assert_eq!(dot, Ok((stays, true, keeps)));
        let acts = |action: i32| {
            told(dialect, &|it| {
                it.common_http_protocol_options = Some(HttpProtocolOptions {
                    headers_with_underscores_action: action,
                    ..HttpProtocolOptions::default()
                });
            })
        };
        for (action, expected) in [
            (Underscores::Allow, keeps),
            (Underscores::RejectRequest, InboundUnderscores::Refuse),
            (Underscores::DropHeader, InboundUnderscores::Drop),
        ] {
            assert_eq!(acts(action.into()), Ok((stays, false, expected)), "{action:?}");
        }
        refuses(acts(9), "common_http_protocol_options.headers_with_underscores_action = 9");
    }
}

#[test]
fn what_requests_may_be_upgraded_to_is_told_by_route() {
    let listed = |list: &[(&str, Option<bool>)]| -> Vec<UpgradeConfig> {
        let upgrade = |&(name, enabled): &(&str, Option<bool>)| UpgradeConfig {
            upgrade_type: name.into(),
            enabled: enabled.and_then(bool_value),
            ..UpgradeConfig::default()
        };
        list.iter().map(upgrade).collect()
    };
    // Routes that are read with the listener, and those that come by themselves.
    let told = |dialect, list: &[(&str, Option<bool>)], pb: PbRoute| {
        let named =
            HttpConnectionManager { upgrade_configs: listed(list), ..manager(vec![router()]) };
        let routes = configuration(vec![host(&["*"], vec![pb.clone()])]).encode_to_vec();
        let read_first = read(dialect, &listens(vec![of(named)])).unwrap();
        let routed = with_routes(&received(dialect), &read_first, &routes).unwrap();
        let whole = HttpConnectionManager {
            upgrade_configs: listed(list),
            ..inline(vec![router()], vec![pb])
        };
        let read = read(dialect, &listens(vec![of(whole)])).unwrap();
        let upgrades = routes_of(&read.chains[0])[0].upgrades.clone();
        assert_eq!(upgrades, routes_of(&routed.chains[0])[0].upgrades);
        upgrades
    };
    for dialect in BOTH {
        // What nobody lists is refused.
        assert_eq!(told(dialect, &[], here("/")), [""; 0]);
        let list =
            [("websocket", None), ("h2c", Some(false)), ("x", Some(true)), ("CONNECT", None)];
        assert_eq!(told(dialect, &list, here("/")), ["websocket", "x"]);
    }
    // Of one protocol the route's word counts.
    let mut action = weighted(&[("a", 1)]);
    let upgrade = |name: &str, enabled: bool| route_action::UpgradeConfig {
        upgrade_type: name.into(),
        enabled: bool_value(enabled),
        ..route_action::UpgradeConfig::default()
    };
    action.upgrade_configs =
        vec![upgrade("WebSocket", false), upgrade("h2c", true), upgrade("y", true)];
    let list = [("websocket", None), ("h2c", Some(false)), ("x", None)];
    assert_eq!(told(Dialect::Sidecar, &list, route(prefix("/"), action)), ["h2c", "y", "x"]);
}

fn matched(said: FilterChainMatch) -> FilterChain {
    FilterChain { filter_chain_match: Some(said), ..of(inline(vec![router()], vec![here("/")])) }
}

fn ranges(blocks: &[(&str, u32)]) -> Vec<CidrRange> {
    let range = |&(address, length): &(&str, u32)| CidrRange {
        address_prefix: address.into(),
        prefix_len: wrapped(length),
    };
    blocks.iter().map(range).collect()
}

#[test]
fn chains_that_share_a_combination_of_values_refuse_the_listener() {
    let to = |blocks: &[(&str, u32)]| FilterChainMatch {
        prefix_ranges: ranges(blocks),
        ..FilterChainMatch::default()
    };
    let from = |blocks: &[(&str, u32)], ports: &[u32]| FilterChainMatch {
        source_prefix_ranges: ranges(blocks),
        source_ports: ports.to_vec(),
        ..FilterChainMatch::default()
    };
    let direct = |blocks: &[(&str, u32)]| FilterChainMatch {
        direct_source_prefix_ranges: ranges(blocks),
        ..FilterChainMatch::default()
    };
    let asked = |names: &[&str], protocols: &[&str]| FilterChainMatch {
        server_names: names.iter().map(|it| (*it).to_owned()).collect(),
        application_protocols: protocols.iter().map(|it| (*it).to_owned()).collect(),
        ..FilterChainMatch::default()
    };
    let beside = |one: FilterChainMatch, other: FilterChainMatch| {
        read(Dialect::Sidecar, &listens(vec![matched(one), matched(other)]))
    };
    let (ten, eleven) = (("10.0.0.0", 8), ("11.0.0.0", 8));
    for (one, other) in [
        (to(&[ten, eleven]), to(&[ten])),
        (to(&[ten]), to(&[("10.1.2.3", 8)])),
        (to(&[("2001:db8::", 32)]), to(&[("2001:db8::1", 32)])),
        (direct(&[ten, eleven]), direct(&[eleven])),
        (from(&[ten, eleven], &[1, 2]), from(&[eleven], &[2, 3])),
        (asked(&["a", "b"], &[]), asked(&["b", "a"], &[])),
        (asked(&["a"], &["h2", "http/1.1"]), asked(&["b", "A"], &["http/1.1"])),
    ] {
        refuses(beside(one, other), "filter_chains[1].filter_chain_match");
    }
    let apart = |change: fn(&mut FilterChainMatch)| {
        let mut other = to(&[ten]);
        change(&mut other);
        beside(to(&[ten]), other)
    };
    // One that differs in anything is another.
    let changes: [fn(&mut FilterChainMatch); 9] = [
        |it| it.destination_port = wrapped(80),
        |it| it.prefix_ranges = ranges(&[("10.0.0.0", 9)]),
        |it| it.server_names = vec!["a".into()],
        |it| it.transport_protocol = "tls".into(),
        |it| it.application_protocols = vec!["h2".into()],
        |it| it.direct_source_prefix_ranges = ranges(&[("10.0.0.0", 8)]),
        |it| it.source_type = 1,
        |it| it.source_prefix_ranges = ranges(&[("10.0.0.0", 8)]),
        |it| it.source_ports = vec![1],
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert!(apart(change).is_ok(), "{index}");
    }
    assert!(beside(from(&[ten], &[1, 2]), from(&[eleven, ten], &[3])).is_ok());
    assert!(beside(from(&[ten], &[1]), from(&[eleven], &[1])).is_ok());
}

#[test]
fn so_many_combinations_of_values_of_a_listener_and_no_more_are_compared() {
    let said = |names: usize, ports: u32| FilterChainMatch {
        server_names: (0..names).map(|it| format!("n{it}")).collect(),
        source_ports: (1..=ports).collect(),
        ..FilterChainMatch::default()
    };
    let of = |chains: Vec<FilterChain>| read(Dialect::Sidecar, &listens(chains));
    assert!(of(vec![matched(said(256, 256))]).is_ok());
    refuses(of(vec![matched(said(257, 256))]), "filter_chains = 65792");
    // They are those of all chains together.
    let other = FilterChainMatch { source_type: 1, ..FilterChainMatch::default() };
    refuses(of(vec![matched(said(256, 256)), matched(other)]), "filter_chains = 65537");
    // However many they would be, they are counted alone.
    let all = FilterChainMatch {
        application_protocols: (0..1_000).map(|it| format!("p{it}")).collect(),
        prefix_ranges: ranges(&[("10.0.0.0", 8); 1_000]),
        source_prefix_ranges: ranges(&[("10.0.0.0", 8); 1_000]),
        direct_source_prefix_ranges: ranges(&[("10.0.0.0", 8); 1_000]),
        ..said(1_000, 1_000)
    };
    refuses(of(vec![matched(all.clone())]), "filter_chains = 1000000000000000000");
    refuses(of(vec![matched(all); 20]), &format!("filter_chains = {}", usize::MAX));
}

#[test]
fn routes_that_come_anew_take_the_place_of_those_before() {
    let context = received(Dialect::Proxyless);
    let with = |before: &Inbound, name: &str, path: &str, is_noted: bool| {
        let mut pb = configuration(vec![host(&["*"], vec![here(path)])]);
        pb.name = name.into();
        if is_noted {
            pb.virtual_hosts[0].cors = Some(Default::default());
        }
        with_routes(&context, before, &pb.encode_to_vec()).map_err(|refused| refused.reason)
    };
    let mut pb = listens(vec![of(manager(vec![router()]))]);
    pb.access_log = vec![Default::default()];
    pb.default_filter_chain = Some(of(inline(vec![router()], vec![here("/inline")])));
    let read = read(Dialect::Proxyless, &pb).unwrap();
    let names = |read: &Inbound| {
        let chains = read.chains.iter().chain(&read.default_chain);
        chains.map(|it| it.http.as_ref().unwrap().routes_name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&read), [Some("routes".to_owned()), None]);
    let first = with(&read, "routes", "/a", true).unwrap();
    let second = with(&first, "routes", "/b", true).unwrap();
    assert_eq!(second, with(&read, "routes", "/b", true).unwrap());
    assert_ne!(routes_of(&first.chains[0]), routes_of(&second.chains[0]));
    // The others stay, and so does the name.
    assert_eq!((&second.default_chain, names(&second)), (&read.default_chain, names(&read)));
    // What is noted is so of the last.
    assert_eq!((read.notes.len(), second.notes.len()), (1, 2));
    assert_eq!(with(&second, "routes", "/b", false).unwrap().notes, read.notes);
    // One that none of them names is not lost without a word.
    refuses(with(&second, "others", "/c", false), "name = others: ");
}

#[test]
fn what_a_listener_and_its_routes_are_made_of_is_counted_before_it_is_read() {
    let context = received(Dialect::Proxyless);
    let read = read(Dialect::Proxyless, &listens(vec![of(manager(vec![router()]))])).unwrap();
    // Empty filters of the listener, and hosts.
    let many = |mut bytes: Vec<u8>, key: u8| {
        bytes.extend([key, 0].repeat(262_145));
        bytes
    };
    let pb = PbListener { name: "l".into(), ..PbListener::default() };
    let refused = inbound(&context, &many(pb.encode_to_vec(), 0x4a)).unwrap_err();
    assert_eq!(refused.name.as_deref(), Some("l"));
    assert!(refused.reason.contains("more than 262144 parts"), "{}", refused.reason);
    let pb = configuration(Vec::new());
    let refused = with_routes(&context, &read, &many(pb.encode_to_vec(), 0x12)).unwrap_err();
    assert_eq!(refused.name.as_deref(), Some("routes"));
    assert!(refused.reason.contains("more than 262144 parts"), "{}", refused.reason);
}
