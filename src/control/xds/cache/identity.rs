//! Whose resources they are: what a control plane was told of who asks, and which were asked.

use std::fmt::Write as _;

use crate::control::xds::bootstrap::{Bootstrap, Creds, Dialect, Server};

/// What must be the same for what one process was told to be true for another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    /// The id of the node.
    pub(crate) node: String,
    /// All that the planes are told of it, and how they speak.
    pub(crate) asks: String,
    /// Which planes are asked, whose names each, and how each proves who it is.
    pub(crate) planes: String,
}

// === impl Identity ===

impl Identity {
    pub(crate) fn of(bootstrap: &Bootstrap) -> Self {
        let node = &bootstrap.node;
        let dialect = match bootstrap.dialect {
            Dialect::Proxyless => "proxyless",
            Dialect::Sidecar => "sidecar",
            Dialect::Envoy => "envoy",
        };
        let metadata = serde_json::to_string(&node.metadata).unwrap_or_default();
        let asks = format!(
            "{dialect} {:?} {:?} {:?} {:?} {metadata}",
            node.cluster, node.region, node.zone, node.sub_zone
        );
        let mut planes = list(&bootstrap.servers);
        for (name, authority) in &bootstrap.authorities {
            let _written = write!(planes, "; {name:?}: {}", list(&authority.servers));
        }
        Self { node: node.id.clone(), asks, planes }
    }

    /// What of it is not as in `other`, in words.
    pub(crate) fn differs(&self, other: &Self) -> Option<String> {
        if self.node != other.node {
            return Some(format!(
                "it is of node `{}`, and this is node `{}`",
                self.node.escape_debug(),
                other.node.escape_debug()
            ));
        }
        if self.planes != other.planes {
            return Some(format!(
                "it was heard from other control planes ({}), and those of this bootstrap are {}",
                self.planes.escape_debug(),
                other.planes.escape_debug()
            ));
        }
        (self.asks != other.asks).then(|| {
            "its node had another cluster, locality, metadata or dialect than that of this bootstrap"
                .to_owned()
        })
    }
}

/// No token and no header: neither changes what is said.
fn list(servers: &[Server]) -> String {
    let one = |server: &Server| match &server.creds {
        Creds::Insecure => format!("{} insecure", server.uri),
        Creds::Tls(tls) => {
            format!("{} tls {:?} {:?}", server.uri, tls.roots, tls.server_name)
        }
    };
    servers.iter().map(one).collect::<Vec<_>>().join(", ")
}
