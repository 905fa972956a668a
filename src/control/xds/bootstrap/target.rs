//! Where a control plane listens: the forms of a `server_uri` (gRPC Name Resolution).

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

/// Where a control plane listens.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Target {
    /// A host, whose addresses are asked for with each connection, and a port.
    Host { host: Arc<str>, port: u16 },
    /// These addresses.
    Addresses(Vec<SocketAddr>),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// `host:port`, `dns:///host:port`, `ipv4:10.0.0.1:80`, `ipv6:[::1]:80`, `unix:/path`.
    pub(crate) fn parse(uri: &str) -> Result<Self, String> {
        let (scheme, rest) = match uri.split_once(':') {
            Some((scheme @ ("unix" | "dns" | "ipv4" | "ipv6" | "passthrough"), rest)) => {
                (scheme, rest)
            }
            Some((scheme @ ("unix-abstract" | "vsock" | "xds" | "google-c2p"), _)) => {
                return Err(format!("the scheme `{scheme}` is not supported for a control plane"));
            }
            Some((scheme @ ("http" | "https"), rest)) if rest.starts_with("//") => {
                let rest = rest.trim_start_matches('/');
                return Err(format!(
                    "is no target of gRPC: write `{rest}`, and whether it is secured in its \
                     credentials (`{scheme}` says nothing here)"
                ));
            }
            _ => ("", uri),
        };
        let rest = match rest.strip_prefix("//") {
            // An authority stands between these two and the next one.
            Some(after) if !scheme.is_empty() => match after.split_once('/') {
                Some(("", path)) if scheme == "unix" => {
                    return unix(&format!("/{path}"));
                }
                Some(("", path)) => path,
                Some((authority, _)) => {
                    return Err(format!("the authority `{authority}` is not supported"));
                }
                None => return Err("has no path after its authority".to_owned()),
            },
            _ => rest,
        };
        match scheme {
            "unix" => unix(rest),
            "ipv4" | "ipv6" => addresses(scheme, rest),
            _ => host(rest.strip_prefix('/').unwrap_or(rest)),
        }
    }

    /// The same for each spelling of a place: of a socket its absolute path.
    pub(crate) fn place(self) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(std::path::absolute(&path).unwrap_or(path)),
            Self::Host { .. } | Self::Addresses(_) => self,
        }
    }

    /// The name by which the server is asked for, and which its certificate must have.
    #[cfg(any(test, feature = "_tls"))]
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Host { host, .. } => host.to_string(),
            Self::Addresses(list) => {
                list.first().map_or_else(String::new, |first| first.ip().to_string())
            }
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// The `:authority` of its streams.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Host { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Host { host, port } => format!("{host}:{port}"),
            Self::Addresses(list) => list.first().map_or_else(String::new, ToString::to_string),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Whether what is sent there leaves the machine.
    pub(crate) fn is_remote(&self) -> bool {
        !matches!(self, Self::Unix(_))
    }
}

fn unix(path: &str) -> Result<Target, String> {
    if path.is_empty() || path.contains('\0') {
        return Err("the path of the socket is empty or has a zero byte".to_owned());
    }
    Ok(Target::Unix(path.into()))
}

fn addresses(scheme: &str, list: &str) -> Result<Target, String> {
    let mut addresses = Vec::new();
    for text in list.split(',') {
        let address: SocketAddr = text
            .parse()
            .ok()
            .filter(|address: &SocketAddr| address.port() > 0)
            .filter(|address| address.is_ipv6() == (scheme == "ipv6"))
            .ok_or_else(|| format!("`{text}` is no {scheme} address with a port"))?;
        addresses.push(address);
    }
    Ok(Target::Addresses(addresses))
}

fn host(text: &str) -> Result<Target, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.port() == 0 {
            return Err("the port must be in 1..=65535".to_owned());
        }
        return Ok(Target::Addresses(vec![address]));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => {
            let port = port.parse().ok().filter(|port| *port > 0);
            (host, port.ok_or("the port must be in 1..=65535")?)
        }
        Some(_) => return Err("is no `host:port`; an IPv6 address stands in brackets".to_owned()),
        None => (text, HTTPS),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if host.is_empty() || host.len() > 253 || !host.chars().all(legal) {
        return Err(format!("`{host}` is no host name"));
    }
    Ok(Target::Host { host: host.trim_end_matches('.').to_ascii_lowercase().into(), port })
}

/// What gRPC takes where no port is given.
const HTTPS: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_grpc_are_read() {
        let host = |host: &str, port| Target::Host { host: host.into(), port };
        for (text, target) in [
            ("xds.example:18000", host("xds.example", 18_000)),
            ("XDS.example.", host("xds.example", 443)),
            ("dns:xds.example:1", host("xds.example", 1)),
            ("dns:///xds.example:1", host("xds.example", 1)),
            ("passthrough:///xds.example:1", host("xds.example", 1)),
            ("trafficdirector.googleapis.com:443", host("trafficdirector.googleapis.com", 443)),
            ("127.0.0.1:9", Target::Addresses(vec!["127.0.0.1:9".parse().unwrap()])),
            ("[::1]:9", Target::Addresses(vec!["[::1]:9".parse().unwrap()])),
            (
                "ipv4:10.0.0.1:9,10.0.0.2:9",
                Target::Addresses(vec![
                    "10.0.0.1:9".parse().unwrap(),
                    "10.0.0.2:9".parse().unwrap(),
                ]),
            ),
            ("ipv6:[::1]:9", Target::Addresses(vec!["[::1]:9".parse().unwrap()])),
            ("unix:///etc/istio/proxy/XDS", Target::Unix("/etc/istio/proxy/XDS".into())),
            ("unix:/etc/istio/proxy/XDS", Target::Unix("/etc/istio/proxy/XDS".into())),
            ("unix:XDS", Target::Unix("XDS".into())),
        ] {
            assert_eq!(Target::parse(text).as_ref(), Ok(&target), "{text}");
        }
    }

    #[test]
    fn each_spelling_of_a_place_is_that_place() {
        let place = |text: &str| Target::parse(text).unwrap().place();
        for [one, other] in [
            ["unix:/run/XDS", "unix:///run/XDS"],
            ["unix:/run/XDS", "unix:/run/.//XDS"],
            ["XDS.example", "dns:///xds.example:443"],
            ["127.0.0.1:9", "ipv4:127.0.0.1:9"],
        ] {
            assert_eq!(place(one), place(other), "{one} {other}");
        }
        assert_ne!(place("unix:XDS"), place("unix:/XDS"));
        let here = std::env::current_dir().unwrap();
        assert_eq!(place("unix:XDS"), place(&format!("unix:{}/XDS", here.display())));
        assert_eq!(place("unix:XDS"), place("unix:./XDS"));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "",
            ":80",
            "a:0",
            "a:65536",
            "a b:80",
            "http://a:80",
            "https://a:80",
            "xds:///a",
            "unix:",
            "unix://host/path",
            "unix-abstract:a",
            "dns://8.8.8.8/a:80",
            "::1:80",
            "ipv4:[::1]:80",
            "ipv6:1.2.3.4:80",
            "ipv4:",
            "1.2.3.4:0",
            "a/b:80",
            "dns://",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_name_is_what_a_certificate_has() {
        let of = |text: &str| Target::parse(text).unwrap();
        assert_eq!(of("a.example:80").name(), "a.example");
        assert_eq!(of("[::1]:80").name(), "::1");
        assert_eq!(of("[::1]:80").authority(), "[::1]:80");
        assert_eq!(of("unix:/a").authority(), "localhost");
        assert!(!of("unix:/a").is_remote() && of("a").is_remote());
    }
}
