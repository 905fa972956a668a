//! Whatever is read is sound: seeds of the fuzz target, words of the format, and any text.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::json;

use super::*;

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
