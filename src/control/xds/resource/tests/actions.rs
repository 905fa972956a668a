//! Where routes lead and what happens on the way, as far as clusters of a route, headers and notes of the
//! call say it.

use std::collections::HashMap;

use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{HeaderValue, HeaderValueOption, RuntimeFractionalPercent},
            listener::v3::ApiListener,
            route::v3::{
                FilterConfig, WeightedCluster as PbWeighted,
                route_action::{HostRewriteSpecifier, RequestMirrorPolicy, UpgradeConfig},
                weighted_cluster::{
                    ClusterWeight, RandomValueSpecifier,
                    cluster_weight::HostRewriteSpecifier as ClusterHost,
                },
            },
        },
        extensions::filters::{
            http::{
                fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType},
                header_mutation::v3::{HeaderMutation, HeaderMutationPerRoute, Mutations},
                rbac::v3::RbacPerRoute,
                router::v3::Router,
                stateful_session::v3::StatefulSessionPerRoute,
            },
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter as PbFilter,
                http_connection_manager::{RouteSpecifier, UpgradeConfig as ManagerUpgrade},
                http_filter,
            },
        },
        r#type::{
            matcher::v3::{
                ListMatcher, MetadataMatcher, OrMatcher, RegexMatchAndSubstitute, RegexMatcher,
                StringMatcher, ValueMatcher, list_matcher,
                metadata_matcher::{PathSegment, path_segment::Segment},
                string_matcher, value_matcher,
            },
            v3::FractionalPercent,
        },
    },
    google::protobuf::{Any, BoolValue},
};

use super::*;
use crate::config::{ClusterChoice, Filter, HostRewrite, StringMatch, ValueMatch};

fn target(name: &str) -> ClusterWeight {
    ClusterWeight { name: name.into(), weight: wrapped(1), ..ClusterWeight::default() }
}

fn weighted(change: impl FnOnce(&mut PbWeighted)) -> RouteAction {
    let clusters = vec![target("a"), target("b")];
    let mut list = PbWeighted { clusters, ..PbWeighted::default() };
    change(&mut list);
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(list)),
        ..RouteAction::default()
    }
}

/// The service of a listener with these filters and one route.
fn service(
    filters: Vec<(&str, Any)>,
    action: RouteAction,
) -> (crate::config::Service, Vec<String>, Vec<String>) {
    leveled(filters, action, Default::default())
}

/// The same; the configuration, its host and its route say this of the filters.
fn leveled(
    filters: Vec<(&str, Any)>,
    action: RouteAction,
    [of_all, of_host, of_route]: [HashMap<String, Any>; 3],
) -> (crate::config::Service, Vec<String>, Vec<String>) {
    let filter = |(name, any): (&str, Any)| PbFilter {
        name: name.into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any)),
        ..PbFilter::default()
    };
    let mut chain: Vec<PbFilter> = filters.into_iter().map(filter).collect();
    chain.push(filter(("router", pack_any(Router::default()))));
    let mut route = route(prefix("/"), action);
    route.typed_per_filter_config = of_route;
    let mut host = host(&["*"], vec![route]);
    host.typed_per_filter_config = of_host;
    let mut routes = configuration(vec![host]);
    routes.typed_per_filter_config = of_all;
    let manager = HttpConnectionManager {
        http_filters: chain,
        upgrade_configs: vec![ManagerUpgrade {
            upgrade_type: "websocket".into(),
            ..ManagerUpgrade::default()
        }],
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        ..HttpConnectionManager::default()
    };
    let pb = PbListener {
        name: "l".into(),
        api_listener: Some(ApiListener { api_listener: Some(pack_any(manager)) }),
        ..PbListener::default()
    };
    let listener = sidecar().listener(&pb).unwrap();
    let RoutesFrom::Inline(routes) = &listener.routes else { panic!("they are inline") };
    let host = routes.host("x").unwrap();
    let service = listener.service(host);
    service.validate("s").unwrap();
    (service, listener.left_out(host), listener.notes.clone())
}

