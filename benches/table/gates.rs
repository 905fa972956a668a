//! What a row of the table compares, and what it must keep to.

/// What one row compares.
pub(crate) struct Row {
    /// The gate that it belongs to.
    pub(crate) gate: &'static str,
    /// What is measured, and its unit.
    pub(crate) what: &'static str,
    /// Ours: a result, or the difference of two (`a - b`).
    pub(crate) ours: &'static str,
    /// Its peer's name in the table.
    pub(crate) peer_name: &'static str,
    /// The peer's result, in the same form; empty when there is none.
    pub(crate) peer: &'static str,
    pub(crate) limit: Limit,
    /// A gate that is not met yet: it stays red in the table, and the run fails only beyond this.
    pub(crate) held: Option<Limit>,
    pub(crate) kind: Kind,
}

/// What ours must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    /// At most so many percent more than the peer.
    Percent(f64),
    /// At most so many whole ones more than the peer.
    More(f64),
    /// At most this.
    AtMost(f64),
    /// So many times fewer than the peer.
    TimesFewer(f64),
    /// Fewer than the peer.
    Fewer,
    /// Within so many percent of the peer, in both directions.
    Within(f64),
    /// Told, not judged.
    Told,
}

/// Whether a broken gate fails the run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Instructions, allocations, bytes: the same on every machine.
    Hard,
    /// Time: it depends on the machine and its neighbours.
    Report,
}
