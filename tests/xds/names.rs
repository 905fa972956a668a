//! Names that nobody would give: control characters, line feeds, quotes, other alphabets. What is named so is
//! called, and all that tells of it is read back as it was, one line where a line is meant.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use envoy_types::pb::envoy::config::{
    cluster::v3::{Cluster, cluster},
    route::v3::{
        Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route, route_action,
        route_match,
    },
};
use prost::Message as _;
use tower_mesh::{
    Mesh,
    control::xds::{Bootstrap, ResourceKind, ResourceState, Server as Plane, Xds},
    testing::xds::{AdsServer, CDS, RDS, Resource},
};

use crate::support::{Recorder, Server, fetch, get, patience};

const ODD: &str = "pay\n\"ments\"\\ \u{1b}[2k\u{7f}\0{x=\"1\"} 1\t日本 é\r";

/// The same as a line has it.
fn shown(text: &str) -> String {
    let one = |letter: char| {
        if letter.is_control() { letter.escape_debug().to_string() } else { letter.to_string() }
    };
    text.chars().map(one).collect()
}

fn routes() -> Resource {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(ODD.to_owned())),
        ..RouteAction::default()
    };
    let matched = RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    };
    let route = Route {
        name: ODD.to_owned(),
        r#match: Some(matched),
        action: Some(route::Action::Route(action)),
        ..Route::default()
    };
    let host = VirtualHost {
        name: ODD.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    let all = RouteConfiguration {
        name: ODD.to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    };
    Resource::encoded(RDS, ODD, all.encode_to_vec())
}

/// A cluster of a type that only a proxy has.
fn refused() -> Resource {
    let kind = cluster::DiscoveryType::OriginalDst.into();
    let cluster = Cluster {
        name: ODD.to_owned(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(kind)),
        ..Cluster::default()
    };
    Resource::encoded(CDS, ODD, cluster.encode_to_vec())
}

#[track_caller]
fn is_one_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[track_caller]
fn is_lines(text: &str) {
    text.split('\n').for_each(is_one_line);
}

/// The labels of a sample of Prometheus, as a scraper reads them.
#[track_caller]
fn labels(line: &str) -> Vec<(String, String)> {
    let (labels, value) = match line.split_once('{') {
        None => (Vec::new(), line.split_once(' ').expect("a value").1),
        Some((_, rest)) => read(rest),
    };
    assert!(value.trim().parse::<f64>().is_ok(), "{line:?}");
    labels
}

/// The labels, and what follows them.
#[track_caller]
fn read(rest: &str) -> (Vec<(String, String)>, &str) {
    let (mut labels, mut chars) = (Vec::new(), rest.chars());
    loop {
        let name: String = chars.by_ref().take_while(|letter| *letter != '=').collect();
        assert_eq!(chars.next(), Some('"'), "{rest:?}");
        let mut value = String::new();
        loop {
            match chars.next().expect("a text ends") {
                '"' => break,
                '\\' => value.push(match chars.next() {
                    Some('n') => '\n',
                    Some(letter @ ('\\' | '"')) => letter,
                    other => panic!("{other:?} is escaped: {rest:?}"),
                }),
                letter => value.push(letter),
            }
        }
        labels.push((name, value));
        match chars.next() {
            Some(',') => {}
            Some('}') => return (labels, chars.as_str()),
            other => panic!("{other:?} after a label: {rest:?}"),
        }
    }
}

/// Whether a text of a JSON is this, at any depth.
fn says(json: &serde_json::Value, text: &str) -> bool {
    match json {
        serde_json::Value::String(it) => it == text,
        serde_json::Value::Array(all) => all.iter().any(|it| says(it, text)),
        serde_json::Value::Object(all) => all.values().any(|it| says(it, text)),
        _ => false,
    }
}

#[tokio::test]
async fn what_has_a_name_that_nobody_would_give_is_called_and_told_of_as_anything_else() {
    for delta in [false, true] {
        let (plane, server) = (AdsServer::start().await.unwrap(), Server::named("a").await);
        plane.set([
            Resource::listener("users", ODD),
            routes(),
            Resource::cluster(ODD),
            Resource::endpoints(ODD, [server.socket()]),
        ]);
        let of = Plane::insecure(plane.uri()).delta(delta);
        let bootstrap = Bootstrap::builder().node_id("names").server(of).build().unwrap();
        let xds = Xds::new(bootstrap);
        let mesh = Mesh::builder().source(xds.clone()).build().unwrap();
        let mut recorder = Recorder::of(&mesh);
        let client = mesh.client("users").unwrap();
        let answer = patience(fetch(&client, get("/"))).await.unwrap();
        assert_eq!(answer.body().as_ref(), b"a");

        // A bad update of it: the last good one stays.
        plane.set([refused()]);
        let is_refused = async || {
            let status = xds.status().await;
            let cluster = status.resource(ResourceKind::Cluster, ODD);
            cluster.is_some_and(|it| it.state == ResourceState::Nacked)
        };
        patience(async {
            while !is_refused().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        patience(fetch(&client, get("/"))).await.unwrap();

        // To the plane, to operators, and to scrapers.
        let nacks = plane.nacks(CDS);
        let reason = nacks.first().and_then(|it| it.error.as_deref()).expect("a reason");
        is_one_line(reason);
        assert!(reason.contains("日本"), "{reason}");
        let status = xds.status().await;
        let cluster = status.resource(ResourceKind::Cluster, ODD).unwrap();
        assert_eq!(&*cluster.name, ODD);
        is_one_line(&cluster.error.as_ref().unwrap().details);
        let json = status.to_json();
        // JSON has no need to escape DEL.
        is_one_line(&json.replace('\u{7f}', ""));
        assert!(says(&serde_json::from_str(&json).unwrap(), ODD), "{json}");

        let text = mesh.prometheus();
        let samples = text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples: Vec<_> = samples.map(labels).collect();
        let is_named = |label: &str| {
            let has = |(name, value): &(String, String)| name == label && value == ODD;
            samples.iter().any(|labels| labels.iter().any(has))
        };
        assert!(is_named("mesh_cluster") && is_named("mesh_route"), "{text}");

        for text in [mesh.describe().to_string(), format!("{:#}", mesh.describe())] {
            is_lines(&text);
            assert!(text.contains(&format!("    cluster {} by ", shown(ODD))), "{text}");
        }
        let explained = mesh.explain(&get("http://users/")).unwrap().to_string();
        is_lines(&explained);
        assert!(explained.contains(&format!("route {}\n", shown(ODD))), "{explained}");
        let told: Vec<String> = recorder.events().iter().map(ToString::to_string).collect();
        told.iter().for_each(|line| is_one_line(line));
        assert!(told.iter().any(|line| line.contains(&shown(ODD))), "{told:#?}");
    }
}
