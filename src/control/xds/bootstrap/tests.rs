use std::{collections::BTreeMap, ffi::OsString, fs, path::Path, time::Duration};

use serde_json::json;

use super::*;

const SERVER: &str =
    r#"{"server_uri": "xds.example:18000", "channel_creds": [{"type": "insecure"}]}"#;

fn with_server(server: &str) -> String {
    format!(r#"{{"xds_servers": [{server}], "node": {{"id": "n"}}}}"#)
}

/// Every error of a text, as it is told.
fn refused(text: &str) -> String {
    Bootstrap::from_json(text).unwrap_err().to_string()
}

fn variables(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
    let map: BTreeMap<String, OsString> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    move |name| map.get(name).cloned()
}

#[test]
fn every_field_is_read() {
    let bootstrap = Bootstrap::from_json(
        r#"{
            "xds_servers": [
                {
                    "server_uri": "dns:///xds.example:443",
                    "channel_creds": [
                        {"type": "alts"},
                        {"type": "other", "config": 7},
                        {"type": "tls", "config": {
                            "ca_certificate_file": "ca.pem",
                            "certificate_file": "tls.crt",
                            "private_key_file": "tls.key",
                            "refresh_interval": "1.5s",
                            "unknown": true
                        }},
                        {"type": "insecure"}
                    ],
                    "call_creds": [
                        {"type": "other"},
                        {"type": "jwt_token_file", "config": {"jwt_token_file": "token"}}
                    ],
                    "server_features": ["xds_v3", "ignore_resource_deletion", "fail_on_data_errors",
                        "resource_timer_is_transient_error", "trusted_xds_server", "delta", "new"]
                },
                {"server_uri": "unix:///b", "channel_creds": [{"type": "insecure"}]}
            ],
            "authorities": {
                "a.example": {
                    "client_listener_resource_name_template": "xdstp://a.example/L/%s",
                    "xds_servers": [{"server_uri": "c:1", "channel_creds": [{"type": "insecure"}]}]
                },
                "": {}
            },
            "client_default_listener_resource_name_template": "xdstp://a.example/M/%s",
            "server_listener_resource_name_template": "server/%s",
            "certificate_providers": {
                "files": {"plugin_name": "file_watcher", "config": {
                    "certificate_file": "a", "private_key_file": "b", "ca_certificate_file": "c"
                }},
                "spiffe": {"plugin_name": "file_watcher", "config": {
                    "ca_certificate_file": "c", "spiffe_trust_bundle_map_file": "map.json",
                    "refresh_interval": "0.000000001s"
                }},
                "mesh_ca": {"plugin_name": "mesh_ca", "config": {}}
            },
            "node": {
                "id": "n", "cluster": "c", "unknown": 1,
                "locality": {"region": "r", "zone": "z", "sub_zone": "s"},
                "metadata": {"a": {"b": [1]}}
            },
            "future": []
        }"#,
    );
    let bootstrap = bootstrap.unwrap();
    let [first, second] = bootstrap.servers.as_slice() else { panic!("{bootstrap:?}") };
    let tls = ServerTls::new()
        .roots_file("ca.pem")
        .certificate_files("tls.crt", "tls.key")
        .refresh_interval(Duration::from_millis(1500));
    let wanted = Server::tls("dns:///xds.example:443", tls)
        .token_file("token")
        .delta(true)
        .ignore_resource_deletion(true)
        .fail_on_data_errors(true)
        .resource_timer_is_transient_error(true)
        .trusted(true);
    assert_eq!(*first, wanted);
    assert_eq!(*second, Server::insecure("unix:///b"));
    let of = |name: &str| bootstrap.authorities.get(name).map(|it| it.servers.as_slice());
    assert_eq!(of("a.example"), Some([Server::insecure("c:1")].as_slice()));
    // Those of the top level.
    assert_eq!(of(""), Some([].as_slice()));
    assert_eq!(of("b.example"), None);
    assert_eq!(bootstrap.every_server().len(), 3);
    assert_eq!(bootstrap.listener(None, "x y").unwrap(), "xdstp://a.example/M/x%20y");
    assert_eq!(bootstrap.listener(Some("a.example"), "x").unwrap(), "xdstp://a.example/L/x");
    let name = bootstrap.listener(Some(""), "x").unwrap();
    assert_eq!(name, "xdstp:///envoy.config.listener.v3.Listener/x");
    let error = bootstrap.listener(Some("b.example"), "x").unwrap_err().to_string();
    assert!(error.contains("xds://b.example/x") && error.contains("authorities"), "{error}");
    assert_eq!(bootstrap.server_template.as_ref().unwrap().name("a:1"), "server/a:1");
    let files = &bootstrap.certificate_providers["files"];
    assert_eq!(
        (files.certificate.as_deref(), files.key.as_deref(), files.roots.as_deref()),
        (Some("a"), Some("b"), Some("c"))
    );
    assert_eq!(files.poll_interval, Some(Duration::from_secs(600)));
    let spiffe = &bootstrap.certificate_providers["spiffe"];
    assert_eq!((spiffe.roots.as_deref(), spiffe.bundle_map.as_deref()), (None, Some("map.json")));
    assert_eq!(spiffe.poll_interval, Some(Duration::from_millis(100)));
    assert!(!bootstrap.certificate_providers.contains_key("mesh_ca"));
    let notes = bootstrap.notes().join("\n");
    assert!(notes.contains("`mesh_ca`") && notes.contains("call_creds[0]"), "{notes}");
    let node = &bootstrap.node;
    assert_eq!((node.id.as_str(), node.cluster.as_str(), node.region.as_str()), ("n", "c", "r"));
    assert_eq!((node.zone.as_str(), node.sub_zone.as_str()), ("z", "s"));
    assert_eq!(node.metadata["a"], json!({"b": [1]}));
}

