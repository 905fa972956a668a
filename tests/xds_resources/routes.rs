//! Where routes lead, and what happens on the way.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use envoy_types::{
    pb::{
        envoy::{
            config::{
                core::v3::{
                    HeaderValue, HeaderValueOption, HttpProtocolOptions, RuntimeFractionalPercent,
                },
                listener::v3::{ApiListener, Listener},
                route::v3::{
                    HeaderMatcher, InternalRedirectPolicy, RedirectAction, Route, RouteAction,
                    RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster,
                    header_matcher::HeaderMatchSpecifier,
                    redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier},
                    route::Action,
                    route_action::{
                        ClusterSpecifier, HostRewriteSpecifier, MaxStreamDuration,
                        RequestMirrorPolicy,
                    },
                    route_match::PathSpecifier,
                    weighted_cluster::{ClusterWeight, RandomValueSpecifier},
                },
            },
            extensions::filters::{
                http::{
                    fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType},
                    router::v3::Router,
                },
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds,
                    http_connection_manager::{RouteSpecifier, UpgradeConfig},
                    http_filter,
                },
            },
            r#type::{
                matcher::v3::{
                    MetadataMatcher, RegexMatcher, StringMatcher, ValueMatcher,
                    metadata_matcher::{PathSegment, path_segment::Segment},
                    string_matcher, value_matcher,
                },
                v3::FractionalPercent,
            },
        },
        google::protobuf::{Any, BoolValue, Duration as PbDuration, UInt32Value},
    },
    util::pack_any,
};
use http::{HeaderValue as Http, StatusCode, header::UPGRADE};
use tower_mesh::{
    Mesh,
    config::{CallMetadata, Value as Said},
    control::xds::{Dialect, Xds},
    testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource},
};

use super::{
    ads, assignment, at, body, bootstrap, echo, eds, endpoint, of, said, send,
    support::{Server, fetch, get, patience, storm},
};

/// As an Envoy beside the application asks.
fn sidecar(plane: &AdsServer, node: &str) -> Mesh {
    let bootstrap = bootstrap(plane, node).dialect(Dialect::Sidecar).build().unwrap();
    Mesh::builder().source(Xds::new(bootstrap)).build().unwrap()
}

/// A listener whose fault filter does nothing by itself, and that knows one upgrade.
fn listener(name: &str) -> Resource {
    listener_with(name, |_| {})
}

fn listener_with(name: &str, change: impl FnOnce(&mut HttpConnectionManager)) -> Resource {
    let filter = |name: &str, any: Any| HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any)),
        ..HttpFilter::default()
    };
    let mut manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: "routes".to_owned(),
        })),
        http_filters: vec![
            filter("fault", pack_any(HttpFault::default())),
            filter("router", pack_any(Router::default())),
        ],
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..UpgradeConfig::default()
        }],
        ..HttpConnectionManager::default()
    };
    change(&mut manager);
    let listener = Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener { api_listener: Some(pack_any(manager)) }),
        ..Listener::default()
    };
    said(LDS, name, &listener)
}

fn rule(path: &str) -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix(path.to_owned())),
        ..RouteMatch::default()
    }
}

fn route(rule: RouteMatch, action: RouteAction) -> Route {
    Route { r#match: Some(rule), action: Some(Action::Route(action)), ..Route::default() }
}

fn to(cluster: &str) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..RouteAction::default()
    }
}

fn routes(routes: Vec<Route>) -> Resource {
    configuration(VirtualHost {
        name: "users".to_owned(),
        domains: vec!["users".to_owned()],
        routes,
        ..VirtualHost::default()
    })
}

fn configuration(host: VirtualHost) -> Resource {
    let routes = RouteConfiguration {
        name: "routes".to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    };
    said(RDS, "routes", &routes)
}

/// A plane of a sidecar with two clusters, `blue` and `green`.
async fn two(routes_of: Vec<Route>) -> (AdsServer, Server, Server) {
    let (blue, green) = (echo("blue").await, echo("green").await);
    let plane = AdsServer::start().await.unwrap();
    let mut named = endpoint("127.0.0.1", green.socket().port());
    named.hostname = "green.example".to_owned();
    plane.set([
        listener("0.0.0.0_80"),
        routes(routes_of),
        said(CDS, "blue", &eds("blue")),
        said(CDS, "green", &eds("green")),
        said(EDS, "blue", &assignment("blue", vec![of(blue.socket())])),
        said(EDS, "green", &assignment("green", vec![at(named)])),
    ]);
    (plane, blue, green)
}

