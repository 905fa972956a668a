//! What is known, for reports: CSDS (gRFC A40) and metrics (gRFC A78).

use std::sync::Arc;

use super::{Client, Decode, settings::ServerId, trouble::Trouble};
use crate::{control::xds::kind::Kind, core::Instant};

/// What is known of one resource.
#[derive(Debug)]
pub(crate) struct Dumped<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a Arc<str>,
    pub(crate) status: Status,
    /// The last good one: its version, its bytes, when it came and from whom.
    pub(crate) good: Option<(&'a Arc<str>, &'a [u8], Instant, ServerId)>,
    pub(crate) trouble: Option<&'a Arc<Trouble>>,
    /// Nobody watches it any more.
    pub(crate) lingers: bool,
}

/// As CSDS has it (`ClientResourceStatus`).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Status {
    Requested,
    DoesNotExist,
    Acked,
    Nacked,
    ReceivedError,
    Timeout,
}

/// Counts of one server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Figures {
    /// Resources that were accepted, and refused (`resource_updates_valid`, `…_invalid`).
    pub(crate) valid: u64,
    pub(crate) invalid: u64,
    /// Streams that ended without an answer (`server_failure`).
    pub(crate) failures: u64,
    /// Whether there is a stream that was answered (`connected`).
    pub(crate) is_connected: bool,
}

// === impl Client ===

impl<D: Decode> Client<D> {
    pub(crate) fn dump(&self) -> impl Iterator<Item = Dumped<'_>> {
        use super::trouble::Cause;

        let of = |kind: Kind| self.entries[kind as usize].iter().map(move |one| (kind, one));
        Kind::ALL.into_iter().flat_map(of).map(|(kind, (name, entry))| Dumped {
            kind,
            name,
            // What is from the cache, no server has said.
            status: match (
                entry.good.as_ref().filter(|good| good.cached.is_none()),
                entry.trouble.as_ref().map(|trouble| &trouble.cause),
            ) {
                (_, Some(Cause::Refused(_))) => Status::Nacked,
                (_, Some(Cause::Denied { .. })) => Status::ReceivedError,
                (Some(_), _) => Status::Acked,
                (None, Some(Cause::Unanswered(_))) => Status::Timeout,
                (None, Some(Cause::Unreachable(_)) | None) => Status::Requested,
                (None, Some(_)) => Status::DoesNotExist,
            },
            good: entry
                .good
                .as_ref()
                .map(|good| (&good.version, good.value.as_slice(), good.at, good.server)),
            trouble: entry.trouble.as_ref(),
            lingers: entry.watchers.is_empty(),
        })
    }

    /// Counts by server, under its name.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (&Arc<str>, Figures)> {
        self.servers.iter().map(|server| {
            let is_connected = server.ads.is_connected();
            (&server.name, Figures { is_connected, ..server.figures })
        })
    }
}
