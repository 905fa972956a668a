//! Where an endpoint listens.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::SocketAddr,
    path::PathBuf,
    str::FromStr,
    sync::Arc,
};

use super::ConfigError;

/// A socket address or the path of a Unix socket; as text `127.0.0.1:80`, `[::1]:80` or
/// `unix:/run/app.sock`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Address {
    /// IP address and port.
    Socket(SocketAddr),
    /// The path of a Unix socket.
    Unix(Arc<PathBuf>),
}

impl FromStr for Address {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(ConfigError::new("address", text, "the path of the socket is empty"));
            }
            return Ok(Self::Unix(Arc::new(path.into())));
        }
        let address: SocketAddr = text.parse().map_err(|_| {
            let wanted =
                "expected an IP address with a port (`10.0.0.1:80`, `[::1]:80`) or `unix:/path`";
            ConfigError::new("address", text, format!("{wanted}{}", hint_of_dns(text)))
        })?;
        if address.port() == 0 {
            return Err(ConfigError::new("address", text, "the port must be in 1..=65535"));
        }
        Ok(Self::Socket(address))
    }
}

/// What to write for a host name, where the text may be one.
pub(crate) fn hint_of_dns(text: &str) -> String {
    let rest = text.strip_prefix("dns:").unwrap_or(text).trim_start_matches('/');
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if host.chars().all(legal)
        && host.contains(|c: char| c.is_ascii_alphabetic())
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        format!(
            "; for a host name: `discovery: {{dns: {{name: \"dns:///{rest}\"}}}}` of the cluster"
        )
    } else {
        String::new()
    }
}

/// In one write where that is possible: a cluster may hash 100,000 at once.
impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Socket(SocketAddr::V4(address)) => {
                state
                    .write_u64(u64::from(address.ip().to_bits()) << 16 | u64::from(address.port()));
            }
            Self::Socket(SocketAddr::V6(address)) => {
                state.write_u128(address.ip().to_bits());
                state.write_u16(address.port());
            }
            Self::Unix(path) => path.hash(state),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl Address {
    /// The same with another port, if one is given and it has any.
    pub(crate) fn with_port(&self, port: Option<u16>) -> Self {
        match (self, port) {
            (Self::Socket(address), Some(port)) => {
                Self::Socket(SocketAddr::new(address.ip(), port))
            }
            _ => self.clone(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
