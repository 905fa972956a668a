//! Connections: one pool per endpoint over hyper's own connections, HTTP/1.1 and HTTP/2.
//!
//! A pool is lazy, and each of its connections is driven by a task of its own that survives the
//! callers. Nothing here decides where a request goes; it says at once when an endpoint cannot
//! be connected to, which the balancer reads.

mod backoff;
mod connect;
mod dial;
mod h1;
mod h2;
mod pool;
mod prepare;
mod send;
mod shared;
mod tcp;
#[cfg(test)]
mod tests;
mod watchful;

pub use self::connect::{ConnectTarget, Connector, ConnectorFuture, Io};
pub(crate) use self::{
    connect::{Connect, ConnectError, erase},
    pool::{Lease, Pool},
    send::{SendError, SendFuture, Sent},
    shared::Shared,
    tcp::default_connector,
};
