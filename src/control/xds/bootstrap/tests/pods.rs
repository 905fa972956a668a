//! Bootstraps of pods in a mesh of Istio.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use serde_json::json;

use super::*;

fn injected() -> BTreeMap<String, String> {
    let pairs = [
        ("POD_NAME", "orders-1"),
        ("POD_NAMESPACE", "shop"),
        ("INSTANCE_IP", "10.1.2.3"),
        ("SERVICE_ACCOUNT", "orders"),
        ("ISTIO_META_CLUSTER_ID", "east"),
        ("ISTIO_META_WORKLOAD_NAME", "orders"),
        ("ISTIO_METAJSON_LABELS", r#"{"app": "orders"}"#),
        ("PATH", "/bin"),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_pod_of_istio_asks_its_agent_as_a_sidecar() {
    let nowhere = Path::new("/nowhere");
    let bootstrap = Bootstrap::istio().build_with(&injected(), nowhere).unwrap();
    assert_eq!(bootstrap.servers, [Server::insecure("unix:///etc/istio/proxy/XDS")]);
    assert_eq!(bootstrap.node.id, "sidecar~10.1.2.3~orders-1.shop~shop.svc.cluster.local");
    assert_eq!(bootstrap.node.cluster, "orders.shop");
    let metadata = &bootstrap.node.metadata;
    assert_eq!(metadata["NAMESPACE"], "shop");
    assert_eq!(metadata["CLUSTER_ID"], "east");
    assert_eq!(metadata["INSTANCE_IPS"], "10.1.2.3");
    assert_eq!(metadata["SERVICE_ACCOUNT"], "orders");
    assert_eq!(metadata["LABELS"], json!({"app": "orders"}));
    assert!(metadata.contains_key("ISTIO_VERSION") && !metadata.contains_key("GENERATOR"));
    assert_eq!(bootstrap.dialect, Dialect::Sidecar);
    let files = &bootstrap.certificate_providers["default"];
    assert_eq!(files.certificate.as_deref(), Some("/var/lib/istio/data/cert-chain.pem"));
    assert_eq!(files.poll_interval, Some(Duration::from_secs(900)));
    let inbound = bootstrap.server_template.as_ref().unwrap().name("0.0.0.0:80");
    assert_eq!(inbound, "xds.istio.io/grpc/lds/inbound/0.0.0.0:80");
    let of_six = bootstrap.server_listener("[::1]:80".parse().unwrap());
    assert_eq!(of_six.as_deref(), Some("xds.istio.io/grpc/lds/inbound/[::1]:80"));
}

#[test]
fn istiod_itself_is_asked_by_tls_with_the_token() {
    let nowhere = Path::new("/nowhere");
    let istio = Bootstrap::istio()
        .istiod("istiod.istio-system.svc:15012")
        .dialect(Dialect::Proxyless)
        .delta(true);
    let bootstrap = istio.build_with(&injected(), nowhere).unwrap();
    let tls = ServerTls::new().roots_file("/var/run/secrets/istio/root-cert.pem");
    let server = Server::tls("istiod.istio-system.svc:15012", tls)
        .token_file("/var/run/secrets/tokens/istio-token")
        .header("clusterid", "east")
        .delta(true);
    assert_eq!(bootstrap.servers, [server]);
    assert_eq!(bootstrap.node.metadata["GENERATOR"], "grpc");
    assert_eq!(bootstrap.dialect, Dialect::Proxyless);
    assert!(bootstrap.certificate_providers.is_empty());
}

#[test]
fn what_istio_needs_and_nobody_says_is_named() {
    let nowhere = Path::new("/nowhere");
    let error = Bootstrap::istio().build_with(&BTreeMap::new(), nowhere).unwrap_err().to_string();
    for name in ["INSTANCE_IP", "POD_NAME", "POD_NAMESPACE"] {
        assert!(error.contains(name), "{name}: {error}");
    }
    let mut broken = injected();
    broken.insert("POD_NAME".into(), "a~b".into());
    broken.insert("INSTANCE_IP".into(), "here".into());
    broken.insert("ISTIO_METAJSON_LABELS".into(), "{".into());
    let error = Bootstrap::istio().build_with(&broken, nowhere).unwrap_err().to_string();
    for name in ["istio.pod", "istio.ip", "ISTIO_METAJSON_LABELS"] {
        assert!(error.contains(name), "{name}: {error}");
    }
    // The namespace's file stands in for its variable.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("namespace");
    fs::write(&file, "shop\n").unwrap();
    let mut without = injected();
    without.remove("POD_NAMESPACE");
    let bootstrap = Bootstrap::istio().build_with(&without, &file).unwrap();
    assert_eq!(bootstrap.node.metadata["NAMESPACE"], "shop");
}

#[test]
fn to_istiod_an_envoy_says_what_listeners_are_called() {
    let of = |istio: Istio| istio.build_with(&injected(), Path::new("/nowhere"));
    let error = of(Bootstrap::istio().dialect(Dialect::Envoy)).unwrap_err().to_string();
    for words in ["istio.dialect", "listener_template", "Dialect::Sidecar"] {
        assert!(error.contains(words), "{error}");
    }
    let one = Bootstrap::istio().dialect(Dialect::Envoy).listener_template("0.0.0.0_8080");
    assert_eq!(of(one).unwrap().listener(None, "users:8080").unwrap(), "0.0.0.0_8080");
}

/// istiod would answer with tunnels, which nothing here speaks.
#[test]
fn a_node_of_an_ambient_mesh_asks_for_no_tunnels_and_says_so() {
    let nowhere = Path::new("/nowhere");
    let mut ambient = injected();
    ambient.insert("ISTIO_META_ENABLE_HBONE".into(), "true".into());
    for dialect in [Dialect::Sidecar, Dialect::Proxyless] {
        let bootstrap = Bootstrap::istio().dialect(dialect).build_with(&ambient, nowhere).unwrap();
        assert!(!bootstrap.node.metadata.contains_key("ENABLE_HBONE"));
        let notes = bootstrap.notes().join("\n");
        assert!(notes.contains("node.metadata.ENABLE_HBONE"), "{notes}");
    }
    let json = json!({
        "xds_servers": [{"server_uri": "unix:///etc/istio/proxy/XDS",
            "channel_creds": [{"type": "insecure"}]}],
        "node": {"id": "sidecar~10.0.0.1~a.b~b.svc.cluster.local",
            "metadata": {"ENABLE_HBONE": "true", "NAMESPACE": "b"}},
    });
    let bootstrap = Bootstrap::from_json(&json.to_string()).unwrap();
    assert_eq!(bootstrap.node.metadata.keys().collect::<Vec<_>>(), ["NAMESPACE"]);
    assert!(bootstrap.notes().join("\n").contains("HBONE"), "{:?}", bootstrap.notes());
}

/// Whoever asks istiod as gRPC does is told less, and has to know it.
#[test]
fn what_istiod_leaves_out_to_grpc_is_noted() {
    let lost = [
        "outlier detection",
        "connect timeouts",
        "RANDOM",
        "typed policies",
        "DNS endpoints",
        "SIMPLE and MUTUAL",
        "`Dialect::Sidecar`",
    ];
    let is_noted = |bootstrap: &Bootstrap| {
        let notes = bootstrap.notes();
        assert!(notes.len() <= 1, "{notes:?}");
        assert!(notes.iter().all(|note| lost.iter().all(|it| note.contains(it))), "{notes:?}");
        !notes.is_empty()
    };
    for dialect in [Dialect::Sidecar, Dialect::Proxyless] {
        let pod = Bootstrap::istio().dialect(dialect);
        let pod = pod.build_with(&injected(), Path::new("/nowhere")).unwrap();
        assert_eq!(is_noted(&pod), dialect == Dialect::Proxyless, "{dialect:?}");
    }
    let file = |id: &str, metadata: serde_json::Value, own: serde_json::Value| {
        let json = json!({
            "xds_servers": [{"server_uri": "xds.example:1", "channel_creds": [{"type": "insecure"}]}],
            "node": {"id": id, "metadata": metadata},
            "tower_mesh": own,
        });
        is_noted(&Bootstrap::from_json(&json.to_string()).unwrap())
    };
    let sidecar = "sidecar~10.0.0.1~a.b~b.svc.cluster.local";
    assert!(file(sidecar, json!({"GENERATOR": "grpc"}), json!({})));
    assert!(file("orders-1", json!({"GENERATOR": "grpc"}), json!({})));
    assert!(file(sidecar, json!({}), json!({"dialect": "proxyless"})));
    assert!(!file(sidecar, json!({}), json!({})));
    // Another plane loses nothing by it.
    assert!(!file("orders-1", json!({}), json!({})));
    assert!(!file("orders-1", json!({"GENERATOR": "grpc"}), json!({"dialect": "envoy"})));
}

#[test]
fn the_trust_domain_is_the_injectors_unless_the_code_says_it() {
    let nowhere = Path::new("/nowhere");
    let of = |istio: Istio, variables: &BTreeMap<String, String>| {
        let node = istio.build_with(variables, nowhere).unwrap().node;
        node.trust_domain().map(str::to_owned)
    };
    let mut variables = injected();
    assert_eq!(of(Bootstrap::istio(), &variables), None);
    variables.insert("TRUST_DOMAIN".into(), "prod.example".into());
    assert_eq!(of(Bootstrap::istio(), &variables).as_deref(), Some("prod.example"));
    let said = Bootstrap::istio().trust_domain("other.example");
    assert_eq!(of(said, &variables).as_deref(), Some("other.example"));
}

#[test]
fn the_agents_own_bootstrap_is_read() {
    let bootstrap = Bootstrap::from_json(
        r#"{
            "xds_servers": [{"server_uri": "unix:///etc/istio/proxy/XDS",
                "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
            "node": {"id": "sidecar~10.0.0.1~a.b~b.svc.cluster.local", "metadata": {"GENERATOR": "grpc"}},
            "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": {
                "certificate_file": "cert-chain.pem", "private_key_file": "key.pem",
                "ca_certificate_file": "root-cert.pem", "refresh_interval": "900s"}}},
            "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s"
        }"#,
    );
    let bootstrap = bootstrap.unwrap();
    assert_eq!(bootstrap.dialect, Dialect::Proxyless);
    assert_eq!(bootstrap.servers, [Server::insecure("unix:///etc/istio/proxy/XDS")]);
}
