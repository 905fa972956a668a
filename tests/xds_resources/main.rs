//! What resources of xDS say arrives at calls: routes, clusters by names, how connections are secured. Over
//! real streams and servers.
#![cfg(all(feature = "xds", feature = "dns", feature = "tls-aws-lc-rs"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(deprecated, reason = "control planes say it all the same")]

#[path = "../support/mod.rs"]
mod support;

mod aggregates;
mod clusters;
mod routes;

use std::{net::SocketAddr, time::Duration};

use envoy_types::pb::{
    envoy::config::{
        cluster::v3::{
            Cluster,
            cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
        },
        core::v3::{
            Address, AggregatedConfigSource, ConfigSource, SocketAddress, address,
            config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
        },
        endpoint::v3::{
            ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
            lb_endpoint::HostIdentifier,
        },
    },
    google::protobuf::UInt32Value,
};
use http::{Request, StatusCode};
use prost::Message;
use tower_mesh::{
    Body, Error, Event, Mesh,
    control::xds::{Bootstrap, BootstrapBuilder, Server as Plane, Xds},
    security::Trust,
    testing::xds::{AdsServer, CDS, Resource},
};

use support::{Ca, Recorder, Server, Tls, fetch, get, patience, reply};

fn bootstrap(plane: &AdsServer, node: &str) -> BootstrapBuilder {
    Bootstrap::builder().node_id(node).server(Plane::insecure(plane.uri()))
}

fn proxyless(plane: &AdsServer, node: &str) -> Mesh {
    Mesh::builder().source(Xds::new(bootstrap(plane, node).build().unwrap())).build().unwrap()
}

async fn send(mesh: &Mesh, request: Request<Body>) -> Result<(StatusCode, String), Error> {
    let answer = patience(fetch(&mesh.client("users").unwrap(), request)).await?;
    let text = String::from_utf8_lossy(answer.body().as_ref()).into_owned();
    Ok((answer.status(), text))
}

async fn body(mesh: &Mesh, path: &str) -> Result<String, Error> {
    send(mesh, get(path)).await.map(|(_, text)| text)
}

fn said<M: Message>(url: &str, name: &str, message: &M) -> Resource {
    Resource::encoded(url, name, message.encode_to_vec())
}

fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

fn eds(name: &str) -> Cluster {
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            ..EdsClusterConfig::default()
        }),
        ..Cluster::default()
    }
}

fn endpoint(host: &str, port: u16) -> Endpoint {
    let socket = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    };
    Endpoint {
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        ..Endpoint::default()
    }
}

fn at(endpoint: Endpoint) -> LbEndpoint {
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    }
}

fn assignment(cluster: &str, endpoints: Vec<LbEndpoint>) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: endpoints,
            load_balancing_weight: Some(UInt32Value { value: 1 }),
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}

fn of(address: SocketAddr) -> LbEndpoint {
    at(endpoint(&address.ip().to_string(), address.port()))
}

/// Says its name, and what it was called by.
async fn echo(name: &'static str) -> Server {
    Server::start(move |request| async move {
        let header = |name: &str| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let host = match request.uri().authority() {
            Some(authority) => authority.to_string(),
            None => header("host"),
        };
        reply(format!("{name} {host} {}", header("x-asked")))
    })
    .await
}

#[tokio::test]
async fn what_is_said_and_not_done_is_told_until_it_is_over() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    let noted = Cluster { alt_stat_name: "other".to_owned(), ..eds("users-cluster") };
    plane.set([said(CDS, "users-cluster", &noted)]);
    let mesh = proxyless(&plane, "noted");
    let mut recorder = Recorder::of(&mesh);
    assert_eq!(body(&mesh, "/").await.unwrap(), "a");
    patience(mesh.ready()).await.expect("a note is no failure");
    let is_note = |event: &Event| {
        matches!(event, Event::ConfigNoted { part, note, .. }
            if &**part == "CDS resource users-cluster" && note.contains("alt_stat_name"))
    };
    patience(recorder.until(is_note)).await;
    let described = mesh.describe();
    let told = format!("{described}");
    assert!(told.contains("note: CDS resource users-cluster: alt_stat_name: "), "{told}");
    assert!(described.refused.is_empty(), "{:?}", described.refused);
    plane.set([said(CDS, "users-cluster", &eds("users-cluster"))]);
    patience(async {
        while !mesh.describe().notes.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_of_a_bootstrap_is_ignored_is_told() {
    let plane = AdsServer::start().await.unwrap();
    let uri = plane.uri();
    let json = format!(
        r#"{{
            "xds_servers": [{{"server_uri": "{uri}", "channel_creds": [{{"type": "insecure"}}]}}],
            "node": {{"id": "ignored"}},
            "certificate_providers": {{"default": {{"plugin_name": "mesh_ca", "config": {{}}}}}}
        }}"#
    );
    let bootstrap = Bootstrap::from_json(&json).unwrap();
    let notes = bootstrap.notes().join("; ");
    let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
    patience(mesh.ready()).await.unwrap();
    let told = mesh.describe().to_string();
    assert!(!notes.is_empty() && told.contains(&notes), "{notes}: {told}");
}

#[tokio::test]
async fn plaintext_that_istiod_may_not_have_meant_is_refused_unless_the_code_says_so() {
    let server = Server::named("a").await;
    let ca = Ca::new("ca");
    let secured = Tls::new(ca.issue(&["users.example"])).named("b").start().await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    plane.set(Resource::chain("orders", [secured.socket()]));
    let xds = |node: &str| {
        let bootstrap = bootstrap(&plane, node).node_metadata("GENERATOR", "grpc");
        Xds::new(bootstrap.build().unwrap())
    };
    // Refused; and what the code secures is secured.
    let mesh = Mesh::builder()
        .source(xds("silent"))
        .trust(Trust::pem(ca.pem()))
        .service("orders-cluster", |it| it.tls().server_identity("users.example"))
        .build()
        .unwrap();
    let error = body(&mesh, "/").await.unwrap_err();
    let whole = format!("{error} {}", mesh.describe());
    assert!(whole.contains("Xds::plaintext"), "{whole}");
    assert_eq!(server.connections(), 0);
    let orders = mesh.client("orders").unwrap();
    assert_eq!(patience(fetch(&orders, get("/"))).await.unwrap().body(), "b");
    // What is refused is said; what is said of a cluster is no fault.
    let told = patience(mesh.ready()).await.unwrap_err().to_string();
    assert!(!told.contains("orders"), "{told}");
    // Meant, and told.
    let mesh = Mesh::builder().source(xds("meant").plaintext(true)).build().unwrap();
    let mut recorder = Recorder::of(&mesh);
    assert_eq!(body(&mesh, "/").await.unwrap(), "a");
    let told = mesh.describe().to_string();
    assert!(
        told.contains("note: security of cluster users-cluster: its connections are plaintext"),
        "{told}"
    );
    let notes = recorder.count(
        |event| matches!(event, Event::ConfigNoted { part, .. } if part.starts_with("security of ")),
    );
    assert_eq!(notes, 1, "once per cluster");
}
