//! DNS as a source: names from the code, as clusters that DNS fills.

use std::{collections::BTreeMap, net::SocketAddr, pin::Pin, time::Duration};

use super::Lookup;
use crate::{
    config::{Cluster, Discovery, DnsDiscovery, DnsFamily, dns_name::DnsName},
    discover::{Discover, Publisher},
};

/// Services whose endpoints DNS knows.
///
/// ```no_run
/// use std::time::Duration;
/// use tower_mesh::{Mesh, discover::dns::{Consul, Dns, Kubernetes}};
///
/// # async fn example() -> Result<(), tower_mesh::Error> {
/// let mesh = Mesh::builder()
///     .source(
///         Dns::system()
///             .service("users.prod", "dns:///users.prod.example.com:8080")
///             .service("orders.prod", Kubernetes::headless("orders", "prod").port(8080)),
///     )
///     .source(Dns::servers(["127.0.0.1:8600".parse().unwrap()]).service("web", Consul::service("web")))
///     .build()?;
/// mesh.ready().await?;
/// # Ok(())
/// # }
/// ```
///
/// Each name is a cluster, and the service of the same name. The mesh file says the same by
/// `discovery: {dns: {name: dns:///host:port}}` of a cluster. A name that cannot be one is
/// reported by [`Mesh::ready`](crate::Mesh::ready), and fails the calls to its service.
///
/// The setters here are for every name that does not say otherwise itself.
///
/// # Without a name
///
/// A source that is given no name is for those that no source defines: they are looked up when they
/// are first called, with the settings of this source, as
/// [`UnknownNames::Dns`](crate::UnknownNames::Dns) does with the system's. One that has names is for these
/// alone; both kinds may stand in one mesh. Presets always name what they look up, and so say nothing of
/// other names.
///
/// ```no_run
/// use tower_mesh::{Mesh, discover::dns::Dns};
///
/// # async fn example() -> Result<(), tower_mesh::Error> {
/// let mesh = Mesh::builder().source(Dns::system()).build()?;
/// let users = mesh.client("users.example.com:8080")?;
/// # Ok(())
/// # }
/// ```
///
/// [`build`](crate::MeshBuilder::build) refuses it beside
/// [`UnknownNames::Refuse`](crate::UnknownNames::Refuse) if the code says that, beside another one of other
/// settings, and if a setting of its own is out of its range.
#[derive(Clone, Debug, Default)]
#[must_use = "a source does nothing until it is given to a mesh"]
pub struct Dns {
    usual: DnsDiscovery,
    names: BTreeMap<String, DnsDiscovery>,
}

impl Dns {
    /// Asks the servers of the system (`/etc/resolv.conf`), in its search domains and as its options
    /// say; names of its file of hosts are not asked for.
    pub fn system() -> Self {
        Self::default()
    }

    /// Asks these servers, and knows of no search domains but those that are given.
    pub fn servers(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let resolvers = servers.into_iter().map(Into::into).collect();
        let usual = DnsDiscovery { resolvers, ..DnsDiscovery::default() };
        Self { usual, names: BTreeMap::new() }
    }

    /// Adds a service, and what is looked up for it: `dns:///host:port`, the name of an SRV record
    /// (`dns:///_http._tcp.users.prod`), a [`Lookup`], or one of the presets.
    pub fn service(mut self, name: &str, lookup: impl Into<Lookup>) -> Self {
        self.names.insert(name.to_ascii_lowercase(), lookup.into().dns);
        self
    }

    /// Domains that names without a final dot are looked for in. Default: the system's, or none
    /// with servers of your own.
    pub fn search<D: Into<String>>(mut self, domains: impl IntoIterator<Item = D>) -> Self {
        self.usual.search = domains.into_iter().map(Into::into).collect();
        self
    }

    /// The dots in a name from which on it is first asked as it is. Default: the system's, or 1.
    /// Range: 0..=15.
    pub fn ndots(mut self, dots: u32) -> Self {
        self.usual.ndots = Some(dots);
        self
    }

    /// Which addresses are used. Default: both families, IPv6 first.
    pub fn family(mut self, family: DnsFamily) -> Self {
        self.usual.family = Some(family);
        self
    }

    /// How long a last good answer outlives its TTL while DNS fails or answers nothing. Unit: time.
    /// Default: 1 h.
    pub fn stale_limit(mut self, limit: Duration) -> Self {
        self.usual.stale_limit = Some(limit);
        self
    }

    /// The longest time between two questions, whatever the TTL. Unit: time, from 1 s. Default:
    /// 60 s.
    pub fn refresh(mut self, longest: Duration) -> Self {
        self.usual.refresh = Some(longest);
        self
    }

    /// Asks over TCP alone. Default: as `use-vc` of the system says, or only for what UDP does not
    /// hold.
    pub fn use_tcp(mut self, tcp: bool) -> Self {
        self.usual.use_tcp = Some(tcp);
        self
    }

    /// What is asked for a name: its own settings, and for the rest those of all.
    fn settings(&self, own: DnsDiscovery) -> DnsDiscovery {
        let usual = self.usual.clone();
        let names_server = own.name.parse::<DnsName>().is_ok_and(|name| name.server.is_some());
        let or = |own: Vec<_>, usual| if own.is_empty() { usual } else { own };
        DnsDiscovery {
            family: own.family.or(usual.family),
            refresh: own.refresh.or(usual.refresh),
            stale_limit: own.stale_limit.or(usual.stale_limit),
            use_tcp: own.use_tcp.or(usual.use_tcp),
            resolvers: if names_server {
                own.resolvers
            } else {
                or(own.resolvers, usual.resolvers)
            },
            search: if own.search.is_empty() { usual.search } else { own.search },
            ndots: own.ndots.or(usual.ndots),
            ..own
        }
    }
}

impl Discover for Dns {
    fn name(&self) -> String {
        if self.usual.resolvers.is_empty() {
            return "dns".into();
        }
        let servers: Vec<String> = self.usual.resolvers.iter().map(ToString::to_string).collect();
        format!("dns {}", servers.join(" "))
    }

    fn unknown_names(&self) -> Option<DnsDiscovery> {
        self.names.is_empty().then(|| self.usual.clone())
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            for (name, own) in &self.names {
                let discovery = Some(Discovery::Dns(self.settings(own.clone())));
                // A refusal is reported as an event, and by `Mesh::ready`.
                drop(publish.cluster(name, Cluster { discovery, ..Cluster::default() }));
            }
            publish.synced();
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_both_families_where_the_others_have_one() {
        let dns = Dns::system().family(DnsFamily::V4Only);
        let family = |own: Lookup| dns.settings(own.dns).family;
        assert_eq!(family("dns:///users".into()), Some(DnsFamily::V4Only));
        let both = Lookup::new("dns:///users").family(DnsFamily::All);
        assert_eq!(family(both), Some(DnsFamily::All));
    }
}
