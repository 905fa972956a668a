//! What a control plane's client counts, for the metrics.

use std::sync::Arc;

/// Who counts it.
pub(crate) trait Plane: Send + Sync {
    /// What has been counted until now; nothing while nobody asks.
    fn figures(&self) -> Figures;
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) servers: Vec<OfServer>,
    pub(crate) resources: Vec<OfResources>,
}

#[derive(Clone, Debug)]
pub(crate) struct OfServer {
    pub(crate) uri: Arc<str>,
    pub(crate) is_connected: bool,
    /// Streams that ended before they were answered.
    pub(crate) failures: u64,
    /// Resources that were accepted and refused, by type.
    pub(crate) updates: Vec<(&'static str, u64, u64)>,
}

/// Resources that stand alike.
#[derive(Clone, Debug)]
pub(crate) struct OfResources {
    /// `None`: of no authority.
    pub(crate) authority: Option<Arc<str>>,
    pub(crate) kind: &'static str,
    pub(crate) state: &'static str,
    pub(crate) count: u64,
}
