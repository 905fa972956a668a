//! The types of resources that are asked for.

use std::fmt;

/// A type of resources, in the order of what needs what.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Kind {
    /// LDS: what a name is, and what all of its calls pass.
    Listener,
    /// RDS: which calls go where.
    Routes,
    /// CDS: a set of endpoints, and how they are called.
    Cluster,
    /// EDS: the endpoints of a cluster.
    Endpoints,
    /// SDS: keys and certificates, and whom to trust.
    Secret,
}

// === impl Kind ===

impl Kind {
    pub(crate) const COUNT: usize = 5;
    pub(crate) const ALL: [Self; Self::COUNT] =
        [Self::Listener, Self::Routes, Self::Cluster, Self::Endpoints, Self::Secret];

    /// The URL of the type, as requests, answers and resources carry it.
    #[must_use]
    pub fn url(self) -> &'static str {
        match self {
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }

    /// The name of its message: `envoy.config.listener.v3.Listener`.
    pub(crate) fn message(self) -> &'static str {
        let url = self.url();
        url.strip_prefix("type.googleapis.com/").unwrap_or(url)
    }

    pub(crate) fn of_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.url() == url)
    }

    /// What it is called in short: `LDS`.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Self::Listener => "LDS",
            Self::Routes => "RDS",
            Self::Cluster => "CDS",
            Self::Endpoints => "EDS",
            Self::Secret => "SDS",
        }
    }

    /// Whether an answer of the whole state (`SotW`) lists all there are: what it does not list is
    /// gone (gRFC A27).
    pub(crate) fn is_whole(self) -> bool {
        matches!(self, Self::Listener | Self::Cluster)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_of_metrics_lists_the_types_of_resources_and_no_other() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
        let text = std::fs::read_to_string(path).unwrap();
        let row = text.lines().find(|line| line.starts_with("| `mesh.xds.resource_type` | "));
        let listed: Vec<&str> = row.unwrap().split('`').skip(3).step_by(2).collect();
        assert_eq!(listed, Kind::ALL.map(Kind::message));
    }
}
