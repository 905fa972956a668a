//! The doctor (`examples/xds_doctor.rs`) on bootstrap files, targets and requests: what it says of a chain that is
//! whole, that lacks something, that is refused, and what it ends with.
#![cfg(feature = "xds")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../examples/xds_doctor.rs"]
#[allow(dead_code, reason = "its `main` is that of the example")]
mod doctor;

use std::{fs, time::Duration};

use envoy_types::pb::envoy::{
    config::route::v3::{
        HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
        header_matcher::HeaderMatchSpecifier, route, route_action, route_match,
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};
#[cfg(feature = "dns")]
use envoy_types::pb::{
    envoy::config::{
        cluster::v3::{
            Cluster,
            cluster::{ClusterDiscoveryType, DiscoveryType},
        },
        core::v3::{Address, SocketAddress, address, socket_address::PortSpecifier},
        endpoint::v3::{
            ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
            cluster_load_assignment::{Policy, policy::DropOverload},
            lb_endpoint::HostIdentifier,
        },
    },
    envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
    google::protobuf::UInt32Value,
};
use prost::Message as _;
use tower_mesh::testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource};

const FEDERATED: &str = "xdstp://far/envoy.config.listener.v3.Listener/orders";

/// A file of gRPC's form, and a plane that it leads to.
struct Bed {
    plane: AdsServer,
    folder: tempfile::TempDir,
}

impl Bed {
    async fn start(delta: bool) -> Self {
        Self::saying(delta, "node", &serde_json::json!({"id": "patient"})).await
    }

    /// The same, of a bootstrap that says this of this field.
    async fn saying(delta: bool, field: &str, value: &serde_json::Value) -> Self {
        let plane = AdsServer::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let features = if delta { vec!["xds_v3", "delta"] } else { vec!["xds_v3"] };
        let server = serde_json::json!({
            "server_uri": plane.uri(),
            "channel_creds": [{"type": "insecure"}],
            "server_features": features,
        });
        let template = FEDERATED.replace("orders", "%s");
        let mut bootstrap = serde_json::json!({
            "xds_servers": [server],
            "authorities": {"far": {"client_listener_resource_name_template": template}},
            "node": {"id": "patient"},
        });
        bootstrap[field] = value.clone();
        fs::write(folder.path().join("bootstrap.json"), bootstrap.to_string()).unwrap();
        Self { plane, folder }
    }

    fn bootstrap(&self) -> String {
        self.folder.path().join("bootstrap.json").to_string_lossy().into_owned()
    }

    /// What the program says to a target and what follows it, and what it ends with.
    async fn ask(&self, words: &[&str]) -> (u8, String) {
        let bootstrap = self.bootstrap();
        let all: Vec<&str> = [&*bootstrap].into_iter().chain(words.iter().copied()).collect();
        asked(&all).await
    }
}

async fn asked(words: &[&str]) -> (u8, String) {
    let mut out = Vec::new();
    let words = words.iter().map(|word| (*word).to_owned());
    let run = doctor::run(words, &mut out);
    let code = tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends");
    (code, String::from_utf8(out).unwrap())
}

fn to(cluster: &str, headers: Vec<HeaderMatcher>) -> Route {
    let matched = RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
        headers,
        ..RouteMatch::default()
    };
    let specifier = route_action::ClusterSpecifier::Cluster(cluster.to_owned());
    let action = RouteAction { cluster_specifier: Some(specifier), ..RouteAction::default() };
    Route {
        name: format!("to-{cluster}"),
        r#match: Some(matched),
        action: Some(route::Action::Route(action)),
        ..Route::default()
    }
}

/// A route of this path alone.
fn at(path: &str, cluster: &str) -> Route {
    let path = route_match::PathSpecifier::Path(path.to_owned());
    let matched = RouteMatch { path_specifier: Some(path), ..RouteMatch::default() };
    Route { r#match: Some(matched), ..to(cluster, Vec::new()) }
}

/// Calls with a header go to the canary, all others to `blue`.
fn routes() -> Resource {
    let yes = StringMatcher {
        match_pattern: Some(MatchPattern::Exact("yes".to_owned())),
        ..StringMatcher::default()
    };
    let canary = HeaderMatcher {
        name: "x-canary".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(yes)),
        ..HeaderMatcher::default()
    };
    of_all(vec![to("canary", vec![canary]), to("blue", Vec::new())])
}

