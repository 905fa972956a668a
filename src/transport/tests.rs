//! What of the transport needs no peer.

mod backoff;
mod ends;
pub(super) mod handed_over;
mod life;
mod ways;
