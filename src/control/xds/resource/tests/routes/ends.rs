//! Where a route leads: clusters by weight, redirects and answers; and what it changes on the way.

use envoy_types::pb::envoy::config::{
    core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
    route::v3::{
        ClusterSpecifierPlugin, DirectResponseAction, NonForwardingAction, RedirectAction,
        redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier},
        route_action::{HostRewriteSpecifier, RequestMirrorPolicy},
    },
};

use super::*;
use crate::config::{Filter, HostRewrite, PathRewrite};

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
