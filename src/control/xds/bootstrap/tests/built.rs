//! Bootstraps as code and files say them alike.

use std::{collections::BTreeMap, time::Duration};

use super::*;

#[test]
fn the_dialect_is_chosen_for_any_node() {
    let of = |node: &str, own: &str| {
        let text = format!(
            r#"{{"xds_servers": [{SERVER}], "node": {{"id": "{node}"}}, "tower_mesh": {own}}}"#
        );
        Bootstrap::from_json(&text).unwrap().dialect
    };
    let pod = "sidecar~10.0.0.1~a.b~b.svc.cluster.local";
    // Who says nothing is told apart by its id.
    assert_eq!((of("n", "{}"), of(pod, "null")), (Dialect::Proxyless, Dialect::Sidecar));
    for (name, dialect) in [
        ("proxyless", Dialect::Proxyless),
        ("sidecar", Dialect::Sidecar),
        ("envoy", Dialect::Envoy),
    ] {
        let own = format!(r#"{{"dialect": "{name}"}}"#);
        assert_eq!((of("n", &own), of(pod, &own)), (dialect, dialect), "{name}");
    }
}

#[test]
fn a_secret_is_of_a_certificate_provider_that_is_there() {
    let build = |provider: &str| {
        let mut files = IdentityFiles::default();
        files.roots = Some("ca.pem".to_owned());
        Bootstrap::builder()
            .server(Server::insecure("a:1"))
            .certificate_provider("files", files)
            .secret("spiffe://prod.example", provider)
            .build()
    };
    let bootstrap = build("files").unwrap();
    assert_eq!(bootstrap.secrets["spiffe://prod.example"], "files");
    let error = build("others").unwrap_err().to_string();
    assert!(error.contains("tower_mesh.secrets") && error.contains("others"), "{error}");
    // Who means other files by a name shares no client with whoever does not.
    let without = Bootstrap { secrets: BTreeMap::new(), ..bootstrap.clone() };
    assert!(bootstrap.asks_as(&bootstrap) && !bootstrap.asks_as(&without));
}

#[test]
fn code_says_what_a_file_says() {
    let mut files = IdentityFiles::default();
    files.roots = Some("ca.pem".to_owned());
    files.poll_interval = Some(Duration::from_secs(600));
    let built = Bootstrap::builder()
        .server(Server::insecure("xds.example:18000"))
        .authority("a", [])
        .authority_template("xdstp://a/x/%s")
        .listener_template("l/%s")
        .server_listener_template("s/%s")
        .node_id("n")
        .node_cluster("c")
        .node_locality("r", "z", "s")
        .node_metadata("t", "x")
        .node_metadata_json("j", "[1]")
        .certificate_provider("default", files)
        .secret("spiffe://prod.example", "default")
        .dialect(Dialect::Envoy)
        .build()
        .unwrap();
    let read = Bootstrap::from_json(
        r#"{
            "xds_servers": [{"server_uri": "xds.example:18000", "channel_creds": [{"type": "insecure"}]}],
            "authorities": {"a": {"client_listener_resource_name_template": "xdstp://a/x/%s"}},
            "client_default_listener_resource_name_template": "l/%s",
            "server_listener_resource_name_template": "s/%s",
            "certificate_providers": {"default": {"plugin_name": "file_watcher",
                "config": {"ca_certificate_file": "ca.pem"}}},
            "node": {"id": "n", "cluster": "c", "metadata": {"t": "x", "j": [1]},
                "locality": {"region": "r", "zone": "z", "sub_zone": "s"}},
            "tower_mesh": {"dialect": "envoy", "secrets": {"spiffe://prod.example": "default"}}
        }"#,
    );
    assert_eq!(built, read.unwrap());
    let wrong = Bootstrap::builder()
        .authority("a", [])
        .authority("a", [])
        .authority_template("b")
        .listener_template("")
        .node_metadata_json("j", "{")
        .build();
    let error = wrong.unwrap_err().to_string();
    for field in ["xds_servers", "authorities[\"a\"]", "client_default", "node.metadata.j", "twice"]
    {
        assert!(error.contains(field), "{field}: {error}");
    }
}
