//! What is looked up for a service, by its name or as some systems name it.

use std::{net::SocketAddr, time::Duration};

use crate::config::{DnsDiscovery, DnsFamily, DnsKind, dns_name::DnsName};

/// What is looked up for a service, and how.
#[derive(Clone, Debug)]
#[must_use = "it says what to look up, and looks nothing up"]
pub struct Lookup {
    pub(super) dns: DnsDiscovery,
}

impl Lookup {
    /// `dns:///host:port`, or the name of an SRV record.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let is_service = name.parse::<DnsName>().is_ok_and(|name| name.is_of_service());
        let kind = if is_service { DnsKind::Srv } else { DnsKind::Strict };
        Self { dns: DnsDiscovery { name, kind, ..DnsDiscovery::default() } }
    }

    /// What the answers mean. Default: each is an endpoint; SRV for a name that begins with `_`.
    pub fn kind(mut self, kind: DnsKind) -> Self {
        self.dns.kind = kind;
        self
    }

    /// Asks this server, too. Default: the servers of the source.
    pub fn server(mut self, server: SocketAddr) -> Self {
        self.dns.resolvers.push(server.into());
        self
    }

    /// Which addresses are used. Default: both families, IPv6 first.
    pub fn family(mut self, family: DnsFamily) -> Self {
        self.dns.family = Some(family);
        self
    }

    /// The longest time between two questions, whatever the TTL. Unit: time, from 1 s. Default:
    /// 60 s.
    pub fn refresh(mut self, longest: Duration) -> Self {
        self.dns.refresh = Some(longest);
        self
    }

    /// Whether TTLs are respected, within 1 s and `refresh`; if not, it is asked every `refresh`.
    /// Default: yes.
    pub fn respect_ttl(mut self, respect: bool) -> Self {
        self.dns.respect_ttl = Some(respect);
        self
    }

    /// How long a last good answer outlives its TTL while DNS fails or answers nothing. Unit: time.
    /// Default: 1 h.
    pub fn stale_limit(mut self, limit: Duration) -> Self {
        self.dns.stale_limit = Some(limit);
        self
    }

    /// Asks over TCP alone. Default: as `use-vc` of the system says, or only for what UDP does not
    /// hold.
    pub fn use_tcp(mut self, tcp: bool) -> Self {
        self.dns.use_tcp = Some(tcp);
        self
    }
}

impl From<&str> for Lookup {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Lookup {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<DnsDiscovery> for Lookup {
    fn from(dns: DnsDiscovery) -> Self {
        Self { dns }
    }
}
