//! Listeners of calls that come in, read as a control plane sends them.

use super::{
    bootstrap::Bootstrap,
    resource::{self, Context, Inbound, InboundRoutes, Refused},
    source::{context, identities},
};
use crate::config::{ConfigError, ConfigErrors, Role};

impl Inbound {
    /// Reads a listener: `resource` is the encoded `envoy.config.listener.v3.Listener`.
    ///
    /// # Errors
    ///
    /// When it says what is not supported, or is not valid: a listener that cannot be enforced is none.
    pub fn decode(resource: &[u8], bootstrap: &Bootstrap) -> Result<Self, ConfigErrors> {
        let read = resource::inbound(&comes_in(bootstrap), resource);
        let mut read = read.map_err(|bad| errors("listener", &bad))?;
        let used = |name: &str| {
            let chains = read.chains.iter().chain(&read.default_chain);
            let mut all = chains.filter_map(|chain| chain.security.as_ref());
            all.any(|security| {
                let references = [&security.tls.certificate, &security.tls.roots];
                references.into_iter().flatten().any(|reference| reference.provider == name)
            })
        };
        let mut files = identities(&bootstrap.certificate_providers);
        files.retain(|name, _| used(name));
        read.identities.extend(files);
        Ok(read)
    }

    /// The names of the resources (RDS) that chains have their routes from, and that are not here yet; each once.
    #[must_use]
    pub fn awaited(&self) -> Vec<&str> {
        let chains = self.chains.iter().chain(&self.default_chain);
        let routes = chains.filter_map(|chain| chain.http.as_ref()).map(|http| &http.routes);
        let mut names: Vec<&str> = routes
            .filter_map(|routes| match routes {
                InboundRoutes::Named(name) => Some(name.as_str()),
                InboundRoutes::Hosts(_) => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// This, with the routes of a resource that chains of it name ([`InboundHttp::routes_name`](super::InboundHttp::routes_name)),
    /// in the place of those that they had: the encoded `envoy.config.route.v3.RouteConfiguration`.
    ///
    /// # Errors
    ///
    /// When the routes say what is not supported, or are not valid, or no chain names them.
    pub fn routes(&self, resource: &[u8], bootstrap: &Bootstrap) -> Result<Self, ConfigErrors> {
        resource::with_routes(&comes_in(bootstrap), self, resource)
            .map_err(|bad| errors("routes", &bad))
    }
}

fn comes_in(bootstrap: &Bootstrap) -> Context {
    Context { role: Role::Receiver, ..context(bootstrap) }
}

fn errors(kind: &str, bad: &Refused) -> ConfigErrors {
    let name = bad.name.as_deref().unwrap_or("(no name)");
    ConfigErrors(vec![ConfigError::new(format!("xds.{kind}"), name, bad.reason.clone())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_providers_that_chains_use_are_told() {
        let bootstrap = Bootstrap::from_json(
            r#"{
                "xds_servers": [{
                    "server_uri": "xds.example:18000", "channel_creds": [{"type": "insecure"}]
                }],
                "certificate_providers": {
                    "default": {"plugin_name": "file_watcher", "config": {
                        "certificate_file": "a", "private_key_file": "b", "ca_certificate_file": "c"
                    }},
                    "another": {"plugin_name": "file_watcher", "config": {
                        "certificate_file": "d", "private_key_file": "e", "ca_certificate_file": "f"
                    }}
                }
            }"#,
        )
        .unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus-seeds/xds_inbound/grpc");
        let read = Inbound::decode(&std::fs::read(path).unwrap(), &bootstrap).unwrap();
        let security = read.chains[0].security.as_ref().unwrap();
        assert_eq!(read.identities.len(), 1);
        let (name, files) = read.identities.first_key_value().unwrap();
        for reference in [&security.tls.certificate, &security.tls.roots] {
            assert_eq!(&reference.as_ref().unwrap().provider, name);
        }
        assert_eq!(*files, bootstrap.certificate_providers["default"]);
    }
}
