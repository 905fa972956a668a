//! The streams to control planes: the I/O around the [client](super::client).
//!
//! A [`Subscriber`] is the side of one mesh. All subscribers of one bootstrap share one task (the
//! driver), which owns the client and opens the streams that it wants, each with a connection of its own.
//! Nothing here waits for a response to begin before it sends, and a message is read when everybody has
//! worked off the one before, or has had 5 s for it.

mod codec;
mod dial;
mod driver;
mod figures;
mod given;
mod google;
mod mail;
mod one;
mod outbox;
mod pace;
mod reports;
mod response;
#[cfg(feature = "_tls")]
mod secrets;
mod shared;
#[cfg(any(test, fuzzing))]
mod sound;
#[cfg(test)]
#[cfg(feature = "testing")]
mod tests;
mod token;

#[cfg(fuzzing)]
pub(crate) use self::sound::reads as read_token;
pub(crate) use self::{
    driver::{Batch, Flaw, Told},
    reports::Report,
    shared::{Registry, Subscriber},
};
