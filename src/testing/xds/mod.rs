//! A control plane for tests: an ADS server over a real port, that does what a test says.
//!
//! It speaks the state of the world and the delta protocol, and it can be told to misbehave: to be
//! silent, to hold its answers and give them in another order, to send what is old, broken or far too
//! large, to begin no response, to cut its streams. It remembers every request. Two of them with
//! different content are a split brain.
//!
//! ```
//! use tower_mesh::testing::xds::{AdsServer, CDS, Resource};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plane = AdsServer::start().await?;
//! plane.set(Resource::chain("orders", ["127.0.0.1:8080".parse()?]));
//! assert_eq!(plane.version(CDS), "1");
//! println!("a client's bootstrap names {}", plane.uri());
//! # Ok(())
//! # }
//! ```

mod connections;
mod loads;
#[cfg(test)]
mod memory;
mod request;
mod resource;
mod server;
mod state;
mod stream;

#[cfg(test)]
pub(crate) use self::memory::connect as connect_in_memory;
pub use self::{
    loads::{LoadReport, LoadsAsked},
    request::Request,
    resource::{CDS, EDS, LDS, RDS, Resource, SDS},
    server::AdsServer,
    state::{Answer, Order, Snapshot},
};
