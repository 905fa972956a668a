//! Listeners of calls that come in, read as a control plane sends them.

use super::{
    bootstrap::Bootstrap,
    resource::{self, Context, Inbound, InboundRoutes, Refused},
    source::context,
};
use crate::config::{ConfigError, ConfigErrors, Role};

impl Inbound {
    /// Reads a listener: `resource` is the encoded `envoy.config.listener.v3.Listener`.
    ///
    /// # Errors
    ///
    /// When it says what is not supported, or is not valid: a listener that cannot be enforced is none.
    pub fn decode(resource: &[u8], bootstrap: &Bootstrap) -> Result<Self, ConfigErrors> {
        resource::inbound(&comes_in(bootstrap), resource).map_err(|bad| errors("listener", &bad))
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

    /// This, with the routes of a resource that it waits for: the encoded
    /// `envoy.config.route.v3.RouteConfiguration`. One of another name changes nothing.
    ///
    /// # Errors
    ///
    /// When the routes say what is not supported, or are not valid.
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
