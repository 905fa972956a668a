//! Providers: what yields configuration and endpoints over time.
//!
//! [`Static`] holds what the code gives once, `File` (feature `file`) follows the mesh file, `Dns`
//! (feature `dns`) asks DNS, and anything else implements [`Discover`]. Several make one mesh: each
//! field is decided by the first source that says it (the routes of a service, and how a cluster is
//! secured, are one field each), and endpoints are the union of all.
//!
//! Any source may leave the endpoints of a cluster to DNS, by the cluster's
//! [`discovery`](crate::config::Discovery::Dns); the module `dns` tells what becomes of answers.
//!
//! # A source of your own
//!
//! **Do** keep the last good state when the other side is lost: endpoints that were true a minute
//! ago are better than none. **Do** publish an empty set only when it is known to be empty.
//!
//! **Do not** block in `run`; it is a task of the mesh's runtime.
//!
//!
//! ```
//! use std::{pin::Pin, time::Duration};
//! use tower_mesh::{Discover, Publisher, config::{Address, ConfigError}};
//!
//! struct Inventory;
//!
//! impl Discover for Inventory {
//!     fn name(&self) -> String {
//!         "inventory".into()
//!     }
//!
//!     fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
//!         Box::pin(async move {
//!             loop {
//!                 let replicas = ["10.0.0.1:80", "10.0.0.2:80"]; // ask the inventory here
//!                 let read = replicas.iter().map(|text| text.parse());
//!                 match read.collect::<Result<Vec<Address>, ConfigError>>() {
//!                     // A list that is refused is reported by the mesh; the last good one stays.
//!                     Ok(list) => drop(publish.endpoints("users", list)),
//!                     Err(error) => publish.refused("endpoints of cluster users", error.to_string()),
//!                 }
//!                 publish.synced(); // the first time: `Mesh::ready` waits for it
//!                 tokio::time::sleep(Duration::from_secs(5)).await;
//!             }
//!         })
//!     }
//! }
//! ```

#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "file")]
pub(crate) mod file;
mod publisher;
mod statics;

use std::pin::Pin;

use crate::config::DnsDiscovery;

#[cfg(feature = "dns")]
pub use self::dns::Dns;
#[cfg(feature = "file")]
pub use self::file::File;
#[cfg(feature = "xds")]
pub(crate) use self::publisher::Patch;
pub(crate) use self::publisher::{Change, Look, Nowhere, Places, Sink, SourceId};
pub use self::{
    publisher::{Asked, Publisher},
    statics::Static,
};

/// A source of services, clusters and endpoints.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source of configuration",
    note = "implement `name` and `run`; see the example in `tower_mesh::discover`"
)]
pub trait Discover: Send + 'static {
    /// What reports call it: `file mesh.yaml`.
    fn name(&self) -> String;

    /// Whether services are told apart by their ports in what this source looks up, so that
    /// `https://users` is asked for as `users:443`. Default: no, both are `users`.
    fn asks_by_port(&self) -> bool {
        false
    }

    /// How DNS is asked for names that no source defines, if this source is for these, as
    /// `Dns` without a name is: the mesh does then what
    /// [`UnknownNames::Dns`](crate::UnknownNames::Dns) does, with these settings. The name in them does
    /// not count. It is read once, by [`build`](crate::MeshBuilder::build). Default: it is not.
    fn unknown_names(&self) -> Option<DnsDiscovery> {
        None
    }

    /// Publishes until it is dropped, which the mesh does when it ends.
    ///
    /// Call [`Publisher::synced`] once the first state is complete: `Mesh::ready` waits for it,
    /// and names that nobody defines are refused from then on. A source that has nothing more to
    /// say may return after that; one that returns or panics before is reported by its name, and
    /// not waited for. What it has published stays.
    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
