//! Connections: one pool per endpoint over hyper's own connections, HTTP/1.1 and HTTP/2.
//!
//! A pool is lazy, and each of its connections is driven by a task of its own that survives the
//! callers. Nothing here decides where a request goes; it says at once when an endpoint cannot
//! be connected to, which the balancer reads.
//!
//! | | HTTP/1.1 | HTTP/2 |
//! |---|---|---|
//! | a request gets | the connection that was used last, for itself | a stream on the least loaded connection |
//! | another connection opens | when none is free, up to 1024 | when the least loaded has the peer's limit of streams, or 100; up to 4 |
//! | beyond that it waits for | a connection to come free | a stream to end |
//! | it is found dead by | its close, TCP keepalive (30 s) | its close, TCP keepalive, pings while in use (30 s, answered in 10 s), but for the last stream after GOAWAY |
//! | it is closed | idle for 90 s, 30 min old, ± 10 %, or after as many requests as it may have (any number) | the same; streams under way end on it |
//!
//! These are the defaults; [`config::Transport`](crate::config::Transport) sets them per cluster.
//! What an endpoint speaks is its own `protocol`, else its cluster's, else the request's version.
//! An endpoint of several addresses is raced for between all of them, the families in turn, a new
//! attempt every 250 ms (RFC 8305); a connect layer sees one target with all of its addresses.
//! A connection attempt has 1 s, the peer's SETTINGS included; after a failure the endpoint is
//! avoided for 100 ms, doubling to 30 s, ± 20 %. A caller that finds all connections in use then waits
//! for one of them, for as long as a new one might take; a caller that dials takes one that comes free
//! before. One attempt that fails is one failure of its endpoint, however many hear of it in its back-off.
//!
//! **Events.** `Connected`, `ConnectFailed` and `Disconnected` of [`Event`](crate::Event).
//!
//! The public types are those of a connect layer
//! ([`MeshBuilder::connect_layer`](crate::MeshBuilder::connect_layer)): it wraps a [`Connector`],
//! which makes the byte stream ([`Io`]) to a [`ConnectTarget`].

mod agreed;
mod allowance;
mod backoff;
mod connect;
mod dial;
mod h1;
mod h2;
#[cfg(test)]
mod model;
mod pool;
pub(crate) mod prepare;
pub(crate) mod race;
mod refusal;
mod secure;
mod send;
mod shared;
mod speak;
mod tcp;
#[cfg(test)]
mod tests;
mod watchful;

/// What the back-off counts with outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

pub use self::connect::{ConnectTarget, Connector, ConnectorFuture, Io};
#[cfg(feature = "_tls")]
pub(crate) use self::secure::{Secure, Secured};
pub(crate) use self::{
    backoff::Backoff,
    connect::{Connect, ConnectError, erase},
    dial::Reach,
    pool::{Lease, Pool},
    secure::{Offered, Protection},
    send::{SendError, SendFuture, Sent},
    shared::Shared,
    tcp::{default_connector, dry_connector},
};