/// Calls of `/blue` go to `blue`, all others to the cluster that a header names.
fn by_header() -> Resource {
    let specifier = route_action::ClusterSpecifier::ClusterHeader("x-to".to_owned());
    let action = RouteAction { cluster_specifier: Some(specifier), ..RouteAction::default() };
    let named = Route { action: Some(route::Action::Route(action)), ..to("any", Vec::new()) };
    of_all(vec![at("/blue", "blue"), named])
}

/// These routes, for every authority.
fn of_all(routes: Vec<Route>) -> Resource {
    let host = VirtualHost {
        name: "all".to_owned(),
        domains: vec!["*".to_owned()],
        routes,
        ..VirtualHost::default()
    };
    let all = RouteConfiguration {
        name: "routes".to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    };
    Resource::encoded(RDS, "routes", all.encode_to_vec())
}

fn whole() -> Vec<Resource> {
    vec![
        Resource::listener("orders", "routes"),
        Resource::listener(FEDERATED, "routes"),
        routes(),
        Resource::cluster("blue"),
        Resource::endpoints("blue", ["10.0.0.1:80".parse().unwrap()]),
        Resource::cluster("canary"),
        Resource::endpoints("canary", ["10.0.0.2:80".parse().unwrap()]),
    ]
}

/// A cluster of the endpoints that DNS has for a name.
#[cfg(feature = "dns")]
fn by_dns(name: &str, host: &str, port: u32) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::LogicalDns.into())),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![locality(host, port)],
            ..ClusterLoadAssignment::default()
        }),
        ..Cluster::default()
    };
    Resource::encoded(CDS, name, cluster.encode_to_vec())
}

/// A locality of one endpoint.
#[cfg(feature = "dns")]
fn locality(host: &str, port: u32) -> LocalityLbEndpoints {
    let socket = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port)),
        ..SocketAddress::default()
    };
    let address = Some(Address { address: Some(address::Address::SocketAddress(socket)) });
    let endpoint = Endpoint { address, ..Endpoint::default() };
    LocalityLbEndpoints {
        lb_endpoints: vec![LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
            ..LbEndpoint::default()
        }],
        load_balancing_weight: Some(UInt32Value { value: 1 }),
        ..LocalityLbEndpoints::default()
    }
}

/// An endpoint of a cluster that drops all of its calls.
#[cfg(feature = "dns")]
fn dropped(name: &str) -> Resource {
    let all = DropOverload {
        category: "all".to_owned(),
        drop_percentage: Some(FractionalPercent {
            numerator: 100,
            denominator: DenominatorType::Hundred.into(),
        }),
    };
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![locality("127.0.0.1", 80)],
        policy: Some(Policy { drop_overloads: vec![all], ..Policy::default() }),
        ..ClusterLoadAssignment::default()
    };
    Resource::encoded(EDS, name, assignment.encode_to_vec())
}

/// The lines of what is said that begin so.
fn lines<'a>(text: &'a str, begin: &str) -> Vec<&'a str> {
    text.lines().map(str::trim_start).filter(|line| line.starts_with(begin)).collect()
}

#[tokio::test]
async fn a_chain_that_is_whole_is_shown_and_ends_with_0() {
    for delta in [false, true] {
        let bed = Bed::start(delta).await;
        bed.plane.set(whole());
        for target in ["orders", "xds:///orders"] {
            let (code, text) = bed.ask(&[target]).await;
            assert_eq!(code, 0, "{text}");
            for said in [
                "LDS orders",
                "→ RDS routes",
                "RDS routes",
                "CDS blue",
                "EDS canary",
                "node `patient`",
                "all 6 resources are there",
                "where `GET /` would go:",
            ] {
                assert!(text.contains(said), "`{said}` is not said: {text}");
            }
            let server = format!("server {} connected", bed.plane.uri());
            assert_eq!(lines(&text, &server).len(), 1, "{text}");
            assert_eq!(lines(&text, "wrong:"), [""; 0], "{text}");
            assert_eq!(lines(&text, "cluster ").len(), 1, "{text}");
            assert!(lines(&text, "cluster blue").len() == 1, "{text}");
        }
    }
}

