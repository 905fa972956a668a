//! What a rule's backends are: services of every kind, none at all, of one protocol or another.

use std::collections::BTreeSet;

use http::{
    Request, StatusCode,
    header::{CONNECTION, UPGRADE},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_mesh::{Body, Mesh, config::WeightedCluster};

use crate::{
    echo::{get, grpc, with, world},
    support::{RawServer, Server, cluster, fetch, patience, published, raw::read_head},
};

// HTTPRouteServiceTypes: a service without an address of its own (headless), one whose endpoints are
// written by hand (manual EndpointSlices), and one that is both. Here they are a cluster of its pods'
// addresses, and one to which a source adds slice by slice.
#[tokio::test]
async fn services_of_every_kind() {
    let servers =
        [Server::named("one").await, Server::named("two").await, Server::named("three").await];
    let at = |place: usize| servers[place].address();
    let (mesh, publisher) = published(Mesh::builder(), |publisher| {
        let mut service = tower_mesh::config::Service::default();
        service.routes = ["headless", "manual-endpointslices", "headless-manual-endpointslices"]
            .map(|name| {
                let mut rule = tower_mesh::config::Match::default();
                let path = format!("/{name}");
                rule.path = Some(tower_mesh::config::PathMatch::Prefix(path));
                let mut route = tower_mesh::config::Route::default();
                (route.matches, route.clusters) = (vec![rule], vec![WeightedCluster::new(name)]);
                route
            })
            .into();
        publisher.cluster("headless", cluster([at(0), at(1)])).unwrap();
        publisher.cluster("manual-endpointslices", cluster([])).unwrap();
        publisher.cluster("headless-manual-endpointslices", cluster([])).unwrap();
        publisher.service("echo", service).unwrap();
        publisher.upsert_endpoints("manual-endpointslices", [at(0)]).unwrap();
        publisher.upsert_endpoints("manual-endpointslices", [at(1)]).unwrap();
        publisher.endpoints("headless-manual-endpointslices", [at(1), at(2)]).unwrap();
    })
    .await;
    let client = mesh.client("echo").unwrap();
    let whom = async |path: &str| {
        let mut whom = BTreeSet::new();
        for _ in 0..40 {
            let answer = patience(fetch(&client, get(path, &[]))).await.unwrap();
            assert_eq!(answer.status(), 200);
            whom.insert(String::from_utf8(answer.into_body().to_vec()).unwrap());
        }
        whom.into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(whom("/headless").await, "one two");
    assert_eq!(whom("/manual-endpointslices").await, "one two");
    assert_eq!(whom("/headless-manual-endpointslices").await, "three two");
    // A slice that goes takes its endpoints alone.
    publisher.remove_endpoints("manual-endpointslices", &[at(0)]);
    assert_eq!(whom("/manual-endpointslices").await, "two");
}

// HTTPRouteOmittedBackendRefs: a rule without backends, and without a filter that answers, is 500. The
// model wants to be told why there is none; the other rules go on.
#[tokio::test]
async fn a_rule_without_backends_answers_500() {
    let world = world(
        "  echo:
    routes:
      - {matches: [{path: {prefix: /omitted}}], clusters: [{name: none, invalid: the rule has no backendRefs}]}
      - {clusters: [{name: echo-v1}]}
",
    )
    .await;
    for _ in 0..3 {
        let seen = world.ask(get("/omitted/x", &[])).await.unwrap();
        assert_eq!((seen.status().as_u16(), seen.backend().as_str()), (500, ""));
    }
    let seen = world.ask(grpc("/omitted/Method", &[])).await.unwrap();
    assert_eq!(seen.answered("grpc-status").unwrap(), "14");
    assert_eq!(world.backend(get("/", &[])).await, "echo-v1");
    // Nor does such a rule count against any endpoint.
    assert_eq!(world.mesh.describe().refused, []);
}

// HTTPRouteBackendProtocolH2C: `appProtocol: kubernetes.io/h2c` is the cluster's protocol. The version of
// the request does not matter.
#[tokio::test]
async fn a_backend_that_speaks_h2c_is_spoken_to_so() {
    let world = world("  echo: {cluster: echo-v1}\n").await;
    let (pod, services) = (&world.pods["echo-v1"], "services: {echo: {cluster: h2c}}");
    let text = format!(
        "{services}\nclusters: {{h2c: {{protocol: http2, endpoints: [{{address: \"{pod}\"}}]}}}}\n"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    std::fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    for version in crate::support::VERSIONS {
        let request = crate::support::over(version, with("GET", "/", &[]));
        let answer = patience(fetch(&mesh.client("echo").unwrap(), request)).await.unwrap();
        let said: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!((&said["backend"], &said["version"]), (&"echo-v1".into(), &"HTTP/2.0".into()));
    }
    // Without it the request's own is spoken.
    let seen = world.call("echo-v1", get("/", &[])).await.unwrap();
    assert_eq!(seen.version(), "HTTP/1.1");
}

// HTTPRouteBackendProtocolWebSocket: `appProtocol: kubernetes.io/ws`.
#[tokio::test]
async fn a_backend_that_speaks_websocket_gets_the_connection() {
    let server = RawServer::start(|mut stream, _| async move {
        if !read_head(&mut stream).await {
            return;
        }
        let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut buffer = [0; 64];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..read]).await.unwrap();
        }
    })
    .await;
    let text = format!(
        "services: {{echo: {{routes: [{{matches: [{{path: {{prefix: /ws}}}}], clusters: [{{name: ws}}]}}]}}}}\n\
         clusters: {{ws: {{protocol: http1, endpoints: [{{address: \"{}\"}}]}}}}\n",
        server.address()
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    std::fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let request = Request::get("/ws/chat")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(Body::empty())
        .unwrap();
    let mut answer = patience(mesh.client("echo").unwrap().send(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let mut io = TokioIo::new(patience(hyper::upgrade::on(&mut answer)).await.unwrap());
    // A text frame, as a client masks it: it comes back as it was sent.
    let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    patience(io.write_all(&frame)).await.unwrap();
    let mut said = [0; 11];
    patience(io.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, frame);
}