pub(super) fn abort(status: u32) -> HttpFault {
    HttpFault {
        abort: Some(FaultAbort {
            percentage: Some(FractionalPercent { numerator: 100, denominator: 0 }),
            error_type: Some(ErrorType::HttpStatus(status)),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    }
}

fn on() -> Any {
    use envoy_types::pb::envoy::config::route::v3::FilterConfig;
    pack_any(FilterConfig::default())
}

pub(super) fn off() -> Any {
    pack_any(FilterConfig { disabled: true, ..FilterConfig::default() })
}

pub(super) fn appends(key: &str, value: &str) -> Mutations {
    use envoy_types::pb::envoy::config::common::mutation_rules::v3::{
        HeaderMutation as Pb, header_mutation::Action,
    };
    let header = HeaderValue { key: key.into(), value: value.into(), ..HeaderValue::default() };
    let option = HeaderValueOption { header: Some(header), ..HeaderValueOption::default() };
    Mutations {
        request_mutations: vec![Pb { action: Some(Action::Append(option)) }],
        ..Mutations::default()
    }
}

#[test]
fn a_header_names_the_cluster_but_to_clients_of_grpc() {
    let action = |name: &str, code: i32| RouteAction {
        cluster_specifier: Some(ClusterSpecifier::ClusterHeader(name.into())),
        cluster_not_found_response_code: code,
        ..RouteAction::default()
    };
    let read = one_route(&sidecar(), route(prefix("/"), action("x-cluster", 1))).unwrap();
    assert_eq!(read.cluster_header.as_deref(), Some("x-cluster"));
    assert_eq!((read.missing_cluster_status, read.clusters.len()), (Some(404), 0));
    let read = one_route(&sidecar(), route(prefix("/"), action("x-cluster", 0))).unwrap();
    assert_eq!(read.missing_cluster_status, None);
    refuses(one_route(&proxyless(), route(prefix("/"), action("x", 0))), "left out: ");
    for name in ["", ":authority", "a b"] {
        let refused = one_route(&sidecar(), route(prefix("/"), action(name, 0)));
        refuses(refused, "cluster_header");
    }
    refuses(
        one_route(&sidecar(), route(prefix("/"), action("x", 9))),
        "cluster_not_found_response_code = 9: is no such code",
    );
}

#[test]
fn the_host_of_the_endpoint_where_the_plane_may_say_so() {
    let action = || RouteAction {
        host_rewrite_specifier: Some(HostRewriteSpecifier::AutoHostRewrite(BoolValue {
            value: true,
        })),
        ..to("c")
    };
    let rewrites = |decoder: &Decoder| {
        let read = one_route(decoder, route(prefix("/"), action())).unwrap();
        read.filters
            .iter()
            .any(|it| matches!(it, Filter::Rewrite(it) if it.host == Some(HostRewrite::Endpoint)))
    };
    assert!(rewrites(&sidecar()));
    assert!(!rewrites(&proxyless()));
    let trusted = Context { trusted: true, ..context(Dialect::Proxyless) };
    assert!(rewrites(&Decoder::new(trusted)));
    let pb = configuration(vec![host(&["*"], vec![route(prefix("/"), action())])]);
    let notes = proxyless().routes(&pb).unwrap().notes.clone();
    assert!(notes[0].contains("trusted_xds_server"), "{notes:?}");
}

/// gRFC A81: whoever may not name the endpoint's host may name no other either.
#[test]
fn no_host_of_any_kind_from_a_plane_that_is_not_trusted() {
    let pattern = || RegexMatchAndSubstitute {
        pattern: Some(RegexMatcher { regex: "^/(.+)/.*".into(), ..Default::default() }),
        substitution: "\\1".into(),
    };
    let specifiers = [
        HostRewriteSpecifier::HostRewriteLiteral("b.example".into()),
        HostRewriteSpecifier::HostRewriteHeader("x-host".into()),
        HostRewriteSpecifier::HostRewritePathRegex(pattern()),
    ];
    let trusted = Decoder::new(Context { trusted: true, ..context(Dialect::Proxyless) });
    let has_host = |decoder: &Decoder, action: RouteAction| {
        let read = one_route(decoder, route(prefix("/"), action)).unwrap();
        let of_clusters = read.clusters.iter().flat_map(|it| &it.filters);
        let mut filters = read.filters.iter().chain(of_clusters);
        filters.any(|it| matches!(it, Filter::Rewrite(it) if it.host.is_some()))
    };
    for specifier in specifiers {
        let action = || RouteAction { host_rewrite_specifier: Some(specifier.clone()), ..to("c") };
        assert!(!has_host(&proxyless(), action()), "{specifier:?}");
        assert!(has_host(&trusted, action()) && has_host(&sidecar(), action()), "{specifier:?}");
    }
    let action = || {
        weighted(|list| {
            list.clusters[1].host_rewrite_specifier =
                Some(ClusterHost::HostRewriteLiteral("b.example".into()));
        })
    };
    assert!(!has_host(&proxyless(), action()) && has_host(&trusted, action()));
}

#[test]
fn clusters_by_the_hash_and_with_a_host_of_their_own() {
    let action = weighted(|list| {
        list.random_value_specifier =
            Some(RandomValueSpecifier::UseHashPolicy(BoolValue { value: true }));
        list.clusters[1].host_rewrite_specifier =
            Some(ClusterHost::HostRewriteLiteral("b.example".into()));
    });
    let read = one_route(&sidecar(), route(prefix("/"), action)).unwrap();
    assert_eq!(read.choice, ClusterChoice::Hashed);
    let [Filter::Rewrite(rewrite)] = read.clusters[1].filters.as_slice() else {
        panic!("{:?}", read.clusters[1])
    };
    assert_eq!(rewrite.host, Some(HostRewrite::Literal("b.example".into())));
}

#[test]
fn clusters_by_the_number_in_a_header() {
    let by = |name: &str| {
        weighted(|list| {
            list.random_value_specifier = Some(RandomValueSpecifier::HeaderName(name.into()));
        })
    };
    for decoder in [proxyless(), sidecar()] {
        let read = one_route(&decoder, route(prefix("/"), by("x-share"))).unwrap();
        assert_eq!(read.choice, ClusterChoice::Weighted);
        assert_eq!(read.choice_header.as_deref(), Some("x-share"));
    }
    refuses(one_route(&sidecar(), route(prefix("/"), by(""))), "header_name");
    for name in [":path", "a b"] {
        let read = one_route(&sidecar(), route(prefix("/"), by(name))).unwrap();
        assert_eq!(read.choice_header, None, "{name}");
    }
}

#[test]
fn keys_set_the_shares_of_matches_and_mirrors() {
    let fraction = |key: &str| RuntimeFractionalPercent {
        default_value: Some(FractionalPercent { numerator: 5, denominator: 0 }),
        runtime_key: key.into(),
    };
    let action = RouteAction {
        request_mirror_policies: vec![RequestMirrorPolicy {
            cluster: "shadow".into(),
            runtime_fraction: Some(fraction("shadow.share")),
            ..RequestMirrorPolicy::default()
        }],
        ..to("c")
    };
    let rule = RouteMatch { runtime_fraction: Some(fraction("")), ..prefix("/") };
    let read = one_route(&proxyless(), route(rule, action)).unwrap();
    assert_eq!(read.matches[0].fraction.as_ref().unwrap().key, None);
    let Filter::Mirror(mirror) = &read.filters[0] else { panic!("{read:?}") };
    assert_eq!((mirror.percent, mirror.key.as_deref()), (Some(5.0), Some("shadow.share")));
}

#[test]
fn upgrades_of_the_route_and_else_of_the_listener() {
    let upgrades = |list: &[(&str, Option<bool>)]| {
        let upgrade = |(name, enabled): &(&str, Option<bool>)| UpgradeConfig {
            upgrade_type: (*name).into(),
            enabled: enabled.and_then(bool_value),
            ..UpgradeConfig::default()
        };
        let configs = list.iter().map(upgrade).collect();
        let (service, _, notes) =
            service(Vec::new(), RouteAction { upgrade_configs: configs, ..to("c") });
        let list = service.routes[0].upgrades.iter();
        (list.map(|it| (it.protocol.clone(), it.disabled)).collect::<Vec<_>>(), notes)
    };
    let is = |name: &str, off: bool| (name.to_owned(), off);
    assert_eq!(upgrades(&[]).0, [is("websocket", false)]);
    let own = upgrades(&[("WebSocket", Some(false)), ("x", None)]).0;
    assert_eq!(own, [is("WebSocket", true), is("x", false)]);
    let (tunnel, notes) = upgrades(&[("CONNECT", None)]);
    assert_eq!(tunnel, [is("websocket", false)]);
    assert!(notes[0].contains("CONNECT is never sent"), "{notes:?}");
}

#[test]
fn what_the_application_has_noted_is_matched() {
    let value =
        |pattern: value_matcher::MatchPattern| ValueMatcher { match_pattern: Some(pattern) };
    let text = |text: &str| {
        value(value_matcher::MatchPattern::StringMatch(StringMatcher {
            match_pattern: Some(string_matcher::MatchPattern::Exact(text.into())),
            ..StringMatcher::default()
        }))
    };
    let read = |value: Option<ValueMatcher>, invert: bool| {
        let matcher = MetadataMatcher {
            filter: "app".into(),
            path: vec![PathSegment { segment: Some(Segment::Key("tier".into())) }],
            value,
            invert,
        };
        let rule = RouteMatch { dynamic_metadata: vec![matcher], ..prefix("/") };
        one_route(&sidecar(), route(rule, to("c"))).map(|read| read.matches[0].metadata[0].clone())
    };
    let gold = read(Some(text("gold")), true).unwrap();
    assert_eq!((gold.namespace.as_str(), gold.path.as_slice()), ("app", &["tier".to_owned()][..]));
    assert_eq!(
        (gold.value, gold.invert),
        (ValueMatch::Text(StringMatch::Exact("gold".into())), true)
    );
    let absent =
        read(Some(value(value_matcher::MatchPattern::PresentMatch(false))), false).unwrap();
    assert_eq!((absent.value, absent.invert), (ValueMatch::Present, true));
    let either = value(value_matcher::MatchPattern::OrMatch(OrMatcher {
        value_matchers: vec![text("a"), text("b")],
    }));
    let list = value(value_matcher::MatchPattern::ListMatch(Box::new(ListMatcher {
        match_pattern: Some(list_matcher::MatchPattern::OneOf(Box::new(either))),
    })));
    let ValueMatch::Item(item) = read(Some(list), false).unwrap().value else { panic!("an item") };
    assert!(matches!(*item, ValueMatch::AnyOf(all) if all.len() == 2));
    refuses(read(None, false), "dynamic_metadata[0].value = none");
    let mut deep = text("a");
    for _ in 0..20 {
        deep =
            value(value_matcher::MatchPattern::OrMatch(OrMatcher { value_matchers: vec![deep] }));
    }
    refuses(read(Some(deep), false), "must be at most 16 deep");
}

#[test]
fn clusters_of_a_route_change_its_filters() {
    let action = weighted(|list| {
        list.clusters[0].typed_per_filter_config =
            HashMap::from([("fault".into(), pack_any(abort(418))), ("edit".into(), off())]);
    });
    let edit = HeaderMutation { mutations: Some(appends("x-a", "1")), ..HeaderMutation::default() };
    let filters = vec![("fault", pack_any(abort(503))), ("edit", pack_any(edit))];
    let (service, left_out, notes) = service(filters, action);
    assert_eq!((left_out.len(), notes.len()), (0, 0));
    assert!(service.filters.is_empty());
    let route = &service.routes[0];
    let names: Vec<_> = route
        .filters
        .iter()
        .map(|it| match it {
            Filter::Named(it) => (it.name.as_str(), it.disabled, it.filter.name()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, [("fault", false, "fault"), ("edit", false, "request_headers")]);
    let overrides = &route.clusters[0].overrides;
    let Some(Filter::Fault(fault)) = overrides["fault"].filter.as_deref() else {
        panic!("{overrides:?}")
    };
    assert_eq!(fault.abort.as_ref().unwrap().status, Some(418));
    assert_eq!(overrides["edit"].disabled, Some(true));
    assert!(route.clusters[1].overrides.is_empty());
}

#[test]
fn what_a_cluster_adds_of_another_kind_is_its_own() {
    // Rules that only one cluster has are not lost.
    let deny = listener::deny_all();
    let action = weighted(|list| {
        let edits = HeaderMutationPerRoute { mutations: Some(appends("x-b", "2")) };
        list.clusters[1].typed_per_filter_config = HashMap::from([
            ("rbac".into(), pack_any(RbacPerRoute { rbac: Some(deny) })),
            ("edit".into(), pack_any(edits)),
        ]);
    });
    let filters = vec![
        (
            "rbac",
            pack_any(envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac::default()),
        ),
        ("edit", pack_any(HeaderMutation::default())),
    ];
    let (service, _, _) = service(filters, action);
    let clusters = &service.routes[0].clusters;
    let own: Vec<_> = clusters[1].filters.iter().map(Filter::name).collect();
    assert_eq!(own, ["authorize"]);
    let edit = clusters[1].overrides["edit"].filter.as_deref();
    assert_eq!(edit.map(Filter::name), Some("request_headers"));
    assert!(clusters[0].filters.is_empty() && clusters[0].overrides.is_empty());
}

#[test]
fn a_session_of_one_cluster_is_left_out_and_told() {
    let session = listener::session_by_cookie();
    let action = weighted(|list| {
        let it = StatefulSessionPerRoute {
            r#override: Some(
                envoy_types::pb::envoy::extensions::filters::http::stateful_session::v3::stateful_session_per_route::Override::Disabled(true),
            ),
        };
        list.clusters[0].typed_per_filter_config =
            HashMap::from([("session".into(), pack_any(it))]);
    });
    let (service, left_out, _) = service(vec![("session", pack_any(session))], action);
    assert!(left_out[0].contains("cluster a, filter session"), "{left_out:?}");
    assert!(matches!(service.routes[0].filters[0], Filter::Session(_)), "{service:?}");
}

/// Envoy's `HeaderMutationPerRoute`: the filter's own, then all levels', the nearest first unless it is to win;
/// all of it where the filter stands.
#[test]
fn what_levels_say_of_header_mutations_adds_up_in_order() {
    let edits = |value: &str| {
        let mutations = Some(appends("x-a", value));
        HashMap::from([("edit".to_owned(), pack_any(HeaderMutationPerRoute { mutations }))])
    };
    for (nearest_last, wanted) in [
        (false, [["own", "route", "host", "all", ""], ["own", "cluster", "route", "host", "all"]]),
        (true, [["own", "all", "host", "route", ""], ["own", "all", "host", "route", "cluster"]]),
    ] {
        let own = HeaderMutation {
            mutations: Some(appends("x-a", "own")),
            most_specific_header_mutations_wins: nearest_last,
        };
        let action = weighted(|list| {
            list.clusters[1].typed_per_filter_config = edits("cluster");
            list.clusters[1].typed_per_filter_config.insert("fault".into(), pack_any(abort(418)));
            // It says nothing of its own, and has nothing of the other's.
            list.clusters[0].typed_per_filter_config.insert("edit".into(), on());
        });
        let (service, left_out, notes) = leveled(
            vec![("edit", pack_any(own)), ("fault", pack_any(abort(503)))],
            action,
            [edits("all"), edits("host"), edits("route")],
        );
        assert_eq!((left_out.len(), notes.len()), (0, 0));
        let route = &service.routes[0];
        // What is done for a cluster, in order: edits by their value.
        let of_cluster = |target: usize| -> Vec<String> {
            let overrides = &route.clusters[target].overrides;
            let steps = route.filters.iter().filter_map(|filter| {
                let Filter::Named(named) = filter else { panic!("{filter:?}") };
                let said = overrides.get(&named.name);
                let is_off = said.and_then(|it| it.disabled).unwrap_or(named.disabled);
                let own = said.and_then(|it| it.filter.as_deref());
                (!is_off).then(|| match own.unwrap_or(&named.filter) {
                    Filter::RequestHeaders(edit) => edit.add[0].value.clone(),
                    other => other.name().to_owned(),
                })
            });
            steps.collect()
        };
        let all = |edits: &[&str]| -> Vec<String> {
            edits.iter().copied().chain(["fault"]).map(str::to_owned).collect()
        };
        assert_eq!(of_cluster(0), all(&wanted[0][..4]), "{route:?}");
        assert_eq!(of_cluster(1), all(&wanted[1]), "{route:?}");
        assert!(route.clusters.iter().all(|it| it.filters.is_empty()));
    }
}
