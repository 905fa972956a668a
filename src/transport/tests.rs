//! What of the transport needs no connection.

mod backoff;
mod life;
