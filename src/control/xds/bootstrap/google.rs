//! Google's default credentials (`google_default`), of which Traffic Director's own bootstrap has no others.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

/// An access token of Application Default Credentials: where it is had.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Google {
    /// The metadata server of the machine.
    pub(crate) host: Arc<str>,
    /// The key file that is named instead, which is not read here.
    pub(crate) key_file: Option<PathBuf>,
}

// === impl Google ===

impl Google {
    /// As the variables of the process say.
    pub(super) fn of_env() -> Self {
        Self::of(|name| std::env::var_os(name))
    }

    pub(super) fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let said = |name: &str| variable(name).filter(|value| !value.is_empty());
        let host = said(HOST).and_then(|host| host.into_string().ok());
        Self {
            host: host.as_deref().unwrap_or(METADATA_SERVER).into(),
            key_file: said(KEY_FILE).map(PathBuf::from),
        }
    }

    /// Why no token can be had, whoever is asked. A key file is never passed over: the metadata server would
    /// say that the caller is somebody else.
    pub(crate) fn trouble(&self) -> Option<String> {
        let file = self.key_file.as_deref()?.display();
        Some(format!(
            "`google_default`: the file {file} that `{KEY_FILE}` names is not read; give credentials by \
             `Bootstrap::google_default`, or unset it to have those of the metadata server"
        ))
    }
}

/// Where the metadata server is, else.
const HOST: &str = "GCE_METADATA_HOST";
const METADATA_SERVER: &str = "metadata.google.internal";
/// The file of keys that goes before the metadata server.
const KEY_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "_tls")]
    use crate::control::xds::bootstrap::{
        Bootstrap, CallCredentials, CallCreds, Creds, Server, ServerTls,
    };

    fn of(pairs: &[(&str, &str)]) -> Google {
        Google::of(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn the_metadata_server_is_asked_unless_a_key_file_is_named() {
        let usual = of(&[("GCE_METADATA_HOST", ""), ("GOOGLE_APPLICATION_CREDENTIALS", "")]);
        assert_eq!(usual, of(&[]));
        assert_eq!((&*usual.host, usual.trouble()), ("metadata.google.internal", None));
        assert_eq!(&*of(&[("GCE_METADATA_HOST", "127.0.0.1:80")]).host, "127.0.0.1:80");
        let trouble = of(&[("GOOGLE_APPLICATION_CREDENTIALS", "/key.json")]).trouble().unwrap();
        assert!(trouble.contains("/key.json"), "{trouble}");
        assert!(trouble.contains("Bootstrap::google_default"), "{trouble}");
    }

    /// What `td-grpc-bootstrap` writes for Traffic Director.
    #[cfg(feature = "_tls")]
    #[test]
    fn google_default_is_tls_with_the_systems_roots_and_an_access_token() {
        let bootstrap = Bootstrap::from_json(
            r#"{
                "xds_servers": [{
                    "server_uri": "trafficdirector.googleapis.com:443",
                    "channel_creds": [{"type": "google_default"}],
                    "server_features": ["xds_v3", "ignore_resource_deletion"]
                }],
                "authorities": {
                    "traffic-director-c2p.xds.googleapis.com": {
                        "xds_servers": [{
                            "server_uri": "dns:///directpath-pa.googleapis.com",
                            "channel_creds": [{"type": "google_default"}],
                            "server_features": ["xds_v3", "ignore_resource_deletion"]
                        }],
                        "client_listener_resource_name_template":
                            "xdstp://traffic-director-c2p.xds.googleapis.com/envoy.config.listener.v3.Listener/%s"
                    }
                },
                "node": {
                    "id": "projects/1/networks/default/nodes/b4f9c818",
                    "cluster": "cluster",
                    "metadata": {"INSTANCE_IP": "10.0.0.1", "TRAFFICDIRECTOR_GRPC_HOSTNAME": "h"},
                    "locality": {"zone": "us-central1-a"}
                },
                "certificate_providers": {
                    "google_cloud_private_spiffe": {"plugin_name": "file_watcher", "config": {
                        "certificate_file": "/var/run/secrets/workload-spiffe-credentials/certificates.pem",
                        "private_key_file": "/var/run/secrets/workload-spiffe-credentials/private_key.pem",
                        "ca_certificate_file": "/var/run/secrets/workload-spiffe-credentials/ca_certificates.pem",
                        "refresh_interval": "600s"
                    }}
                },
                "server_listener_resource_name_template": "grpc/server?xds.resource.listening_address=%s"
            }"#,
        )
        .unwrap();
        let server = &bootstrap.servers[0];
        let wanted = Server::google_default("trafficdirector.googleapis.com:443");
        assert_eq!(*server, wanted.ignore_resource_deletion(true));
        assert_eq!(server.creds, Creds::Tls(ServerTls::new()));
        assert!(matches!(server.call_creds.as_slice(), [CallCreds::Google(_)]), "{server:?}");
        // What the code has instead, of all of them.
        let own = CallCredentials::new(|| async { Err("nobody") });
        let given = bootstrap.clone().google_default(&own);
        assert_eq!(given.every_server().len(), 2);
        for server in given.every_server() {
            assert_eq!(server.call_creds, [CallCreds::Given(own.clone())]);
            assert_eq!(server.creds, Creds::Tls(ServerTls::new()));
        }
        assert!(!given.asks_as(&bootstrap));
    }

    /// Its streams fail, and whoever looks at the bootstrap learns why.
    #[cfg(feature = "_tls")]
    #[test]
    fn a_key_file_that_is_named_is_noted_once_whoever_says_its_servers() {
        const KEYS: (&str, &str) = ("GOOGLE_APPLICATION_CREDENTIALS", "/key.json");
        let named = |uri: &str| {
            let mut server = Server::google_default(uri);
            server.call_creds = vec![CallCreds::Google(of(&[KEYS]))];
            server
        };
        let wanted = of(&[KEYS]).trouble().unwrap();
        let built = Bootstrap::builder().server(named("a:443")).authority("b", [named("b:443")]);
        let built = built.build().unwrap();
        assert_eq!(built.notes(), [&*wanted]);
        let of_authority = Bootstrap::builder().server(Server::insecure("unix:/a"));
        let of_authority = of_authority.authority("b", [named("b:443")]).build().unwrap();
        assert_eq!(of_authority.notes(), [&*wanted]);
        // What a file says besides stays, whatever names it has.
        let json = r#"{"xds_servers": [{"server_uri": "a:443", "channel_creds": [{"type": "google_default"}],
            "call_creds": [{"type": "GOOGLE_APPLICATION_CREDENTIALS"}]}]}"#;
        let mut read = Bootstrap::from_json(json).unwrap();
        read.servers[0].call_creds = vec![CallCreds::Google(of(&[KEYS]))];
        let notes = read.notes();
        assert_eq!((notes.len(), &notes[1]), (2, &wanted));
        let own = CallCredentials::new(|| async { Err("nobody") });
        let (built, read) = (built.google_default(&own), read.google_default(&own));
        assert_eq!(built.notes(), [""; 0]);
        assert_eq!(read.notes(), [&*notes[0]]);
    }
}