#[tokio::test]
async fn a_header_names_the_cluster() {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::ClusterHeader("x-cluster".to_owned())),
        cluster_not_found_response_code: 1,
        ..RouteAction::default()
    };
    let all = vec![
        route(rule("/named"), action),
        route(rule("/b"), to("blue")),
        route(rule("/"), to("green")),
    ];
    let (plane, _blue, _green) = two(all).await;
    let mesh = sidecar(&plane, "header");
    for (cluster, wanted) in [("blue", "blue "), ("green", "green ")] {
        let mut request = get("/named");
        request.headers_mut().insert("x-cluster", Http::from_static(cluster));
        let (_, text) = send(&mesh, request).await.unwrap();
        assert!(text.starts_with(wanted), "{text}");
    }
    let error = send(&mesh, get("/named")).await.unwrap_err();
    assert_eq!(error.http_status(), StatusCode::NOT_FOUND, "{error}");
}

/// Two by equal weights, and a header with a number in place of chance.
#[tokio::test]
async fn a_number_in_a_header_stands_in_for_chance() {
    let weight = |name: &str| ClusterWeight {
        name: name.to_owned(),
        weight: Some(UInt32Value { value: 1 }),
        ..ClusterWeight::default()
    };
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: vec![weight("blue"), weight("green")],
            random_value_specifier: Some(RandomValueSpecifier::HeaderName("x-share".to_owned())),
            ..WeightedCluster::default()
        })),
        ..RouteAction::default()
    };
    let (plane, _blue, _green) = two(vec![route(rule("/"), action)]).await;
    let mesh = sidecar(&plane, "share");
    for (number, wanted) in [("0", "blue "), ("1", "green "), ("18446744073709551615", "green ")] {
        for _ in 0..20 {
            let mut request = get("/");
            request.headers_mut().insert("x-share", Http::from_static(number));
            let (_, text) = send(&mesh, request).await.unwrap();
            assert!(text.starts_with(wanted), "{number}: {text}");
        }
    }
    assert!(!mesh.describe().to_string().contains("header_name"), "{}", mesh.describe());
}

/// A route that is silent has what its listener says.
#[tokio::test]
async fn a_time_of_zero_on_a_route_takes_away_what_its_listener_says() {
    let seconds = |seconds| Some(PbDuration { seconds, nanos: 0 });
    let free = RouteAction {
        timeout: seconds(0),
        idle_timeout: seconds(0),
        max_stream_duration: Some(MaxStreamDuration {
            max_stream_duration: seconds(0),
            ..MaxStreamDuration::default()
        }),
        ..to("blue")
    };
    let all = vec![route(rule("/free"), free), route(rule("/"), to("blue"))];
    let (plane, _blue, _green) = two(all).await;
    plane.set([listener_with("0.0.0.0_80", |manager| {
        manager.stream_idle_timeout = seconds(9);
        manager.common_http_protocol_options = Some(HttpProtocolOptions {
            max_stream_duration: seconds(7),
            ..HttpProtocolOptions::default()
        });
    })]);
    let mesh = sidecar(&plane, "zero");
    assert!(body(&mesh, "/free").await.unwrap().starts_with("blue "));
    let client = mesh.client("users").unwrap();
    for (path, wanted) in [("/free", ["none"; 3]), ("/", ["15s", "9s", "7s"])] {
        let explained = client.explain(&get(path)).unwrap();
        let told = |name: &str| {
            let setting = explained.route.settings.iter().find(|it| it.name == name).unwrap();
            setting.value.clone()
        };
        let told = ["timeout", "idle_timeout", "max_stream_duration"].map(told);
        assert_eq!(told, wanted, "{path}");
    }
}

/// What nothing here does of hosts and routes stands with its resource and field.
#[tokio::test]
async fn what_of_hosts_and_routes_is_not_done_is_told_by_resource_and_field() {
    let mirror =
        RequestMirrorPolicy { cluster_header: "x-to".to_owned(), ..RequestMirrorPolicy::default() };
    let action = RouteAction {
        request_mirror_policies: vec![mirror],
        internal_redirect_policy: Some(InternalRedirectPolicy::default()),
        ..to("blue")
    };
    let (plane, _blue, _green) = two(Vec::new()).await;
    plane.set([configuration(VirtualHost {
        name: "users".to_owned(),
        domains: vec!["users".to_owned()],
        routes: vec![route(rule("/"), action)],
        require_tls: 2,
        ..VirtualHost::default()
    })]);
    let mesh = sidecar(&plane, "noted-routes");
    assert!(body(&mesh, "/").await.unwrap().starts_with("blue "));
    let told = mesh.describe().to_string();
    let note = told.lines().find(|line| line.starts_with("note: RDS resource routes: ")).unwrap();
    for field in [
        "virtual_hosts[0].require_tls: no call is redirected",
        "virtual_hosts[0].routes[0].route.request_mirror_policies[0].cluster_header: ",
        "virtual_hosts[0].routes[0].route.internal_redirect_policy: ",
    ] {
        assert!(note.contains(field), "{field}: {note}");
    }
}

