//! Where an endpoint stands, and what others say of it: its connections, its source, its checks.

/// Where an endpoint stands; of several that hold, the last one in this list.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Phase {
    /// No connection is there, and none is being made.
    Idle,
    /// The first one is being made.
    Connecting,
    /// A connection is there.
    Ready,
    /// None could be made, and the back-off lasts.
    BackingOff,
    /// It takes no calls for a while.
    Ejected,
    /// One call is out to see whether it is well again.
    Probing,
    /// By the word of its source.
    Draining,
    /// It has left its cluster.
    Removed,
}

/// What its connections say of an endpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Link {
    #[default]
    Idle,
    Connecting,
    Ready,
    BackingOff,
}

/// What a source says of an endpoint's health.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::balance) struct Said {
    pub(in crate::balance) unhealthy: bool,
    pub(in crate::balance) draining: bool,
    pub(in crate::balance) degraded: bool,
}

/// What active checks say of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Checked {
    /// The first one is not over.
    Not,
    Fit,
    Unfit,
}