#[tokio::test]
async fn a_target_of_another_authority_is_asked_for_by_its_template() {
    let bed = Bed::start(true).await;
    bed.plane.set(whole());
    let (code, text) = bed.ask(&["xds://far/orders"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("LDS {FEDERATED}")), "{text}");
    assert!(text.contains("all 6 resources are there"), "{text}");
}

#[tokio::test]
async fn a_request_goes_where_its_headers_lead_and_the_status_is_told_as_json() {
    let bed = Bed::start(true).await;
    bed.plane.set(whole());
    let words = ["orders", "POST /cart", "-H", "x-canary: yes", "--json"];
    let (code, text) = bed.ask(&words).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("where `POST /cart` would go:"), "{text}");
    assert_eq!(lines(&text, "cluster canary").len(), 1, "{text}");
    let json = lines(&text, "{");
    let [json] = json.as_slice() else { panic!("one JSON: {text}") };
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert!(json.to_string().contains("canary"), "{json}");
    // What is no header goes nowhere, and the chain is whole all the same.
    let (code, text) = bed.ask(&["orders", "GET /", "-H", "x y: 1"]).await;
    assert_eq!((code, lines(&text, "nowhere: ").len()), (0, 1), "{text}");
    assert_eq!(lines(&text, "{"), [""; 0], "{text}");
}

#[tokio::test]
async fn a_cluster_that_the_plane_does_not_have_is_named_and_ends_with_1() {
    for delta in [false, true] {
        let bed = Bed::start(delta).await;
        let is_there = |it: &Resource| it.name() != "canary";
        bed.plane.set(whole().into_iter().filter(is_there));
        let (code, text) = bed.ask(&["orders"]).await;
        assert_eq!(code, 1, "{text}");
        let wrong = lines(&text, "wrong: ");
        let [wrong] = wrong.as_slice() else { panic!("one line: {text}") };
        assert!(wrong.contains("CDS canary (") && !wrong.contains("blue"), "{wrong}");
        // What is there is shown, and where a call goes.
        assert!(text.contains("EDS blue") && lines(&text, "cluster blue").len() == 1, "{text}");
    }
}

#[tokio::test]
async fn routes_that_are_refused_are_told_with_the_reason_and_end_with_1() {
    let bed = Bed::start(true).await;
    bed.plane.set(whole());
    bed.plane.set([Resource::split("routes", "*", [("blue", 0)])]);
    let (code, text) = bed.ask(&["orders"]).await;
    assert_eq!(code, 1, "{text}");
    let wrong = lines(&text, "wrong: ");
    let [wrong] = wrong.as_slice() else { panic!("one line: {text}") };
    assert!(wrong.contains("RDS routes (NACKED)"), "{wrong}");
    assert!(text.contains("the sum must be in 1..=4294967295"), "{text}");
    assert!(text.contains("1 refused)"), "{text}");
    assert_eq!(bed.plane.nacks(RDS).len(), 1);
}

/// All resources are there and accepted in what follows, and yet no call works.
fn is_all_accepted(bed: &Bed, text: &str) {
    for kind in [LDS, RDS, CDS, EDS] {
        assert!(bed.plane.nacks(kind).is_empty(), "{kind}: {text}");
    }
    let chain = text.split("node `patient`").next().unwrap();
    for state in ["NACKED", "DOES_NOT_EXIST", "TIMEOUT"] {
        assert!(!chain.contains(state), "{text}");
    }
    assert!(!text.contains("resources are there"), "{text}");
}

#[tokio::test]
async fn routes_of_another_authority_lead_nowhere_and_end_with_1() {
    let bed = Bed::start(true).await;
    bed.plane.set(whole());
    bed.plane.set([Resource::routes("routes", [("elsewhere", "blue")])]);
    let (code, text) = bed.ask(&["orders"]).await;
    assert_eq!(code, 1, "{text}");
    is_all_accepted(&bed, &text);
    let wrong = lines(&text, "wrong: ");
    let [wrong] = wrong.as_slice() else { panic!("one line: {text}") };
    let reason = "RDS resource routes: none of its virtual hosts is for the authority orders";
    assert!(wrong.starts_with("wrong: service orders: ") && wrong.contains(reason), "{wrong}");
    assert_eq!(lines(&text, "nowhere: ").len(), 1, "{text}");
}

