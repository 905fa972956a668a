//! How control planes are found: gRPC's bootstrap, from its variables, a file, or code.

mod builder;
mod credentials;
mod env;
mod google;
mod istio;
mod json;
mod node;
mod server;
#[cfg(any(test, fuzzing))]
pub(crate) mod sound;
mod target;
mod template;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::Path, sync::Arc};

use crate::config::{ConfigError, ConfigErrors, IdentityFiles};

pub use self::{
    builder::BootstrapBuilder,
    credentials::CallCredentials,
    istio::Istio,
    server::{Server, ServerTls},
};
pub(crate) use self::{
    credentials::is_free,
    google::Google,
    node::Node,
    server::{CallCreds, Creds},
    target::Target,
    template::Template,
};

/// Which control planes there are, how they are reached, and who asks them: gRPC's bootstrap (gRFC A27,
/// A29, A47, A53, A65, A71, A81, A87, A88, A97).
///
/// It is read when it is made, not when the process starts, and each mesh may have one of its own.
///
/// ```
/// use tower_mesh::control::xds::Bootstrap;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bootstrap = Bootstrap::from_json(
///     r#"{
///         "xds_servers": [{
///             "server_uri": "xds.example:18000",
///             "channel_creds": [{"type": "insecure"}]
///         }],
///         "node": {"id": "orders-1", "locality": {"zone": "a"}}
///     }"#,
/// )?;
/// # drop(bootstrap);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct Bootstrap {
    /// In the order in which they are asked. Not empty.
    pub(crate) servers: Vec<Server>,
    pub(crate) authorities: BTreeMap<Arc<str>, Authority>,
    /// What a listener is called where somebody says it.
    pub(crate) default_template: Option<Template>,
    /// What the listener of a server is called.
    pub(crate) server_template: Option<Template>,
    pub(crate) node: Node,
    pub(crate) certificate_providers: BTreeMap<String, IdentityFiles>,
    /// The certificate providers that stand for secrets (SDS), by the secret's name.
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) dialect: Dialect,
    /// What of it was ignored when it was made, and what its dialect loses, in words.
    notes: Vec<String>,
}

/// Who is asked for the names of an authority.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Authority {
    /// In the order in which they are asked. Empty: those of the top level.
    pub(crate) servers: Vec<Server>,
    pub(crate) template: Template,
}

/// How a control plane speaks: whose meaning counts where a resource says nothing, and what listeners are
/// called.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Dialect {
    /// As to gRPC, whose meaning counts: a listener is asked for by the name that is called.
    #[default]
    Proxyless,
    /// As istiod does to the Envoy beside an application: Envoy's meaning counts, and a name is a host on the
    /// listener of its port (`0.0.0.0_8080`; of a port whose protocol has no name, on that of the host's address),
    /// unless [`listener_template`](BootstrapBuilder::listener_template) or an authority says what it is called.
    Sidecar,
    /// As to any Envoy: its meaning counts. A listener is asked for by the name that is called, by
    /// [`listener_template`](BootstrapBuilder::listener_template), or by what
    /// [`Xds::service`](super::Xds::service) names; the virtual host is that of the name that is called.
    Envoy,
}

impl Bootstrap {
    /// From the file that `GRPC_XDS_BOOTSTRAP` names, else from the content of
    /// `GRPC_XDS_BOOTSTRAP_CONFIG`.
    ///
    /// # Errors
    ///
    /// When there is neither, or the one that counts cannot be used: the other is not tried then.
    pub fn from_env() -> Result<Self, ConfigErrors> {
        env::read(|name| std::env::var_os(name))
    }