#[test]
fn the_file_wins_and_its_faults_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bootstrap.json");
    fs::write(&path, with_server(SERVER)).unwrap();
    let path = path.to_str().unwrap();
    let inline = with_server(&SERVER.replace("18000", "2"));
    let read = env::read(variables(&[(env::FILE, path), (env::INLINE, &inline)])).unwrap();
    assert_eq!(&*read.servers[0].uri, "xds.example:18000");
    let read = env::read(variables(&[(env::INLINE, &inline)])).unwrap();
    assert_eq!(&*read.servers[0].uri, "xds.example:2");
    let read = env::read(variables(&[(env::FILE, ""), (env::INLINE, &inline)])).unwrap();
    assert_eq!(&*read.servers[0].uri, "xds.example:2");

    // No fall-through.
    let error = env::read(variables(&[(env::FILE, "/nowhere/b.json"), (env::INLINE, &inline)]));
    let error = error.unwrap_err().to_string();
    assert!(error.contains(env::FILE) && error.contains("/nowhere/b.json"), "{error}");
    fs::write(path, "{").unwrap();
    let error = env::read(variables(&[(env::FILE, path), (env::INLINE, &inline)])).unwrap_err();
    assert!(error.to_string().contains(path), "{error}");
    fs::write(path, [0xff, 0xfe]).unwrap();
    let error = env::read(variables(&[(env::FILE, path)])).unwrap_err().to_string();
    assert!(error.contains("UTF-8"), "{error}");
    let error = env::read(variables(&[])).unwrap_err().to_string();
    assert!(error.contains(env::FILE) && error.contains(env::INLINE), "{error}");
}

