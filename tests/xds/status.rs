//! What a client knows of its control plane is told: as values, as JSON, and over gRPC (CSDS).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, SystemTime};

use envoy_types::pb::envoy::{
    admin::v3::ClientResourceStatus,
    service::status::v3::{
        ClientConfig, ClientStatusRequest,
        client_status_discovery_service_client::ClientStatusDiscoveryServiceClient,
    },
    r#type::matcher::v3::NodeMatcher,
};
use tower_mesh::{
    Client, Mesh,
    control::xds::{Bootstrap, ResourceKind, ResourceState, Server as Plane, Status, Xds},
    testing::xds::{AdsServer, CDS, EDS, Resource},
};

use crate::support::{Server, fetch, get, patience};

/// A cluster of a type that only a proxy has.
fn refused(name: &str) -> Resource {
    let mut bytes = vec![0x0a, u8::try_from(name.len()).unwrap()];
    bytes.extend(name.as_bytes());
    bytes.extend([0x10, 4]);
    Resource::encoded(CDS, name, bytes)
}

fn xds(plane: &AdsServer, node: &str) -> Xds {
    let server = Plane::insecure(plane.uri()).delta(true);
    Xds::new(Bootstrap::builder().node_id(node).server(server).build().unwrap())
}

async fn until(xds: &Xds, is_so: impl Fn(&Status) -> bool) -> Status {
    for _ in 0..1000 {
        let status = patience(xds.status()).await;
        if is_so(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:#?}", xds.status().await.resources);
}

fn state(status: &Status, kind: ResourceKind, name: &str) -> Option<ResourceState> {
    status.resource(kind, name).map(|it| it.state)
}

/// A mesh that has looked up `users`, of a plane with one good cluster, one that is refused and one without
/// endpoints.
async fn broken(plane: &AdsServer, node: &str) -> (Xds, Client, Server) {
    let server = Server::named("a").await;
    plane.set([
        Resource::listener("users", "r"),
        Resource::split("r", "users", [("good", 1), ("bad", 1), ("empty", 1)]),
        Resource::cluster("good"),
        refused("bad"),
        Resource::cluster("empty"),
        Resource::endpoints("good", [server.socket()]),
    ]);
    let xds = xds(plane, node);
    let mesh = Mesh::builder().source(xds.clone()).build().unwrap();
    let client = mesh.client("users").unwrap();
    until(&xds, |status| {
        state(status, ResourceKind::Endpoints, "good") == Some(ResourceState::Acked)
            && state(status, ResourceKind::Endpoints, "empty") == Some(ResourceState::DoesNotExist)
            && state(status, ResourceKind::Cluster, "bad") == Some(ResourceState::Nacked)
    })
    .await;
    (xds, client, server)
}

#[tokio::test]
async fn every_resource_and_every_server_is_told_of() {
    let plane = AdsServer::start().await.unwrap();
    let began = SystemTime::now();
    let (xds, client, server) = broken(&plane, "told").await;
    let status = xds.status().await;
    assert_eq!(&*status.node, "told");

    let [of] = status.servers.as_slice() else { panic!("{:?}", status.servers) };
    assert_eq!((&*of.uri, of.is_connected, &of.reason), (&*plane.uri(), true, &None));
    let asked: Vec<&str> = of.asked[&ResourceKind::Cluster].iter().map(|name| &**name).collect();
    assert_eq!(asked, ["bad", "empty", "good"]);
    assert_eq!((of.failures, of.refused), (0, 1));
    assert_eq!(of.accepted, 5);

    let good = status.resource(ResourceKind::Cluster, "good").unwrap();
    assert_eq!(good.version.as_deref(), Some("1"));
    assert_eq!(good.server.as_deref(), Some(&*plane.uri()));
    assert_eq!(good.leads_to, [(ResourceKind::Endpoints, "good".into())]);
    assert!(good.error.is_none() && good.is_needed);
    let updated = good.updated.unwrap();
    assert!(updated + Duration::from_millis(5) >= began && updated <= SystemTime::now());

    let bad = status.resource(ResourceKind::Cluster, "bad").unwrap();
    assert_eq!((bad.state, &bad.version), (ResourceState::Nacked, &None));
    let error = bad.error.as_ref().unwrap();
    assert_eq!(error.version.as_deref(), Some("1"));
    assert!(error.details.contains("bad") && error.details.contains("told"), "{}", error.details);
    let listener = status.resource(ResourceKind::Listener, "users").unwrap();
    assert_eq!(listener.leads_to, [(ResourceKind::Routes, "r".into())]);

    // A bad update of what is in use: it stays, and the error is told beside it.
    plane.set([refused("good")]);
    let status = until(&xds, |status| {
        state(status, ResourceKind::Cluster, "good") == Some(ResourceState::Nacked)
    })
    .await;
    let good = status.resource(ResourceKind::Cluster, "good").unwrap();
    let error = good.error.as_ref().unwrap().version.as_deref();
    assert_eq!((good.version.as_deref(), error), (Some("1"), Some("2")));

    plane.stop();
    let status = until(&xds, |status| status.servers[0].reason.is_some()).await;
    assert!(!status.servers[0].is_connected && status.servers[0].failures > 0);
    drop((client, server));
}

#[tokio::test]
async fn without_a_mesh_nobody_is_asked() {
    let plane = AdsServer::start().await.unwrap();
    let xds = xds(&plane, "idle");
    let status = patience(xds.status()).await;
    assert!(status.resources.is_empty() && !status.servers[0].is_connected);
    assert!(status.servers[0].reason.as_ref().unwrap().contains("no mesh"));
    assert!(plane.requests().is_empty());
}

#[tokio::test]
async fn the_json_is_that_of_csds() {
    let plane = AdsServer::start().await.unwrap();
    let (xds, client, server) = broken(&plane, "json").await;
    let json: serde_json::Value = serde_json::from_str(&xds.status().await.to_json()).unwrap();
    let [config] = json["config"].as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!(config["node"]["id"], "json");
    assert_eq!(config["node"]["userAgentName"], "tower-mesh");
    let all = config["genericXdsConfigs"].as_array().unwrap();
    let one = |url: &str, name: &str| {
        all.iter().find(|it| it["typeUrl"] == url && it["name"] == name).unwrap().clone()
    };
    let good = one(CDS, "good");
    assert_eq!((&good["clientStatus"], &good["versionInfo"]), (&"ACKED".into(), &"1".into()));
    let updated = good["lastUpdated"].as_str().unwrap();
    assert!(updated.starts_with("20") && updated.ends_with('Z'), "{updated}");
    assert!(good.get("errorState").is_none());
    let bad = one(CDS, "bad");
    assert_eq!(bad["clientStatus"], "NACKED");
    assert_eq!(bad["errorState"]["versionInfo"], "1");
    assert!(bad["errorState"]["details"].as_str().unwrap().contains("bad"));
    assert!(bad["errorState"]["lastUpdateAttempt"].is_string());
    assert_eq!(one(EDS, "empty")["clientStatus"], "DOES_NOT_EXIST");
    drop((client, server));
}

#[tokio::test]
async fn the_service_tells_of_all_clients_of_the_process() {
    let (one, two) = (AdsServer::start().await.unwrap(), AdsServer::start().await.unwrap());
    let (_, users, server) = broken(&one, "service-1").await;
    two.set(Resource::chain("other", [server.socket()]));
    let second = Mesh::builder().source(xds(&two, "service-2")).build().unwrap();
    let client = second.client("other").unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let serving = tonic::transport::Server::builder()
        .add_service(Status::service())
        .serve_with_incoming(incoming);
    let serving = tokio::spawn(serving);
    let mut asking =
        patience(ClientStatusDiscoveryServiceClient::connect(format!("http://{address}")))
            .await
            .unwrap();

    let of = |config: &[ClientConfig], node: &str| {
        let is_of = |it: &&ClientConfig| it.node.as_ref().is_some_and(|it| it.id == node);
        config.iter().find(is_of).cloned().unwrap()
    };
    let answer = patience(asking.fetch_client_status(ClientStatusRequest::default())).await;
    let config = answer.unwrap().into_inner().config;
    let first = of(&config, "service-1");
    assert_eq!(first.client_scope, one.uri());
    let find = |config: &ClientConfig, name: &str| {
        let all = config.generic_xds_configs.iter();
        all.filter(|it| it.type_url == CDS).find(|it| it.name == name).cloned().unwrap()
    };
    let good = find(&first, "good");
    assert_eq!(good.client_status(), ClientResourceStatus::Acked);
    let content = good.xds_config.unwrap();
    assert_eq!(content.type_url, CDS);
    assert!(content.value.windows(4).any(|window| window == b"good"));
    let bad = find(&first, "bad");
    assert_eq!(bad.client_status(), ClientResourceStatus::Nacked);
    assert_eq!((bad.xds_config, bad.error_state.unwrap().version_info), (None, "1".to_owned()));
    assert_eq!(find(&of(&config, "service-2"), "other-cluster").version_info, "1");

    // As a stream: one answer for each request, here without contents.
    let request = ClientStatusRequest { exclude_resource_contents: true, ..Default::default() };
    let requests = tokio_stream::iter([request.clone(), request]);
    let mut answers = patience(asking.stream_client_status(requests)).await.unwrap().into_inner();
    for _ in 0..2 {
        let answer = patience(answers.message()).await.unwrap().unwrap();
        let good = find(&of(&answer.config, "service-1"), "good");
        assert_eq!((good.xds_config, &*good.version_info), (None, "1"));
    }
    assert!(patience(answers.message()).await.unwrap().is_none());

    let request =
        ClientStatusRequest { node_matchers: vec![NodeMatcher::default()], ..Default::default() };
    let refused = patience(asking.fetch_client_status(request)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    serving.abort();
    drop((users, second));
}

#[tokio::test]
async fn the_metrics_of_control_planes_are_told() {
    let plane = AdsServer::start().await.unwrap();
    let server = Server::named("a").await;
    plane.set(Resource::chain("users", [server.socket()]));
    plane.set([refused("users-cluster")]);
    let xds = xds(&plane, "metrics");
    let mesh = Mesh::builder().source(xds.clone()).build().unwrap();
    let client = mesh.client("users").unwrap();
    until(&xds, |status| {
        state(status, ResourceKind::Cluster, "users-cluster") == Some(ResourceState::Nacked)
    })
    .await;
    let uri = plane.uri();
    let settled = |name: &'static str, labels: Vec<(&'static str, String)>, wanted: f64| {
        let mesh = mesh.clone();
        async move {
            let labels: Vec<(&str, &str)> =
                labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            for _ in 0..500 {
                if (mesh.metrics().total(name, &labels) - wanted).abs() < 0.5 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{name} {labels:?}: {}", mesh.prometheus());
        }
    };
    let kind = |message: &str| ("mesh.xds.resource_type", format!("envoy.config.{message}"));
    let (cluster, listener) = (kind("cluster.v3.Cluster"), kind("listener.v3.Listener"));
    let server_is = ("mesh.xds.server", uri.clone());
    settled("mesh.xds.connected", vec![server_is.clone()], 1.0).await;
    settled("mesh.xds.updates.refused", vec![server_is.clone(), cluster.clone()], 1.0).await;
    settled("mesh.xds.updates.accepted", vec![server_is.clone(), listener.clone()], 1.0).await;
    let old = ("mesh.xds.authority", "#old".to_owned());
    let stands = |state: &str| ("mesh.xds.cache_state", state.to_owned());
    settled("mesh.xds.resources", vec![old.clone(), cluster.clone(), stands("nacked")], 1.0).await;
    settled("mesh.xds.resources", vec![old.clone(), listener.clone(), stands("acked")], 1.0).await;

    // Mended, and spoilt again: the good one stays.
    plane.set([Resource::cluster("users-cluster")]);
    settled("mesh.xds.resources", vec![cluster.clone(), stands("acked")], 1.0).await;
    plane.set([refused("users-cluster")]);
    settled("mesh.xds.resources", vec![cluster.clone(), stands("nacked_but_cached")], 1.0).await;

    // A stream that ends after an answer is no failure: of the next one, the bad cluster is refused again.
    let failures = |wanted| {
        settled("mesh.xds.server.failures", vec![("mesh.xds.server", uri.clone())], wanted)
    };
    plane.cut(14, "restarted");
    settled("mesh.xds.updates.refused", vec![server_is.clone(), cluster], 3.0).await;
    failures(0.0).await;
    // One that ends before it is.
    plane.silent(true);
    plane.cut(14, "restarted");
    patience(plane.until(|plane| plane.requests().iter().any(|it| it.stream == 3))).await;
    plane.cut(14, "restarted");
    failures(1.0).await;
    assert_eq!(patience(xds.status()).await.servers[0].failures, 1);
    plane.silent(false);
    settled("mesh.xds.connected", vec![server_is.clone()], 1.0).await;
    failures(1.0).await;

    // Connections that are refused are failures, each of them.
    plane.stop();
    settled("mesh.xds.connected", vec![server_is], 0.0).await;
    let told = until(&xds, |status| status.servers[0].failures >= 2).await.servers[0].failures;
    patience(async {
        let of = [("mesh.xds.server", &*uri)];
        while mesh.metrics().total("mesh.xds.server.failures", &of) < told as f64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let text = mesh.prometheus();
    let line = format!("mesh_xds_connected{{mesh_xds_server=\"{uri}\"}} 0");
    assert!(text.contains(&line), "{text}");
    drop(client);
}
