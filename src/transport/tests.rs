//! What of the transport needs no peer.

mod backoff;
mod handed_over;
mod life;
mod silent;
mod waiting;
