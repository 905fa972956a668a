//! Where an endpoint listens.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc};

use super::ConfigError;

/// A socket address or the path of a Unix socket; as text `127.0.0.1:80`, `[::1]:80` or
/// `unix:/run/app.sock`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
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
            ConfigError::new(
                "address",
                text,
                "expected an IP address with a port (`10.0.0.1:80`, `[::1]:80`) or `unix:/path`",
            )
        })?;
        if address.port() == 0 {
            return Err(ConfigError::new("address", text, "the port must be in 1..=65535"));
        }
        Ok(Self::Socket(address))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
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