    /// From a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, and every field that cannot be used.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        env::file(path.as_ref(), "bootstrap")
    }

    /// From JSON.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used. Unknown ones are ignored, as gRPC does, but within `tower_mesh`, where
    /// what gRPC does not know is said: `dialect` and `secrets`.
    pub fn from_json(json: &str) -> Result<Self, ConfigErrors> {
        json::parse(json, "bootstrap")
    }

    /// From code.
    pub fn builder() -> BootstrapBuilder {
        BootstrapBuilder::default()
    }

    /// For a pod of an Istio mesh.
    pub fn istio() -> Istio {
        Istio::new()
    }

    /// Has these credentials shown to servers with `google_default`, in place of those of the metadata server:
    /// for key files and other kinds of Application Default Credentials, which a library of Google's can
    /// read. TLS stays.
    ///
    /// ```
    /// use http::HeaderValue;
    /// use tower_mesh::control::xds::{Bootstrap, CallCredentials};
    ///
    /// # async fn of_google() -> Result<HeaderValue, std::io::Error> { Ok(HeaderValue::from_static("Bearer x")) }
    /// # #[cfg(feature = "tls")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let json = r#"{"xds_servers": [{"server_uri": "trafficdirector.googleapis.com:443",
    /// #     "channel_creds": [{"type": "google_default"}]}]}"#;
    /// let bootstrap = Bootstrap::from_json(json)?.google_default(&CallCredentials::new(of_google));
    /// # drop(bootstrap);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "tls"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn google_default(mut self, credentials: &CallCredentials) -> Self {
        let of_authorities = self.authorities.values_mut().flat_map(|it| &mut it.servers);
        for server in self.servers.iter_mut().chain(of_authorities) {
            for creds in &mut server.call_creds {
                if matches!(creds, CallCreds::Google(_)) {
                    *creds = CallCreds::Given(credentials.clone());
                }
            }
        }
        self
    }

    /// What of it is ignored, in words: certificate providers and credentials that are not supported, and a
    /// key file of Google's, with which streams fail. And what istiod leaves out in the dialect of gRPC, which
    /// a sidecar is told.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        let creds = self.every_server().into_iter().flat_map(|server| &server.call_creds);
        for creds in creds {
            // One variable names it for all of them.
            if let CallCreds::Google(google) = creds
                && let Some(note) = google.trouble()
                && !notes.contains(&note)
            {
                notes.push(note);
            }
        }
        notes
    }

    /// What the listener of a server at this address is called, as its template
    /// (`server_listener_resource_name_template`) says; none where that is not given (gRFC A36).
    #[must_use]
    pub fn server_listener(&self, address: SocketAddr) -> Option<String> {
        let template = self.server_template.as_ref()?;
        Some(template.name(&address.to_string()))
    }

    /// Whether its control plane is istiod in the dialect that leaves TLS modes out.
    pub(crate) fn drops_tls_modes(&self) -> bool {
        let generator = self.node.metadata.get("GENERATOR");
        let is_istio = generator.and_then(serde_json::Value::as_str) == Some("grpc")
            || self.node.id.starts_with("sidecar~");
        is_istio && self.dialect == Dialect::Proxyless
    }

    /// Says what its dialect loses.
    fn note_losses(&mut self) {
        if self.drops_tls_modes() {
            self.notes.push(istio::LEFT_OUT.to_owned());
        }
    }

    /// What the listener for a name is called. An authority may be named: `xds://authority/name`.
    ///
    /// # Errors
    ///
    /// When it has no such authority.
    pub(crate) fn listener(
        &self,
        authority: Option<&str>,
        called: &str,
    ) -> Result<String, ConfigError> {
        let Some(authority) = authority else {
            let given = self.default_template.as_ref();
            return Ok(given.map_or_else(|| called.to_owned(), |template| template.name(called)));
        };
        let found = self.authorities.get(authority);
        let found = found.ok_or_else(|| {
            let why = "is no authority of the bootstrap (`authorities`)";
            ConfigError::new(format!("xds://{authority}/{called}"), authority, why)
        })?;
        Ok(found.template.name(called))
    }

    /// Whether names are hosts on the listener of their port.
    pub(crate) fn listens_by_port(&self) -> bool {
        self.dialect == Dialect::Sidecar && self.default_template.is_none()
    }

    /// Every server, each once.
    pub(crate) fn every_server(&self) -> Vec<&Server> {
        let all = self.authorities.values().flat_map(|authority| &authority.servers);
        let mut every: Vec<&Server> = Vec::new();
        for server in self.servers.iter().chain(all) {
            if !every.contains(&server) {
                every.push(server);
            }
        }
        every
    }

    /// Whether whoever asks by the other one asks the same, as the same, and reads answers alike: then
    /// both can share a client. What listeners are called is decided by whoever asks.
    pub(crate) fn asks_as(&self, other: &Self) -> bool {
        self.servers == other.servers
            && self.node == other.node
            && self.certificate_providers == other.certificate_providers
            && self.secrets == other.secrets
            && self.dialect == other.dialect
            && self.authorities.keys().eq(other.authorities.keys())
            && self
                .authorities
                .values()
                .zip(other.authorities.values())
                .all(|(one, other)| one.servers == other.servers)
    }

    fn check(&self) -> Result<(), ConfigErrors> {
        let mut errors = Vec::new();
        let servers = |path: &str, servers: &[Server], errors: &mut Vec<ConfigError>| {
            for (index, server) in servers.iter().enumerate() {
                server.check(&format!("{path}[{index}]"), errors);
            }
        };
        if self.servers.is_empty() {
            let why = "must have at least one control plane";
            errors.push(ConfigError::new("xds_servers", "[]", why));
        }
        servers("xds_servers", &self.servers, &mut errors);
        for (name, authority) in &self.authorities {
            if name.contains("%s") {
                let path = format!("authorities[{name:?}]");
                let why = "must have no `%s`: what is called would be its name";
                errors.push(ConfigError::new(path, name, why));
            }
            let path = format!("authorities[{name:?}].xds_servers");
            servers(&path, &authority.servers, &mut errors);
        }
        for (name, files) in &self.certificate_providers {
            if cfg!(feature = "_tls")
                && let Err(ConfigErrors(found)) = files.validate(name)
            {
                let place = format!("certificate_providers[{name:?}]");
                errors.extend(found.into_iter().map(|mut error| {
                    let field = error.path.rsplit('.').next().unwrap_or_default().to_owned();
                    error.path = format!("{place}.config.{field}");
                    error
                }));
            }
        }
        for (name, instance) in &self.secrets {
            if !self.certificate_providers.contains_key(instance) {
                let path = format!("tower_mesh.secrets[{name:?}]");
                let why = "is no certificate provider of the bootstrap (`certificate_providers`)";
                errors.push(ConfigError::new(path, instance, why));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }
}

impl Dialect {
    /// What a node's own words ask for: Istio tells its clients apart by them.
    fn of(node: &Node) -> Self {
        if node.id.starts_with("sidecar~") && !node.metadata.contains_key("GENERATOR") {
            Self::Sidecar
        } else {
            Self::Proxyless
        }
    }
}

impl fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorities: Vec<_> = self.authorities.keys().collect();
        let providers: Vec<_> = self.certificate_providers.keys().collect();
        f.debug_struct("Bootstrap")
            .field("servers", &self.servers)
            .field("authorities", &authorities)
            .field("listener", &self.default_template.as_ref().map_or("%s", Template::as_str))
            .field("node", &self.node.id)
            .field("certificate_providers", &providers)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}
