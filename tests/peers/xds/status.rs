//! What our client of xDS tells of itself (CSDS): the service in the hands of a client on gRPC C-core, and the
//! JSON in those of protobuf's own library.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tower_mesh::{
    Mesh,
    control::xds::{Bootstrap, ResourceKind, ResourceState, Status, Xds},
};

use super::{
    bed::{bootstrap, named},
    plane::{Kind, Plane},
    resources::{cluster, cluster_with, endpoints, listener, routes, split},
};
use crate::{
    program::{folder, python},
    support::{Server, patience},
};

const NODE: &str = "status";
/// What is written differently each time.
const TIMES: [&str; 2] = ["lastUpdated", "lastUpdateAttempt"];

/// A client that asks this plane, as a node of which much is said.
fn xds(port: u16) -> Xds {
    let mut said: Value = serde_json::from_str(&bootstrap(&[port], &[])).unwrap();
    said["node"] = json!({
        "id": NODE,
        "cluster": "shop",
        "locality": {"region": "eu", "zone": "z1", "sub_zone": "rack"},
        "metadata": {"LABELS": {"app": "cart"}, "odd": [1.5, -2, true, null, "ü\n"], "none": {}},
    });
    Xds::new(Bootstrap::from_json(&said.to_string()).unwrap())
}

/// A cluster that is refused: only a proxy has such a one.
fn refused(name: &str) -> Value {
    cluster_with(name, json!({"type": "ORIGINAL_DST"}))
}

/// A listener, routes, and the clusters `one`, which this is, `bad` and `empty`, of which the endpoints of `one`
/// alone are told.
fn resources(one: Value, server: &Server) -> Vec<Value> {
    vec![
        listener("users", "r", &[]),
        routes("r", &[split(&[("one", 1), ("bad", 1), ("empty", 1)])]),
        one,
        refused("bad"),
        cluster("empty"),
        endpoints("one", &[server]),
    ]
}

/// Waits until a resource stands so, of this version.
async fn until(xds: &Xds, kind: ResourceKind, name: &str, state: ResourceState, version: &str) {
    for _ in 0..1000 {
        let status = patience(xds.status()).await;
        let it = status.resource(kind, name);
        if it.is_some_and(|it| {
            it.state == state && it.version.as_deref().unwrap_or_default() == version
        }) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{kind:?} {name}: {:#?}", xds.status().await.resources);
}

/// Waits until the parts of what `resources` says stand so, but for `one`.
async fn settled(xds: &Xds) {
    use ResourceKind::{Cluster, Endpoints, Listener, Routes};
    use ResourceState::{Acked, Nacked, Requested};
    until(xds, Listener, "users", Acked, "1").await;
    until(xds, Routes, "r", Acked, "1").await;
    until(xds, Cluster, "bad", Nacked, "").await;
    until(xds, Cluster, "empty", Acked, "1").await;
    until(xds, Endpoints, "one", Acked, "1").await;
    until(xds, Endpoints, "empty", Requested, "").await;
}

/// What `status_caller.py` prints, by what it is.
async fn read(port: u16, dump: &str) -> BTreeMap<String, Vec<Value>> {
    let dir = folder();
    let file = dir.path().join("dump.json");
    fs::write(&file, dump).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/xds/status_caller.py");
    let mut command = Command::new(python());
    command.arg(script).arg(port.to_string()).arg(NODE).arg(&file);
    let output = patience(spawn_blocking(move || command.output())).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "status_caller.py: {}: {said}", output.status);
    let mut lines = BTreeMap::<String, Vec<Value>>::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        lines.entry(line["what"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    lines
}

/// The client that an answer tells of, which is one.
fn client(answer: &Value) -> &Value {
    let [client] = answer["clients"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    client
}

/// What a client tells of a resource.
fn one<'a>(client: &'a Value, kind: ResourceKind, name: &str) -> &'a Value {
    let url = match kind {
        ResourceKind::Listener => "listener.v3.Listener",
        ResourceKind::Routes => "route.v3.RouteConfiguration",
        ResourceKind::Cluster => "cluster.v3.Cluster",
        _ => "endpoint.v3.ClusterLoadAssignment",
    };
    let url = format!("type.googleapis.com/envoy.config.{url}");
    let mut all = client["genericXdsConfigs"].as_array().unwrap().iter();
    all.find(|it| it["typeUrl"] == url && it["name"] == name)
        .unwrap_or_else(|| panic!("{url} {name}: {client}"))
}

/// The status of a resource, its version, and the version that was refused; nothing is an empty text.
fn state<'a>(client: &'a Value, kind: ResourceKind, name: &str) -> [&'a str; 3] {
    let it = one(client, kind, name);
    [&it["clientStatus"], &it["versionInfo"], &it["errorState"]["versionInfo"]]
        .map(|text| text.as_str().unwrap_or_default())
}

/// The same without these fields, wherever they are.
fn without(value: &Value, fields: &[&str]) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(name, _)| !fields.contains(&name.as_str()));
            Value::Object(kept.map(|(name, it)| (name.clone(), without(it, fields))).collect())
        }
        Value::Array(list) => list.iter().map(|it| without(it, fields)).collect(),
        other => other.clone(),
    }
}

