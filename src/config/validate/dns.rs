//! Checks of DNS as a source of endpoints.

#[cfg(feature = "dns")]
use std::time::Duration;

use super::Checker;
use crate::config::DnsDiscovery;
#[cfg(feature = "dns")]
use crate::config::{Address, DnsKind, dns_name, dns_name::DnsName};

#[cfg(not(feature = "dns"))]
const NO_FEATURE: &str = "needs the feature `dns`, which this build is without";
/// The shortest time between two questions.
#[cfg(feature = "dns")]
const SHORTEST: Duration = Duration::from_secs(1);
/// The most dots that `ndots` may ask for (resolv.conf).
#[cfg(feature = "dns")]
const MOST_DOTS: u32 = 15;

impl Checker {
    #[cfg(not(feature = "dns"))]
    pub(super) fn dns(&mut self, dns: &DnsDiscovery) {
        self.refuse("", &dns.name, NO_FEATURE);
    }

    #[cfg(feature = "dns")]
    pub(super) fn dns(&mut self, dns: &DnsDiscovery) {
        let DnsDiscovery {
            name,
            kind,
            refresh,
            failure_refresh,
            failure_refresh_max,
            // Either will do.
            respect_ttl: _,
            jitter,
            stale_limit,
            // Any will do.
            family: _,
            use_tcp: _,
            resolvers,
            search,
            ndots,
            targets,
        } = dns;
        for (index, target) in targets.iter().enumerate() {
            let field = format!("targets[{index}].name");
            match target.name.parse::<DnsName>() {
                Err(reason) => self.refuse(&field, &target.name, reason),
                Ok(parsed) if parsed.server.is_some() || *kind == DnsKind::Srv => {
                    self.refuse(&field, &target.name, "one of several names has no server or kind");
                }
                Ok(_) => {}
            }
        }
        match name.parse::<DnsName>() {
            Err(reason) => self.refuse("name", name, format!("{reason}; as `dns:///host:port`")),
            Ok(parsed) => self.dns_name(name, &parsed, *kind, resolvers),
        }
        for (field, wait) in [
            ("refresh", refresh),
            ("failure_refresh", failure_refresh),
            ("failure_refresh_max", failure_refresh_max),
        ] {
            self.time(field, *wait);
            if let Some(wait) = wait
                && *wait < SHORTEST
            {
                self.refuse(field, format!("{wait:?}"), "must be at least 1 s");
            }
        }
        if let (Some(first), Some(most)) = (failure_refresh, failure_refresh_max)
            && first > most
        {
            let reason = format!("must be at most failure_refresh_max ({most:?})");
            self.refuse("failure_refresh", format!("{first:?}"), reason);
        }
        self.time("jitter", *jitter);
        self.time("stale_limit", *stale_limit);
        for (index, server) in resolvers.iter().enumerate() {
            if let Address::Unix(_) = server {
                let reason = "a DNS server is an IP address with a port";
                self.refuse(&format!("resolvers[{index}]"), server, reason);
            }
        }
        for (index, domain) in search.iter().enumerate() {
            if let Err(reason) = dns_name::is_name(domain) {
                self.refuse(&format!("search[{index}]"), domain, reason);
            }
        }
        if let Some(ndots) = ndots.filter(|ndots| *ndots > MOST_DOTS) {
            self.refuse("ndots", ndots, "must be in 0..=15");
        }
    }

    #[cfg(feature = "dns")]
    fn dns_name(&mut self, name: &str, parsed: &DnsName, kind: DnsKind, resolvers: &[Address]) {
        if parsed.server.is_some() && !resolvers.is_empty() {
            self.refuse("name", name, "names a server, and so do `resolvers`: one of them only");
        }
        let is_literal = matches!(parsed.host, dns_name::Host::Address(_));
        match kind {
            DnsKind::Srv if is_literal => {
                self.refuse("name", name, "an address has no SRV records");
            }
            DnsKind::Srv if parsed.port.is_some() => {
                self.refuse("name", name, "the port is said by the SRV records");
            }
            DnsKind::Strict | DnsKind::Logical if parsed.is_of_service() => {
                self.refuse("name", name, "a name of SRV records: `kind` must be `srv`");
            }
            DnsKind::Srv | DnsKind::Strict | DnsKind::Logical => {}
        }
    }
}
