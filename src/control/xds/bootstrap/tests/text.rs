//! Bootstraps as JSON: every field, what of it is wrong, and where it is read from.

use std::{collections::BTreeMap, ffi::OsString, fs, time::Duration};

use serde_json::json;

use super::*;

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
