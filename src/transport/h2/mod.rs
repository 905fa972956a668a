//! HTTP/2: connections shared by their streams.

mod connection;
mod connections;
mod driver;
mod halves;
mod handshake;

pub(super) use self::{
    connections::{Connections, Lease, acquire, adopt, first, try_acquire},
    halves::Halves,
    handshake::{Sender, handshake},
};