/// To clients of gRPC istiod leaves out how connections are secured.
#[tokio::test]
async fn clusters_that_the_mesh_does_not_call_though_they_are_accepted_end_with_1() {
    let node = serde_json::json!({"id": "patient", "metadata": {"GENERATOR": "grpc"}});
    let bed = Bed::saying(true, "node", &node).await;
    bed.plane.set(whole());
    let (code, text) = bed.ask(&["orders"]).await;
    assert_eq!(code, 1, "{text}");
    is_all_accepted(&bed, &text);
    for cluster in ["blue", "canary"] {
        let wrong =
            format!("wrong: cluster {cluster}: whether its connections are plaintext or not");
        assert_eq!(lines(&text, &wrong).len(), 1, "{text}");
    }
    assert_eq!(lines(&text, "nowhere: ").len(), 1, "{text}");
}

#[tokio::test]
async fn a_cluster_without_endpoints_is_named_and_ends_with_1() {
    for (empty, goes) in [("blue", false), ("canary", true)] {
        let bed = Bed::start(true).await;
        bed.plane.set(whole());
        bed.plane.set([Resource::endpoints(empty, [])]);
        let (code, text) = bed.ask(&["orders", "GET /"]).await;
        assert_eq!(code, 1, "{text}");
        is_all_accepted(&bed, &text);
        assert_eq!(lines(&text, "wrong: "), [format!("wrong: cluster {empty} has no endpoints")]);
        // It is told, too, of the request that goes there.
        assert_eq!(lines(&text, "nowhere: ").is_empty(), goes, "{text}");
    }
}