fn millis(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// That the ways of asking agree: the stream says what the fetch says but for contents, and the JSON the same.
fn agreed(lines: &BTreeMap<String, Vec<Value>>) {
    let fetched = &lines["fetch"][0];
    let bare = without(client(fetched), &["xdsConfig"]);
    let stream = &lines["stream"];
    assert_eq!(stream.len(), 2, "{stream:?}");
    for answer in stream {
        assert_eq!(without(client(answer), &TIMES), without(&bare, &TIMES));
    }
    assert_eq!(lines["ended"][0]["code"], "OK");
    // Clients do not match nodes, and refuse to (gRFC A40).
    assert_eq!(lines["refused"][0]["code"], "INVALID_ARGUMENT");

    let json = &lines["json"][0];
    assert_eq!(without(client(json), &TIMES), without(&bare, &TIMES));
    let (these, those) =
        (json["times"].as_object().unwrap(), fetched["times"].as_object().unwrap());
    assert!(these.keys().eq(those.keys()), "{these:?} {those:?}");
    for (name, at) in these {
        // Each counts back from its own now.
        let apart = at.as_u64().unwrap().abs_diff(those[name].as_u64().unwrap());
        assert!(apart < 100, "{name}: {apart} ms");
    }
}

/// That the node is told of as its bootstrap says.
fn node_of(client: &Value) {
    let node = &client["node"];
    assert_eq!(node["id"], NODE);
    assert_eq!(node["cluster"], "shop");
    assert_eq!(node["locality"], json!({"region": "eu", "zone": "z1", "subZone": "rack"}));
    let odd = json!([1.5, -2.0, true, null, "ü\n"]);
    assert_eq!(node["metadata"], json!({"LABELS": {"app": "cart"}, "odd": odd, "none": {}}));
    assert_eq!(node["userAgentName"], "tower-mesh");
    assert!(node["userAgentVersion"].is_string() && node["clientFeatures"].is_array(), "{node}");
}

#[tokio::test(flavor = "multi_thread")]
async fn c_core_reads_our_service_and_protobuf_our_json() {
    let began = millis(SystemTime::now());
    let server = named("a").await;
    let told = resources(cluster("one"), &server);
    let plane = Plane::start(Kind::Scripted, &told).await;
    let xds = xds(plane.port);
    let mesh = Mesh::builder().source(xds.clone()).build().unwrap();
    let users = mesh.client("users").unwrap();
    until(&xds, ResourceKind::Cluster, "one", ResourceState::Acked, "1").await;
    settled(&xds).await;

    let listens = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listens.local_addr().unwrap().port();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listens);
    let serving = tonic::transport::Server::builder().add_service(Status::service());
    let serving = tokio::spawn(serving.serve_with_incoming(incoming));

    let lines = read(port, &xds.status().await.to_json()).await;
    agreed(&lines);
    let known = client(&lines["fetch"][0]);
    node_of(known);
    assert_eq!(known["clientScope"], format!("127.0.0.1:{}", plane.port));
    let all = known["genericXdsConfigs"].as_array().unwrap();
    assert_eq!(all.len(), 7, "{all:?}");
    // It is for control planes to say.
    assert!(all.iter().all(|it| it.get("configStatus").is_none()), "{all:?}");
    let (cds, eds) = (ResourceKind::Cluster, ResourceKind::Endpoints);
    let accepted = [
        (ResourceKind::Listener, "users", &told[0]),
        (ResourceKind::Routes, "r", &told[1]),
        (cds, "one", &told[2]),
        (cds, "empty", &told[4]),
    ];
    for (kind, name, said) in accepted {
        assert_eq!(state(known, kind, name), ["ACKED", "1", ""]);
        // Protobuf has unpacked it: it is what the plane has said.
        assert_eq!(&one(known, kind, name)["xdsConfig"], said);
    }
    assert_eq!(state(known, eds, "one"), ["ACKED", "1", ""]);
    let first = &one(known, eds, "one")["xdsConfig"]["endpoints"][0]["lbEndpoints"][0];
    let socket = &first["endpoint"]["address"]["socketAddress"];
    assert_eq!(socket["portValue"], server.socket().port());
    assert_eq!(state(known, eds, "empty"), ["REQUESTED", "", ""]);
    assert_eq!(state(known, cds, "bad"), ["NACKED", "", "1"]);
    let bad = one(known, cds, "bad");
    let details = bad["errorState"]["details"].as_str().unwrap();
    assert!(details.contains("ORIGINAL_DST") && details.contains(NODE), "{details}");
    for it in [bad, one(known, eds, "empty")] {
        assert!(it.get("xdsConfig").is_none() && it.get("lastUpdated").is_none(), "{it}");
    }
    let now = millis(SystemTime::now());
    let times = lines["fetch"][0]["times"].as_object().unwrap();
    // Of five that were accepted, and of one that was refused.
    assert_eq!(times.len(), 6, "{times:?}");
    for (name, at) in times {
        assert!((began..=now + 5).contains(&at.as_u64().unwrap()), "{name}: {began}, {at}, {now}");
    }

    // What is in use is said to be bad: it stays, and the error stands beside it until it is mended.
    plane.set(&resources(refused("one"), &server));
    until(&xds, cds, "one", ResourceState::Nacked, "1").await;
    let lines = read(port, &xds.status().await.to_json()).await;
    agreed(&lines);
    let known = client(&lines["fetch"][0]);
    assert_eq!(state(known, cds, "one"), ["NACKED", "1", "2"]);
    assert_eq!(one(known, cds, "one")["xdsConfig"], told[2]);
    plane.set(&told);
    until(&xds, cds, "one", ResourceState::Acked, "3").await;
    let lines = read(port, &xds.status().await.to_json()).await;
    agreed(&lines);
    assert_eq!(state(client(&lines["fetch"][0]), cds, "one"), ["ACKED", "3", ""]);
    serving.abort();
    drop(users);
}
