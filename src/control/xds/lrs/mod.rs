//! Load reports to a server (LRS), without I/O: who is to be told how much was called, where, and how that
//! ended, so that control planes balance by it (gRFC A27, A64, A85).
//!
//! A server is asked what it wants by a first request that says who asks. It answers with clusters and an
//! interval; from then on each interval is told with what has been counted since the one before. What
//! was not told for want of a stream is told by the next one.

mod reporter;
#[cfg(any(test, fuzzing))]
pub(crate) mod script;
mod sums;
#[cfg(test)]
mod tests;

pub(crate) use self::reporter::{Act, Key, Reporter};
