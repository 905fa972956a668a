//! A bootstrap in code.

use std::sync::Arc;

use serde_json::Value;

use super::{Authority, Bootstrap, Dialect, node::Node, server::Server, template::Template};
use crate::config::{ConfigError, ConfigErrors, IdentityFiles};

/// Builds a [`Bootstrap`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct BootstrapBuilder {
    servers: Vec<Server>,
    authorities: Vec<(String, Vec<Server>, Option<String>)>,
    listener_template: Option<String>,
    server_template: Option<String>,
    node: Node,
    metadata: Vec<(String, Result<Value, String>)>,
    providers: Vec<(String, IdentityFiles)>,
    secrets: Vec<(String, String)>,
    dialect: Option<Dialect>,
}

impl BootstrapBuilder {
    /// Adds a control plane. The first is asked; each further one while those before it cannot be
    /// reached (gRFC A71).
    pub fn server(mut self, server: Server) -> Self {
        self.servers.push(server);
        self
    }

    /// Adds an authority: who is asked for its names (`xdstp://name/…`), in order (gRFC A47). Without
    /// servers it is the top level's.
    pub fn authority(
        mut self,
        name: impl Into<String>,
        servers: impl IntoIterator<Item = Server>,
    ) -> Self {
        self.authorities.push((name.into(), servers.into_iter().collect(), None));
        self
    }

    /// What a listener of the authority that was added last is called; `%s` stands for the name that
    /// is called. It must begin with `xdstp://name/`. Default:
    /// `xdstp://name/envoy.config.listener.v3.Listener/%s`.
    pub fn authority_template(mut self, template: impl Into<String>) -> Self {
        if let Some((.., given)) = self.authorities.last_mut() {
            *given = Some(template.into());
        }
        self
    }

    /// What a listener is called; `%s` stands for the name that is called, percent-encoded if the
    /// template begins with `xdstp:`. Default: `%s`, and in [`Dialect::Sidecar`] by the port.
    pub fn listener_template(mut self, template: impl Into<String>) -> Self {
        self.listener_template = Some(template.into());
        self
    }

    /// What the listener of a server is called; `%s` stands for its address. Default: none.
    pub fn server_listener_template(mut self, template: impl Into<String>) -> Self {
        self.server_template = Some(template.into());
        self
    }

    /// Who asks. Default: empty.
    pub fn node_id(mut self, id: impl Into<String>) -> Self {
        self.node.id = id.into();
        self
    }

    /// The cluster of who asks. Default: empty.
    pub fn node_cluster(mut self, cluster: impl Into<String>) -> Self {
        self.node.cluster = cluster.into();
        self
    }

    /// Where who asks runs: region, zone, sub-zone. Default: empty.
    pub fn node_locality(
        mut self,
        region: impl Into<String>,
        zone: impl Into<String>,
        sub_zone: impl Into<String>,
    ) -> Self {
        self.node.region = region.into();
        self.node.zone = zone.into();
        self.node.sub_zone = sub_zone.into();
        self
    }

    /// A field of the node's metadata, a text.
    pub fn node_metadata(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.metadata.push((name.into(), Ok(Value::String(text.into()))));
        self
    }

    /// A field of the node's metadata, any JSON.
    pub fn node_metadata_json(mut self, name: impl Into<String>, json: &str) -> Self {
        let value = serde_json::from_str(json).map_err(|error| format!("is no JSON: {error}"));
        self.metadata.push((name.into(), value));
        self
    }

    /// What clusters mean by this certificate provider (gRFC A29).
    pub fn certificate_provider(mut self, name: impl Into<String>, files: IdentityFiles) -> Self {
        self.providers.push((name.into(), files));
        self
    }

    /// The certificate provider that stands for a secret (SDS) of this name, in any dialect: its certificate
    /// and key, or its roots. It goes before what the stream may say of such a secret. Default: none, but
    /// in [`Dialect::Sidecar`] the provider `default` for Istio's `default` and `ROOTCA`.
    ///
    /// It is for secrets that clusters take from another server (`api_config_source`), as SPIRE's agent and
    /// Istio's are, whose files are here.
    pub fn secret(mut self, name: impl Into<String>, provider: impl Into<String>) -> Self {
        self.secrets.push((name.into(), provider.into()));
        self
    }

    /// How the control plane speaks. Default: [`Dialect::Sidecar`] if the node's id begins with `sidecar~`
    /// and its metadata has no `GENERATOR`, else [`Dialect::Proxyless`]; [`Dialect::Envoy`] is never guessed.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// Checks it. Nothing is read or connected to.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used, by its name in a bootstrap file.
    pub fn build(self) -> Result<Bootstrap, ConfigErrors> {
        let mut errors = Vec::new();
        let mut node = self.node;
        for (name, value) in self.metadata {
            match value {
                Ok(value) => drop(node.metadata.insert(name, value)),
                Err(why) => {
                    errors.push(ConfigError::new(format!("node.metadata.{name}"), "", why));
                }
            }
        }
        let mut template = |field: &str, text: Option<String>| {
            let parsed = Template::new(&text?);
            parsed.map_err(|why| errors.push(ConfigError::new(field, "", why))).ok()
        };
        let default_template =
            template("client_default_listener_resource_name_template", self.listener_template);
        let server_template =
            template("server_listener_resource_name_template", self.server_template);
        let mut authorities = std::collections::BTreeMap::new();
        for (name, servers, text) in self.authorities {
            let path = format!("authorities[{name:?}]");
            let template = match text {
                None => Template::of_authority(&name),
                Some(text) => Template::within(&text, &name).unwrap_or_else(|why| {
                    let path = format!("{path}.client_listener_resource_name_template");
                    errors.push(ConfigError::new(path, text, why));
                    Template::of_authority(&name)
                }),
            };
            let name: Arc<str> = name.into();
            if authorities.insert(Arc::clone(&name), Authority { servers, template }).is_some() {
                errors.push(ConfigError::new(path, name, "is given twice"));
            }
        }
        let notes = node.without_unspoken().into_iter().collect();
        let mut bootstrap = Bootstrap {
            servers: self.servers,
            authorities,
            default_template,
            server_template,
            dialect: self.dialect.unwrap_or_else(|| Dialect::of(&node)),
            node,
            certificate_providers: self.providers.into_iter().collect(),
            secrets: self.secrets.into_iter().collect(),
            notes,
        };
        bootstrap.note_losses();
        if let Err(ConfigErrors(found)) = bootstrap.check() {
            errors.extend(found);
        }
        if errors.is_empty() { Ok(bootstrap) } else { Err(ConfigErrors(errors)) }
    }
}
