//! What a client is told of its bootstrap.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use envoy_types::pb::envoy::config::core::v3::Node;

use super::super::ads::Mode;

/// A server among those of the settings.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct ServerId(pub(crate) usize);

#[derive(Clone, Debug)]
pub(crate) struct ClientSettings {
    /// As whom all servers are asked. What this client can read is added to its features.
    pub(crate) node: Node,
    /// All servers, each once.
    pub(crate) servers: Vec<ServerSettings>,
    /// Who is asked for names without an authority: the first, and each next when those before it
    /// fail (gRFC A71).
    pub(crate) default: Vec<ServerId>,
    /// Who is asked for the names of an authority (gRFC A47); nobody: who is asked by default.
    pub(crate) authorities: BTreeMap<Arc<str>, Vec<ServerId>>,
    /// For how long what nobody watches any more is still asked for.
    pub(crate) linger: Linger,
}

#[derive(Clone, Debug)]
pub(crate) struct ServerSettings {
    /// What it is called in texts: its URI.
    pub(crate) name: Arc<str>,
    pub(crate) mode: Mode,
    pub(crate) features: Features,
}

/// What the bootstrap says of a server, as far as it decides what is done here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Features {
    /// A removal never takes away what is held, whatever `fail_on_data_errors` says (gRFC A53).
    pub(crate) ignore_resource_deletion: bool,
    /// What the server removes or sends wrongly is no longer used (gRFC A88).
    pub(crate) fail_on_data_errors: bool,
    /// Silence is 30 s long and says nothing about the resource (gRFC A88).
    pub(crate) resource_timer_is_transient_error: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Linger {
    pub(crate) grace: Duration,
    /// At most so many; the one given up first goes first.
    pub(crate) names: usize,
}

// === impl Features ===

impl Features {
    pub(super) fn timeout(self) -> Duration {
        Duration::from_secs(if self.resource_timer_is_transient_error { 30 } else { 15 })
    }
}

// === impl Linger ===

impl Default for Linger {
    fn default() -> Self {
        Self { grace: Duration::from_secs(60), names: 256 }
    }
}