#[test]
fn every_error_names_the_file_and_the_field() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.json");
    for (server, field) in [
        (r#"{"channel_creds": [{"type": "insecure"}]}"#, "xds_servers[0].server_uri"),
        (r#"{"server_uri": 7, "channel_creds": []}"#, "xds_servers[0].server_uri"),
        (r#"{"server_uri": "a:1"}"#, "xds_servers[0].channel_creds"),
        (r#"{"server_uri": "a:1", "channel_creds": []}"#, "xds_servers[0].channel_creds"),
        (r#"{"server_uri": "a:1", "channel_creds": [{"type": "x"}]}"#, "`x` is not supported"),
        (r#"{"server_uri": "a:1", "channel_creds": [{}]}"#, "xds_servers[0].channel_creds[0]"),
        (
            r#"{"server_uri": "a:1", "channel_creds": [{"type": "tls", "config": {"refresh_interval": "5m"}}]}"#,
            "xds_servers[0].channel_creds[0].config.refresh_interval",
        ),
        (
            r#"{"server_uri": "a:1", "channel_creds": [{"type": "tls", "config": {"certificate_file": "a"}}]}"#,
            "xds_servers[0].channel_creds[0].config",
        ),
        (
            r#"{"server_uri": "a:1", "channel_creds": [{"type": "tls", "config": {"spiffe_trust_bundle_map_file": "a"}}]}"#,
            "spiffe_trust_bundle_map_file",
        ),
        (
            r#"{"server_uri": "a:1", "channel_creds": [{"type": "tls"}], "call_creds": [{"type": "jwt_token_file"}]}"#,
            "xds_servers[0].call_creds[0]",
        ),
        (
            r#"{"server_uri": "https://a:1", "channel_creds": [{"type": "tls"}]}"#,
            "xds_servers[0].server_uri",
        ),
        (
            r#"{"server_uri": "a:1", "channel_creds": [{"type": "insecure"}], "server_features": "x"}"#,
            "xds_servers[0].server_features",
        ),
        ("7", "xds_servers[0]"),
    ] {
        fs::write(&path, with_server(server)).unwrap();
        let error = Bootstrap::from_file(&path).unwrap_err().to_string();
        assert!(error.contains(field) && error.contains("b.json"), "{server}: {error}");
    }
    for (text, field) in [
        ("", "bootstrap"),
        ("[]", "bootstrap"),
        ("{}", "xds_servers"),
        (r#"{"xds_servers": {}}"#, "xds_servers"),
        (
            r#"{"authorities": {"a": {"client_listener_resource_name_template": "b"}}}"#,
            "authorities[\"a\"]",
        ),
        (r#"{"authorities": {"a": 7}}"#, "authorities[\"a\"]"),
        (r#"{"node": 7}"#, "node"),
        (r#"{"node": {"id": 7}}"#, "node.id"),
        (r#"{"node": {"locality": {"zone": 7}}}"#, "node.locality.zone"),
        (r#"{"certificate_providers": {"x": {}}}"#, "certificate_providers[\"x\"]"),
        (
            r#"{"certificate_providers": {"x": {"plugin_name": "file_watcher"}}}"#,
            "certificate_providers[\"x\"]",
        ),
        (
            r#"{"certificate_providers": {"x": {"plugin_name": "file_watcher", "config": {}}}}"#,
            "certificate_providers[\"x\"].config",
        ),
        (
            r#"{"certificate_providers": {"x": {"plugin_name": "file_watcher", "config": {"private_key_file": "k"}}}}"#,
            "certificate_providers[\"x\"].config",
        ),
        (r#"{"client_default_listener_resource_name_template": ""}"#, "client_default_listener"),
        (r#"{"tower_mesh": 7}"#, "tower_mesh"),
        (r#"{"tower_mesh": {"dialect": "istio"}}"#, "tower_mesh.dialect"),
        (r#"{"tower_mesh": {"dialects": "envoy"}}"#, "tower_mesh.dialects"),
        (r#"{"tower_mesh": {"secrets": {"a": 7}}}"#, "tower_mesh.secrets[\"a\"]"),
    ] {
        let error = refused(text);
        assert!(error.contains(field), "{text}: {error}");
    }
}

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
fn credentials_that_are_not_supported_are_passed_over_and_never_taken_for_plaintext() {
    let only =
        |creds: &str| with_server(&format!(r#"{{"server_uri": "a:1", "channel_creds": {creds}}}"#));
    let error = refused(&only(r#"[{"type": "local"}, {"type": "alts"}]"#));
    assert!(error.contains("`local`, `alts` is not supported"), "{error}");
    // A broken one that counts is an error, though a laxer one follows.
    refused(&only(r#"[{"type": "tls", "config": 7}, {"type": "insecure"}]"#));
    let read = Bootstrap::from_json(&only(r#"[{"type": "alts"}, {"type": "insecure"}]"#)).unwrap();
    assert_eq!(read.servers[0].creds, Creds::Insecure);
}

#[test]
fn a_token_is_never_sent_in_plaintext_over_a_network() {
    let build = |server: Server| Bootstrap::builder().server(server).build();
    let error = build(Server::insecure("a:1").token_file("t")).unwrap_err().to_string();
    assert!(error.contains("plaintext"), "{error}");
    assert!(build(Server::insecure("a:1").header("x-consul-token", "t")).is_err());
    assert!(build(Server::insecure("unix:/a").token_file("t")).is_ok());
    assert!(build(Server::tls("a:1", ServerTls::new()).token_file("t")).is_ok());
    assert!(build(Server::insecure("a:1").header("clusterid", "c")).is_ok());
    for (name, value) in
        [("", "a"), ("a b", "a"), ("grpc-timeout", "1S"), ("a", "\n"), ("a-bin", "a")]
    {
        assert!(build(Server::insecure("a:1").header(name, value)).is_err(), "{name}");
    }
    let shown = format!("{:?}", Server::tls("a:1", ServerTls::new()).header("x-token", "secret"));
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn durations_are_those_of_protobuf() {
    let of = |text: &str| {
        let config = format!(r#"{{"ca_certificate_file": "c", "refresh_interval": "{text}"}}"#);
        let server = format!(
            r#"{{"server_uri": "a:1", "channel_creds": [{{"type": "tls", "config": {config}}}]}}"#
        );
        let Creds::Tls(tls) =
            Bootstrap::from_json(&with_server(&server)).ok()?.servers[0].creds.clone()
        else {
            panic!("plaintext")
        };
        tls.refresh
    };
    assert_eq!(of("600s"), Some(Duration::from_secs(600)));
    assert_eq!(of("0.25s"), Some(Duration::from_millis(250)));
    assert_eq!(of("1.000000001s"), Some(Duration::new(1, 1)));
    for text in ["", "s", "-1s", "0s", "1", "1m", "1e3s", "1.0000000001s", "99999999999999s", "+1s"]
    {
        assert_eq!(of(text), None, "{text}");
    }
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

/// What is called could else name another authority.
#[test]
fn an_authority_is_no_place_for_what_is_called() {
    let text = format!(r#"{{"xds_servers": [{SERVER}], "authorities": {{"a%s": {{}}}}}}"#);
    let error = refused(&text);
    assert!(error.contains(r#"authorities["a%s"] = a%s: must have no `%s`"#), "{error}");
    let server = Server::insecure("xds.example:18000");
    let built = Bootstrap::builder().server(server).authority("%s", []).build();
    assert!(built.unwrap_err().to_string().contains("must have no `%s`"));
}

/// From these the fuzz target begins: bootstraps, and the variables of pods.
#[test]
fn seeds_of_the_fuzz_target_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus-seeds/xds_bootstrap");
    let mut kinds = BTreeMap::<String, usize>::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        sound::reads(text.as_bytes());
        let kind = path.extension().unwrap().to_string_lossy().into_owned();
        match &*kind {
            "json" => drop(Bootstrap::from_json(&text).unwrap()),
            "pod" => {
                let pairs = text.lines().filter_map(|line| line.split_once('='));
                let pairs: BTreeMap<_, _> =
                    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                drop(Bootstrap::istio().build_with(&pairs, Path::new("/nowhere")).unwrap());
            }
            // Of those that are wrong each is refused.
            kind => {
                assert_eq!(kind, "wrong");
                assert!(Bootstrap::from_json(&text).is_err(), "{}", path.display());
            }
        }
        *kinds.entry(kind).or_default() += 1;
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

proptest::proptest! {
    /// Words of the format in any order, so that more than the parser of JSON is reached.
    #[test]
    fn whatever_is_read_is_sound(
        id in "[ -~]{0,12}",
        uri in "(unix:///|dns:///|xds\\.example:|ipv4:|[a-z]:)?[ -~]{0,12}",
        kind in "insecure|tls|other",
        name in "[a-z%/\u{e9}]{0,4}",
        template in "(xdstp://[a-z%]{0,2}/)?[a-z%/]{0,6}",
        time in "[0-9]{0,13}(\\.[0-9]{0,10})?s?",
        value in "[ -~]{0,12}",
    ) {
        let bootstrap = json!({
            "xds_servers": [{
                "server_uri": uri,
                "channel_creds": [{"type": kind, "config": {"refresh_interval": time}}],
                "call_creds": [{"type": "jwt_token_file", "config": {"jwt_token_file": value}}],
            }, {"server_uri": "a:1", "channel_creds": [{"type": "insecure"}]}],
            "authorities": {name: {"client_listener_resource_name_template": template}, "b": {}},
            "client_default_listener_resource_name_template": template,
            "certificate_providers": {"p": {"plugin_name": "file_watcher", "config": {
                "ca_certificate_file": value, "refresh_interval": time
            }}},
            "node": {"id": id, "metadata": {"INSTANCE_IPS": value}},
            "tower_mesh": {"secrets": {(value.as_str()): "p"}},
        });
        sound::reads(bootstrap.to_string().as_bytes());
        let pod = format!(
            "POD_NAME={id}\nPOD_NAMESPACE=shop\nINSTANCE_IP=10.1.2.3\n\
             ISTIO_META_CLUSTER_ID={value}\nISTIO_METAJSON_LABELS={{{value}}}"
        );
        sound::reads(pod.as_bytes());
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        sound::reads(text.as_bytes());
        drop(Target::parse(&text));
        drop(Bootstrap::from_json(&with_server(&format!(
            r#"{{"server_uri": {text:?}, "channel_creds": [{{"type": {text:?}}}]}}"#
        ))));
    }
}
