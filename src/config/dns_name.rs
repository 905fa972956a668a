//! The names that DNS is asked: `[dns:[//server[:port]/]]host[:port]` (gRPC naming).

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// The port of a DNS server that none is given for.
const DNS_PORT: u16 = 53;

/// A name taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct DnsName {
    /// The server that is asked, where the name says it.
    pub(crate) server: Option<SocketAddr>,
    pub(crate) host: Host,
    pub(crate) port: Option<u16>,
}

/// What stands in the place of a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Host {
    /// In small letters; with its final dot, if it has one.
    Name(String),
    Address(IpAddr),
}

// === impl DnsName ===

impl DnsName {
    /// Whether it has the form of the names of SRV records: `_service._proto.name`.
    pub(crate) fn is_of_service(&self) -> bool {
        matches!(&self.host, Host::Name(name) if name.starts_with('_'))
    }
}

impl FromStr for DnsName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (server, rest) = match text.split_once(':') {
            Some(("dns", rest)) => match rest.strip_prefix("//") {
                Some(rest) => {
                    let (server, rest) = rest.split_once('/').ok_or_else(|| {
                        "a server needs a name behind it: `dns:///host:port`".to_owned()
                    })?;
                    (server_of(server)?, rest)
                }
                None => (None, rest),
            },
            _ if text.contains("://") => {
                return Err("its scheme is not `dns`".to_owned());
            }
            _ => (None, text),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port_of(port)?)),
            _ => (rest, None),
        };
        Ok(Self { server, host: host.parse()?, port })
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr =
                inner.parse().map_err(|_| format!("`{inner}` is not an IPv6 address"))?;
            return Ok(Self::Address(address.into()));
        }
        if let Ok(IpAddr::V4(address)) = text.parse() {
            return Ok(Self::Address(address.into()));
        }
        is_name(text)?;
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Labels of letters, digits, `-` and `_`, of 63 characters at most, and of 253 together.
//= RFC 1035 §2.3.4: labels 63 octets or less, names 255 octets or less
pub(crate) fn is_name(text: &str) -> Result<(), String> {
    let plain = text.strip_suffix('.').unwrap_or(text);
    if plain.is_empty() {
        return Err("the host is empty".to_owned());
    }
    if plain.len() > 253 {
        return Err("the host is longer than 253 characters".to_owned());
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    for label in plain.split('.') {
        if label.is_empty() || label.len() > 63 || !label.bytes().all(legal) {
            return Err(format!(
                "`{label}` is not a label of a DNS name: 1 to 63 letters, digits, `-` or `_`"
            ));
        }
    }
    Ok(())
}

fn port_of(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or_else(|| format!("the port `{text}` is not in 1..=65535"))
}

fn server_of(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = text.parse().ok().filter(|server: &SocketAddr| server.port() > 0);
    let server = with_port
        .or_else(|| plain.parse().ok().map(|address: IpAddr| (address, DNS_PORT).into()))
        .ok_or_else(|| {
            format!("the server `{text}` is not an IP address with or without a port")
        })?;
    Ok(Some(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::Name(text.to_owned())
    }

    fn name(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    #[test]
    fn the_forms_of_a_name_mean_the_same() {
        let expected = DnsName { server: None, host: host("users.prod"), port: Some(80) };
        for text in ["dns:///users.prod:80", "dns:Users.Prod:80", "users.prod:80"] {
            assert_eq!(name(text), expected, "{text}");
        }
        assert_eq!(name("dns:///users.").host, host("users."));
        assert_eq!(name("dns:///[::1]:80").host, Host::Address("::1".parse().unwrap()));
        assert_eq!(name("10.0.0.1").host, Host::Address("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_name_may_say_its_server() {
        let servers = ["10.0.0.53", "10.0.0.53:5353", "[::1]", "[::1]:5353"];
        let expected = ["10.0.0.53:53", "10.0.0.53:5353", "[::1]:53", "[::1]:5353"];
        for (server, expected) in servers.iter().zip(expected) {
            let name = name(&format!("dns://{server}/users:80"));
            assert_eq!(name.server.unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_reason() {
        let long = format!("{}.a", "a".repeat(64));
        for (text, reason) in [
            ("", "the host is empty"),
            ("dns:///", "the host is empty"),
            ("dns:///.", "the host is empty"),
            ("dns:///a..b:80", "`` is not a label"),
            ("dns:///a b", "`a b` is not a label"),
            ("dns:///é", "is not a label"),
            ("dns:///a:0", "the port `0`"),
            ("dns:///a:+80", "the port `+80`"),
            ("dns:///a/b", "is not a label"),
            ("dns://10.0.0.1", "needs a name behind it"),
            ("dns://a/b", "the server `a`"),
            ("http://a", "its scheme is not `dns`"),
            ("[::1", "is not a label"),
            ("[a]:80", "`a` is not an IPv6 address"),
            (long.as_str(), "is not a label"),
        ] {
            let error = text.parse::<DnsName>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(is_name(&"a.".repeat(128)).is_err());
    }

    #[test]
    fn names_of_srv_records_are_told_apart() {
        assert!(name("_http._tcp.users.prod").is_of_service());
        assert!(!name("users.prod:80").is_of_service());
    }
}