/// Where a redirect of this kind leads under `/NAME`.
fn redirect(name: &str, action: RedirectAction) -> Route {
    let action = Some(Action::Redirect(action));
    Route { r#match: Some(rule(&format!("/{name}"))), action, ..Route::default() }
}

//= Envoy Utility::newUri: a new host has the port that is said with it, or none; a new scheme takes away
//= the usual port of the old one alone; a port that is said is told
#[tokio::test]
async fn the_ports_of_redirects_are_envoys() {
    let to_host = |host: &str, port: u32| RedirectAction {
        host_redirect: host.to_owned(),
        port_redirect: port,
        ..RedirectAction::default()
    };
    let https = RedirectAction {
        scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)),
        ..RedirectAction::default()
    };
    let path = RedirectAction {
        path_rewrite_specifier: Some(PathRewriteSpecifier::PathRedirect("/x".to_owned())),
        ..RedirectAction::default()
    };
    let unchanged = RedirectAction {
        path_rewrite_specifier: Some(PathRewriteSpecifier::PrefixRewrite(String::new())),
        ..RedirectAction::default()
    };
    let all = vec![
        redirect("host", to_host("other", 0)),
        redirect("with", to_host("other:8443", 0)),
        redirect("both", to_host("other", 9443)),
        redirect("port", to_host("", 80)),
        redirect("scheme", https),
        redirect("path", path),
        redirect("same", unchanged),
        route(rule("/"), to("blue")),
    ];
    let (plane, _blue, _green) = two(all).await;
    let mesh = sidecar(&plane, "redirects");
    let client = mesh.client("users").unwrap();
    for (host, name, location) in [
        ("users:8080", "host", "http://other/host"),
        ("users:8080", "with", "http://other:8443/with"),
        ("users", "with", "http://other:8443/with"),
        ("users:8080", "both", "http://other:9443/both"),
        ("users:8080", "port", "http://users:80/port"),
        ("users", "port", "http://users:80/port"),
        ("users:8080", "scheme", "https://users:8080/scheme"),
        ("users:80", "scheme", "https://users/scheme"),
        ("users:443", "scheme", "https://users:443/scheme"),
        ("users", "scheme", "https://users/scheme"),
        ("users:8080", "path", "http://users:8080/x"),
        ("users:80", "path", "http://users:80/x"),
        ("users", "same", "http://users/same"),
    ] {
        let mut request = get(&format!("/{name}"));
        request.headers_mut().insert("host", Http::from_static(host));
        let answer = patience(fetch(&client, request)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::MOVED_PERMANENTLY, "{host} {name}");
        assert_eq!(answer.headers()["location"], location, "{host} {name}");
    }
}

#[tokio::test]
async fn the_filters_of_one_cluster_of_several_are_its_own() {
    let target = |name: &str| ClusterWeight {
        name: name.to_owned(),
        weight: Some(UInt32Value { value: 1 }),
        ..ClusterWeight::default()
    };
    let abort = HttpFault {
        abort: Some(FaultAbort {
            percentage: Some(FractionalPercent { numerator: 100, denominator: 0 }),
            error_type: Some(ErrorType::HttpStatus(418)),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    };
    let mut blue = target("blue");
    blue.typed_per_filter_config = HashMap::from([("fault".to_owned(), pack_any(abort))]);
    let list =
        WeightedCluster { clusters: vec![blue, target("green")], ..WeightedCluster::default() };
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(list)),
        ..RouteAction::default()
    };
    let (plane, blue, _green) = two(vec![route(rule("/"), action)]).await;
    let mesh = sidecar(&plane, "weighted");
    let client = mesh.client("users").unwrap();
    let answers = storm(4, 60, |_| fetch(&client, get("/"))).await;
    let seen: BTreeSet<u16> =
        answers.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
    assert_eq!(seen, [200, 418].into());
    assert_eq!(blue.requests(), 0, "what goes to it is answered before");
}

