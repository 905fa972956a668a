//! xDS: Istio, Envoy control planes and others of their kind drive the mesh, for HTTP as for gRPC.
//!
//! # How a name becomes a service
//!
//! ```text
//! the mesh asks for a name
//!        │
//!     source ── the listener of the name (template of the bootstrap)
//!        │
//!     graph ─── what it needs: listener → routes → clusters → endpoints (gRFC A74)
//!        │  ▲
//!  watch │  │ resource, or why there is none (gRFC A88)
//!        ▼  │
//!    client ─── per authority: what is known, and which of its servers is asked (A47, A71)
//!        │  ▲
//!        ▼  │ answers, decoded
//!      ads ──── per server: one stream, shared by all meshes of the process
//!        │  ▲
//!        ▼  │ messages
//!     stream ── tonic
//! ```
//!
//! `lrs` reports the load of clusters to the server that they came from, on a stream of its own; `status`
//! tells what the client knows.
//!
//! Everything down to `ads` is without I/O: it is fed with messages, the time and what becomes of
//! streams, and says what is to be sent, and when to come back. `stream` and `source` are the tasks
//! around it. No call waits for any of it: calls see the snapshots of the mesh.
//!
//! The graph publishes a service only when all that it leads to is known, or known to be missing:
//! first the clusters with their endpoints, then the routes; and removes in the other order. So no
//! call sees a route without its cluster.

mod ads;
mod bootstrap;
mod bulk;
mod cache;
mod client;
mod decode;
mod graph;
mod inbound;
mod kind;
mod lrs;
mod resource;
mod said;
mod source;
mod status;
mod stream;

pub use self::{
    bootstrap::{Bootstrap, BootstrapBuilder, CallCredentials, Dialect, Istio, Server, ServerTls},
    kind::Kind as ResourceKind,
    resource::{
        Inbound, InboundChain, InboundFilter, InboundHost, InboundHttp, InboundMatch, InboundPort,
        InboundRoute, InboundRoutes, InboundSecurity, InboundSlashes, InboundSource,
        InboundUnderscores,
    },
    source::Xds,
    status::{ResourceError, ResourceState, ResourceStatus, ServerStatus, Status, StatusService},
};

#[cfg(fuzzing)]
pub(crate) use self::{
    bootstrap::sound::reads as read_bootstrap,
    cache::read_any as read_cache,
    client::script::run as script,
    kind::Kind,
    lrs::script::run as reports,
    resource::{beside, comes_in, reads, secret as read_secret},
    source::whole::run as whole,
    stream::read_token,
};
