//! Configuration that the code gives once.

use std::pin::Pin;

use super::{Discover, Publisher};
use crate::config::{Cluster, Config, Endpoint, Service};

/// A source that never changes.
#[derive(Clone, Debug, Default)]
pub struct Static {
    config: Config,
}

impl Static {
    /// Publishes this configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Adds endpoints to a cluster, which is also the service of the same name.
    #[must_use]
    pub fn endpoints<E: Into<Endpoint>>(
        mut self,
        cluster: &str,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Self {
        let name = cluster.to_ascii_lowercase();
        let cluster = self.config.clusters.entry(name).or_default();
        cluster.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// Adds or replaces a service.
    #[must_use]
    pub fn service(mut self, name: &str, service: Service) -> Self {
        self.config.services.insert(name.to_owned(), service);
        self
    }

    /// Adds or replaces a cluster.
    #[must_use]
    pub fn cluster(mut self, name: &str, cluster: Cluster) -> Self {
        self.config.clusters.insert(name.to_owned(), cluster);
        self
    }
}

impl Discover for Static {
    fn name(&self) -> String {
        "static".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            // A refusal is reported as an event, and by `Mesh::ready`.
            for (name, files) in self.config.identities {
                drop(publish.identity(&name, files));
            }
            for (key, percent) in self.config.runtime {
                drop(publish.runtime(&key, percent));
            }
            for (name, rules) in self.config.authorize {
                drop(publish.authorize(&name, rules));
            }
            // Services first: a cluster alone is the service of its name, without rules and limits.
            for (name, service) in self.config.services {
                drop(publish.service(&name, service));
            }
            for (name, cluster) in self.config.clusters {
                drop(publish.cluster(&name, cluster));
            }
            publish.synced();
        })
    }
}
