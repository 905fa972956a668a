//! HTTP/1.1: connections owned by one request at a time.

mod acquire;
mod connections;
mod driver;
mod lease;

pub(crate) use self::lease::Lease;
pub(super) use self::{
    acquire::{acquire, either, try_acquire},
    connections::{Connections, adopt},
    driver::Connection,
    lease::Sender,
};
