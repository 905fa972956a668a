//! The streams to control planes: the I/O around the [client](super::client).

mod dial;
mod one;
mod outbox;
#[cfg(feature = "_tls")]
mod secrets;
mod token;
