//! HTTP/1.1: connections owned by one request at a time.

mod connections;
mod driver;
mod lease;

pub(crate) use self::lease::Lease;
pub(super) use self::{
    connections::{Connections, acquire, adopt, either, try_acquire},
    driver::Connection,
    lease::Sender,
};
