//! The last good resources on disk, for a process that begins while its control plane is away.
//!
//! What it is: one file, whole or refused ([`format`]); written beside its place and moved there
//! ([`disk`]); after changes, and not more often than its size allows ([`schedule`]); by one client
//! of a process ([`place`]). The [client](super::client) decides what is kept, and when what was kept is
//! used.

mod disk;
mod format;
mod identity;
mod keeper;
mod place;
mod schedule;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

#[cfg(fuzzing)]
pub(crate) use self::format::fuzz as read_any;
pub(crate) use self::{format::Found, identity::Identity, keeper::Keeper};

/// What the code says of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Settings {
    pub(crate) path: PathBuf,
    /// What is older is not used.
    pub(crate) max_age: Option<Duration>,
}