/// What is looked up when it is called is not looked up here.
#[cfg(feature = "dns")]
#[tokio::test]
async fn a_cluster_whose_endpoints_dns_finds_lacks_nothing() {
    let bed = Bed::start(true).await;
    bed.plane.set(whole());
    bed.plane.set([by_dns("blue", "blue.example", 80)]);
    let (code, text) = bed.ask(&["orders", "GET /"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("all 5 resources are there"), "{text}");
    assert!(text.contains("asks no DNS"), "{text}");
}

#[cfg(feature = "dns")]
#[tokio::test]
async fn a_cluster_that_drops_all_of_its_calls_ends_with_1() {
    let bed = Bed::start(true).await;
    bed.plane.set(whole());
    bed.plane.set([dropped("blue")]);
    let (code, text) = bed.ask(&["orders", "GET /"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("all 6 resources are there"), "{text}");
    assert_eq!(
        lines(&text, "nowhere: "),
        ["nowhere: the cluster drops all of its calls (`drops`)"]
    );
}

#[tokio::test]
async fn a_request_that_no_route_takes_ends_with_1_only_if_it_was_asked_about() {
    let bed = Bed::start(true).await;
    bed.plane.set(whole());
    bed.plane.set([of_all(vec![at("/cart", "blue")])]);
    for (words, code, nowhere) in [
        (&["orders"][..], 0, 1),
        (&["orders", "GET /cart"][..], 0, 0),
        (&["orders", "GET /"][..], 1, 1),
    ] {
        let (ended, text) = bed.ask(words).await;
        assert_eq!(ended, code, "{words:?}: {text}");
        assert_eq!(lines(&text, "nowhere: ").len(), nowhere, "{words:?}: {text}");
        // The chain is whole.
        assert!(text.contains("all 4 resources are there"), "{words:?}: {text}");
    }
}

/// Of a request that nobody has asked about nothing follows: no header of it is given.
#[tokio::test]
async fn where_a_header_names_the_cluster_it_is_told_which_one_or_why_there_is_none() {
    let dialect = serde_json::json!({"dialect": "envoy"});
    let bed = Bed::saying(true, "tower_mesh", &dialect).await;
    bed.plane.set(whole());
    bed.plane.set([by_header()]);
    let unknown = |name: &str| {
        Some(format!("the header `x-to` names cluster `{name}`, which no source defines"))
    };
    let none = || Some("the header `x-to`, which names the cluster, is not there".to_owned());
    for (words, code, fails) in [
        (&["orders", "GET /cart", "-H", "x-to: blue"][..], 0, None),
        (&["orders", "GET /cart", "-H", "x-to: nobody"][..], 1, unknown("nobody")),
        // The plane has it, and no route leads to it.
        (&["orders", "GET /cart", "-H", "x-to: canary"][..], 1, unknown("canary")),
        (&["orders", "GET /cart"][..], 1, none()),
        // A request is asked about by its headers alone, too.
        (&["orders", "-H", "x-to: nobody"][..], 1, unknown("nobody")),
        (&["orders"][..], 0, none()),
    ] {
        let (ended, text) = bed.ask(words).await;
        assert_eq!(ended, code, "{words:?}: {text}");
        let choice = lines(&text, "to the one that the header `x-to` names, else 503");
        assert_eq!(choice.len(), 1, "{words:?}: {text}");
        let (clusters, told) = (lines(&text, "cluster "), lines(&text, "the call fails: "));
        match fails {
            None => {
                assert!(clusters.len() == 1 && clusters[0].starts_with("cluster blue"), "{text}");
                assert!(text.contains("10.0.0.1:80") && told.is_empty(), "{text}");
            }
            Some(why) => {
                let [told] = told.as_slice() else { panic!("{words:?}, one line: {text}") };
                assert!(told.contains(&why) && clusters.is_empty(), "{words:?}: {text}");
            }
        }
        // The chain is whole, whatever the request names.
        assert!(text.contains("all 4 resources are there"), "{words:?}: {text}");
    }
}

/// gRFC A28: its clients are given no cluster by a header, and the other routes stay.
#[tokio::test]
async fn to_a_client_of_grpc_a_route_by_a_header_is_left_out_and_that_is_told() {
    let bed = Bed::start(true).await;
    bed.plane.set(whole());
    bed.plane.set([by_header()]);
    for (words, code, nowhere) in [
        (&["orders", "GET /cart", "-H", "x-to: blue"][..], 1, 1),
        (&["orders", "GET /blue"][..], 0, 0),
    ] {
        let (ended, text) = bed.ask(words).await;
        assert_eq!(ended, code, "{words:?}: {text}");
        let note = "routes[1].route.cluster_header: x-to: not to clients of gRPC";
        let notes = lines(&text, "not done: ");
        assert!(notes.iter().any(|it| it.contains(note)), "{words:?}: {text}");
        assert_eq!(lines(&text, "nowhere: ").len(), nowhere, "{words:?}: {text}");
        assert!(text.contains("all 4 resources are there"), "{words:?}: {text}");
    }
}

#[tokio::test]
async fn who_does_not_ask_rightly_is_told_how_to_and_gets_2() {
    let bed = Bed::start(true).await;
    let bootstrap = bed.bootstrap();
    let other = bed.folder.path().join("none.json").to_string_lossy().into_owned();
    let broken = bed.folder.path().join("broken.json").to_string_lossy().into_owned();
    fs::write(&broken, "{\"xds_servers\": []}").unwrap();
    for (words, why) in [
        (vec![&*bootstrap], "are needed"),
        (vec![&*bootstrap, "orders", "GET /", "more"], "are needed"),
        (vec![&*bootstrap, "orders", "-H"], "-H needs a header"),
        (vec![&*bootstrap, "orders", "-H", "x-canary"], "a header has a `:`"),
        (vec![&*bootstrap, "orders", "--yaml"], "no option `--yaml`"),
        (vec![&*other, "orders"], "none.json"),
        (vec![&*broken, "orders"], "xds_servers"),
    ] {
        let (code, text) = asked(&words).await;
        assert_eq!(code, 2, "{words:?}: {text}");
        assert!(text.contains(why), "{words:?}: {text}");
        assert!(text.contains("\nxds_doctor BOOTSTRAP TARGET"), "{text}");
    }
    assert_eq!(bed.plane.connections(), 0, "nobody is asked");
}
