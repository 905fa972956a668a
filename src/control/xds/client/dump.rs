//! What is known, for reports: CSDS (gRFC A40) and metrics (gRFC A78).

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;

use super::{
    Client, Decode,
    settings::ServerId,
    trouble::{Cause, Trouble},
};
use crate::{control::xds::kind::Kind, core::Instant};

/// What is known of one resource.
#[derive(Debug)]
pub(crate) struct Dumped<'a, R> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a Arc<str>,
    /// Whose name it is; `None`: of no authority.
    pub(crate) authority: Option<&'a Arc<str>>,
    pub(crate) status: Status,
    pub(crate) good: Option<Held<'a, R>>,
    /// What is wrong with it, and when that was last found.
    pub(crate) trouble: Option<(&'a Arc<Trouble>, Option<Instant>)>,
    /// Nobody watches it any more.
    pub(crate) lingers: bool,
}

/// The last good one.
#[derive(Debug)]
pub(crate) struct Held<'a, R> {
    pub(crate) resource: &'a R,
    pub(crate) version: &'a Arc<str>,
    /// As it came.
    pub(crate) value: &'a [u8],
    pub(crate) at: Instant,
    pub(crate) server: ServerId,
}

/// A server, and what is asked of it.
pub(crate) struct Asked<'a> {
    pub(crate) name: &'a Arc<str>,
    pub(crate) figures: Figures,
    /// Why it could not be reached the last time.
    pub(crate) down: Option<&'a str>,
    pub(crate) names: [Vec<Arc<str>>; Kind::COUNT],
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
    /// Resources that were accepted, and refused (`resource_updates_valid`, `…_invalid`), by type.
    pub(crate) valid: [u64; Kind::COUNT],
    pub(crate) invalid: [u64; Kind::COUNT],
    /// Streams that ended without an answer (`server_failure`).
    pub(crate) failures: u64,
    /// Whether there is a stream that was answered (`connected`).
    pub(crate) is_connected: bool,
}

// === impl Dumped ===

impl<R> Dumped<'_, R> {
    //= gRFC A78, A88: the words of `grpc.xds.cache_state`
    pub(crate) fn cache_state(&self) -> &'static str {
        let is_gone = |trouble: &Trouble| {
            matches!(trouble.cause, Cause::Absent(_) | Cause::Removed | Cause::Expired)
        };
        match (self.status, &self.good) {
            (Status::Requested, _) => "requested",
            (Status::DoesNotExist, _) => "does_not_exist",
            (Status::Acked, _) if self.trouble.is_some_and(|(trouble, _)| is_gone(trouble)) => {
                "does_not_exist_but_cached"
            }
            (Status::Acked, _) => "acked",
            (Status::Nacked, None) => "nacked",
            (Status::Nacked, Some(_)) => "nacked_but_cached",
            (Status::ReceivedError, None) => "received_error",
            (Status::ReceivedError, Some(_)) => "received_error_but_cached",
            (Status::Timeout, _) => "timeout",
        }
    }
}

// === impl Client ===

impl<D: Decode> Client<D> {
    /// Every resource that is known of, by type.
    pub(crate) fn dump(&self) -> impl Iterator<Item = Dumped<'_, D::Resource>> {
        let of = |kind: Kind| self.entries[kind as usize].iter().map(move |one| (kind, one));
        Kind::ALL.into_iter().flat_map(of).map(|(kind, (name, entry))| Dumped {
            kind,
            name,
            authority: self.authorities.get(entry.authority).and_then(|it| it.name.as_ref()),
            // What is from the cache, no server has said.
            status: match (
                entry.good.as_ref().filter(|good| good.cached.is_none()),
                entry.trouble.as_ref().map(|trouble| &trouble.cause),
            ) {
                (_, Some(Cause::Refused(_))) => Status::Nacked,
                (_, Some(Cause::Denied { .. })) => Status::ReceivedError,
                (Some(_), _) => Status::Acked,
                (None, Some(Cause::Unanswered(_))) => Status::Timeout,
                (None, Some(Cause::Unreachable(_) | Cause::Spared(_)) | None) => Status::Requested,
                (None, Some(_)) => Status::DoesNotExist,
            },
            good: entry.good.as_ref().map(|good| Held {
                resource: &good.resource,
                version: &good.version,
                value: &good.value,
                at: good.at,
                server: good.server,
            }),
            trouble: entry.trouble.as_ref().map(|trouble| (trouble, entry.troubled_at)),
            lingers: entry.watchers.is_empty(),
        })
    }

    /// Every server, in the order of the settings.
    pub(crate) fn asked(&self) -> impl Iterator<Item = Asked<'_>> {
        self.servers.iter().map(|server| Asked {
            name: &server.name,
            figures: Figures { is_connected: server.ads.is_connected(), ..server.figures },
            down: server.down.as_deref(),
            names: Kind::ALL.map(|kind| server.ads.names(kind).cloned().collect()),
        })
    }

    /// Counts by server, under its name.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (&Arc<str>, Figures)> {
        self.servers.iter().map(|server| {
            let is_connected = server.ads.is_connected();
            (&server.name, Figures { is_connected, ..server.figures })
        })
    }

    /// The server that what is held of a resource came from.
    pub(crate) fn server_of(&self, kind: Kind, name: &str) -> Option<ServerId> {
        let (_, canonical) = self.find(kind, name).ok()?;
        Some(self.entries[kind as usize].get(&canonical)?.good.as_ref()?.server)
    }

    /// It becomes more whenever [`server_of`](Self::server_of) becomes another one for any cluster; the rest of
    /// what servers say leaves it as it is.
    pub(crate) fn origins(&self) -> u64 {
        self.origins
    }

    /// As whom servers are asked.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }
}
