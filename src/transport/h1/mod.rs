//! HTTP/1.1: connections owned by one request at a time.

mod connections;
mod driver;
mod lease;

pub(super) use self::connections::{Connections, acquire, try_acquire};
pub(crate) use self::lease::Lease;
