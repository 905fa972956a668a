//! The front door in the shape of reqwest 0.13: its requests, its builder's methods and its
//! response, sent through the mesh.
//!
//! ```no_run
//! # async fn example() -> Result<(), tower_mesh::Error> {
//! # let mesh = tower_mesh::Mesh::builder().build()?;
//! let http = mesh.reqwest(reqwest::Client::new()).no_proxy().build()?;
//! let reply = http.get("http://users.prod/1").bearer_auth("token").send().await?;
//! println!("{}", reply.error_for_status()?.text().await?);
//! # Ok(())
//! # }
//! ```
//!
//! The authority of a URL names its service, as with [`Mesh::http`]; `http://` and `https://` mean
//! the same service, and what secures its connections is the setting of its cluster.
//!
//! [`Client`] and [`RequestBuilder`] are types of their own: nothing that they give out can send a
//! request past the mesh. What a call needs of its settings is said to [`ClientBuilder`], whose
//! methods have the names of reqwest's. The wrapped `reqwest::Client` calls nothing by itself; it is
//! for the names [outside](ClientBuilder::outside) of the mesh, where these are allowed at all.
//!
//! # Order in the stack
//!
//! Redirects and cookies are above the mesh: each hop is a call of its own, with its own service,
//! retries and endpoint, under the one deadline of the request.
//!
//! # Defaults
//!
//! | setting | default | as in reqwest |
//! |---|---|---|
//! | [`redirect`](ClientBuilder::redirect) | at most 10 | yes |
//! | [`referer`](ClientBuilder::referer) | off | no: on |
//! | [`timeout`](ClientBuilder::timeout), [`read_timeout`](ClientBuilder::read_timeout) | none: those of the service's policy | yes |
//! | [`default_headers`](ClientBuilder::default_headers) | `accept: */*` | yes |
//! | cookies | off | yes |
//! | gzip, brotli, zstd, deflate | off | no: on where reqwest's feature is, and then to be decided here |
//! | names outside of the mesh | refused | no |
//!
//! **Do** keep one client and clone it; give a call its own bounds by
//! [`RequestBuilder::timeout`] and [`RequestBuilder::call`].
//!
//! **Do not** call a service of the mesh through the wrapped client itself: it knows nothing of
//! the mesh.

mod builder;
mod client;
mod content;
mod error;
mod future;
mod outside;
mod packing;
pub mod redirect;
mod request;
mod seen;
mod send;
#[cfg(test)]
mod tests;
mod trip;

pub use self::{
    builder::ClientBuilder, client::Client, future::ResponseFuture, request::RequestBuilder,
};

use crate::Mesh;

impl Mesh {
    /// A client in the shape of reqwest's, to be configured and built.
    ///
    /// `client` is for the names [outside](ClientBuilder::outside) of the mesh, and refused there
    /// unless they are allowed: what it is configured with cannot be read, and holds for those
    /// alone. What the calls of the mesh need of it is said to the builder.
    ///
    /// **Without effect for the names of the mesh, and without a word:** whatever concerns the
    /// client's own connections, for a client does not show that it has it. These are
    /// `connect_timeout`, `retry`, `http1_only`, `http2_prior_knowledge`,
    /// `resolve`, `dns_resolver`, `unix_socket`, `local_address`, `interface`, the pool's and TCP's
    /// settings, `connector_layer`, and all of TLS (roots, identities, `tls_danger_…`). The mesh's
    /// clusters have settings of their own for these: `transport`, `protocol`, `security`, the
    /// endpoints' addresses; the service's policy has `retry`. What a client does show (cookies,
    /// default headers, redirects, timeouts, proxies, what it unpacks) is refused by
    /// [`build`](ClientBuilder::build) unless the builder is told of it. `docs/REQWEST.md` has every
    /// setting.
    pub fn reqwest(&self, client: ::reqwest::Client) -> ClientBuilder {
        ClientBuilder::new(self.http(), client)
    }
}
