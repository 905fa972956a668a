//! Names as some systems give them, with what is special about each.

use std::time::Duration;

use super::Lookup;
use crate::config::DnsKind;

/// How often Docker is asked: its TTL of 600 s says nothing about its containers.
const DOCKER_REFRESH: Duration = Duration::from_secs(10);

/// A headless service of Kubernetes: one address for each pod that is ready.
///
/// A service that is not headless has one address for all of its pods, among which nobody here
/// can balance; [`Mesh::describe`](crate::Mesh::describe) tells of a name with one address. The name is absolute, `<service>.<namespace>.svc.cluster.local.`: the `ndots:5` of
/// pods makes four questions out of any other. When no pod is ready, the name does not exist, and
/// the last good answer is kept for the stale limit.
///
/// ```
/// use tower_mesh::discover::dns::{Dns, Kubernetes};
///
/// let dns = Dns::system()
///     .service("users.prod", Kubernetes::headless("users", "prod").port(8080))
///     .service("orders.prod", Kubernetes::headless("orders", "prod").port_name("grpc"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it says what to look up, and looks nothing up"]
pub struct Kubernetes {
    service: String,
    namespace: String,
    zone: String,
    port: u16,
    port_name: Option<String>,
}

impl Kubernetes {
    /// The service `service` of `namespace`, at port 80.
    pub fn headless(service: &str, namespace: &str) -> Self {
        Self {
            service: service.to_owned(),
            namespace: namespace.to_owned(),
            zone: "cluster.local".to_owned(),
            port: 80,
            port_name: None,
        }
    }

    /// The port that its pods listen at. Default: 80.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The name of a port of the service, whose number SRV records give.
    pub fn port_name(mut self, name: &str) -> Self {
        self.port_name = Some(name.to_owned());
        self
    }

    /// The domain of the cluster. Default: `cluster.local`.
    pub fn zone(mut self, zone: &str) -> Self {
        zone.trim_matches('.').clone_into(&mut self.zone);
        self
    }
}

impl From<Kubernetes> for Lookup {
    fn from(this: Kubernetes) -> Self {
        let Kubernetes { service, namespace, zone, port, port_name } = this;
        match port_name {
            Some(name) => {
                Self::new(format!("dns:///_{name}._tcp.{service}.{namespace}.svc.{zone}."))
                    .kind(DnsKind::Srv)
            }
            None => Self::new(format!("dns:///{service}.{namespace}.svc.{zone}.:{port}")),
        }
    }
}

/// A service of Docker Swarm or Compose, asked of Docker's own resolver.
///
/// Swarm gives the plain name of a service one virtual address, and `tasks.<service>` those of its
/// containers. The TTL is 600 s whatever happens to the containers, so it is asked every 10 s
/// ([`Lookup::refresh`] says another time). Docker cuts answers at 512 bytes for whoever does not
/// say by EDNS0 that it takes more, which we do. Its SRV records are wrong, and not used.
///
/// ```
/// use tower_mesh::discover::dns::{Dns, Docker};
///
/// let dns = Dns::system()
///     .service("web", Docker::swarm("web").port(8080))
///     .service("db", Docker::compose("db").port(5000));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it says what to look up, and looks nothing up"]
pub struct Docker {
    name: String,
    port: u16,
}

impl Docker {
    /// The containers of a Swarm service, at port 80.
    pub fn swarm(service: &str) -> Self {
        Self { name: format!("tasks.{service}"), port: 80 }
    }

    /// The containers of a Compose service (or of a Swarm service of `endpoint_mode: dnsrr`), at
    /// port 80.
    pub fn compose(service: &str) -> Self {
        Self { name: service.to_owned(), port: 80 }
    }

    /// The port that the containers listen at. Default: 80.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
}

impl From<Docker> for Lookup {
    fn from(Docker { name, port }: Docker) -> Self {
        Self::new(format!("dns:///{name}.:{port}")).refresh(DOCKER_REFRESH)
    }
}

/// A service of Consul, by SRV records of the instances that pass their checks.
///
/// Consul is asked over TCP: over UDP it leaves instances out without saying so. Targets that carry
/// their address in hexadecimal (`0a000001.addr.dc1.consul`, or the same in the
/// [`domain`](Self::domain) that is asked) are read, not looked up. Its TTL is 0
/// unless configured, so it is asked every second. The agent's port is 8600:
///
/// ```
/// use tower_mesh::discover::dns::{Consul, Dns};
///
/// let agent = "127.0.0.1:8600".parse().unwrap();
/// let dns = Dns::servers([agent])
///     .service("web", Consul::service("web"))
///     .service("web-v2", Consul::service("web").tag("v2").datacenter("dc2"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it says what to look up, and looks nothing up"]
pub struct Consul {
    service: String,
    tag: Option<String>,
    datacenter: Option<String>,
    domain: String,
}

impl Consul {
    /// The instances of a service.
    pub fn service(service: &str) -> Self {
        let service = service.to_owned();
        Self { service, tag: None, datacenter: None, domain: "consul".to_owned() }
    }

    /// Only instances of this tag.
    pub fn tag(mut self, tag: &str) -> Self {
        self.tag = Some(tag.to_owned());
        self
    }

    /// The data centre. Default: the agent's own.
    pub fn datacenter(mut self, datacenter: &str) -> Self {
        self.datacenter = Some(datacenter.to_owned());
        self
    }

    /// The domain that the agent answers for. Default: `consul`.
    pub fn domain(mut self, domain: &str) -> Self {
        domain.trim_matches('.').clone_into(&mut self.domain);
        self
    }
}

impl From<Consul> for Lookup {
    fn from(this: Consul) -> Self {
        let Consul { service, tag, datacenter, domain } = this;
        let tag = tag.unwrap_or_else(|| "tcp".to_owned());
        let datacenter = datacenter.map_or_else(String::new, |name| format!(".{name}"));
        Self::new(format!("dns:///_{service}._{tag}.service{datacenter}.{domain}."))
            .kind(DnsKind::Srv)
            .use_tcp(true)
    }
}

/// A task of Mesos, by the SRV records of Mesos-DNS: `_service._tcp.framework.mesos`.
///
/// ```
/// use tower_mesh::discover::dns::{Dns, Mesos};
///
/// let dns = Dns::system()
///     .service("web", Mesos::task("web", "marathon"))
///     .service("admin", Mesos::task("web", "marathon").port_name("admin"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it says what to look up, and looks nothing up"]
pub struct Mesos {
    task: String,
    framework: String,
    port_name: Option<String>,
    domain: String,
}

impl Mesos {
    /// The task `task` of `framework`, with all of its ports.
    pub fn task(task: &str, framework: &str) -> Self {
        Self {
            task: task.to_owned(),
            framework: framework.to_owned(),
            port_name: None,
            domain: "mesos".to_owned(),
        }
    }

    /// The one of its ports that has this name. A task of several ports needs it: each port would
    /// be an endpoint.
    pub fn port_name(mut self, name: &str) -> Self {
        self.port_name = Some(name.to_owned());
        self
    }

    /// The domain of Mesos-DNS. Default: `mesos`.
    pub fn domain(mut self, domain: &str) -> Self {
        domain.trim_matches('.').clone_into(&mut self.domain);
        self
    }
}

impl From<Mesos> for Lookup {
    fn from(this: Mesos) -> Self {
        let Mesos { task, framework, port_name, domain } = this;
        let port = port_name.map_or_else(String::new, |name| format!("_{name}."));
        Self::new(format!("dns:///{port}_{task}._tcp.{framework}.{domain}.")).kind(DnsKind::Srv)
    }
}
