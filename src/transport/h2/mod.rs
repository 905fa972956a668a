//! HTTP/2: connections shared by their streams.

mod connection;
mod connections;
mod driver;
mod halves;
mod handed;
mod handshake;
mod last_words;
#[cfg(test)]
mod model;
mod signals;
mod slots;
mod streams;

/// What signals and slots are made of outside of models.
mod atomic {
    pub(super) use atomic_waker::AtomicWaker;
    pub(super) use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
    pub(super) use tokio::sync::Notify;
}

pub(super) use self::{
    connections::{Connections, Lease, acquire, adopt, first, try_acquire},
    halves::Halves,
    handshake::{Sender, handshake},
};
