//! What holds of any text: it is a bootstrap that is sound, or it is refused; for the fuzz target and a
//! property test.

#![allow(clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use prost::Message as _;

use super::{Bootstrap, Creds, Dialect};
use crate::config::ConfigErrors;

/// What is called, some of it no name.
const CALLED: [&str; 4] = ["users.prod:80", "", "a b/%s?\u{e9}#", "%25%s"];
/// A place of istiod's, and none: its agent is asked.
const ISTIODS: [Option<&str>; 2] = [None, Some("istiod.example:15012")];

/// Reads a bootstrap. Text that does not begin as an object of JSON is taken for the variables of a pod,
/// too, one a line.
///
/// # Panics
///
/// If what is read is not sound.
pub(crate) fn reads(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = Bootstrap::from_json(text);
    assert_eq!(Bootstrap::from_json(text), read);
    judge(&read);
    if text.trim_start().starts_with('{') {
        return;
    }
    let pair = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    let variables: BTreeMap<String, String> = text.lines().filter_map(pair).collect();
    for dialect in [Dialect::Sidecar, Dialect::Proxyless, Dialect::Envoy] {
        for istiod in ISTIODS {
            let mut istio = Bootstrap::istio().dialect(dialect);
            if dialect == Dialect::Envoy {
                istio = istio.listener_template("0.0.0.0_8080");
            }
            if let Some(address) = istiod {
                istio = istio.istiod(address);
            }
            let read = istio.build_with(&variables, Path::new(""));
            judge(&read);
            let Ok(bootstrap) = read else { continue };
            assert_eq!(bootstrap.dialect, dialect);
            is_of_a_pod(&bootstrap.node.id);
        }
    }
}

/// istiod takes the id of a node apart at its `~`.
fn is_of_a_pod(id: &str) {
    let parts: Vec<&str> = id.split('~').collect();
    let ["sidecar", ip, pod, domain] = parts.as_slice() else { panic!("{id:?}") };
    assert!(ip.parse::<IpAddr>().is_ok(), "{id:?}");
    assert!(pod.contains('.') && domain.contains(".svc."), "{id:?}");
    assert!(!id.contains(char::is_whitespace), "{id:?}");
}

fn judge(read: &Result<Bootstrap, ConfigErrors>) {
    match read {
        Ok(bootstrap) => is_sound(bootstrap),
        Err(ConfigErrors(errors)) => {
            assert!(!errors.is_empty(), "it is refused for nothing");
            for error in errors {
                assert!(!error.path.is_empty() && !error.reason.is_empty(), "{error:?}");
            }
        }
    }
}

fn is_sound(bootstrap: &Bootstrap) {
    assert_eq!(bootstrap.check(), Ok(()));
    assert!(bootstrap.asks_as(bootstrap));
    assert!(!bootstrap.servers.is_empty());
    for provider in bootstrap.secrets.values() {
        assert!(bootstrap.certificate_providers.contains_key(provider), "{provider:?}");
    }
    for server in bootstrap.every_server() {
        let target = server.target().expect("a place that can be dialled");
        assert!(!target.authority().is_empty(), "{target:?}");
        //= gRFC A97: no token is sent in plaintext over a network
        let in_the_clear = server.creds == Creds::Insecure && target.is_remote();
        assert!(!in_the_clear || server.call_creds.is_empty(), "{server:?}");
    }
    for called in CALLED {
        assert!(bootstrap.listener(None, called).is_ok());
        for name in bootstrap.authorities.keys() {
            let listener = bootstrap.listener(Some(name), called).expect("it is one of its own");
            //= gRFC A47: whatever is called, the name stays in its authority
            assert!(listener.starts_with(&format!("xdstp://{name}/")), "{listener}");
        }
    }
    // Nothing is asked for that is not spoken.
    let is_of_istio = bootstrap.node.id.starts_with("sidecar~");
    assert!(!is_of_istio || !bootstrap.node.metadata.contains_key("ENABLE_HBONE"));
    let node = bootstrap.node.message(bootstrap.dialect);
    assert_eq!(node.id, bootstrap.node.id);
    assert_eq!(node.encode_to_vec().len(), node.encoded_len());
    let _is_ipv6: bool = bootstrap.node.is_ipv6();
    assert!(!format!("{bootstrap:?}").is_empty());
}