#[tokio::test]
async fn hosts_of_endpoints_keys_notes_and_values_that_a_call_fills_in() {
    let auto = RouteAction {
        host_rewrite_specifier: Some(HostRewriteSpecifier::AutoHostRewrite(BoolValue {
            value: true,
        })),
        ..to("green")
    };
    let canary = RouteMatch {
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent::default()),
            runtime_key: "users.canary".to_owned(),
        }),
        ..rule("/canary")
    };
    let gold = StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact("gold".to_owned())),
        ..StringMatcher::default()
    };
    let tier = RouteMatch {
        dynamic_metadata: vec![MetadataMatcher {
            filter: "app".to_owned(),
            path: vec![PathSegment { segment: Some(Segment::Key("tier".to_owned())) }],
            value: Some(ValueMatcher {
                match_pattern: Some(value_matcher::MatchPattern::StringMatch(gold)),
            }),
            invert: false,
        }],
        ..rule("/tier")
    };
    let mut filled = route(rule("/"), to("blue"));
    filled.request_headers_to_add = vec![HeaderValueOption {
        header: Some(HeaderValue {
            key: "x-asked".to_owned(),
            value: "%REQ(x-name)% of 100%%".to_owned(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    }];
    let all = vec![
        route(rule("/host"), auto),
        route(canary, to("green")),
        route(tier, to("green")),
        filled,
    ];
    let (plane, _blue, _green) = two(all).await;
    let mesh = sidecar(&plane, "actions");
    assert_eq!(body(&mesh, "/host").await.unwrap().trim(), "green green.example");
    assert!(body(&mesh, "/canary").await.unwrap().starts_with("blue"));
    mesh.set_runtime_key("users.canary", 100.0).unwrap();
    assert!(body(&mesh, "/canary").await.unwrap().starts_with("green"));
    assert!(body(&mesh, "/tier").await.unwrap().starts_with("blue"));
    let mut request = get("/tier");
    let metadata = CallMetadata::new().with("app", "tier", Said::Text("gold".to_owned()));
    request.extensions_mut().insert(metadata);
    assert!(send(&mesh, request).await.unwrap().1.starts_with("green"));
    let mut request = get("/");
    request.headers_mut().insert("x-name", Http::from_static("ann"));
    let (_, text) = send(&mesh, request).await.unwrap();
    assert!(text.ends_with("ann of 100%"), "{text}");
}

#[tokio::test]
async fn only_the_upgrades_pass_that_the_plane_lists() {
    let (plane, blue, _green) = two(vec![route(rule("/"), to("blue"))]).await;
    let mesh = sidecar(&plane, "upgrades");
    let upgrade = |protocol: &'static str| {
        let mut request = get("/");
        request.headers_mut().insert(UPGRADE, Http::from_static(protocol));
        request.headers_mut().insert("connection", Http::from_static("upgrade"));
        request
    };
    let error = send(&mesh, upgrade("other")).await.unwrap_err();
    assert_eq!(error.http_status(), StatusCode::FORBIDDEN, "{error}");
    assert_eq!(blue.requests(), 0);
    assert_eq!(send(&mesh, upgrade("websocket")).await.unwrap().0, StatusCode::OK);
}

/// To a sidecar all services of a port are hosts of one resource.
#[tokio::test]
async fn a_host_that_cannot_be_used_leaves_the_others_their_routes() {
    let methods = HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::SafeRegexMatch(RegexMatcher {
            regex: "GET|POST".to_owned(),
            ..RegexMatcher::default()
        })),
        ..HeaderMatcher::default()
    };
    let rule_of = RouteMatch { headers: vec![methods], ..rule("/") };
    let host = |name: &str, route_of: Route| VirtualHost {
        name: name.to_owned(),
        domains: vec![name.to_owned()],
        routes: vec![route_of],
        ..VirtualHost::default()
    };
    let both = |other: VirtualHost| {
        let routes = RouteConfiguration {
            name: "routes".to_owned(),
            virtual_hosts: vec![host("users", route(rule_of.clone(), to("blue"))), other],
            ..RouteConfiguration::default()
        };
        said(RDS, "routes", &routes)
    };
    let unknown = || RouteAction {
        host_rewrite_specifier: Some(HostRewriteSpecifier::HostRewrite(Default::default())),
        ..to("green")
    };
    let refused = || both(host("orders", route(rule("/"), unknown())));
    let (plane, _blue, _green) = two(Vec::new()).await;
    plane.set([refused()]);
    let mesh = sidecar(&plane, "hosts");
    assert!(body(&mesh, "/").await.unwrap().starts_with("blue "));
    let orders = mesh.client("orders").unwrap();
    let error = fetch(&orders, get("/")).await.unwrap_err();
    assert!(error.to_string().contains("host_rewrite"), "{error}");
    let described = mesh.describe().to_string();
    assert!(described.contains("virtual_hosts[1]") && plane.nacks(RDS).is_empty(), "{described}");
    // It can be used, and then no more: its last good routes stay.
    plane.set([both(host("orders", route(rule("/"), to("green"))))]);
    let called = async || match fetch(&orders, get("/")).await {
        Ok(answer) => String::from_utf8_lossy(answer.body().as_ref()).into_owned(),
        Err(error) => error.to_string(),
    };
    patience(async {
        while !called().await.starts_with("green ") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    plane.set([refused()]);
    plane.until(|plane| plane.acks(RDS).len() == 3).await;
    patience(async {
        while !mesh.describe().to_string().contains("host_rewrite") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(called().await.starts_with("green "));
    assert!(body(&mesh, "/").await.unwrap().starts_with("blue "));
}
