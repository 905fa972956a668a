//! The public test kit: endpoints in memory with scripted faults, and the events that a test
//! asserts on.
//!
//! Time is tokio's: `#[tokio::test(start_paused = true)]` pauses everything here and in the
//! mesh. Randomness is seeded by [`MeshBuilder::seed`](crate::MeshBuilder::seed).
//!
//! ```
//! use tower_mesh::{Body, Mesh, testing::{Fault, Network}};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::new();
//! let good = network.endpoint("10.0.0.1:80");
//! let bad = network.endpoint("10.0.0.2:80").fault(Fault::Refuse);
//! let mesh = Mesh::builder()
//!     .endpoints("users", [good.address(), bad.address()])
//!     .connect_layer(network)
//!     .seed(7)
//!     .build()?;
//! for _ in 0..100 {
//!     let request = http::Request::get("http://users/").body(Body::empty())?;
//!     assert!(mesh.http().send(request).await?.status().is_success());
//! }
//! assert_eq!(good.calls(), 100);
//! # Ok(())
//! # }
//! ```

mod answer;
mod endpoint;
mod events;
mod network;
mod serve;
mod wire;
#[cfg(feature = "xds")]
pub mod xds;

pub use self::{
    endpoint::{Endpoint, Fault, Received},
    events::EventLog,
    network::{Network, NetworkConnector},
};
