//! A simulator of many clients and servers, deterministic and in virtual time, whose clients run
//! the crate's own balancer, back-off, budget, and decisions about retries and hedges.

pub(crate) mod model;

mod client;
mod extra;
mod fleet;
pub(crate) mod keys;
mod random;
pub(crate) mod server;
mod textbook;
mod world;

pub(crate) mod gates;
pub(crate) mod picture;
pub(crate) mod scenario;
pub(crate) mod study;
pub(crate) mod tables;
pub(crate) mod tally;

pub(crate) use self::world::run;
