//! What a cluster counts for a control plane that balances by it: the words between who counts and who
//! reports.

use std::{collections::BTreeMap, sync::Arc};

/// The counts of one cluster.
pub(crate) trait Loads: Send + Sync {
    /// What tells it from another of the same name.
    fn id(&self) -> usize;

    /// Counts from now on (drops since this was made), and of what endpoints say of themselves these metrics, by their names in ORCA's
    /// message: `cpu_utilization`, `named_metrics.queue`, `named_metrics.*`.
    fn begin(&self, metrics: &[String]);

    /// Nobody asks any more.
    fn end(&self);

    /// What has been counted since it was last taken.
    fn take(&self) -> Load;
}

/// What a cluster has counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Load {
    pub(crate) endpoints: Vec<EndpointLoad>,
    /// Calls that were dropped, by category.
    pub(crate) drops: BTreeMap<Arc<str>, u64>,
    /// Those that were dropped without one: a limit of the cluster.
    pub(crate) dropped: u64,
}

/// What an endpoint has counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EndpointLoad {
    pub(crate) at: At,
    pub(crate) address: Arc<str>,
    pub(crate) attempts: Attempts,
    /// By name: how many answers had the metric, and the sum of its values.
    pub(crate) metrics: BTreeMap<Arc<str>, (u64, f64)>,
}

/// Where an endpoint is.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct At {
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) sub_zone: String,
    pub(crate) priority: u32,
}

/// Attempts on an endpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Attempts {
    /// Begun.
    pub(crate) issued: u64,
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    /// Now.
    pub(crate) in_progress: u64,
}

// === impl EndpointLoad ===

impl EndpointLoad {
    pub(crate) fn is_nothing(&self) -> bool {
        self.attempts == Attempts::default() && self.metrics.is_empty()
    }
}

// === impl Attempts ===

impl std::ops::AddAssign for Attempts {
    fn add_assign(&mut self, more: Self) {
        self.issued = self.issued.saturating_add(more.issued);
        self.ok = self.ok.saturating_add(more.ok);
        self.failed = self.failed.saturating_add(more.failed);
        self.in_progress = self.in_progress.saturating_add(more.in_progress);
    }
}
